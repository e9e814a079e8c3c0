//! The day files' names, and reading them line by line through the disk's port.
//!
//! Owns what counts as a day file: `2026-11-22.jsonl`, nothing else. Called by the
//! writer and its memory; the command line reads by [`super::read`].

use std::borrow::Cow;
use std::collections::HashSet;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::sys::{Disk, DiskFile};
use crate::types::{EventId, Timestamp};

/// What day files end in.
const SUFFIX: &str = ".jsonl";
/// Octets read at a time.
const CHUNK: usize = 256 * 1024;
/// Microseconds in a day.
const DAY: i64 = 86_400_000_000;

/// The name of a day's file.
pub(super) fn name(day: &str) -> String {
    format!("{day}{SUFFIX}")
}

/// The file of a day.
pub(super) fn path(folder: &Path, day: &str) -> PathBuf {
    folder.join(name(day))
}

/// The day of a file, if it is a day file.
pub(super) fn day_of(path: &Path) -> Option<&str> {
    let day = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?;
    midnight(day).is_some().then_some(day)
}

/// The days that have a file, the oldest first.
pub(super) fn days(disk: &dyn Disk, folder: &Path) -> io::Result<Vec<String>> {
    let paths = disk.list(folder)?;
    let days = paths.iter().filter_map(|path| day_of(path));
    Ok(days.map(str::to_owned).collect())
}

/// The day so many days later; the day itself where there is none such.
pub(super) fn shift(day: &str, by: i64) -> String {
    let at = midnight(day).map(Timestamp::as_micros).unwrap_or_default();
    Timestamp::from_micros(at.saturating_add(by.saturating_mul(DAY))).day()
}

/// A day's beginning, if it is written as days are.
fn midnight(day: &str) -> Option<Timestamp> {
    let at: Timestamp = format!("{day}T00:00:00Z").parse().ok()?;
    (at.day() == day).then_some(at)
}

/// Hands over each whole line, with its end, until told to stop; gives where the
/// last one taken ends.
pub(super) fn each_line(
    file: &dyn DiskFile,
    mut take: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<u64> {
    let length = file.len()?;
    let (mut at, mut whole) = (0, 0);
    let mut line = Vec::new();
    while at < length {
        let size = usize::try_from(length - at).unwrap_or(CHUNK).min(CHUNK);
        let mut chunk = vec![0; size];
        file.read_exact_at(&mut chunk, at)?;
        at += size as u64;
        let mut rest = chunk.as_slice();
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (piece, behind) = rest.split_at(end + 1);
            line.extend_from_slice(piece);
            if take(&line).is_break() {
                return Ok(whole);
            }
            whole += line.len() as u64;
            line.clear();
            rest = behind;
        }
        line.extend_from_slice(rest);
    }
    Ok(whole)
}

/// What tells an event from another, and when it happened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub(super) event: EventId,
    pub(super) time: Timestamp,
}

/// The mark of an event's line; `None` of a head, and of a broken line, which
/// `read` and `verify` name.
pub(super) fn mark(line: &[u8]) -> Option<Mark> {
    /// The two fields that are asked for.
    #[derive(serde::Deserialize)]
    struct Fields {
        event: String,
        time: String,
    }
    let fields: Fields = serde_json::from_slice(line).ok()?;
    Some(Mark {
        event: fields.event.parse().ok()?,
        time: fields.time.parse().ok()?,
    })
}

/// The event of a line, as [`mark`] gives it; a start looks at each of a day's.
pub(super) fn event(line: &[u8]) -> Option<EventId> {
    #[derive(serde::Deserialize)]
    struct Field<'l> {
        #[serde(borrow)]
        event: Cow<'l, str>,
    }
    let field: Field<'_> = serde_json::from_slice(line).ok()?;
    field.event.parse().ok()
}

/// Ids of events.
pub(super) type Ids = HashSet<EventId>;
