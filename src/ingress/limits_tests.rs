//! Counting connections, with the clock paused.

use super::*;
use Standing::{Listed, Stranger as Unknown};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// One of many addresses.
fn address(n: u32) -> IpAddr {
    IpAddr::V4(std::net::Ipv4Addr::from_bits(0x0a00_0000 + n))
}

fn limits(connections: usize, connections_per_client: usize) -> Limits {
    Limits {
        connections,
        connections_per_client,
        ..Limits::default()
    }
}

struct Fixture {
    connections: Arc<Connections>,
    limits: Limits,
}

impl Fixture {
    fn new(connections: usize, per_client: usize) -> Self {
        Self {
            connections: Arc::default(),
            limits: limits(connections, per_client),
        }
    }

    fn admit(&self, address: IpAddr, standing: Standing) -> Result<Slot, Crowded> {
        self.connections.admit(address, standing, &self.limits)
    }

    /// Strangers, each from an address of its own.
    fn strangers(&self, numbers: std::ops::Range<u32>) -> Vec<Slot> {
        numbers
            .map(|n| self.admit(address(n), Unknown).unwrap())
            .collect()
    }

    fn login(&self, slot: &mut Slot, account: &str) -> Result<(), Crowded> {
        slot.logged_in(account, self.limits.connections)
    }
}

fn gone(slots: &[Slot]) -> Vec<usize> {
    let gone = |(n, slot): (usize, &Slot)| slot.displaced().is_cancelled().then_some(n);
    slots.iter().enumerate().filter_map(gone).collect()
}

#[tokio::test(start_paused = true)]
async fn counts_in_and_off() {
    let f = Fixture::new(3, 2);
    let admit = |text| f.admit(ip(text), Unknown);
    let first = admit("192.0.2.1").unwrap();
    let _second = admit("192.0.2.1").unwrap();
    assert_eq!(admit("192.0.2.1").unwrap_err(), Crowded::FromClient);
    let _third = admit("192.0.2.2").unwrap();
    assert_eq!(admit("192.0.2.3").unwrap_err(), Crowded::InAll);
    drop(first);
    let _again = admit("192.0.2.1").unwrap();
    assert_eq!(f.connections.open().by_client.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_tenth_is_kept_for_those_who_are_known() {
    let f = Fixture::new(100, 50);
    let strangers = f.strangers(0..90);
    assert_eq!(f.admit(address(99), Unknown).unwrap_err(), Crowded::InAll);
    let listed: Vec<Slot> = (100..110)
        .map(|n| f.admit(address(n), Listed).unwrap())
        .collect();
    assert!(gone(&strangers).is_empty(), "the reserve was enough");
    // Beyond it, the known have precedence, however short a stranger has stayed.
    let _more = f.admit(address(110), Listed).unwrap();
    assert_eq!(gone(&strangers), [0]);
    drop(listed);
    assert_eq!(f.connections.open_now(), (90.0, 89.0));
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_takes_the_place_of_a_stranger_who_has_stayed() {
    let f = Fixture::new(100, 50);
    let mut strangers = f.strangers(0..90);
    f.login(&mut strangers[0], "ward").unwrap();
    let _room = f.admit(address(200), Unknown).unwrap();
    assert_eq!(f.admit(address(201), Unknown).unwrap_err(), Crowded::InAll);
    tokio::time::advance(STAY).await;
    let mut newcomer = f.admit(address(201), Unknown).unwrap();
    assert_eq!(gone(&strangers), [1], "who logged in stays, the next goes");
    f.login(&mut newcomer, "ward").unwrap();
    // Who is displaced while it logs in may not go on.
    let error = f.login(&mut strangers[1], "ward").unwrap_err();
    assert_eq!(error, Crowded::Displaced);
    drop(strangers);
    assert_eq!(f.connections.open_now(), (2.0, 1.0));
    drop(newcomer);
    assert!(f.connections.open().by_account.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_crowds_most_goes_first() {
    let f = Fixture::new(100, 50);
    let mut strangers = f.strangers(0..60);
    let crowd = ip("192.0.2.1");
    strangers.extend((0..30).map(|_| f.admit(crowd, Unknown).unwrap()));
    tokio::time::advance(STAY).await;
    let _room = [1, 2].map(|n| f.admit(address(100 + n), Unknown).unwrap());
    assert_eq!(gone(&strangers), [60, 61]);
}

/// An ill device must not lock out the others behind its address.
#[tokio::test(start_paused = true)]
async fn a_client_at_its_limit_displaces_its_own() {
    let f = Fixture::new(100, 3);
    let mut own: Vec<Slot> = (0..3)
        .map(|_| f.admit(address(1), Unknown).unwrap())
        .collect();
    let other = f.admit(address(2), Unknown).unwrap();
    f.login(&mut own[0], "ward").unwrap();
    tokio::time::advance(STAY).await;
    own.push(f.admit(address(1), Unknown).unwrap());
    assert_eq!(gone(&own), [1]);
    assert!(!other.displaced().is_cancelled());
    assert_eq!(f.connections.open().by_client.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn one_account_has_half_at_most() {
    let f = Fixture::new(10, 50);
    let mut slots = f.strangers(0..6);
    for slot in &mut slots[..5] {
        f.login(slot, "stolen").unwrap();
    }
    let error = f.login(&mut slots[5], "stolen").unwrap_err();
    assert_eq!(error, Crowded::OfAccount);
    f.login(&mut slots[5], "other").unwrap();
}

#[test]
fn a_certificate_makes_known() {
    let f = Fixture::new(10, 50);
    let mut slot = f.admit(address(1), Unknown).unwrap();
    slot.listed();
    assert_eq!(f.connections.open_now(), (1.0, 0.0));
    drop(slot);
    assert_eq!(f.connections.open_now(), (0.0, 0.0));
}

#[test]
fn one_client_is_an_ipv6_prefix() {
    let key = |text| ClientKey::of(ip(text));
    assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
    assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
    assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
    assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
}
