//! How fast is asked: a few at a time in all and at one domain, and so many a minute
//! at one domain.
//!
//! Holds always: whoever finds no room within [`WAIT_MAX`] is told so, and asks again
//! with its message's next attempt; what is known of domains here is forgotten as
//! soon as it makes no difference.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use crate::types::Domain;

/// Looks at a time, in all.
const AT_ONCE: usize = 16;
/// Looks at a time at one domain.
const AT_ONCE_DOMAIN: usize = 4;
/// Between two looks at one domain, in the long run: 240 a minute.
const INTERVAL: Duration = Duration::from_millis(250);
/// Looks at one domain that need not wait, where there were none before.
const BURST: u32 = 40;
/// How long a look may have to wait for its turn.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// Domains above which those that make no difference are forgotten.
const DOMAINS: usize = 1_000;

/// Lets looks through.
#[derive(Debug)]
pub(super) struct Pace {
    in_all: Arc<Semaphore>,
    domains: Mutex<HashMap<Domain, Turnstile>>,
}

#[derive(Debug)]
struct Turnstile {
    gate: Arc<Semaphore>,
    /// When the next look would be due if there were no burst.
    next: Instant,
}

/// Leave to look, until dropped.
#[derive(Debug)]
pub(super) struct Pass {
    _domain: OwnedSemaphorePermit,
    _in_all: OwnedSemaphorePermit,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            in_all: Arc::new(Semaphore::new(AT_ONCE)),
            domains: Mutex::default(),
        }
    }
}

impl Pace {
    /// Waits for leave to ask a domain; `None`: it would take too long.
    pub(super) async fn enter(&self, domain: &Domain) -> Option<Pass> {
        let (gate, wait) = self.turn(domain)?;
        sleep(wait).await;
        let in_all = Arc::clone(&self.in_all);
        let passing = async {
            let domain = gate.acquire_owned().await.ok()?;
            let in_all = in_all.acquire_owned().await.ok()?;
            Some(Pass {
                _domain: domain,
                _in_all: in_all,
            })
        };
        timeout(WAIT_MAX, passing).await.ok()?
    }

    /// How long to wait for one's turn; `None`: too long.
    fn turn(&self, domain: &Domain) -> Option<(Arc<Semaphore>, Duration)> {
        let now = Instant::now();
        let mut domains = self.domains.lock().unwrap_or_else(PoisonError::into_inner);
        if domains.len() >= DOMAINS {
            domains.retain(|_, one| one.next > now || Arc::strong_count(&one.gate) > 1);
        }
        let turnstile = domains.entry(domain.clone()).or_insert_with(|| Turnstile {
            gate: Arc::new(Semaphore::new(AT_ONCE_DOMAIN)),
            next: now,
        });
        let due = turnstile.next.max(now);
        let wait = due.saturating_duration_since(now + INTERVAL * BURST);
        if wait > WAIT_MAX {
            return None;
        }
        turnstile.next = due + INTERVAL;
        Some((Arc::clone(&turnstile.gate), wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_then_so_many_a_minute_then_no_more() {
        let pace = Pace::default();
        let domain = Domain::parse("clinic.example").unwrap();
        let start = Instant::now();
        for _ in 0..BURST {
            assert!(pace.enter(&domain).await.is_some());
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..240 {
            assert!(pace.enter(&domain).await.is_some());
        }
        let took = start.elapsed().as_secs();
        assert!((58..=62).contains(&took), "{took}");
        // Of a thousand at once, those that can be served in time are.
        let mut turns = 0;
        while pace.turn(&domain).is_some() {
            turns += 1;
        }
        assert!((80..=81).contains(&turns), "{turns}");
        let other = Domain::parse("other.example").unwrap();
        assert!(pace.enter(&other).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_at_a_time() {
        let pace = Pace::default();
        let domain = Domain::parse("clinic.example").unwrap();
        let mut passes = Vec::new();
        for _ in 0..AT_ONCE_DOMAIN {
            passes.push(pace.enter(&domain).await.unwrap());
        }
        assert!(pace.enter(&domain).await.is_none());
        passes.pop();
        assert!(pace.enter(&domain).await.is_some());
        for number in 0..AT_ONCE - passes.len() {
            let other = Domain::parse(&format!("d{number}.example")).unwrap();
            passes.push(pace.enter(&other).await.unwrap());
        }
        let other = Domain::parse("late.example").unwrap();
        assert!(pace.enter(&other).await.is_none());
    }
}
