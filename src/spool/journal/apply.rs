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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::books::Books;
    use super::super::index::Index;
    use super::super::keys::SecretKey;
    use super::super::payload::Fact;
    use super::super::payload::tests::head;
    use super::*;
    use crate::sys::SystemEntropy;
    use crate::types::{Message, State, Timestamp};

    fn id() -> QueueId {
        message().id
    }

    struct Journal {
        index: Index,
        books: Books,
        _folder: tempfile::TempDir,
    }

    fn written(segment: u32) -> Written {
        Written {
            at: Position { segment, offset: 9 },
            octets: 500,
        }
    }

    fn message() -> Message {
        head(None).message
    }

    impl Journal {
        /// With the message accepted in segment 1.
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let key = SecretKey::generate(&SystemEntropy::default()).unwrap();
            let entropy = SystemEntropy::default();
            let mut journal = Self {
                index: Index::open(folder.path(), Arc::new(key), &entropy).unwrap(),
                books: Books::default(),
                _folder: folder,
            };
            journal.with(|txn| accept(txn, &head(None), written(1)));
            journal
        }

        fn with(&mut self, change: impl FnOnce(&mut Txn<'_>) -> Result<(), IndexError>) {
            let mut txn = Txn::new(&self.index, &self.books);
            change(&mut txn).unwrap();
            let mut finished = txn.finish(Position::default()).unwrap();
            let changes = std::mem::take(&mut finished.changes);
            self.index.apply(changes).unwrap();
            finished.post(&mut self.books);
        }

        fn restated(&mut self, home: u32, statuses: Option<Vec<RecipientStatus>>) {
            let fact = Fact {
                id: id(),
                home,
                statuses,
            };
            let head = RestatementHead { facts: vec![fact] };
            self.with(|txn| restate(txn, &head, written(9)));
        }

        fn carried(&mut self, segment: u32) {
            let head = CarryHead {
                message: message(),
                statuses: vec![RecipientStatus::queued(Timestamp::from_micros(9))],
                body: BodyPlan::Inline(5),
                copies: Vec::new(),
            };
            self.with(|txn| carry(txn, &head, written(segment)));
        }

        /// Where it lives, and how often it was tried.
        fn found(&self) -> Option<(u32, u32)> {
            let txn = Txn::new(&self.index, &self.books);
            let entry = txn.entry(id()).unwrap()?;
            let statuses = txn.statuses(id(), &entry).unwrap();
            Some((entry.place.at.segment, statuses[0].attempts))
        }
    }

    /// One of a message's records must not come back, and another one is its life.
    #[test]
    fn what_is_restated_of_one_record_leaves_others_alone() {
        let mut journal = Journal::new();
        journal.carried(4);
        journal.restated(1, None);
        assert_eq!(journal.found(), Some((4, 0)));
        let mut tried = RecipientStatus::queued(Timestamp::from_micros(9));
        tried.attempts = 3;
        journal.restated(1, Some(vec![tried.clone()]));
        assert_eq!(
            journal.found(),
            Some((4, 0)),
            "that was said of the other one"
        );
        journal.restated(4, Some(vec![tried]));
        assert_eq!(journal.found(), Some((4, 3)));
        journal.restated(4, None);
        assert_eq!(journal.found(), None);
        assert_eq!(journal.books.live_octets(), 0);
        assert_eq!(journal.books.totals.messages, 0);
    }

    /// As a rebuild reads it where the segments between are gone: moved from 1 to 2 and on
    /// to 4, settled there, and of all this only the restatement is left.
    #[test]
    fn a_record_that_counts_no_more_stays_away() {
        let mut journal = Journal::new();
        journal.restated(1, None);
        assert_eq!(journal.found(), None);
        assert!(
            journal.books.pins[&9].contains(&1),
            "as long as that is there"
        );
        let done = RecipientStatus {
            state: State::Delivered,
            ..RecipientStatus::queued(Timestamp::from_micros(9))
        };
        journal.restated(1, Some(vec![done]));
        assert_eq!(journal.found(), None);
    }
}
