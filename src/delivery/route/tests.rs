//! Routing over a resolver whose answers are written down.

use std::collections::HashMap;
use std::sync::Mutex;

use super::*;
use crate::delivery::testing::{FakeDns, settings};
use crate::dns::DnsFailure;
use crate::sys::SystemEntropy;

fn router(dns: FakeDns, settings: Settings) -> Router {
    Router::new(
        Arc::new(settings),
        Arc::new(dns),
        Arc::new(SystemEntropy::default()),
    )
    .unwrap()
}

async fn hosts(dns: FakeDns, settings: Settings, domain: &str) -> Result<Vec<String>, Reason> {
    let route = router(dns, settings)
        .route(&Host::parse(domain).unwrap())
        .await;
    match route {
        Ok(route) => Ok(route.hosts.iter().map(|hop| hop.host.to_string()).collect()),
        Err(none) => {
            assert_eq!(none.permanent, none.failure.status.starts_with('5'));
            Err(none.failure.reason)
        }
    }
}

#[tokio::test]
async fn e32_null_mx() {
    let dns = FakeDns::new().mx("b.example", &[(0, ".")]);
    let route = router(dns, settings())
        .route(&Host::parse("b.example").unwrap())
        .await;
    let none = route.unwrap_err();
    assert!(none.permanent);
    assert_eq!(
        (none.failure.reason, none.failure.status.as_str()),
        (Reason::NullMx, "5.1.10")
    );
    // Mixed with a real one it is ignored.
    let dns = FakeDns::new().mx("b.example", &[(0, "."), (10, "mx.b.example")]);
    assert_eq!(
        hosts(dns, settings(), "b.example").await.unwrap(),
        ["mx.b.example"]
    );
}

#[tokio::test]
async fn e33_what_dns_says_and_does_not_say() {
    let cases: [(FakeDns, Result<&str, Reason>); 7] = [
        // NODATA: the domain's own address.
        (FakeDns::new().a("b.example", "192.0.2.1"), Ok("b.example")),
        (FakeDns::new().known("b.example"), Err(Reason::NoHost)),
        (FakeDns::new(), Err(Reason::NoSuchDomain)),
        (
            FakeDns::new().mx_fails("b.example", DnsFailure::Refused("SERVFAIL".into())),
            Err(Reason::DnsFailed),
        ),
        (
            // A failure is no NODATA, whatever the domain's address says.
            FakeDns::new()
                .a("b.example", "192.0.2.1")
                .mx_fails("b.example", DnsFailure::TimedOut),
            Err(Reason::DnsFailed),
        ),
        (
            FakeDns::new()
                .known("b.example")
                .a_fails("b.example", DnsFailure::TimedOut),
            Err(Reason::DnsFailed),
        ),
        (
            // MX records, none of them usable: no fallback to the address.
            FakeDns::new()
                .a("b.example", "192.0.2.1")
                .mx("b.example", &[]),
            Err(Reason::NoHost),
        ),
    ];
    for (dns, expected) in cases {
        let found = hosts(dns, settings(), "b.example").await;
        assert_eq!(
            found.map(|hosts| hosts.join(" ")),
            expected.map(str::to_owned)
        );
    }
    let none = no_route(Reason::NoSuchDomain);
    assert_eq!(
        (none.permanent, none.failure.status.as_str()),
        (true, "5.1.2")
    );
    assert!(!no_route(Reason::DnsFailed).permanent);
}

#[tokio::test]
async fn e36_self_in_the_mx_set() {
    let set = [
        (10, "mx1.b.example"),
        (20, "relay.example"),
        (20, "mx2.b.example"),
        (30, "mx3.b.example"),
    ];
    // By name: equal and worse preferences go.
    let dns = FakeDns::new().mx("b.example", &set);
    assert_eq!(
        hosts(dns, settings(), "b.example").await.unwrap(),
        ["mx1.b.example"]
    );
    // None left.
    let dns = FakeDns::new().mx("b.example", &[(10, "relay.example"), (20, "mx.b.example")]);
    assert_eq!(
        hosts(dns, settings(), "b.example").await,
        Err(Reason::MailLoop)
    );
    // By address and port.
    let own = |port| Settings {
        own_addresses: vec![std::net::SocketAddr::new(
            "192.0.2.9".parse().unwrap(),
            port,
        )],
        ..settings()
    };
    let dns = || {
        FakeDns::new()
            .mx(
                "b.example",
                &[(10, "mx1.b.example"), (20, "alias.b.example")],
            )
            .a("mx1.b.example", "192.0.2.1")
            .a("alias.b.example", "192.0.2.9")
    };
    assert_eq!(
        hosts(dns(), own(25), "b.example").await.unwrap(),
        ["mx1.b.example"]
    );
    assert_eq!(hosts(dns(), own(587), "b.example").await.unwrap().len(), 2);
    let found = hosts(FakeDns::new(), own(25), "[192.0.2.9]").await;
    assert_eq!(found, Err(Reason::MailLoop));
    // The implicit MX can be us, too.
    let dns = FakeDns::new().a("relay.example", "192.0.2.9");
    assert_eq!(
        hosts(dns, settings(), "relay.example").await,
        Err(Reason::MailLoop)
    );
}

#[tokio::test]
async fn e37_equal_preferences_are_shuffled_and_others_are_not() {
    let dns = FakeDns::new().mx(
        "b.example",
        &[
            (20, "c.example"),
            (10, "a1.example"),
            (10, "a2.example"),
            (10, "a3.example"),
        ],
    );
    let router = router(dns, settings());
    let host = Host::parse("b.example").unwrap();
    let mut firsts = HashMap::new();
    let mut site = None;
    for _ in 0..100 {
        let route = router.route(&host).await.unwrap();
        assert_eq!(route.hosts.last().unwrap().host.to_string(), "c.example");
        *firsts.entry(route.hosts[0].host.to_string()).or_insert(0) += 1;
        // The site does not depend on the order.
        assert_eq!(site.get_or_insert(route.site.clone()), &route.site);
    }
    assert_eq!(firsts.len(), 3, "{firsts:?}");
}

#[tokio::test]
async fn e38_at_most_50_mx() {
    let names: Vec<String> = (0..80).map(|n| format!("mx{n}.b.example")).collect();
    let set: Vec<(u16, &str)> = (0u16..).zip(names.iter().map(String::as_str)).collect();
    let found = hosts(
        FakeDns::new().mx("b.example", &set),
        settings(),
        "b.example",
    )
    .await;
    assert_eq!(found.unwrap().len(), 50);
}

#[tokio::test]
async fn fixed_routes_come_first() {
    let route = |domain: &str, host: &str, port| crate::delivery::RouteSettings {
        domain: domain.into(),
        hosts: vec![(Host::parse(host).unwrap(), port)],
        credentials: None,
    };
    let settings = Settings {
        routes: vec![
            route("b.example", "one.example", 25),
            route(".b.example", "two.example", 26),
            route("*", "[192.0.2.7]", 27),
        ],
        ..settings()
    };
    let router = router(FakeDns::new(), settings);
    for (host, site) in [
        ("b.example", "one.example:25"),
        ("x.b.example", "two.example:26"),
        ("y.x.b.example", "two.example:26"),
        ("xb.example", "[192.0.2.7]:27"),
        ("[198.51.100.1]", "[192.0.2.7]:27"),
    ] {
        let route = router.route(&Host::parse(host).unwrap()).await.unwrap();
        assert_eq!(route.site.as_str(), site, "{host}");
        assert!(route.fixed.is_some());
    }
    let bad = FixedRoutes::new(&[route("*.b.example", "one.example", 25)]);
    assert!(bad.is_err());
}

#[tokio::test]
async fn address_literals_are_their_own_host() {
    let found = hosts(FakeDns::new(), settings(), "[192.0.2.1]").await;
    assert_eq!(found.unwrap(), ["[192.0.2.1]"]);
}

#[tokio::test(start_paused = true)]
async fn routes_are_kept_for_their_ttl() {
    let dns = FakeDns::new().mx("b.example", &[(10, "mx.b.example")]);
    let asked = dns.asked.clone();
    let router = router(dns, settings());
    let host = Host::parse("b.example").unwrap();
    let count = |asked: &Mutex<Vec<String>>| asked.lock().unwrap().len();
    for _ in 0..3 {
        router.route(&host).await.unwrap();
    }
    assert_eq!(count(&asked), 1);
    tokio::time::advance(Duration::from_secs(61)).await;
    router.route(&host).await.unwrap();
    assert_eq!(count(&asked), 2);
}
