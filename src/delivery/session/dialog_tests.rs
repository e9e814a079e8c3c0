//! Scripted dialogs, octet by octet: one test for each pitfall of the session.

mod session_tests;

use super::*;
use crate::types::{Achieved, AuthenticatedBy, Domain, Mailbox, Required, TlsFacts};

/// A session and what it says.
struct Dialog(Session);

const EHLO: &str = "EHLO relay.example\r\n";

impl Dialog {
    fn new() -> Self {
        Self(Session::new("relay.example".into()))
    }

    /// Up to the first idle moment, with these EHLO keywords.
    fn greeted(keywords: &[&str]) -> Self {
        let mut dialog = Self::new();
        dialog.hear("220 mx.example ESMTP\r\n").says(EHLO);
        dialog.hear(&ehlo_reply(keywords));
        assert_eq!(dialog.0.take_event(), Some(Event::Ready));
        dialog
    }

    /// Hears octets one by one.
    fn hear(&mut self, text: &str) -> &mut Self {
        for octet in text.as_bytes() {
            self.0.receive(std::slice::from_ref(octet));
        }
        self
    }

    fn says(&mut self, text: &str) -> &mut Self {
        let output = self.0.take_output();
        assert_eq!(String::from_utf8_lossy(&output), text);
        self
    }

    fn begin(&mut self, recipients: &[&str]) -> &mut Self {
        self.0.begin(permit(), transaction(recipients));
        self
    }

    /// The message and its dot are sent.
    fn sends_message(&mut self) -> &mut Self {
        assert_eq!(self.0.take_event(), Some(Event::SendMessage));
        self.0.message_sent();
        self
    }

    fn finished(&mut self) -> Outcome {
        match self.0.take_event() {
            Some(Event::Finished(outcome)) => outcome,
            other => panic!("{other:?}"),
        }
    }

    fn failed(&mut self) -> Failure {
        match self.0.take_event() {
            Some(Event::Failed(failure)) => failure,
            other => panic!("{other:?}"),
        }
    }
}

fn ehlo_reply(keywords: &[&str]) -> String {
    let mut text = String::from("250-mx.example greets you\r\n");
    for keyword in keywords {
        text.push_str(&format!("250-{keyword}\r\n"));
    }
    text + "250 HELP\r\n"
}

fn permit() -> Permit {
    Permit::grant(&Required::nothing(), &Achieved::cleartext()).unwrap()
}

fn authenticated_permit() -> Permit {
    let facts = TlsFacts {
        version: "TLSv1.3".into(),
        cipher: "TLS_AES_128_GCM_SHA256".into(),
        group: String::new(),
        certificate: None,
    };
    let achieved = Achieved::handshake(facts, Some(AuthenticatedBy::Route)).unwrap();
    Permit::grant(&Required::nothing(), &achieved).unwrap()
}

fn transaction(recipients: &[&str]) -> Transaction {
    Transaction {
        sender: Some(Mailbox::parse("s@a.example").unwrap()),
        recipients: recipients
            .iter()
            .map(|r| Mailbox::parse(&format!("{r}@b.example")).unwrap())
            .collect(),
        size: 1000,
        eight_bit: false,
    }
}

fn codes(outcome: &Outcome) -> Vec<String> {
    let ends = outcome.recipients.iter().map(|end| match end {
        RecipientEnd::Delivered(reply) => format!("delivered {}", reply.code),
        RecipientEnd::Refused(stage, reply) => format!("{stage:?} {}", reply.code),
        RecipientEnd::TooMany(reply) => format!("too many {}", reply.code),
        RecipientEnd::Unsuitable(reason) => reason.to_string(),
        RecipientEnd::Broken(failure) => format!("{:?} {}", failure.stage, failure.reason),
    });
    ends.collect()
}

#[test]
fn a_whole_transaction_one_command_at_a_time() {
    let mut dialog = Dialog::greeted(&["SIZE 5000", "8BITMIME"]);
    dialog.begin(&["r"]);
    dialog.says("MAIL FROM:<s@a.example> SIZE=1000\r\n");
    dialog.hear("250 ok\r\n").says("RCPT TO:<r@b.example>\r\n");
    dialog.hear("250 ok\r\n").says("DATA\r\n");
    dialog.hear("354 go\r\n").sends_message();
    let outcome = dialog.hear("250 2.0.0 taken\r\n").finished();
    assert_eq!(codes(&outcome), ["delivered 250"]);
    assert!(outcome.reusable && dialog.0.is_idle());
}

#[test]
fn null_sender_and_eight_bit() {
    let mut dialog = Dialog::greeted(&["8BITMIME", "PIPELINING"]);
    let mut message = transaction(&["r"]);
    message.sender = None;
    message.eight_bit = true;
    dialog.0.begin(permit(), message);
    dialog.says("MAIL FROM:<> BODY=8BITMIME\r\nRCPT TO:<r@b.example>\r\nDATA\r\n");
}

#[test]
fn e1_multi_line_replies_and_their_limits() {
    let mut dialog = Dialog::new();
    dialog
        .hear("220-mx.example\r\n220-no text follows\r\n220-\r\n220\r\n")
        .says(EHLO);
    dialog.hear("250-mx.example\r\n250-PIPELINING\r\n250\r\n");
    assert_eq!(dialog.0.take_event(), Some(Event::Ready));
    let mut flood = Dialog::new();
    for _ in 0..70_000 {
        flood.0.receive(b"220-and one more line\r\n");
    }
    assert_eq!(flood.failed().reason, Reason::ProtocolError);
    let mut endless = Dialog::new();
    endless.0.receive(&vec![b'2'; 1 << 20]);
    assert_eq!(endless.failed().reason, Reason::ProtocolError);
}

#[test]
fn e2_251_and_252_are_success() {
    let mut dialog = Dialog::greeted(&["PIPELINING"]);
    dialog.begin(&["a", "b"]);
    dialog.hear("250 ok\r\n251 will forward\r\n252 cannot verify\r\n354 go\r\n");
    let outcome = dialog.sends_message().hear("250 ok\r\n").finished();
    assert_eq!(codes(&outcome), ["delivered 250", "delivered 250"]);
}

#[test]
fn e3_a_contradicting_enhanced_code_is_not_believed() {
    let mut dialog = Dialog::greeted(&[]);
    dialog.begin(&["a"]).hear("250 ok\r\n");
    let outcome = dialog.hear("550 2.1.5 fine\r\n").finished();
    match &outcome.recipients[..] {
        [RecipientEnd::Refused(Stage::Rcpt, reply)] => {
            assert_eq!((reply.code, &reply.enhanced), (550, &None));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn e4_a_refusing_banner_still_gets_quit() {
    for (code, reason) in [(554, Reason::Rejected), (421, Reason::Deferred)] {
        let mut dialog = Dialog::new();
        let failure = dialog.hear(&format!("{code} no\r\n")).failed();
        assert_eq!((failure.reason, failure.stage), (reason, Stage::Greeting));
        dialog.0.quit();
        dialog.says("QUIT\r\n").hear("221 bye\r\n");
        assert_eq!(dialog.0.take_event(), Some(Event::Closed));
    }
}

#[test]
fn e5_helo_where_ehlo_is_unknown_and_no_tls_then() {
    let mut dialog = Dialog::new();
    dialog.hear("220 old\r\n").says(EHLO);
    dialog.hear("502 what?\r\n").says("HELO relay.example\r\n");
    dialog.hear("250 hello\r\n");
    assert_eq!(dialog.0.take_event(), Some(Event::Ready));
    dialog.0.start_tls();
    assert_eq!(dialog.failed().reason, Reason::NoStarttls);
    dialog.says("");
}

#[test]
fn e6_421_at_any_point() {
    // At MAIL, RCPT and DATA the rest of the recipients go to the next host.
    let lead_in = ["", "250 ok\r\n", "250 ok\r\n550 no\r\n250 ok\r\n"];
    let expected = [
        ["Mail deferred", "Mail deferred"],
        ["Rcpt deferred", "Rcpt deferred"],
        ["Rcpt 550", "Data deferred"],
    ];
    for (lead_in, expected) in lead_in.iter().zip(expected) {
        let mut dialog = Dialog::greeted(&["PIPELINING"]);
        dialog.begin(&["a", "b"]);
        let outcome = dialog.hear(lead_in).hear("421 closing\r\n").finished();
        assert_eq!(codes(&outcome), expected);
        assert!(!outcome.reusable);
    }
    // After the dot it is an answer.
    let mut dialog = Dialog::greeted(&["PIPELINING"]);
    dialog.begin(&["a"]).hear("250 ok\r\n250 ok\r\n354 go\r\n");
    let outcome = dialog.sends_message().hear("421 no\r\n").finished();
    assert_eq!(codes(&outcome), ["FinalDot 421"]);
    assert!(!outcome.reusable);
    // And before any transaction.
    let mut dialog = Dialog::new();
    dialog.hear("220 mx\r\n").hear("421 closing\r\n");
    assert_eq!(dialog.failed().stage, Stage::Hello);
}

#[test]
fn e7_mixed_recipients() {
    let mut dialog = Dialog::greeted(&["PIPELINING"]);
    dialog.begin(&["a", "b", "c"]);
    dialog.hear("250 ok\r\n250 ok\r\n450 later\r\n550 never\r\n354 go\r\n");
    let outcome = dialog.sends_message().hear("554 spam\r\n").finished();
    // The error at DATA hits the accepted one only.
    assert_eq!(codes(&outcome), ["FinalDot 554", "Rcpt 450", "Rcpt 550"]);
    assert!(outcome.reusable);
}

#[test]
fn e8_too_many_recipients() {
    let mut dialog = Dialog::greeted(&["PIPELINING"]);
    dialog.begin(&["a", "b", "c", "d"]);
    dialog.hear("250 ok\r\n250 ok\r\n452 4.5.3 enough\r\n552 enough\r\n452 4.2.2 full\r\n");
    let outcome = dialog
        .hear("354 go\r\n")
        .sends_message()
        .hear("250 ok\r\n")
        .finished();
    assert_eq!(
        codes(&outcome),
        ["delivered 250", "too many 452", "too many 552", "Rcpt 452"]
    );
    // OpenSMTPD's way; another 451 is not one of count.
    let mut dialog = Dialog::greeted(&["PIPELINING"]);
    dialog.begin(&["a", "b", "c", "d"]);
    dialog.hear("250 ok\r\n250 ok\r\n451 4.5.3 enough\r\n451 4.7.1 later\r\n550 5.5.3 never\r\n");
    let outcome = dialog
        .hear("354 go\r\n")
        .sends_message()
        .hear("250 ok\r\n")
        .finished();
    assert_eq!(
        codes(&outcome),
        ["delivered 250", "too many 451", "Rcpt 451", "Rcpt 550"]
    );
    // The first of all can't be one too many.
    let mut dialog = Dialog::greeted(&["PIPELINING"]);
    dialog.begin(&["a"]).hear("250 ok\r\n452 4.5.3 enough\r\n");
    assert_eq!(codes(&dialog.hear("503 no\r\n").finished()), ["Rcpt 452"]);
}

#[test]
fn e9_all_rcpt_refused_but_354() {
    let mut dialog = Dialog::greeted(&["PIPELINING"]);
    dialog.begin(&["a", "b"]);
    let _ = dialog.0.take_output();
    dialog
        .hear("250 ok\r\n550 no\r\n550 no\r\n354 go\r\n")
        .says(".\r\n");
    assert_eq!(dialog.0.take_event(), None);
    let outcome = dialog.hear("250 empty message taken\r\n").finished();
    assert_eq!(codes(&outcome), ["Rcpt 550", "Rcpt 550"]);
    assert!(outcome.reusable);
}

#[test]
fn e10_mail_refused_then_closed_keeps_the_cause() {
    let mut dialog = Dialog::greeted(&["PIPELINING"]);
    dialog.begin(&["a", "b"]).hear("550 5.7.1 go away\r\n");
    dialog.0.lost(Reason::ConnectionLost);
    let outcome = dialog.finished();
    assert_eq!(codes(&outcome), ["Mail 550", "Mail 550"]);
    assert!(!outcome.reusable);
}

#[test]
fn e10_nonsense_behind_the_354_keeps_what_was_refused() {
    // In one read: nobody has taken the wish for the message yet.
    for behind in ["nonsense\r\n", ""] {
        let mut dialog = Dialog::greeted(&["PIPELINING"]);
        dialog.begin(&["a", "b"]);
        dialog.hear("250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n");
        match behind {
            "" => dialog.0.lost(Reason::ConnectionLost),
            text => drop(dialog.hear(text)),
        }
        let outcome = dialog.finished();
        assert_eq!(codes(&outcome)[1], "Rcpt 550");
        assert!(codes(&outcome)[0].starts_with("Message "));
        assert!(!outcome.reusable && dialog.0.is_over());
    }
}

#[test]
fn e11_lost_after_the_final_dot_is_unknown() {
    for reason in [
        Reason::ConnectionLost,
        Reason::TimedOut,
        Reason::ProtocolError,
    ] {
        let mut dialog = Dialog::greeted(&["PIPELINING"]);
        dialog.begin(&["a", "b"]);
        dialog
            .hear("250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n")
            .sends_message();
        dialog.hear("25").0.lost(reason);
        let outcome = dialog.finished();
        assert_eq!(codes(&outcome), ["FinalDot outcome-unknown", "Rcpt 550"]);
    }
}

#[test]
fn e12_lost_before_the_final_dot_is_not() {
    let mut dialog = Dialog::greeted(&["PIPELINING"]);
    dialog.begin(&["a"]).hear("250 ok\r\n250 ok\r\n354 go\r\n");
    assert_eq!(dialog.0.take_event(), Some(Event::SendMessage));
    dialog.0.lost(Reason::ConnectionLost);
    let outcome = dialog.finished();
    assert_eq!(codes(&outcome), ["Message connection-lost"]);
}

#[test]
fn e13_whatever_follows_quit_is_fine() {
    for farewell in ["221 bye\r\n", "500 what?\r\n", "garbage\r\n"] {
        let mut dialog = Dialog::greeted(&[]);
        dialog.0.quit();
        dialog.says("QUIT\r\n").hear(farewell);
        assert_eq!(dialog.0.take_event(), Some(Event::Closed));
    }
    let mut dialog = Dialog::greeted(&[]);
    dialog.0.quit();
    dialog.0.lost(Reason::ConnectionLost);
    assert_eq!(dialog.0.take_event(), Some(Event::Closed));
}
