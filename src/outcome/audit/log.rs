//! Writing the audit.
//!
//! Holds always: an event is written once, however often it is handed over, into
//! the newest day's file, which is its own day's unless it comes late; so no file
//! grows once its head is written. A day is closed by the first event of a later
//! one, or at the next start. The days behind `[audit] keep` are removed after a
//! head that says so is durable. The clock may err: days never go backwards, and
//! what is removed is counted from the day that was closed, so that one jump of the
//! clock removes nothing. Costs memory for the ids of three days at most, about
//! 20 MB for a million events. Called from the spool's committer thread.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::chain::{self, Link, Removed, SignedHead};
use super::entry::Entry;
use super::files;
use super::seen::Seen;
use super::tail::{Before, Tail};
use super::{AuditKey, KeyError};
use crate::outcome::Settings;
use crate::sys::{Clock, Disk, Entropy};
use crate::types::{AuditEvent, DomainEvent, EventSink};

/// Octets at a file's end in which its head is looked for.
const HEAD_MAX: u64 = 4096;
/// Octets at a file's beginning that hold its first `prev`.
const FIRST_MAX: u64 = 128;
/// Seconds in a day.
const DAY: u64 = 86_400;

/// Why the audit can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its folder can't be made.
    #[error("{path}: {cause}", path = path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// Its key can't be had.
    #[error("{0}")]
    Key(#[from] KeyError),
}

/// The audit's writer.
pub struct AuditLog {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    folder: PathBuf,
    key: AuditKey,
    /// Days to keep.
    keep: i64,
    /// Whether the folder has been looked into.
    is_open: bool,
    /// The newest day's file; `None`: there is none yet.
    tail: Option<Tail>,
    seen: Seen,
}

impl AuditLog {
    /// Opens the audit in its folder, which is made if missing, as is the key. The
    /// files are looked at in [`EventSink::begin`], when the spool's lock says that
    /// no other daemon writes them.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        entropy: &dyn Entropy,
        settings: &Settings,
    ) -> Result<Self, OpenError> {
        let folder = settings.audit_folder.clone();
        disk.create_folder(&folder)
            .map_err(|cause| OpenError::Folder {
                path: folder.clone(),
                cause,
            })?;
        let key = AuditKey::open(disk.as_ref(), entropy, &settings.audit_key)?;
        let days = settings.audit_keep.as_secs().div_ceil(DAY);
        Ok(Self {
            disk,
            clock,
            folder,
            key,
            keep: i64::try_from(days).unwrap_or(i64::MAX),
            is_open: false,
            tail: None,
            seen: Seen::default(),
        })
    }

    /// Takes events of domains, as [`EventSink::append`] takes those of recipients.
    ///
    /// # Errors
    /// What the disk says; handed over again, what was written is not written twice.
    pub fn append_domains(&mut self, events: &[DomainEvent]) -> io::Result<()> {
        let entries: Vec<_> = events.iter().map(Entry::Domain).collect();
        self.append_entries(&entries)
    }

    fn append_entries(&mut self, entries: &[Entry<'_>]) -> io::Result<()> {
        self.find()?;
        for run in entries.chunk_by(|a, b| a.time().day() == b.time().day()) {
            self.append_day(run)?;
        }
        Ok(())
    }

    /// Finds the newest day's file.
    fn find(&mut self) -> io::Result<()> {
        if self.is_open {
            return Ok(());
        }
        let days = files::days(self.disk.as_ref(), &self.folder)?;
        if let [rest @ .., newest] = days.as_slice() {
            let before = before(self.disk.as_ref(), &self.folder, rest.last())?;
            let tail = Tail::open(self.disk.as_ref(), &self.folder, newest, before)?;
            self.tail = Some(tail);
        }
        self.is_open = true;
        Ok(())
    }

    /// The day into whose file an event of a day goes now.
    fn target(&self, day: String) -> String {
        match &self.tail {
            None => day,
            Some(tail) if tail.is_closed() => {
                let next = files::shift(&tail.day, 1);
                day.max(next).max(self.clock.now().day())
            }
            Some(tail) => day.max(tail.day.clone()),
        }
    }

    /// The file of a day not before the newest one's, which is closed if it is
    /// another.
    fn tail(&mut self, day: &str) -> io::Result<&mut Tail> {
        if self.tail.as_ref().is_none_or(|tail| tail.day != day) {
            self.close()?;
            let before = self.tail.as_ref().map_or_else(start, Tail::as_before);
            let next = Tail::begin(self.disk.as_ref(), &self.folder, day, before)?;
            if let Some(mut old) = self.tail.replace(next) {
                let ids = old.take_ids();
                self.seen.close(&old.day, ids);
            }
        }
        self.tail
            .as_mut()
            .ok_or_else(|| io::Error::other("no day file is open"))
    }

    /// Writes the newest day's head, makes it durable, and removes what it says is
    /// removed.
    fn close(&mut self) -> io::Result<()> {
        let Some(tail) = &mut self.tail else {
            return Ok(());
        };
        let is_new = !tail.is_closed();
        if is_new {
            let removed = to_remove(self.disk.as_ref(), &self.folder, tail, self.keep)?;
            tail.close(self.disk.as_ref(), &self.key, removed)?;
        }
        tail.sync(self.disk.as_ref())?;
        if is_new {
            let (day, head) = (&tail.day, tail.as_before().link);
            tracing::info!("the audit of {day} is signed: head={head}");
        }
        self.prune();
        Ok(())
    }

    /// Removes the files that the newest durable head says are removed.
    fn prune(&self) {
        let tail = self.tail.as_ref().filter(|tail| tail.is_closed());
        let Some(removed) = tail.and_then(Tail::removed) else {
            return;
        };
        let gone = |days: Vec<String>| -> io::Result<()> {
            for day in days.iter().filter(|day| **day <= removed.through) {
                self.disk.remove(&files::path(&self.folder, day))?;
                tracing::info!("the audit of {day} was removed, as [audit] keep says");
            }
            Ok(())
        };
        if let Err(error) = files::days(self.disk.as_ref(), &self.folder).and_then(gone) {
            tracing::error!(%error, "an audit file past its time could not be removed");
        }
    }

    /// Appends events that happened on the same day.
    fn append_day(&mut self, run: &[Entry<'_>]) -> io::Result<()> {
        let Some(first) = run.first() else {
            return Ok(());
        };
        let mut new = Vec::new();
        let open = self.tail.as_ref().map(|tail| tail.day.clone());
        for event in run.iter().copied() {
            if self.tail.as_ref().is_some_and(|tail| tail.holds(event)) {
                continue;
            }
            let disk = self.disk.as_ref();
            if let Some(open) = &open
                && self.seen.holds(disk, &self.folder, event, open)?
            {
                continue;
            }
            new.push(event);
        }
        if new.is_empty() {
            return Ok(());
        }
        let day = self.target(first.time().day());
        self.tail(&day)?.append(&new)
    }
}

impl EventSink for AuditLog {
    fn begin(&mut self) -> io::Result<()> {
        self.find()?;
        let today = self.clock.now().day();
        match &self.tail {
            Some(tail) if tail.day < today => self.close(),
            _ => Ok(()),
        }
    }

    fn append(&mut self, events: &[AuditEvent]) -> io::Result<()> {
        let entries: Vec<_> = events.iter().map(Entry::Recipient).collect();
        self.append_entries(&entries)
    }

    fn sync(&mut self) -> io::Result<()> {
        let tail = self.tail.as_mut();
        tail.map_or(Ok(()), |tail| tail.sync(self.disk.as_ref()))
    }
}

/// What the very first day begins behind.
fn start() -> Before {
    Before {
        day: None,
        link: Link::START,
        removed: None,
    }
}

/// What the day behind `last` begins behind.
fn before(disk: &dyn Disk, folder: &Path, last: Option<&String>) -> io::Result<Before> {
    let Some(day) = last else {
        return Ok(start());
    };
    let file = disk.open(&files::path(folder, day), false)?;
    let length = file.len()?;
    let from = length.saturating_sub(HEAD_MAX);
    let mut end = vec![0; usize::try_from(length - from).unwrap_or_default()];
    file.read_exact_at(&mut end, from)?;
    let line = end.split_inclusive(|octet| *octet == b'\n').next_back();
    let line = line.unwrap_or_default();
    let head = SignedHead::parse(line);
    if head.is_none() {
        let name = files::name(day);
        tracing::error!("audit file {name} does not end with its head: see `postern audit verify`");
    }
    Ok(Before {
        day: Some(day.clone()),
        link: Link::of(line),
        removed: head.and_then(|signed| signed.head.removed),
    })
}

/// What will be removed in all once `tail` is closed.
fn to_remove(
    disk: &dyn Disk,
    folder: &Path,
    tail: &Tail,
    keep: i64,
) -> io::Result<Option<Removed>> {
    let so_far = tail.removed().cloned();
    let last = files::shift(&tail.day, keep.saturating_neg());
    let days = files::days(disk, folder)?;
    let gone = days.partition_point(|day| *day <= last);
    let (Some(through), Some(first)) = (
        gone.checked_sub(1).and_then(|n| days.get(n)),
        days.get(gone),
    ) else {
        return Ok(so_far);
    };
    let file = disk.open(&files::path(folder, first), false)?;
    let length = file.len()?.min(FIRST_MAX);
    let mut line = vec![0; usize::try_from(length).unwrap_or_default()];
    file.read_exact_at(&mut line, 0)?;
    let Some(head) = chain::prev_of(&line) else {
        tracing::error!(
            "audit file {} does not begin as it should; nothing is removed before it",
            files::name(first)
        );
        return Ok(so_far);
    };
    let through = through.clone();
    Ok(Some(Removed { through, head }))
}
