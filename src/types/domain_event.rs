//! What the audit is told of a domain, beside what became of its recipients.
//!
//! Owns the event and its words. Holds always: an event tells a turn that was seen
//! or an operator's act, never mail; it is in no journal record, so a crash can lose
//! the last second's. Made by `service`, written by `outcome`.

use serde::{Deserialize, Serialize};

use super::{Domain, EventId, Timestamp};

/// A domain's protection got better or worse, or an operator did something about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainEvent {
    /// This event's own name.
    pub event: EventId,
    /// When.
    pub time: Timestamp,
    /// Which.
    pub domain: Domain,
    /// The host by which it turned; `None`: all of them.
    pub host: Option<String>,
    /// What happened.
    pub change: DomainChange,
    /// What was, and what is; or the exception's end and reason.
    pub what: String,
    /// Who did it by hand, as the system names them; `None`: nobody.
    pub actor: Option<String>,
}

/// What happened to a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DomainChange {
    /// Its protection got better.
    Better,
    /// Its protection got worse.
    Worse,
    /// An operator made an exception for it.
    ExceptionMade,
    /// An operator took its exception back.
    ExceptionTakenBack,
    /// Its exception came to its end.
    ExceptionLapsed,
    /// An operator had it forgotten.
    Forgotten,
}

impl DomainChange {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::ExceptionMade => "exception-made",
            Self::ExceptionTakenBack => "exception-taken-back",
            Self::ExceptionLapsed => "exception-lapsed",
            Self::Forgotten => "forgotten",
        }
    }
}

impl std::fmt::Display for DomainChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
