//! What the queue is doing, as plain data for `queue stats`.
//!
//! Holds always: reasons and codes, no remote text and no address.

use crate::types::{Failure, Host, Reason, Stage, Timestamp};

use super::dispatcher::Dispatcher;

/// One site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteStats {
    /// Its name: the names of its hosts; `unrouted:DOMAIN` for a domain without.
    pub site: String,
    /// Recipient domains that lead to it and have had work lately, sorted.
    pub hosts: Vec<Host>,
    /// Lanes, with an attempt under way or kept open for the next.
    pub connections: usize,
    /// Attempts under way.
    pub active: usize,
    /// Jobs that wait for a lane.
    pub ready: usize,
    /// Consecutive failures of the site.
    pub failures: u32,
    /// Until when it is left alone, if it is.
    pub backoff_until: Option<Timestamp>,
    /// Its last failure, if it had one lately.
    pub last_error: Option<SiteError>,
}

/// A site's failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteError {
    /// When.
    pub at: Timestamp,
    /// What.
    pub reason: Reason,
    /// Where in the session.
    pub stage: Stage,
    /// The enhanced status code (RFC 3463).
    pub status: String,
    /// The far side's reply code, if it replied.
    pub code: Option<u16>,
}

impl SiteError {
    fn new(at: Timestamp, failure: &Failure) -> Self {
        Self {
            at,
            reason: failure.reason,
            stage: failure.stage,
            status: failure.status.clone(),
            code: failure.reply.as_ref().map(|reply| reply.code),
        }
    }
}

impl Dispatcher {
    /// All sites, by name.
    pub(super) fn stats(&self) -> Vec<SiteStats> {
        let now = self.shared.now();
        let mut stats: Vec<SiteStats> = self
            .sites
            .iter()
            .map(|(site, state)| {
                let lanes = self.lanes.values();
                let ready = |host: &Host| self.hosts.get(host).map_or(0, |h| h.ready.len());
                let mut hosts: Vec<Host> = state.members.iter().cloned().collect();
                hosts.sort();
                SiteStats {
                    site: site.to_string(),
                    hosts,
                    connections: state.lanes,
                    active: lanes
                        .filter(|l| l.site == *site && l.work.is_some())
                        .count(),
                    ready: state.members.iter().map(ready).sum(),
                    failures: state.backoff.failures,
                    backoff_until: state.backoff.until(now, &self.shared.settings),
                    last_error: state
                        .backoff
                        .last
                        .as_ref()
                        .map(|(at, failure)| SiteError::new(*at, failure)),
                }
            })
            .collect();
        stats.sort_by(|a, b| a.site.cmp(&b.site));
        stats
    }
}
