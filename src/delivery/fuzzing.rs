//! The client session, opened for the fuzz targets.
//!
//! Owns a driver that does what `connection` does, without octets on a wire.
//! Holds always: it asks the session nothing that `connection` would not ask.
//! Called by `fuzz/` and `tests/fuzz_corpus.rs` alone.

use crate::types::{
    Achieved, AuthenticatedBy, Mailbox, Permit, Reason, Required, TlsFacts, TlsLevel,
};

use super::session::{Event, Login, RecipientEnd, Session, Transaction};

/// Transactions of one session at most.
const TRANSACTIONS: usize = 3;

/// What is to be done with a far side.
#[derive(Debug, Clone, Copy)]
pub struct Errand {
    /// Ask for TLS before anything else.
    pub tls: bool,
    /// Log in once there is TLS.
    pub login: bool,
    /// Whether there are permits at all.
    pub permits: bool,
    /// Recipients of each transaction.
    pub recipients: usize,
    /// Octets that arrive at once, at least one.
    pub piece: usize,
    /// Let the next octets come before the message's last block is sent.
    pub slow: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Played {
    /// All that was sent, without messages.
    pub said: Vec<u8>,
    /// Transactions that were begun.
    pub begun: usize,
    /// Final dots that were sent.
    pub dots: usize,
    /// For each transaction that ended, whether each recipient was delivered to.
    pub ended: Vec<Vec<bool>>,
    /// Whether the session knew that it was over when the connection was lost.
    pub is_over: bool,
}

/// Plays a session against a far side that says these octets and hangs up.
#[must_use]
pub fn play(octets: &[u8], errand: Errand) -> Played {
    let mut session = Session::new("relay.example".into());
    let mut played = Played::default();
    let mut unsent = false;
    for piece in octets.chunks(errand.piece.max(1)) {
        session.receive(piece);
        if std::mem::take(&mut unsent) {
            session.message_sent();
            played.dots += 1;
        }
        unsent = follow(&mut session, errand, &mut played);
    }
    session.lost(Reason::ConnectionLost);
    follow(&mut session, errand, &mut played);
    played.is_over = session.is_over();
    played
}

/// Does what the session wants done; gives whether a message is still to be sent.
fn follow(session: &mut Session, errand: Errand, played: &mut Played) -> bool {
    loop {
        played.said.extend_from_slice(&session.take_output());
        match session.take_event() {
            Some(Event::Ready) => next(session, errand, played),
            Some(Event::Finished(outcome)) => {
                let ends = outcome.recipients.iter();
                let ends = ends.map(|end| matches!(end, RecipientEnd::Delivered(_)));
                played.ended.push(ends.collect());
                if outcome.reusable {
                    next(session, errand, played);
                }
            }
            Some(Event::ShakeHands) => session.secured(),
            Some(Event::SendMessage) if errand.slow => return true,
            Some(Event::SendMessage) => {
                session.message_sent();
                played.dots += 1;
            }
            Some(Event::Failed(_)) => session.quit(),
            Some(Event::Closed) | None => return false,
        }
    }
}

/// The next thing for an idle session.
fn next(session: &mut Session, errand: Errand, played: &mut Played) {
    let said = String::from_utf8_lossy(&played.said);
    let (asked, logged_in) = (said.contains("STARTTLS\r\n"), said.contains("AUTH "));
    if !session.is_idle() {
        return;
    }
    if errand.tls && !asked {
        return session.start_tls();
    }
    let permit = || errand.permits.then(|| permit(errand.tls)).flatten();
    match (permit(), transaction(errand.recipients)) {
        (Some(permit), _) if errand.login && errand.tls && !logged_in => session.log_in(
            permit,
            Login {
                username: "relay".into(),
                password: "secret".to_owned().into(),
            },
        ),
        (Some(permit), Some(transaction)) if played.begun < TRANSACTIONS => {
            played.begun += 1;
            session.begin(permit, transaction);
        }
        _ => session.quit(),
    }
}

fn permit(secured: bool) -> Option<Permit> {
    let facts = TlsFacts {
        version: "TLSv1.3".into(),
        cipher: "TLS_AES_128_GCM_SHA256".into(),
        group: String::new(),
        certificate: None,
    };
    let achieved = match secured {
        true => Achieved::handshake(facts, Some(AuthenticatedBy::Route)).ok()?,
        false => Achieved::cleartext(),
    };
    debug_assert!(!secured || achieved.level() >= Some(TlsLevel::Authenticated));
    Permit::grant(&Required::nothing(), &achieved).ok()
}

fn transaction(recipients: usize) -> Option<Transaction> {
    let mailbox = |text: &str| Mailbox::parse(text).ok();
    let to = ["r@b.example", "\"s t\"@b.example", "u@[192.0.2.1]"];
    let all: Option<Vec<_>> = to
        .iter()
        .cycle()
        .take(recipients.max(1))
        .map(|t| mailbox(t))
        .collect();
    Some(Transaction {
        sender: mailbox("\"s s\"@a.example"),
        recipients: all?,
        size: 100,
        eight_bit: recipients.is_multiple_of(2),
    })
}
