//! The sled index: one tree of small sealed values.
//!
//! Owns the sled database and the changes that are not in it yet. Holds always:
//! whoever reads sees every change that was made; the file has them from a flush
//! on, all before it together; a value is 4 KiB at most (sled writes larger ones to
//! blob files that it never syncs), and is sealed. All calls block. Nothing here is
//! the only copy of anything: on any error the caller rebuilds from the journal.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use crate::sys::Entropy;

use super::entry::{MESSAGES, id_in};
use super::index_copy::Copy;
use super::keys::{KeyError, SecretKey};
use super::overlay::{Changes, Overlay};
use super::sealer::Sealer;

/// Octets of the file that sled may have in its cache, where they take three times as much.
const CACHE: u64 = 16 << 20;
/// The same while a copy is made, which is written from its beginning to its end.
const COPY_CACHE: u64 = 4 << 20;

/// The index is not to be trusted.
#[derive(Debug, thiserror::Error)]
pub(in crate::spool) enum IndexError {
    /// sled says so.
    #[error("{0}")]
    Sled(#[from] sled::Error),
    /// sled panicked on its own files.
    #[error("the database panicked")]
    Panicked,
    /// A value is not what was written under its key.
    #[error("a value is damaged")]
    Damaged,
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Entropy,
}

impl From<std::io::Error> for IndexError {
    fn from(error: std::io::Error) -> Self {
        Self::Sled(error.into())
    }
}

impl From<KeyError> for IndexError {
    fn from(_: KeyError) -> Self {
        Self::Damaged
    }
}

impl From<postcard::Error> for IndexError {
    fn from(_: postcard::Error) -> Self {
        Self::Damaged
    }
}

/// A change of the index: a key with its new plain value, or none.
pub(super) type Change = (Vec<u8>, Option<Vec<u8>>);

/// A key with its plain value.
pub(super) type Pair = (Vec<u8>, Vec<u8>);

/// Octets of changes in memory, about, above which whoever makes the next waits
/// until they are in the database.
const OVERLAY_MAX: usize = 8 << 20;

/// Writes the database to its file.
pub(super) struct Flusher(Arc<Base>);

impl Flusher {
    /// Writes every change that was made until now to the database, and that to its
    /// file. That is no fsync: see the keeper.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(super) fn flush(&self) -> Result<(), IndexError> {
        self.0.write_through()?;
        calm(|| self.0.db.flush())?;
        Ok(())
    }
}

/// Changes that are in no database.
pub(super) struct Pending(Overlay);

/// The open index.
pub(super) struct Index(Arc<Base>);

/// The database and what is not in it yet.
struct Base {
    db: sled::Db,
    overlay: RwLock<Overlay>,
    sealer: Sealer,
    /// A copy of the database in the making, which gets every batch too. Locked
    /// while either is written.
    copy: Mutex<Option<Copy>>,
    /// Of a message with a later id than this nothing is in the database: all keys of
    /// one come there together. Each new message is asked for before it is entered, its
    /// keys are removed when it has gone, and most are never in there: this knows
    /// without a look.
    last_message: RwLock<Vec<u8>>,
}

impl Index {
    /// Opens the database in a folder, or makes it.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(super) fn open(
        folder: &Path,
        key: Arc<SecretKey>,
        entropy: &dyn Entropy,
    ) -> Result<Self, IndexError> {
        let db = open_database(folder, CACHE)?;
        let last = calm(|| db.scan_prefix(MESSAGES).next_back().transpose())?;
        let last = last.and_then(|(key, _)| Some(id_in(&key)?.to_vec()));
        Ok(Self(Arc::new(Base {
            db,
            last_message: RwLock::new(last.unwrap_or_default()),
            overlay: RwLock::default(),
            sealer: Sealer::new(key, entropy)?,
            copy: Mutex::default(),
        })))
    }

    /// Begins a copy of the database in an empty folder.
    ///
    /// # Errors
    /// [`IndexError`]: of the copy alone.
    pub(super) fn begin_copy(&self, folder: &Path) -> Result<(), IndexError> {
        let copy = Copy::new(open_database(folder, COPY_CACHE)?);
        *self.0.copy() = Some(copy);
        Ok(())
    }

    /// Copies some pairs; says whether there are more. After an error, or a batch
    /// that the copy did not take, there is no copy any more.
    ///
    /// # Errors
    /// [`IndexError`]: of the copy alone.
    pub(super) fn copy_some(&self) -> Result<bool, IndexError> {
        let mut slot = self.0.copy();
        let mut copy = slot.take().ok_or(IndexError::Damaged)?;
        let more = copy.some(&self.0.db)?;
        *slot = Some(copy);
        Ok(more)
    }

    /// Writes the copy to its file, which is no fsync, for as long as there is one.
    ///
    /// # Errors
    /// [`IndexError`]: of the copy alone.
    pub(super) fn flush_copy(&self) -> Result<(), IndexError> {
        self.0.copy().as_ref().ok_or(IndexError::Damaged)?.flush()
    }

    /// Forgets the copy.
    pub(super) fn drop_copy(&self) {
        self.0.copy().take();
    }

    /// Closes the database and its copy, writes nothing more into either; gives the
    /// changes that are in neither. Gives itself back while somebody flushes.
    ///
    /// # Errors
    /// Itself.
    pub(super) fn close(self) -> Result<Pending, Self> {
        let base = Arc::try_unwrap(self.0).map_err(Self)?;
        let overlay = base.overlay.into_inner();
        Ok(Pending(overlay.unwrap_or_else(PoisonError::into_inner)))
    }

    /// Takes over the changes that another database of the same content lacks.
    pub(super) fn take_over(&self, pending: Pending) {
        let overlay = self.0.overlay.write();
        *overlay.unwrap_or_else(PoisonError::into_inner) = pending.0;
    }

    /// The value under a key.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        if let Some(changed) = self.0.overlay().get(key) {
            return Ok(changed.clone());
        }
        if self.0.has_not_come_to(key) {
            return Ok(None);
        }
        match calm(|| self.0.db.get(key))? {
            None => Ok(None),
            Some(sealed) => self.0.sealer.unseal(key, &sealed).map(Some),
        }
    }

    /// The first key at or behind `from` that starts with `prefix`.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(super) fn seek(&self, prefix: &[u8], from: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        let mut first = None;
        self.walk(prefix, from, |key, _| {
            first = Some(key.to_vec());
            Ok(false)
        })?;
        Ok(first)
    }

    /// The last key that starts with `prefix`.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(super) fn last(&self, prefix: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        let overlay = self.0.overlay();
        let end = end_of(prefix);
        let mut before = match &end {
            Some(end) => Bound::Excluded(end.as_slice()),
            None => Bound::Unbounded,
        };
        let mut stored = calm(|| self.0.db.scan_prefix(prefix).next_back().transpose())?;
        loop {
            let changed = overlay.last_before(before);
            let changed = changed.filter(|(key, _)| key.starts_with(prefix));
            let stored_key = stored.as_ref().map(|(key, _)| key.as_ref());
            match changed {
                Some((key, value)) if stored_key.is_none_or(|stored| stored <= key) => {
                    if value.is_some() {
                        return Ok(Some(key.to_vec()));
                    }
                    // Removed: what is before it?
                    if stored_key == Some(key) {
                        let mut range = self.0.db.range(prefix..key);
                        stored = calm(|| range.next_back().transpose())?;
                    }
                    before = Bound::Excluded(key);
                }
                _ => return Ok(stored_key.map(<[u8]>::to_vec)),
            }
        }
    }

    /// Up to `limit` pairs whose keys start with `prefix`, at or behind `from`.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(super) fn scan(
        &self,
        prefix: &[u8],
        from: &[u8],
        limit: usize,
    ) -> Result<Vec<Pair>, IndexError> {
        let mut pairs = Vec::new();
        if limit == 0 {
            return Ok(pairs);
        }
        self.walk(prefix, from, |key, value| {
            let value = match value {
                Value::Plain(plain) => plain.to_vec(),
                Value::Sealed(sealed) => self.0.sealer.unseal(key, sealed)?,
            };
            pairs.push((key.to_vec(), value));
            Ok(pairs.len() < limit)
        })?;
        Ok(pairs)
    }

    /// Goes through the keys that start with `prefix`, at or behind `from`, for as
    /// long as `take` wants more.
    fn walk(
        &self,
        prefix: &[u8],
        from: &[u8],
        mut take: impl FnMut(&[u8], Value<'_>) -> Result<bool, IndexError>,
    ) -> Result<(), IndexError> {
        let overlay = self.0.overlay();
        let mut range = self.0.db.range(from..);
        let mut next_stored = || calm(|| range.next().transpose());
        let mut stored = next_stored()?;
        let mut changed = overlay.first_from(Bound::Included(from));
        loop {
            let stored_first = match (&stored, changed) {
                (None, None) => return Ok(()),
                (Some((key, _)), Some((changed, _))) => key.as_ref() < changed,
                (stored, _) => stored.is_some(),
            };
            let more = if let (true, Some((key, sealed))) = (stored_first, &stored) {
                let more = key.starts_with(prefix) && take(key, Value::Sealed(sealed))?;
                stored = next_stored()?;
                more
            } else if let Some((key, value)) = changed {
                let more = key.starts_with(prefix)
                    && match value {
                        Some(value) => take(key, Value::Plain(value))?,
                        None => true,
                    };
                if stored.as_ref().is_some_and(|(stored, _)| stored == key) {
                    stored = next_stored()?;
                }
                changed = overlay.first_from(Bound::Excluded(key));
                more
            } else {
                return Ok(());
            };
            if !more {
                return Ok(());
            }
        }
    }

    /// Makes all changes at once, for whoever reads. They are in the file after the
    /// next flush, all that were made before it together: a crash leaves all of them
    /// or none.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(super) fn apply(&self, changes: Vec<Change>) -> Result<(), IndexError> {
        let octets = {
            let overlay = self.0.overlay.write();
            overlay.unwrap_or_else(PoisonError::into_inner).add(changes)
        };
        if octets > OVERLAY_MAX {
            self.0.write_through()?;
        }
        Ok(())
    }

    /// A handle to flush by, without holding up whoever changes the index.
    pub(super) fn flusher(&self) -> Flusher {
        Flusher(Arc::clone(&self.0))
    }
}

impl Base {
    fn overlay(&self) -> RwLockReadGuard<'_, Overlay> {
        self.overlay.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings every change that was made until now into the database.
    fn write_through(&self) -> Result<(), IndexError> {
        loop {
            let layer = {
                let overlay = self.overlay.write();
                overlay
                    .unwrap_or_else(PoisonError::into_inner)
                    .close_layer()
            };
            let Some((layer, is_new)) = layer else {
                return Ok(());
            };
            layer.write_once(|changes| self.write(changes))?;
            let overlay = self.overlay.write();
            overlay
                .unwrap_or_else(PoisonError::into_inner)
                .forget(&layer);
            if is_new {
                return Ok(());
            }
        }
    }

    fn last_message(&self) -> RwLockReadGuard<'_, Vec<u8>> {
        let last = self.last_message.read();
        last.unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a key is of a message behind all that are in the database.
    fn has_not_come_to(&self, key: &[u8]) -> bool {
        is_behind(key, &self.last_message())
    }

    /// Makes changes in the database, in one batch. What came and went since the
    /// last one was never there, and costs a look.
    fn write(&self, changes: &Changes) -> Result<(), IndexError> {
        let mut copy = self.copy();
        let mut batch = sled::Batch::default();
        let before = self.last_message().clone();
        let mut last = before.as_slice();
        for (key, value) in changes {
            match value {
                Some(plain) => {
                    last = id_in(key).map_or(last, |id| last.max(id));
                    batch.insert(key.as_slice(), self.sealer.seal(key, plain)?);
                }
                None if is_behind(key, &before) => {}
                None if calm(|| self.db.contains_key(key))? => batch.remove(key.as_slice()),
                None => {}
            }
        }
        let noted = self.last_message.write();
        *noted.unwrap_or_else(PoisonError::into_inner) = last.to_vec();
        if let Some(taking) = copy.as_ref()
            && let Err(error) = taking.apply(batch.clone())
        {
            tracing::warn!(%error, "the copy of the index is given up");
            *copy = None;
        }
        let applied = calm(|| self.db.apply_batch(batch));
        give_back(changes.len());
        applied
    }

    fn copy(&self) -> MutexGuard<'_, Option<Copy>> {
        self.copy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a key is of a message with a later id than `last`.
fn is_behind(key: &[u8], last: &[u8]) -> bool {
    id_in(key).is_some_and(|id| id > last)
}

/// Has sled's replaced pages freed, after a batch of so many changes.
///
/// sled frees what it has replaced by epochs (crossbeam-epoch), a few hundred at every
/// 128th operation. A batch is one operation that replaces a page or more with each
/// change, so that while many batches follow one upon the other it frees less than it
/// replaces: 7 GiB for a queue of a million. Each flush of the epoch frees some 500.
fn give_back(changes: usize) {
    for _ in 0..changes / 64 + 8 {
        crossbeam_epoch::pin().flush();
    }
}

fn open_database(folder: &Path, cache: u64) -> Result<sled::Db, IndexError> {
    let config = sled::Config::new()
        .path(folder)
        .cache_capacity(cache)
        // Flushed by the keeper, together with the checkpoint.
        .flush_every_ms(None);
    calm(|| config.open())
}

/// A value on the way.
#[derive(Clone, Copy)]
enum Value<'a> {
    Plain(&'a [u8]),
    Sealed(&'a [u8]),
}

/// The first key behind all that start with a prefix; `None`: there is none.
fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return Some(end);
        }
    }
    None
}

/// sled 0.34 asserts on damaged files instead of saying so.
pub(in crate::spool) fn calm<T>(
    with: impl FnOnce() -> Result<T, sled::Error>,
) -> Result<T, IndexError> {
    Ok(catch_unwind(AssertUnwindSafe(with)).map_err(|_| IndexError::Panicked)??)
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
