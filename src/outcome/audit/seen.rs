//! Which events stand in earlier days' files.
//!
//! An event stands in its own day's file or, if it came late, in a later one. The
//! journal hands over late ones after a crash at midnight, and everything it still
//! has when its index is rebuilt. Holds always: the answer is exact; memory holds
//! the ids of two days and those of late events, and files are read only when a
//! late event asks. Called by [`super::AuditLog`], which knows the open day itself.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use super::entry::Entry;
use super::files::{self, Ids, Mark};
use crate::sys::Disk;

/// Days whose ids are remembered.
const DAYS_MAX: usize = 2;

/// What was looked up so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Days with all their ids, the last used last.
    days: Vec<(String, Ids)>,
    /// The late events in the files behind `searched`.
    late: Ids,
    /// All closed files behind this day have been searched for late events.
    searched: Option<String>,
}

impl Seen {
    /// Takes over the ids of a day that was closed.
    pub(super) fn close(&mut self, day: &str, ids: Ids) {
        *self = Self::default();
        self.days.push((day.to_owned(), ids));
    }

    /// Whether an event stands in a file of before `open`, the open day.
    pub(super) fn holds(
        &mut self,
        disk: &dyn Disk,
        folder: &Path,
        event: Entry<'_>,
        open: &str,
    ) -> io::Result<bool> {
        let day = event.time().day();
        if day.as_str() >= open {
            return Ok(false);
        }
        if self.day(disk, folder, &day)?.contains(&event.event()) {
            return Ok(true);
        }
        self.search(disk, folder, &day, open)?;
        Ok(self.late.contains(&event.event()))
    }

    /// The ids of a day's file; none if there is no such file.
    fn day(&mut self, disk: &dyn Disk, folder: &Path, day: &str) -> io::Result<&Ids> {
        let known = self.days.iter().position(|(known, _)| known == day);
        let entry = match known {
            Some(at) => self.days.remove(at),
            None => {
                let mut ids = Ids::new();
                each_mark(disk, folder, day, |mark| {
                    ids.insert(mark.event);
                })?;
                (day.to_owned(), ids)
            }
        };
        if self.days.len() >= DAYS_MAX {
            self.days.remove(0);
        }
        self.days.push(entry);
        let last = self.days.last().map(|(_, ids)| ids);
        last.ok_or_else(|| io::Error::other("no day is remembered"))
    }

    /// Searches the files behind `day` for late events.
    fn search(&mut self, disk: &dyn Disk, folder: &Path, day: &str, open: &str) -> io::Result<()> {
        let until = self.searched.clone().unwrap_or_else(|| open.to_owned());
        if until.as_str() <= day {
            return Ok(());
        }
        for name in files::days(disk, folder)? {
            let is_new = self.searched.is_none() || name <= until;
            if name.as_str() > day && name.as_str() < open && is_new {
                each_mark(disk, folder, &name, |mark| {
                    if mark.time.day() != name {
                        self.late.insert(mark.event);
                    }
                })?;
            }
        }
        self.searched = Some(day.to_owned());
        Ok(())
    }
}

/// Hands over the events of a day's file; none if there is no such file.
fn each_mark(
    disk: &dyn Disk,
    folder: &Path,
    day: &str,
    mut take: impl FnMut(Mark),
) -> io::Result<()> {
    let file = match disk.open(&files::path(folder, day), false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    files::each_line(file.as_ref(), |line| {
        files::mark(line).into_iter().for_each(&mut take);
        ControlFlow::Continue(())
    })?;
    Ok(())
}
