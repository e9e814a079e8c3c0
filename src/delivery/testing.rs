//! What the tests of this room share: settings, and a DNS written down.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::settings::{BLOCKED, Prefer, Settings};
use crate::dns::{Answer, DnsFailure, Families, Mx, Resolver};
use crate::types::{BoxFuture, Domain};

/// Defaults, as `relay.example`.
pub(super) fn settings() -> Settings {
    Settings {
        hostname: Domain::parse("relay.example").unwrap(),
        port: 25,
        sources: vec![],
        prefer: Prefer::Ipv6,
        blocked: BLOCKED.iter().map(|net| net.parse().unwrap()).collect(),
        own_addresses: vec![],
        routes: vec![],
        roots: vec![],
    }
}

/// A resolver whose answers are written down. A name without any is NXDOMAIN.
#[derive(Default)]
pub(super) struct FakeDns {
    mx: HashMap<String, Answer<Mx>>,
    addresses: HashMap<String, Answer<IpAddr>>,
    /// The MX questions asked.
    pub(super) asked: Arc<Mutex<Vec<String>>>,
}

const TTL: Duration = Duration::from_secs(60);

impl FakeDns {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn mx(mut self, domain: &str, set: &[(u16, &str)]) -> Self {
        let records = set
            .iter()
            .map(|(preference, name)| Mx {
                preference: *preference,
                exchange: Domain::parse(name).ok(),
            })
            .collect();
        let answer = Answer::Found { records, ttl: TTL };
        self.mx.insert(domain.into(), answer);
        self
    }

    pub(super) fn mx_fails(mut self, domain: &str, why: DnsFailure) -> Self {
        self.mx.insert(domain.into(), Answer::Failed(why));
        self
    }

    pub(super) fn a(mut self, host: &str, ip: &str) -> Self {
        let ip = ip.parse().unwrap();
        match self.addresses.get_mut(host) {
            Some(Answer::Found { records, .. }) => records.push(ip),
            _ => {
                let records = vec![ip];
                let answer = Answer::Found { records, ttl: TTL };
                self.addresses.insert(host.into(), answer);
            }
        }
        self
    }

    pub(super) fn a_fails(mut self, host: &str, why: DnsFailure) -> Self {
        self.addresses.insert(host.into(), Answer::Failed(why));
        self
    }

    /// The name exists, without records.
    pub(super) fn known(mut self, host: &str) -> Self {
        self.addresses.insert(host.into(), Answer::NoData);
        self
    }
}

impl Resolver for FakeDns {
    fn mx(&self, domain: &Domain) -> BoxFuture<'_, Answer<Mx>> {
        let name = domain.as_str();
        self.asked.lock().unwrap().push(name.to_owned());
        let answer = match self.mx.get(name) {
            Some(answer) => answer.clone(),
            None if self.addresses.contains_key(name) => Answer::NoData,
            None => Answer::NoDomain,
        };
        Box::pin(std::future::ready(answer))
    }

    fn addresses(&self, host: &Domain, _families: Families) -> BoxFuture<'_, Answer<IpAddr>> {
        let name = host.as_str();
        let answer = match self.addresses.get(name) {
            Some(answer) => answer.clone(),
            None if self.mx.contains_key(name) => Answer::NoData,
            None => Answer::NoDomain,
        };
        Box::pin(std::future::ready(answer))
    }

    fn txt(&self, _name: &Domain) -> BoxFuture<'_, Answer<Vec<u8>>> {
        Box::pin(std::future::ready(Answer::NoDomain))
    }
}
