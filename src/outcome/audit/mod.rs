//! The audit: what became of every recipient, and how it was protected.
//!
//! Owns the day files `audit/2026-11-22.jsonl` (UTC): one JSON object a line, one
//! line for each attempt's outcome and each change of state, and one for each turn
//! of a domain for the better or the worse and each exception made for it. Acceptance
//! itself is no change of state and has no line. A day's last line is its signed head, and
//! every line holds the hash of the one before, so that [`verify`] finds what was
//! changed. Holds always: files only grow, a line is written once even if its event
//! is handed over again (ids tell), and a broken line is named, never skipped in
//! silence. Written by [`AuditLog`], which the spool's committer feeds; read by
//! [`read`] and [`verify`] for the command line.

mod chain;
mod csv;
mod entry;
mod files;
mod key;
mod log;
mod read;
mod record;
mod seen;
mod tail;
mod verify;

pub use chain::{Link, LinkError};
pub use csv::{CSV_HEADER, csv_row};
pub use entry::{AuditLine, DomainRecord};
pub use key::{AuditKey, KeyError, PublicKey, public_path};
pub use log::{AuditLog, OpenError};
pub use read::{AuditError, AuditFilter, AuditKind, AuditKindError, Lines, read, read_lines};
pub use record::{CertificateRecord, PassedOver, Record, TlsRecord};
pub use verify::{Break, Findings, Place, Unsigned, verify};

pub(super) use record::remote_text;
