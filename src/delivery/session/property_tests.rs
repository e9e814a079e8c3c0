//! Whatever the far side sends: no panic, no MAIL without a permit, no bare CR or
//! LF, bounded memory.

use proptest::prelude::*;

use super::*;
use crate::types::{Achieved, Mailbox, Required};

/// One thing that happens to a session.
#[derive(Debug, Clone)]
enum Happening {
    Hear(Vec<u8>),
    StartTls,
    Secured,
    LogIn,
    Begin,
    MessageSent,
    Quit,
    Lost,
}

/// Octets that look like replies often enough to get somewhere.
fn octets() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        2 => proptest::collection::vec(any::<u8>(), 0..200),
        8 => "(2[0-5][0-9]|3[35]4|[45][0-9][0-9])[ -]([245]\\.[0-9]\\.[0-9] )?[A-Z ]{0,9}\r\n"
            .prop_map(String::into_bytes),
        2 => Just(b"250-x\r\n250-STARTTLS\r\n250-PIPELINING\r\n250 AUTH PLAIN LOGIN\r\n".to_vec()),
    ]
}

fn happening(with_begin: bool) -> impl Strategy<Value = Happening> {
    prop_oneof![
        12 => octets().prop_map(Happening::Hear),
        2 => Just(Happening::StartTls),
        2 => Just(Happening::Secured),
        1 => Just(Happening::LogIn),
        if with_begin { 6 } else { 1 } =>
            Just(if with_begin { Happening::Begin } else { Happening::StartTls }),
        2 => Just(Happening::MessageSent),
        1 => Just(Happening::Quit),
        1 => Just(Happening::Lost),
    ]
}

fn permit() -> Permit {
    Permit::grant(&Required::nothing(), &Achieved::cleartext()).unwrap()
}

fn transaction() -> Transaction {
    let mailbox = |text| Mailbox::parse(text).unwrap();
    Transaction {
        sender: Some(mailbox("\"s s\"@a.example")),
        recipients: vec![mailbox("r@b.example"), mailbox("t@[192.0.2.1]")],
        size: 100,
        eight_bit: false,
    }
}

/// Plays the happenings; gives all that was said.
fn play(happenings: Vec<Happening>) -> Vec<u8> {
    let mut session = Session::new("relay.example".into());
    let mut said = Vec::new();
    for happening in happenings {
        match happening {
            Happening::Hear(octets) => session.receive(&octets),
            Happening::StartTls if session.is_idle() => session.start_tls(),
            Happening::Secured if matches!(session.state, State::Handshake) => session.secured(),
            Happening::LogIn if session.is_idle() => session.log_in(
                permit(),
                Login {
                    username: "u".into(),
                    password: "p".to_owned().into(),
                },
            ),
            Happening::Begin if session.is_idle() => session.begin(permit(), transaction()),
            Happening::MessageSent => session.message_sent(),
            Happening::Quit => session.quit(),
            Happening::Lost => session.lost(Reason::ConnectionLost),
            _ => {}
        }
        said.extend_from_slice(&session.take_output());
        if let Some(Event::Finished(outcome)) = session.take_event() {
            assert_eq!(outcome.recipients.len(), 2);
        }
        assert!(session.input.len() < 1 << 20);
    }
    said
}

fn has_bare_line_ending(octets: &[u8]) -> bool {
    let text = String::from_utf8_lossy(octets).replace("\r\n", "");
    text.contains(['\r', '\n'])
}

proptest! {
    #[test]
    fn never_mail_without_a_permit(
        happenings in proptest::collection::vec(happening(false), 0..60)
    ) {
        let said = String::from_utf8(play(happenings)).unwrap();
        for word in ["MAIL", "RCPT", "DATA", "AUTH", "@"] {
            prop_assert!(!said.contains(word), "{}", said);
        }
    }

    #[test]
    fn never_a_bare_line_ending_nor_a_panic(
        happenings in proptest::collection::vec(happening(true), 0..80)
    ) {
        let said = play(happenings);
        prop_assert!(!has_bare_line_ending(&said));
        prop_assert!(said.is_empty() || said.ends_with(b"\r\n"));
    }
}
