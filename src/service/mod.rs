//! The composition root: builds the rooms, passes the ports, runs the daemon and
//! answers the command line.
//!
//! Owns the order of starting and stopping, signals, readiness, the control
//! socket, and what the commands need of the rooms. Holds always: no room finds
//! another by itself; everything it needs is given to it here. Called by `cli`.

mod access;
pub mod accounts;
mod addresses;
mod answers;
mod audit;
mod control;
pub mod discovery;
mod domain;
mod error;
mod explain;
mod export;
mod export_file;
mod files;
mod hand;
mod handover;
mod http;
mod inspect;
mod json_lines;
pub mod keys;
mod learning;
mod logging;
mod metrics;
mod notify;
mod observe;
mod probe;
mod reload;
mod replay;
mod run;
mod signals;
mod sink;
mod spool;
mod stats;
mod sts;
mod sts_story;
mod tables;
mod test;

pub use crate::outcome::audit::{AuditKind, CSV_HEADER as AUDIT_CSV_HEADER, Link as AuditLink};
pub use crate::spool::{
    Checked as SpoolChecked, ImportedMessage, Rotated as RotatedKey, Taken as ImportTaken,
};
pub use audit::{AuditEntry, AuditQuestion, AuditVerdict, ago, audit, verify_audit};
pub use domain::remembered;
pub use error::ServeError;
pub use explain::{Case, Story, explain};
pub use export_file::ExportFile;
pub use inspect::inspect;
pub use observe::{OBSERVE_IS_ON, Observed, observed};
pub use replay::{Replayed, replay};
pub use run::serve;
pub use spool::{
    Import, ImportSummary, Repaired, SpoolWorkError, check_spool, export_spool, import_spool,
    repair_spool, rotate_key,
};
pub use test::plan;
