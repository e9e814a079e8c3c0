//! The durable store of accepted messages and what is still to be done.
//!
//! Owns the [`Store`] contract and the engines behind it: the journal with its
//! sled index, and one in memory for tests. Holds always: a commit or settlement
//! that returned `Ok` survives kill -9 and power loss; a settlement takes effect
//! whole or not at all; what can't be read is named, never skipped in silence.
//! `ingress` writes messages in, `queue` asks what is due, `outcome`'s
//! settlements come back through [`Store::settle`].

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

pub use crate::types::EventSink;
use crate::types::{
    Body, BoxFuture, Domain, Envelope, Host, Message, MessageFacts, Origin, QueueId,
    RecipientStatus, Settlement, State, StoredCopy, Timestamp,
};

mod fresh;
mod journal;
mod memory;
mod rules;
mod settings;
mod tables;

#[doc(hidden)]
pub use journal::fuzzing;
pub use journal::{
    Archive, ArchiveError, Checked, CutTail, DamagedPlace, DamagedRecord, Ended, Export, Exported,
    ImportError, Imported, ImportedMessage, IndexState, JournalStore, OpenError, Opened, Place,
    RebuildReason, RotateError, Rotated, Taken, Unreadable, UnreadableMessage, check,
    discard_index, messages_of, rehearse, rotate_key,
};
pub use memory::MemoryStore;
pub use settings::{MasterKey, Settings};
pub use tables::{Tables, TablesCopy, TablesOpened};

/// Why the spool did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SpoolError {
    /// No room for new messages; settlements still have theirs (452 4.3.1).
    #[error("the spool is full")]
    Full,
    /// A write or flush failed, so nothing is accepted until the segment has been
    /// reopened (451 4.3.0).
    #[error("the spool can't write: {0}")]
    Sick(Arc<std::io::Error>),
    /// The spool has been closed.
    #[error("the spool is closed")]
    Closed,
    /// No such message, or one with nothing open.
    #[error("no such message in the spool")]
    Unknown,
    /// What was read is damaged.
    #[error("the stored record is damaged")]
    Damaged,
}

/// What ingress hands over with the last octet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Where it came from.
    pub origin: Origin,
    /// Who sends it to whom.
    pub envelope: Envelope,
    /// What is known of it.
    pub facts: MessageFacts,
}

/// A message being written in. Dropping it before [`Intake::commit`] leaves
/// nothing behind.
pub trait Intake: Send {
    /// The name it will have, for its Received field.
    fn id(&self) -> QueueId;

    /// Takes the next octets of the message as it will go out. Waits where the
    /// disk is slower than the client.
    ///
    /// # Errors
    /// [`SpoolError::Full`], [`SpoolError::Sick`] or [`SpoolError::Closed`];
    /// then nothing of it is kept.
    fn write(&mut self, octets: Bytes) -> BoxFuture<'_, Result<(), SpoolError>>;

    /// Makes the message durable with its recipients, each `queued` and due at
    /// once. `Ok` is the moment of responsibility (RFC 5321 section 6.1).
    ///
    /// # Errors
    /// As [`Intake::write`]; then nothing of it is kept.
    fn commit(
        self: Box<Self>,
        ticket: Ticket,
    ) -> BoxFuture<'static, Result<Arc<Message>, SpoolError>>;
}

/// A message fresh from its commit, handed to the queue from memory.
#[derive(Debug, Clone)]
pub struct Fresh {
    /// The message; all its recipients are due.
    pub message: Arc<Message>,
    /// Its octets.
    pub body: Arc<dyn Body>,
}

/// What the queue is told without asking.
///
/// The channel for fresh messages is bounded. Where it is full, the message
/// stays in the due index alone and its hosts are listed by
/// [`Store::take_overflow`]; nothing is lost.
pub type FreshReceiver = mpsc::Receiver<Fresh>;

/// A stored message with its recipients' status.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The message.
    pub message: Arc<Message>,
    /// One status for each recipient of the envelope, in its order.
    pub recipients: Vec<RecipientStatus>,
    /// Its octets.
    pub body: Arc<dyn Body>,
    /// Protected copies that are kept, by the recipient's place, in that order.
    pub copies: Vec<(u32, StoredCopy)>,
}

impl Stored {
    /// The copy that is kept for a recipient.
    #[must_use]
    pub fn copy(&self, index: u32) -> Option<StoredCopy> {
        let found = self.copies.iter().find(|(at, _)| *at == index);
        found.map(|(_, copy)| copy.clone())
    }
}

/// An entry of the due index: at `when`, recipients of `id` at one host are due.
/// `when` is the earliest of theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    /// When.
    pub when: Timestamp,
    /// Which message.
    pub id: QueueId,
}

/// Which messages [`Store::list`] gives: all conditions must hold, for the
/// message's sender or for one and the same recipient.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Recipients at this domain.
    pub domain: Option<Domain>,
    /// This reverse-path, compared without case; empty is `<>`.
    pub sender: Option<String>,
    /// Recipients in this state.
    pub state: Option<State>,
}

/// How many recipients are in which state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Messages with an open recipient.
    pub messages: u64,
    /// Open recipients, held ones included.
    pub recipients: u64,
    /// Held recipients.
    pub held: u64,
    /// Octets of the messages with an open recipient.
    pub octets: u64,
    /// Recipients in state `dead` whose message is still listed.
    pub dead: u64,
    /// The oldest message with an open recipient.
    pub oldest: Option<Timestamp>,
    /// Octets on disk in the journal.
    pub disk: u64,
}

/// What waits, counted anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Messages with an open recipient, by the moments asked for: accepted after
    /// the first, after the second but not the first, and so on; the last, before
    /// all of them.
    pub by_age: Vec<u64>,
    /// Messages with a queued recipient at each host that has some.
    pub by_host: Vec<(Host, u64)>,
}

/// The store contract. Every engine passes the same contract test.
///
/// All calls may be made at once from any task; none blocks an async thread.
pub trait Store: Send + Sync {
    /// Starts a message.
    ///
    /// # Errors
    /// [`SpoolError::Full`], [`SpoolError::Sick`] or [`SpoolError::Closed`]; ask
    /// at MAIL, so that a full disk is told before the octets are sent.
    fn intake(&self) -> Result<Box<dyn Intake>, SpoolError>;

    /// Applies a settlement: statuses, new messages, copies to be kept, audit events,
    /// all or none. (A copy for which there is no room is left out, with a log line.)
    /// When the last recipient becomes final, the message is gone from the lists
    /// (one with a `dead` recipient stays listed). New messages reach the queue
    /// as fresh ones do.
    ///
    /// # Errors
    /// [`SpoolError::Sick`] or [`SpoolError::Closed`]: try again later;
    /// [`SpoolError::Unknown`]: no such open message, or none with all the
    /// recipients that the changes name. Changes to final states are passed over,
    /// but for `dead` to `removed`, which takes it off the lists.
    fn settle(&self, settlement: Settlement) -> BoxFuture<'_, Result<(), SpoolError>>;

    /// A message with its statuses.
    ///
    /// # Errors
    /// [`SpoolError::Unknown`] or [`SpoolError::Damaged`].
    fn load(&self, id: QueueId) -> BoxFuture<'_, Result<Stored, SpoolError>>;

    /// The hosts with a due entry, each with its earliest. Costs by the number
    /// of hosts, not of messages.
    fn due_hosts(&self) -> BoxFuture<'_, Result<Vec<(Host, Timestamp)>, SpoolError>>;

    /// The due entries of a host in order, from behind `after`, up to and
    /// including those at `until`, at most `limit`.
    fn due(
        &self,
        host: &Host,
        after: Option<Due>,
        until: Timestamp,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Due>, SpoolError>>;

    /// Messages with recipients that are held until a moment up to `until`, in
    /// order of those moments, at most `limit`. They are not in the due index.
    fn held(&self, until: Timestamp, limit: usize) -> BoxFuture<'_, Result<Vec<Due>, SpoolError>>;

    /// Hosts that got entries which did not fit the fresh channel, since last
    /// asked.
    fn take_overflow(&self) -> Vec<Host>;

    /// Messages with an open (or dead) recipient in order of acceptance, from
    /// behind `after`, at most `limit`.
    fn list(
        &self,
        filter: &Filter,
        after: Option<QueueId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Stored>, SpoolError>>;

    /// Counts.
    fn stats(&self) -> BoxFuture<'_, Result<Stats, SpoolError>>;

    /// Counts what waits by age, for moments from the latest to the earliest, and
    /// by host. Costs by the number of messages (it reads the index, not the
    /// journal), so whoever asks often keeps the answer for a while.
    fn survey(&self, moments: Vec<Timestamp>) -> BoxFuture<'_, Result<Survey, SpoolError>>;

    /// Marks a message as being attempted, without a flush: it survives a crash
    /// of the process, which is what it is for.
    fn begin_attempt(&self, id: QueueId);

    /// Takes that mark away.
    fn end_attempt(&self, id: QueueId);

    /// Open messages that were being attempted when the last process ended
    /// uncleanly: they go last and alone (design section 3.1). Empty after the
    /// first call.
    fn take_suspects(&self) -> Vec<QueueId>;

    /// Makes everything durable and stops; later calls give
    /// [`SpoolError::Closed`].
    fn close(&self) -> BoxFuture<'_, ()>;
}
