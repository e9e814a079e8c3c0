//! The audit: what became of every recipient, and how it was protected.
//!
//! Owns the day files `audit/2026-11-22.jsonl` (UTC): one JSON object a line, one
//! line for each attempt's outcome and each change of state. Acceptance itself is
//! no change of state and has no line. Holds always: files only grow, a line is
//! written once even if its event is handed over again (ids tell), and a broken
//! line is named, never skipped in silence. Written by [`AuditLog`], which the
//! spool's committer feeds; read by [`read`] for the command line.

mod log;
mod read;
mod record;

pub use log::AuditLog;
pub use read::{AuditError, AuditFilter, Records, read};
pub use record::{CertificateRecord, PassedOver, Record, TlsRecord};

pub(super) use record::remote_text;

/// What day files end in.
const SUFFIX: &str = ".jsonl";
