//! Commands in their order, pitfall by pitfall.

use super::testing::*;
use super::*;
use crate::ingress::settings::ListenerKind;
use crate::types::{Foreseen, Foresight, Mailbox};

const FROM: &str = "MAIL FROM:<a@clinic.example>\r\n";
const TO: &str = "RCPT TO:<b@x.example>\r\n";
const MESSAGE: &str = "From: a@clinic.example\r\n\r\nhello\r\n.\r\n";

fn recipients(driven: &Driven) -> Vec<String> {
    let (ticket, _) = driven.commits.last().unwrap();
    ticket
        .envelope
        .recipients
        .iter()
        .map(Mailbox::to_string)
        .collect()
}

#[test]
fn a_message_goes_through_however_its_octets_are_cut() {
    let dialog = [
        "EHLO me\r\n",
        LOGIN,
        &[FROM, TO, "DATA\r\n"].concat(),
        &[MESSAGE, "QUIT\r\n"].concat(),
    ];
    let run = |cut: usize| {
        let mut driven = Driven::with(rules(ListenerKind::Submissions), Some(secured()));
        for group in dialog {
            let (head, tail) = group.split_at(cut.min(group.len()));
            driven.say(head);
            driven.say(tail);
        }
        assert!(driven.closed);
        (driven.out, driven.commits)
    };
    let whole = run(0);
    assert_eq!(whole.1.len(), 1);
    assert_eq!(codes(&whole.0), [250, 235, 250, 250, 354, 250, 221]);
    for cut in 1..120 {
        assert_eq!(run(cut), whole, "{cut}");
    }
    let mut driven = Driven::with(rules(ListenerKind::Submissions), Some(secured()));
    for group in dialog {
        driven.trickle(group);
    }
    assert_eq!((driven.out, driven.commits), whole);
}

#[test]
fn ehlo_offers_what_is_possible() {
    let mut driven = Driven::submission();
    assert_eq!(
        driven.say("EHLO me\r\n"),
        "250-relay.example\r\n250-PIPELINING\r\n250-SIZE 10000\r\n250-8BITMIME\r\n\
         250-ENHANCEDSTATUSCODES\r\n250 STARTTLS\r\n"
    );
    driven.say("STARTTLS\r\n");
    let secure = driven.say("EHLO me\r\n");
    assert!(secure.contains("250 AUTH PLAIN LOGIN\r\n") && !secure.contains("STARTTLS"));
    driven.say(LOGIN);
    assert!(!driven.say("EHLO me\r\n").contains("AUTH"));
    assert!(!Driven::relay().say("EHLO me\r\n").contains("AUTH"));
    assert_eq!(driven.say("HELO me\r\n"), "250 relay.example\r\n");
}

#[test]
fn i3_data_behind_starttls_ends_the_session() {
    for behind in [
        "MAIL FROM:<a@clinic.example>\r\n",
        "x",
        "\r\n",
        "\u{16}\u{3}\u{1}",
    ] {
        let mut driven = Driven::submission();
        driven.say("EHLO me\r\n");
        let said = driven.say(format!("STARTTLS\r\n{behind}"));
        assert_eq!(codes(&said), [554], "{behind:?}");
        assert!(driven.closed && driven.session.secured.is_none());
        assert_eq!(driven.say("NOOP\r\n"), "");
    }
}

#[test]
fn i4_tls_forgets_what_was_said() {
    let mut rules = rules(ListenerKind::Relay);
    rules.listener.tls_required = false;
    let mut driven = Driven::with(rules, None);
    driven.say(["EHLO me\r\n", FROM, TO].concat());
    assert!(driven.has_intake());
    assert_eq!(driven.codes("STARTTLS\r\n"), [220]);
    assert!(!driven.has_intake());
    assert_eq!(driven.codes("RCPT TO:<b@x.example>\r\n"), [503]);
    assert_eq!(driven.codes(FROM), [503], "a new EHLO is needed");
    assert!(!driven.say("EHLO me\r\n").contains("STARTTLS"));
    assert_eq!(driven.codes("STARTTLS\r\n"), [503]);
    assert_eq!(driven.codes([FROM, TO].concat()), [250, 250]);
}

#[test]
fn mail_needs_tls_and_a_login_on_submission() {
    let mut driven = Driven::submission();
    driven.say("EHLO me\r\n");
    assert_eq!(
        driven.say(FROM),
        "530 5.7.0 Must issue a STARTTLS command first\r\n"
    );
    driven.say("STARTTLS\r\n");
    driven.say("EHLO me\r\n");
    assert_eq!(driven.say(FROM), "530 5.7.0 Authentication required\r\n");
    let mut strict = rules(ListenerKind::Relay);
    strict.listener.tls_required = true;
    let mut driven = Driven::with(strict, None);
    driven.say("EHLO me\r\n");
    assert_eq!(driven.codes(FROM), [530]);
}

#[test]
fn i5_auth_in_its_place_only() {
    let mut driven = Driven::submission();
    driven.say("EHLO me\r\n");
    assert!(driven.say(LOGIN).starts_with("538 5.7.11 "));
    driven.say("STARTTLS\r\n");
    assert_eq!(driven.codes(LOGIN), [503], "EHLO first");
    driven.say("EHLO me\r\n");
    assert_eq!(driven.codes("AUTH CRAM-MD5\r\n"), [504]);
    assert_eq!(driven.codes(LOGIN), [235]);
    assert_eq!(driven.codes(LOGIN), [503]);
    assert_eq!(driven.codes([FROM, LOGIN].concat()), [250, 503]);
    assert_eq!(Driven::relay().codes(LOGIN), [502]);
}

#[test]
fn i5_auth_exchanges() {
    let start = || {
        let mut driven = Driven::with(rules(ListenerKind::Submissions), Some(secured()));
        driven.say("EHLO me\r\n");
        driven
    };
    for (said, wanted) in [
        ("AUTH PLAIN\r\nAHNjYW5uZXIAc2VjcmV0\r\n", &[334, 235][..]),
        (
            "auth login\r\nc2Nhbm5lcg==\r\nc2VjcmV0\r\n",
            &[334, 334, 235],
        ),
        ("AUTH LOGIN c2Nhbm5lcg==\r\nc2VjcmV0\r\n", &[334, 235]),
        ("AUTH PLAIN\r\n*\r\nNOOP\r\n", &[334, 501, 250]),
        ("AUTH LOGIN\r\nc2Nhbm5lcg==\r\n*\r\n", &[334, 334, 501]),
        ("AUTH PLAIN =\r\nNOOP\r\n", &[501, 250]),
        ("AUTH PLAIN !\r\n", &[501]),
        ("AUTH PLAIN\r\n!!\r\nNOOP\r\n", &[334, 501, 250]),
        ("AUTH PLAIN AHNjYW5uZXIAd3Jvbmc=\r\n", &[535]),
        // Acting as another identity: "other\0scanner\0secret".
        ("AUTH PLAIN b3RoZXIAc2Nhbm5lcgBzZWNyZXQ=\r\n", &[535]),
        // "scanner\0scanner\0secret".
        ("AUTH PLAIN c2Nhbm5lcgBzY2FubmVyAHNlY3JldA==\r\n", &[235]),
    ] {
        assert_eq!(start().codes(said), wanted, "{said:?}");
        assert_eq!(codes(&start().trickle(said)), wanted, "{said:?}");
    }
    assert_eq!(
        start().say("AUTH LOGIN\r\nYQ==\r\n"),
        "334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n"
    );
    assert_eq!(start().say("AUTH PLAIN\r\n"), "334 \r\n");
}

#[test]
fn i5_auth_lines_have_12288_octets() {
    let say = |length: usize| {
        let mut driven = Driven::with(rules(ListenerKind::Submissions), Some(secured()));
        driven.say("EHLO me\r\n");
        driven.codes(format!("AUTH PLAIN\r\n{}\r\nNOOP\r\n", "A".repeat(length)))
    };
    assert_eq!(say(12_288), [334, 501, 250], "read, but no PLAIN message");
    assert_eq!(say(12_292), [334, 500, 250]);
}

#[test]
fn i6_data_after_all_rcpt_failed() {
    let mut driven = Driven::logged_in();
    let said = [FROM, "RCPT TO:<bad>\r\nRCPT TO:<a@b@c>\r\nDATA\r\nRSET\r\n"].concat();
    assert_eq!(driven.codes(said), [250, 501, 501, 554, 250]);
    assert!(!driven.has_intake());
}

/// Refuses one domain, for those who ask as they should.
struct Knows;

impl Foresight for Knows {
    fn refuses(&self, question: Foreseen<'_>) -> bool {
        assert_eq!(question.listener, "[::]:587");
        assert_eq!(question.account, Some("scanner"));
        assert!(question.by_listener);
        question.recipient.host().to_string() == "bare.example"
    }
}

#[test]
fn a_domain_that_does_no_tls_is_refused_at_rcpt() {
    let mut rules = rules(ListenerKind::Submission);
    rules.listener.bind = "[::]:587".into();
    rules.listener.refuse_without_tls = true;
    rules.foresight = Sight::new(Arc::new(Knows));
    let mut driven = Driven::logged_in_with(rules);
    driven.say(FROM);
    let said = driven.say("RCPT TO:<a@bare.example>\r\n");
    assert!(said.starts_with("550 5.7.10 "), "{said}");
    assert_eq!(
        driven.codes("DATA\r\nRCPT TO:<a@x.example>\r\n"),
        [554, 250]
    );
}

#[test]
fn i10_too_many_recipients_keep_the_first() {
    let mut driven = Driven::logged_in();
    let to = |n| format!("RCPT TO:<u{n}@x.example>\r\n");
    driven.say(FROM);
    for n in 0..3 {
        assert_eq!(driven.codes(to(n)), [250]);
    }
    assert!(driven.say(to(3)).starts_with("452 4.5.3 "));
    assert_eq!(
        driven.codes(to(0)),
        [250],
        "one that is there costs nothing"
    );
    driven.say("DATA\r\n");
    assert_eq!(driven.codes(MESSAGE), [250]);
    let wanted = ["u0@x.example", "u1@x.example", "u2@x.example"];
    assert_eq!(recipients(&driven), wanted);
}

#[test]
fn i10_recipients_without_end_end_the_session() {
    let mut driven = Driven::logged_in();
    driven.say(FROM);
    let codes = driven.codes("RCPT TO:<u@x.example>\r\n".repeat(100));
    assert_eq!(codes.len(), 31, "ten times the limit, and the last word");
    assert_eq!((codes[29], codes[30]), (250, 421));
    assert!(driven.closed);
}

#[test]
fn i11_an_over_long_line_is_told_once() {
    let mut driven = Driven::logged_in();
    let said = format!("NOOP {}\r\nNOOP\r\n", "x".repeat(100_000));
    assert_eq!(driven.codes(&said), [500, 250]);
    assert_eq!(codes(&driven.trickle(&said)), [500, 250]);
    let long = format!("NOOP {}\r\n", "x".repeat(1000));
    assert_eq!(driven.codes(long), [250]);
}

#[test]
fn i13_octets_that_are_no_text_are_survived() {
    let mut driven = Driven::logged_in();
    assert_eq!(driven.codes(b"NOOP \xff\xfe\r\nNOOP\r\n"), [501, 250]);
    assert_eq!(driven.codes(b"MAIL FROM:<\0@x>\r\nNOOP\r\n"), [501, 250]);
}

#[test]
fn i14_quoted_local_parts_and_source_routes() {
    let mut driven = Driven::logged_in();
    driven.say(FROM);
    for to in [
        "RCPT TO:<\"a@b\"@x.example>\r\n",
        "RCPT TO:<\"a b>\"@x.example>\r\n",
        "RCPT TO:<@hop.example,@two.example:c@x.example>\r\n",
    ] {
        assert_eq!(driven.codes(to), [250], "{to}");
    }
    driven.say("DATA\r\n");
    driven.say(MESSAGE);
    let wanted = ["\"a@b\"@x.example", "\"a b>\"@x.example", "c@x.example"];
    assert_eq!(recipients(&driven), wanted);
}

#[test]
fn i15_postmaster_without_a_domain() {
    let run = |postmaster: Option<&str>, from: &str| {
        let mut rules = rules(ListenerKind::Relay);
        rules.postmaster = postmaster.map(|text| Mailbox::parse(text).unwrap());
        let mut driven = Driven::with(rules, None);
        driven.say(format!("EHLO me\r\nMAIL FROM:<{from}>\r\n"));
        driven.say("RCPT TO:<PostMaster>\r\nRCPT TO:<POSTMASTER>\r\nDATA\r\n");
        assert_eq!(driven.codes(MESSAGE), [250]);
        recipients(&driven)
    };
    let mailbox = "it@clinic.example";
    assert_eq!(run(Some(mailbox), "a@clinic.example"), [mailbox]);
    assert_eq!(run(None, "a@clinic.example"), ["postmaster@clinic.example"]);
    assert_eq!(run(None, ""), ["postmaster@relay.example"]);
}

#[test]
fn i16_address_literals_are_taken() {
    let mut driven = Driven::logged_in();
    driven.say(FROM);
    let to = "RCPT TO:<a@[192.0.2.1]>\r\nRCPT TO:<a@[IPv6:2001:db8::1]>\r\n";
    assert_eq!(driven.codes(to), [250, 250]);
    assert_eq!(driven.codes("RCPT TO:<a@[192.0.2]>\r\n"), [501]);
}

#[test]
fn i19_null_sender_from_trusted_peers() {
    let run = |from: &str| {
        let mut driven = Driven::relay();
        driven.say("MAIL FROM:<>\r\nRCPT TO:<b@x.example>\r\nDATA\r\n");
        let said = driven.say(format!("{from}Subject: out of office\r\n\r\n.\r\n"));
        assert!(!driven.has_intake());
        (codes(&said)[0], driven.commits.len())
    };
    assert_eq!(run("From: a@clinic.example\r\n"), (250, 1));
    assert_eq!(run("From: a@elsewhere.example\r\n"), (550, 0));
    assert_eq!(run("From: a@clinic.example, b@evil.example\r\n"), (550, 0));
    assert_eq!(run(""), (550, 0));
    assert_eq!(run("From: nobody\r\n"), (550, 0));
}

#[test]
fn i20_unknown_or_repeated_parameters() {
    let mut driven = Driven::logged_in();
    for mail in [
        "MAIL FROM:<a@clinic.example> FOO=1\r\n",
        "MAIL FROM:<a@clinic.example> SIZE=1 SIZE=2\r\n",
        "MAIL FROM:<a@clinic.example> RET=HDRS\r\n",
    ] {
        assert!(driven.say(mail).starts_with("555 5.5.4 "), "{mail}");
    }
    let mail = "MAIL FROM:<a@clinic.example> SIZE=9 BODY=8BITMIME AUTH=<>\r\n";
    assert_eq!(driven.codes(mail), [250]);
    assert_eq!(
        driven.codes("RCPT TO:<b@x.example> NOTIFY=NEVER\r\n"),
        [555]
    );
}

#[test]
fn i21_ehlo_and_rset_end_a_transaction() {
    for command in ["EHLO me\r\n", "HELO me\r\n", "RSET\r\n"] {
        let mut driven = Driven::logged_in();
        driven.say([FROM, TO].concat());
        assert_eq!(driven.codes(command), [250]);
        assert_eq!((driven.discards, driven.has_intake()), (1, false));
        assert_eq!(driven.codes("DATA\r\n"), [503]);
        assert_eq!(driven.codes(FROM), [250], "TLS and login stay");
    }
}

#[test]
fn i21_commands_that_change_nothing() {
    let mut driven = Driven::logged_in();
    driven.say([FROM, TO].concat());
    let said = "NOOP\r\nNOOP with words\r\nVRFY someone\r\nHELP\r\nHELP MAIL\r\n";
    assert_eq!(driven.codes(said), [250, 250, 252, 214, 214]);
    assert_eq!(
        driven.codes("EXPN list\r\nBDAT 3 LAST\r\nFOO\r\n"),
        [502, 500, 500]
    );
    assert_eq!(driven.codes("DATA\r\n"), [354]);
}

#[test]
fn i22_commands_out_of_order() {
    let mut driven = Driven::with(rules(ListenerKind::Submissions), Some(secured()));
    assert_eq!(
        driven.codes([FROM, TO, "DATA\r\n"].concat()),
        [503, 503, 503]
    );
    let mut driven = Driven::logged_in();
    assert_eq!(driven.codes([TO, "DATA\r\n"].concat()), [503, 503]);
    assert_eq!(
        driven.codes([FROM, FROM, "DATA\r\n"].concat()),
        [250, 503, 503]
    );
    assert_eq!(driven.codes([TO, "DATA now\r\n"].concat()), [250, 501]);
}

#[test]
fn errors_get_slow_and_then_final() {
    let mut driven = Driven::logged_in();
    let replies = driven.codes("FOO\r\n".repeat(30));
    assert_eq!(replies.len(), 20, "each command one reply, until the end");
    assert_eq!(replies[..19], [500; 19]);
    assert_eq!(replies[19], 421);
    assert_eq!((driven.pauses, driven.closed), (10, true));
}

#[test]
fn early_talk_is_refused() {
    let rules = Arc::new(rules(ListenerKind::Submission));
    let mut session = Session::refuse_early_talk(rules, CLIENT.parse().unwrap());
    let Action::Send(octets) = session.advance() else {
        panic!("no reply")
    };
    assert!(octets.starts_with(b"554 "));
    session.receive(b"NOOP\r\n", Timestamp::default());
    assert_eq!(session.advance(), Action::Close);
}

#[test]
fn an_answer_nobody_asked_for_ends_the_session() {
    let mut driven = Driven::logged_in();
    driven.session.answer(Answer::Committed(Ok(())));
    assert_eq!(driven.codes("NOOP\r\n"), [421]);
    assert!(driven.closed && driven.commits.is_empty());
}

#[test]
fn who_may_send_as_whom_is_told() {
    let mut driven = Driven::logged_in();
    assert_eq!(
        driven.say("MAIL FROM:<x@evil.example>\r\n"),
        "553 5.7.1 The sender <x@evil.example> is not allowed for account scanner\r\n"
    );
    let mut rules = rules(ListenerKind::Relay);
    rules.listener.networks.clear();
    let mut stranger = Driven::with(rules, None);
    stranger.say("EHLO me\r\n");
    assert!(
        stranger
            .say(FROM)
            .starts_with("550 5.7.1 Relaying denied: ")
    );
    assert!(
        Driven::relay()
            .say("MAIL FROM:<x@evil.example>\r\n")
            .starts_with("553 5.7.1 ")
    );
}
