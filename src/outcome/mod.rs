//! What follows from a report: statuses, DSNs, notices, log lines, the audit.
//!
//! Owns the one way from an attempt back into the spool. Holds always: a report
//! becomes exactly one [`crate::types::Settlement`], which takes effect whole or
//! not at all; a null sender is never sent a DSN (RFC 5321 section 4.5.5), so
//! nothing here can loop; DSNs and logs hold no subject and no body. When to try
//! again is not decided here: the queue brings a [`Decision`] for each recipient.
//! Called by `queue` ([`Outcome::settle`], [`Outcome::by_hand`]), by the spool's committer through
//! [`audit::AuditLog`], and by the command line ([`audit::read`]).

pub mod audit;
mod decision;
mod dsn;
mod hand;
mod line;
mod meters;
mod notice;
mod settings;
mod settle;
#[cfg(test)]
mod tests;
mod words;

pub use decision::{Decision, Verdict};
pub use settings::Settings;
pub use settle::Outcome;
