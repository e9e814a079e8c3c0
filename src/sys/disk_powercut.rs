//! A disk that can tell what a power cut would have left: a twin of the real one.
//!
//! Owns a recording of every change made through it and, by replaying that
//! recording up to any moment, the folder as it might be found afterwards. Holds
//! always: what a successful [`DiskFile::sync_data`] or [`Disk::sync_folder`]
//! covered is in every image; of all else, a seed decides. Files it did not see
//! being made (the index's own) are none of its business. Passed in as a port;
//! nothing in the daemon knows of it.
//!
//! The model is stricter than most file systems: a folder's names reach the disk
//! in any order, pages of a file too, and what a failed fdatasync was to flush
//! may be lost whatever a later one says.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, DiskFile};
use super::disk_powercut_image::Image;

/// What happens to whatever was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is there: only the process died.
    Kill,
    /// This seed decides.
    PowerCut(u64),
}

/// One recorded change. A file goes by the number of the step that made it.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Folder(PathBuf),
    Create(PathBuf),
    Rename {
        file: usize,
        from: PathBuf,
        to: PathBuf,
    },
    Remove(PathBuf),
    Write {
        file: usize,
        offset: u64,
        octets: Arc<[u8]>,
    },
    Length {
        file: usize,
        length: u64,
    },
    Sync {
        file: usize,
        is_ok: bool,
    },
    SyncFolder(PathBuf),
}

/// The recording disk. Clones share one recording.
#[derive(Debug, Clone)]
pub struct PowerCutDisk {
    inner: Arc<dyn Disk>,
    root: PathBuf,
    log: Arc<Mutex<Log>>,
}

#[derive(Debug, Default)]
struct Log {
    steps: Vec<Step>,
    /// Which file has which name now; paths are below the root.
    names: BTreeMap<PathBuf, usize>,
    folders: BTreeSet<PathBuf>,
}

impl PowerCutDisk {
    /// Records what happens below `root`, an empty folder that is durable.
    #[must_use]
    pub fn new(inner: Arc<dyn Disk>, root: &Path) -> Self {
        Self {
            inner,
            root: root.to_owned(),
            log: Arc::default(),
        }
    }

    /// How many changes were recorded so far: a moment to cut at.
    #[must_use]
    pub fn now(&self) -> usize {
        self.lock().steps.len()
    }

    /// Leaves in `to`, an empty folder, what may be found after the first
    /// `moment` changes.
    ///
    /// # Errors
    /// What the system says.
    pub fn image(&self, moment: usize, fate: Fate, to: &Path) -> io::Result<()> {
        let log = self.lock();
        let steps = log.steps.get(..moment).unwrap_or(&log.steps);
        Image::of(steps, fate).write(to)
    }

    /// The disk on which the next process starts in `to`, if this one is killed
    /// after `moment` changes: all that was written is seen, and what was not
    /// synced by then can still be lost.
    ///
    /// # Errors
    /// What the system says.
    pub fn killed(&self, moment: usize, to: &Path) -> io::Result<Self> {
        self.image(moment, Fate::Kill, to)?;
        let mut log = Log::default();
        for step in self.lock().steps.iter().take(moment) {
            log.push(step.clone());
        }
        Ok(Self {
            inner: Arc::clone(&self.inner),
            root: to.to_owned(),
            log: Arc::new(Mutex::new(log)),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn below<'p>(&self, path: &'p Path) -> Option<&'p Path> {
        path.strip_prefix(&self.root).ok()
    }
}

impl Log {
    /// Notes a change; gives its number.
    fn push(&mut self, step: Step) -> usize {
        let number = self.steps.len();
        match &step {
            Step::Folder(path) => {
                self.folders.insert(path.clone());
            }
            Step::Create(path) => {
                self.names.insert(path.clone(), number);
            }
            Step::Rename { file, from, to } => {
                self.names.remove(from);
                self.names.insert(to.clone(), *file);
            }
            Step::Remove(path) => {
                self.names.remove(path);
            }
            Step::Write { .. } | Step::Length { .. } | Step::Sync { .. } | Step::SyncFolder(_) => {}
        }
        self.steps.push(step);
        number
    }
}

/// The recording is locked during each change, so that its order is theirs.
#[derive(Debug)]
struct Recorded {
    disk: PowerCutDisk,
    file: usize,
    inner: Box<dyn DiskFile>,
}

impl DiskFile for Recorded {
    fn write_all_at(&self, octets: &[u8], offset: u64) -> io::Result<()> {
        let mut log = self.disk.lock();
        let result = self.inner.write_all_at(octets, offset);
        // After an error any part of it may be there: it is not synced, at least.
        log.push(Step::Write {
            file: self.file,
            offset,
            octets: octets.into(),
        });
        result
    }
    fn read_exact_at(&self, octets: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_exact_at(octets, offset)
    }
    fn read_at_once(&self, octets: &mut [u8], offset: u64) -> io::Result<bool> {
        self.inner.read_at_once(octets, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        let mut log = self.disk.lock();
        let result = self.inner.sync_data();
        log.push(Step::Sync {
            file: self.file,
            is_ok: result.is_ok(),
        });
        result
    }
    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut log = self.disk.lock();
        self.inner.set_len(length)?;
        log.push(Step::Length {
            file: self.file,
            length,
        });
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
}

impl Disk for PowerCutDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>> {
        let mut log = self.lock();
        let inner = self.inner.open(path, create)?;
        let file = match self.below(path) {
            Some(path) if create => Some(log.push(Step::Create(path.to_owned()))),
            Some(path) => log.names.get(path).copied(),
            None => None,
        };
        Ok(match file {
            None => inner,
            Some(file) => Box::new(Recorded {
                disk: self.clone(),
                file,
                inner,
            }),
        })
    }
    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        self.inner.read(path, limit)
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        self.inner.list(folder)
    }
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        let mut log = self.lock();
        self.inner.create_folder(folder)?;
        let mut made = PathBuf::new();
        for part in self.below(folder).into_iter().flatten() {
            made.push(part);
            if !log.folders.contains(&made) {
                log.push(Step::Folder(made.clone()));
            }
        }
        Ok(())
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut log = self.lock();
        self.inner.rename(from, to)?;
        if let (Some(from), Some(to)) = (self.below(from), self.below(to))
            && let Some(file) = log.names.get(from).copied()
        {
            let (from, to) = (from.to_owned(), to.to_owned());
            log.push(Step::Rename { file, from, to });
        }
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut log = self.lock();
        self.inner.remove(path)?;
        if let Some(path) = self.below(path) {
            log.push(Step::Remove(path.to_owned()));
        }
        Ok(())
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut log = self.lock();
        self.inner.sync_folder(folder)?;
        if let Some(folder) = self.below(folder) {
            log.push(Step::SyncFolder(folder.to_owned()));
        }
        Ok(())
    }
    fn free(&self, folder: &Path) -> io::Result<u64> {
        self.inner.free(folder)
    }
}
