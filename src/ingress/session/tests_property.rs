//! Random sessions against an oracle.

use proptest::prelude::*;

use super::testing::*;
use crate::ingress::settings::ListenerKind;

/// Lines a client might send, sound and unsound.
const LINES: [&str; 34] = [
    "EHLO me",
    "HELO me",
    "EHLO",
    "STARTTLS",
    "AUTH PLAIN AHNjYW5uZXIAc2VjcmV0",
    "AUTH PLAIN",
    "AUTH LOGIN",
    "AHNjYW5uZXIAc2VjcmV0",
    "c2Nhbm5lcg==",
    "c2VjcmV0",
    "*",
    "MAIL FROM:<a@clinic.example>",
    "MAIL FROM:<a@clinic.example> SIZE=99999999",
    "MAIL FROM:<x@evil.example>",
    "MAIL FROM:<>",
    "MAIL FROM:<\u{fc}@x.example>",
    "RCPT TO:<b@x.example>",
    "RCPT TO:<c@x.example>",
    "RCPT TO:<postmaster>",
    "RCPT TO:<bad>",
    "DATA",
    "RSET",
    "NOOP",
    "VRFY x",
    "HELP",
    "",
    ".",
    "..",
    "From: a@clinic.example",
    "From: x@evil.example",
    "Subject: hello",
    "body \u{fc}",
    "FOO",
    "QUIT",
];

/// What the replies say about where the session is.
#[derive(Default)]
struct Oracle {
    hello: bool,
    tls: bool,
    login: bool,
    mail: bool,
    rcpt: bool,
    data: bool,
    dots: usize,
}

impl Oracle {
    fn saw(&mut self, line: &str, code: Option<u16>) {
        if self.data {
            if let Some(_reply) = code {
                self.dots += 1;
                (self.data, self.mail, self.rcpt) = (false, false, false);
            }
            return;
        }
        let verb = line.split([' ', ':']).next().unwrap_or_default();
        match (verb, code) {
            ("EHLO" | "HELO", Some(250)) => {
                (self.hello, self.mail, self.rcpt) = (true, false, false);
            }
            ("STARTTLS", Some(220)) => {
                assert!(!self.tls, "TLS twice");
                *self = Self {
                    tls: true,
                    dots: self.dots,
                    ..Self::default()
                };
            }
            (_, Some(235)) => {
                assert!(self.tls && self.hello && !self.login && !self.mail);
                self.login = true;
            }
            ("MAIL", Some(250)) => {
                assert!(self.hello && !self.mail);
                self.mail = true;
            }
            ("RCPT", Some(250)) => {
                assert!(self.mail, "RCPT before MAIL");
                self.rcpt = true;
            }
            ("RSET", Some(250)) => (self.mail, self.rcpt) = (false, false),
            ("DATA", Some(354)) => {
                assert!(self.mail && self.rcpt, "DATA too early");
                self.data = true;
            }
            _ => {}
        }
    }
}

fn start(kind: ListenerKind) -> Driven {
    let tls = (kind == ListenerKind::Submissions).then(secured);
    Driven::with(rules(kind), tls)
}

fn kinds() -> impl Strategy<Value = ListenerKind> {
    prop_oneof![
        Just(ListenerKind::Submission),
        Just(ListenerKind::Submissions),
        Just(ListenerKind::Relay),
    ]
}

/// A likely beginning, so that the depths are reached.
fn prelude() -> impl Strategy<Value = Vec<&'static str>> {
    prop_oneof![
        Just(vec![]),
        Just(vec![
            "EHLO me", "STARTTLS", "EHLO me", LINES[4], LINES[11], LINES[16]
        ]),
        Just(vec!["EHLO me", LINES[4], LINES[11], LINES[16], "DATA"]),
        Just(vec!["EHLO me", LINES[11], LINES[16], "DATA", "", "."]),
    ]
}

fn dialogs() -> impl Strategy<Value = Vec<&'static str>> {
    let rest = prop::collection::vec(prop::sample::select(&LINES[..]), 0..30);
    (prelude(), rest).prop_map(|(mut lines, rest)| {
        lines.extend(rest);
        lines
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn each_command_gets_one_reply_and_nothing_is_taken_early(
        kind in kinds(),
        lines in dialogs(),
    ) {
        let mut driven = start(kind);
        let mut oracle = Oracle { tls: kind == ListenerKind::Submissions, ..Oracle::default() };
        for line in lines {
            let replies = driven.codes(format!("{line}\r\n"));
            let inside = oracle.data && line != ".";
            prop_assert_eq!(replies.len(), usize::from(!inside), "{}", line);
            oracle.saw(line, replies.last().copied());
            if driven.has_intake() {
                prop_assert!(oracle.mail);
                prop_assert!(oracle.login || kind == ListenerKind::Relay);
            }
            prop_assert!(driven.commits.len() <= oracle.dots);
            if driven.closed {
                prop_assert!(matches!(replies.last(), Some(221 | 421)));
                break;
            }
        }
    }

    #[test]
    fn how_the_octets_are_cut_makes_no_difference(
        lines in dialogs(),
        noise in prop::collection::vec(any::<u8>(), 0..40),
        cuts in prop::collection::vec(1usize..50, 1..40),
    ) {
        let mut octets: Vec<u8> = lines.join("\r\n").into_bytes();
        let at = cuts.iter().sum::<usize>() % (octets.len() + 1);
        octets.splice(at..at, noise);
        for kind in [ListenerKind::Submissions, ListenerKind::Relay] {
            // What stands behind STARTTLS in the same piece is the one thing
            // where the cut must count (I3).
            let tls = Some(secured());
            let mut whole = Driven::with(rules(kind), tls.clone());
            whole.say(&octets);
            let mut cut = Driven::with(rules(kind), tls);
            let mut rest = &octets[..];
            for length in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (head, tail) = rest.split_at((*length).min(rest.len()));
                cut.say(head);
                rest = tail;
            }
            prop_assert_eq!(&whole.out, &cut.out);
            prop_assert_eq!(&whole.commits, &cut.commits);
            prop_assert_eq!(whole.closed, cut.closed);
        }
    }

    #[test]
    fn random_octets_are_survived(pieces in prop::collection::vec(
        prop::collection::vec(any::<u8>(), 0..200), 0..30,
    )) {
        let mut driven = start(ListenerKind::Relay);
        for piece in pieces {
            driven.say(piece);
        }
        codes(&driven.out);
        prop_assert!(driven.commits.is_empty());
    }
}
