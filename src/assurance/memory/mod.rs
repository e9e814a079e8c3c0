//! TLS memory: what was learnt of each domain's MX hosts (design section 3.4).
//!
//! Owns what is remembered, in memory and in a table, and the operator's exceptions
//! beside it. Holds always: a domain counts as encrypted when every host of it that
//! answered has finished a handshake on two different days, and lapses 180 days
//! after the last one; until then nothing that a host or a message shows takes that
//! away, only the operator does (`domain allow`, `domain forget`). It forbids
//! `cleartext` and nothing else. Bounded in domains and in hosts of each. Fed by
//! `service` with what settlements and probes learnt; read by `delivery` through
//! [`Remembers`].

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::sys::{Table, TableError};
use crate::types::{Domain, Learnt, Remembered, Timestamp};

mod exceptions;
mod record;
#[cfg(test)]
mod tests;

pub use exceptions::{ExceptionError, Exceptions};
pub use record::{Better, DomainRecord, HostRecord, Turn};

/// How long after the last handshake a domain is remembered.
pub const LAPSE: Duration = Duration::from_secs(180 * 24 * 3600);
/// How long a domain that does no TLS is known for that.
pub const PLAIN_LAPSE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Domains at most.
const DOMAINS_MAX: usize = 50_000;
/// Domains made room for at once, where there are too many.
const ROOM: usize = 500;

/// What delivery asks at each attempt.
pub trait Remembers: Send + Sync {
    /// What is remembered of a domain.
    fn regard(&self, domain: &Domain, now: Timestamp) -> Remembered;
}

/// Remembers nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoMemory;

impl Remembers for NoMemory {
    fn regard(&self, _: &Domain, _: Timestamp) -> Remembered {
        Remembered::Nothing
    }
}

/// The memory; see the module.
pub struct TlsMemory {
    table: Arc<dyn Table>,
    exceptions: Exceptions,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    domains: HashMap<Domain, DomainRecord>,
    /// Those that differ from the table.
    changed: HashSet<Domain>,
    /// Those that differ from it by no more than when they were last seen.
    aged: HashSet<Domain>,
}

/// How many domains are remembered, for the dashboard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those that count as encrypted.
    pub encrypted: u64,
    /// Those known not to do TLS.
    pub plain: u64,
    /// All others.
    pub other: u64,
}

impl TlsMemory {
    /// Reads what is in the table; an entry that makes no sense is left out, and so
    /// is all of it where the table can't be read, with a log line. Blocks.
    #[must_use]
    pub fn open(table: Arc<dyn Table>, exceptions: Exceptions) -> Self {
        let mut state = State::default();
        let pairs = table.all().unwrap_or_else(|error| {
            tracing::error!("the TLS memory begins anew: {error}");
            Vec::new()
        });
        for (key, value) in pairs {
            let domain = std::str::from_utf8(&key).ok().map(Domain::parse);
            match (domain, serde_json::from_slice(&value)) {
                (Some(Ok(domain)), Ok(record)) => {
                    state.domains.insert(domain, record);
                }
                _ => tracing::warn!("an entry of the TLS memory makes no sense; it is left out"),
            }
        }
        Self {
            table,
            exceptions,
            state: Mutex::new(state),
        }
    }

    /// Takes in what was learnt; says how the domain got better or worse by it.
    pub fn learn(&self, learnt: &Learnt) -> Vec<Turn> {
        let mut state = self.state();
        if !state.domains.contains_key(&learnt.domain) {
            if !learnt.hosts.iter().any(record::is_answer) {
                return Vec::new();
            }
            state.make_room();
        }
        let record = state.domains.entry(learnt.domain.clone()).or_default();
        let before = record.gist();
        let turns = record.learn(learnt);
        let has_news = record.gist() != before;
        let differ = match has_news {
            true => &mut state.changed,
            false => &mut state.aged,
        };
        differ.insert(learnt.domain.clone());
        turns
    }

    /// Writes what has changed to the table, but for when domains were last seen:
    /// [`TlsMemory::save_all`] does. Blocks.
    ///
    /// # Errors
    /// [`TableError`]; what was not written is tried again the next time.
    pub fn save(&self) -> Result<(), TableError> {
        let changed = std::mem::take(&mut self.state().changed);
        self.write(changed)
    }

    /// Writes all that differs from the table. Blocks.
    ///
    /// # Errors
    /// As [`TlsMemory::save`].
    pub fn save_all(&self) -> Result<(), TableError> {
        let changed = {
            let mut state = self.state();
            let aged = std::mem::take(&mut state.aged);
            let mut changed = std::mem::take(&mut state.changed);
            changed.extend(aged);
            changed
        };
        self.write(changed)
    }

    fn write(&self, changed: HashSet<Domain>) -> Result<(), TableError> {
        let mut result = Ok(());
        for domain in changed {
            let record = self.get(&domain);
            let key = domain.as_str().as_bytes();
            let written = match record.as_ref().map(serde_json::to_vec) {
                Some(Ok(value)) => self.table.put(key, &value),
                Some(Err(e)) => Err(TableError {
                    table: "tls-memory".into(),
                    cause: e.into(),
                }),
                None => self.table.remove(key),
            };
            if let Err(error) = written {
                self.state().changed.insert(domain);
                result = Err(error);
            }
        }
        result
    }

    /// What is remembered of a domain.
    #[must_use]
    pub fn get(&self, domain: &Domain) -> Option<DomainRecord> {
        self.state().domains.get(domain).cloned()
    }

    /// All domains, in the order of their names.
    #[must_use]
    pub fn all(&self) -> Vec<(Domain, DomainRecord)> {
        let state = self.state();
        let domains = state.domains.iter();
        let mut all: Vec<_> = domains.map(|(d, r)| (d.clone(), r.clone())).collect();
        all.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
        all
    }

    /// Forgets a domain, by the operator's word; says whether it was known.
    pub fn forget(&self, domain: &Domain) -> bool {
        let mut state = self.state();
        state.changed.insert(domain.clone());
        state.domains.remove(domain).is_some()
    }

    /// Whether a domain is known not to do TLS, and no exception lets it be.
    #[must_use]
    pub fn lacks_tls(&self, domain: &Domain, now: Timestamp) -> bool {
        let lacks = self
            .state()
            .domains
            .get(domain)
            .is_some_and(|record| record.lacks_tls(now));
        lacks && self.exceptions.get(domain, now).is_none()
    }

    /// The domains that were sent to since `since` with the time of their last probe
    /// (or when they were first heard of), longest ago first: who is to be probed.
    #[must_use]
    pub fn active(&self, since: Timestamp) -> Vec<(Domain, Timestamp)> {
        let state = self.state();
        let active = state.domains.iter().filter(|(_, r)| r.last_mail >= since);
        let mut active: Vec<_> = active
            .map(|(d, r)| (d.clone(), r.last_probe.max(r.first_seen)))
            .collect();
        active.sort_by(|(a, x), (b, y)| x.cmp(y).then(a.as_str().cmp(b.as_str())));
        active
    }

    /// Counts.
    #[must_use]
    pub fn counts(&self, now: Timestamp) -> Counts {
        let mut counts = Counts::default();
        for record in self.state().domains.values() {
            match (record.is_encrypted(now), record.lacks_tls(now)) {
                (true, _) => counts.encrypted += 1,
                (false, true) => counts.plain += 1,
                (false, false) => counts.other += 1,
            }
        }
        counts
    }

    /// The operator's exceptions.
    #[must_use]
    pub fn exceptions(&self) -> &Exceptions {
        &self.exceptions
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Records are changed whole, under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remembers for TlsMemory {
    fn regard(&self, domain: &Domain, now: Timestamp) -> Remembered {
        let is_encrypted = self
            .state()
            .domains
            .get(domain)
            .is_some_and(|record| record.is_encrypted(now));
        match (is_encrypted, self.exceptions.get(domain, now)) {
            (false, _) => Remembered::Nothing,
            (true, None) => Remembered::Encrypted,
            (true, Some(waiver)) => Remembered::Waived(waiver),
        }
    }
}

impl State {
    /// Where there are too many domains, those go first that count for least and
    /// were heard of longest ago.
    fn make_room(&mut self) {
        if self.domains.len() < DOMAINS_MAX {
            return;
        }
        let domains = self.domains.iter();
        let mut rank: Vec<_> = domains
            .map(|(d, r)| (r.encrypted_since.is_some(), r.last_seen, d.clone()))
            .collect();
        rank.sort_by_key(|a| (a.0, a.1));
        for (_, _, domain) in rank.into_iter().take(ROOM) {
            self.domains.remove(&domain);
            self.changed.insert(domain);
        }
    }
}

impl std::fmt::Debug for TlsMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TlsMemory({} domains)", self.state().domains.len())
    }
}
