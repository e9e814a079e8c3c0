//! The spool's part of the configuration.

use std::path::{Path, PathBuf};

/// Where and how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The spool's folder, `DATA_DIR/spool`.
    pub folder: PathBuf,
    /// Where the master key lies: 32 octets, mode 0600.
    pub master_key: MasterKey,
    /// Octets the journal may take in all.
    pub max_size: u64,
    /// Largest message in octets.
    pub message_size: u64,
}

/// Where the master key comes from, which says who may make it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MasterKey {
    /// A file of ours: made where the spool is empty.
    File(PathBuf),
    /// A credential of the service manager's: never made here. One made by
    /// mistake would be gone with the service, and all mail sealed under it.
    Credential(PathBuf),
}

impl MasterKey {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::File(path) | Self::Credential(path) => path,
        }
    }
}

impl From<PathBuf> for MasterKey {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}
