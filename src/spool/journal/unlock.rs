//! Before anything is read: the folder, the lock on it, the keys.
//!
//! Owns the making of folders and of the master key, and the removal of what a
//! crash left of segments. Holds always: a folder is used only once its name is
//! durable; nothing is removed before the keys have proved to fit; a file that
//! can't be opened is not taken for an empty one. Called by the opening.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::sys::{Disk, write_new};

use super::super::MasterKey;
use super::keys::{KEY_LEN, SecretKey, WRAPPED_LEN};
use super::open::Opening;
use super::rekey;
use super::report::OpenError;
use super::segments::{self, SegmentError, Segments};

impl Opening {
    /// The segments, under the master key, which is made if there are none.
    pub(super) fn segments(&self, seg: &Path) -> Result<Segments, OpenError> {
        let path = self.settings.master_key.path();
        let master = match read_key(&*self.disk, path)? {
            Some(master) => {
                // Whoever made it may have been killed before its name was
                // durable. (A folder of credentials may not be one to sync.)
                let _ = path.parent().map(|folder| self.disk.sync_folder(folder));
                master
            }
            None => {
                if let MasterKey::Credential(path) = &self.settings.master_key {
                    return Err(OpenError::MissingCredential(path.clone()));
                }
                if !self.is_empty(seg)? {
                    return Err(OpenError::MissingKey(path.to_owned()));
                }
                self.make_master_key(path)?
            }
        };
        Ok(Segments::new(
            Arc::clone(&self.disk),
            seg.to_owned(),
            master,
        ))
    }

    fn is_empty(&self, seg: &Path) -> Result<bool, OpenError> {
        let index_key = self.settings.folder.join("index.key");
        let named = self.folder(|disk| segments::named(disk, seg))?;
        let listed = self.folder(|disk| disk.list(&self.settings.folder))?;
        Ok(named.is_empty() && !listed.contains(&index_key))
    }

    fn make_master_key(&self, path: &Path) -> Result<SecretKey, OpenError> {
        let key = SecretKey::generate(&*self.entropy)?;
        let made = || {
            if let Some(folder) = path.parent() {
                make_folder(&*self.disk, folder)?;
            }
            write_new(&*self.disk, path, key.octets()).map(|_| ())
        };
        made().map_err(|source| OpenError::BadKey {
            path: path.to_owned(),
            source,
        })?;
        Ok(key)
    }

    /// Finishes or forgets a rotation of the master key that was cut off, and finds
    /// out whether the key is the right one; gives the index's key.
    pub(super) fn keys(&self, segments: &Segments) -> Result<Arc<SecretKey>, OpenError> {
        let folder = &self.settings.folder;
        let waits = self.folder(|disk| rekey::finish(disk, folder, segments.master()))?;
        let index_key = self.check_keys(segments)?;
        // Not before the old key has proved to be the right one.
        if waits {
            tracing::warn!(
                "a rotation of the master key is forgotten, since the old key is in place: if you \
                 want a new one, stop the daemon and run `postern spool rotate-key` again"
            );
            self.folder(|disk| rekey::forget(disk, folder))?;
        }
        Ok(index_key)
    }

    /// Finds out whether the master key is the right one; gives the index's key,
    /// a new one if there is none (then the old index can't be read).
    fn check_keys(&self, segments: &Segments) -> Result<Arc<SecretKey>, OpenError> {
        let path = self.settings.folder.join("index.key");
        let stored = self
            .disk
            .read(&path, WRAPPED_LEN)
            .ok()
            .and_then(|wrapped| SecretKey::unwrap(&wrapped, segments.master()).ok());
        if let Some(key) = stored {
            return Ok(Arc::new(key));
        }
        let numbers = self.folder(|_| segments.numbers())?;
        let opens = |number: &u32| !matches!(segments.get(*number), Err(SegmentError::Damaged));
        let has_index_key = self
            .folder(|disk| disk.list(&self.settings.folder))?
            .contains(&path);
        if !numbers.iter().any(opens) && (has_index_key || !numbers.is_empty()) {
            return Err(OpenError::WrongKey(
                self.settings.master_key.path().to_owned(),
            ));
        }
        let key = SecretKey::generate(&*self.entropy)?;
        let wrapped = key
            .wrap(segments.master())
            .map_err(|e| self.bad_folder(io::Error::other(e)))?;
        self.folder(|disk| write_new(disk, &path, &wrapped).map(|_| ()))?;
        Ok(Arc::new(key))
    }
}

/// A master key from its file; `None` if there is no such file.
///
/// # Errors
/// [`OpenError::BadKey`].
pub(super) fn read_key(disk: &dyn Disk, path: &Path) -> Result<Option<SecretKey>, OpenError> {
    let bad = |source| OpenError::BadKey {
        path: path.to_owned(),
        source,
    };
    match disk.read(path, KEY_LEN) {
        Ok(octets) => SecretKey::take(octets)
            .map(Some)
            .map_err(|e| bad(io::Error::new(io::ErrorKind::InvalidData, e))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(bad(source)),
    }
}

/// The master key of a spool that is there; none is made.
///
/// # Errors
/// [`OpenError::BadKey`], or that it is missing.
pub(in crate::spool) fn present_key(
    disk: &dyn Disk,
    key: &MasterKey,
) -> Result<SecretKey, OpenError> {
    read_key(disk, key.path())?.ok_or_else(|| match key {
        MasterKey::Credential(path) => OpenError::MissingCredential(path.clone()),
        MasterKey::File(path) => OpenError::MissingKey(path.clone()),
    })
}

/// Makes a folder, and those above it, if missing, and makes their names durable:
/// a key whose folder is gone after a power cut is a key lost, and so is a spool.
///
/// # Errors
/// What the disk says.
pub(super) fn make_folder(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    let Some(parent) = folder.parent().filter(|p| !p.as_os_str().is_empty()) else {
        return disk.create_folder(folder);
    };
    if disk.list(folder).is_ok() {
        // Whoever made it may have been killed before this. What is above may
        // not be ours to open; then it was not made here either.
        let _ = disk.sync_folder(parent);
        return Ok(());
    }
    make_folder(disk, parent)?;
    disk.create_folder(folder)?;
    disk.sync_folder(parent)
}

/// Removes what a crash left of segments that were never used, or are gone.
///
/// # Errors
/// What the disk says.
pub(super) fn tidy(disk: &dyn Disk, segments: &Segments) -> io::Result<()> {
    let named = segments::named(disk, segments.folder())?;
    for (number, is_key) in &named {
        let is_alone = *is_key && !named.contains(&(*number, false));
        if is_alone || (!*is_key && segments.length(*number)? == 0) {
            segments.remove(*number)?;
        }
    }
    Ok(())
}

/// Holds the folder as [`lock`] does, but makes nothing: a spool without a lock
/// file was never opened, and there is nobody to keep out.
pub(super) fn lock_as_it_is(folder: &Path) -> Result<Option<File>, OpenError> {
    let unusable = |source| OpenError::Folder {
        path: folder.to_owned(),
        source,
    };
    let file = match File::open(folder.join("lock")) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(unusable(e)),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(folder.to_owned())),
        Err(TryLockError::Error(e)) => Err(unusable(e)),
    }
}

/// Holds the folder for this process alone, until the file is dropped.
pub(super) fn lock(folder: &Path) -> Result<File, OpenError> {
    let unusable = |source| OpenError::Folder {
        path: folder.to_owned(),
        source,
    };
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join("lock"))
        .map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(folder.to_owned())),
        Err(TryLockError::Error(e)) => Err(unusable(e)),
    }
}
