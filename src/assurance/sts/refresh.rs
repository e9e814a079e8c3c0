//! Policies are fetched again before they expire (RFC 8461 sections 3.3 and 10.2),
//! so that who keeps us from the domain's HTTPS server for a while gains nothing.
//!
//! Holds always: a policy is asked for once a day, or in the middle of its time if
//! that is shorter, spread so that those that came together don't stay together;
//! one that no mail has asked for in [`UNUSED`] is left to expire; few at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::cache::Cache;
use super::standing::Held;
use crate::types::{Domain, Timestamp};

/// Between two looks at what is due.
const STEP: Duration = Duration::from_secs(60);
/// A policy is fetched again after so long at most.
const DAILY: Duration = Duration::from_secs(24 * 60 * 60);
/// Without any mail for so long a policy is not refreshed.
const UNUSED: Duration = Duration::from_secs(60 * 24 * 60 * 60);
/// Fetches at a time.
const AT_ONCE: usize = 4;

/// Whether a policy is to be fetched again.
pub(super) fn is_due(domain: &Domain, held: &Held, now: Timestamp) -> bool {
    let span = DAILY.min(held.policy.max_age / 2);
    // Up to a fifth earlier, by the domain's name: no two processes differ in it.
    let sum: u32 = domain.as_str().bytes().map(u32::from).sum();
    let early = span / 500 * (sum % 100);
    let used = now.since(held.used_at) < UNUSED;
    // Fetched in the future: the clock was set back, and what it says of the policy's
    // end is worth nothing.
    let aged = now < held.fetched_at || now.since(held.fetched_at) >= span.saturating_sub(early);
    used && aged
}

impl Cache {
    /// One look at all that is kept.
    pub async fn refresh_due(self: &Arc<Self>) {
        let now = self.now();
        let kept = self.sweep().await;
        let due = kept.into_iter().filter(|(d, held)| is_due(d, held, now));
        let due: Vec<Domain> = due.map(|(domain, _)| domain).collect();
        for few in due.chunks(AT_ONCE) {
            let mut tasks = tokio::task::JoinSet::new();
            for domain in few {
                let (cache, domain) = (Arc::clone(self), domain.clone());
                tasks.spawn(async move { cache.refresh(&domain).await });
            }
            while tasks.join_next().await.is_some() {}
        }
    }

    /// Refreshes for ever.
    pub async fn keep_fresh(self: Arc<Self>) {
        let mut ticks = interval(STEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.refresh_due().await;
        }
    }
}
