//! Methods, levels and endings: what may leave, and how.

use super::*;
use crate::types::{AuthenticatedBy, Reason};

#[tokio::test(start_paused = true)]
async fn delivered_over_tls_with_its_evidence() {
    let ca = Ca::new();
    let mx = FarSide::new(ca.tls("mx1.b.example"));
    let world = World::new(ca, &[&mx]).level(TlsLevel::Authenticated);
    let report = world.attempt(&["r"]).await;
    assert_eq!(fates(&report), ["delivered"]);
    let evidence = evidence(&report);
    assert_eq!(evidence.configuration, "c0ffee");
    assert_eq!(evidence.required, Some(TlsLevel::Authenticated));
    assert_eq!(evidence.achieved, Some(TlsLevel::Authenticated));
    assert_eq!(
        evidence.authenticated_by,
        Some(AuthenticatedBy::PkixUnsignedMx)
    );
    assert_eq!(evidence.tls.as_ref().unwrap().version, "TLSv1.3");
    let remote = evidence.remote.as_ref().unwrap();
    assert_eq!(remote.name, "mx1.b.example");
    assert_eq!(remote.address.unwrap().to_string(), "192.0.2.1:25");
    assert_eq!(report.recipients[0].method, Some(Method::Tls));
    assert_eq!(report.site.unwrap().as_str(), "mx1.b.example");
    // Dots stuffed, one final dot, MAIL behind TLS alone.
    assert_eq!(
        mx.bodies(),
        [format!("{}.\r\n", BODY.replace("\n.", "\n..")).into_bytes()]
    );
    let heard = mx.heard();
    let place = |verb: &str| {
        heard
            .iter()
            .position(|line| line.starts_with(verb))
            .unwrap()
    };
    assert!(place("+TLS") < place("MAIL"));
}

#[tokio::test(start_paused = true)]
async fn without_starttls_nothing_leaves_and_the_ending_decides() {
    for (words, fate) in [
        (&["tls", "bounce"], "bounced no-starttls 5.7.10"),
        (&["tls", "drop"], "dropped no-starttls 5.7.10"),
    ] {
        let mx = FarSide::new(None);
        let report = World::new(Ca::new(), &[&mx])
            .methods(words)
            .attempt(&["r"])
            .await;
        assert_eq!(fates(&report), [fate]);
        assert!(!mx.heard_any("MAIL"));
        assert!(mx.heard_any("QUIT"));
        assert_eq!(
            evidence(&report).passed_over,
            [(Method::Tls, Reason::NoStarttls)]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn cleartext_on_a_definite_no_alone() {
    // No STARTTLS at all: cleartext, and said so.
    let mx = FarSide::new(None);
    let world = World::new(Ca::new(), &[&mx]).methods(&["tls", "cleartext"]);
    let report = world.attempt(&["r"]).await;
    assert_eq!(fates(&report), ["delivered"]);
    assert_eq!(report.recipients[0].method, Some(Method::Cleartext));
    assert_eq!(evidence(&report).required, None);
    assert_eq!(evidence(&report).achieved, None);
    assert_eq!(
        evidence(&report).passed_over,
        [(Method::Tls, Reason::NoStarttls)]
    );

    // A handshake that is refused, by TLS 1.2 too: cleartext, over a fresh connection.
    let ca = Ca::new();
    let alert = "\u{15}\u{3}\u{3}\u{0}\u{2}\u{2}\u{28}";
    let mx = FarSide::new(ca.tls("mx1.b.example")).says("SHAKE", &[alert, alert]);
    let world = World::new(ca, &[&mx]).methods(&["tls", "cleartext"]);
    let report = world.attempt(&["r"]).await;
    assert_eq!(fates(&report), ["delivered"]);
    assert_eq!(
        evidence(&report).passed_over,
        [(Method::Tls, Reason::NoCommonTls)]
    );
    assert_eq!((mx.connections(), mx.count("STARTTLS")), (3, 2));

    // 454, or a handshake that breaks off: no reason to step down.
    for (verb, replies, fate) in [
        (
            "STARTTLS",
            ["454 later", "454 later", "454 later"],
            "deferred starttls-refused 4.0.0",
        ),
        (
            "SHAKE",
            ["CLOSE", "CLOSE", "CLOSE"],
            "deferred tls-interrupted 4.7.5",
        ),
    ] {
        let ca = Ca::new();
        let mx = FarSide::new(ca.tls("mx1.b.example")).says(verb, &replies);
        let world = World::new(ca, &[&mx]).methods(&["tls", "cleartext"]);
        assert_eq!(fates(&world.attempt(&["r"]).await), [fate]);
        assert!(!mx.heard_any("MAIL"));
    }
}

#[tokio::test(start_paused = true)]
async fn one_unknown_host_bars_the_next_method() {
    let mx = FarSide::new(None);
    let mut world = World::new(Ca::new(), &[&mx]).methods(&["tls", "cleartext"]);
    world.dns = FakeDns::new()
        .mx("b.example", &[(1, "mx1.b.example"), (2, "mx2.b.example")])
        .a("mx1.b.example", "192.0.2.1")
        .a("mx2.b.example", "192.0.2.99");
    let report = world.attempt(&["r"]).await;
    assert_eq!(fates(&report), ["deferred unreachable 4.4.1"]);
    assert!(!mx.heard_any("MAIL"));
    // But an address that does not answer is outweighed by one that does.
    let mx = FarSide::new(None);
    let mut world = World::new(Ca::new(), &[&mx]).methods(&["tls", "cleartext"]);
    world.dns = world.dns.a("mx1.b.example", "2001:db8::1");
    assert_eq!(fates(&world.attempt(&["r"]).await), ["delivered"]);
    // And a host without any address is no host.
    let mx = FarSide::new(None);
    let mut world = World::new(Ca::new(), &[&mx]).methods(&["tls", "cleartext"]);
    world.dns = FakeDns::new()
        .mx("b.example", &[(1, "mx1.b.example"), (2, "gone.b.example")])
        .a("mx1.b.example", "192.0.2.1");
    assert_eq!(fates(&world.attempt(&["r"]).await), ["delivered"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_certificate_says_never_opens_cleartext() {
    let ca = Ca::new();
    let mx = FarSide::new(ca.tls("other.example"));
    let world = World::new(ca, &[&mx])
        .methods(&["tls", "cleartext"])
        .level(TlsLevel::Authenticated);
    let report = world.attempt(&["r"]).await;
    assert_eq!(fates(&report), ["bounced certificate-name 5.7.5"]);
    assert_eq!(
        evidence(&report).passed_over,
        [
            (Method::Tls, Reason::CertificateName),
            (Method::Cleartext, Reason::CertificateName)
        ]
    );
    // The evidence shows what was too little.
    let tls = evidence(&report).tls.as_ref().unwrap();
    assert_eq!(tls.certificate.as_ref().unwrap().names, ["other.example"]);
    assert_eq!(evidence(&report).achieved, Some(TlsLevel::Encrypted));
    // Not even EHLO went over that connection.
    assert_eq!((mx.count("STARTTLS"), mx.count("EHLO")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_unproven_identity_is_enough_for_encrypted() {
    let mx = FarSide::new(Ca::new().tls("other.example"));
    let report = World::new(Ca::new(), &[&mx]).attempt(&["r"]).await;
    assert_eq!(fates(&report), ["delivered"]);
    assert_eq!(evidence(&report).achieved, Some(TlsLevel::Encrypted));
    assert_eq!(evidence(&report).authenticated_by, None);
}

#[tokio::test(start_paused = true)]
async fn a_second_host_that_can_takes_it() {
    let ca = Ca::new();
    let (weak, good) = (FarSide::new(None), FarSide::new(ca.tls("mx2.b.example")));
    let world = World::new(ca, &[&weak, &good]).methods(&["tls", "cleartext"]);
    let report = world.attempt(&["r"]).await;
    assert_eq!(fates(&report), ["delivered"]);
    assert_eq!(report.recipients[0].method, Some(Method::Tls));
    assert_eq!(
        evidence(&report).remote.as_ref().unwrap().name,
        "mx2.b.example"
    );
    assert!(!weak.heard_any("MAIL"));
}

#[tokio::test(start_paused = true)]
async fn recipients_go_by_their_own_rules() {
    let mx = FarSide::new(None);
    let mut world = World::new(Ca::new(), &[&mx]).methods(&["tls", "drop"]);
    world.policy.rules.push(Rule {
        name: "lax".into(),
        when: Conditions {
            recipient: vec!["lax@b.example".into()],
            ..Conditions::default()
        },
        methods: Some(MethodsList::parse(&["tls", "cleartext"]).unwrap()),
        ..Rule::default()
    });
    let report = world.attempt(&["strict", "lax", "other"]).await;
    let dropped = "dropped no-starttls 5.7.10";
    assert_eq!(fates(&report), [dropped, "delivered", dropped]);
    assert_eq!(report.recipients[1].evidence.rule.as_deref(), Some("lax"));
    assert_eq!(mx.count("RCPT"), 1);
    let indices: Vec<u32> = report.recipients.iter().map(|r| r.index).collect();
    assert_eq!(indices, [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn e24_retries_with_less_in_the_hello() {
    let alert = "\u{15}\u{3}\u{3}\u{0}\u{2}\u{2}\u{28}";
    for (says, version, connections) in [
        // Too long for something on the way: TLS 1.3 still.
        (&["STALL"][..], "TLSv1.3", 2),
        (&["CLOSE"], "TLSv1.3", 2),
        // TLS 1.3 is too much.
        (&["CLOSE", "CLOSE"], "TLSv1.2", 3),
        (&["STALL", "CLOSE"], "TLSv1.2", 3),
        (&["STALL", alert], "TLSv1.2", 3),
        // It says so: no definite no before TLS 1.2 was tried.
        (&[alert], "TLSv1.2", 2),
    ] {
        let ca = Ca::new();
        let mx = FarSide::new(ca.tls("mx1.b.example")).says("SHAKE", says);
        let report = World::new(ca, &[&mx]).attempt(&["r"]).await;
        assert_eq!(fates(&report), ["delivered"], "{says:?}");
        let tls = evidence(&report).tls.as_ref().unwrap();
        assert_eq!(tls.version, version, "{says:?}");
        assert_eq!(mx.connections(), connections, "{says:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn e24_the_last_answer_counts() {
    let alert = "\u{15}\u{3}\u{3}\u{0}\u{2}\u{2}\u{28}";
    for (says, fate) in [
        (&[alert, alert][..], "bounced no-common-tls 5.7.6"),
        (&[alert, "CLOSE"], "deferred tls-interrupted 4.7.5"),
        (&["CLOSE", alert, "CLOSE"], "deferred tls-interrupted 4.7.5"),
        (&["CLOSE", "CLOSE", alert], "bounced no-common-tls 5.7.6"),
        (&["STALL", "STALL"], "deferred tls-interrupted 4.7.5"),
    ] {
        let ca = Ca::new();
        let mx = FarSide::new(ca.tls("mx1.b.example")).says("SHAKE", says);
        let report = World::new(ca, &[&mx]).attempt(&["r"]).await;
        assert_eq!(fates(&report), [fate], "{says:?}");
        assert_eq!(mx.connections(), says.len());
        assert!(!mx.heard_any("MAIL"));
    }
}

#[tokio::test(start_paused = true)]
async fn e36_blocked_networks_are_not_dialled() {
    let mut world = World::new(Ca::new(), &[]);
    world.dns = FakeDns::new()
        .mx("b.example", &[(1, "mx1.b.example")])
        .a("mx1.b.example", "127.0.0.1")
        .a("mx1.b.example", "64:ff9b::7f00:1");
    let dialled = world.network.dialled.clone();
    let report = world.attempt(&["r"]).await;
    assert_eq!(fates(&report), ["bounced blocked 5.4.4"]);
    assert!(dialled.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_a_route_the_ending_decides_or_it_waits() {
    for (dns, words, fate) in [
        (
            FakeDns::new(),
            ["tls", "drop"],
            "dropped no-such-domain 5.1.2",
        ),
        (
            FakeDns::new().mx("b.example", &[(0, ".")]),
            ["tls", "bounce"],
            "bounced null-mx 5.1.10",
        ),
        (
            FakeDns::new().mx_fails("b.example", crate::dns::DnsFailure::TimedOut),
            ["tls", "drop"],
            "deferred dns-failed 4.4.3",
        ),
    ] {
        let mut world = World::new(Ca::new(), &[]).methods(&words);
        world.dns = dns;
        let report = world.attempt(&["a", "b"]).await;
        assert_eq!(fates(&report), [fate, fate]);
        assert_eq!(report.site, None);
    }
}

#[tokio::test(start_paused = true)]
async fn explain_asks_the_same_questions() {
    let ca = Ca::new();
    let mx = FarSide::new(ca.tls("mx1.b.example"));
    let world = World::new(ca, &[&mx]).level(TlsLevel::Authenticated);
    let (deliverer, _) = world.deliverer();
    let recipient = Mailbox::parse("r@b.example").unwrap();
    let explanation = deliverer
        .explain(Question {
            recipient: &recipient,
            sender: None,
            account: None,
            listener: None,
            own_mail: false,
        })
        .await;
    assert_eq!(explanation.decision.rule, None);
    let (method, required) = &explanation.required[0];
    assert_eq!(
        (*method, required.level()),
        (Method::Tls, Some(TlsLevel::Authenticated))
    );
    let (hop, addresses) = &explanation.hosts[0];
    assert_eq!(hop.host.to_string(), "mx1.b.example");
    assert_eq!(addresses.as_ref().unwrap()[0].to_string(), "192.0.2.1");
    assert_eq!(mx.connections(), 0);
}
