//! Protected copies in the journal: what their records say, and where they lie.
//!
//! Owns the form of a copy in heads and index, and its way into the journal. Holds
//! always: a copy's octets are on the disk before, or in the same record as, the head
//! that names them; a copy has a name of its own, which it keeps when it is moved, so
//! that no reading goes on in another one; each segment it touches counts it as live
//! until it is let go. A copy of up to 1 MiB rides in the settlement's record (all of
//! them together up to that); of a larger one 1 MiB at a time goes to the committer,
//! and nothing of it is copied on the way, so it takes the memory that its maker has
//! given it and no more. Used by the store, the committer, recovery and compaction.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::types::{ContentProof, KeptCopy, Method, QueueId, RecipientStatus};

use super::super::SpoolError;
use super::apply::{add_extent, part_octets};
use super::core::Core;
use super::intake::{PART, ask};
use super::job::{Content, Job};
use super::locate::Span;
use super::payload::{CarryHead, Headed, Position, SettlementHead, decode};
use super::record::Kind;
use super::segments::{SegmentError, Segments};

/// Octets of a head that a copy in it is counted with.
const OVERHEAD: u64 = 512;

/// A copy as the head of a settlement or a carry names it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct CopyHead {
    /// Its name.
    pub(super) copy: QueueId,
    /// The recipient's place in the envelope.
    pub(super) index: u32,
    pub(super) method: Method,
    pub(super) proof: ContentProof,
    /// Where its octets lie, in order.
    pub(super) spans: Vec<Span>,
}

impl CopyHead {
    /// Octets in all.
    pub(super) fn size(&self) -> u64 {
        self.spans.iter().map(|span| span.octets).sum()
    }
}

/// A copy in the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CopyEntry {
    /// Its name.
    pub(super) copy: QueueId,
    /// The record whose head names it.
    pub(super) at: Position,
    /// Which of those that the head names, counted from 0.
    pub(super) slot: u32,
    /// Octets of it in each segment.
    pub(super) extents: Vec<(u32, u64)>,
}

impl CopyEntry {
    /// Whether any of it lies in a segment.
    pub(super) fn is_in(&self, segment: u32) -> bool {
        self.extents.iter().any(|(s, _)| *s == segment)
    }
}

/// A copy on its way to the committer.
pub(super) struct NewCopy {
    /// Without its spans, unless it stays where it is.
    pub(super) head: CopyHead,
    /// `None`: it stays where it is.
    pub(super) content: Option<Content>,
}

/// What the heads of a record at a place say, as the index has it.
pub(super) fn entries(heads: &[CopyHead], at: Position) -> Vec<(u32, CopyEntry)> {
    let entry = |(slot, head): (u32, &CopyHead)| {
        let mut extents = vec![(at.segment, OVERHEAD)];
        for span in &head.spans {
            add_extent(&mut extents, span.at.segment, part_octets(span.octets));
        }
        let entry = CopyEntry {
            copy: head.copy,
            at,
            slot,
            extents,
        };
        (head.index, entry)
    };
    (0u32..).zip(heads).map(entry).collect()
}

/// Octets of copies in the body of the record at a place.
pub(super) fn inline_octets(heads: &[CopyHead], at: Position) -> u64 {
    let spans = heads.iter().flat_map(|head| &head.spans);
    let here = spans.filter(|span| span.at == at);
    here.map(|span| span.octets).sum()
}

/// Whether a copy of this recipient is worth keeping.
pub(super) fn is_wanted(statuses: &[RecipientStatus], index: u32) -> bool {
    let status = statuses.get(index as usize);
    status.is_some_and(|status| status.state.is_open())
}

/// Reads what a record's head says of a copy.
///
/// # Errors
/// [`SegmentError`].
pub(super) fn locate_copy(
    segments: &Segments,
    id: QueueId,
    entry: &CopyEntry,
) -> Result<CopyHead, SegmentError> {
    let segment = segments.get(entry.at.segment)?;
    let (header, head) = segment.head(entry.at.offset)?;
    let copies = match header.kind {
        Kind::Settlement => decode::<SettlementHead>(&head).map(|head| head.copies),
        Kind::Carry => CarryHead::from_octets(&head).map(|head| head.copies),
        _ => return Err(SegmentError::Damaged),
    };
    let copies = copies.map_err(|_| SegmentError::Damaged)?;
    let found = copies.into_iter().nth(entry.slot as usize);
    found
        .filter(|found| found.copy == entry.copy && header.id == id)
        .ok_or(SegmentError::Damaged)
}

/// Writes what is too large for the settlement's record, and gives what the committer
/// is to name. A copy for which there is no room is left out, with a log line: then the
/// next attempt makes another.
///
/// # Errors
/// [`SpoolError`], but for [`SpoolError::Full`].
pub(super) async fn write(
    core: &Arc<Core>,
    jobs: &mpsc::Sender<Job>,
    id: QueueId,
    copies: Vec<KeptCopy>,
) -> Result<Vec<NewCopy>, SpoolError> {
    let (mut left, mut parts) = (PART, 0);
    let mut new = Vec::with_capacity(copies.len());
    // The last one of a recipient counts.
    let last: HashMap<u32, usize> = (copies.iter().map(|c| c.index)).zip(0..).collect();
    for (place, copy) in copies.into_iter().enumerate() {
        if last.get(&copy.index) != Some(&place) {
            continue;
        }
        let content = match left.checked_sub(copy.octets.len()) {
            Some(rest) => {
                left = rest;
                Content::Inline(vec![copy.octets])
            }
            None => match write_parts(jobs, id, copy.octets, &mut parts).await {
                Ok(content) => content,
                Err(SpoolError::Full) => {
                    tell_full(id);
                    continue;
                }
                Err(error) => return Err(error),
            },
        };
        let head = CopyHead {
            copy: core.ids.next()?,
            index: copy.index,
            method: copy.method,
            proof: copy.proof,
            spans: Vec::new(),
        };
        new.push(NewCopy {
            head,
            content: Some(content),
        });
    }
    Ok(new)
}

/// Says that a copy could not be kept.
pub(super) fn tell_full(id: QueueId) {
    tracing::warn!(
        %id,
        "the spool has no room to keep a protected copy: should the message have to go again, \
         it is encrypted anew"
    );
}

async fn write_parts(
    jobs: &mpsc::Sender<Job>,
    id: QueueId,
    mut octets: Bytes,
    number: &mut u32,
) -> Result<Content, SpoolError> {
    let mut parts = Vec::new();
    while !octets.is_empty() {
        let pieces = vec![octets.split_to(PART.min(octets.len()))];
        let part = ask(jobs, |reply| Job::Part {
            id,
            number: *number,
            pieces,
            is_carried: false,
            reply,
        });
        parts.push(part.await?);
        *number = number.saturating_add(1);
    }
    Ok(Content::Parts(parts))
}
