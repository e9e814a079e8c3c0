//! How much a client's failed logins cost it, and what a successful one is worth.
//!
//! Holds always: the tables are bounded, an entry ends [`WINDOW`] after the last
//! failure, or [`GOOD`] after the last success, and the wait grows with each failure to a bound. A success takes
//! nothing back, or one good account would buy any number of guesses. Called by
//! `auth`; the time is tokio's, so that tests can advance it.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::hashing::Repute;
use super::limits::ClientKey;

/// Failed and successful logins, by client.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    clients: HashMap<ClientKey, Failures>,
    successes: HashMap<ClientKey, Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Throttle {
    /// Whether this client has failed too often to be listened to.
    pub(super) fn is_shut(&self, client: ClientKey, now: Instant) -> bool {
        self.clients
            .get(&client)
            .is_some_and(|f| f.count >= FAILURES_MAX && now.duration_since(f.last) < WINDOW)
    }

    /// What is known of a client.
    pub(super) fn repute(&self, client: ClientKey, now: Instant) -> Repute {
        let since = |then: Instant| now.duration_since(then);
        let failed = self.clients.get(&client);
        let succeeded = self.successes.get(&client);
        match (failed, succeeded) {
            (Some(failures), _) if since(failures.last) < WINDOW => Repute::Failed,
            (_, Some(success)) if since(*success) < GOOD => Repute::Good,
            _ => Repute::Unknown,
        }
    }

    /// Notes a success.
    pub(super) fn succeeded(&mut self, client: ClientKey, now: Instant) {
        if self.successes.len() >= CLIENTS_MAX && !self.successes.contains_key(&client) {
            let oldest = self.successes.iter().min_by_key(|(_, then)| **then);
            if let Some(oldest) = oldest.map(|(client, _)| *client) {
                self.successes.remove(&oldest);
            }
        }
        self.successes.insert(client, now);
    }

    /// Notes a failure; gives how long its reply must wait.
    pub(super) fn failed(&mut self, client: ClientKey, now: Instant) -> Duration {
        if self.clients.len() >= CLIENTS_MAX && !self.clients.contains_key(&client) {
            self.make_room(now);
        }
        let entry = self.clients.entry(client).or_insert(Failures {
            count: 0,
            last: now,
        });
        if now.duration_since(entry.last) >= WINDOW {
            entry.count = 0;
        }
        entry.count = entry.count.saturating_add(1);
        entry.last = now;
        FIRST_WAIT
            .saturating_mul(1 << entry.count.saturating_sub(1).min(10))
            .min(LONGEST_WAIT)
    }

    /// Drops what has lapsed, or else what failed longest ago.
    fn make_room(&mut self, now: Instant) {
        self.clients
            .retain(|_, failures| now.duration_since(failures.last) < WINDOW);
        if self.clients.len() < CLIENTS_MAX {
            return;
        }
        let oldest = self
            .clients
            .iter()
            .min_by_key(|(_, failures)| failures.last)
            .map(|(client, _)| *client);
        if let Some(client) = oldest {
            self.clients.remove(&client);
        }
    }
}

/// Failures after which a client is not listened to.
pub(super) const FAILURES_MAX: u32 = 20;
/// How long failures are held against a client.
pub(super) const WINDOW: Duration = Duration::from_secs(600);
/// What the first failure costs; each further one twice as much ...
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// ... up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(16);
/// How long a success speaks for a client.
pub(super) const GOOD: Duration = Duration::from_secs(7 * 86_400);
/// Clients remembered at most, of each kind.
const CLIENTS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    fn client(n: u32) -> ClientKey {
        ClientKey::of(IpAddr::V4(Ipv4Addr::from_bits(n)))
    }

    #[tokio::test(start_paused = true)]
    async fn waits_grow_and_lapse() {
        let mut throttle = Throttle::default();
        let waits: Vec<u64> = (0..7)
            .map(|_| throttle.failed(client(1), Instant::now()).as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 16, 16]);
        assert!(!throttle.is_shut(client(1), Instant::now()));
        for _ in 7..FAILURES_MAX {
            throttle.failed(client(1), Instant::now());
        }
        assert!(throttle.is_shut(client(1), Instant::now()));
        assert!(!throttle.is_shut(client(2), Instant::now()));
        tokio::time::advance(WINDOW).await;
        assert!(!throttle.is_shut(client(1), Instant::now()));
        assert_eq!(throttle.failed(client(1), Instant::now()), FIRST_WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_is_bounded() {
        let mut throttle = Throttle::default();
        for n in 0..=10_010 {
            throttle.failed(client(n), Instant::now());
            throttle.succeeded(client(n), Instant::now());
            assert!(throttle.clients.len() <= CLIENTS_MAX);
            assert!(throttle.successes.len() <= CLIENTS_MAX);
            if n == 9_990 {
                tokio::time::advance(Duration::from_secs(1)).await;
            }
        }
        assert!(throttle.clients.contains_key(&client(10_010)));
        assert!(throttle.successes.contains_key(&client(10_010)));
    }
}
