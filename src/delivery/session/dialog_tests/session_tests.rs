//! Dialogs around the transaction: resets, TLS, login, what makes no sense.

use super::*;

#[test]
fn e19_rset_only_where_a_transaction_is_left_open() {
    let mut dialog = Dialog::greeted(&["PIPELINING"]);
    let all = "MAIL FROM:<s@a.example>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n";
    dialog.begin(&["a"]).says(all);
    dialog
        .hear("250 ok\r\n250 ok\r\n354 go\r\n")
        .sends_message();
    assert!(dialog.hear("250 ok\r\n").finished().reusable);
    // Clean: no RSET.
    dialog.begin(&["a"]).says(all);
    dialog.hear("250 ok\r\n550 no\r\n503 no\r\n").finished();
    // MAIL was accepted and no DATA came of it: RSET.
    dialog.begin(&["a"]).says(&format!("RSET\r\n{all}"));
    dialog
        .hear("250 ok\r\n450 later\r\n503 no\r\n503 no\r\n")
        .finished();
    // MAIL was refused: nothing to reset.
    dialog.begin(&["a"]).says(all);
}

#[test]
fn e20_the_greeting_name() {
    let name = |host: &str, ip: Option<&str>| {
        let ip = ip.map(|ip| ip.parse().unwrap());
        greeting_name(&Domain::parse(host).unwrap(), ip)
    };
    assert_eq!(name("relay.example", Some("192.0.2.1")), "relay.example");
    assert_eq!(name("my_relay.example", Some("192.0.2.1")), "[192.0.2.1]");
    assert_eq!(name("localhost", Some("2001:db8::1")), "[IPv6:2001:db8::1]");
    assert_eq!(name("my_relay.example", None), "my_relay.example");
}

#[test]
fn e21_octets_behind_the_220_end_the_session() {
    let mut dialog = Dialog::greeted(&["STARTTLS"]);
    dialog.0.start_tls();
    dialog.says("STARTTLS\r\n");
    dialog
        .0
        .receive(b"220 go ahead\r\n250-injected\r\n250 STARTTLS\r\n");
    let failure = dialog.failed();
    assert_eq!(
        (failure.reason, failure.stage),
        (Reason::ProtocolError, Stage::StartTls)
    );
    assert!(!dialog.0.is_idle());
}

#[test]
fn e21_only_what_is_offered_after_tls_counts() {
    let mut dialog = Dialog::greeted(&["STARTTLS", "PIPELINING", "SIZE 10"]);
    dialog.0.start_tls();
    dialog.says("STARTTLS\r\n").hear("220 go ahead\r\n");
    assert_eq!(dialog.0.take_event(), Some(Event::ShakeHands));
    dialog.0.secured();
    dialog.says(EHLO).hear(&ehlo_reply(&["STARTTLS"]));
    assert_eq!(dialog.0.take_event(), Some(Event::Ready));
    // Neither the size limit nor PIPELINING survived.
    dialog.begin(&["a"]).says("MAIL FROM:<s@a.example>\r\n");
}

#[test]
fn e22_starttls_refused_or_failing_on_the_next_ehlo() {
    for code in [454, 501, 502] {
        let mut dialog = Dialog::greeted(&["STARTTLS"]);
        dialog.0.start_tls();
        let failure = dialog.hear(&format!("{code} no\r\n")).failed();
        assert_eq!(failure.reason, Reason::StarttlsRefused);
        assert_eq!(failure.reply.unwrap().code, code);
        assert!(!dialog.0.is_idle());
    }
    let mut dialog = Dialog::greeted(&["STARTTLS"]);
    dialog.0.start_tls();
    dialog.hear("220 go\r\n");
    assert_eq!(dialog.0.take_event(), Some(Event::ShakeHands));
    dialog.0.secured();
    dialog.0.lost(Reason::ConnectionLost);
    let failure = dialog.failed();
    assert_eq!(
        (failure.reason, failure.stage),
        (Reason::TlsInterrupted, Stage::StartTls)
    );
}

#[test]
fn e23_masked_starttls_is_none_and_is_shown() {
    let mut dialog = Dialog::greeted(&["PIPELINING", "XXXXXXXX"]);
    assert!(dialog.0.is_masked());
    dialog.0.start_tls();
    let failure = dialog.failed();
    assert_eq!(failure.reason, Reason::NoStarttls);
    assert!(failure.reply.unwrap().text.contains("XXXXXXXX"));
}

#[test]
fn e28_eof_inside_a_reply_is_a_loss_and_behind_one_is_not() {
    let mut dialog = Dialog::greeted(&["PIPELINING"]);
    dialog
        .begin(&["a"])
        .hear("250 ok\r\n250 ok\r\n354 go\r\n")
        .sends_message();
    dialog.hear("250-half").0.lost(Reason::ConnectionLost);
    assert_eq!(codes(&dialog.finished()), ["FinalDot outcome-unknown"]);
    let mut dialog = Dialog::greeted(&["PIPELINING"]);
    dialog
        .begin(&["a"])
        .hear("250 ok\r\n250 ok\r\n354 go\r\n")
        .sends_message();
    dialog.hear("250 ok\r\n").0.lost(Reason::ConnectionLost);
    // What was answered stays answered: the event is not overwritten.
    assert!(matches!(
        &dialog.finished().recipients[..],
        [RecipientEnd::Delivered(_)]
    ));
}

#[test]
fn e29_no_login_without_authenticated_tls() {
    let login = || Login {
        username: "u".into(),
        password: "p".to_owned().into(),
    };
    let mut dialog = Dialog::greeted(&["AUTH PLAIN LOGIN"]);
    dialog.0.log_in(permit(), login());
    dialog.says("");
    assert_eq!(dialog.failed().reason, Reason::AuthFailed);

    let mut dialog = Dialog::greeted(&["AUTH PLAIN LOGIN"]);
    dialog.0.log_in(authenticated_permit(), login());
    dialog.says("AUTH PLAIN AHUAcA==\r\n").hear("235 ok\r\n");
    assert_eq!(dialog.0.take_event(), Some(Event::Ready));

    let mut dialog = Dialog::greeted(&["AUTH=LOGIN"]);
    dialog.0.log_in(authenticated_permit(), login());
    dialog
        .says("AUTH LOGIN\r\n")
        .hear("334 VXNlcm5hbWU6\r\n")
        .says("dQ==\r\n");
    dialog.hear("334 UGFzc3dvcmQ6\r\n").says("cA==\r\n");
    let failure = dialog.hear("535 5.7.8 no\r\n").failed();
    assert_eq!(
        (failure.reason, failure.status.as_str()),
        (Reason::AuthFailed, "4.7.8")
    );
}

#[test]
fn size_and_eight_bit_are_checked_before_mail() {
    let mut dialog = Dialog::greeted(&["SIZE 999"]);
    dialog.begin(&["a", "b"]).says("");
    let outcome = dialog.finished();
    assert_eq!(codes(&outcome), ["too-large", "too-large"]);
    assert!(outcome.reusable && dialog.0.is_idle());
    let mut message = transaction(&["a"]);
    (message.size, message.eight_bit) = (10, true);
    dialog.0.begin(permit(), message);
    dialog.says("");
    assert_eq!(codes(&dialog.finished()), ["eight-bit"]);
}

#[test]
fn an_early_refusal_in_the_message_stands() {
    let mut dialog = Dialog::greeted(&["PIPELINING"]);
    dialog.begin(&["a"]).hear("250 ok\r\n250 ok\r\n354 go\r\n");
    assert_eq!(dialog.0.take_event(), Some(Event::SendMessage));
    let outcome = dialog.hear("552 5.3.4 too big\r\n").finished();
    assert_eq!(codes(&outcome), ["Message 552"]);
    assert!(!outcome.reusable);
    // An early yes is no yes.
    let mut dialog = Dialog::greeted(&["PIPELINING"]);
    dialog.begin(&["a"]).hear("250 ok\r\n250 ok\r\n354 go\r\n");
    assert_eq!(dialog.0.take_event(), Some(Event::SendMessage));
    let outcome = dialog.hear("250 ok\r\n").finished();
    assert_eq!(codes(&outcome), ["Message protocol-error"]);
}

#[test]
fn replies_that_make_no_sense() {
    let mut dialog = Dialog::greeted(&["PIPELINING"]);
    dialog.begin(&["a"]).hear("250 ok\r\n250 ok\r\n");
    assert_eq!(
        codes(&dialog.hear("250 ok\r\n").finished()),
        ["Data protocol-error"]
    );
    let mut dialog = Dialog::greeted(&["PIPELINING"]);
    dialog.begin(&["a"]).hear("HTTP/1.1 400 Bad Request\r\n");
    assert_eq!(codes(&dialog.finished()), ["Mail protocol-error"]);
}

#[test]
fn what_came_unasked_bars_the_next_transaction() {
    let mut dialog = Dialog::greeted(&[]);
    dialog.0.receive(b"250 ok\r\n250 ok\r\n354 go\r\n");
    assert!(!dialog.0.is_idle());
    dialog.begin(&["a"]).says("");
    assert_eq!(codes(&dialog.finished()), ["Mail protocol-error"]);
}
