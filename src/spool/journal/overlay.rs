//! What has changed in the index and is not in its database yet.
//!
//! Owns the layers of changes in memory: one that takes new ones, and at times one
//! that is being written. Holds always: what a layer says of a key goes before what
//! the database says, the newer layer's word before the older's; moving changes
//! from a layer to the next, or into the database, changes nothing for whoever
//! reads. Most mail comes and goes between two checkpoints, and so never touches
//! the database at all. Called by `index`.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use super::index::Change;

/// What is counted for a change besides key and value, octets.
const OVERHEAD: usize = 96;

/// Changes by key: the new plain value, or none.
pub(super) type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A layer that takes no more changes.
#[derive(Debug, Default)]
pub(super) struct Layer {
    changes: Changes,
    /// Whether they are in the database.
    is_written: Mutex<bool>,
}

impl Layer {
    /// Has the changes written by `write`, unless that was done before; whoever
    /// comes second waits for the first.
    ///
    /// # Errors
    /// Those of `write`.
    pub(super) fn write_once<E>(
        &self,
        write: impl FnOnce(&Changes) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut is_written = self
            .is_written
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !*is_written {
            write(&self.changes)?;
            *is_written = true;
        }
        Ok(())
    }
}

/// All changes that are not known to be in the database.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    newest: Changes,
    /// Octets of the newest layer, about.
    octets: usize,
    in_writing: Option<Arc<Layer>>,
}

impl Overlay {
    /// Takes changes; gives the octets that the newest layer has now.
    pub(super) fn add(&mut self, changes: Vec<Change>) -> usize {
        for (key, value) in changes {
            let weight = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
            let (length, new) = (key.len(), weight(&value));
            self.octets = match self.newest.insert(key, value) {
                None => self.octets + OVERHEAD + length + new,
                Some(old) => (self.octets + new).saturating_sub(weight(&old)),
            };
        }
        self.octets
    }

    /// What the layers say of a key; `None`: nothing.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Option<Vec<u8>>> {
        let older = || self.in_writing.as_ref()?.changes.get(key);
        self.newest.get(key).or_else(older)
    }

    /// The first change at or behind a bound.
    pub(super) fn first_from(&self, from: Bound<&[u8]>) -> Option<(&[u8], Option<&[u8]>)> {
        let first = |changes| first_of(changes, from);
        let older = self.in_writing.as_ref().and_then(|l| first(&l.changes));
        match (first(&self.newest), older) {
            (Some(newer), Some(older)) if older.0 < newer.0 => Some(older),
            (newer, older) => newer.or(older),
        }
    }

    /// The last change before a bound.
    pub(super) fn last_before(&self, before: Bound<&[u8]>) -> Option<(&[u8], Option<&[u8]>)> {
        let last = |changes| last_of(changes, before);
        let older = self.in_writing.as_ref().and_then(|l| last(&l.changes));
        match (last(&self.newest), older) {
            (Some(newer), Some(older)) if older.0 > newer.0 => Some(older),
            (newer, older) => newer.or(older),
        }
    }

    /// The layer to be written next, and whether it was just closed for this. `None`
    /// if there is nothing to write.
    pub(super) fn close_layer(&mut self) -> Option<(Arc<Layer>, bool)> {
        if let Some(layer) = &self.in_writing {
            return Some((Arc::clone(layer), false));
        }
        if self.newest.is_empty() {
            return None;
        }
        self.octets = 0;
        let layer = Arc::new(Layer {
            changes: std::mem::take(&mut self.newest),
            is_written: Mutex::new(false),
        });
        self.in_writing = Some(Arc::clone(&layer));
        Some((layer, true))
    }

    /// A layer is in the database.
    pub(super) fn forget(&mut self, written: &Arc<Layer>) {
        self.in_writing.take_if(|layer| Arc::ptr_eq(layer, written));
    }
}

fn first_of<'a>(changes: &'a Changes, from: Bound<&[u8]>) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let mut range = changes.range::<[u8], _>((from, Bound::Unbounded));
    range
        .next()
        .map(|(key, value)| (key.as_slice(), value.as_deref()))
}

fn last_of<'a>(changes: &'a Changes, before: Bound<&[u8]>) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let mut range = changes.range::<[u8], _>((Bound::Unbounded, before));
    range
        .next_back()
        .map(|(key, value)| (key.as_slice(), value.as_deref()))
}
