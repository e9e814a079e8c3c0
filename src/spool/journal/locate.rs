//! From a place in the journal to the message and the runs of its body.
//!
//! Owns the knowledge of where bodies lie in each kind of record. Holds always:
//! a head that opens but speaks of another message, or of runs that its record
//! can't hold, is damage. Called by reading calls, body readers and compaction.

use serde::{Deserialize, Serialize};

use crate::types::{Message, QueueId};

use super::payload::{
    AcceptHead, BodyPlan, CarryHead, Headed, Place, Position, SettlementHead, decode,
};
use super::record::{HEADER_LEN, Kind};
use super::seal::{Sealer, Section};
use super::segments::{SegmentError, Segments};

/// A run of a body within one record's body section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Span {
    /// The record.
    pub(super) at: Position,
    /// Octets of the section before it.
    pub(super) start: u64,
    /// Its octets.
    pub(super) octets: u64,
}

/// A message and where its body lies.
#[derive(Debug)]
pub(super) struct Located {
    pub(super) message: Message,
    pub(super) spans: Vec<Span>,
}

/// Reads the head at a place.
///
/// # Errors
/// [`SegmentError`].
pub(super) fn locate(
    segments: &Segments,
    id: QueueId,
    place: Place,
) -> Result<Located, SegmentError> {
    let segment = segments.get(place.at.segment)?;
    let (header, head) = segment.head(place.at.offset)?;
    let located = match header.kind {
        Kind::Accept => {
            let head = AcceptHead::from_octets(&head).map_err(|_| SegmentError::Damaged)?;
            Located {
                message: head.message,
                spans: spans(place.at, head.body),
            }
        }
        Kind::Carry => {
            let head = CarryHead::from_octets(&head).map_err(|_| SegmentError::Damaged)?;
            Located {
                message: head.message,
                spans: spans(place.at, head.body),
            }
        }
        Kind::Settlement => {
            let head: SettlementHead = decode(&head).map_err(|_| SegmentError::Damaged)?;
            new_message(place, head).ok_or(SegmentError::Damaged)?
        }
        Kind::Part | Kind::Follow | Kind::End | Kind::Restatement => {
            return Err(SegmentError::Damaged);
        }
    };
    if located.message.id == id {
        Ok(located)
    } else {
        Err(SegmentError::Damaged)
    }
}

/// Reads a run of a body whole; what comes has passed its seal.
///
/// # Errors
/// [`SegmentError`].
pub(super) fn read_span(
    segments: &Segments,
    id: QueueId,
    span: Span,
) -> Result<Vec<u8>, SegmentError> {
    let segment = segments.get(span.at.segment)?;
    let header = segment.header(span.at.offset)?;
    // A settlement goes by the name of the message that was settled.
    if header.id != id && header.kind != Kind::Settlement {
        return Err(SegmentError::Damaged);
    }
    let mut sealed = vec![0; header.body_len as usize];
    let body = span.at.offset + HEADER_LEN as u64 + u64::from(header.head_len);
    segment.read(&mut sealed, body)?;
    let about = header.about();
    let sealer = Sealer::new(&segment.key, &header.salt, &about)?;
    let mut plain = sealer.open_all(Section::Body, &sealed)?;
    let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
    let end = span.start.saturating_add(span.octets);
    if end > plain.len() as u64 {
        return Err(SegmentError::Damaged);
    }
    plain.truncate(place(end));
    plain.drain(..place(span.start));
    Ok(plain)
}

pub(super) fn spans(at: Position, plan: BodyPlan) -> Vec<Span> {
    match plan {
        BodyPlan::Inline(octets) => vec![Span {
            at,
            start: 0,
            octets,
        }],
        BodyPlan::Parts(parts) => parts
            .into_iter()
            .map(|part| Span {
                at: part.at,
                start: 0,
                octets: part.octets.into(),
            })
            .collect(),
    }
}

/// One of the new messages of a settlement.
fn new_message(place: Place, head: SettlementHead) -> Option<Located> {
    let slot = usize::try_from(place.slot).ok()?.checked_sub(1)?;
    let mut start = 0u64;
    for (at, new) in head.messages.into_iter().enumerate() {
        if at == slot {
            let span = Span {
                at: place.at,
                start,
                octets: new.octets,
            };
            return Some(Located {
                message: new.message,
                spans: vec![span],
            });
        }
        start = start.checked_add(new.octets)?;
    }
    None
}
