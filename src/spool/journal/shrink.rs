//! Making the index's file small again.
//!
//! sled gives no room back: after a million messages came and went its file is as
//! large as ever. Owns the choice of the moment and the change from the large
//! database to a small one. Holds always: the small one is made in `index.next`
//! while the large one is at work, a few pairs at a time; it is durable before it
//! takes the other's place; whatever fails before that leaves all as it was, and a
//! crash in the middle of it is an index that is missing, made anew from the
//! journal. Called by the keeper, who alone moves the checkpoint.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::core::Core;
use super::index::{Index, IndexError};

/// Octets that the file may always have ...
const SPARE: u64 = 16 << 20;
/// ... and for each message and each recipient that waits.
const EACH: u64 = 2048;
/// How long one step copies.
const STEP: Duration = Duration::from_millis(50);

/// How long a closed database's lock may take to go, and between two looks.
const LOCK_MAX: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// The keeper's part in it.
#[derive(Default)]
pub(super) struct Shrink {
    /// A copy is in the making.
    is_copying: bool,
    /// Octets that the file had when it was last made, and what waited then: it may
    /// be that large rightly.
    made: u64,
    waited: u64,
}

/// Why the index stays as it is.
#[derive(Debug, thiserror::Error)]
enum Kept {
    #[error("{0}")]
    Index(#[from] IndexError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Shrink {
    /// Goes a step on; says whether there is more to do at once. `length`: what the
    /// file has now.
    pub(super) fn step(&mut self, core: &Core, length: u64) -> bool {
        if !self.is_copying && !self.is_due(core, length) {
            return false;
        }
        match self.try_step(core, length) {
            Ok(more) => more,
            Err(error) => {
                tracing::warn!(%error, "the index could not be made smaller");
                self.give_up(core);
                (self.made, self.waited) = (length, waiting(core));
                false
            }
        }
    }

    fn is_due(&self, core: &Core, length: u64) -> bool {
        let waiting = waiting(core);
        let has_changed = length > self.made.saturating_mul(2) || waiting < self.waited / 2;
        length > SPARE.saturating_add(waiting.saturating_mul(EACH)) && has_changed
    }

    fn try_step(&mut self, core: &Core, length: u64) -> Result<bool, Kept> {
        if !self.is_copying {
            clear(&next_folder(core))?;
            with_index(core, |index| index.begin_copy(&next_folder(core)))?;
            self.is_copying = true;
            self.waited = waiting(core);
        }
        let until = Instant::now() + STEP;
        while Instant::now() < until {
            if !with_index(core, Index::copy_some)? {
                let held_up = self.change(core)?;
                let folder = core.index_folder();
                self.made = core.disk.open(&folder.join("db"), false)?.len()?;
                tracing::info!(
                    before = length,
                    after = self.made,
                    ?held_up,
                    "the index was made smaller"
                );
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Puts the copy in the index's place; gives how long all others had to wait.
    fn change(&mut self, core: &Core) -> Result<Duration, Kept> {
        let (folder, next) = (core.index_folder(), next_folder(core));
        let old = folder.with_extension("old");
        clear(&old)?;
        with_index(core, Index::flush_copy)?;
        for name in ["conf", "db"] {
            core.disk.open(&next.join(name), false)?.sync_data()?;
        }
        core.disk.sync_folder(&next)?;
        let mut slot = core.index.write().unwrap_or_else(PoisonError::into_inner);
        let begun = Instant::now();
        let Some(index) = slot.take() else {
            return Err(IndexError::Damaged.into());
        };
        let pending = match index.close() {
            Ok(pending) => pending,
            Err(index) => {
                *slot = Some(index);
                return Err(io::Error::from(io::ErrorKind::ResourceBusy).into());
            }
        };
        self.is_copying = false;
        let changed = || -> Result<Index, Kept> {
            core.disk.rename(&folder, &old)?;
            core.disk.rename(&next, &folder)?;
            if let Some(spool) = folder.parent() {
                core.disk.sync_folder(spool)?;
            }
            Ok(open(core, &folder)?)
        };
        match changed() {
            Ok(index) => {
                index.take_over(pending);
                *slot = Some(index);
            }
            Err(error) => {
                drop(slot);
                let lost = io::Error::other(error.to_string());
                core.index_failed(IndexError::Sled(sled::Error::Io(lost)));
                return Err(error);
            }
        }
        drop(slot);
        let held_up = begun.elapsed();
        clear(&old)?;
        Ok(held_up)
    }

    fn give_up(&mut self, core: &Core) {
        self.is_copying = false;
        // The index may be closed, or have failed; then there is no copy either.
        let _ = with_index(core, |index| {
            index.drop_copy();
            Ok(())
        });
        let _ = clear(&next_folder(core));
    }
}

/// Messages and recipients that the index must hold.
fn waiting(core: &Core) -> u64 {
    let books = core.books();
    books.totals.messages + books.totals.recipients + books.totals.dead
}

/// Opens the database that was just closed. sled's own threads may hold its lock
/// for a moment longer.
fn open(core: &Core, folder: &Path) -> Result<Index, IndexError> {
    let until = Instant::now() + LOCK_MAX;
    loop {
        match Index::open(folder, Arc::clone(&core.index_key), &*core.entropy) {
            Err(IndexError::Sled(sled::Error::Io(_))) if Instant::now() < until => {
                std::thread::sleep(LOCK_PAUSE);
            }
            opened => return opened,
        }
    }
}

/// Does something with the index; an error there is one of the copy.
fn with_index<T>(
    core: &Core,
    with: impl FnOnce(&Index) -> Result<T, IndexError>,
) -> Result<T, IndexError> {
    let guard = core.index.read().unwrap_or_else(PoisonError::into_inner);
    with(guard.as_ref().ok_or(IndexError::Damaged)?)
}

fn next_folder(core: &Core) -> PathBuf {
    core.index_folder().with_extension("next")
}

/// Removes a folder, if it is there.
fn clear(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes what a crash left of a copy.
///
/// # Errors
/// What the disk says.
pub(super) fn tidy(index_folder: &Path) -> io::Result<()> {
    clear(&index_folder.with_extension("next"))?;
    clear(&index_folder.with_extension("old"))
}
