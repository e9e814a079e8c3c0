//! Making the index anew from the journal.
//!
//! Owns the moving aside of an index that can't be trusted. Holds always: the
//! two newest bad ones are kept for study, no more; the journal is only read.
//! Called by the opening and, when the index fails at work, by the committer.

use std::path::Path;
use std::sync::{Arc, PoisonError};

use crate::sys::{Disk, Entropy};

use super::books::Books;
use super::core::Core;
use super::events::Events;
use super::index::Index;
use super::keys::SecretKey;
use super::payload::Position;
use super::replay::{Replay, ReplayError, Start};

/// Bad indexes kept.
const KEEP: usize = 2;

/// An index made anew.
pub(super) struct Rebuilt {
    pub(super) index: Index,
    pub(super) books: Books,
    /// Where the journal ends.
    pub(super) end: Position,
}

/// Makes a new index in an empty place and reads the whole journal into it.
///
/// # Errors
/// [`ReplayError`].
pub(super) fn build(
    replay: &mut Replay<'_>,
    folder: &Path,
    key: Arc<SecretKey>,
    entropy: &dyn Entropy,
    events: &mut Events,
    durable: Position,
) -> Result<Rebuilt, ReplayError> {
    let index = Index::open(folder, key, entropy)?;
    let mut books = Books::default();
    let from = Start {
        durable,
        ..Start::default()
    };
    let end = replay.run(&index, &mut books, events, from)?;
    Ok(Rebuilt { index, books, end })
}

/// Makes the running spool's index anew; all before `end` is durable.
///
/// # Errors
/// [`ReplayError`]; the index is then missing still.
pub(super) fn rebuild(core: &Arc<Core>, end: Position) -> Result<(), ReplayError> {
    let mut slot = core.index.write().unwrap_or_else(PoisonError::into_inner);
    // sled holds a lock on its folder until it is dropped.
    drop(slot.take());
    move_aside(&*core.disk, &core.index_folder())?;
    let aside = core.settings.folder.join("damaged");
    let mut replay = Replay::new(&*core.disk, &core.segments, aside)?;
    let mut events = core.events();
    let rebuilt = build(
        &mut replay,
        &core.index_folder(),
        Arc::clone(&core.index_key),
        &*core.entropy,
        &mut events,
        end,
    )?;
    drop(events);
    *slot = Some(rebuilt.index);
    drop(slot);
    let mut books = core.books();
    let pending = std::mem::take(&mut books.pending);
    let lengths = std::mem::take(&mut books.lengths);
    let unreadable = std::mem::take(&mut books.unreadable);
    *books = Books {
        pending,
        lengths,
        unreadable,
        ..rebuilt.books
    };
    tracing::warn!(
        records = replay.report.replayed,
        "the spool's index was rebuilt"
    );
    Ok(())
}

/// Notes beside an index that it failed: what of it reached the disk is not to be
/// guessed at, even if it looks whole to the next process.
///
/// # Errors
/// What the disk says.
pub(in crate::spool) fn mark_failed(disk: &dyn Disk, folder: &Path) -> std::io::Result<()> {
    match disk.open(&folder.with_extension("failed"), true) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    folder
        .parent()
        .map_or(Ok(()), |spool| disk.sync_folder(spool))
}

/// Whether [`mark_failed`] was called of this index.
pub(in crate::spool) fn is_marked(disk: &dyn Disk, folder: &Path) -> bool {
    disk.open(&folder.with_extension("failed"), false).is_ok()
}

/// Takes that mark away, once the index is gone.
fn unmark(disk: &dyn Disk, folder: &Path) -> std::io::Result<()> {
    match disk.remove(&folder.with_extension("failed")) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Renames a database's folder to `NAME.bad-N` (`index.bad-1`), if there is one.
///
/// # Errors
/// What the disk says.
pub(in crate::spool) fn move_aside(disk: &dyn Disk, folder: &Path) -> std::io::Result<()> {
    let (Some(spool), Some(name)) = (folder.parent(), folder.file_name()) else {
        return Ok(());
    };
    let prefix = format!("{}.bad-", name.to_string_lossy());
    let paths = disk.list(spool)?;
    if !paths.iter().any(|path| path == folder) {
        return unmark(disk, folder);
    }
    let mut bad: Vec<(u32, &Path)> = paths
        .iter()
        .filter_map(|path| {
            let number = path.file_name()?.to_str()?.strip_prefix(&prefix)?;
            Some((number.parse().ok()?, path.as_path()))
        })
        .collect();
    bad.sort_unstable();
    let number = bad.last().map_or(1, |(last, _)| last.saturating_add(1));
    disk.rename(folder, &spool.join(format!("{prefix}{number}")))?;
    disk.sync_folder(spool)?;
    unmark(disk, folder)?;
    let too_many = (bad.len() + 1).saturating_sub(KEEP);
    for (_, path) in bad.into_iter().take(too_many) {
        // Only a convenience is lost if this fails.
        if let Err(error) = std::fs::remove_dir_all(path) {
            tracing::warn!(%error, "an old bad database could not be removed");
        }
    }
    Ok(())
}
