//! DATA, pitfall by pitfall.

use std::sync::Arc;

use super::testing::*;
use super::*;
use crate::ingress::settings::ListenerKind;
use crate::spool::SpoolError;

const HEADER: &str = "From: a@clinic.example\r\nDate: x\r\nMessage-ID: <i@d>\r\n";

/// What was committed, behind the Received field.
fn body(driven: &Driven) -> &str {
    let (_, text) = driven.commits.last().expect("a commit");
    &text[text.find("From: ").unwrap()..]
}

#[test]
fn i1_only_crlf_dot_crlf_ends_data() {
    for end in [
        "\n.\n",
        "\n.\r\n",
        "\r\n.\n",
        "\r.\r",
        "\r.\r\n",
        "\r\n.\r",
        "\r\n\0.\r\n",
    ] {
        let mut driven = Driven::in_data();
        let inner = format!("{HEADER}\r\nx{end}MAIL FROM:<b@clinic.example>\r\n");
        assert_eq!(driven.say(&inner), "", "{end:?}");
        let said = driven.trickle("RCPT TO:<c@x.example>\r\nDATA\r\n.\r\nNOOP\r\n");
        assert_eq!(codes(&said), [550, 250], "{end:?}");
        assert!(driven.commits.is_empty() && !driven.has_intake());
    }
    let mut driven = Driven::in_data();
    assert!(driven.say("a\nb\r\n.\r\n").starts_with("550 5.5.2 "));
}

#[test]
fn i2_dots_and_empty_messages() {
    let mut driven = Driven::in_data();
    driven.trickle(format!("{HEADER}\r\n..one\r\n...\r\ntwo.\r\n.\r\n"));
    assert_eq!(body(&driven), format!("{HEADER}\r\n.one\r\n..\r\ntwo.\r\n"));
    let mut driven = Driven::in_data();
    assert_eq!(driven.codes(".\r\n"), [250], "no octet at all");
    let (ticket, text) = &driven.commits[0];
    assert_eq!(ticket.facts.size, text.len() as u64);
}

#[test]
fn i9_sizes() {
    let mut driven = Driven::logged_in();
    let mail = |size: &str| format!("MAIL FROM:<a@clinic.example> SIZE={size}\r\n");
    assert!(driven.say(mail("10001")).starts_with("552 5.3.4 "));
    assert!(
        driven
            .say(mail("99999999999999999999"))
            .starts_with("552 5.3.4 ")
    );
    assert_eq!(driven.codes(mail("10000")), [250]);
    let mut rules = rules(ListenerKind::Relay);
    rules.limits.message_size = 0;
    let mut unlimited = Driven::with(rules, None);
    unlimited.say("EHLO me\r\n");
    assert_eq!(unlimited.codes(mail("99999999999")), [250]);
}

#[test]
fn i9_an_oversize_message_is_drained_then_refused() {
    let mut driven = Driven::in_data();
    let line = format!("{}\r\n", "x".repeat(998));
    for _ in 0..30 {
        assert_eq!(driven.say(&line), "");
    }
    assert_eq!(
        (driven.discards, driven.has_intake()),
        (1, false),
        "dropped early"
    );
    assert!(driven.say(".\r\n").starts_with("552 5.3.4 "));
    assert_eq!(driven.codes("NOOP\r\n"), [250]);

    let mut endless = Driven::in_data();
    let mut rounds = 0;
    while !endless.closed {
        endless.say(&line);
        rounds += 1;
        assert!(rounds < 2000, "drained without end");
    }
    assert_eq!(codes(&endless.out).last(), Some(&552));
}

#[test]
fn patterns_are_counted_before_the_commit() {
    let mut rules = rules(ListenerKind::Submissions);
    let pattern = crate::types::TextPattern::parse("[0-9]{3}").unwrap();
    rules.wanted = Arc::new(crate::types::Wanted {
        patterns: vec![pattern.clone()],
        ..crate::types::Wanted::default()
    });
    let mut driven = Driven::logged_in_with(rules);
    driven.say("MAIL FROM:<a@clinic.example>\r\nRCPT TO:<b@x.example>\r\nDATA\r\n");
    let message = format!("{HEADER}\r\n123 456\r\n.\r\n");
    assert!(driven.trickle(message).starts_with("250 "));
    assert_eq!(driven.order, ["body", "count", "commit", "250"]);
    let content = driven.commits[0].0.facts.content.clone().unwrap();
    assert_eq!(content.count(&pattern), Some(2));
}

#[test]
fn i12_long_text_lines_pass() {
    let mut rules = rules(ListenerKind::Relay);
    rules.limits.message_size = 1 << 20;
    for (length, wanted) in [(998, 250), (65_536, 250), (65_537, 550)] {
        let mut driven = Driven::with(rules.clone(), None);
        driven.say("EHLO me\r\nMAIL FROM:<a@clinic.example>\r\nRCPT TO:<b@x.example>\r\n");
        driven.say("DATA\r\n");
        let line = "x".repeat(length);
        assert_eq!(
            driven.codes(format!("\r\n{line}\r\n.\r\n")),
            [wanted],
            "{length}"
        );
    }
}

#[test]
fn i23_no_250_before_the_commit() {
    let mut driven = Driven::in_data();
    driven.commit = Err(SpoolError::Sick(Arc::new(std::io::ErrorKind::Other.into())));
    // The driver itself checks that nothing is said while the commit is waited for.
    assert!(
        driven
            .say(format!("{HEADER}\r\n.\r\n"))
            .starts_with("451 4.3.0 ")
    );
    assert!(driven.commits.is_empty());
}

#[test]
fn i24_the_reply_follows_the_commit_at_once() {
    let mut driven = Driven::in_data();
    let mut session = driven.session;
    session.receive(
        format!("{HEADER}\r\n.\r\nMAIL FROM:<").as_bytes(),
        Timestamp::default(),
    );
    let mut asked = Vec::new();
    loop {
        match session.advance() {
            Action::Body(_) => {
                asked.push("body");
                session.answer(Answer::Written(Ok(())));
            }
            Action::Commit(_) => {
                asked.push("commit");
                session.answer(Answer::Committed(Ok(())));
            }
            Action::Send(octets) => {
                assert!(octets.starts_with(b"250 2.0.0 Ok: queued as "));
                asked.push("250");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(asked, ["body", "commit", "250"]);
    driven = Driven::in_data();
    assert!(
        driven
            .say(format!("{HEADER}\r\n.\r\nNOOP\r\n"))
            .contains("queued as 0000")
    );
}

#[test]
fn i25_a_failing_spool_is_never_a_5xx() {
    let sick = || SpoolError::Sick(Arc::new(std::io::ErrorKind::Other.into()));
    for (error, wanted) in [
        (SpoolError::Full, "452 4.3.1 "),
        (sick(), "451 4.3.0 "),
        (SpoolError::Closed, "421 4.3.2 "),
    ] {
        let mut driven = Driven::logged_in();
        driven.open = Err(error.clone());
        assert!(
            driven
                .say("MAIL FROM:<a@clinic.example>\r\n")
                .starts_with(wanted)
        );
        assert_eq!(driven.closed, wanted.starts_with("421"));

        let mut driven = Driven::in_data();
        driven.write = Err(error.clone());
        let said = driven.say(format!("{HEADER}\r\nbody\r\n.\r\n"));
        assert!(said.starts_with(wanted), "{said}");
        assert_eq!(codes(&said).len(), 1);

        let mut driven = Driven::in_data();
        driven.write = Err(error.clone());
        let said = driven.trickle(format!("{HEADER}\r\nbody\r\n.\r\n"));
        assert!(said.starts_with(wanted), "{said}");

        let mut driven = Driven::in_data();
        driven.commit = Err(error);
        let said = driven.say(format!("{HEADER}\r\nbody\r\n.\r\n"));
        assert!(said.starts_with(wanted), "{said}");
        assert!(driven.commits.is_empty() && !driven.has_intake());
    }
}

#[test]
fn i28_loops_are_refused() {
    let mut driven = Driven::in_data();
    let hop = "Received: from a by b; Sun, 22 Nov 2026 08:00:00 +0000\r\n";
    let said = driven.say(format!("{}{HEADER}\r\n.\r\n", hop.repeat(101)));
    assert!(said.starts_with("554 5.4.6 "));

    // Through here twice already.
    let own = "Received: from a by relay.example with ESMTPSA\r\n id 0000000000000000000A; x\r\n";
    let mut driven = Driven::in_data();
    let said = driven.say(format!("{}{HEADER}\r\n.\r\n", own.repeat(2)));
    assert!(said.starts_with("554 5.4.6 "));
}

#[test]
fn i29_the_received_field_tells_how() {
    let mut driven = Driven::in_data();
    driven.say(format!("{HEADER}\r\n.\r\n"));
    let (_, text) = &driven.commits[0];
    let received = text[..text.find("From: ").unwrap()].replace("\r\n\t", " ");
    assert!(
        received
            .starts_with("Received: from me ([192.0.2.7]) by relay.example with ESMTPSA id 0000")
    );
    assert!(received.contains("(TLSv1.3 TLS_AES_256_GCM_SHA384); "));

    for (hello, word) in [("EHLO", " with ESMTP id"), ("HELO", " with SMTP id")] {
        let mut driven = Driven::with(rules(ListenerKind::Relay), None);
        driven.say(format!("{hello} me\r\nMAIL FROM:<a@clinic.example>\r\n"));
        driven.say("RCPT TO:<b@x.example>\r\nDATA\r\n");
        driven.say(format!("{HEADER}\r\n.\r\n"));
        let text = driven.commits[0].1.replace("\r\n\t", " ");
        assert!(text.contains(word), "{text}");
        assert_eq!(driven.commits[0].1.matches("Received:").count(), 1);
    }
}

#[test]
fn i30_bcc_goes_and_return_path_never_comes() {
    let mut driven = Driven::in_data();
    driven.say("Bcc: secret@x.example\r\nFrom: a@clinic.example\r\n\r\nBcc: body\r\n.\r\n");
    let text = &driven.commits[0].1;
    assert!(!text.contains("secret@") && text.contains("\r\n\r\nBcc: body\r\n"));
    assert!(text.contains("\r\nMessage-ID: <") && text.contains("\r\nDate: "));
    assert!(!text.contains("Return-Path"));

    let mut relay = Driven::relay();
    relay.say("MAIL FROM:<a@clinic.example>\r\nRCPT TO:<b@x.example>\r\nDATA\r\n");
    relay.say("Bcc: kept@x.example\r\nFrom: z@any.example\r\n\r\n.\r\n");
    let text = &relay.commits[0].1;
    assert!(text.ends_with("\r\nBcc: kept@x.example\r\nFrom: z@any.example\r\n\r\n"));
    assert!(!text.contains("Message-ID") && !text.contains("Return-Path"));
}

#[test]
fn from_must_be_the_accounts_own() {
    for (from, wanted) in [
        ("From: Lab <LAB@other.example>\r\n", 250),
        ("From: a@clinic.example, lab@other.example\r\n", 250),
        ("From: a@clinic.example\r\nFrom: boss@evil.example\r\n", 550),
        ("From: a@clinic.example, boss@evil.example\r\n", 550),
        ("From: boss@evil.example\r\n", 550),
        ("From: <a@clinic.example\r\n", 550),
        ("Subject: no From at all\r\n", 250),
    ] {
        let mut driven = Driven::in_data();
        assert_eq!(
            driven.codes(format!("{from}\r\nx\r\n.\r\n")),
            [wanted],
            "{from}"
        );
        assert_eq!(driven.commits.len(), usize::from(wanted == 250));
        assert_eq!(driven.codes("NOOP\r\n"), [250]);
    }
}

#[test]
fn header_sections_are_bounded() {
    let mut rules = rules(ListenerKind::Relay);
    rules.limits.message_size = 1 << 30;
    let mut driven = Driven::with(rules, None);
    driven.say("EHLO me\r\nMAIL FROM:<a@clinic.example>\r\nRCPT TO:<b@x.example>\r\nDATA\r\n");
    let field = format!("X: {}\r\n", "y".repeat(900));
    for _ in 0..1000 {
        assert_eq!(driven.say(&field), "");
    }
    assert!(driven.say("\r\n.\r\n").starts_with("552 5.3.4 "));
}

#[test]
fn the_ticket_says_who_and_how() {
    let mut driven = Driven::logged_in();
    driven.say("MAIL FROM:<a@clinic.example> BODY=8BITMIME\r\nRCPT TO:<b@x.example>\r\nDATA\r\n");
    driven.say(format!("{HEADER}\r\nGr\u{fc}\u{df}e\r\n.\r\n"));
    let (ticket, text) = &driven.commits[0];
    assert_eq!(ticket.facts.size, text.len() as u64);
    assert!(ticket.facts.eight_bit);
    assert_eq!(ticket.facts.message_id.as_deref(), Some("<i@d>"));
    assert_eq!(ticket.envelope.body, crate::types::BodyType::EightBitMime);
    let crate::types::Origin::Submitted(source) = &ticket.origin else {
        panic!("{ticket:?}")
    };
    assert_eq!(
        source.principal,
        crate::types::Principal::Account("scanner".into())
    );
    assert_eq!(
        (source.listener.as_str(), source.protocol.as_str()),
        ("[::]:587", "ESMTPSA")
    );
}

#[test]
fn a_client_that_sends_nothing_is_not_kept_for_ever() {
    let mut driven = Driven::logged_in();
    let replies = driven.codes("NOOP\r\n".repeat(1000));
    assert!(driven.closed && replies.len() < 130, "{}", replies.len());
    assert_eq!(replies.last(), Some(&421));
    // What sends messages may ask in between as it likes.
    let mut driven = Driven::logged_in();
    for _ in 0..5 {
        driven.say("NOOP\r\n".repeat(90));
        driven.say("MAIL FROM:<a@clinic.example>\r\nRCPT TO:<b@x.example>\r\nDATA\r\n");
        driven.say(format!("{HEADER}\r\n.\r\n"));
    }
    assert_eq!((driven.commits.len(), driven.closed), (5, false));
}

/// Every false end of a message, cut in two at every octet of the whole attack.
#[test]
fn i1_no_false_end_in_any_two_pieces() {
    for end in postern_lab::FALSE_ENDS {
        let (octets, ..) = end.attack("a@clinic.example", "victim@x.example");
        for cut in 0..=octets.len() {
            let mut driven = Driven::in_data();
            let (before, after) = octets.split_at(cut);
            let said = driven.say(before) + &driven.say(after);
            assert_eq!(codes(&said), [550, 221], "{}, cut at {cut}", end.name);
            assert!(driven.commits.is_empty() && driven.closed);
        }
    }
}
