//! What a record does to the index.
//!
//! Owns the one translation of records into index changes, used when a record is
//! written and when it is read back, so that a rebuilt index is the index there
//! was. Holds always: a record about a message that is not there does nothing.
//! Called by the committer and by recovery.

use crate::types::{QueueId, RecipientChange, RecipientStatus};

use super::super::rules;
use super::copies;
use super::entry::Entry;
use super::index::IndexError;
use super::payload::{
    AcceptHead, BodyPlan, CarryHead, Place, Position, RestatementHead, SettlementHead,
};
use super::record::HEADER_LEN;
use super::seal::sealed_len;
use super::txn::{NewEntry, Txn};

/// Octets of the index of a settlement that a new message in it is counted with,
/// besides its own.
const SLOT_OVERHEAD: u64 = 512;

/// A record's place and length in octets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    pub(super) at: Position,
    pub(super) octets: u64,
}

/// Enters an accepted message.
///
/// # Errors
/// [`IndexError`].
pub(super) fn accept(
    txn: &mut Txn<'_>,
    head: &AcceptHead,
    written: Written,
) -> Result<(), IndexError> {
    if txn.entry(head.message.id)?.is_some() {
        return Ok(());
    }
    txn.insert(NewEntry {
        message: &head.message,
        place: Place {
            at: written.at,
            slot: 0,
        },
        size: head.body.size(),
        extents: extents(written, &head.body),
        statuses: None,
        copies: Vec::new(),
    })
}

/// Moves a live message to its new place, with the statuses it has there.
///
/// # Errors
/// [`IndexError`].
pub(super) fn carry(
    txn: &mut Txn<'_>,
    head: &CarryHead,
    written: Written,
) -> Result<(), IndexError> {
    let id = head.message.id;
    if let Some(entry) = txn.entry(id)? {
        // Were this record to vanish before the ones it replaces, they would
        // bring the message back as it was.
        txn.pin(written.at.segment, entry.place.at.segment);
        txn.remove(id, &entry)?;
    }
    // What is let go by itself is counted by itself.
    let own = written
        .octets
        .saturating_sub(copies::inline_octets(&head.copies, written.at));
    let own = Written {
        octets: own,
        ..written
    };
    txn.insert(NewEntry {
        message: &head.message,
        place: Place {
            at: written.at,
            slot: 0,
        },
        size: head.body.size(),
        extents: extents(own, &head.body),
        statuses: Some(&head.statuses),
        copies: copies::entries(&head.copies, written.at),
    })
}

/// Applies a settlement's changes and enters its copies and new messages.
///
/// # Errors
/// [`IndexError`].
pub(super) fn settle(
    txn: &mut Txn<'_>,
    id: QueueId,
    head: &SettlementHead,
    written: Written,
) -> Result<(), IndexError> {
    if let Some(entry) = txn.entry(id)? {
        txn.pin(written.at.segment, entry.place.at.segment);
        let mut statuses = txn.statuses(id, &entry)?;
        let copies = copies::entries(&head.copies, written.at);
        if change(&mut statuses, &head.changes) || !copies.is_empty() {
            txn.update(id, entry, &statuses, copies)?;
        }
    }
    for (slot, new) in (1u32..).zip(&head.messages) {
        if txn.entry(new.message.id)?.is_some() {
            continue;
        }
        txn.insert(NewEntry {
            message: &new.message,
            place: Place {
                at: written.at,
                slot,
            },
            size: new.octets,
            extents: vec![(written.at.segment, new.octets + SLOT_OVERHEAD)],
            statuses: None,
            copies: Vec::new(),
        })?;
    }
    Ok(())
}

/// Enters how messages stand of which a segment that is given up said something, where
/// the record that it meant is the one in use.
///
/// # Errors
/// [`IndexError`].
pub(super) fn restate(
    txn: &mut Txn<'_>,
    head: &RestatementHead,
    written: Written,
) -> Result<(), IndexError> {
    for fact in &head.facts {
        txn.pin(written.at.segment, fact.home);
        let entry = txn.entry(fact.id)?;
        let Some(entry) = entry.filter(|entry| entry.place.at.segment == fact.home) else {
            continue;
        };
        match &fact.statuses {
            None => txn.remove(fact.id, &entry)?,
            Some(after) if txn.statuses(fact.id, &entry)? == *after => {}
            Some(after) => txn.update(fact.id, entry, after, Vec::new())?,
        }
    }
    Ok(())
}

/// Notes that a segment says where the one before it ends, if `length` octets are
/// in that one's file: what lies behind the end was refused, and would come back.
pub(super) fn follow(txn: &mut Txn<'_>, segment: u32, previous: Position, length: u64) {
    if length > previous.offset {
        txn.pin(segment, previous.segment);
    }
}

/// Whether a settlement may be made: the message has something open (or dead, to
/// be removed), and every change names one of its recipients.
pub(super) fn may_settle(entry: &Entry, changes: &[RecipientChange]) -> bool {
    rules::may_settle(entry.open as usize, entry.dead as usize, changes)
        && changes.iter().all(|c| c.index < entry.recipients)
}

/// Final states stay as they are; says whether anything changed.
fn change(statuses: &mut [RecipientStatus], changes: &[RecipientChange]) -> bool {
    let mut changed = false;
    for change in changes {
        if let Some(status) = statuses.get_mut(change.index as usize)
            && status.state.may_become(change.status.state)
        {
            *status = change.status.clone();
            changed = true;
        }
    }
    changed
}

/// Octets of a message in each segment it touches.
fn extents(written: Written, body: &BodyPlan) -> Vec<(u32, u64)> {
    let mut extents = vec![(written.at.segment, written.octets)];
    if let BodyPlan::Parts(parts) = body {
        for part in parts {
            let octets = part_octets(part.octets.into());
            add_extent(&mut extents, part.at.segment, octets);
        }
    }
    extents
}

/// Counts octets in a segment.
pub(super) fn add_extent(extents: &mut Vec<(u32, u64)>, segment: u32, octets: u64) {
    match extents.iter_mut().find(|(s, _)| *s == segment) {
        Some((_, sum)) => *sum += octets,
        None => extents.push((segment, octets)),
    }
}

/// Octets of a part record that holds so many octets of a body.
pub(super) fn part_octets(plain: u64) -> u64 {
    HEADER_LEN as u64 + sealed_len(0) + sealed_len(plain)
}
