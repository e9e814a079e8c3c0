//! Both kinds of event that the audit takes, and the lines that they become.
//!
//! Owns the form of a domain's line. Holds always: a line that tells no `kind` is a
//! recipient's, as all were once; field names are the contract, as those of
//! [`Record`]. Written by [`super::AuditLog`], read by [`super::read`].

use std::io;

use serde::{Deserialize, Serialize};

use super::chain::{self, Link};
use super::record::Record;
use crate::types::{AuditEvent, DomainChange, DomainEvent, EventId, Timestamp};

/// A line about a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainRecord {
    /// `domain`, by which it is told from a recipient's.
    kind: Kind,
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// Which.
    pub domain: String,
    /// The host by which it turned; `null`: all of them, or no matter of hosts.
    pub host: Option<String>,
    /// What happened.
    pub change: DomainChange,
    /// What was, and what is; or an exception's end and reason.
    pub what: String,
    /// Who did it by hand; `null`: nobody.
    pub actor: Option<String>,
    /// This line's own name.
    pub event: String,
}

/// The one word that `kind` may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Domain,
}

/// One line of the audit, of either kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum AuditLine {
    /// What became of one recipient of a message.
    Recipient(Box<Record>),
    /// What happened to a domain.
    Domain(DomainRecord),
}

impl AuditLine {
    /// Reads a line's octets; `None`: it is neither.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let recipient =
            serde_json::from_slice(line).map(|record| Self::Recipient(Box::new(record)));
        let line = recipient.or_else(|_| serde_json::from_slice(line).map(Self::Domain));
        line.ok()
    }

    /// When, as it is written.
    pub(super) fn time(&self) -> &str {
        match self {
            Self::Recipient(record) => &record.time,
            Self::Domain(record) => &record.time,
        }
    }
}

impl From<&DomainEvent> for DomainRecord {
    fn from(event: &DomainEvent) -> Self {
        Self {
            kind: Kind::Domain,
            time: event.time.to_string(),
            domain: event.domain.to_string(),
            host: event.host.clone(),
            change: event.change,
            what: event.what.clone(),
            actor: event.actor.clone(),
            event: event.event.to_string(),
        }
    }
}

/// An event of either kind on its way into the file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Entry<'a> {
    Recipient(&'a AuditEvent),
    Domain(&'a DomainEvent),
}

impl Entry<'_> {
    pub(super) fn event(&self) -> EventId {
        match self {
            Self::Recipient(event) => event.event,
            Self::Domain(event) => event.event,
        }
    }

    pub(super) fn time(&self) -> Timestamp {
        match self {
            Self::Recipient(event) => event.time,
            Self::Domain(event) => event.time,
        }
    }

    /// Its line behind another, with its end.
    pub(super) fn line(&self, prev: Link) -> io::Result<Vec<u8>> {
        match self {
            Self::Recipient(event) => chain::event_line(prev, &Record::from(*event)),
            Self::Domain(event) => chain::event_line(prev, &DomainRecord::from(*event)),
        }
    }
}
