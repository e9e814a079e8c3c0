//! What records say of the octets that are laid in them, or beside them.
//!
//! Owns the layout of bodies: which octets ride in a record, in which order, and what
//! its head says of them and of those in parts. Holds always: parts are on the disk
//! before the record that names them. Used by [`super::stage`].

use bytes::Bytes;

use crate::types::{Settlement, Timestamp};

use super::super::rules;
use super::copies::{CopyHead, NewCopy};
use super::job::{Content, HeldPart, octets};
use super::locate::{Span, spans};
use super::payload::{BodyPlan, NewHead, Position, SettlementHead};

/// The body of a record in the making, to which copies are added.
pub(super) struct Laid {
    at: Position,
    octets: u64,
    pub(super) pieces: Vec<Bytes>,
    /// Parts of what is too large for the record.
    pub(super) parts: Vec<HeldPart>,
}

impl Laid {
    pub(super) fn behind(at: Position, pieces: Vec<Bytes>) -> Self {
        Self {
            at,
            octets: octets(&pieces) as u64,
            pieces,
            parts: Vec::new(),
        }
    }

    /// Adds copies; gives what the record's head says of them.
    pub(super) fn copies(&mut self, copies: Vec<NewCopy>) -> Vec<CopyHead> {
        let heads = copies.into_iter().map(|mut copy| {
            if let Some(content) = copy.content {
                copy.head.spans = self.lay(content);
            }
            copy.head
        });
        heads.collect()
    }

    fn lay(&mut self, content: Content) -> Vec<Span> {
        match content {
            Content::Inline(mut pieces) => {
                let span = Span {
                    at: self.at,
                    start: self.octets,
                    octets: octets(&pieces) as u64,
                };
                self.octets += span.octets;
                self.pieces.append(&mut pieces);
                vec![span]
            }
            Content::Parts(mut parts) => {
                let plan = BodyPlan::Parts(parts.iter().map(|held| held.part).collect());
                self.parts.append(&mut parts);
                spans(self.at, plan)
            }
        }
    }
}

/// A settlement as its record has it: the head, and the new messages' octets.
pub(super) fn settlement_head(
    settlement: Settlement,
    now: Timestamp,
) -> (SettlementHead, Vec<Bytes>) {
    let (messages, bodies) = settlement
        .messages
        .into_iter()
        .map(|new| {
            let head = NewHead {
                message: new.message,
                octets: new.octets.len() as u64,
            };
            (head, new.octets)
        })
        .unzip();
    let changes = settlement
        .changes
        .into_iter()
        .map(|change| rules::tidy(change, now))
        .collect();
    let head = SettlementHead {
        changes,
        messages,
        copies: Vec::new(),
        events: settlement.events,
    };
    (head, bodies)
}

/// What a message's record says of its body, and holds of it.
pub(super) fn split(content: Content) -> (BodyPlan, Vec<Bytes>, Vec<HeldPart>) {
    match content {
        Content::Inline(pieces) => (BodyPlan::Inline(octets(&pieces) as u64), pieces, Vec::new()),
        Content::Parts(parts) => {
            let plan = BodyPlan::Parts(parts.iter().map(|held| held.part).collect());
            (plan, Vec::new(), parts)
        }
    }
}
