//! The operator's exceptions: domains that may get `cleartext` although they are
//! remembered as encrypted.
//!
//! Owns the file `exceptions.toml`. Holds always: each has an owner, a reason and an
//! end; the file is replaced whole (new name, fsync, rename, fsync of the folder);
//! what is past its end counts no more, whether or not it is still in the file.
//! Written by the running daemon alone (`domain allow`).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sys::{Disk, write_new};
use crate::types::{Domain, Timestamp, Waiver};

/// How long an exception may last.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
/// Exceptions at most.
const MOST: usize = 1000;
/// Octets of a reason at most.
const REASON_MAX: usize = 200;
/// Octets of the file at most.
const FILE_MAX: usize = 1 << 20;

/// Why an exception can't be made, or the file not be used.
#[derive(Debug, thiserror::Error)]
pub enum ExceptionError {
    /// There is no reason, or a very long one.
    #[error("say why, in {REASON_MAX} characters at most, on one line (--reason)")]
    Reason,
    /// Its end is no good.
    #[error("the end must be in the future, and a year away at most (--until 14d, or a date)")]
    Until,
    /// There are too many.
    #[error("there are {MOST} exceptions already: take some back with `domain forget`")]
    TooMany,
    /// The file can't be read or written.
    #[error("{}: {cause}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

/// The exceptions, as the file has them.
pub struct Exceptions {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    list: Mutex<Vec<Waiver>>,
}

/// The file.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    #[serde(default)]
    exception: Vec<Entry>,
}

/// One exception in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    domain: String,
    until: String,
    reason: String,
    owner: String,
    made: String,
}

impl Exceptions {
    /// Reads the file; without one there are none. Blocks.
    ///
    /// # Errors
    /// [`ExceptionError::File`].
    pub fn open(disk: Arc<dyn Disk>, path: PathBuf) -> Result<Self, ExceptionError> {
        let list = read(&*disk, &path).map_err(|cause| ExceptionError::File {
            path: path.clone(),
            cause,
        })?;
        Ok(Self {
            disk,
            path,
            list: Mutex::new(list),
        })
    }

    /// None, where the file can't be used; the next one made replaces it.
    #[must_use]
    pub fn none(disk: Arc<dyn Disk>, path: PathBuf) -> Self {
        Self {
            disk,
            path,
            list: Mutex::default(),
        }
    }

    /// The one of a domain, if it is in force.
    #[must_use]
    pub fn get(&self, domain: &Domain, now: Timestamp) -> Option<Waiver> {
        let list = self.list();
        list.iter()
            .find(|w| w.domain == *domain && w.until > now)
            .cloned()
    }

    /// All that are in force.
    #[must_use]
    pub fn all(&self, now: Timestamp) -> Vec<Waiver> {
        self.list()
            .iter()
            .filter(|w| w.until > now)
            .cloned()
            .collect()
    }

    /// Makes one, in place of the domain's former one. Blocks.
    ///
    /// # Errors
    /// [`ExceptionError`].
    pub fn add(&self, waiver: Waiver) -> Result<(), ExceptionError> {
        let reason = waiver.reason.trim();
        if reason.is_empty() || reason.len() > REASON_MAX || reason.chars().any(char::is_control) {
            return Err(ExceptionError::Reason);
        }
        let now = waiver.made;
        if waiver.until <= now || waiver.until.since(now) > LONGEST {
            return Err(ExceptionError::Until);
        }
        self.change(|list| {
            list.retain(|w| w.domain != waiver.domain && w.until > now);
            match list.len() < MOST {
                true => list.push(waiver),
                false => return Err(ExceptionError::TooMany),
            }
            Ok(())
        })
    }

    /// Takes a domain's back; says whether there was one. Blocks.
    ///
    /// # Errors
    /// [`ExceptionError::File`].
    pub fn remove(&self, domain: &Domain) -> Result<bool, ExceptionError> {
        if !self.list().iter().any(|w| w.domain == *domain) {
            return Ok(false);
        }
        self.change(|list| {
            list.retain(|w| w.domain != *domain);
            Ok(())
        })?;
        Ok(true)
    }

    /// Takes out those past their end, and gives them. Blocks.
    ///
    /// # Errors
    /// [`ExceptionError::File`]; they count no more all the same.
    pub fn lapse(&self, now: Timestamp) -> Result<Vec<Waiver>, ExceptionError> {
        let is_past = |w: &&Waiver| w.until <= now;
        let past: Vec<Waiver> = self.list().iter().filter(is_past).cloned().collect();
        if !past.is_empty() {
            self.change(|list| {
                list.retain(|w| w.until > now);
                Ok(())
            })?;
        }
        Ok(past)
    }

    /// Changes the file, and then what is in force.
    fn change(
        &self,
        with: impl FnOnce(&mut Vec<Waiver>) -> Result<(), ExceptionError>,
    ) -> Result<(), ExceptionError> {
        let mut list = self.list();
        let mut changed = list.clone();
        with(&mut changed)?;
        write(&*self.disk, &self.path, &changed).map_err(|cause| ExceptionError::File {
            path: self.path.clone(),
            cause,
        })?;
        *list = changed;
        Ok(())
    }

    fn list(&self) -> MutexGuard<'_, Vec<Waiver>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(disk: &dyn Disk, path: &Path) -> io::Result<Vec<Waiver>> {
    let octets = match disk.read(path, FILE_MAX) {
        Ok(octets) => octets,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let text = String::from_utf8(octets).map_err(bad)?;
    let contents: Contents = toml::from_str(&text).map_err(bad)?;
    let waivers = contents.exception.into_iter().map(|entry| {
        Ok(Waiver {
            domain: Domain::parse(&entry.domain).map_err(bad)?,
            owner: entry.owner,
            reason: entry.reason,
            made: entry.made.parse().map_err(bad)?,
            until: entry.until.parse().map_err(bad)?,
        })
    });
    waivers.collect()
}

fn write(disk: &dyn Disk, path: &Path, list: &[Waiver]) -> io::Result<()> {
    let entries = list.iter().map(|w| Entry {
        domain: w.domain.to_string(),
        until: w.until.to_string(),
        reason: w.reason.clone(),
        owner: w.owner.clone(),
        made: w.made.to_string(),
    });
    let contents = Contents {
        exception: entries.collect(),
    };
    let text = toml::to_string(&contents).map_err(io::Error::other)?;
    let text = format!("# Written by `postern domain allow`; not to be edited.\n{text}");
    write_new(disk, path, text.as_bytes()).map(|_| ())
}

fn bad(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
