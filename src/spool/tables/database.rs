//! The sled database under the tables.
//!
//! Owns its layout. Holds always: a change is one batch, so a crash leaves all of a
//! value or none; no value of sled's is larger than 4 KiB (it writes such to blob
//! files that it never syncs), so long ones lie in pieces; each is sealed with its
//! place. All calls block. Called by the tables alone.
//!
//! ```text
//! h TABLE 0 KEY          number of pieces (1), the first of them: sealed
//! m TABLE 0 KEY NUMBER   a further piece: sealed
//! e                      number of the last dump, 8 octets
//! ```

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use crate::sys::Entropy;
use crate::sys::table::Pair;

use super::super::journal::index::{IndexError, calm};
use super::super::journal::keys::SecretKey;
use super::super::journal::sealer::Sealer;

/// Octets that sled may use for its cache.
const CACHE: u64 = 8 << 20;
/// Octets of a value in one piece.
const PIECE: usize = 3 * 1024;
/// Where the number of the last dump lies.
const EPOCH: &[u8] = b"e";

/// The open database.
pub(super) struct Database {
    /// `None`: closed. Whoever changes a value has it alone, so that readers see all
    /// pieces of it from before the change, or from after it.
    db: RwLock<Option<sled::Db>>,
    sealer: Sealer,
    is_changed: AtomicBool,
}

impl Database {
    /// Opens the database in a folder, or makes it.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(super) fn open(
        folder: &Path,
        key: Arc<SecretKey>,
        entropy: &dyn Entropy,
    ) -> Result<Self, IndexError> {
        let config = sled::Config::new()
            .path(folder)
            .cache_capacity(CACHE)
            // Flushed with each change.
            .flush_every_ms(None);
        Ok(Self {
            db: RwLock::new(Some(calm(|| config.open())?)),
            sealer: Sealer::new(key, entropy)?,
            is_changed: AtomicBool::new(false),
        })
    }

    pub(super) fn get(&self, table: &str, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let guard = self.reading();
        let db = opened(&guard)?;
        let head = head_key(table, key);
        match calm(|| db.get(&head)).map_err(io::Error::other)? {
            Some(sealed) => self.value(db, &head, &sealed).map(Some),
            None => Ok(None),
        }
    }

    pub(super) fn put(&self, table: &str, key: &[u8], value: &[u8]) -> io::Result<()> {
        let head = head_key(table, key);
        let seal = |key: &[u8], plain: &[u8]| self.sealer.seal(key, plain);
        let (first, rest) = value.split_at(value.len().min(PIECE));
        let mut batch = sled::Batch::default();
        let count = 1 + u8::try_from(rest.len().div_ceil(PIECE))
            .map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut plain = vec![count];
        plain.extend_from_slice(first);
        batch.insert(
            head.as_slice(),
            seal(&head, &plain).map_err(io::Error::other)?,
        );
        for (number, piece) in (1..).zip(rest.chunks(PIECE)) {
            let key = more_key(&head, number);
            let sealed = seal(&key, piece).map_err(io::Error::other)?;
            batch.insert(key, sealed);
        }
        self.change(&head, count, batch)
    }

    pub(super) fn remove(&self, table: &str, key: &[u8]) -> io::Result<()> {
        let head = head_key(table, key);
        let mut batch = sled::Batch::default();
        batch.remove(head.as_slice());
        self.change(&head, 0, batch)
    }

    /// Makes a change of one value, of which pieces from `keep` on are no more.
    fn change(&self, head: &[u8], keep: u8, mut batch: sled::Batch) -> io::Result<()> {
        let guard = self.db.write().unwrap_or_else(PoisonError::into_inner);
        let db = opened(&guard)?;
        let before = match calm(|| db.get(head)).map_err(io::Error::other)? {
            Some(sealed) => self.head(head, &sealed).map_or(0, |(count, _)| count),
            None if keep == 0 => return Ok(()),
            None => 0,
        };
        for number in keep.max(1)..before {
            batch.remove(more_key(head, number));
        }
        self.is_changed.store(true, Ordering::Release);
        calm(|| db.apply_batch(batch)).map_err(io::Error::other)?;
        // To the system, so that it outlives this process.
        calm(|| db.flush()).map_err(io::Error::other)?;
        Ok(())
    }

    /// All pairs of a table, or of all with their table before the key as
    /// [`prefix`] puts it. What is damaged is left out, with a log line.
    pub(super) fn all(&self, table: Option<&str>) -> io::Result<Vec<Pair>> {
        let guard = self.reading();
        let db = opened(&guard)?;
        let mut start = b"h".to_vec();
        if let Some(table) = table {
            start.extend_from_slice(&prefix(table));
        }
        let mut pairs = Vec::new();
        let mut scan = db.scan_prefix(&start);
        while let Some((key, sealed)) =
            calm(|| scan.next().transpose()).map_err(io::Error::other)?
        {
            match self.value(db, &key, &sealed) {
                Ok(value) => pairs.push((key[start.len()..].to_vec(), value)),
                Err(error) => tracing::error!(%error, "an entry of the tables is damaged"),
            }
        }
        Ok(pairs)
    }

    /// Everything that is there, as it is, but for the number of the dump.
    pub(super) fn raw(&self) -> io::Result<Vec<Pair>> {
        let guard = self.reading();
        let mut pairs = Vec::new();
        let mut scan = opened(&guard)?.iter();
        while let Some((key, value)) = calm(|| scan.next().transpose()).map_err(io::Error::other)? {
            if key != EPOCH {
                pairs.push((key.to_vec(), value.to_vec()));
            }
        }
        Ok(pairs)
    }

    /// Puts back what [`Database::raw`] gave.
    pub(super) fn restore(&self, pairs: Vec<Pair>, epoch: u64) -> Result<(), IndexError> {
        let guard = self.reading();
        let db = opened(&guard)?;
        for pairs in pairs.chunks(256) {
            let mut batch = sled::Batch::default();
            for (key, value) in pairs {
                batch.insert(key.as_slice(), value.as_slice());
            }
            calm(|| db.apply_batch(batch))?;
        }
        drop(guard);
        self.is_changed.store(true, Ordering::Release);
        self.set_epoch(epoch)
    }

    /// The number of the last dump that was begun.
    pub(super) fn epoch(&self) -> Result<u64, IndexError> {
        let guard = self.reading();
        let db = opened(&guard)?;
        let value = calm(|| db.get(EPOCH))?;
        let octets = value.as_deref().and_then(|v| <[u8; 8]>::try_from(v).ok());
        Ok(octets.map_or(0, u64::from_be_bytes))
    }

    /// Notes that a dump is begun.
    pub(super) fn set_epoch(&self, epoch: u64) -> Result<(), IndexError> {
        let guard = self.reading();
        let db = opened(&guard)?;
        calm(|| db.insert(EPOCH, epoch.to_be_bytes().as_slice()))?;
        calm(|| db.flush())?;
        Ok(())
    }

    /// Whether something was changed since the last time this was asked.
    pub(super) fn take_changed(&self) -> bool {
        self.is_changed.swap(false, Ordering::AcqRel)
    }

    /// Closes it; whatever is asked later fails.
    pub(super) fn close(&self) {
        drop(
            self.db
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }

    fn reading(&self) -> RwLockReadGuard<'_, Option<sled::Db>> {
        self.db.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of pieces and the first of them.
    fn head(&self, head: &[u8], sealed: &[u8]) -> io::Result<(u8, Vec<u8>)> {
        let mut plain = self.sealer.unseal(head, sealed).map_err(io::Error::other)?;
        match plain.first().copied() {
            Some(count) => {
                plain.remove(0);
                Ok((count, plain))
            }
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// The whole value.
    fn value(&self, db: &sled::Db, head: &[u8], sealed: &[u8]) -> io::Result<Vec<u8>> {
        let (count, mut value) = self.head(head, sealed)?;
        for number in 1..count {
            let key = more_key(head, number);
            let sealed = calm(|| db.get(&key)).map_err(io::Error::other)?;
            let sealed = sealed.ok_or(io::ErrorKind::InvalidData)?;
            let piece = self.sealer.unseal(&key, &sealed);
            value.extend_from_slice(&piece.map_err(io::Error::other)?);
        }
        Ok(value)
    }
}

fn opened(db: &Option<sled::Db>) -> io::Result<&sled::Db> {
    db.as_ref()
        .ok_or_else(|| io::Error::other("the tables are closed"))
}

/// What stands before a key of this table in [`Database::all`] of all.
pub(super) fn prefix(table: &str) -> Vec<u8> {
    let mut prefix = table.as_bytes().to_vec();
    prefix.push(0);
    prefix
}

fn head_key(table: &str, key: &[u8]) -> Vec<u8> {
    [b"h", prefix(table).as_slice(), key].concat()
}

fn more_key(head: &[u8], number: u8) -> Vec<u8> {
    let mut key = head.to_vec();
    if let Some(kind) = key.first_mut() {
        *kind = b'm';
    }
    key.push(number);
    key
}
