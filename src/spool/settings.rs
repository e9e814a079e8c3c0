//! The spool's part of the configuration.

use std::path::PathBuf;

/// Where and how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The spool's folder, `DATA_DIR/spool`.
    pub folder: PathBuf,
    /// Where the master key lies: 32 octets, mode 0600.
    pub master_key: PathBuf,
    /// Octets the journal may take in all.
    pub max_size: u64,
    /// Largest message in octets.
    pub message_size: u64,
}
