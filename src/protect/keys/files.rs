//! Files of the store: written whole, and for the daemon to read.
//!
//! Holds always: a reader or a crash sees the old file or the new; what root
//! writes belongs to the owner of the folder, so that the daemon can read it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::StoreError;

/// What tells that a file is not what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    length: u64,
    changed: Option<SystemTime>,
}

impl Stamp {
    /// Of a file or folder; `None` if there is none.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self {
            inode: found.ino(),
            length: found.len(),
            changed: found.modified().ok(),
        })
    }
}

/// The files of a folder, sorted; hidden ones are drafts and not ours. None where
/// there is no folder.
pub(super) fn list(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(StoreError::io(folder)(e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(StoreError::io(folder))?;
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !is_hidden && entry.path().is_file() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Makes a folder below one that is there, for its owner.
pub(super) fn make_folder(folder: &Path) -> Result<(), StoreError> {
    if folder.is_dir() {
        return Ok(());
    }
    let made = DirBuilder::new().mode(0o700).create(folder);
    match made {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
    .and_then(|()| adopt(folder))
    .map_err(StoreError::io(folder))
}

/// Replaces a file whole.
pub(super) fn write(path: &Path, octets: &[u8]) -> Result<(), StoreError> {
    replace(path, octets).map_err(StoreError::io(path))
}

fn replace(path: &Path, octets: &[u8]) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let draft = folder.join(format!(".{}.new", name.to_string_lossy()));
    // What a crash left there.
    let _ = fs::remove_file(&draft);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(&draft)?;
    adopt(&draft)?;
    file.write_all(octets)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    File::open(folder)?.sync_all()
}

/// Removes a file for good.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    let removed = fs::remove_file(path).and_then(|()| match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    });
    removed.map_err(StoreError::io(path))
}

/// Gives what was made to the owner of the folder it is in.
fn adopt(path: &Path) -> io::Result<()> {
    let Some(folder) = path.parent() else {
        return Ok(());
    };
    let (wanted, is) = (fs::metadata(folder)?, fs::metadata(path)?);
    if (wanted.uid(), wanted.gid()) == (is.uid(), is.gid()) {
        return Ok(());
    }
    match chown(path, Some(wanted.uid()), Some(wanted.gid())) {
        // Not root, and so the owner or of the group: it can be read as it is.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}

/// Keeps others from changing the store until it is dropped.
pub(super) fn lock(folder: &Path) -> Result<File, StoreError> {
    let file = File::open(folder).map_err(StoreError::io(folder))?;
    file.lock().map_err(StoreError::io(folder))?;
    Ok(file)
}

/// Reads a file of at most `limit` octets.
pub(super) fn read(path: &Path, limit: usize) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let mut octets = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut octets))
        .map_err(|e| e.to_string())?;
    match octets.len() > limit {
        true => Err(format!("larger than {limit} octets")),
        false => Ok(octets),
    }
}
