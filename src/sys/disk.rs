//! Durable files: the few things the spool asks of a disk, so that a twin can
//! make each of them fail.
//!
//! Holds always: [`DiskFile::sync_data`] returning `Ok` means that what was
//! written before it survives power loss, as far as the device keeps its word;
//! a new file's name does so after [`Disk::sync_folder`]. [`write_new`] is the one
//! way to write a small file whole or not at all by it.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSliceMut, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::io::{Errno, ReadWriteFlags, preadv2};

/// An open file, written and read at given places.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Writes all of `octets` at `offset`.
    ///
    /// # Errors
    /// What the system says; then any part of it may have been written.
    fn write_all_at(&self, octets: &[u8], offset: u64) -> io::Result<()>;

    /// Fills `octets` from `offset` on.
    ///
    /// # Errors
    /// `UnexpectedEof` where the file ends before, else what the system says.
    fn read_exact_at(&self, octets: &mut [u8], offset: u64) -> io::Result<()>;

    /// The same, if it takes no waiting: what the system has in memory is read, for
    /// the rest the answer is `false`. For whoever must not block.
    ///
    /// # Errors
    /// As [`DiskFile::read_exact_at`].
    fn read_at_once(&self, _octets: &mut [u8], _offset: u64) -> io::Result<bool> {
        Ok(false)
    }

    /// Makes what was written durable (fdatasync). After an error nothing
    /// written since the last success may be trusted, and it must not be called
    /// again on this file.
    ///
    /// # Errors
    /// What the system says.
    fn sync_data(&self) -> io::Result<()>;

    /// Cuts or extends the file to `length` octets.
    ///
    /// # Errors
    /// What the system says.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// Its length in octets.
    ///
    /// # Errors
    /// What the system says.
    fn len(&self) -> io::Result<u64>;

    /// Whether it is empty.
    ///
    /// # Errors
    /// What the system says.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Opens, names and removes files.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Opens a file for reading and writing, made with mode 0600 if `create`
    /// (which fails if it exists).
    ///
    /// # Errors
    /// What the system says.
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>>;

    /// Reads a small file whole, opened for reading only.
    ///
    /// # Errors
    /// `InvalidData` if it is longer than `limit` octets, else what the system
    /// says.
    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>>;

    /// The names of the files in a folder, sorted.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;

    /// Makes a folder with mode 0700, and those above it, if missing.
    ///
    /// # Errors
    /// What the system says.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;

    /// Renames a file or folder.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable (fsync of the folder).
    ///
    /// # Errors
    /// What the system says.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Octets still free for this process on the file system of `folder`.
    ///
    /// # Errors
    /// What the system says.
    fn free(&self, folder: &Path) -> io::Result<u64>;
}

/// Writes a file whole or not at all: under a new name (`.new`), made durable, and then
/// renamed. Gives the file, open.
///
/// # Errors
/// What the disk says.
pub fn write_new(disk: &dyn Disk, path: &Path, octets: &[u8]) -> io::Result<Box<dyn DiskFile>> {
    let new = path.with_extension("new");
    match disk.remove(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let file = disk.open(&new, true)?;
    file.write_all_at(octets, 0)?;
    file.sync_data()?;
    disk.rename(&new, path)?;
    if let Some(folder) = path.parent() {
        disk.sync_folder(folder)?;
    }
    Ok(file)
}

/// The machine's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl DiskFile for File {
    fn write_all_at(&self, octets: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, octets, offset)
    }
    fn read_exact_at(&self, octets: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, octets, offset)
    }
    fn read_at_once(&self, octets: &mut [u8], offset: u64) -> io::Result<bool> {
        let length = octets.len();
        let mut into = [IoSliceMut::new(octets)];
        match preadv2(self, &mut into, offset, ReadWriteFlags::NOWAIT) {
            Ok(read) => Ok(read == length),
            // Not in memory, or a file system that can't tell.
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }
    fn set_len(&self, length: u64) -> io::Result<()> {
        File::set_len(self, length)
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(create)
            .mode(0o600)
            .open(path)?;
        Ok(Box::new(file))
    }

    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        // With room for one octet too many: growing would leave copies of keys.
        let mut octets = Vec::with_capacity(limit + 1);
        File::open(path)?
            .take(limit as u64 + 1)
            .read_to_end(&mut octets)?;
        if octets.len() > limit {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(octets)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let mut paths = std::fs::read_dir(folder)?
            .map(|entry| entry.map(|e| e.path()))
            .collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn free(&self, folder: &Path) -> io::Result<u64> {
        let stat = nix::sys::statvfs::statvfs(folder)?;
        Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_just_written_is_read_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = RealDisk.open(&folder.path().join("file"), true).unwrap();
        file.write_all_at(b"all of this", 0).unwrap();
        let mut octets = [0; 4];
        // A file system that can't tell says no, and then it is read by waiting.
        if file.read_at_once(&mut octets, 4).unwrap() {
            assert_eq!(&octets, b"of t");
        }
        // What ends too soon is left to a reading that says so.
        assert!(!file.read_at_once(&mut octets, 9).unwrap());
        let end = file.read_exact_at(&mut octets, 9).unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
    }
}
