//! The store as read from its folders at one moment.
//!
//! Holds always: a file that is as it was is not read again, so that one more key
//! among many thousands costs little; one that can't be read is named and left
//! out.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::files::{self, Stamp};
use super::record::{RECORD_MAX, Record};
use super::{AnyCertificate, Key, StoreError, fingerprint};
use crate::protect::openpgp::CERTIFICATE_MAX;
use crate::types::{Mailbox, Timestamp};

/// All keys that are known.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    files: HashMap<PathBuf, Loaded>,
    by_address: HashMap<String, Vec<Arc<Key>>>,
    all: Vec<Arc<Key>>,
    faults: Vec<Faulty>,
}

/// A file of the store that can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faulty {
    /// Which one.
    pub path: PathBuf,
    /// Why not.
    pub fault: String,
}

#[derive(Debug, Clone)]
struct Loaded {
    stamp: Option<Stamp>,
    keys: Result<Vec<Arc<Key>>, String>,
}

impl Keys {
    /// Reads the folders; what `before` has of files that did not change is taken
    /// from there.
    pub(super) fn load(
        recipients: &Path,
        discovered: &Path,
        before: &Self,
    ) -> Result<Self, StoreError> {
        let mut keys = Self::default();
        let by_hand = files::list(recipients)?.into_iter().map(|p| (p, true));
        let found = files::list(discovered)?.into_iter().map(|p| (p, false));
        for (path, by_hand) in by_hand.chain(found) {
            let stamp = Stamp::of(&path);
            let loaded = match before.files.get(&path) {
                Some(old) if old.stamp == stamp && stamp.is_some() => old.clone(),
                _ => Loaded {
                    stamp,
                    keys: read(&path, by_hand),
                },
            };
            keys.take(&path, &loaded);
            keys.files.insert(path, loaded);
        }
        Ok(keys)
    }

    fn take(&mut self, path: &Path, loaded: &Loaded) {
        let found = match &loaded.keys {
            Ok(found) => found,
            Err(fault) => {
                let (path, fault) = (path.to_owned(), fault.clone());
                return self.faults.push(Faulty { path, fault });
            }
        };
        for key in found {
            for address in key.addresses() {
                let known = self.by_address.entry(index(&address)).or_default();
                known.push(Arc::clone(key));
            }
            self.all.push(Arc::clone(key));
        }
    }

    /// All keys: those added by hand, then those found.
    pub fn all(&self) -> impl Iterator<Item = &Key> {
        self.all.iter().map(AsRef::as_ref)
    }

    /// The keys that are known for an address, usable or not.
    pub fn of(&self, address: &Mailbox) -> impl Iterator<Item = &Key> {
        let known = self.by_address.get(&index(address));
        known.into_iter().flatten().map(AsRef::as_ref)
    }

    /// The files that could not be read.
    #[must_use]
    pub fn faults(&self) -> &[Faulty] {
        &self.faults
    }

    /// The files that hold a key of this fingerprint.
    pub(super) fn holders(&self, wanted: &str) -> Vec<&PathBuf> {
        let wanted = fingerprint(wanted);
        let holds = |loaded: &Loaded| {
            let mut keys = loaded.keys.iter().flatten();
            keys.any(|key| key.certificate.fingerprint() == wanted)
        };
        let holders = self.files.iter().filter(|(_, loaded)| holds(loaded));
        let mut paths: Vec<_> = holders.map(|(path, _)| path).collect();
        paths.sort();
        paths
    }
}

/// Under which an address is found: case makes no difference.
fn index(address: &Mailbox) -> String {
    address.to_string().to_ascii_lowercase()
}

fn read(path: &Path, by_hand: bool) -> Result<Vec<Arc<Key>>, String> {
    if !by_hand {
        let octets = files::read(path, RECORD_MAX)?;
        let keys = Record::read(&octets)?.keys()?;
        return Ok(keys.into_iter().map(Arc::new).collect());
    }
    let octets = files::read(path, CERTIFICATE_MAX)?;
    let found = AnyCertificate::read(&octets).map_err(|e| e.to_string())?;
    let since = modified(path);
    let key = |certificate| Arc::new(Key::by_hand(certificate, since));
    Ok(found.into_iter().map(key).collect())
}

fn modified(path: &Path) -> Timestamp {
    let modified = fs::metadata(path).and_then(|m| m.modified()).ok();
    let since = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let micros = since.and_then(|since| i64::try_from(since.as_micros()).ok());
    micros.map(Timestamp::from_micros).unwrap_or_default()
}
