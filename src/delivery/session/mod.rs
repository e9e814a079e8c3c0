//! The client's session as a state machine without I/O.
//!
//! Owns the dialog from the greeting to QUIT (RFC 5321 section 4): reply octets
//! go in by [`Session::receive`], command octets come out of
//! [`Session::take_output`], and [`Session::take_event`] says what the driver has
//! to do next. Holds always: no transaction begins without a `Permit`, which it
//! uses up; STARTTLS is sent only when told to; what was offered before TLS is
//! forgotten after it; whatever the far side sends, the session ends in an event
//! and its memory stays bounded. Knows no socket and no clock. Called by
//! `connection`, and by tests octet by octet.

mod exchange;
mod login;

use bytes::BytesMut;

use self::exchange::{Exchange, Progress};
pub(crate) use self::exchange::{Outcome, RecipientEnd, Transaction};
pub(crate) use self::login::Login;
use self::login::LoginDialog;
use super::failure;
use crate::types::{Failure, Permit, Reason, RemoteReply, Stage, TlsLevel};
use crate::wire::{Extensions, FarReply, ReplyReader};

/// What the driver has to do, or what came of what it asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The session is idle: hello or login is done.
    Ready,
    /// Shake hands, then call [`Session::secured`].
    ShakeHands,
    /// Send the message, telling [`Session::message_sent`] before its last block.
    SendMessage,
    /// The transaction is over.
    Finished(Outcome),
    /// The session is over, outside of a transaction.
    Failed(Failure),
    /// QUIT was answered or the far side has gone: close.
    Closed,
}

/// What is awaited.
enum State {
    Greeting,
    Ehlo,
    Helo,
    /// Nothing: the driver speaks next.
    Idle,
    /// The 220 to STARTTLS.
    StartTls,
    /// Nothing: the driver shakes hands.
    Handshake,
    Login(LoginDialog),
    Transaction(Box<Exchange>),
    /// Of no more use but for QUIT.
    Failed,
    Quit,
    Over,
}

/// One SMTP session, from the client's side.
pub(crate) struct Session {
    name: String,
    state: State,
    reader: ReplyReader,
    input: BytesMut,
    output: BytesMut,
    event: Option<Event>,
    offers: Extensions,
    /// The EHLO reply, where it shows that STARTTLS was masked.
    masked: Option<RemoteReply>,
    /// The code of the greeting.
    greeting: Option<u16>,
    secured: bool,
    /// A transaction is still open at the far side, so RSET comes first. A clean
    /// session sends none: some count it as junk (pitfall E19).
    dirty: bool,
    /// Replies read so far.
    replies: u64,
}

impl std::fmt::Debug for Session {
    /// Buffers may hold addresses and credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({:?})", self.stage())
    }
}

impl Session {
    /// Awaits the greeting; will say `EHLO name`.
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            state: State::Greeting,
            reader: ReplyReader::new(),
            input: BytesMut::new(),
            output: BytesMut::new(),
            event: None,
            offers: Extensions::default(),
            masked: None,
            greeting: None,
            secured: false,
            dirty: false,
            replies: 0,
        }
    }

    /// What is to be sent.
    pub(crate) fn take_output(&mut self) -> BytesMut {
        self.output.split()
    }

    /// What is to be done, if something is.
    pub(crate) fn take_event(&mut self) -> Option<Event> {
        self.event.take()
    }

    /// Where in the dialog this is: names the time limit and failures.
    pub(crate) fn stage(&self) -> Stage {
        match &self.state {
            State::Greeting => Stage::Greeting,
            State::Ehlo | State::Helo => Stage::Hello,
            State::StartTls | State::Handshake => Stage::StartTls,
            State::Login(_) => Stage::Auth,
            State::Transaction(exchange) => exchange.stage(),
            State::Idle | State::Failed | State::Quit | State::Over => Stage::Mail,
        }
    }

    /// Whether another transaction may begin: idle, and nothing unasked for has
    /// arrived.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle) && self.input.is_empty() && !self.reader.is_mid_reply()
    }

    /// How many replies came whole: each starts a new wait.
    pub(crate) fn replies(&self) -> u64 {
        self.replies
    }

    /// Whether nothing more can come of it.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Takes octets from the far side.
    pub(crate) fn receive(&mut self, octets: &[u8]) {
        if self.is_over() {
            return;
        }
        self.input.extend_from_slice(octets);
        self.read_replies();
    }

    /// Reads what has arrived as far as replies are awaited.
    fn read_replies(&mut self) {
        while self.awaits_reply() {
            match self.reader.feed(&mut self.input) {
                Ok(Some(reply)) => {
                    self.replies += 1;
                    self.on_reply(&reply);
                }
                Ok(None) => return,
                Err(_) => return self.lost(Reason::ProtocolError),
            }
        }
    }

    fn awaits_reply(&self) -> bool {
        use State::{Failed, Handshake, Idle, Over};
        !matches!(self.state, Idle | Handshake | Failed | Over)
    }

    /// The connection ended, broke, or a time limit ran out: `reason` says which.
    /// What was already answered keeps its answer (pitfall E10).
    pub(crate) fn lost(&mut self, reason: Reason) {
        let stage = self.stage();
        let event = match std::mem::replace(&mut self.state, State::Over) {
            State::Over => return,
            State::Quit | State::Failed => Event::Closed,
            State::Transaction(exchange) => Event::Finished(exchange.lost(reason)),
            // A handshake that the far side did not like shows only now (TLS 1.3,
            // pitfall E22).
            State::Ehlo | State::Helo if self.secured => {
                Event::Failed(failure::ours(Reason::TlsInterrupted, Stage::StartTls))
            }
            _ => Event::Failed(failure::ours(reason, stage)),
        };
        self.input.clear();
        // An event that nobody took yet was there first, and stands; but the message
        // is not wanted any more.
        if matches!(self.event, None | Some(Event::SendMessage)) {
            self.event = Some(event);
        }
    }

    /// Sends STARTTLS (RFC 3207 section 4); without an offer the session fails
    /// with [`Reason::NoStarttls`].
    pub(crate) fn start_tls(&mut self) {
        if self.offers.starttls && !self.secured {
            self.output.extend_from_slice(b"STARTTLS\r\n");
            self.state = State::StartTls;
            return;
        }
        let mut failure = failure::ours(Reason::NoStarttls, Stage::StartTls);
        failure.reply = self.masked.clone();
        self.fail(failure);
    }

    /// Whether the EHLO reply shows that STARTTLS was overwritten on the way
    /// (RFC 3207 section 6, pitfall E23).
    pub(crate) fn is_masked(&self) -> bool {
        self.masked.is_some()
    }

    /// The code of the greeting, once it is there.
    pub(crate) fn greeting(&self) -> Option<u16> {
        self.greeting
    }

    /// Whether the last EHLO reply offers STARTTLS.
    pub(crate) fn offers_starttls(&self) -> bool {
        self.offers.starttls
    }

    /// The handshake is done: all that was learnt in the clear is forgotten, and
    /// EHLO is said anew (RFC 3207 section 4.2).
    pub(crate) fn secured(&mut self) {
        self.secured = true;
        self.offers = Extensions::default();
        self.masked = None;
        self.ehlo();
    }

    /// Logs in (RFC 4954). Asks for a permit of its own: credentials go over
    /// authenticated TLS alone (pitfall E29).
    pub(crate) fn log_in(&mut self, permit: Permit, login: Login) {
        let authenticated = permit.achieved() >= Some(TlsLevel::Authenticated);
        match LoginDialog::begin(&self.offers, login) {
            Some((dialog, first)) if authenticated => {
                self.output.extend_from_slice(first.as_bytes());
                self.state = State::Login(dialog);
            }
            _ => self.fail(failure::ours(Reason::AuthFailed, Stage::Auth)),
        }
    }

    /// Begins a transaction. No permit, no MAIL FROM; it is used up here, and the
    /// next transaction needs one of its own.
    pub(crate) fn begin(&mut self, _permit: Permit, transaction: Transaction) {
        if !self.is_idle() {
            self.state = State::Failed;
            let outcome = transaction.broken(failure::ours(Reason::ProtocolError, Stage::Mail));
            self.event = Some(Event::Finished(outcome));
            return;
        }
        match Exchange::begin(transaction, &self.offers, self.dirty, &mut self.output) {
            Ok(exchange) => {
                self.dirty = false;
                self.state = State::Transaction(Box::new(exchange));
            }
            Err(outcome) => self.event = Some(Event::Finished(outcome)),
        }
    }

    /// The message's last block, with the final dot, is about to be sent: from
    /// here on a lost connection leaves the outcome unknown (RFC 1047).
    pub(crate) fn message_sent(&mut self) {
        if let State::Transaction(exchange) = &mut self.state {
            exchange.message_sent();
        }
    }

    /// The final dot did not leave after all, so nobody can have taken the message
    /// (pitfall E12).
    pub(crate) fn message_cut(&mut self) {
        if let State::Transaction(exchange) = &mut self.state {
            exchange.message_cut();
        }
    }

    /// Says QUIT; whatever comes back is fine.
    pub(crate) fn quit(&mut self) {
        if !self.is_over() {
            self.output.extend_from_slice(b"QUIT\r\n");
            self.state = State::Quit;
        }
    }

    fn on_reply(&mut self, reply: &FarReply) {
        if matches!(self.state, State::Greeting) {
            self.greeting = Some(reply.code());
        }
        match &mut self.state {
            State::Transaction(exchange) => {
                let progress = exchange.on_reply(reply, &mut self.output);
                self.progress(progress);
            }
            State::Quit => {
                self.state = State::Over;
                self.event = Some(Event::Closed);
            }
            // Nothing but a refusal can follow; the driver may still say QUIT.
            _ if reply.code() == 421 => self.refused(reply),
            State::Greeting if reply.is_positive() => self.ehlo(),
            State::Ehlo if reply.is_positive() => self.greeted(reply),
            // RFC 5321 section 3.2: an old server gets HELO, which offers nothing.
            State::Ehlo if reply.is_permanent() => {
                self.say_hello("HELO");
                self.state = State::Helo;
            }
            State::Helo if reply.is_positive() => {
                self.offers = Extensions::default();
                self.idle();
            }
            State::StartTls if reply.is_positive() => self.shake_hands(),
            State::StartTls => self.fail(Failure {
                reason: Reason::StarttlsRefused,
                ..failure::said(Stage::StartTls, reply.to_remote())
            }),
            State::Login(dialog) => match dialog.on_reply(reply) {
                login::Step::Say(line) => self.output.extend_from_slice(line.as_bytes()),
                login::Step::Done => self.idle(),
                login::Step::Refused => self.fail(failure::auth(reply.to_remote())),
            },
            _ => self.refused(reply),
        }
    }

    fn ehlo(&mut self) {
        self.say_hello("EHLO");
        self.state = State::Ehlo;
    }

    fn say_hello(&mut self, verb: &str) {
        let line = format!("{verb} {}\r\n", self.name);
        self.output.extend_from_slice(line.as_bytes());
    }

    fn greeted(&mut self, reply: &FarReply) {
        self.offers = Extensions::from_ehlo(reply);
        self.masked = self.offers.starttls_masked.then(|| reply.to_remote());
        self.idle();
    }

    fn idle(&mut self) {
        self.state = State::Idle;
        self.event = Some(Event::Ready);
    }

    /// Octets behind the 220 came in the clear: whoever sent them wants them
    /// taken for the server's own (RFC 3207 section 4.2, pitfall E21).
    fn shake_hands(&mut self) {
        if self.input.is_empty() {
            self.state = State::Handshake;
            self.event = Some(Event::ShakeHands);
        } else {
            self.fail(failure::ours(Reason::ProtocolError, Stage::StartTls));
        }
    }

    fn progress(&mut self, progress: Progress) {
        match progress {
            Progress::Waiting => {}
            Progress::SendMessage => self.event = Some(Event::SendMessage),
            Progress::Finished { outcome, dirty } => {
                self.state = match outcome.reusable {
                    true => State::Idle,
                    // Perhaps in the middle of a message, where QUIT is content.
                    false => State::Over,
                };
                self.dirty = dirty;
                self.event = Some(Event::Finished(outcome));
            }
        }
    }

    /// A reply that ends the session: temporary, permanent, or none that fits.
    fn refused(&mut self, reply: &FarReply) {
        let stage = self.stage();
        self.fail(match reply.is_temporary() || reply.is_permanent() {
            true => failure::said(stage, reply.to_remote()),
            false => failure::ours(Reason::ProtocolError, stage),
        });
    }

    /// Ends the session's use. It stays good for a QUIT (RFC 5321 section 3.1
    /// wants one even after a 554 greeting, pitfall E4).
    fn fail(&mut self, failure: Failure) {
        self.state = State::Failed;
        self.event = Some(Event::Failed(failure));
    }
}

/// The name to greet with: the hostname if it can be resolved, else, if one is
/// known, our address (RFC 5321 sections 2.3.5 and 4.1.4, pitfall E20).
pub(crate) fn greeting_name(
    hostname: &crate::types::Domain,
    address: Option<std::net::IpAddr>,
) -> String {
    let name = hostname.as_str();
    match address {
        Some(ip) if name.contains('_') || !name.contains('.') => {
            crate::types::Host::Literal(ip).to_string()
        }
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod dialog_tests;
#[cfg(test)]
mod property_tests;
