//! A small named durable map, for what Postern has learnt and can learn again.
//!
//! Owns the contract and a table in memory. Holds always: what was put is there
//! after a restart, unless the machine lost power within the last second; keys and
//! values are small (64 KiB of value at most); a table that is lost costs
//! knowledge, never a message (design section 3.1). Calls block: a caller on an
//! async thread hands them to a blocking one. `spool` implements it on disk;
//! `assurance`, `protect` and `outcome` use it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Octets of a value at most.
pub const VALUE_MAX: usize = 64 * 1024;

/// The table can't be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the table {table} can't be used: {cause}")]
pub struct TableError {
    /// Its name.
    pub table: String,
    /// Why.
    pub cause: io::Error,
}

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// The contract; see the module.
pub trait Table: Send + Sync {
    /// The value of a key.
    ///
    /// # Errors
    /// [`TableError`].
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TableError>;

    /// Sets a key's value, of [`VALUE_MAX`] octets at most.
    ///
    /// # Errors
    /// [`TableError`].
    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), TableError>;

    /// Forgets a key; one that is not there is no error.
    ///
    /// # Errors
    /// [`TableError`].
    fn remove(&self, key: &[u8]) -> Result<(), TableError>;

    /// All keys with their values, in the keys' order.
    ///
    /// # Errors
    /// [`TableError`].
    fn all(&self) -> Result<Vec<Pair>, TableError>;
}

/// A table in memory, for tests and for what needs no disk.
#[derive(Debug, Default)]
pub struct MemoryTable(Mutex<BTreeMap<Vec<u8>, Vec<u8>>>);

impl MemoryTable {
    fn map(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Vec<u8>>> {
        // Each change is one call: the map is whole even if a writer panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table for MemoryTable {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        Ok(self.map().get(key).cloned())
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), TableError> {
        self.map().insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn remove(&self, key: &[u8]) -> Result<(), TableError> {
        self.map().remove(key);
        Ok(())
    }

    fn all(&self) -> Result<Vec<Pair>, TableError> {
        let pairs = self.map();
        Ok(pairs.iter().map(|(k, v)| (k.clone(), v.clone())).collect())
    }
}
