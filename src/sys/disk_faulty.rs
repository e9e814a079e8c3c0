//! A disk that fails on demand: the twin of the real one.
//!
//! Owns a plan of faults in front of another [`Disk`]. Holds always: without a
//! fault due, every call goes through unchanged; each call is counted, so that a
//! test can first watch and then break the n-th. Passed in as a port; nothing in
//! the daemon knows of it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::disk::{Disk, DiskFile};

/// What can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Opening or making a file, or reading one whole.
    Open,
    /// Writing to a file.
    Write,
    /// Reading from an open file.
    Read,
    /// fdatasync of a file.
    Sync,
    /// fsync of a folder.
    SyncFolder,
    /// Cutting or extending a file.
    Cut,
    /// Renaming.
    Rename,
    /// Removing.
    Remove,
}

/// How it fails.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// With this error, nothing done.
    Error(io::ErrorKind),
    /// Having written so many octets of what was to be written, with this error.
    Short(usize, io::ErrorKind),
    /// Not at all, but only after so long.
    Slow(Duration),
}

/// One fault of a plan.
#[derive(Debug, Clone)]
pub struct Planned {
    /// What fails.
    pub operation: Operation,
    /// Only for paths that hold this text; empty: all.
    pub path: String,
    /// How many such calls pass before.
    pub after: u64,
    /// How many calls fail then; `u64::MAX`: all, until healed.
    pub times: u64,
    /// How.
    pub fault: Fault,
}

/// The failing disk. Clones share one plan.
#[derive(Debug, Clone)]
pub struct FaultyDisk {
    inner: Arc<dyn Disk>,
    plan: Arc<Mutex<Plan>>,
}

#[derive(Debug, Default)]
struct Plan {
    faults: Vec<Planned>,
    calls: Vec<(Operation, PathBuf)>,
    struck: usize,
    free: Option<u64>,
}

/// Calls remembered at most.
const CALLS_MAX: usize = 100_000;

impl FaultyDisk {
    /// In front of `inner`, without faults.
    #[must_use]
    pub fn new(inner: Arc<dyn Disk>) -> Self {
        Self {
            inner,
            plan: Arc::default(),
        }
    }

    /// Adds a fault.
    pub fn plan(&self, fault: Planned) {
        self.lock().faults.push(fault);
    }

    /// Takes all faults away.
    pub fn heal(&self) {
        self.lock().faults.clear();
    }

    /// Says how much room there is, in octets; `None`: what the disk says.
    pub fn set_free(&self, octets: Option<u64>) {
        self.lock().free = octets;
    }

    /// How many calls there were on paths that hold `path`, failed ones included.
    #[must_use]
    pub fn count(&self, operation: Operation, path: &str) -> usize {
        let plan = self.lock();
        let is_counted =
            |(o, p): &&(Operation, PathBuf)| *o == operation && p.to_string_lossy().contains(path);
        plan.calls.iter().filter(is_counted).count()
    }

    /// How often a fault was met so far.
    #[must_use]
    pub fn struck(&self) -> usize {
        self.lock().struck
    }

    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call; gives the fault that is due.
    fn due(&self, operation: Operation, path: &Path) -> Option<Fault> {
        let mut plan = self.lock();
        if plan.calls.len() < CALLS_MAX {
            plan.calls.push((operation, path.to_owned()));
        }
        let text = path.to_string_lossy();
        let planned = plan
            .faults
            .iter_mut()
            .find(|f| f.operation == operation && f.times > 0 && text.contains(&f.path))?;
        if planned.after > 0 {
            planned.after -= 1;
            return None;
        }
        if planned.times != u64::MAX {
            planned.times -= 1;
        }
        let fault = planned.fault;
        plan.struck += 1;
        Some(fault)
    }

    /// Fails if a fault is due.
    fn check(&self, operation: Operation, path: &Path) -> io::Result<()> {
        match self.due(operation, path) {
            None => Ok(()),
            Some(Fault::Error(kind) | Fault::Short(_, kind)) => Err(kind.into()),
            Some(Fault::Slow(span)) => {
                std::thread::sleep(span);
                Ok(())
            }
        }
    }
}

#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    path: PathBuf,
    inner: Box<dyn DiskFile>,
}

impl DiskFile for FaultyFile {
    fn write_all_at(&self, octets: &[u8], offset: u64) -> io::Result<()> {
        match self.disk.due(Operation::Write, &self.path) {
            None => {}
            Some(Fault::Error(kind)) => return Err(kind.into()),
            Some(Fault::Short(length, kind)) => {
                let written = octets.get(..length).unwrap_or(octets);
                self.inner.write_all_at(written, offset)?;
                return Err(kind.into());
            }
            Some(Fault::Slow(span)) => std::thread::sleep(span),
        }
        self.inner.write_all_at(octets, offset)
    }
    fn read_exact_at(&self, octets: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.check(Operation::Read, &self.path)?;
        self.inner.read_exact_at(octets, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.disk.check(Operation::Sync, &self.path)?;
        self.inner.sync_data()
    }
    fn set_len(&self, length: u64) -> io::Result<()> {
        self.disk.check(Operation::Cut, &self.path)?;
        self.inner.set_len(length)
    }
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>> {
        self.check(Operation::Open, path)?;
        Ok(Box::new(FaultyFile {
            disk: self.clone(),
            path: path.to_owned(),
            inner: self.inner.open(path, create)?,
        }))
    }
    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        self.check(Operation::Open, path)?;
        self.inner.read(path, limit)
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        self.inner.list(folder)
    }
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        self.inner.create_folder(folder)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(Operation::Rename, from)?;
        self.inner.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.check(Operation::Remove, path)?;
        self.inner.remove(path)
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.check(Operation::SyncFolder, folder)?;
        self.inner.sync_folder(folder)
    }
    fn free(&self, folder: &Path) -> io::Result<u64> {
        match self.lock().free {
            Some(octets) => Ok(octets),
            None => self.inner.free(folder),
        }
    }
}
