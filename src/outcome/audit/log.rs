//! Writing the audit.
//!
//! Holds always: an event is written once, however often it is handed over; a
//! line that a crash has torn is cut off when its file is opened, and the journal
//! hands its event over again; after a failed fdatasync what it may have lost is
//! written anew. Costs memory for the ids of the two days last written to, about
//! 20 MB for a million events. Called from the spool's committer thread.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::sys::{Disk, DiskFile};
use crate::types::{AuditEvent, EventId, EventSink};

use super::{Record, SUFFIX};

/// Days kept open: around midnight there are two.
const DAYS_MAX: usize = 2;
/// Octets that may wait for a sync that fails; then events are refused, so that
/// they wait in the journal.
const PENDING_MAX: usize = 16 * 1024 * 1024;
/// Octets read at a time.
const CHUNK: usize = 256 * 1024;

/// The audit's writer.
#[derive(Debug)]
pub struct AuditLog {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    /// The days last written to, the newest last.
    days: Vec<Day>,
}

/// An open day file: what is durable, and what was written since.
#[derive(Debug)]
struct Day {
    name: String,
    file: Box<dyn DiskFile>,
    durable: u64,
    pending: Vec<u8>,
    /// A sync has failed: what is pending may not be in the file.
    doubtful: bool,
    ids: HashSet<EventId>,
}

impl AuditLog {
    /// Opens the audit in a folder, which is made if missing.
    ///
    /// # Errors
    /// What the disk says.
    pub fn open(disk: Arc<dyn Disk>, folder: &Path) -> io::Result<Self> {
        disk.create_folder(folder)?;
        Ok(Self {
            disk,
            folder: folder.to_owned(),
            days: Vec::new(),
        })
    }

    /// The file of a day, opened if it isn't.
    fn day(&mut self, name: &str) -> io::Result<&mut Day> {
        if let Some(at) = self.days.iter().position(|day| day.name == name) {
            let day = self.days.remove(at);
            self.days.push(day);
        } else {
            if self.days.len() >= DAYS_MAX {
                self.close_oldest()?;
            }
            let day = Day::open(self.disk.as_ref(), &self.folder, name)?;
            self.days.push(day);
        }
        self.days
            .last_mut()
            .ok_or_else(|| io::Error::other("no day file is open"))
    }

    fn close_oldest(&mut self) -> io::Result<()> {
        if let Some(oldest) = self.days.first_mut() {
            oldest.sync(self.disk.as_ref(), &self.folder)?;
            self.days.remove(0);
        }
        Ok(())
    }
}

impl EventSink for AuditLog {
    fn append(&mut self, events: &[AuditEvent]) -> io::Result<()> {
        for run in events.chunk_by(|a, b| a.time.day() == b.time.day()) {
            if let Some(first) = run.first() {
                self.day(&first.time.day())?.append(run)?;
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        for day in &mut self.days {
            day.sync(self.disk.as_ref(), &self.folder)?;
        }
        Ok(())
    }
}

impl Day {
    fn open(disk: &dyn Disk, folder: &Path, name: &str) -> io::Result<Self> {
        let path = path(folder, name);
        let file = match disk.open(&path, false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = disk.open(&path, true)?;
                disk.sync_folder(folder)?;
                file
            }
            opened => opened?,
        };
        let (whole, ids) = read_ids(file.as_ref())?;
        if file.len()? > whole {
            tracing::warn!("audit file {name}{SUFFIX}: a torn last line was cut off");
            file.set_len(whole)?;
        }
        Ok(Self {
            name: name.to_owned(),
            file,
            durable: whole,
            pending: Vec::new(),
            doubtful: false,
            ids,
        })
    }

    fn end(&self) -> u64 {
        self.durable + self.pending.len() as u64
    }

    /// Writes what is new of one day's events, in one piece.
    fn append(&mut self, events: &[AuditEvent]) -> io::Result<()> {
        if self.doubtful || self.pending.len() > PENDING_MAX {
            return Err(io::Error::other("the audit can't be made durable"));
        }
        let mut lines = Vec::new();
        let mut new = HashSet::new();
        for event in events {
            if !self.ids.contains(&event.event) && new.insert(event.event) {
                serde_json::to_writer(&mut lines, &Record::from(event))?;
                lines.push(b'\n');
            }
        }
        if lines.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.file.write_all_at(&lines, self.end()) {
            // Part of it may stand there. It would be overwritten by the next
            // try, but a reader should not meet it; if cutting fails too, it is
            // cut when the file is next opened.
            let _ = self.file.set_len(self.end());
            return Err(error);
        }
        self.pending.extend_from_slice(&lines);
        self.ids.extend(new);
        Ok(())
    }

    fn sync(&mut self, disk: &dyn Disk, folder: &Path) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if self.doubtful {
            // After a failed fdatasync the kernel may have dropped the pages and
            // marked them clean, so they are written again through a new file.
            self.file = disk.open(&path(folder, &self.name), false)?;
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

fn path(folder: &Path, day: &str) -> PathBuf {
    folder.join(format!("{day}{SUFFIX}"))
}

/// The ids in a file, and where its last whole line ends.
fn read_ids(file: &dyn DiskFile) -> io::Result<(u64, HashSet<EventId>)> {
    /// The one field that is asked for.
    #[derive(serde::Deserialize)]
    struct Name {
        event: String,
    }
    let length = file.len()?;
    let mut ids = HashSet::new();
    let (mut at, mut whole) = (0, 0);
    let mut line = Vec::new();
    while at < length {
        let size = usize::try_from(length - at).unwrap_or(CHUNK).min(CHUNK);
        let mut chunk = vec![0; size];
        file.read_exact_at(&mut chunk, at)?;
        at += size as u64;
        for piece in chunk.split_inclusive(|octet| *octet == b'\n') {
            line.extend_from_slice(piece);
            if !piece.ends_with(b"\n") {
                continue;
            }
            whole += line.len() as u64;
            // A broken line has no id to remember; `read` names it.
            if let Ok(name) = serde_json::from_slice::<Name>(&line)
                && let Ok(id) = name.event.parse()
            {
                ids.insert(id);
            }
            line.clear();
        }
    }
    Ok((whole, ids))
}
