//! What is asked of the committer.
//!
//! Owns the jobs and the hold on parts of unfinished messages. Holds always: a
//! part of a message that is never finished pins its segment only as long as
//! someone holds it. Sent by intakes, settlements and the keeper.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::types::{Message, QueueId, RecipientStatus, Settlement};

use super::super::SpoolError;
use super::copies::NewCopy;
use super::core::Core;
use super::payload::{PartRef, Place};

/// What a fact counts as, octets: most messages have one recipient.
const FACT: usize = 128;

/// Where an answer goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, SpoolError>>;

/// A piece of work.
pub(super) enum Job {
    /// A message with its last octets.
    Accept {
        message: Arc<Message>,
        content: Content,
        reply: Reply<()>,
    },
    /// A run of a large body.
    Part {
        id: QueueId,
        number: u32,
        pieces: Vec<Bytes>,
        /// Whether it is for a message that is live already, being moved.
        is_carried: bool,
        reply: Reply<HeldPart>,
    },
    /// A settlement.
    Settle {
        /// Without its copies.
        settlement: Settlement,
        copies: Vec<NewCopy>,
        reply: Reply<()>,
    },
    /// A live message to be moved, if it is still where it was, and no copy has come
    /// since ([`SpoolError::Unknown`]).
    Carry {
        message: Message,
        from: Place,
        content: Content,
        copies: Vec<NewCopy>,
        reply: Reply<()>,
    },
    /// A message of an export, unless there is one of that id
    /// ([`SpoolError::Unknown`]).
    Import {
        message: Message,
        statuses: Vec<RecipientStatus>,
        content: Content,
        copies: Vec<NewCopy>,
        reply: Reply<()>,
    },
    /// What a segment says of messages in older ones, the segment of whose record is
    /// given with each; with the last of it the segment is given up.
    Restate {
        facts: Vec<(QueueId, u32)>,
        gives_up: Option<u32>,
        reply: Reply<()>,
    },
    /// Look after yourself: heal, rebuild, see how much room there is.
    Wake { reply: oneshot::Sender<()> },
    /// Stop, once what came before is done.
    Close { reply: oneshot::Sender<()> },
}

/// A message's body as it comes to the committer.
pub(super) enum Content {
    /// Whole.
    Inline(Vec<Bytes>),
    /// In parts, already written.
    Parts(Vec<HeldPart>),
}

impl Content {
    /// Octets that come with it.
    pub(super) fn octets(&self) -> usize {
        match self {
            Self::Inline(pieces) => octets(pieces),
            Self::Parts(_) => 0,
        }
    }
}

impl Job {
    /// How much it adds to a group commit, in octets, roughly.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Accept { content, .. } => content.octets(),
            Self::Carry {
                content, copies, ..
            }
            | Self::Import {
                content, copies, ..
            } => content.octets() + octets_of(copies),
            Self::Part { pieces, .. } => octets(pieces),
            Self::Settle {
                settlement, copies, ..
            } => {
                let messages = settlement.messages.iter().map(|m| m.octets.len());
                messages.sum::<usize>() + octets_of(copies)
            }
            Self::Restate { facts, .. } => facts.len() * FACT,
            Self::Wake { .. } | Self::Close { .. } => 0,
        }
    }
}

/// Octets that come with copies.
pub(super) fn octets_of(copies: &[NewCopy]) -> usize {
    let contents = copies.iter().filter_map(|copy| copy.content.as_ref());
    contents.map(Content::octets).sum()
}

/// Octets of all pieces.
pub(super) fn octets(pieces: &[Bytes]) -> usize {
    pieces.iter().map(Bytes::len).sum()
}

/// A written part of a message that is not finished yet. Dropping it lets its
/// segment go.
pub(super) struct HeldPart {
    core: Arc<Core>,
    pub(super) part: PartRef,
}

impl HeldPart {
    /// Takes hold; the books must not be locked.
    pub(super) fn new(core: &Arc<Core>, part: PartRef) -> Self {
        core.books().add_pending(part.at.segment);
        Self {
            core: Arc::clone(core),
            part,
        }
    }
}

impl Drop for HeldPart {
    fn drop(&mut self) {
        self.core.books().drop_pending(self.part.at.segment);
    }
}
