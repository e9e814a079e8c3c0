//! The real resolver against the lab's DNS server: what an answer is taken for.

// A test may fail by panicking.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use postern::dns::{Answer, DnsFailure, DnsResolver, Families, Resolver, Settings};
use postern::types::Domain;
use postern_lab::DnsServer;

struct World {
    dns: DnsServer,
    resolver: DnsResolver,
}

fn world() -> World {
    let dns = DnsServer::start("127.0.0.1:0".parse().unwrap());
    let settings = Settings {
        servers: vec![dns.addr()],
    };
    World {
        resolver: DnsResolver::new(&settings).unwrap(),
        dns,
    }
}

impl World {
    /// The MX hosts, or the word for what there is instead.
    async fn mx(&self, name: &str) -> String {
        match self.resolver.mx(&Domain::parse(name).unwrap()).await {
            Answer::Found { records, ttl } => {
                assert!(ttl >= Duration::from_secs(5) && ttl <= Duration::from_secs(3600));
                let hosts = records.iter().map(|mx| {
                    let host = mx.exchange.as_ref().map_or(".", Domain::as_str);
                    format!("{} {host}", mx.preference)
                });
                hosts.collect::<Vec<_>>().join(", ")
            }
            answer => word(&answer),
        }
    }

    async fn addresses(&self, name: &str, families: Families) -> String {
        let name = Domain::parse(name).unwrap();
        match self.resolver.addresses(&name, families).await {
            Answer::Found { records, .. } => {
                let mut ips: Vec<String> = records.iter().map(ToString::to_string).collect();
                ips.sort();
                ips.join(" ")
            }
            answer => word(&answer),
        }
    }
}

fn word<T>(answer: &Answer<T>) -> String {
    match answer {
        Answer::Found { .. } => "found",
        Answer::NoData => "nodata",
        Answer::NoDomain => "nodomain",
        Answer::Failed(DnsFailure::TimedOut) => "timed out",
        Answer::Failed(DnsFailure::Refused(_)) => "refused",
        Answer::Failed(DnsFailure::Broken) => "broken",
    }
    .to_owned()
}

#[tokio::test]
async fn e33_found_nodata_nodomain_failed() {
    let world = world();
    world
        .dns
        .mx("b.example", 20, "mx2.b.example")
        .mx("b.example", 10, "mx1.b.example");
    world
        .dns
        .a("only-a.example", "192.0.2.1")
        .servfail("sick.example");
    assert_eq!(
        world.mx("b.example").await,
        "10 mx1.b.example, 20 mx2.b.example"
    );
    assert_eq!(world.mx("only-a.example").await, "nodata");
    assert_eq!(world.mx("nowhere.example").await, "nodomain");
    assert_eq!(world.mx("sick.example").await, "refused");
    assert_eq!(
        world.addresses("sick.example", Families::Both).await,
        "refused"
    );
    assert_eq!(
        world.addresses("nowhere.example", Families::Both).await,
        "nodomain"
    );
    assert_eq!(world.addresses("b.example", Families::Both).await, "nodata");
}

#[tokio::test]
async fn e32_e35_null_mx_and_ip_literals() {
    let world = world();
    world.dns.null_mx("null.example");
    world
        .dns
        .mx("literal.example", 10, "192.0.2.1")
        .mx("mixed.example", 5, "192.0.2.1");
    world.dns.mx("mixed.example", 10, "mx.example");
    assert_eq!(world.mx("null.example").await, "0 .");
    assert_eq!(world.mx("literal.example").await, "");
    assert_eq!(world.mx("mixed.example").await, "10 mx.example");
}

#[tokio::test]
async fn e34_cnames_are_followed() {
    let world = world();
    world
        .dns
        .cname("alias.example", "b.example")
        .mx("b.example", 10, "mx.b.example");
    world
        .dns
        .cname("mx.b.example", "host.example")
        .a("host.example", "192.0.2.1");
    // The MX keeps its own name; only its address comes from elsewhere.
    assert_eq!(world.mx("alias.example").await, "10 mx.b.example");
    assert_eq!(
        world.addresses("mx.b.example", Families::Both).await,
        "192.0.2.1"
    );
}

#[tokio::test]
async fn e37_both_families() {
    let world = world();
    world
        .dns
        .a("mx.example", "192.0.2.1")
        .aaaa("mx.example", "2001:db8::1");
    let both = world.addresses("mx.example", Families::Both).await;
    assert_eq!(both, "192.0.2.1 2001:db8::1");
    assert_eq!(
        world.addresses("mx.example", Families::V4).await,
        "192.0.2.1"
    );
}

#[tokio::test]
async fn e38_truncation_caps_and_a_budget() {
    let world = world();
    world.dns.truncate("large.example").silent("silent.example");
    for n in 0..80 {
        world
            .dns
            .mx("large.example", 100 - n, &format!("mx{n}.large.example"));
    }
    let hosts = world.mx("large.example").await;
    assert_eq!(hosts.split(", ").count(), 50);
    assert!(hosts.starts_with("21 mx79.large.example, 22 "), "{hosts}");
    let start = Instant::now();
    assert_eq!(world.mx("silent.example").await, "timed out");
    assert!(
        start.elapsed() < Duration::from_secs(11),
        "{:?}",
        start.elapsed()
    );
}
