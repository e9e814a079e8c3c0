//! The audit, as `postern audit` reads it: straight from the day files, so that
//! it answers with or without a running daemon.

use std::fmt;

use serde::Serialize;

use crate::config::Config;
use crate::outcome::audit::{self, AuditFilter, Record};
use crate::types::{QueueId, State, Timestamp};

/// Which entries.
#[derive(Debug, Clone, Default)]
pub struct AuditQuestion {
    /// From this time on.
    pub since: Option<Timestamp>,
    /// For this recipient, compared without case.
    pub recipient: Option<String>,
    /// Into this state.
    pub state: Option<State>,
    /// About this message.
    pub id: Option<QueueId>,
}

/// One entry: prints as a line for people, serialises as the contract's JSON.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct AuditEntry(Record);

impl fmt::Display for AuditEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = &self.0;
        write!(f, "{} {} {}", entry.time, entry.id, entry.state)?;
        write!(f, " from=<{}> to=<{}>", entry.sender, entry.recipient)?;
        if let Some(method) = entry.method {
            write!(f, " method={method}")?;
        }
        match &entry.tls {
            Some(tls) => write!(f, " tls={}:{}:{}", tls.version, tls.cipher, tls.group)?,
            None => f.write_str(" tls=none")?,
        }
        let words = [
            ("remote", &entry.remote),
            ("reason", &entry.reason),
            ("by", &entry.actor),
        ];
        for (word, value) in words {
            if let Some(value) = value {
                write!(f, " {word}={value}")?;
            }
        }
        if let Some(rule) = &entry.rule {
            write!(f, " rule=\"{rule}\"")?;
        }
        for (word, value) in [("note", &entry.note), ("reply", &entry.reply)] {
            if let Some(value) = value {
                write!(f, " {word}=\"{value}\"")?;
            }
        }
        Ok(())
    }
}

/// The entries asked for, oldest first; a broken line comes as an error that
/// names it, and reading goes on behind it.
///
/// # Errors
/// If the audit's folder can't be read.
pub fn audit(
    config: &Config,
    question: &AuditQuestion,
) -> Result<impl Iterator<Item = Result<AuditEntry, String>> + use<>, String> {
    let filter = AuditFilter {
        since: question.since,
        recipient: question.recipient.clone(),
        state: question.state,
        id: question.id,
    };
    let records = audit::read(&config.outcome.audit_folder, &filter).map_err(|e| e.to_string())?;
    Ok(records.map(|record| record.map(AuditEntry).map_err(|e| e.to_string())))
}
