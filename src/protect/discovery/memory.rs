//! What is remembered of having looked: when, and whether there was something.
//!
//! Owns the memory and the [`Table`] behind it; the certificates themselves are the
//! key store's. Holds always: an address is known by a hash; what was looked up lately
//! enough is not looked up again; failures are forgotten with the process; numbers
//! are bounded; a table that fails costs a look more, never mail.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::{Cause, LookupError, Settings, Sought};
use crate::sys::Table;
use crate::types::{Domain, Mailbox, Timestamp};

/// After a failure nobody is asked again for so long.
const REST: Duration = Duration::from_secs(5 * 60);
/// What is older than this is forgotten at a start, whatever the settings say.
const OLD: Duration = Duration::from_secs(30 * 24 * 3600);

/// An address, or all addresses of a domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key(String);

impl Key {
    pub(super) fn of_address(address: &Mailbox) -> Self {
        let lower = address.to_string().to_ascii_lowercase();
        let hash = digest(&SHA256, lower.as_bytes());
        let hash = hash.as_ref().get(..16).unwrap_or_default();
        Self(format!("a{}", crate::protect::hex(hash)))
    }

    pub(super) fn of_domain(domain: &Domain) -> Self {
        Self(format!("d{domain}"))
    }

    /// The span, up to a fifth shorter, so that what came together does not stay
    /// together.
    fn spread(&self, span: Duration) -> Duration {
        let sum: u32 = self.0.bytes().map(u32::from).sum();
        span.saturating_sub(span / 500 * (sum % 100))
    }
}

/// What is remembered of one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Entry {
    /// When there was an answer last, and whether it was a key. Of a domain: it has
    /// none for any address.
    looked: Option<(Timestamp, bool)>,
    /// Of a domain: since when its `openpgpkey` is known not to be there.
    no_advanced: Option<Timestamp>,
    #[serde(skip)]
    failed: Option<Failed>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Failed {
    at: Timestamp,
    since: Timestamp,
    cause: Cause,
}

impl Entry {
    fn newest(&self) -> Timestamp {
        let failed = self.failed.map(|failed| failed.at);
        let looked = self.looked.map(|(at, _)| at);
        failed.max(looked).max(self.no_advanced).unwrap_or_default()
    }

    /// What is still true, if anything is.
    fn standing(&self, key: &Key, settings: &Settings, now: Timestamp) -> Option<Sought> {
        if let Some((at, found)) = self.looked {
            let span = match found {
                true => key.spread(settings.refresh),
                false => settings.not_found,
            };
            if !is_past(at, span, now) {
                return Some(Sought::Looked);
            }
        }
        let failed = self
            .failed
            .filter(|failed| !is_past(failed.at, REST, now))?;
        let Failed { since, cause, .. } = failed;
        Some(Sought::Failed(LookupError { cause, since }))
    }
}

/// The memory.
pub(super) struct Memory {
    entries: Mutex<HashMap<Key, Entry>>,
    table: Arc<dyn Table>,
}

impl Memory {
    /// With what the table holds. Blocks.
    pub(super) fn load(table: Arc<dyn Table>, now: Timestamp) -> Self {
        let stored = table.all().unwrap_or_else(|error| {
            tracing::warn!("which keys were looked up when can't be read: {error}");
            Vec::new()
        });
        let mut entries = HashMap::new();
        for (key, value) in stored {
            let entry = serde_json::from_slice::<Entry>(&value).ok();
            let entry = entry.filter(|entry| !is_past(entry.newest(), OLD, now));
            match (String::from_utf8(key), entry) {
                (Ok(key), Some(entry)) => {
                    entries.insert(Key(key), entry);
                }
                // As good as not there, if it can't be removed.
                (Ok(key), None) => drop(table.remove(key.as_bytes())),
                (Err(_), _) => {}
            }
        }
        Self {
            entries: Mutex::new(entries),
            table,
        }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        // Each change is one call: the map is whole even if a writer panicked.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was found out lately enough.
    pub(super) fn known(
        &self,
        address: &Key,
        domain: &Key,
        settings: &Settings,
        now: Timestamp,
    ) -> Option<Sought> {
        let entries = self.entries();
        let standing = |key: &Key| entries.get(key)?.standing(key, settings, now);
        standing(address).or_else(|| standing(domain))
    }

    /// Whether the domain is known to have no `openpgpkey`.
    pub(super) fn lacks_advanced(&self, domain: &Key, settings: &Settings, now: Timestamp) -> bool {
        let entries = self.entries();
        let since = entries.get(domain).and_then(|entry| entry.no_advanced);
        since.is_some_and(|since| !is_past(since, settings.not_found, now))
    }

    /// Notes an answer; gives whether a key was there before.
    pub(super) fn answered(&self, key: &Key, found: bool, now: Timestamp) -> bool {
        let mut entries = self.entries();
        let entry = entries.entry(key.clone()).or_default();
        let before = entry.looked.replace((now, found));
        entry.failed = None;
        before.is_some_and(|(_, found)| found)
    }

    /// Notes of a domain that it answered: so it is there, and well.
    pub(super) fn well(&self, domain: &Key) -> bool {
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(domain) else {
            return false;
        };
        entry.failed = None;
        entry.looked.take().is_some()
    }

    /// Notes whether the domain has an `openpgpkey`; gives whether that is new.
    pub(super) fn advanced(&self, domain: &Key, is_there: bool, now: Timestamp) -> bool {
        let mut entries = self.entries();
        if is_there {
            let entry = entries.get_mut(domain);
            return entry.is_some_and(|entry| entry.no_advanced.take().is_some());
        }
        let entry = entries.entry(domain.clone()).or_default();
        entry.no_advanced.replace(now).is_none()
    }

    /// Notes a failure; gives it with since when it is so, and whether it is the first.
    pub(super) fn failed(&self, key: &Key, cause: Cause, now: Timestamp) -> (LookupError, bool) {
        let mut entries = self.entries();
        let entry = entries.entry(key.clone()).or_default();
        let first = entry.failed.is_none();
        let since = entry.failed.map_or(now, |failed| failed.since);
        entry.failed = Some(Failed {
            at: now,
            since,
            cause,
        });
        (LookupError { cause, since }, first)
    }

    /// Writes what has changed, and forgets what is over the bound.
    pub(super) async fn store(self: &Arc<Self>, mut changed: Vec<Key>, most: usize) {
        changed.extend(self.shrink(most));
        if changed.is_empty() {
            return;
        }
        let memory = Arc::clone(self);
        let storing = tokio::task::spawn_blocking(move || {
            for key in changed {
                let entry = memory.entries().get(&key).cloned();
                let value = entry.and_then(|entry| serde_json::to_vec(&entry).ok());
                match value {
                    Some(value) => memory.table.put(key.0.as_bytes(), &value)?,
                    None => memory.table.remove(key.0.as_bytes())?,
                }
            }
            Ok::<(), crate::sys::TableError>(())
        });
        if let Ok(Err(error)) = storing.await {
            tracing::warn!("that a key was looked up can't be stored: {error}");
        }
    }

    /// The oldest tenth goes where there are too many; gives what went.
    fn shrink(&self, most: usize) -> Vec<Key> {
        let mut entries = self.entries();
        if entries.len() <= most {
            return Vec::new();
        }
        let mut ages: Vec<(Timestamp, Key)> = entries
            .iter()
            .map(|(key, entry)| (entry.newest(), key.clone()))
            .collect();
        ages.sort_by_key(|(at, _)| *at);
        let keep = most - most / 10;
        let gone = ages.into_iter().take(entries.len() - keep);
        let gone: Vec<Key> = gone.map(|(_, key)| key).collect();
        for key in &gone {
            entries.remove(key);
        }
        gone
    }

    /// How many are remembered.
    pub(super) fn len(&self) -> usize {
        self.entries().len()
    }
}

/// Whether `span` has gone by since `at`; a clock that was set back counts as that.
fn is_past(at: Timestamp, span: Duration, now: Timestamp) -> bool {
    now < at || now.since(at) >= span
}
