//! Drives a session in tests: octets in, everything that comes out noted.

use std::sync::Arc;

use super::*;
use crate::ingress::accounts::{Account, tests::cheap_hash};
use crate::ingress::admission::SenderPattern;
use crate::ingress::auth::Verdict;
use crate::ingress::settings::{Limits, Listener, ListenerKind};
use crate::spool::{SpoolError, Ticket};
use crate::types::{Domain, QueueId, Wanted};

/// `AUTH PLAIN` of scanner with "secret".
pub(in crate::ingress) const LOGIN: &str = "AUTH PLAIN AHNjYW5uZXIAc2VjcmV0\r\n";

/// The address all these sessions come from.
pub(in crate::ingress) const CLIENT: &str = "192.0.2.7";

pub(in crate::ingress) fn listener(kind: ListenerKind) -> Listener {
    let relay = kind == ListenerKind::Relay;
    let domain = |text| Domain::parse(text).unwrap();
    Listener {
        bind: "[::]:587".into(),
        address: "[::1]:0".parse().unwrap(),
        kind,
        tls_required: !relay,
        networks: if relay {
            vec!["192.0.2.0/24".parse().unwrap()]
        } else {
            vec![]
        },
        certificates: vec![],
        require_both: false,
        client_roots: vec![],
        sender_domains: if relay {
            vec![domain("clinic.example")]
        } else {
            vec![]
        },
        refuse_without_tls: false,
    }
}

pub(in crate::ingress) fn rules(kind: ListenerKind) -> Rules {
    let listener = listener(kind);
    Rules {
        hostname: Domain::parse("relay.example").unwrap(),
        postmaster: None,
        sender_domains: listener.sender_domains.clone().into(),
        listener,
        foresight: Sight::default(),
        limits: Limits {
            message_size: 10_000,
            recipients: 3,
            ..Limits::default()
        },
        wanted: Arc::default(),
    }
}

pub(in crate::ingress) fn account() -> Arc<Account> {
    let senders = vec![
        SenderPattern::parse("@clinic.example").unwrap(),
        SenderPattern::parse("lab@other.example").unwrap(),
    ];
    Arc::new(Account::new("scanner", &cheap_hash(), senders).unwrap())
}

pub(in crate::ingress) fn secured() -> Secured {
    Secured {
        version: "TLSv1.3".into(),
        cipher: "TLS_AES_256_GCM_SHA384".into(),
        names: vec![],
    }
}

/// A session with a far side that does what it asks.
pub(in crate::ingress) struct Driven {
    pub(in crate::ingress) session: Session,
    /// All replies so far.
    pub(in crate::ingress) out: String,
    /// What the intake under way got.
    body: Option<Vec<u8>>,
    /// What was committed.
    pub(in crate::ingress) commits: Vec<(Ticket, String)>,
    /// Since the last 354: `body` and `commit`, and the codes of replies.
    pub(in crate::ingress) order: Vec<String>,
    pub(in crate::ingress) discards: usize,
    pub(in crate::ingress) pauses: usize,
    pub(in crate::ingress) closed: bool,
    wanted: Arc<Wanted>,
    /// What the spool says.
    pub(in crate::ingress) open: Result<(), SpoolError>,
    pub(in crate::ingress) write: Result<(), SpoolError>,
    pub(in crate::ingress) commit: Result<(), SpoolError>,
}

impl Driven {
    pub(in crate::ingress) fn with(rules: Rules, secured: Option<Secured>) -> Self {
        let wanted = Arc::clone(&rules.wanted);
        let session = Session::new(Arc::new(rules), CLIENT.parse().unwrap(), secured);
        let mut driven = Self {
            session,
            out: String::new(),
            body: None,
            commits: Vec::new(),
            order: Vec::new(),
            discards: 0,
            pauses: 0,
            closed: false,
            wanted,
            open: Ok(()),
            write: Ok(()),
            commit: Ok(()),
        };
        driven.run();
        driven.out.clear();
        driven
    }

    /// On a submission listener, before anything was said.
    pub(in crate::ingress) fn submission() -> Self {
        Self::with(rules(ListenerKind::Submission), None)
    }

    /// Under TLS and logged in.
    pub(in crate::ingress) fn logged_in() -> Self {
        Self::logged_in_with(rules(ListenerKind::Submissions))
    }

    /// The same by other rules.
    pub(in crate::ingress) fn logged_in_with(rules: Rules) -> Self {
        let mut driven = Self::with(rules, Some(secured()));
        driven.say("EHLO me\r\n");
        assert_eq!(driven.say(LOGIN), "235 2.7.0 Authentication successful\r\n");
        driven
    }

    /// On a relay listener, greeted, without TLS.
    pub(in crate::ingress) fn relay() -> Self {
        let mut driven = Self::with(rules(ListenerKind::Relay), None);
        driven.say("EHLO me\r\n");
        driven
    }

    /// Logged in, with DATA said.
    pub(in crate::ingress) fn in_data() -> Self {
        let mut driven = Self::logged_in();
        driven.say("MAIL FROM:<a@clinic.example>\r\nRCPT TO:<b@x.example>\r\n");
        assert!(driven.say("DATA\r\n").starts_with("354 "));
        driven
    }

    /// Sends octets; gives what is replied.
    pub(in crate::ingress) fn say(&mut self, octets: impl AsRef<[u8]>) -> String {
        let before = self.out.len();
        self.session.receive(
            octets.as_ref(),
            Timestamp::from_micros(1_800_000_000_000_000),
        );
        self.run();
        self.out[before..].to_owned()
    }

    /// Sends octets one by one.
    pub(in crate::ingress) fn trickle(&mut self, octets: impl AsRef<[u8]>) -> String {
        octets
            .as_ref()
            .iter()
            .map(|octet| self.say([*octet]))
            .collect()
    }

    /// The codes of the replies to these octets.
    pub(in crate::ingress) fn codes(&mut self, octets: impl AsRef<[u8]>) -> Vec<u16> {
        codes(&self.say(octets))
    }

    fn run(&mut self) {
        for _ in 0..1_000_000 {
            match self.session.advance() {
                Action::Read => return,
                Action::Send(octets) => {
                    let text = std::str::from_utf8(&octets).unwrap();
                    self.note_replies(text);
                    self.out += text;
                }
                Action::Pause(_) => self.pauses += 1,
                Action::StartTls => self.session.answer(Answer::Secured(secured())),
                Action::Authenticate(login) => {
                    let good = login.name == "scanner" && login.password.as_slice() == b"secret";
                    let verdict = match good {
                        true => Verdict::Accepted(account()),
                        false => Verdict::Refused,
                    };
                    self.session.answer(Answer::Verdict(verdict));
                }
                Action::Open => {
                    let id = QueueId::new(Timestamp::from_micros(7), [0; 4]);
                    self.body = self.open.is_ok().then(Vec::new);
                    self.session
                        .answer(Answer::Opened(self.open.clone().map(|()| id)));
                }
                Action::Body(octets) => {
                    if self.order.last().is_none_or(|last| last != "body") {
                        self.order.push("body".to_owned());
                    }
                    self.body
                        .as_mut()
                        .expect("an intake")
                        .extend_from_slice(&octets);
                    self.session.answer(Answer::Written(self.write.clone()));
                }
                Action::Count(texts) => {
                    self.order.push("count".to_owned());
                    let counts = texts.count(&self.wanted.patterns);
                    self.session.answer(Answer::Counted(counts));
                }
                Action::Commit(ticket) => {
                    self.order.push("commit".to_owned());
                    let body = self.body.take().expect("an intake");
                    let before = self.out.len();
                    if self.commit.is_ok() {
                        let text = String::from_utf8_lossy(&body).into_owned();
                        self.commits.push((*ticket, text));
                    }
                    self.session.answer(Answer::Committed(self.commit.clone()));
                    assert_eq!(self.out.len(), before);
                }
                Action::Discard => {
                    self.discards += 1;
                    self.body = None;
                }
                Action::Close => {
                    self.closed = true;
                    self.body = None;
                    return;
                }
            }
        }
        panic!("the session spins");
    }

    fn note_replies(&mut self, text: &str) {
        for code in codes(text) {
            match code {
                354 => self.order.clear(),
                _ => self.order.push(code.to_string()),
            }
        }
    }

    /// Whether an intake is open.
    pub(in crate::ingress) fn has_intake(&self) -> bool {
        self.body.is_some()
    }
}

/// The codes of these replies, one a reply.
pub(in crate::ingress) fn codes(replies: &str) -> Vec<u16> {
    replies
        .split_terminator("\r\n")
        .filter(|line| line.as_bytes()[3] == b' ')
        .map(|line| line[..3].parse().unwrap())
        .collect()
}
