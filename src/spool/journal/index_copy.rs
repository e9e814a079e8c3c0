//! A copy of the index's database, made while that is at work.
//!
//! Owns the database that is copied into. Holds always: pairs are copied as they
//! are, sealed; nobody writes to either database while some are, and whoever
//! writes to the one writes the same to the other, so what was copied stays true;
//! once all are copied both hold the same. Called by `index`, which keeps the lock.

use super::index::{IndexError, calm};

/// Pairs copied while the lock is held.
const PAGE: usize = 512;

/// The copy.
pub(super) struct Copy {
    db: sled::Db,
    /// All keys before this one are copied.
    from: Vec<u8>,
}

impl Copy {
    /// Begins with an empty database.
    pub(super) fn new(db: sled::Db) -> Self {
        Self {
            db,
            from: Vec::new(),
        }
    }

    /// Copies the next pairs; says whether there are more.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(super) fn some(&mut self, from: &sled::Db) -> Result<bool, IndexError> {
        let mut batch = sled::Batch::default();
        let mut pairs = from.range(self.from.as_slice()..);
        let mut count = 0;
        while count < PAGE {
            let Some((key, value)) = calm(|| pairs.next().transpose())? else {
                break;
            };
            self.from = key.to_vec();
            self.from.push(0);
            batch.insert(key, value);
            count += 1;
        }
        self.apply(batch)?;
        Ok(count == PAGE)
    }

    /// Makes the changes that the other database gets.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(super) fn apply(&self, batch: sled::Batch) -> Result<(), IndexError> {
        calm(|| self.db.apply_batch(batch))
    }

    /// Writes it to its file.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(super) fn flush(&self) -> Result<(), IndexError> {
        calm(|| self.db.flush())?;
        Ok(())
    }
}
