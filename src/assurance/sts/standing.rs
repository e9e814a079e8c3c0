//! How a domain stands to MTA-STS at one moment.
//!
//! Holds always: there is a reason for each "no policy". Plain data, no I/O.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::policy::{Policy, PolicyError};
use super::record::PolicyId;
use crate::fetch::FetchError;
use crate::types::{Domain, Reason, StsFacts, StsMode, StsSource, Timestamp};

/// Patterns named in evidence.
const PATTERNS_NAMED: usize = 20;

/// A policy with what is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// What it says.
    pub policy: Policy,
    /// The record's `id` when it was fetched.
    pub id: PolicyId,
    /// When it was fetched last.
    pub fetched_at: Timestamp,
    /// When mail asked for it last, to the hour.
    pub used_at: Timestamp,
}

impl Held {
    /// When it holds no more.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.fetched_at + self.policy.max_age
    }
}

/// Why a domain has no policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// Nobody asked: an address literal, or a fixed route instead.
    NotAsked,
    /// It has no record.
    NoRecord,
    /// Its record is malformed, or there are several.
    BadRecord,
    /// It has a record, and DNS has failed for too long to wait for it.
    DnsFailed,
    /// It has a record, and its policy can't be fetched.
    NotFetched(FetchError),
    /// It has a record, and what was fetched is no policy.
    BadPolicy(PolicyError),
}

impl Absent {
    /// The word that `explain` uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotAsked => "not-asked",
            Self::NoRecord => "no-record",
            Self::BadRecord => "bad-record",
            Self::DnsFailed => "dns-failed",
            Self::NotFetched(_) => "not-fetched",
            Self::BadPolicy(_) => "bad-policy",
        }
    }
}

/// How a domain stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It has no policy.
    Absent(Absent),
    /// DNS does not say whether it has one.
    Unknown,
    /// It has one.
    Policy(Arc<Held>, StsSource),
}

impl Standing {
    /// The policy, if it is one that binds.
    #[must_use]
    pub fn enforced(&self) -> Option<&Held> {
        self.held()
            .filter(|held| held.policy.mode == StsMode::Enforce)
    }

    /// The policy, of whatever mode.
    #[must_use]
    pub fn held(&self) -> Option<&Held> {
        match self {
            Self::Policy(held, _) => Some(held),
            Self::Absent(_) | Self::Unknown => None,
        }
    }

    /// What is wrong with this host by the policy, were it enforced; `identity` is
    /// what came of the handshake with it, `None` without one.
    #[must_use]
    pub fn finding(
        &self,
        host: Option<&Domain>,
        identity: Option<Result<(), Reason>>,
    ) -> Option<Reason> {
        let held = self.held()?;
        if held.policy.mode == StsMode::None {
            return None;
        }
        if !host.is_some_and(|host| held.policy.lists(host)) {
            return Some(Reason::StsHost);
        }
        match identity {
            None => Some(Reason::NoStarttls),
            Some(identity) => identity.err(),
        }
    }

    /// For the evidence.
    #[must_use]
    pub fn facts(&self) -> Option<StsFacts> {
        let Self::Policy(held, source) = self else {
            return None;
        };
        let named = held.policy.mx.iter().take(PATTERNS_NAMED);
        Some(StsFacts {
            mode: held.policy.mode,
            id: held.id.to_string(),
            mx: named.map(ToString::to_string).collect(),
            fetched_at: held.fetched_at,
            expires_at: held.expires_at(),
            source: *source,
            finding: None,
        })
    }
}
