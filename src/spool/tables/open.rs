//! Opening the tables, and what becomes of a database that is no good.
//!
//! Owns the places in the spool's folder and the decision what to trust. Holds
//! always: a database is used only if it opens and knows of the dump that lies
//! beside it; else it is moved aside (the two newest bad ones are kept) and the dump
//! takes its place. Called by the tables.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::sys::table::Pair;
use crate::sys::{Disk, Entropy, write_new};

use super::super::journal::check::{copy_folder, scratch};
use super::super::journal::index::IndexError;
use super::super::journal::keys::{SecretKey, WRAPPED_LEN};
use super::super::journal::rebuild::{is_marked, mark_failed, move_aside};
use super::super::journal::unlock::present_key;
use super::super::{OpenError, Settings};
use super::database::Database;
use super::dump::{self, Dump};

/// What the opening found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TablesOpened {
    /// Why the database was moved aside and made anew, if it was.
    pub replaced: Option<String>,
    /// Entries that came back from the dump.
    pub restored: u64,
    /// Why nothing came back, where there was something to come back.
    pub lost: Option<String>,
}

/// Where the tables lie.
pub(super) struct Place {
    spool: PathBuf,
    folder: PathBuf,
    key: PathBuf,
    pub(super) dump: PathBuf,
}

impl Place {
    pub(super) fn below(spool: &Path) -> Self {
        Self {
            spool: spool.to_owned(),
            folder: spool.join("tables"),
            key: spool.join("tables.key"),
            dump: spool.join("tables.dump"),
        }
    }

    pub(super) fn has_dump(&self, disk: &dyn Disk) -> bool {
        disk.open(&self.dump, false).is_ok()
    }

    /// Opens the database or makes it anew; with it comes the last dump's number.
    pub(super) fn open(
        &self,
        settings: &Settings,
        disk: &Arc<dyn Disk>,
        entropy: &dyn Entropy,
    ) -> Result<(Database, u64, TablesOpened), OpenError> {
        let disk = &**disk;
        let failed = |source| OpenError::Folder {
            path: self.spool.clone(),
            source,
        };
        let mut opened = TablesOpened::default();
        let key = self.key(settings, disk, entropy, &mut opened)?;
        let is_key_new = opened.lost.is_some();
        let dump = dump::read(self, disk);
        // One that can't be read was there: a database that knows of none is older.
        let epoch = match &dump {
            Ok(dump) => dump.as_ref().map_or(0, |dump| dump.epoch),
            Err(_) => 1,
        };
        let is_new = disk.list(&self.folder).unwrap_or_default().is_empty();
        let why = match self.trust(disk, &key, entropy, epoch) {
            Ok((database, epoch)) => return Ok((database, epoch, opened)),
            Err(Distrust::InUse) => return Err(OpenError::Locked(self.folder.clone())),
            Err(Distrust::Bad(why)) => why,
        };
        move_aside(disk, &self.folder).map_err(failed)?;
        let database = Database::open(&self.folder, key, entropy).map_err(|e| self.no_index(&e))?;
        disk.sync_folder(&self.spool).map_err(failed)?;
        match dump {
            Ok(Some(Dump { pairs, .. })) => {
                opened.restored = pairs.len() as u64;
                let restored = database.restore(pairs, epoch);
                restored.map_err(|e| self.no_index(&e))?;
            }
            Ok(None) if is_new || is_key_new => {}
            Ok(None) => opened.lost = Some("there is no dump yet".into()),
            Err(e) => opened.lost = Some(format!("the dump can't be read: {e}")),
        }
        if !is_new || opened.restored > 0 || opened.lost.is_some() {
            opened.replaced = Some(why);
        }
        Ok((database, epoch, opened))
    }

    /// All that is there, read from a copy; without a sound one, from the dump.
    pub(super) fn copy(
        &self,
        settings: &Settings,
        disk: &Arc<dyn Disk>,
        entropy: &dyn Entropy,
    ) -> Result<Vec<Pair>, OpenError> {
        let master = present_key(&**disk, &settings.master_key)?;
        let wrapped = disk.read(&self.key, WRAPPED_LEN).unwrap_or_default();
        let Ok(key) = SecretKey::unwrap(&wrapped, &master) else {
            return Ok(Vec::new());
        };
        let key = Arc::new(key);
        let copy = scratch(entropy).map_err(|source| OpenError::Folder {
            path: std::env::temp_dir(),
            source,
        })?;
        let dump = dump::read(self, &**disk).ok().flatten();
        let epoch = dump.as_ref().map_or(0, |dump| dump.epoch);
        let opened = copy_folder(&self.folder, &copy)
            .ok()
            .and_then(|()| Database::open(&copy, Arc::clone(&key), entropy).ok())
            .filter(|database| database.epoch().is_ok_and(|e| e >= epoch));
        let pairs = opened.and_then(|database| database.all(None).ok());
        let pairs = match (pairs, dump) {
            (Some(pairs), _) => pairs,
            (None, Some(dump)) => from_dump(dump, &copy.join("dump"), key, entropy),
            (None, None) => Vec::new(),
        };
        // Only sealed octets stay behind if this fails.
        let _ = std::fs::remove_dir_all(&copy);
        Ok(pairs)
    }

    /// Makes what was changed durable; says whether there was something. If that
    /// fails, the database is not trusted by the next opening.
    pub(super) fn sync(&self, database: &Database, disk: &dyn Disk) -> io::Result<bool> {
        if !database.take_changed() {
            return Ok(false);
        }
        if let Err(error) = self.sync_file(disk) {
            // What of it reached the disk is not to be guessed at.
            mark_failed(disk, &self.folder)?;
            return Err(error);
        }
        Ok(true)
    }

    /// sled has its own handle on this file; durability goes by the file.
    pub(super) fn sync_file(&self, disk: &dyn Disk) -> io::Result<()> {
        disk.open(&self.folder.join("db"), false)?.sync_data()
    }

    fn no_index(&self, error: &dyn std::fmt::Display) -> OpenError {
        OpenError::Index {
            path: self.folder.clone(),
            reason: error.to_string(),
        }
    }

    /// The database as it is with its dump's number, if nothing speaks against it.
    fn trust(
        &self,
        disk: &dyn Disk,
        key: &Arc<SecretKey>,
        entropy: &dyn Entropy,
        dumped: u64,
    ) -> Result<(Database, u64), Distrust> {
        let bad = |why: &str| Err(Distrust::Bad(why.to_owned()));
        if disk.list(&self.folder).unwrap_or_default().is_empty() {
            return bad("it is missing");
        }
        if is_marked(disk, &self.folder) {
            return bad("it had failed while the daemon ran");
        }
        let database = match Database::open(&self.folder, Arc::clone(key), entropy) {
            Ok(database) => database,
            Err(IndexError::Sled(sled::Error::Io(e))) if is_lock(&e) => {
                return Err(Distrust::InUse);
            }
            Err(e) => return bad(&e.to_string()),
        };
        match database.epoch() {
            Err(e) => bad(&e.to_string()),
            Ok(epoch) if epoch < dumped => {
                bad("it is older than its dump: lost writes, or an old copy")
            }
            Ok(epoch) => Ok((database, epoch)),
        }
    }

    /// The tables' key, a new one if there is none (then nothing old can be read).
    fn key(
        &self,
        settings: &Settings,
        disk: &dyn Disk,
        entropy: &dyn Entropy,
        opened: &mut TablesOpened,
    ) -> Result<Arc<SecretKey>, OpenError> {
        let master = present_key(disk, &settings.master_key)?;
        let failed = |source| OpenError::Folder {
            path: self.spool.clone(),
            source,
        };
        match disk.read(&self.key, WRAPPED_LEN) {
            Ok(wrapped) => match SecretKey::unwrap(&wrapped, &master) {
                Ok(key) => return Ok(Arc::new(key)),
                Err(_) => opened.lost = Some("their key, tables.key, does not open".into()),
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                if self.has_dump(disk) {
                    opened.lost = Some("their key, tables.key, is missing".into());
                }
            }
            Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                opened.lost = Some("their key, tables.key, does not open".into());
            }
            Err(source) => return Err(failed(source)),
        }
        let key = SecretKey::generate(entropy)?;
        let wrapped = key.wrap(&master).map_err(|e| failed(io::Error::other(e)))?;
        // Sealed under a key that is no more.
        match disk.remove(&self.dump) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
            _ => {}
        }
        move_aside(disk, &self.folder).map_err(failed)?;
        write_new(disk, &self.key, &wrapped).map_err(failed)?;
        Ok(Arc::new(key))
    }
}

/// Why a database is not used.
enum Distrust {
    /// Somebody has it open.
    InUse,
    /// It is to be replaced.
    Bad(String),
}

/// Whether this is sled's word for a database that is in use.
fn is_lock(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.to_string().contains("acquire lock")
}

/// The entries of a dump, by way of a database in a folder that is removed.
fn from_dump(dump: Dump, folder: &Path, key: Arc<SecretKey>, entropy: &dyn Entropy) -> Vec<Pair> {
    let Ok(database) = Database::open(folder, key, entropy) else {
        return Vec::new();
    };
    match database.restore(dump.pairs, dump.epoch) {
        Ok(()) => database.all(None).unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}
