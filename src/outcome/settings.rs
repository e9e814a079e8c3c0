//! The outcome room's part of the configuration.

use std::path::PathBuf;

use crate::types::{Domain, Mailbox};

/// Who writes DSNs, to whom dead ones are told, and where the audit lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The reporting MTA's name.
    pub hostname: Domain,
    /// Who is told of a dead DSN; `None`: postmaster@ the sender's domain.
    pub postmaster: Option<Mailbox>,
    /// The folder of the audit's day files, `DATA_DIR/audit`.
    pub audit_folder: PathBuf,
    /// The key that the audit's days are signed with, `DATA_DIR/keys/audit`.
    pub audit_key: PathBuf,
    /// How long day files are kept.
    pub audit_keep: std::time::Duration,
    /// Whether logs may hold full addresses and remote texts.
    pub log_addresses: bool,
    /// After this long a message is given up, as the "delayed" DSN says.
    pub expire: std::time::Duration,
}
