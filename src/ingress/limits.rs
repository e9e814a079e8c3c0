//! How many connections: in all, from one client, of one account, of strangers.
//!
//! A stranger is a connection of which nothing is known: it has not logged in,
//! comes from no listed network and has shown no listed certificate. Holds always:
//! strangers have at most nine tenths of all connections; whoever finds no room
//! takes the place of the stranger that crowds most, so that a thousand silent
//! connections keep nobody out; every connection counted is counted off once, by
//! its [`Slot`] or when it is displaced; the tables hold only clients and accounts
//! with a connection. Called by the listeners at accept and by the socket tasks.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::settings::Limits;

/// What counts as one client: an IPv4 address, or an IPv6 /64, which is the
/// least that one customer is given (RFC 6177 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientKey(IpAddr);

impl ClientKey {
    /// The key of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            v4 @ IpAddr::V4(_) => v4,
            IpAddr::V6(v6) => {
                let prefix = v6.to_bits() >> 64 << 64;
                IpAddr::V6(Ipv6Addr::from_bits(prefix))
            }
        })
    }
}

impl fmt::Display for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => v4.fmt(f),
            IpAddr::V6(v6) => write!(f, "{v6}/64"),
        }
    }
}

/// Why a connection is not taken, or not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Crowded {
    /// `connections` are open in all, or strangers have their share of them.
    #[error("Too many connections, try again later")]
    InAll,
    /// `connections_per_client` are open from this client.
    #[error("Too many connections from your address, try again later")]
    FromClient,
    /// This account has its share of all connections.
    #[error("Too many connections of this account, try again later")]
    OfAccount,
    /// The connection has just been displaced by another one.
    #[error("Too many connections, try again later")]
    Displaced,
}

/// What is known of a client when it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It comes from a network that the listener lists.
    Listed,
    /// It has yet to show who it is.
    Stranger,
}

/// Counts open connections.
#[derive(Debug)]
pub struct Connections {
    open: Mutex<Open>,
    farewells: Arc<Semaphore>,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            open: Mutex::default(),
            farewells: Arc::new(Semaphore::new(FAREWELLS_MAX)),
        }
    }
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_client: HashMap<ClientKey, usize>,
    by_account: HashMap<String, usize>,
    /// By number, so that the first has been here longest.
    strangers: BTreeMap<u64, Stranger>,
    strangers_by_client: HashMap<ClientKey, usize>,
    next: u64,
}

#[derive(Debug)]
struct Stranger {
    client: ClientKey,
    since: Instant,
    displaced: CancellationToken,
}

/// A counted connection; dropping it counts it off.
#[derive(Debug)]
pub struct Slot {
    connections: Arc<Connections>,
    number: u64,
    client: ClientKey,
    account: Option<String>,
    displaced: CancellationToken,
}

impl Connections {
    /// Counts a connection in, within the limits given; a stranger that was here
    /// before may have to go for it.
    ///
    /// # Errors
    /// [`Crowded`].
    pub fn admit(
        self: &Arc<Self>,
        address: IpAddr,
        standing: Standing,
        limits: &Limits,
    ) -> Result<Slot, Crowded> {
        let client = ClientKey::of(address);
        let mut open = self.open();
        let from_client = open.by_client.get(&client).copied().unwrap_or(0);
        if from_client >= limits.connections_per_client && !open.displace(Some(client), STAY) {
            return Err(Crowded::FromClient);
        }
        let no_room = open.all >= limits.connections
            || (standing == Standing::Stranger
                && open.strangers.len() >= strangers_max(limits.connections));
        let stay = match standing {
            Standing::Listed => Duration::ZERO,
            Standing::Stranger => STAY,
        };
        if no_room && !open.displace(None, stay) {
            return Err(Crowded::InAll);
        }
        let (number, displaced) = open.enter(client, standing);
        Ok(Slot {
            connections: Arc::clone(self),
            number,
            client,
            account: None,
            displaced,
        })
    }

    /// Leave to tell a client why it must go and to wait for it to hear: a few
    /// have it at once, in a flood the others are just closed.
    pub(super) fn farewell(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.farewells).try_acquire_owned().ok()
    }

    /// How many are open, as a figure, and how many of them are strangers'.
    pub(super) fn open_now(&self) -> (f64, f64) {
        let figure = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
        let open = self.open();
        (figure(open.all), figure(open.strangers.len()))
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn enter(&mut self, client: ClientKey, standing: Standing) -> (u64, CancellationToken) {
        let (number, displaced) = (self.next, CancellationToken::new());
        self.next += 1;
        self.all += 1;
        *self.by_client.entry(client).or_default() += 1;
        if standing == Standing::Stranger {
            *self.strangers_by_client.entry(client).or_default() += 1;
            let stranger = Stranger {
                client,
                since: Instant::now(),
                displaced: displaced.clone(),
            };
            self.strangers.insert(number, stranger);
        }
        (number, displaced)
    }

    fn leave(&mut self, client: ClientKey, account: Option<&str>) {
        self.all = self.all.saturating_sub(1);
        count_off(&mut self.by_client, &client);
        if let Some(account) = account {
            count_off(&mut self.by_account, account);
        }
    }

    /// It is a stranger no more.
    fn known(&mut self, number: u64) -> Option<Stranger> {
        let stranger = self.strangers.remove(&number)?;
        count_off(&mut self.strangers_by_client, &stranger.client);
        Some(stranger)
    }

    /// Ends the stranger that has been here for `stay` at least, of this client or
    /// of the one that has most; among equals, the one that came first.
    fn displace(&mut self, client: Option<ClientKey>, stay: Duration) -> bool {
        let eligible = |(_, stranger): &(&u64, &Stranger)| {
            stranger.since.elapsed() >= stay && client.is_none_or(|c| c == stranger.client)
        };
        let crowds = |(number, stranger): &(&u64, &Stranger)| {
            let many = self.strangers_by_client.get(&stranger.client);
            (many.copied(), Reverse(**number))
        };
        let found = self.strangers.iter().filter(eligible).max_by_key(crowds);
        let Some(stranger) = found.map(|(n, _)| *n).and_then(|n| self.known(n)) else {
            return false;
        };
        self.leave(stranger.client, None);
        stranger.displaced.cancel();
        true
    }
}

impl Slot {
    /// The client has shown a listed certificate.
    pub(super) fn listed(&mut self) {
        self.connections.open().known(self.number);
    }

    /// The client has logged in.
    ///
    /// # Errors
    /// [`Crowded::OfAccount`] and [`Crowded::Displaced`]: then it may not go on.
    pub(super) fn logged_in(&mut self, account: &str, connections: usize) -> Result<(), Crowded> {
        let mut open = self.connections.open();
        if self.displaced.is_cancelled() {
            return Err(Crowded::Displaced);
        }
        let of_account = open.by_account.get(account).copied().unwrap_or(0);
        if of_account >= connections.div_ceil(ACCOUNT_PART) {
            return Err(Crowded::OfAccount);
        }
        *open.by_account.entry(account.to_owned()).or_default() += 1;
        open.known(self.number);
        self.account = Some(account.to_owned());
        Ok(())
    }

    /// Cancelled when the connection must go for another one.
    pub(super) fn displaced(&self) -> &CancellationToken {
        &self.displaced
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.connections.open();
        // Who was displaced is counted off already.
        if !self.displaced.is_cancelled() {
            open.known(self.number);
            open.leave(self.client, self.account.as_deref());
        }
    }
}

fn count_off<K, Q>(counts: &mut HashMap<K, usize>, key: &Q)
where
    K: std::borrow::Borrow<Q> + Eq + std::hash::Hash,
    Q: Eq + std::hash::Hash + ?Sized,
{
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// Connections that strangers may have: all but a tenth.
fn strangers_max(connections: usize) -> usize {
    connections - connections / 10
}

/// How long a stranger is safe from other strangers: time to shake hands and to
/// log in. With the default limits, 450 new connections a second find room.
const STAY: Duration = Duration::from_secs(2);
/// One account may have one in so many of all connections: a stolen password must
/// not keep everybody else out.
const ACCOUNT_PART: usize = 2;
/// Clients told at once why they must go.
const FAREWELLS_MAX: usize = 64;

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;
