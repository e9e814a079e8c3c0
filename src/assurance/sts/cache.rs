//! The policies that are known, and the one way to come by one.
//!
//! Owns the cache (memory, behind it a [`Table`]) and what is remembered of domains
//! between attempts. Holds always: one look-up at a time for a domain, which others
//! of the same domain wait for; after a fetch that failed none is tried for
//! [`BACKOFF`] at least; numbers of policies and of domains are bounded; a table
//! that fails costs knowledge, never mail.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::timeout;

use super::policy::{OCTETS_MAX, Policy};
use super::record::{self, PolicyId};
use super::standing::{Absent, Held, Standing};
use super::{DNS_PATIENCE, refresh};
use crate::dns::{Answer, Resolver};
use crate::fetch::{Fetch, FetchError, Request};
use crate::sys::metrics::{Counter, Page};
use crate::sys::{Clock, Table};
use crate::types::{Domain, StsMode, StsSource, Timestamp};

/// The record is looked at once in so long; between, what it said holds.
const CHECK: Duration = Duration::from_secs(60);
/// The same after a failure of DNS.
const CHECK_FAILED: Duration = Duration::from_secs(5 * 60);
/// From the record's question to the policy's last octet.
const LOOK_UP: Duration = Duration::from_secs(60);
/// After a fetch that failed (RFC 8461 section 3.3: five minutes or longer); it
/// doubles up to [`BACKOFF_MAX`].
const BACKOFF: Duration = Duration::from_secs(5 * 60);
const BACKOFF_MAX: Duration = Duration::from_secs(60 * 60);
/// Two fetches because a host violated a policy lie so far apart.
const RENEWAL: Duration = Duration::from_secs(5 * 60);
/// Policies kept; of more, the one that was used least lately goes.
const POLICIES_MAX: usize = 10_000;
/// Domains remembered, with and without a policy.
const DOMAINS_MAX: usize = 20_000;
/// Uses are noted to the hour.
const USE_GRAIN: Duration = Duration::from_secs(3600);

/// Whom to ask. A reload of the configuration brings new ones.
#[derive(Clone)]
pub struct Sources {
    /// For the record.
    pub resolver: Arc<dyn Resolver>,
    /// For the policy.
    pub fetch: Arc<dyn Fetch>,
}

/// What was found out of one domain lately.
#[derive(Default)]
pub(super) struct Slot {
    /// When the record was looked at.
    looked_at: Option<Timestamp>,
    /// Why there is no policy; of use only where none is kept.
    absent: Option<Absent>,
    /// Since when DNS fails at the record.
    failing_since: Option<Timestamp>,
    /// When a policy was asked for last, and how often in a row in vain.
    fetched: Option<(Timestamp, u32)>,
}

/// The cache.
pub struct Cache {
    sources: RwLock<Sources>,
    table: Arc<dyn Table>,
    clock: Arc<dyn Clock>,
    policies: Mutex<HashMap<Domain, Arc<Held>>>,
    slots: Mutex<HashMap<Domain, Arc<tokio::sync::Mutex<Slot>>>>,
    fetches: Counter<1>,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cache({} policies)", self.policies().len())
    }
}

impl Cache {
    /// With what the table holds; what in it is no policy is left alone. Blocks.
    #[must_use]
    pub fn new(sources: Sources, table: Arc<dyn Table>, clock: Arc<dyn Clock>) -> Self {
        let stored = table.all().unwrap_or_else(|error| {
            tracing::warn!("the MTA-STS policies on disk can't be read: {error}");
            Vec::new()
        });
        let read = stored.into_iter().filter_map(|(key, value)| {
            let domain = Domain::parse(std::str::from_utf8(&key).ok()?).ok()?;
            let held: Held = serde_json::from_slice(&value).ok()?;
            Some((domain, Arc::new(held)))
        });
        Self {
            sources: RwLock::new(sources),
            clock,
            policies: Mutex::new(read.take(POLICIES_MAX).collect()),
            table,
            slots: Mutex::default(),
            fetches: Counter::with([["ok"], ["bad-policy"]]),
        }
    }

    /// Asks others from now on.
    pub fn use_sources(&self, sources: Sources) {
        *self.sources.write().unwrap_or_else(PoisonError::into_inner) = sources;
    }

    /// How the domain stands; may ask DNS and the domain's HTTPS server, for a
    /// minute at most, and waits for another attempt that does so.
    pub async fn of(&self, domain: &Domain) -> Standing {
        let slot = self.slot(domain);
        let mut slot = slot.lock().await;
        let now = self.clock.now();
        let wait = match slot.failing_since {
            Some(_) => CHECK_FAILED,
            None => CHECK,
        };
        if slot.looked_at.is_none_or(|at| is_past(at, wait, now)) {
            let standing = self.look_up(domain, &mut slot).await;
            self.note_use(domain);
            return standing;
        }
        self.note_use(domain);
        self.known(domain, &slot)
    }

    /// How the domain stands after a host violated `than`: the policy is looked up
    /// again, record and file, so that one that is out of date can be replaced
    /// (section 5.1); `None`: there is nothing new.
    pub async fn renewed(&self, domain: &Domain, than: &Standing) -> Option<Standing> {
        let slot = self.slot(domain);
        let mut slot = slot.lock().await;
        let now = self.clock.now();
        let rested = slot.fetched.is_none_or(|(at, _)| is_past(at, RENEWAL, now));
        if rested && let Some(held) = self.held(domain) {
            // The record's id if there is one; it need not have changed for the
            // policy to have been mended.
            let id = self.record(domain).await.ok().flatten();
            let id = id.unwrap_or_else(|| held.id.clone());
            let _ = timeout(LOOK_UP, self.fetch(domain, id, &mut slot)).await;
        }
        let standing = self.known(domain, &slot);
        let policy = |standing: &Standing| standing.held().map(|held| held.policy.clone());
        (policy(&standing) != policy(than)).then_some(standing)
    }

    /// Without asking anybody.
    fn known(&self, domain: &Domain, slot: &Slot) -> Standing {
        match (self.held(domain), slot.absent) {
            (Some(held), _) => Standing::Policy(held, StsSource::Cache),
            (None, Some(absent)) => Standing::Absent(absent),
            (None, None) if slot.failing_since.is_some() => Standing::Unknown,
            (None, None) => Standing::Absent(Absent::NoRecord),
        }
    }

    async fn look_up(&self, domain: &Domain, slot: &mut Slot) -> Standing {
        let looking = self.look(domain, slot);
        match timeout(LOOK_UP, looking).await {
            Ok(standing) => standing,
            Err(_) => {
                self.failed(domain, slot, FetchError::TimedOut);
                self.known(domain, slot)
            }
        }
    }

    /// Record and, if need be, policy (section 3.3).
    async fn look(&self, domain: &Domain, slot: &mut Slot) -> Standing {
        let found = self.record(domain).await;
        let now = self.clock.now();
        slot.looked_at = Some(now);
        let id = match found {
            Ok(id) => id,
            Err(Some(absent)) => {
                slot.failing_since = None;
                slot.absent = Some(absent);
                return self.known(domain, slot);
            }
            Err(None) => {
                let since = *slot.failing_since.get_or_insert(now);
                let waited = is_past(since, DNS_PATIENCE, now);
                slot.absent = waited.then_some(Absent::DnsFailed);
                return self.known(domain, slot);
            }
        };
        slot.failing_since = None;
        let Some(id) = id else {
            slot.absent = Some(Absent::NoRecord);
            return self.known(domain, slot);
        };
        if self.held(domain).is_some_and(|held| held.id == id) || slot.is_resting(now) {
            return self.known(domain, slot);
        }
        match self.fetch(domain, id, slot).await {
            Some(held) => Standing::Policy(held, StsSource::Fetched),
            None => self.known(domain, slot),
        }
    }

    /// The record's id; `Err(None)`: DNS failed.
    async fn record(&self, domain: &Domain) -> Result<Option<PolicyId>, Option<Absent>> {
        // A name that is too long to have a record has none.
        let Ok(name) = Domain::parse(&format!("_mta-sts.{domain}")) else {
            return Ok(None);
        };
        let resolver = self.sources().resolver;
        match resolver.txt(&name).await {
            Answer::Found { records, .. } => {
                let id = record::find(records.iter().map(Vec::as_slice));
                id.map(Some).ok_or(Some(Absent::BadRecord))
            }
            Answer::NoData | Answer::NoDomain => Ok(None),
            Answer::Failed(_) => Err(None),
        }
    }

    /// Fetches the policy and keeps it; `None`: what was kept stays.
    async fn fetch(&self, domain: &Domain, id: PolicyId, slot: &mut Slot) -> Option<Arc<Held>> {
        let Ok(host) = Domain::parse(&format!("mta-sts.{domain}")) else {
            self.failed(domain, slot, FetchError::NoHost);
            return None;
        };
        let request = Request {
            host,
            path: "/.well-known/mta-sts.txt".to_owned(),
            media_type: Some("text/plain"),
            octets: OCTETS_MAX,
            time: LOOK_UP,
        };
        let fetch = self.sources().fetch;
        let octets = match fetch.get(request).await {
            Ok(octets) => octets,
            Err(error) => {
                self.failed(domain, slot, error);
                return None;
            }
        };
        let policy = match Policy::parse(&octets) {
            Ok(policy) => policy,
            Err(error) => {
                self.fetches.count(["bad-policy"]);
                tracing::warn!(
                    "MTA-STS policy malformed: domain={domain} reason=\"{error}\" kept={}",
                    self.held(domain).is_some()
                );
                slot.in_vain(self.clock.now());
                slot.absent = Some(Absent::BadPolicy(error));
                return None;
            }
        };
        self.fetches.count(["ok"]);
        let now = self.clock.now();
        slot.fetched = Some((now, 0));
        slot.absent = None;
        let held = Arc::new(Held {
            policy,
            id,
            fetched_at: now,
            used_at: now,
        });
        self.keep(domain, held.clone()).await;
        Some(held)
    }

    fn failed(&self, domain: &Domain, slot: &mut Slot, error: FetchError) {
        self.fetches.count([error.as_str()]);
        let held = self.held(domain);
        // Section 3.3: administrators are told, but for a policy that asks nothing.
        if held
            .as_ref()
            .is_none_or(|held| held.policy.mode != StsMode::None)
        {
            tracing::warn!(
                "MTA-STS policy not fetched: domain={domain} reason=\"{error}\" kept={}",
                held.is_some()
            );
        }
        slot.in_vain(self.clock.now());
        slot.absent = Some(Absent::NotFetched(error));
    }

    /// Fetches a policy that is kept once more, before it expires.
    pub(super) async fn refresh(&self, domain: &Domain) {
        let slot = self.slot(domain);
        let mut slot = slot.lock().await;
        let now = self.clock.now();
        let Some(held) = self.held(domain) else {
            return;
        };
        if slot.is_resting(now) || !refresh::is_due(domain, &held, now) {
            return;
        }
        let id = self.record(domain).await.ok().flatten();
        let id = id.unwrap_or_else(|| held.id.clone());
        let used_at = held.used_at;
        if let Some(fresh) = self.fetch(domain, id, &mut slot).await {
            // Not the mail has asked for it.
            self.change(
                domain,
                Held {
                    used_at,
                    ..(*fresh).clone()
                },
            );
        }
    }

    /// Forgets what has expired; gives all others.
    pub(super) async fn sweep(&self) -> Vec<(Domain, Arc<Held>)> {
        let now = self.clock.now();
        let (gone, kept): (Vec<_>, Vec<_>) = {
            let policies = self.policies();
            let all = policies.iter().map(|(d, h)| (d.clone(), h.clone()));
            all.partition(|(_, held)| held.expires_at() <= now)
        };
        for (domain, _) in gone {
            self.policies().remove(&domain);
            self.store(domain, None).await;
        }
        kept
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn keep(&self, domain: &Domain, held: Arc<Held>) {
        let known = self.policies().insert(domain.clone(), held.clone());
        let changed = known.is_none_or(|known| known.policy != held.policy);
        if changed {
            let policy = &held.policy;
            let mx: Vec<String> = policy.mx.iter().take(10).map(ToString::to_string).collect();
            tracing::info!(
                "MTA-STS policy: domain={domain} mode={} id={} max_age={} mx={}",
                policy.mode.as_str(),
                held.id,
                policy.max_age.as_secs(),
                mx.join(",")
            );
        }
        self.store(domain.clone(), Some(held)).await;
        let oldest = {
            let policies = self.policies();
            let over = policies.len() > POLICIES_MAX;
            let oldest = policies.iter().filter(|(known, _)| *known != domain);
            let oldest = oldest.min_by_key(|(_, held)| held.used_at);
            oldest.filter(|_| over).map(|(domain, _)| domain.clone())
        };
        if let Some(oldest) = oldest {
            self.policies().remove(&oldest);
            self.store(oldest, None).await;
        }
    }

    async fn store(&self, domain: Domain, held: Option<Arc<Held>>) {
        let table = Arc::clone(&self.table);
        let storing = tokio::task::spawn_blocking(move || {
            let key = domain.as_str().as_bytes();
            match held.and_then(|held| serde_json::to_vec(&*held).ok()) {
                Some(value) => table.put(key, &value),
                None => table.remove(key),
            }
        });
        if let Ok(Err(error)) = storing.await {
            tracing::warn!("an MTA-STS policy can't be stored: {error}");
        }
    }

    /// What is kept and has not expired.
    fn held(&self, domain: &Domain) -> Option<Arc<Held>> {
        let now = self.clock.now();
        let held = self.policies().get(domain).cloned();
        held.filter(|held| now < held.expires_at())
    }

    fn note_use(&self, domain: &Domain) {
        let now = self.clock.now();
        let held = self.policies().get(domain).cloned();
        if let Some(held) = held.filter(|held| is_past(held.used_at, USE_GRAIN, now)) {
            self.change(
                domain,
                Held {
                    used_at: now,
                    ..(*held).clone()
                },
            );
        }
    }

    /// In memory; the table follows at the next fetch, at the latest in a day.
    fn change(&self, domain: &Domain, held: Held) {
        self.policies().insert(domain.clone(), Arc::new(held));
    }

    fn slot(&self, domain: &Domain) -> Arc<tokio::sync::Mutex<Slot>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= DOMAINS_MAX && !slots.contains_key(domain) {
            // What is in use stays; the rest is asked for again when it is wanted.
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        slots.entry(domain.clone()).or_default().clone()
    }

    fn sources(&self) -> Sources {
        let sources = self.sources.read();
        sources.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn policies(&self) -> MutexGuard<'_, HashMap<Domain, Arc<Held>>> {
        // Each change is one call: the map is whole even if a writer panicked.
        self.policies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept, for `service` to hand on.
    #[must_use]
    pub fn peek(&self, domain: &Domain) -> Option<Arc<Held>> {
        self.held(domain)
    }

    /// Writes the figures.
    pub fn write_figures(&self, page: &mut Page) {
        page.counter(
            "postern_sts_fetches_total",
            "MTA-STS policies fetched, by what came of it.",
            ["result"],
            &self.fetches,
        );
        let mut modes = StsMode::ALL.map(|mode| ([mode.as_str()], 0.0));
        for held in self.policies().values() {
            for (mode, count) in &mut modes {
                *count += f64::from(u8::from(mode[0] == held.policy.mode.as_str()));
            }
        }
        page.gauges(
            "postern_sts_policies",
            "MTA-STS policies that are kept, by mode.",
            ["mode"],
            modes,
        );
    }
}

impl Slot {
    fn in_vain(&mut self, now: Timestamp) {
        let before = self.fetched.map_or(0, |(_, failures)| failures);
        self.fetched = Some((now, before.saturating_add(1)));
    }

    /// Whether the last fetch failed too lately for another.
    fn is_resting(&self, now: Timestamp) -> bool {
        match self.fetched {
            None | Some((_, 0)) => false,
            Some((at, failures)) => {
                let doubled = BACKOFF.saturating_mul(1 << (failures - 1).min(8));
                !is_past(at, doubled.min(BACKOFF_MAX), now)
            }
        }
    }
}

/// Whether `span` has gone by since `at`; a clock that was set back counts as that.
fn is_past(at: Timestamp, span: Duration, now: Timestamp) -> bool {
    now < at || now.since(at) >= span
}
