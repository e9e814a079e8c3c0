//! The open end of the chain: the newest day's file.
//!
//! Holds always: a line is written whole or cut off again; after a failed
//! fdatasync what it may have lost is written anew, octet for octet; a head is
//! written only behind events that are durable, and nothing behind a head. Called
//! by [`super::AuditLog`].

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::AuditKey;
use super::chain::{self, Head, Link, Removed, SignedHead};
use super::entry::Entry;
use super::files::{self, Ids};
use crate::sys::{Disk, DiskFile};

/// Octets that may wait for a sync that fails; then events are refused, so that
/// they wait in the journal.
const PENDING_MAX: usize = 16 * 1024 * 1024;
/// Octets copied at a time.
const CHUNK: u64 = 256 * 1024;

/// What a day begins behind.
#[derive(Debug, Clone)]
pub(super) struct Before {
    /// The day before; `None`: there is none.
    pub(super) day: Option<String>,
    /// The link to its head.
    pub(super) link: Link,
    /// What its head says was removed.
    pub(super) removed: Option<Removed>,
}

/// The newest day's file: what is durable, and what was written since.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) day: String,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    durable: u64,
    pending: Vec<u8>,
    /// A sync has failed: what is pending may not be in the file.
    doubtful: bool,
    ids: Ids,
    before: Before,
    /// To the last line.
    link: Link,
    /// Lines that are no heads.
    events: u64,
    /// The day's own head, once it is written.
    head: Option<Head>,
}

/// What a file's whole lines come to.
struct Scan {
    end: u64,
    ids: Ids,
    link: Link,
    events: u64,
    head: Option<Head>,
    /// Zeros stand behind `end`, as a power cut leaves them.
    has_zeros: bool,
}

impl Tail {
    /// Begins a day's file.
    pub(super) fn begin(
        disk: &dyn Disk,
        folder: &Path,
        day: &str,
        before: Before,
    ) -> io::Result<Self> {
        let path = files::path(folder, day);
        let file = match disk.open(&path, true) {
            // Made by a try that failed in the next line.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let file = disk.open(&path, false)?;
                if !file.is_empty()? {
                    return Err(error);
                }
                file
            }
            opened => opened?,
        };
        disk.sync_folder(folder)?;
        let scan = Scan::of(file.as_ref(), before.link)?;
        Ok(Self::new(day, path, file, before, scan))
    }

    /// Opens the newest day's file, cutting off what a crash has torn.
    pub(super) fn open(
        disk: &dyn Disk,
        folder: &Path,
        day: &str,
        before: Before,
    ) -> io::Result<Self> {
        let path = files::path(folder, day);
        let file = disk.open(&path, false)?;
        let scan = Scan::of(file.as_ref(), before.link)?;
        if file.len()? > scan.end {
            if scan.has_zeros {
                keep_copy(disk, file.as_ref(), folder, day, scan.end)?;
            }
            tracing::warn!(
                "audit file {}: cut at octet {}, where a crash has torn it; \
                 the journal hands over what was not durable",
                files::name(day),
                scan.end
            );
            file.set_len(scan.end)?;
        }
        Ok(Self::new(day, path, file, before, scan))
    }

    fn new(day: &str, path: PathBuf, file: Box<dyn DiskFile>, before: Before, scan: Scan) -> Self {
        Self {
            day: day.to_owned(),
            path,
            file,
            durable: scan.end,
            pending: Vec::new(),
            doubtful: false,
            ids: scan.ids,
            before,
            link: scan.link,
            events: scan.events,
            head: scan.head,
        }
    }

    fn end(&self) -> u64 {
        self.durable + self.pending.len() as u64
    }

    /// Whether the day's head is written.
    pub(super) fn is_closed(&self) -> bool {
        self.head.is_some()
    }

    pub(super) fn holds(&self, event: Entry<'_>) -> bool {
        self.ids.contains(&event.event())
    }

    /// What was removed, as far as this day knows.
    pub(super) fn removed(&self) -> Option<&Removed> {
        match &self.head {
            Some(head) => head.removed.as_ref(),
            None => self.before.removed.as_ref(),
        }
    }

    /// What the next day begins behind; for a closed one.
    pub(super) fn as_before(&self) -> Before {
        Before {
            day: Some(self.day.clone()),
            link: self.link,
            removed: self.removed().cloned(),
        }
    }

    pub(super) fn take_ids(&mut self) -> Ids {
        std::mem::take(&mut self.ids)
    }

    /// Writes events in one piece, each once.
    pub(super) fn append(&mut self, events: &[Entry<'_>]) -> io::Result<()> {
        if self.doubtful || self.pending.len() > PENDING_MAX {
            return Err(io::Error::other("the audit can't be made durable"));
        }
        let (mut lines, mut new, mut link) = (Vec::new(), Ids::new(), self.link);
        for event in events {
            if new.insert(event.event()) {
                let line = event.line(link)?;
                link = Link::of(&line);
                lines.extend_from_slice(&line);
            }
        }
        if lines.is_empty() {
            return Ok(());
        }
        self.write(&lines)?;
        self.link = link;
        self.events += new.len() as u64;
        self.ids.extend(new);
        Ok(())
    }

    /// Writes the day's head; it is durable after the next sync.
    pub(super) fn close(
        &mut self,
        disk: &dyn Disk,
        key: &AuditKey,
        removed: Option<Removed>,
    ) -> io::Result<()> {
        self.sync(disk)?;
        let head = Head {
            day: self.day.clone(),
            after: self.before.day.clone(),
            events: self.events,
            removed,
        };
        let line = chain::head_line(self.link, &head, key)?;
        self.write(&line)?;
        self.link = Link::of(&line);
        self.head = Some(head);
        Ok(())
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all_at(lines, self.end()) {
            // Part of it may stand there. It would be overwritten by the next
            // try, but a reader should not meet it; if cutting fails too, it is
            // cut when the file is next opened.
            let _ = self.file.set_len(self.end());
            return Err(error);
        }
        self.pending.extend_from_slice(lines);
        Ok(())
    }

    pub(super) fn sync(&mut self, disk: &dyn Disk) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if self.doubtful {
            // After a failed fdatasync the kernel may have dropped the pages and
            // marked them clean, so they are written again through a new file.
            self.file = disk.open(&self.path, false)?;
            self.file.set_len(self.durable)?;
            self.file.write_all_at(&self.pending, self.durable)?;
        }
        self.doubtful = true;
        self.file.sync_data()?;
        self.doubtful = false;
        self.durable = self.end();
        self.pending.clear();
        Ok(())
    }
}

impl Scan {
    fn of(file: &dyn DiskFile, before: Link) -> io::Result<Self> {
        let mut scan = Self {
            end: 0,
            ids: Ids::new(),
            link: before,
            events: 0,
            head: None,
            has_zeros: false,
        };
        let mut last = Vec::new();
        scan.end = files::each_line(file, |line| {
            // No line holds one. What follows was not durable either, since a
            // sync covers all that stands before it.
            if line.contains(&0) {
                scan.has_zeros = true;
                return ControlFlow::Break(());
            }
            // Hashed once, when it is known to be the last.
            last.clear();
            last.extend_from_slice(line);
            scan.head = SignedHead::parse(line).map(|signed| signed.head);
            if !chain::is_head(line) {
                scan.events += 1;
            }
            scan.ids.extend(files::event(line));
            ControlFlow::Continue(())
        })?;
        if !last.is_empty() {
            scan.link = Link::of(&last);
        }
        Ok(scan)
    }
}

/// Keeps what is about to be cut off, since it is more than a torn line.
fn keep_copy(
    disk: &dyn Disk,
    file: &dyn DiskFile,
    folder: &Path,
    day: &str,
    from: u64,
) -> io::Result<()> {
    let path = folder.join(format!("{day}.cut-at-{from}"));
    let copy = match disk.open(&path, true) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => disk.open(&path, false)?,
        opened => opened?,
    };
    let (mut at, end) = (from, file.len()?);
    while at < end {
        let size = (end - at).min(CHUNK);
        let mut chunk = vec![0; usize::try_from(size).unwrap_or_default()];
        file.read_exact_at(&mut chunk, at)?;
        copy.write_all_at(&chunk, at - from)?;
        at += size;
    }
    copy.sync_data()?;
    disk.sync_folder(folder)
}
