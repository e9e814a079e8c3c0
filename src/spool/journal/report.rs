//! What opening a journal can come to.
//!
//! Owns the plain report for the log and the errors that stop the daemon, each
//! of which says what to do. Made by the opening, read by the service.

use std::io;
use std::path::PathBuf;

use crate::types::QueueId;

/// What was found and done when the spool was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opened {
    /// Whether the last process had closed it.
    pub was_clean: bool,
    /// Records entered in the index from the journal.
    pub replayed: u64,
    /// Why the index was made anew, if it was.
    pub rebuilt: Option<RebuildReason>,
    /// Records that can't be read; copies of their octets are in `damaged/`.
    pub damaged: Vec<DamagedRecord>,
    /// The torn end of the last write, if there was one: never acknowledged.
    pub cut: Option<CutTail>,
}

/// Why the index was not trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RebuildReason {
    /// There was none, or an empty one.
    Missing,
    /// The file `checkpoint`, which vouches for it, was missing or damaged.
    NoCheckpoint,
    /// It could not be opened or read: sled's own words.
    Unreadable(String),
    /// It was older than its checkpoint: lost writes, or an old copy.
    WentBack,
    /// It knew of records that the journal does not have.
    AheadOfJournal,
    /// It had failed while the daemon ran.
    Failed,
}

/// Octets of the journal that are no sound record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedRecord {
    /// The segment's number, as in its file name.
    pub segment: u32,
    /// Octets from its start.
    pub offset: u64,
    /// How many octets.
    pub octets: u64,
    /// The message, where the header could still be read.
    pub id: Option<QueueId>,
}

/// A torn tail that was cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutTail {
    /// The segment's number, as in its file name.
    pub segment: u32,
    /// Where it ends now, in octets.
    pub offset: u64,
    /// Octets cut off.
    pub octets: u64,
}

/// Why the spool can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The master key is missing, but there is a spool that needs it (exit
    /// code 78).
    #[error(
        "the master key {} is missing, but the spool is not empty: put the copy of the key back \
         (without it the queued messages can't be read); if there is none, move the spool folder \
         away and take back what an export holds (`postern spool import`)",
        .0.display()
    )]
    MissingKey(PathBuf),
    /// The service manager gave no credential of that name (exit code 78).
    #[error(
        "the credential {} with the master key is missing: LoadCredential= of the unit names \
         where it comes from (docs/install.md), and for `postern spool` CREDENTIALS_DIRECTORY the \
         folder it is in; it is never made here",
        .0.display()
    )]
    MissingCredential(PathBuf),
    /// The master key is not the one the spool was written with (exit code 78).
    #[error(
        "the master key {} does not open this spool: put back the key it was written with (after \
         `postern spool rotate-key` the old one is in master.old); if there is none, move the \
         spool folder away and take back what an export holds (`postern spool import`)",
        .0.display()
    )]
    WrongKey(PathBuf),
    /// The master key is no key (exit code 78).
    #[error("the master key {} can't be read ({source}): it must be a file of 32 octets that this user may read", path.display())]
    BadKey {
        /// The key's file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the spool open.
    #[error("the spool {} is in use by a running daemon: stop it first (systemctl stop postern)", .0.display())]
    Locked(PathBuf),
    /// The spool's folder can't be used.
    #[error("the spool {} can't be used ({source}): this user must be able to read and write it, on a disk with room", path.display())]
    Folder {
        /// The spool's folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system gives no randomness.
    #[error("the system gives no randomness, so no keys can be made")]
    Entropy(#[from] crate::sys::entropy::EntropyError),
    /// Not even a fresh index works.
    #[error("the spool's index can't be made in {}: {reason}", path.display())]
    Index {
        /// The spool's folder.
        path: PathBuf,
        /// What the database said.
        reason: String,
    },
}
