//! `[security] observe`: everything is delivered that can be, and the record says
//! what the configured list would have come to.

use super::*;
use crate::types::{Reason, Would};

impl World {
    fn observe(mut self) -> Self {
        self.policy.observe = true;
        self
    }
}

/// `tls`, or `bounce no-starttls`.
fn would(report: &Report) -> Vec<String> {
    let words = report.recipients.iter().map(|r| {
        let Would { method, reason } = r.evidence.would.unwrap();
        reason.map_or(method.to_string(), |reason| format!("{method} {reason}"))
    });
    words.collect()
}

fn bare() -> FarSide {
    FarSide::new(None)
}

#[tokio::test(start_paused = true)]
async fn what_the_configured_list_would_have_come_to() {
    use TlsLevel::{Authenticated, Encrypted};
    let modern = |ca: &Ca| FarSide::new(ca.tls("mx1.b.example"));
    let stranger = |_: &Ca| FarSide::new(Ca::new().tls("mx1.b.example"));
    let none = |_: &Ca| bare();
    type Make<'a> = &'a dyn Fn(&Ca) -> FarSide;
    let cases: [(Make<'_>, &[&str], TlsLevel, Method, &str); 9] = [
        (&modern, &["tls"], Authenticated, Method::Tls, "tls"),
        (&modern, &["tls", "drop"], Encrypted, Method::Tls, "tls"),
        (&stranger, &["tls"], Encrypted, Method::Tls, "tls"),
        (
            &stranger,
            &["tls"],
            Authenticated,
            Method::Tls,
            "bounce certificate-untrusted",
        ),
        (
            &stranger,
            &["tls", "drop"],
            Authenticated,
            Method::Tls,
            "drop certificate-untrusted",
        ),
        // What a certificate says does not open the door to cleartext.
        (
            &stranger,
            &["tls", "cleartext"],
            Authenticated,
            Method::Tls,
            "bounce certificate-untrusted",
        ),
        (
            &none,
            &["tls", "bounce"],
            Encrypted,
            Method::Cleartext,
            "bounce no-starttls",
        ),
        (
            &none,
            &["tls", "drop"],
            Encrypted,
            Method::Cleartext,
            "drop no-starttls",
        ),
        (
            &none,
            &["tls", "cleartext"],
            Encrypted,
            Method::Cleartext,
            "cleartext",
        ),
    ];
    for (make, words, level, method, expected) in cases {
        let ca = Ca::new();
        let mx = make(&ca);
        let world = World::new(ca, &[&mx]).methods(words).level(level).observe();
        let report = world.attempt(&["r"]).await;
        assert_eq!(fates(&report), ["delivered"], "{words:?} {level}");
        assert_eq!(would(&report), [expected], "{words:?} {level}");
        let recipient = &report.recipients[0];
        assert_eq!(recipient.method, Some(method), "{words:?} {level}");
        assert_eq!(mx.bodies().len(), 1, "once");
        let achieved = recipient.evidence.achieved;
        assert_eq!(achieved.is_some(), method == Method::Tls);
        let passed: &[_] = match method {
            Method::Tls => &[],
            Method::Cleartext => &[(Method::Tls, Reason::NoStarttls)],
        };
        assert_eq!(recipient.evidence.passed_over, passed);
    }
}

/// Another host of the site would have protected as required, but can't be reached.
#[tokio::test(start_paused = true)]
async fn one_host_unmet_and_one_unknown_would_wait() {
    let mx = bare();
    let mut world = World::new(Ca::new(), &[&mx]).observe();
    world.dns = FakeDns::new()
        .mx("b.example", &[(1, "mx1.b.example"), (2, "mx2.b.example")])
        .a("mx1.b.example", "192.0.2.1")
        .a("mx2.b.example", "192.0.2.99");
    let report = world.attempt(&["r"]).await;
    assert_eq!(would(&report), ["wait unreachable"]);
    // As `["tls", "cleartext"]` does: no cleartext while a host is unknown.
    assert_eq!(fates(&report), ["deferred unreachable 4.4.1"]);
}

/// A second host proves what the first does not: that is what would have happened, and happens.
#[tokio::test(start_paused = true)]
async fn all_hosts_are_asked_for_the_configured_level_first() {
    let ca = Ca::new();
    let weak = FarSide::new(Ca::new().tls("mx1.b.example"));
    let good = FarSide::new(ca.tls("mx2.b.example"));
    let world = World::new(ca, &[&weak, &good])
        .level(TlsLevel::Authenticated)
        .observe();
    let report = world.attempt(&["r"]).await;
    assert_eq!(fates(&report), ["delivered"]);
    assert_eq!(would(&report), ["tls"]);
    assert_eq!((weak.bodies().len(), good.bodies().len()), (0, 1));
}

/// What has nothing to do with protection is as ever, and tried once.
#[tokio::test(start_paused = true)]
async fn refusals_and_delays_are_as_ever() {
    let refused = ["550 5.1.1 no", "451 4.7.1 later"];
    let ca = Ca::new();
    let mx = FarSide::new(ca.tls("mx1.b.example")).says("RCPT", &refused);
    let world = World::new(ca, &[&mx]).methods(&["tls", "drop"]).observe();
    let report = world.attempt(&["a", "b", "c"]).await;
    let expected = [
        "bounced rejected 5.1.1",
        "deferred deferred 4.7.1",
        "delivered",
    ];
    assert_eq!(fates(&report), expected);
    assert_eq!(would(&report), ["bounce rejected", "wait deferred", "tls"]);
    assert_eq!(mx.connections(), 1);

    let mut world = World::new(Ca::new(), &[]).observe();
    world.dns = FakeDns::new()
        .mx("b.example", &[(1, "mx1.b.example")])
        .a("mx1.b.example", "192.0.2.99");
    let dialled = world.network.dialled.clone();
    let report = world.attempt(&["r"]).await;
    assert_eq!(fates(&report), ["deferred unreachable 4.4.1"]);
    assert_eq!(would(&report), ["wait unreachable"]);
    assert_eq!(dialled.lock().unwrap().len(), 1);
}

/// A recipient that the far side has refused over cleartext is not asked for again.
#[tokio::test(start_paused = true)]
async fn what_the_far_side_has_decided_stays() {
    let mx = bare().says("RCPT", &["550 5.1.1 no"]);
    let world = World::new(Ca::new(), &[&mx])
        .methods(&["tls", "cleartext"])
        .observe();
    let report = world.attempt(&["r"]).await;
    assert_eq!(fates(&report), ["bounced rejected 5.1.1"]);
    assert_eq!(would(&report), ["bounce rejected"]);
    assert_eq!(mx.count("RCPT"), 1);
}

/// Nothing is dropped, not even what has no way at all.
#[tokio::test(start_paused = true)]
async fn nothing_is_dropped() {
    let mut world = World::new(Ca::new(), &[])
        .methods(&["tls", "drop"])
        .observe();
    world.dns = FakeDns::new();
    let report = world.attempt(&["r"]).await;
    assert_eq!(fates(&report), ["bounced no-such-domain 5.1.2"]);
    assert_eq!(would(&report), ["drop no-such-domain"]);
}

/// The kept connection serves what follows; each look at what is required is a connection of its
/// own, on which nothing of the message is said.
#[tokio::test(start_paused = true)]
async fn nothing_of_the_message_is_said_where_the_level_is_not_met() {
    let mx = FarSide::new(Ca::new().tls("mx1.b.example"));
    let world = World::new(Ca::new(), &[&mx])
        .level(TlsLevel::Authenticated)
        .observe();
    let (deliverer, _) = world.deliverer();
    let mut lane = Lane::default();
    for _ in 0..2 {
        let report = attempt(&deliverer, &job(&["r"]), &mut lane).await;
        assert_eq!(fates(&report), ["delivered"]);
        assert_eq!(would(&report), ["bounce certificate-untrusted"]);
    }
    assert_eq!((mx.connections(), mx.bodies().len()), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn a_login_is_never_said_to_whom_is_not_proven() {
    let mx = FarSide::new(None);
    let mut world = World::new(Ca::new(), &[&mx]).observe();
    world.settings.routes = vec![crate::delivery::RouteSettings {
        domain: "b.example".into(),
        hosts: vec![(Host::parse("mx1.b.example").unwrap(), 25)],
        credentials: Some(crate::delivery::Credentials {
            username: "u".into(),
            password_file: "/nowhere".into(),
        }),
    }];
    let report = world.attempt(&["r"]).await;
    assert_eq!(fates(&report), ["bounced no-starttls 5.7.10"]);
    assert_eq!(would(&report), ["bounce no-starttls"]);
    assert!(!mx.heard_any("AUTH") && !mx.heard_any("MAIL"));
}
