//! What `postern spool` does with a spool that no daemon has open.
//!
//! Holds always: the spool's own lock keeps the daemon out meanwhile; what writes
//! runs as the user who owns the spool, so that the daemon can read what it left;
//! the audit gets what the journal still owes it, as at a start.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::{Uid, User, geteuid};
use serde::Serialize;

use super::ServeError;
use super::export::counts;
use super::run::{make_folder, open_journal};
use crate::config::Config;
use crate::control::ExportCounts;
use crate::outcome::audit::{self, AuditFilter};
use crate::spool::{
    self, Archive, ArchiveError, Checked, Ended, Export, ImportError, Imported, ImportedMessage,
    OpenError, Opened, RotateError, Rotated, SpoolError, Store,
};
use crate::sys::{Disk, RealDisk, SystemEntropy};
use crate::types::{QueueId, State};

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum SpoolWorkError {
    /// The spool can't be opened.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// The spool or the audit can't be opened for writing.
    #[error("{0}")]
    Serve(#[from] ServeError),
    /// The export can't be read.
    #[error("{0}")]
    Archive(#[from] ArchiveError),
    /// The import stopped.
    #[error("{0}")]
    Import(#[from] ImportError),
    /// The key can't be rotated.
    #[error("{0}")]
    Rotate(#[from] RotateError),
    /// The index or the system failed.
    #[error("{0}")]
    Spool(#[from] SpoolError),
    /// The audit can't be read.
    #[error("the audit can't be read: {0}")]
    Audit(String),
    /// The export can't be written.
    #[error("the export can't be written: {0}")]
    Write(std::io::Error),
    /// Somebody else owns the spool.
    #[error("{} belongs to {owner}, who must be able to read what this writes: run it as that user (sudo -u {owner} postern ...)", path.display())]
    NotOwner {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        owner: String,
    },
    /// There is no spool.
    #[error("there is no spool in {} yet: `postern serve` makes one at its first start (is [spool] or data_dir right?)", .0.display())]
    NoSpool(PathBuf),
}

impl SpoolWorkError {
    /// Whether a key is missing or wrong, which only the operator can put right.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Open(e) | Self::Rotate(RotateError::Open(e)) => is_key(e),
            Self::Serve(e) => e.is_configuration(),
            _ => false,
        }
    }
}

fn is_key(error: &OpenError) -> bool {
    matches!(
        error,
        OpenError::MissingKey(_)
            | OpenError::MissingCredential(_)
            | OpenError::WrongKey(_)
            | OpenError::BadKey { .. }
    )
}

/// What is to be imported, and how.
#[derive(Debug)]
pub struct Import<'a> {
    /// The export.
    pub file: &'a Path,
    /// The master key it was sealed under, if that is not ours.
    pub key: Option<&'a Path>,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
}

/// What came of an import, as `spool import --json` prints it.
#[derive(Debug, Serialize)]
pub struct ImportSummary {
    /// Whether all that the export was to hold could be read.
    pub complete: bool,
    /// Messages taken in.
    pub imported: u64,
    /// Their open recipients.
    pub recipients: u64,
    /// Messages that were there already.
    pub already: u64,
    /// Messages that had ended since, as this host's audit knows.
    pub ended: u64,
    /// What could not be read in the export.
    pub unreadable: Vec<UnreadableInExport>,
    /// Messages that it says it holds and does not.
    pub missing: u64,
    /// Whether its end is there; without, it was cut short.
    pub has_end: bool,
    /// Messages that could not be exported in the first place.
    pub not_exported: Vec<String>,
    /// Lines of this host's audit that could not be read.
    pub audit_faults: u64,
}

/// Something unreadable in an export.
#[derive(Debug, Serialize)]
pub struct UnreadableInExport {
    /// The message, where that could be read.
    pub id: Option<String>,
    /// Its recipients' domains, where they could be read.
    pub domains: Vec<String>,
    /// Where the damage is in the file.
    pub offset: Option<u64>,
}

/// What a repair came to.
#[derive(Debug)]
pub struct Repaired {
    /// What was found before.
    pub before: Checked,
    /// What the opening then did.
    pub opened: Opened,
}

/// Looks the spool over; changes nothing.
///
/// # Errors
/// [`SpoolWorkError`].
pub fn check_spool(config: &Config) -> Result<Checked, SpoolWorkError> {
    must_be_there(config)?;
    let entropy = SystemEntropy::default();
    Ok(spool::check(&config.spool, disk(), &entropy)?)
}

/// Looks the spool over, then makes its index anew from the journal and sets aside
/// what is damaged.
///
/// # Errors
/// [`SpoolWorkError`].
pub fn repair_spool(config: &Config) -> Result<Repaired, SpoolWorkError> {
    must_be_there(config)?;
    must_own(config)?;
    let before = check_spool(config)?;
    spool::discard_index(&config.spool, &*disk())?;
    let opened = with_spool(config, |_, opened| Ok(opened))?;
    Ok(Repaired { before, opened })
}

/// Exports a spool that no daemon has open, without changing it.
///
/// # Errors
/// [`SpoolWorkError`].
pub fn export_spool(config: &Config, to: &mut dyn Write) -> Result<ExportCounts, SpoolWorkError> {
    must_be_there(config)?;
    let entropy = Arc::new(SystemEntropy::default());
    let mut export = Export::open(&config.spool, disk(), entropy)?;
    while let Some(octets) = export.next_piece()? {
        to.write_all(&octets).map_err(SpoolWorkError::Write)?;
    }
    Ok(counts(export.tally()))
}

/// Takes in what an export holds; `told` hears of each message once it is durable.
///
/// # Errors
/// [`SpoolWorkError`].
pub fn import_spool(
    config: &Config,
    import: &Import<'_>,
    told: &mut dyn FnMut(&ImportedMessage),
) -> Result<ImportSummary, SpoolWorkError> {
    // First of all: opening an empty spool would make a key that is not the export's.
    let key = import.key.unwrap_or(config.spool.master_key.path());
    let mut archive = Archive::open(&*disk(), import.file, key)?;
    if import.dry_run {
        let (ended, faults) = ended(config, import.file, key)?;
        let imported = spool::rehearse(&config.spool, disk(), &mut archive, &ended, told)??;
        return Ok(summary(imported, faults));
    }
    must_own(config)?;
    make_folder(&config.data_dir)?;
    with_spool(config, |store, _| {
        // Not before the spool is open: it may owe the audit something still.
        let (ended, faults) = ended(config, import.file, key)?;
        let imported = store.import(&mut archive, &ended, told)?;
        Ok(summary(imported, faults))
    })
}

/// What this host's audit knows of how an export's messages ended, and how many of
/// its lines can't be read. Who takes back an older export on the host that wrote
/// it must not deliver again what has been delivered since. But where no report of a
/// bounce can have arrived, it may be gone with the spool it lay in: then the
/// recipient has not ended, so that the sender hears of it, be it twice.
fn ended(config: &Config, file: &Path, key: &Path) -> Result<(Ended, u64), SpoolWorkError> {
    let mut archive = Archive::open(&*disk(), file, key)?;
    let (ids, since) = spool::messages_of(&mut archive)?;
    let filter = AuditFilter {
        since,
        ..AuditFilter::default()
    };
    let (mut ended, mut faults) = (Ended::new(), 0);
    // Whom nobody has told since, by the address a report goes to.
    let mut untold: BTreeMap<String, Vec<(QueueId, String)>> = BTreeMap::new();
    let records = audit::read(&config.outcome.audit_folder, &filter)
        .map_err(|e| SpoolWorkError::Audit(e.to_string()))?;
    for record in records {
        let Ok(record) = record else {
            faults += 1;
            continue;
        };
        if record.state.is_open() {
            continue;
        }
        if record.sender.is_empty() {
            untold.remove(&record.recipient);
        }
        let id = record.id.parse().ok().filter(|id| ids.contains(id));
        let Some(id) = id else { continue };
        let calls_for_report = matches!(record.state, State::Bounced | State::Expired);
        if calls_for_report && !record.sender.is_empty() {
            let of_sender = untold.entry(record.sender).or_default();
            of_sender.push((id, record.recipient.clone()));
        }
        let how = ended.entry(id).or_default();
        how.insert(record.recipient, record.state);
    }
    for (id, recipient) in untold.into_values().flatten() {
        if let Some(how) = ended.get_mut(&id) {
            how.remove(&recipient);
        }
    }
    Ok((ended, faults))
}

/// Makes a new master key and wraps all others anew.
///
/// # Errors
/// [`SpoolWorkError`], which says which key is in force.
pub fn rotate_key(config: &Config, new_key: Option<&Path>) -> Result<Rotated, SpoolWorkError> {
    must_be_there(config)?;
    must_own(config)?;
    let entropy = SystemEntropy::default();
    Ok(spool::rotate_key(
        &config.spool,
        &disk(),
        &entropy,
        new_key,
    )?)
}

/// Opens the spool as a start does, does something, and closes it.
fn with_spool<T>(
    config: &Config,
    work: impl FnOnce(&spool::JournalStore, Opened) -> Result<T, SpoolWorkError>,
) -> Result<T, SpoolWorkError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(ServeError::Runtime)?;
    let (store, _fresh, opened) = open_journal(config, None).map_err(|e| match e {
        ServeError::Spool(e) => SpoolWorkError::Open(e),
        e => SpoolWorkError::Serve(e),
    })?;
    // Hands over to the audit what it is owed.
    runtime.block_on(store.maintain());
    let result = work(&store, opened);
    runtime.block_on(store.close());
    result
}

fn disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

fn must_be_there(config: &Config) -> Result<(), SpoolWorkError> {
    let folder = &config.spool.folder;
    match folder.join("seg").metadata() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            Err(SpoolWorkError::NoSpool(folder.clone()))
        }
        _ => Ok(()),
    }
}

/// Root could write anything, and the daemon not read it.
fn must_own(config: &Config) -> Result<(), SpoolWorkError> {
    let folders = [&config.spool.folder, &config.data_dir];
    let Some((path, there)) = folders
        .into_iter()
        .find_map(|path| Some((path, path.metadata().ok()?)))
    else {
        return Ok(());
    };
    let owner = Uid::from_raw(there.uid());
    if owner == geteuid() {
        return Ok(());
    }
    let name = User::from_uid(owner).ok().flatten().map(|user| user.name);
    Err(SpoolWorkError::NotOwner {
        path: path.clone(),
        owner: name.unwrap_or_else(|| format!("#{owner}")),
    })
}

fn summary(imported: Imported, audit_faults: u64) -> ImportSummary {
    let unreadable = imported.unreadable.iter().map(|u| UnreadableInExport {
        id: u.id.map(|id| id.to_string()),
        domains: u.domains.iter().map(ToString::to_string).collect(),
        offset: u.offset,
    });
    let not_exported = imported.end.iter().flat_map(|end| &end.damaged);
    ImportSummary {
        complete: imported.is_whole(),
        imported: imported.messages,
        recipients: imported.recipients,
        already: imported.already,
        ended: imported.ended,
        audit_faults,
        unreadable: unreadable.collect(),
        missing: imported.missing,
        has_end: imported.end.is_some(),
        not_exported: not_exported.map(ToString::to_string).collect(),
    }
}
