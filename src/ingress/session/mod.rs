//! The server session as a state machine without I/O.
//!
//! Octets and answers go in, [`Action`]s come out; the socket task in front of
//! it does them in order. Holds always: each complete command gets exactly one
//! reply, in order (RFC 5321 section 4.2, RFC 2920 section 3.2); no body is
//! taken before MAIL and RCPT were accepted from a principal; one commit a final
//! dot at most; what a client said in the clear is forgotten under TLS; memory is
//! bounded whatever is sent. No socket, clock or DNS here.

mod action;
mod auth;
mod commands;
mod data;
#[cfg(test)]
pub(in crate::ingress) mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_data;
#[cfg(test)]
mod tests_dialogs;
#[cfg(test)]
mod tests_property;
mod transaction;

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

pub use action::{Action, Answer, Rules, Secured, Sight};

use super::admission::Rights;
use super::replies;
use super::sasl::Exchange;
use crate::types::{MessageFacts, Protocol, QueueId, Timestamp};
use crate::wire::{Command, CommandError, CommandLines, LineKind, Reply};
use transaction::Transaction;

/// Where the session stands.
#[derive(Debug)]
enum Phase {
    /// Waits for a command.
    Command,
    /// Waits for the response to a 334.
    Sasl(Exchange),
    /// Reads a message.
    Data,
    /// Waits for an answer.
    Waiting(Awaited),
    /// Is over.
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Secured,
    Verdict,
    Opened,
    Written,
    Counted,
    Committed,
}

/// What EHLO or HELO said.
#[derive(Debug)]
struct Hello {
    name: String,
    extended: bool,
}

/// One client's session.
#[derive(Debug)]
pub struct Session {
    rules: Arc<Rules>,
    client: IpAddr,
    secured: Option<Secured>,
    now: Timestamp,
    input: Input,
    lines: CommandLines,
    output: BytesMut,
    actions: VecDeque<Action>,
    phase: Phase,
    hello: Option<Hello>,
    /// What an account that logged in may do.
    login: Option<Rights>,
    transaction: Option<Transaction>,
    /// The facts of a message that is whole, while patterns are counted in its text.
    uncounted: Option<MessageFacts>,
    /// The message whose commit is waited for.
    committing: Option<QueueId>,
    errors: u32,
    /// Commands since the last message that led to none.
    idle_commands: u32,
}

/// Octets received and not yet looked at; content, so absent from `Debug`.
#[derive(Default)]
struct Input(BytesMut);

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Input({} octets)", self.0.len())
    }
}

impl Session {
    /// Starts with the greeting. `secured` is given where TLS came first
    /// (RFC 8314 section 3.3).
    #[must_use]
    pub fn new(rules: Arc<Rules>, client: IpAddr, secured: Option<Secured>) -> Self {
        let mut session = Self {
            client: client.to_canonical(),
            secured,
            now: Timestamp::default(),
            input: Input::default(),
            lines: CommandLines::new(),
            output: BytesMut::new(),
            actions: VecDeque::new(),
            phase: Phase::Command,
            hello: None,
            login: None,
            transaction: None,
            uncounted: None,
            committing: None,
            errors: 0,
            idle_commands: 0,
            rules,
        };
        session.reply(&replies::greeting(&session.rules.hostname));
        session
    }

    /// Starts with the refusal of a client that talked before it was greeted
    /// (RFC 5321 section 3.1): a proxy or a spammer, not a mail client.
    #[must_use]
    pub fn refuse_early_talk(rules: Arc<Rules>, client: IpAddr) -> Self {
        let mut session = Self::new(rules, client, None);
        session.output.clear();
        session.close_with(&replies::early_talk());
        session
    }

    /// Takes octets that were read, at the time they were.
    pub fn receive(&mut self, octets: &[u8], now: Timestamp) {
        self.now = now;
        if !matches!(self.phase, Phase::Closed) {
            self.input.0.extend_from_slice(octets);
        }
    }

    /// What to do next. If an answer is still owed, the session is given up.
    pub fn advance(&mut self) -> Action {
        loop {
            if let Some(action) = self.actions.pop_front() {
                return action;
            }
            if self.output.len() >= OUTPUT_MAX {
                self.flush();
                continue;
            }
            match self.step() {
                Progress::Made => {}
                Progress::Over => return Action::Close,
                Progress::Starved if self.output.is_empty() => return Action::Read,
                Progress::Starved => self.flush(),
            }
        }
    }

    /// Takes the answer to an action; one that was not asked for ends the
    /// session.
    pub fn answer(&mut self, answer: Answer) {
        let Phase::Waiting(awaited) = self.phase else {
            return self.close_with(&replies::internal());
        };
        self.phase = Phase::Command;
        match (awaited, answer) {
            (Awaited::Secured, Answer::Secured(secured)) => self.start_over(secured),
            (Awaited::Verdict, Answer::Verdict(verdict)) => self.logged_in(verdict),
            (Awaited::Opened, Answer::Opened(result)) => self.opened(result),
            (Awaited::Written, Answer::Written(result)) => self.written(result),
            (Awaited::Counted, Answer::Counted(counts)) => self.counted(counts),
            (Awaited::Committed, Answer::Committed(result)) => self.committed(result),
            _ => self.close_with(&replies::internal()),
        }
    }

    /// Ends the session from outside: time-out, shutdown. In the middle of a
    /// message the 421 comes in place of the reply to it.
    pub fn abort(&mut self, reply: &Reply) {
        if !matches!(self.phase, Phase::Closed) {
            self.close_with(reply);
        }
    }

    /// Whether a message is under way: such a session gets time at shutdown.
    #[must_use]
    pub fn in_transaction(&self) -> bool {
        self.transaction.is_some() || self.committing.is_some()
    }

    /// Whether the octets of a message are being read.
    #[must_use]
    pub fn reads_message(&self) -> bool {
        matches!(self.phase, Phase::Data)
    }

    fn step(&mut self) -> Progress {
        match &mut self.phase {
            Phase::Command => self.take_command(),
            Phase::Sasl(_) => self.take_response(),
            Phase::Data => self.take_data(),
            Phase::Waiting(_) => Progress::Over,
            Phase::Closed if self.output.is_empty() => Progress::Over,
            Phase::Closed => Progress::Starved,
        }
    }

    fn take_command(&mut self) -> Progress {
        match self.lines.next(&mut self.input.0, LineKind::Command) {
            Ok(None) => return Progress::Starved,
            Ok(Some(line)) => match Command::parse(&line) {
                Ok(command) => self.obey(command),
                Err(error) => {
                    if let (CommandError::Recipient(_), Some(open)) = (error, &mut self.transaction)
                    {
                        open.refused_any = true;
                    }
                    self.refuse(&error.reply());
                }
            },
            Err(error) => self.refuse(&error.reply()),
        }
        Progress::Made
    }

    /// Forgets all that was said before TLS (RFC 3207 section 4.2, I4).
    fn start_over(&mut self, secured: Secured) {
        self.secured = Some(secured);
        self.hello = None;
        self.login = None;
        self.lines = CommandLines::new();
        self.drop_transaction();
    }

    fn drop_transaction(&mut self) {
        if self.transaction.take().is_some() {
            self.actions.push_back(Action::Discard);
        }
    }

    fn reply(&mut self, reply: &Reply) {
        reply.write_to(&mut self.output);
    }

    /// A reply that counts as the client's error. From [`ERRORS_SOFT`] on it is
    /// slow, at [`ERRORS_HARD`] the last.
    fn refuse(&mut self, reply: &Reply) {
        if self.count_error() {
            self.reply(reply);
        }
    }

    /// Whether the session goes on.
    fn count_error(&mut self) -> bool {
        self.errors += 1;
        if self.errors >= ERRORS_HARD {
            self.close_with(&replies::too_many_errors());
            return false;
        }
        if self.errors >= ERRORS_SOFT {
            self.flush();
            self.actions.push_back(Action::Pause(TARPIT));
        }
        true
    }

    /// A command that leads to no message. From [`IDLE_COMMANDS_MAX`] on each
    /// counts as an error, or a client that never sends anything could keep its
    /// connection, and us busy, for ever. Whether the session goes on.
    fn count_idle(&mut self) -> bool {
        self.idle_commands = self.idle_commands.saturating_add(1);
        self.idle_commands <= IDLE_COMMANDS_MAX || self.count_error()
    }

    fn close_with(&mut self, reply: &Reply) {
        self.drop_transaction();
        self.reply(reply);
        self.flush();
        self.phase = Phase::Closed;
        self.input.0.clear();
    }

    fn ask(&mut self, action: Action, awaited: Awaited) {
        self.flush();
        self.actions.push_back(action);
        self.phase = Phase::Waiting(awaited);
    }

    fn flush(&mut self) {
        if !self.output.is_empty() {
            let octets = self.output.split().freeze();
            self.actions.push_back(Action::Send(octets));
        }
    }

    /// The protocol word (RFC 3848).
    fn protocol(&self) -> Protocol {
        let extended = self.hello.as_ref().is_some_and(|hello| hello.extended);
        match (&self.secured, &self.login) {
            (Some(_), Some(_)) => Protocol::Esmtpsa,
            (Some(_), None) => Protocol::Esmtps,
            (None, _) if extended => Protocol::Esmtp,
            (None, _) => Protocol::Smtp,
        }
    }
}

/// Whether [`Session::step`] got anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Made,
    /// Needs more octets.
    Starved,
    /// Nothing more will come.
    Over,
}

/// Errors after which replies get slow.
const ERRORS_SOFT: u32 = 10;
/// Errors after which the session ends.
const ERRORS_HARD: u32 = 20;
/// Commands that lead to no message, between two messages.
const IDLE_COMMANDS_MAX: u32 = 100;
/// How slow.
const TARPIT: Duration = Duration::from_secs(2);
/// Octets of replies gathered before they are sent, although more commands wait.
const OUTPUT_MAX: usize = 8 * 1024;
