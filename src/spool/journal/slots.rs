//! Which messages are being attempted, for the next process to know.
//!
//! Owns the file `inflight`: one slot of 12 octets for each message under way.
//! Holds always: marking is one small write without a flush, which survives the
//! crash of a process; what a power cut takes of it costs nothing but a second
//! careful attempt. Called by the store's begin and end of attempts.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::sys::{Disk, DiskFile};
use crate::types::QueueId;

/// Octets of a slot: an id, or zeros.
const SLOT: usize = 12;
/// Octets of the file read back at most.
const READ_MAX: usize = 1 << 20;

/// The open file and who is in it.
pub(super) struct Slots {
    file: Box<dyn DiskFile>,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// Each marked message's slot, and how many attempts at it are under way.
    held: HashMap<QueueId, (u64, u32)>,
    free: Vec<u64>,
    next: u64,
}

impl Slots {
    /// Opens the file and empties it; gives what was in it too.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn open(disk: &dyn Disk, path: &Path) -> io::Result<(Self, Vec<QueueId>)> {
        let (file, marked) = match disk.open(path, false) {
            Ok(file) => {
                let marked = read_back(&*file)?;
                file.set_len(0)?;
                (file, marked)
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => (disk.open(path, true)?, Vec::new()),
            Err(e) => return Err(e),
        };
        let slots = Self {
            file,
            table: Mutex::default(),
        };
        Ok((slots, marked))
    }

    /// Marks a message.
    pub(super) fn begin(&self, id: QueueId) {
        let mut table = self.lock();
        if let Some((_, count)) = table.held.get_mut(&id) {
            *count += 1;
            return;
        }
        let slot = table.free.pop().unwrap_or(table.next);
        table.next = table.next.max(slot + 1);
        table.held.insert(id, (slot, 1));
        self.write(slot, id.to_octets());
    }

    /// Takes the mark away with the last attempt's end.
    pub(super) fn end(&self, id: QueueId) {
        let mut table = self.lock();
        let Some((slot, count)) = table.held.get_mut(&id) else {
            return;
        };
        *count -= 1;
        if *count > 0 {
            return;
        }
        let slot = *slot;
        table.held.remove(&id);
        table.free.push(slot);
        self.write(slot, [0; SLOT]);
    }

    fn write(&self, slot: u64, octets: [u8; SLOT]) {
        if let Err(error) = self.file.write_all_at(&octets, slot * SLOT as u64) {
            tracing::warn!(%error, "an attempt could not be marked as under way");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_back(file: &dyn DiskFile) -> io::Result<Vec<QueueId>> {
    let length = usize::try_from(file.len()?)
        .unwrap_or(READ_MAX)
        .min(READ_MAX);
    let mut octets = vec![0; length];
    file.read_exact_at(&mut octets, 0)?;
    let (slots, _) = octets.as_chunks::<SLOT>();
    let mut marked: Vec<_> = slots
        .iter()
        .filter(|slot| **slot != [0; SLOT])
        .map(|slot| QueueId::from_octets(*slot))
        .collect();
    marked.sort_unstable();
    marked.dedup();
    Ok(marked)
}
