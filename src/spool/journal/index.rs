//! The sled index: one tree of small sealed values.
//!
//! Owns the sled database and the seal of its values. Holds always: a value is
//! 4 KiB at most (sled writes larger ones to blob files that it never syncs), is
//! sealed with its key as associated data, and no nonce is used twice: each
//! opening seals under a sub-key of its own (HKDF over random octets) with a
//! counter. All calls block. Nothing here is the only copy of anything: on any
//! error the caller rebuilds from the journal.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};

use crate::sys::Entropy;

use super::keys::{KeyError, SecretKey};

/// Octets that sled may use for its cache.
const CACHE: u64 = 64 << 20;
/// What the sub-keys are for.
const INFO: &[u8] = b"postern spool index v1";
/// Octets in front of a sealed value: session, counter.
const PREFIX: usize = 16;
/// Sub-keys remembered at most.
const SUBKEYS: usize = 64;

/// The index is not to be trusted.
#[derive(Debug, thiserror::Error)]
pub(super) enum IndexError {
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

/// Writes the database to its file.
pub(super) struct Flusher(sled::Db);

impl Flusher {
    /// Writes everything to the database file. That is no fsync: see the keeper.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(super) fn flush(&self) -> Result<(), IndexError> {
        calm(|| self.0.flush())?;
        Ok(())
    }
}

/// The open index.
pub(super) struct Index {
    db: sled::Db,
    key: Arc<SecretKey>,
    session: [u8; 8],
    counter: AtomicU64,
    subkeys: Mutex<HashMap<[u8; 8], Arc<LessSafeKey>>>,
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
        let config = sled::Config::new()
            .path(folder)
            .cache_capacity(CACHE)
            // Flushed by the keeper, together with the checkpoint.
            .flush_every_ms(None);
        let db = calm(|| config.open())?;
        let mut session = [0; 8];
        entropy
            .fill(&mut session)
            .map_err(|_| IndexError::Entropy)?;
        Ok(Self {
            db,
            key,
            session,
            counter: AtomicU64::new(0),
            subkeys: Mutex::default(),
        })
    }

    /// The value under a key.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        match calm(|| self.db.get(key))? {
            None => Ok(None),
            Some(sealed) => self.unseal(key, &sealed).map(Some),
        }
    }

    /// The first key at or behind `from` that starts with `prefix`.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(super) fn seek(&self, prefix: &[u8], from: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        match calm(|| self.db.range(from..).next().transpose())? {
            None => Ok(None),
            Some((key, _)) => Ok(key.starts_with(prefix).then(|| key.to_vec())),
        }
    }

    /// The last key that starts with `prefix`.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(super) fn last(&self, prefix: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        let last = calm(|| self.db.scan_prefix(prefix).next_back().transpose())?;
        Ok(last.map(|(key, _)| key.to_vec()))
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
        let mut range = self.db.range(from..).take(limit);
        while let Some((key, sealed)) = calm(|| range.next().transpose())? {
            if !key.starts_with(prefix) {
                break;
            }
            pairs.push((key.to_vec(), self.unseal(&key, &sealed)?));
        }
        Ok(pairs)
    }

    /// Makes all changes at once: a crash leaves all of them or none.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(super) fn apply(&self, changes: Vec<Change>) -> Result<(), IndexError> {
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            match value {
                None => batch.remove(key),
                Some(plain) => {
                    let sealed = self.seal(&key, plain)?;
                    batch.insert(key, sealed);
                }
            }
        }
        calm(|| self.db.apply_batch(batch))
    }

    /// A handle to flush by, without holding up whoever changes the index.
    pub(super) fn flusher(&self) -> Flusher {
        Flusher(self.db.clone())
    }

    /// Keys with nothing to say carry no value at all.
    fn seal(&self, key: &[u8], mut plain: Vec<u8>) -> Result<Vec<u8>, IndexError> {
        if plain.is_empty() {
            return Ok(plain);
        }
        let counter = self.counter.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let tag = self
            .subkey(self.session)?
            .seal_in_place_separate_tag(nonce(counter), Aad::from(key), &mut plain)
            .map_err(|_| IndexError::Damaged)?;
        let mut sealed = Vec::with_capacity(PREFIX + plain.len() + tag.as_ref().len());
        sealed.extend_from_slice(&self.session);
        sealed.extend_from_slice(&counter);
        sealed.extend_from_slice(&plain);
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    fn unseal(&self, key: &[u8], sealed: &[u8]) -> Result<Vec<u8>, IndexError> {
        if sealed.is_empty() {
            return Ok(Vec::new());
        }
        let (session, rest) = sealed.split_first_chunk::<8>().ok_or(IndexError::Damaged)?;
        let (counter, rest) = rest.split_first_chunk::<8>().ok_or(IndexError::Damaged)?;
        let mut value = rest.to_vec();
        let length = self
            .subkey(*session)?
            .open_in_place(nonce(*counter), Aad::from(key), &mut value)
            .map_err(|_| IndexError::Damaged)?
            .len();
        value.truncate(length);
        Ok(value)
    }

    fn subkey(&self, session: [u8; 8]) -> Result<Arc<LessSafeKey>, IndexError> {
        let mut subkeys = self.subkeys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(subkey) = subkeys.get(&session) {
            return Ok(Arc::clone(subkey));
        }
        if subkeys.len() >= SUBKEYS {
            subkeys.clear();
        }
        let subkey = Arc::new(self.key.derive(&session, INFO)?);
        subkeys.insert(session, Arc::clone(&subkey));
        Ok(subkey)
    }
}

/// sled 0.34 asserts on damaged files instead of saying so.
fn calm<T>(with: impl FnOnce() -> Result<T, sled::Error>) -> Result<T, IndexError> {
    Ok(catch_unwind(AssertUnwindSafe(with)).map_err(|_| IndexError::Panicked)??)
}

fn nonce(counter: [u8; 8]) -> Nonce {
    let mut octets = [0; 12];
    octets[4..].copy_from_slice(&counter);
    Nonce::assume_unique_for_key(octets)
}
