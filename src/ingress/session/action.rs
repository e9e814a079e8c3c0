//! What goes into a session and what comes out of it, as plain data.
//!
//! Holds always: nothing here shows content or a credential in `Debug`. Called
//! by the session and by the socket task.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::ingress::auth::Verdict;
use crate::ingress::sasl::Login;
use crate::ingress::settings::{Limits, Listener};
use crate::message::Texts;
use crate::spool::{SpoolError, Ticket};
use crate::types::{Domain, Foreseen, Foresight, Mailbox, NoForesight, QueueId, TextCount, Wanted};

/// What all sessions of one listener go by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Our name.
    pub hostname: Domain,
    /// `RCPT TO:<postmaster>`.
    pub postmaster: Option<Mailbox>,
    /// The listener.
    pub listener: Listener,
    /// `listener.sender_domains`, shared with each session's rights.
    pub sender_domains: Arc<[Domain]>,
    /// Limits.
    pub limits: Limits,
    /// What is noted of a message's content.
    pub wanted: Arc<Wanted>,
    /// Who knows which domains do no TLS.
    pub foresight: Sight,
}

/// Who is asked for `refuse_without_tls`, as a plain value.
#[derive(Clone)]
pub struct Sight(Arc<dyn Foresight>);

impl Sight {
    /// That one.
    #[must_use]
    pub fn new(foresight: Arc<dyn Foresight>) -> Self {
        Self(foresight)
    }

    pub(super) fn refuses(&self, question: Foreseen<'_>) -> bool {
        self.0.refuses(question)
    }
}

impl Default for Sight {
    fn default() -> Self {
        Self(Arc::new(NoForesight))
    }
}

impl fmt::Debug for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sight")
    }
}

impl PartialEq for Sight {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Sight {}

/// What is known of a connection's TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secured {
    /// As in [`crate::types::TlsFacts::version`].
    pub version: String,
    /// As in [`crate::types::TlsFacts::cipher`].
    pub cipher: String,
    /// The names of the client's certificate, if one was presented and verified.
    pub names: Vec<String>,
}

/// What the socket task is asked to do. Those marked "answer" must be answered
/// by [`super::Session::answer`] before [`super::Session::advance`] is called again.
#[derive(PartialEq, Eq)]
pub enum Action {
    /// Read octets into [`super::Session::receive`].
    Read,
    /// Write these octets.
    Send(Bytes),
    /// Wait before going on: the client makes many errors.
    Pause(Duration),
    /// Shake hands; answer [`Answer::Secured`].
    StartTls,
    /// Look at a login; answer [`Answer::Verdict`].
    Authenticate(Login),
    /// Start an intake; answer [`Answer::Opened`].
    Open,
    /// Write these octets to the intake; answer [`Answer::Written`].
    Body(Bytes),
    /// Count the wanted patterns in this text, off the threads that serve connections;
    /// answer [`Answer::Counted`].
    Count(Texts),
    /// Commit the intake; answer [`Answer::Committed`]. Nothing else may be
    /// waited for in between (RFC 1047, I24).
    Commit(Box<Ticket>),
    /// Drop the intake, if there is one.
    Discard,
    /// Close the connection.
    Close,
}

impl fmt::Debug for Action {
    /// Leaves content and credentials out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.write_str("Read"),
            Self::Send(octets) => write!(f, "Send({})", String::from_utf8_lossy(octets)),
            Self::Pause(span) => write!(f, "Pause({span:?})"),
            Self::StartTls => f.write_str("StartTls"),
            Self::Authenticate(_) => f.write_str("Authenticate(..)"),
            Self::Open => f.write_str("Open"),
            Self::Body(octets) => write!(f, "Body({} octets)", octets.len()),
            Self::Count(texts) => write!(f, "Count({texts:?})"),
            Self::Commit(_) => f.write_str("Commit(..)"),
            Self::Discard => f.write_str("Discard"),
            Self::Close => f.write_str("Close"),
        }
    }
}

/// What came of an [`Action`].
#[derive(Debug, Clone)]
pub enum Answer {
    /// TLS is up.
    Secured(Secured),
    /// What came of a login.
    Verdict(Verdict),
    /// The intake's id, or why there is none.
    Opened(Result<QueueId, SpoolError>),
    /// Whether the octets were taken.
    Written(Result<(), SpoolError>),
    /// How often each pattern is there; none: not all of the text could be read.
    Counted(Vec<TextCount>),
    /// Whether the message is durable.
    Committed(Result<(), SpoolError>),
}
