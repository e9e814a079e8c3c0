//! The segment files and their keys.
//!
//! Owns `seg/NNNNNNNN` and `seg/NNNNNNNN.key`: naming, making, opening, removing.
//! Holds always: a segment is used only once its own and its key's names are
//! durable; its key is overwritten before it is removed. Open files are kept,
//! a bounded number of them. Called by the committer, readers and recovery.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::sys::{Disk, DiskFile, Entropy};

use super::keys::{KeyError, SecretKey, WRAPPED_LEN};
use super::payload::Position;
use super::record::{HEADER_LEN, Header};

/// Octets after which a new segment is begun, where the spool is large enough.
pub(super) const SEGMENT_SIZE: u64 = 64 << 20;
/// Octets secured at a time.
const SECURE_STEP: usize = 1 << 20;
/// Segment files kept open at most.
const OPEN_MAX: usize = 64;

/// Why a segment can't be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum SegmentError {
    /// There is no such segment: it was removed.
    #[error("the segment is gone")]
    Gone,
    /// The disk failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Its key does not open, or what is there is not what was written.
    #[error("the segment is damaged")]
    Damaged,
}

impl From<KeyError> for SegmentError {
    fn from(_: KeyError) -> Self {
        Self::Damaged
    }
}

impl From<SegmentError> for io::Error {
    /// Keeps what the disk said as it was said.
    fn from(error: SegmentError) -> Self {
        match error {
            SegmentError::Io(e) => e,
            other => Self::other(other),
        }
    }
}

/// An open segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u32,
    pub(super) file: Box<dyn DiskFile>,
    pub(super) key: SecretKey,
}

impl Segment {
    /// Reads the header at an offset.
    ///
    /// # Errors
    /// [`SegmentError::Damaged`] if there is none.
    pub(super) fn header(&self, offset: u64) -> Result<Header, SegmentError> {
        let mut octets = [0; HEADER_LEN];
        self.read(&mut octets, offset)?;
        Header::parse(&octets).ok_or(SegmentError::Damaged)
    }

    /// Reads and opens the head of the record at an offset.
    ///
    /// # Errors
    /// [`SegmentError::Damaged`] if it is not what was written.
    pub(super) fn head(&self, offset: u64) -> Result<(Header, Vec<u8>), SegmentError> {
        let header = self.header(offset)?;
        let sealed = self.sealed_head(&header, offset)?;
        let head = header.open_head(&self.key, &sealed)?;
        Ok((header, head))
    }

    /// Reads the head behind the header at an offset, as it lies there.
    ///
    /// # Errors
    /// [`SegmentError::Damaged`] or [`SegmentError::Io`].
    pub(super) fn sealed_head(
        &self,
        header: &Header,
        offset: u64,
    ) -> Result<Vec<u8>, SegmentError> {
        let mut sealed = vec![0; header.head_len as usize];
        self.read(&mut sealed, offset + HEADER_LEN as u64)?;
        Ok(sealed)
    }

    /// Fills `octets`; a file that ends before is damage.
    ///
    /// # Errors
    /// [`SegmentError::Damaged`] or [`SegmentError::Io`].
    pub(super) fn read(&self, octets: &mut [u8], offset: u64) -> Result<(), SegmentError> {
        self.file.read_exact_at(octets, offset).map_err(unread)
    }

    /// The same for whoever must not block; `false` if it would have to.
    ///
    /// # Errors
    /// As [`Segment::read`].
    pub(super) fn read_at_once(
        &self,
        octets: &mut [u8],
        offset: u64,
    ) -> Result<bool, SegmentError> {
        self.file.read_at_once(octets, offset).map_err(unread)
    }
}

/// All segments of a journal.
#[derive(Debug)]
pub(super) struct Segments {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    master: SecretKey,
    open: Mutex<BTreeMap<u32, Arc<Segment>>>,
    /// Keys wrapped by the master key whose files are still to be written (see
    /// `rekey`); only whoever changes nothing has some.
    lent: BTreeMap<u32, Vec<u8>>,
}

impl Segments {
    pub(super) fn new(disk: Arc<dyn Disk>, folder: PathBuf, master: SecretKey) -> Self {
        Self {
            disk,
            folder,
            master,
            open: Mutex::default(),
            lent: BTreeMap::new(),
        }
    }

    /// Lends a wrapped key for a segment whose own does not open.
    pub(super) fn lend(&mut self, number: u32, wrapped: Vec<u8>) {
        self.lent.insert(number, wrapped);
    }

    /// The master key.
    pub(super) fn master(&self) -> &SecretKey {
        &self.master
    }

    /// Where the segments lie.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The numbers of the segments that exist, in order.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn numbers(&self) -> io::Result<Vec<u32>> {
        numbers(&*self.disk, &self.folder)
    }

    /// Opens a segment, or gives the open one.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub(super) fn get(&self, number: u32) -> Result<Arc<Segment>, SegmentError> {
        if let Some(segment) = self.lock().get(&number) {
            return Ok(Arc::clone(segment));
        }
        let segment = Arc::new(self.load(number)?);
        let mut open = self.lock();
        while open.len() >= OPEN_MAX {
            open.pop_first();
        }
        open.insert(number, Arc::clone(&segment));
        Ok(segment)
    }

    fn load(&self, number: u32) -> Result<Segment, SegmentError> {
        let file = self
            .disk
            .open(&self.path(number), false)
            .map_err(|e| match e.kind() {
                io::ErrorKind::NotFound => SegmentError::Gone,
                _ => SegmentError::Io(e),
            })?;
        let wrapped = match self.wrapped_key(number) {
            Ok(wrapped) => wrapped,
            Err(e) if is_damage(&e) => return Err(SegmentError::Damaged),
            Err(e) => return Err(e.into()),
        };
        let key = SecretKey::unwrap(&wrapped, &self.master).or_else(|error| {
            let lent = self.lent.get(&number).ok_or(error)?;
            SecretKey::unwrap(lent, &self.master)
        })?;
        Ok(Segment { number, file, key })
    }

    /// A segment's key as it is on disk.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn wrapped_key(&self, number: u32) -> io::Result<Vec<u8>> {
        self.disk.read(&self.key_path(number), WRAPPED_LEN)
    }

    /// Makes an empty segment with a new key; both are durable on return.
    ///
    /// # Errors
    /// [`SegmentError::Io`]; then what was made of it is never used.
    pub(super) fn create(
        &self,
        number: u32,
        entropy: &dyn Entropy,
    ) -> Result<Arc<Segment>, SegmentError> {
        let key = SecretKey::generate(entropy).map_err(io::Error::other)?;
        let key_file = self.disk.open(&self.key_path(number), true)?;
        key_file.write_all_at(&key.wrap(&self.master)?, 0)?;
        key_file.sync_data()?;
        let file = self.disk.open(&self.path(number), true)?;
        self.disk.sync_folder(&self.folder)?;
        let segment = Arc::new(Segment { number, file, key });
        self.lock().insert(number, Arc::clone(&segment));
        Ok(segment)
    }

    /// Removes a segment, then its key: a key alone is tidied up at the next
    /// opening, while a segment without its key would look like damage. What is
    /// gone already, from a try that failed half-way, is no error.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn remove(&self, number: u32) -> io::Result<()> {
        self.forget(number);
        match self.disk.remove(&self.path(number)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        // Not before that is durable may the key be destroyed.
        self.disk.sync_folder(&self.folder)?;
        self.remove_key(number)?;
        self.disk.sync_folder(&self.folder)
    }

    /// Overwrites and removes a segment's key file, if there is one.
    ///
    /// # Errors
    /// What the disk says.
    fn remove_key(&self, number: u32) -> io::Result<()> {
        let path = self.key_path(number);
        match self.disk.open(&path, false) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
            Ok(file) => {
                file.write_all_at(&[0; WRAPPED_LEN], 0)?;
                file.sync_data()?;
                self.disk.remove(&path)
            }
        }
    }

    /// Forgets the open file, so that the next reading opens it anew.
    pub(super) fn forget(&self, number: u32) {
        self.lock().remove(&number);
    }

    /// Cuts a segment at a place, through a file opened for it alone.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn cut(&self, at: Position) -> io::Result<()> {
        let file = self.disk.open(&self.path(at.segment), false)?;
        if file.len()? > at.offset {
            file.set_len(at.offset)?;
            file.sync_data()?;
        }
        Ok(())
    }

    /// Makes what was read of the last segment durable, from `known` on, which is
    /// so already. Whoever wrote it may have been killed before its fdatasync, or
    /// after a failed one, which leaves pages that look written and are not; so it
    /// is written once more, as it is.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn secure(&self, known: Position, end: Position) -> io::Result<()> {
        let is_same = known.segment == end.segment;
        let mut offset = if is_same { known.offset } else { 0 };
        if offset >= end.offset {
            return Ok(());
        }
        let file = self.disk.open(&self.path(end.segment), false)?;
        let mut octets = vec![0; SECURE_STEP];
        while offset < end.offset {
            let length = usize::try_from(end.offset - offset).unwrap_or(SECURE_STEP);
            let Some(piece) = octets.get_mut(..length.min(SECURE_STEP)) else {
                break;
            };
            file.read_exact_at(piece, offset)?;
            file.write_all_at(piece, offset)?;
            offset += piece.len() as u64;
        }
        file.sync_data()
    }

    /// Octets of a segment's file.
    ///
    /// # Errors
    /// What the disk says: of a file that can't be opened, nothing is known.
    pub(super) fn length(&self, number: u32) -> io::Result<u64> {
        self.disk.open(&self.path(number), false)?.len()
    }

    fn path(&self, number: u32) -> PathBuf {
        self.folder.join(format!("{number:08}"))
    }

    fn key_path(&self, number: u32) -> PathBuf {
        self.folder.join(format!("{number:08}.key"))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, Arc<Segment>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The numbers of the segment files in a folder, in order.
///
/// # Errors
/// What the disk says.
pub(super) fn numbers(disk: &dyn Disk, folder: &Path) -> io::Result<Vec<u32>> {
    Ok(named(disk, folder)?
        .into_iter()
        .filter_map(|(number, is_key)| (!is_key).then_some(number))
        .collect())
}

/// Every numbered file in a folder: its number, and whether it is a key.
///
/// # Errors
/// What the disk says.
pub(super) fn named(disk: &dyn Disk, folder: &Path) -> io::Result<Vec<(u32, bool)>> {
    let mut found: Vec<_> = disk
        .list(folder)?
        .iter()
        .filter_map(|path| path.file_name()?.to_str())
        .filter_map(|name| {
            let (digits, is_key) = match name.strip_suffix(".key") {
                Some(digits) => (digits, true),
                None => (name, false),
            };
            let is_number = digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit());
            is_number.then_some((digits.parse().ok()?, is_key))
        })
        .collect();
    found.sort_unstable();
    Ok(found)
}

/// A file that ends too soon is damage.
fn unread(error: io::Error) -> SegmentError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => SegmentError::Damaged,
        _ => SegmentError::Io(error),
    }
}

/// Whether reading failed for what the file is, not for what the disk does.
fn is_damage(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
    )
}
