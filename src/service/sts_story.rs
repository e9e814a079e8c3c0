//! `postern explain`: what is said of a domain's MTA-STS policy.
//!
//! Owns the form: the JSON is part of the contract (docs/postern.8.md), the text is
//! for people. Called by `explain`.

use std::fmt;

use serde::Serialize;

use crate::assurance::Published;
use crate::assurance::sts::{Absent, Standing};

/// A policy, or why there is none.
#[derive(Debug, Clone, Serialize)]
pub(super) struct StsStory {
    /// `enforce`, `testing`, `none`; null: there is no policy.
    mode: Option<&'static str>,
    /// Why there is no policy: `not-asked`, `no-record`, `bad-record`, `dns-failed`,
    /// `not-fetched`, `bad-policy`; `unknown`: mail waits until DNS tells.
    absent: Option<&'static str>,
    /// What exactly was wrong.
    detail: Option<String>,
    id: Option<String>,
    mx: Vec<String>,
    fetched_at: Option<String>,
    expires_at: Option<String>,
    /// `cache`, or `fetched` for this explanation.
    source: Option<&'static str>,
    /// Whether it is known what the daemon keeps.
    kept_known: bool,
}

impl StsStory {
    pub(super) fn new(published: &Published, kept_known: bool) -> Self {
        let facts = published.facts();
        let (absent, detail) = match &published.sts {
            Standing::Absent(absent) => (Some(absent.as_str()), detail(*absent)),
            Standing::Unknown => (Some("unknown"), None),
            Standing::Policy(..) => (None, None),
        };
        let facts = facts.as_ref();
        Self {
            mode: facts.map(|facts| facts.mode.as_str()),
            absent,
            detail,
            id: facts.map(|facts| facts.id.clone()),
            mx: facts.map(|facts| facts.mx.clone()).unwrap_or_default(),
            fetched_at: facts.map(|facts| facts.fetched_at.to_string()),
            expires_at: facts.map(|facts| facts.expires_at.to_string()),
            source: facts.map(|facts| facts.source.as_str()),
            kept_known,
        }
    }
}

fn detail(absent: Absent) -> Option<String> {
    match absent {
        Absent::NotFetched(error) => Some(error.to_string()),
        Absent::BadPolicy(error) => Some(error.to_string()),
        Absent::NotAsked | Absent::NoRecord | Absent::BadRecord | Absent::DnsFailed => None,
    }
}

impl fmt::Display for StsStory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(mode), Some(id)) = (self.mode, &self.id) {
            let mx = match self.mx.is_empty() {
                true => "no host".to_owned(),
                false => self.mx.join(" "),
            };
            write!(
                f,
                "MTA-STS: {mode}, id {id}, hosts: {mx}; {} {}, until {}",
                match self.source {
                    Some("cache") => "kept since",
                    _ => "fetched",
                },
                self.fetched_at.as_deref().unwrap_or_default(),
                self.expires_at.as_deref().unwrap_or_default(),
            )?;
        } else {
            let why = match self.absent.unwrap_or_default() {
                "not-asked" => "not asked for (a route or an address stands instead)",
                "no-record" => "none (no record)",
                "bad-record" => "none (the record is malformed, or there are several)",
                "dns-failed" => "none (DNS has failed at the record for 15 minutes)",
                "unknown" => {
                    "not known: DNS fails at the record; mail waits, for 15 minutes at most"
                }
                "not-fetched" => "none (there is a record, but the policy can't be fetched)",
                _ => "none (there is a record, but what lies there is no policy)",
            };
            write!(f, "MTA-STS: {why}")?;
            if let Some(detail) = &self.detail {
                write!(f, ": {detail}")?;
            }
        }
        if !self.kept_known {
            write!(
                f,
                " (what the daemon keeps is not known: it can't be asked, nor its tables read)"
            )?;
        }
        Ok(())
    }
}
