//! How far the index is known to be durable.
//!
//! Owns the file `checkpoint`, beside the index and not in it, so that an index
//! that went back in time is noticed. Holds always: it is written after what it
//! speaks of is durable; its two slots are written in turn, each with a
//! checksum, so that one of them is always whole. The mark of a clean stop has
//! the same form. Written by the keeper, read by the opening.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::sys::{Disk, DiskFile, write_new};

use super::payload::Position;

/// Octets from one slot to the other: no device tears both with one write.
const STRIDE: u64 = 4096;
const SLOT: usize = 28;
const MAGIC: [u8; 4] = *b"PstC";

/// The open file.
pub(super) struct Checkpoint {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// `None` after a failed write: then it is made anew.
    file: Option<Box<dyn DiskFile>>,
    epoch: u64,
    position: Position,
}

impl Checkpoint {
    /// Reads the file; without a sound one, everything is to be doubted.
    pub(super) fn open(disk: Arc<dyn Disk>, path: PathBuf) -> (Self, Option<Position>) {
        let file = disk.open(&path, false).ok();
        let newest = file
            .iter()
            .flat_map(|file| [read_slot(&**file, 0), read_slot(&**file, STRIDE)])
            .flatten()
            .max();
        let checkpoint = Self {
            disk,
            path,
            file: file.filter(|_| newest.is_some()),
            epoch: newest.map_or(0, |(epoch, _)| epoch),
            position: newest.map_or(Position::default(), |(_, position)| position),
        };
        (checkpoint, newest.map(|(_, position)| position))
    }

    /// Up to where the index is durable.
    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Says durably that it is now `position`.
    ///
    /// # Errors
    /// What the disk says; the file is made anew next time.
    pub(super) fn write(&mut self, position: Position) -> io::Result<()> {
        let mut epoch = self.epoch + 1;
        if self.file.is_none() {
            // A new file begins with the even slot, so the next write must not
            // be to that one, which is then the only whole one.
            epoch += epoch % 2;
        }
        let slot = encode(epoch, position);
        match self.file.take() {
            Some(file) => {
                file.write_all_at(&slot, epoch % 2 * STRIDE)?;
                file.sync_data()?;
                self.file = Some(file);
            }
            None => {
                self.file = Some(write_new(&*self.disk, &self.path, &slot)?);
            }
        }
        self.epoch = epoch;
        self.position = position;
        Ok(())
    }
}

/// Writes the mark of a clean stop.
///
/// # Errors
/// What the disk says.
pub(super) fn mark_clean(disk: &dyn Disk, path: &Path, position: Position) -> io::Result<()> {
    write_new(disk, path, &encode(0, position)).map(|_| ())
}

/// Takes the mark of a clean stop away; gives the position in it.
///
/// # Errors
/// What the disk says.
pub(super) fn take_clean_mark(disk: &dyn Disk, path: &Path) -> io::Result<Option<Position>> {
    match disk.open(path, false) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
        Ok(file) => {
            let mark = read_slot(&*file, 0);
            disk.remove(path)?;
            if let Some(folder) = path.parent() {
                disk.sync_folder(folder)?;
            }
            Ok(mark.map(|(_, position)| position))
        }
    }
}

fn encode(epoch: u64, position: Position) -> [u8; SLOT] {
    // Constant places within an array: indexing can't fail, here and below.
    let mut slot = [0; SLOT];
    slot[..4].copy_from_slice(&MAGIC);
    slot[4..12].copy_from_slice(&epoch.to_be_bytes());
    slot[12..16].copy_from_slice(&position.segment.to_be_bytes());
    slot[16..24].copy_from_slice(&position.offset.to_be_bytes());
    let crc = crc32fast::hash(&slot[..24]);
    slot[24..].copy_from_slice(&crc.to_be_bytes());
    slot
}

fn read_slot(file: &dyn DiskFile, at: u64) -> Option<(u64, Position)> {
    let mut slot = [0; SLOT];
    file.read_exact_at(&mut slot, at).ok()?;
    let mut epoch = [0; 8];
    epoch.copy_from_slice(&slot[4..12]);
    let mut segment = [0; 4];
    segment.copy_from_slice(&slot[12..16]);
    let mut offset = [0; 8];
    offset.copy_from_slice(&slot[16..24]);
    let epoch = u64::from_be_bytes(epoch);
    let position = Position {
        segment: u32::from_be_bytes(segment),
        offset: u64::from_be_bytes(offset),
    };
    (encode(epoch, position) == slot).then_some((epoch, position))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::RealDisk;

    #[test]
    fn a_torn_slot_leaves_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let at = |offset| Position { segment: 3, offset };
        let (mut checkpoint, none) = Checkpoint::open(Arc::clone(&disk), path.clone());
        assert_eq!(none, None);
        for offset in 1..=5 {
            checkpoint.write(at(offset)).unwrap();
            let (_, found) = Checkpoint::open(Arc::clone(&disk), path.clone());
            assert_eq!(found, Some(at(offset)));
        }
        // The fifth write went to the even slot; tear it.
        let file = disk.open(&path, false).unwrap();
        file.write_all_at(&[0xFF; 5], 10).unwrap();
        let (mut checkpoint, found) = Checkpoint::open(Arc::clone(&disk), path.clone());
        assert_eq!(found, Some(at(4)));
        checkpoint.write(at(6)).unwrap();
        let (_, found) = Checkpoint::open(disk, path);
        assert_eq!(found, Some(at(6)));
    }

    #[test]
    fn the_second_write_leaves_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let at = |offset| Position { segment: 3, offset };
        let (mut checkpoint, _) = Checkpoint::open(Arc::clone(&disk), path.clone());
        checkpoint.write(at(1)).unwrap();
        let first = std::fs::read(&path).unwrap();
        checkpoint.write(at(2)).unwrap();
        let second = std::fs::read(&path).unwrap();
        assert!(second.starts_with(&first));
    }
}
