//! What the journal's threads and tasks share.
//!
//! Owns the segments, the index, the figures and the state of health behind
//! their locks. Holds always: locks are taken in the order index, events, books,
//! and none is held while a job is waited for; the committer alone writes
//! records and moves the figures forward. Used by every file of the engine.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::sys::{Disk, Entropy};
use crate::types::{Message, QueueId, RecipientStatus};

use super::super::fresh::FreshSender;
use super::super::rules::IdMaker;
use super::super::{Settings, SpoolError};
use super::books::Books;
use super::copies::{CopyEntry, CopyHead, locate_copy};
use super::entry::{Entry, copy_key, message_key};
use super::events::Events;
use super::index::{Index, IndexError};
use super::keys::SecretKey;
use super::locate::{Located, Span, locate};
use super::meters::Meters;
use super::pages::{read_copies, read_statuses};
use super::payload::{Place, decode};
use super::rebuild;
use super::segments::{SEGMENT_SIZE, SegmentError, Segments};
use super::slots::Slots;

/// Octets kept for settlements and DSNs while intake is refused, at most.
const RESERVE: u64 = 64 << 20;

/// The shared parts.
pub(super) struct Core {
    pub(super) settings: Settings,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) segments: Segments,
    pub(super) index_key: Arc<SecretKey>,
    /// `None` once closed, or while it can't be trusted.
    pub(super) index: RwLock<Option<Index>>,
    pub(super) books: Mutex<Books>,
    pub(super) events: Mutex<Events>,
    pub(super) ids: IdMaker,
    pub(super) fresh: FreshSender,
    pub(super) slots: Slots,
    pub(super) health: Mutex<Health>,
    pub(super) meters: Meters,
    pub(super) lock: Mutex<Option<std::fs::File>>,
}

/// Why something may be refused just now.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// What the disk said when it last failed to write; intake stands still.
    pub(super) sick: Option<Arc<io::Error>>,
    /// There is no room beyond the reserve.
    pub(super) is_full: bool,
    /// No more calls.
    pub(super) is_closed: bool,
    /// The index failed and waits to be rebuilt.
    pub(super) needs_rebuild: bool,
}

/// A message as found in index and journal.
pub(super) struct Found {
    pub(super) message: Message,
    pub(super) statuses: Vec<RecipientStatus>,
    pub(super) place: Place,
    pub(super) size: u64,
    /// Where its body lies.
    pub(super) spans: Vec<Span>,
    /// The copies that are kept of it, by recipient.
    pub(super) copies: Vec<(CopyEntry, CopyHead)>,
}

impl Core {
    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn events(&self) -> MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The folder of the sled database.
    pub(super) fn index_folder(&self) -> PathBuf {
        self.settings.folder.join("index")
    }

    /// Octets kept free of intake.
    pub(super) fn reserve(&self) -> u64 {
        RESERVE.min(self.settings.max_size / 8)
    }

    /// Octets after which a new segment is begun. Nothing in the head is ever
    /// freed, so it must be a small part of what the spool may take.
    pub(super) fn segment_size(&self) -> u64 {
        SEGMENT_SIZE.min(self.settings.max_size / 16)
    }

    /// Octets that intake may still take.
    pub(super) fn room(&self) -> u64 {
        let by_settings = self.settings.max_size.saturating_sub(self.books().disk());
        let by_disk = self.disk.free(&self.settings.folder).unwrap_or(0);
        by_settings.min(by_disk).saturating_sub(self.reserve())
    }

    /// Whether a message may be begun.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn may_intake(&self) -> Result<(), SpoolError> {
        let health = self.health();
        if health.is_closed {
            return Err(SpoolError::Closed);
        }
        if let Some(error) = &health.sick {
            return Err(refusal(error));
        }
        if health.is_full {
            return Err(SpoolError::Full);
        }
        Ok(())
    }

    /// Reads the index. An error there means that it must be rebuilt.
    ///
    /// # Errors
    /// [`SpoolError::Closed`] or [`SpoolError::Sick`].
    pub(super) fn read<T>(
        &self,
        with: impl FnOnce(&Index) -> Result<T, IndexError>,
    ) -> Result<T, SpoolError> {
        let guard = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let Some(index) = guard.as_ref() else {
            drop(guard);
            return Err(self.no_index());
        };
        let result = with(index);
        drop(guard);
        result.map_err(|e| self.index_failed(e))
    }

    /// Notes that the index failed; gives what to answer.
    pub(super) fn index_failed(&self, error: IndexError) -> SpoolError {
        tracing::error!(%error, "the spool's index failed and will be rebuilt from the journal");
        let error = Arc::new(io::Error::other(error));
        let was_noted = {
            let mut health = self.health();
            health.sick.get_or_insert_with(|| Arc::clone(&error));
            std::mem::replace(&mut health.needs_rebuild, true)
        };
        if !was_noted && let Err(error) = rebuild::mark_failed(&*self.disk, &self.index_folder()) {
            tracing::warn!(%error, "should the process end now, the failed index may be trusted");
        }
        SpoolError::Sick(error)
    }

    fn no_index(&self) -> SpoolError {
        let health = self.health();
        match &health.sick {
            _ if health.is_closed => SpoolError::Closed,
            Some(error) => SpoolError::Sick(Arc::clone(error)),
            None => SpoolError::Closed,
        }
    }

    /// A message's entry.
    ///
    /// # Errors
    /// As [`Core::read`].
    pub(super) fn entry(&self, id: QueueId) -> Result<Option<Entry>, SpoolError> {
        self.read(|index| get_entry(index, id))
    }

    /// A message with its statuses, from index and journal.
    ///
    /// # Errors
    /// [`SpoolError::Unknown`], [`SpoolError::Damaged`], or as [`Core::read`].
    pub(super) fn find(&self, id: QueueId) -> Result<Found, SpoolError> {
        // Compaction may move it between the two readings, but not for ever.
        for _ in 0..3 {
            let (entry, statuses, copies) = self
                .read(|index| match get_entry(index, id)? {
                    None => Ok(None),
                    Some(entry) => {
                        let statuses = read_statuses(|key| index.get(key), id, &entry)?;
                        let copies = read_copies(|key| index.get(key), id, &entry)?;
                        Ok(Some((entry, statuses, copies)))
                    }
                })?
                .ok_or(SpoolError::Unknown)?;
            let found = self.locate(id, entry.place);
            match found.and_then(|found| Ok((found, self.locate_copies(id, copies)?))) {
                Ok((located, copies)) => {
                    return Ok(Found {
                        message: located.message,
                        statuses,
                        place: entry.place,
                        size: entry.size,
                        spans: located.spans,
                        copies,
                    });
                }
                Err(SegmentError::Gone) => {}
                Err(SegmentError::Io(e)) => return Err(SpoolError::Sick(Arc::new(e))),
                Err(SegmentError::Damaged) => return Err(SpoolError::Damaged),
            }
        }
        Err(SpoolError::Damaged)
    }

    /// Reads what the journal says of copies. A damaged one is named and left out:
    /// then another is made.
    ///
    /// # Errors
    /// [`SegmentError`], but for damage.
    pub(super) fn locate_copies(
        &self,
        id: QueueId,
        copies: Vec<(u32, CopyEntry)>,
    ) -> Result<Vec<(CopyEntry, CopyHead)>, SegmentError> {
        let mut located = Vec::with_capacity(copies.len());
        for (_, entry) in copies {
            match locate_copy(&self.segments, id, &entry) {
                Ok(head) => located.push((entry, head)),
                Err(SegmentError::Damaged) => {
                    let (segment, offset) = (entry.at.segment, entry.at.offset);
                    tracing::error!(%id, segment, offset, "a stored copy is damaged");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(located)
    }

    /// The copy that is kept for a recipient.
    ///
    /// # Errors
    /// As [`Core::read`].
    pub(super) fn copy(
        &self,
        id: QueueId,
        recipient: u32,
    ) -> Result<Option<CopyEntry>, SpoolError> {
        self.read(|index| match index.get(&copy_key(id, recipient))? {
            None => Ok(None),
            Some(value) => Ok(Some(decode(&value)?)),
        })
    }

    /// Reads a message's head at its place; what can't be read is named.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub(super) fn locate(&self, id: QueueId, place: Place) -> Result<Located, SegmentError> {
        locate(&self.segments, id, place).inspect_err(|e| {
            if matches!(e, SegmentError::Damaged) {
                let (segment, offset) = (place.at.segment, place.at.offset);
                tracing::error!(%id, segment, offset, "a stored message is damaged");
            }
        })
    }
}

/// What to answer while a write error stands.
pub(super) fn refusal(error: &Arc<io::Error>) -> SpoolError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => SpoolError::Full,
        _ => SpoolError::Sick(Arc::clone(error)),
    }
}

/// Reads a message's entry.
///
/// # Errors
/// [`IndexError`].
pub(super) fn get_entry(index: &Index, id: QueueId) -> Result<Option<Entry>, IndexError> {
    match index.get(&message_key(id))? {
        None => Ok(None),
        Some(value) => Ok(Some(decode(&value)?)),
    }
}
