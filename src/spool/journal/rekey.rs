//! A new master key: every key that hangs on it wrapped anew.
//!
//! Owns the file `rekey` and the order of steps. Holds always: until the new
//! master key has taken the old one's place nothing that the old one opens is
//! changed, and from then on `rekey` holds all that the new one needs; so at any
//! moment the spool opens with the master key that is in place. Whoever opens it
//! next finishes what was cut off, or forgets it. Called by the service, and by
//! the opening.
//!
//! ```text
//!  1 rekey (all keys wrapped by the new one)    2 master.old = master
//!  3 master = the new one <- here it counts     4 each key file, in place
//!  5 rekey: zeros, then gone
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::sys::{Disk, Entropy, write_new};

use super::super::{MasterKey, Settings};
use super::keys::{SecretKey, WRAPPED_LEN};
use super::payload::{decode, encode};
use super::report::OpenError;
use super::segments::{Segments, named};
use super::unlock::{lock_as_it_is, present_key, read_key};

/// Octets of the file at most: far more segments than a spool can have.
const REKEY_MAX: usize = 64 << 20;

/// Where each key lies below the spool's folder, and what it is to be.
type Entries = Vec<(String, Vec<u8>)>;
/// The same with the keys themselves.
type Keys = Vec<(String, SecretKey)>;

/// Why a key can't be rotated.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The spool can't be opened.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// An old key lies where the present one is to go.
    #[error("{} is there still, from the rotation before: move it to where you keep old keys (older exports and backups need it), then try again", .0.display())]
    OldKept(PathBuf),
    /// There is no file to write the new key to.
    #[error(
        "the master key is a credential, which is not Postern's to write: name a file for the new key with --new-key"
    )]
    NeedsFile,
    /// The new key's file has something else in it.
    #[error("{} is there already and is no key of 32 octets: name a file that does not exist", .0.display())]
    NotKey(PathBuf),
    /// The new key is the old one.
    #[error("{} holds the present master key: name a file that does not exist", .0.display())]
    Same(PathBuf),
    /// The disk failed; the present key is in force.
    #[error("{}: {source}; the old key is still the one in force", path.display())]
    Disk {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The disk failed after the new key took its place.
    #[error("{}: {source}; the new key is in force, and the next start goes on from here", path.display())]
    Late {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system gives no randomness.
    #[error("the system gives no randomness, so no keys can be made")]
    Entropy(#[from] crate::sys::entropy::EntropyError),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// Where the new key is.
    pub new: PathBuf,
    /// Where the old key is kept, if Postern could see to that.
    pub old: Option<PathBuf>,
    /// Keys that were wrapped anew.
    pub keys: u64,
    /// Key files that the old key did not open; they were left as they are.
    pub unreadable: Vec<PathBuf>,
    /// Whether the new key is in force; if not, it is to be put in its place.
    pub is_in_force: bool,
}

/// Makes a new master key and wraps all others anew. Blocks.
///
/// # Errors
/// [`RotateError`], which says which key is in force.
pub fn rotate_key(
    settings: &Settings,
    disk: &Arc<dyn Disk>,
    entropy: &dyn Entropy,
    new_key: Option<&Path>,
) -> Result<Rotated, RotateError> {
    let folder = &settings.folder;
    let disk = &**disk;
    let present = settings.master_key.path();
    let failed = |source| RotateError::Disk {
        path: folder.clone(),
        source,
    };
    disk.list(&folder.join("seg")).map_err(failed)?;
    let _lock = lock_as_it_is(folder)?;
    let old = present_key(disk, &settings.master_key)?;
    let is_credential = matches!(settings.master_key, MasterKey::Credential(_));
    if is_credential && new_key.is_none() {
        return Err(RotateError::NeedsFile);
    }
    // Of a rotation before that was cut off behind its third step.
    finish(disk, folder, &old).map_err(failed)?;
    let (entries, unreadable) = collect(disk, folder, &old).map_err(failed)?;
    if entries.is_empty() && !unreadable.is_empty() {
        return Err(OpenError::WrongKey(present.to_owned()).into());
    }
    let new = match new_key {
        Some(path) => new_or_given(disk, entropy, path, &old)?,
        None => SecretKey::generate(entropy)?,
    };
    let keys = entries.len() as u64;
    let rekey = rewrapped(entries, &new).map_err(failed)?;
    write_new(disk, &folder.join("rekey"), &rekey).map_err(failed)?;
    let kept = match is_credential {
        true => None,
        false => Some(switch(disk, present, &old, &new)?),
    };
    if kept.is_some() {
        finish(disk, folder, &new).map_err(|source| RotateError::Late {
            path: folder.clone(),
            source,
        })?;
    }
    let place = new_key.filter(|_| is_credential).unwrap_or(present);
    Ok(Rotated {
        new: place.to_owned(),
        old: kept,
        keys,
        unreadable,
        is_in_force: !is_credential,
    })
}

/// Puts the new key in the old one's place and keeps that one.
fn switch(
    disk: &dyn Disk,
    present: &Path,
    old: &SecretKey,
    new: &SecretKey,
) -> Result<PathBuf, RotateError> {
    let kept = sibling(present, ".old");
    let failed = |path: &Path, source| RotateError::Disk {
        path: path.to_owned(),
        source,
    };
    match read_key(disk, &kept) {
        // Left by a rotation that was cut off.
        Ok(Some(key)) if key.octets() == old.octets() => {}
        Ok(None) => {
            write_new(disk, &kept, old.octets()).map_err(|e| failed(&kept, e))?;
        }
        _ => return Err(RotateError::OldKept(kept)),
    }
    write_new(disk, present, new.octets()).map_err(|e| {
        // If but the last step failed, the new one may be there all the same.
        match read_key(disk, present) {
            Ok(Some(key)) if key.octets() == new.octets() => RotateError::Late {
                path: present.to_owned(),
                source: e,
            },
            _ => failed(present, e),
        }
    })?;
    Ok(kept)
}

/// The new key from its file, or a new one, written there.
fn new_or_given(
    disk: &dyn Disk,
    entropy: &dyn Entropy,
    path: &Path,
    old: &SecretKey,
) -> Result<SecretKey, RotateError> {
    match read_key(disk, path) {
        Ok(Some(key)) if key.octets() == old.octets() => Err(RotateError::Same(path.to_owned())),
        Ok(Some(key)) => Ok(key),
        Ok(None) => {
            let key = SecretKey::generate(entropy)?;
            let write = || {
                let file = disk.open(path, true)?;
                file.write_all_at(key.octets(), 0)?;
                file.sync_data()?;
                let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
                disk.sync_folder(folder.unwrap_or(Path::new(".")))
            };
            write().map_err(|source| RotateError::Disk {
                path: path.to_owned(),
                source,
            })?;
            Ok(key)
        }
        Err(_) => Err(RotateError::NotKey(path.to_owned())),
    }
}

/// Every file that holds a wrapped key with what it wraps, still wrapped by the
/// old one in memory; and those that don't open.
fn collect(disk: &dyn Disk, folder: &Path, old: &SecretKey) -> io::Result<(Keys, Vec<PathBuf>)> {
    let mut names = vec!["index.key".to_owned(), "tables.key".to_owned()];
    for (number, is_key) in named(disk, &folder.join("seg"))? {
        if is_key {
            names.push(format!("seg/{number:08}.key"));
        }
    }
    // Copies of damaged records, with their segments' keys.
    for path in disk.list(&folder.join("damaged")).unwrap_or_default() {
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(name) = name.filter(|name| name.ends_with(".key")) {
            names.push(format!("damaged/{name}"));
        }
    }
    let (mut keys, mut unreadable) = (Vec::new(), Vec::new());
    for name in names {
        let path = folder.join(&name);
        match disk.read(&path, WRAPPED_LEN) {
            Ok(wrapped) => match SecretKey::unwrap(&wrapped, old) {
                Ok(key) => keys.push((name, key)),
                Err(_) => unreadable.push(path),
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) if e.kind() == io::ErrorKind::InvalidData => unreadable.push(path),
            Err(e) => return Err(e),
        }
    }
    Ok((keys, unreadable))
}

/// The file `rekey`: a checksum and the entries.
fn rewrapped(keys: Keys, new: &SecretKey) -> io::Result<Vec<u8>> {
    let mut entries: Entries = Vec::with_capacity(keys.len());
    for (name, key) in keys {
        entries.push((name, key.wrap(new).map_err(io::Error::other)?.to_vec()));
    }
    let octets = encode(&entries).map_err(io::Error::other)?;
    let mut file = crc32fast::hash(&octets).to_be_bytes().to_vec();
    file.extend_from_slice(&octets);
    Ok(file)
}

fn read_entries(disk: &dyn Disk, path: &Path) -> io::Result<Option<Entries>> {
    let octets = match disk.read(path, REKEY_MAX) {
        Ok(octets) => octets,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let Some((crc, octets)) = octets.split_first_chunk::<4>() else {
        return Ok(Some(Vec::new()));
    };
    // Zeros: all of it was done.
    if *crc == [0; 4] {
        return Ok(Some(Vec::new()));
    }
    let is_whole = crc32fast::hash(octets).to_be_bytes() == *crc;
    match is_whole.then(|| decode(octets).ok()).flatten() {
        Some(entries) => Ok(Some(entries)),
        // Nobody's: an entry that no key opens.
        None => Ok(Some(vec![(String::new(), Vec::new())])),
    }
}

/// Finishes a rotation that was cut off once its new key is in place; says
/// whether one is pending that waits for another key. Does nothing without one.
///
/// # Errors
/// What the disk says.
pub(super) fn finish(disk: &dyn Disk, folder: &Path, master: &SecretKey) -> io::Result<bool> {
    let Some(entries) = read_entries(disk, &folder.join("rekey"))? else {
        return Ok(false);
    };
    let is_ours = |wrapped: &[u8]| SecretKey::unwrap(wrapped, master).is_ok();
    if !entries.iter().all(|(_, wrapped)| is_ours(wrapped)) {
        return Ok(true);
    }
    for (name, wrapped) in &entries {
        let path = folder.join(name);
        match disk.read(&path, WRAPPED_LEN) {
            Ok(there) if is_ours(&there) => continue,
            // Gone with its segment: it must not come back.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            _ => {}
        }
        // In place, so that the old wrapping is no more; torn, it is written again.
        let file = disk.open(&path, false)?;
        file.write_all_at(wrapped, 0)?;
        file.sync_data()?;
    }
    forget(disk, folder)?;
    Ok(false)
}

/// Destroys the file `rekey`: keys wrapped for nobody.
///
/// # Errors
/// What the disk says.
pub(super) fn forget(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    let path = folder.join("rekey");
    let file = match disk.open(&path, false) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let length = usize::try_from(file.len()?).unwrap_or(REKEY_MAX);
    file.write_all_at(&vec![0; length.min(REKEY_MAX)], 0)?;
    file.sync_data()?;
    drop(file);
    disk.remove(&path)?;
    disk.sync_folder(folder)
}

/// The keys of a rotation that is cut off, for whoever only reads.
pub(super) fn lend(disk: &dyn Disk, folder: &Path, segments: &mut Segments) -> Option<SecretKey> {
    let entries = read_entries(disk, &folder.join("rekey")).ok().flatten()?;
    let mut index_key = None;
    for (name, wrapped) in entries {
        let Ok(key) = SecretKey::unwrap(&wrapped, segments.master()) else {
            continue;
        };
        let number = name.strip_prefix("seg/").and_then(|n| n.get(..8));
        match number.and_then(|n| n.parse().ok()) {
            Some(number) => segments.lend(number, wrapped),
            None if name == "index.key" => index_key = Some(key),
            None => {}
        }
    }
    index_key
}

/// A path with something behind its name.
fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
