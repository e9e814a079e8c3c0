//! How many connections, in all and from one client.
//!
//! Holds always: every connection counted is counted off when its [`Slot`] is
//! dropped; the table holds only clients with a connection, so it is no larger
//! than the limit in all. Called by the listeners at accept.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

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

/// Why a connection is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Crowded {
    /// `connections` are open in all.
    #[error("Too many connections, try again later")]
    InAll,
    /// `connections_per_client` are open from this client.
    #[error("Too many connections from your address, try again later")]
    FromClient,
}

/// Counts open connections.
#[derive(Debug, Default)]
pub struct Connections {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_client: HashMap<ClientKey, usize>,
}

/// A counted connection; dropping it counts it off.
#[derive(Debug)]
pub struct Slot {
    connections: Arc<Connections>,
    client: ClientKey,
}

impl Connections {
    /// Counts a connection in, within the limits given.
    ///
    /// # Errors
    /// [`Crowded`].
    pub fn admit(
        self: &Arc<Self>,
        address: IpAddr,
        in_all: usize,
        per_client: usize,
    ) -> Result<Slot, Crowded> {
        let client = ClientKey::of(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= in_all {
            return Err(Crowded::InAll);
        }
        if open.by_client.get(&client).copied().unwrap_or(0) >= per_client {
            return Err(Crowded::FromClient);
        }
        open.all += 1;
        *open.by_client.entry(client).or_default() += 1;
        Ok(Slot {
            connections: Arc::clone(self),
            client,
        })
    }
}

impl Connections {
    /// How many are open, as a figure.
    pub(super) fn open_now(&self) -> f64 {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        f64::from(u32::try_from(open.all).unwrap_or(u32::MAX))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self
            .connections
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        open.all = open.all.saturating_sub(1);
        if let Some(count) = open.by_client.get_mut(&self.client) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.by_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn counts_in_and_off() {
        let connections = Arc::new(Connections::default());
        let admit = |text| connections.admit(ip(text), 3, 2);
        let first = admit("192.0.2.1").unwrap();
        let _second = admit("192.0.2.1").unwrap();
        assert_eq!(admit("192.0.2.1").unwrap_err(), Crowded::FromClient);
        let _third = admit("192.0.2.2").unwrap();
        assert_eq!(admit("192.0.2.3").unwrap_err(), Crowded::InAll);
        drop(first);
        let _again = admit("192.0.2.1").unwrap();
        assert_eq!(connections.open.lock().unwrap().by_client.len(), 2);
    }

    #[test]
    fn one_client_is_an_ipv6_prefix() {
        let key = |text| ClientKey::of(ip(text));
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }
}
