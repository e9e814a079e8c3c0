//! The one way back into the spool.
//!
//! Owns what a Settlement holds. Holds always: all of it takes effect or none,
//! as one journal record; audit events carry ids of their own, so that feeding
//! one twice does no harm. Built by `outcome`, applied by `spool`.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    EventId, Evidence, KeptCopy, Learnt, Message, Method, QueueId, RecipientStatus, State,
    Timestamp,
};

/// What follows from an attempt, in one atomic piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The message that was attempted.
    pub id: QueueId,
    /// Its recipients' new status; those not named keep theirs.
    pub changes: Vec<RecipientChange>,
    /// DSNs and notices that follow, as new messages.
    pub messages: Vec<NewMessage>,
    /// Protected copies to be kept for recipients that stay open, each in place of the
    /// recipient's earlier one. What is kept goes when the recipient's state is final.
    pub copies: Vec<KeptCopy>,
    /// What the audit is told.
    pub events: Vec<AuditEvent>,
    /// What was learnt. It is told to the sink after the commit and is in no
    /// record: what a crash loses of it is learnt again.
    pub learnt: Option<Learnt>,
}

/// One recipient's new status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientChange {
    /// Its place in the envelope's recipients.
    pub index: u32,
    /// Its status from now on.
    pub status: RecipientStatus,
}

/// A message of Postern's own, whole.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewMessage {
    /// Everything but its octets.
    pub message: Message,
    /// Its octets: header and body, CRLF line ends, not dot-stuffed.
    pub octets: Bytes,
}

impl std::fmt::Debug for NewMessage {
    /// Content belongs in no log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "NewMessage({}, {} octets)",
            self.message.id,
            self.octets.len()
        )
    }
}

/// One recipient's change of state, or one deferral, for the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// This event's own name.
    pub event: EventId,
    /// The message.
    pub id: QueueId,
    /// When.
    pub time: Timestamp,
    /// The reverse-path, empty for `<>`.
    pub sender: String,
    /// The forward-path.
    pub recipient: String,
    /// The state it is in now; `queued` after a deferral or at acceptance.
    pub state: State,
    /// The method tried, if any.
    pub method: Option<Method>,
    /// The word for why ([`super::Reason::as_str`]); `None` when delivered.
    pub reason: Option<String>,
    /// What the far side said.
    pub reply: Option<String>,
    /// How it was protected, and why that way.
    pub evidence: Evidence,
    /// Who did it by hand, as the system names them; `None`: the daemon did it by
    /// itself.
    pub actor: Option<String>,
    /// What was done by hand, and the reason given for it; or the exception by
    /// which it went.
    pub note: Option<String>,
}

/// Where settled audit events go: after the commit, in order, at least once
/// (again after a crash; their ids make that harmless). Called from the spool's
/// own thread; may block.
pub trait EventSink: Send {
    /// Called once, when the spool is locked against other daemons and before
    /// anything is handed over.
    ///
    /// # Errors
    /// What the disk says; it is told, and no reason not to start.
    fn begin(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    /// Takes events.
    ///
    /// # Errors
    /// What the disk says; the events are then handed over again later.
    fn append(&mut self, events: &[AuditEvent]) -> std::io::Result<()>;

    /// Takes in what has come to it by other ways than the spool, and makes it
    /// durable. Called twice a second, also where nothing was settled.
    ///
    /// # Errors
    /// What the disk says; it is tried again with the next call.
    fn tend(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    /// Takes what was learnt; once, and not again after a crash. Must not block.
    fn learn(&mut self, _learnt: Learnt) {}

    /// Makes what was taken durable. The journal keeps events until then.
    ///
    /// # Errors
    /// What the disk says.
    fn sync(&mut self) -> std::io::Result<()>;
}
