//! What is counted: totals, live octets of each segment, which segment must
//! outlive which.
//!
//! Owns the figures in memory; the index holds the same, changed in the same
//! batches. Holds always: a segment with live octets, with a pin on an older
//! segment that still exists, or with parts of an unfinished message, is not
//! free. Changed by the committer alone, read by all.

use std::collections::{BTreeMap, BTreeSet};

use super::entry::{self, BOOKS, LIVE, PINS, Totals};
use super::index::{Index, IndexError};
use super::payload::{Position, decode, encode};

/// The figures.
#[derive(Debug, Clone, Default)]
pub(super) struct Books {
    pub(super) totals: Totals,
    /// Everything before this place of the journal is in the index.
    pub(super) applied: Position,
    /// Octets of live messages in each segment that has some.
    pub(super) live: BTreeMap<u32, u64>,
    /// What a segment says about records in older ones: should it vanish before
    /// them, settled messages would come back at a rebuild.
    pub(super) pins: BTreeMap<u32, BTreeSet<u32>>,
    /// Parts of unfinished messages in each segment; lost at a restart, as the
    /// messages are.
    pub(super) pending: BTreeMap<u32, u32>,
    /// Octets of each segment's file.
    pub(super) lengths: BTreeMap<u32, u64>,
    /// Segments that could not be opened: what is in them is not known, so they
    /// are kept for whoever can mend them.
    pub(super) unreadable: BTreeSet<u32>,
}

impl Books {
    /// Reads the figures back.
    ///
    /// # Errors
    /// [`IndexError::Damaged`] also if there are none: the index is empty.
    pub(super) fn load(index: &Index) -> Result<Self, IndexError> {
        let totals = index.get(BOOKS)?.ok_or(IndexError::Damaged)?;
        let (totals, applied) = decode(&totals)?;
        let mut books = Self {
            totals,
            applied,
            ..Self::default()
        };
        for (key, value) in index.scan(LIVE, LIVE, usize::MAX)? {
            let segment = entry::number_in(&key, 1).ok_or(IndexError::Damaged)?;
            books.live.insert(segment, decode(&value)?);
        }
        for (key, _) in index.scan(PINS, PINS, usize::MAX)? {
            let segment = entry::number_in(&key, 1).ok_or(IndexError::Damaged)?;
            let older = entry::number_in(&key, 5).ok_or(IndexError::Damaged)?;
            books.pins.entry(segment).or_default().insert(older);
        }
        Ok(books)
    }

    /// The index's value for totals and place.
    ///
    /// # Errors
    /// As [`encode`].
    pub(super) fn encode_totals(
        totals: &Totals,
        applied: Position,
    ) -> Result<Vec<u8>, postcard::Error> {
        encode(&(totals, applied)).map(Vec::from)
    }

    /// Octets of the journal on disk.
    pub(super) fn disk(&self) -> u64 {
        self.lengths.values().sum()
    }

    /// Octets of live messages.
    pub(super) fn live_octets(&self) -> u64 {
        self.live.values().sum()
    }

    /// Live octets of one segment.
    pub(super) fn live_in(&self, segment: u32) -> u64 {
        self.live.get(&segment).copied().unwrap_or(0)
    }

    /// Whether a segment before `checkpoint` has nothing left to say.
    pub(super) fn is_free(&self, segment: u32, checkpoint: Position) -> bool {
        segment < checkpoint.segment
            && self.live_in(segment) == 0
            && !self.pending.contains_key(&segment)
            && !self.unreadable.contains(&segment)
            && self
                .pins
                .get(&segment)
                .is_none_or(|older| older.iter().all(|o| !self.lengths.contains_key(o)))
    }

    /// The segments that may be removed, oldest first. One may free the next.
    pub(super) fn free(&self, checkpoint: Position) -> Option<u32> {
        self.lengths
            .keys()
            .copied()
            .find(|segment| self.is_free(*segment, checkpoint))
    }

    /// Notes one more part of an unfinished message, or that it is one no more.
    pub(super) fn add_pending(&mut self, segment: u32) {
        *self.pending.entry(segment).or_default() += 1;
    }

    /// Takes back what [`Books::add_pending`] noted.
    pub(super) fn drop_pending(&mut self, segment: u32) {
        if let Some(count) = self.pending.get_mut(&segment) {
            *count -= 1;
            if *count == 0 {
                self.pending.remove(&segment);
            }
        }
    }

    /// Forgets a removed segment; gives the index's keys to remove with it.
    pub(super) fn forget(&mut self, segment: u32) -> Vec<Vec<u8>> {
        self.lengths.remove(&segment);
        self.live.remove(&segment);
        let pins = self.pins.remove(&segment).unwrap_or_default();
        let mut keys: Vec<_> = pins
            .into_iter()
            .map(|older| entry::pin_key(segment, older))
            .collect();
        keys.push(entry::live_key(segment));
        keys
    }
}
