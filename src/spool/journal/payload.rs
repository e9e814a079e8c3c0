//! What records say, once opened.
//!
//! Owns the heads of the record kinds and their encoding (postcard). Holds
//! always: a change here is a change of the journal's format and needs a new
//! version in the header. Called by the committer, recovery and body readers.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::types::{AuditEvent, Message, RecipientChange, RecipientStatus};

/// A place in the journal: where a record begins, or where one would.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub(super) struct Position {
    /// Which segment.
    pub(super) segment: u32,
    /// Octets from its start.
    pub(super) offset: u64,
}

/// Where a message lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Its record.
    pub(super) at: Position,
    /// Which of a settlement's new messages, counted from 1; 0 elsewhere.
    pub(super) slot: u32,
}

/// One run of a large body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PartRef {
    /// Its part record.
    pub(super) at: Position,
    /// Octets of the body in it.
    pub(super) octets: u32,
}

/// Where a body lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum BodyPlan {
    /// In the same record: so many octets.
    Inline(u64),
    /// In part records, in order.
    Parts(Vec<PartRef>),
}

impl BodyPlan {
    /// Octets in all.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Inline(octets) => *octets,
            Self::Parts(parts) => parts.iter().map(|p| u64::from(p.octets)).sum(),
        }
    }
}

/// The head of an accept record.
#[derive(Serialize, Deserialize)]
pub(super) struct AcceptHead {
    pub(super) message: Message,
    pub(super) body: BodyPlan,
}

/// The head of a carry record.
#[derive(Serialize, Deserialize)]
pub(super) struct CarryHead {
    pub(super) message: Message,
    pub(super) statuses: Vec<RecipientStatus>,
    pub(super) body: BodyPlan,
}

/// The head of a settlement record; the new messages' octets are its body, one
/// behind the other.
#[derive(Serialize, Deserialize)]
pub(super) struct SettlementHead {
    pub(super) changes: Vec<RecipientChange>,
    pub(super) messages: Vec<NewHead>,
    pub(super) events: Vec<AuditEvent>,
}

/// A new message in a settlement.
#[derive(Serialize, Deserialize)]
pub(super) struct NewHead {
    pub(super) message: Message,
    /// Octets of it in the record's body.
    pub(super) octets: u64,
}

/// The head of a follow record.
#[derive(Serialize, Deserialize)]
pub(super) struct FollowHead {
    /// Where the segment before ends: what lies behind was never acknowledged.
    pub(super) previous: Option<Position>,
}

/// # Errors
/// If the encoder refuses, which for these types it has no reason to.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Bytes, postcard::Error> {
    postcard::to_stdvec(value).map(Bytes::from)
}

/// # Errors
/// If these octets are no `T`.
pub(super) fn decode<T: DeserializeOwned>(octets: &[u8]) -> Result<T, postcard::Error> {
    postcard::from_bytes(octets)
}
