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
            _ => &[(Method::Tls, Reason::NoStarttls)],
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

/// The look at what is required is a connection of its own, on which nothing of the message is
/// said; the kept connection serves what follows, and tells what the look would.
#[tokio::test(start_paused = true)]
async fn nothing_of_the_message_is_said_where_the_level_is_not_met() {
    let mx = FarSide::new(Ca::new().tls("mx1.b.example"));
    let world = World::new(Ca::new(), &[&mx])
        .level(TlsLevel::Authenticated)
        .observe();
    let (deliverer, _) = world.deliverer();
    let mut lane = Lane::default();
    for _ in 0..3 {
        let report = attempt(&deliverer, &job(&["r"]), &mut lane).await;
        assert_eq!(fates(&report), ["delivered"]);
        assert_eq!(would(&report), ["bounce certificate-untrusted"]);
    }
    assert_eq!((mx.connections(), mx.bodies().len()), (2, 3));
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

/// How a host behaves; each time, since two walks may ask it.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Modern,
    Stranger,
    Bare,
    /// Refuses the handshake by an alert.
    Alert,
    /// Ends it.
    Cut,
    /// Says this at this verb.
    Says(&'static str, &'static str),
    /// The same, and its certificate proves nothing.
    StrangerSays(&'static str, &'static str),
    BareSays(&'static str, &'static str),
    Unreachable,
}

fn host(kind: Kind, ca: &Ca, name: &str) -> FarSide {
    let (good, stranger) = (ca.tls(name), Ca::new().tls(name));
    let says = |tls, verb, reply| FarSide::new(tls).says(verb, &[reply; 9]);
    match kind {
        Kind::Modern => FarSide::new(good),
        Kind::Stranger => FarSide::new(stranger),
        Kind::Bare | Kind::Unreachable => bare(),
        Kind::Alert => says(good, "SHAKE", "\u{15}\u{3}\u{3}\u{0}\u{2}\u{2}\u{28}"),
        Kind::Cut => says(good, "SHAKE", "CLOSE"),
        Kind::Says(verb, reply) => says(good, verb, reply),
        Kind::StrangerSays(verb, reply) => says(stranger, verb, reply),
        Kind::BareSays(verb, reply) => says(None, verb, reply),
    }
}

/// One attempt at these hosts, all on equal terms but in this order.
async fn attempt_at(
    kinds: &[Kind],
    words: &[&str],
    level: TlsLevel,
    observe: bool,
) -> (Report, usize) {
    let ca = Ca::new();
    let names: Vec<String> = (1..=kinds.len())
        .map(|n| format!("mx{n}.b.example"))
        .collect();
    let hosts = kinds.iter().zip(&names);
    let hosts: Vec<FarSide> = hosts.map(|(kind, name)| host(*kind, &ca, name)).collect();
    let all: Vec<&FarSide> = hosts.iter().collect();
    let mut world = World::new(ca, &all).methods(words).level(level);
    world.policy.observe = observe;
    for (n, kind) in kinds.iter().enumerate() {
        if matches!(kind, Kind::Unreachable) {
            let ip = format!("192.0.2.{}", n + 1);
            world.network.silent.push(ip.parse().unwrap());
        }
    }
    let report = world.attempt(&["r"]).await;
    // Where MAIL was refused and the rest of the pipeline was not, it is a mere dot.
    let bodies = hosts.iter().flat_map(FarSide::bodies);
    let taken = bodies.filter(|body| body != b".\r\n").count();
    (report, taken)
}

/// Against whatever far side: what would have happened is what happens when the same list is
/// enforced, and who is served by `["tls", "cleartext"]` is served.
#[tokio::test(start_paused = true)]
async fn it_would_have_been_as_it_is_when_enforced() {
    use Kind::*;
    let sites: [&[Kind]; 22] = [
        &[Modern],
        &[Stranger],
        &[Bare],
        &[Alert],
        &[Cut],
        &[Unreachable],
        &[Says("STARTTLS", "454 4.7.0 later")],
        &[Says("STARTTLS", "554 5.7.0 never")],
        &[Says("BANNER", "554 5.7.1 no")],
        &[Says("BANNER", "421 4.3.0 later")],
        &[Says("RCPT", "550 5.1.1 no")],
        &[StrangerSays("RCPT", "451 4.7.1 later")],
        &[StrangerSays("DOT", "CLOSE")],
        &[BareSays("MAIL", "530 5.7.0 TLS first")],
        &[BareSays("DOT", "452 4.3.1 full")],
        &[Bare, Modern],
        &[Stranger, Modern],
        &[Bare, Unreachable],
        &[Stranger, Unreachable],
        &[Stranger, Says("BANNER", "554 5.7.1 no")],
        &[Says("MAIL", "451 4.3.2 later"), Stranger],
        &[Stranger, Bare, Cut],
    ];
    let lists: [&[&str]; 3] = [&["tls"], &["tls", "drop"], &["tls", "cleartext", "drop"]];
    for kinds in sites {
        let plain = ["tls", "cleartext"];
        let (plain, _) = attempt_at(kinds, &plain, TlsLevel::Encrypted, false).await;
        for words in lists {
            for level in [TlsLevel::Encrypted, TlsLevel::Authenticated] {
                let (enforced, _) = attempt_at(kinds, words, level, false).await;
                let (observed, taken) = attempt_at(kinds, words, level, true).await;
                let case = format!("{kinds:?} {words:?} {level}");
                let enforced = &enforced.recipients[0];
                assert_eq!(enforced.evidence.would, None, "{case}");
                assert_eq!(
                    observed.recipients[0].evidence.would,
                    Would::of(enforced.method, &enforced.fate),
                    "{case}"
                );
                let fate = &observed.recipients[0].fate;
                assert!(!matches!(fate, Fate::Dropped(_)), "{case}");
                if matches!(plain.recipients[0].fate, Fate::Delivered(_)) {
                    assert!(matches!(fate, Fate::Delivered(_)), "{case}: {fate:?}");
                }
                assert!(taken <= 1, "{case}: {taken} copies");
            }
        }
    }
}
