//! Attempts over real sockets against OpenSSL: no MAIL FROM where the level is
//! not met, and evidence where it is.

// A test may fail by panicking.
#![allow(clippy::unwrap_used)]

mod delivery_support;

use std::time::Duration;

use postern::delivery::{Credentials, RouteSettings, Settings};
use postern::types::{AuthenticatedBy, Host, TlsLevel};
use postern_lab::{Ca, Identity, SmtpBuilder, TlsVersion};

use delivery_support::*;

/// What is bent, what comes of it at `encrypted` and at `authenticated`.
type Case = (
    &'static str,
    fn(SmtpBuilder, &Ca) -> SmtpBuilder,
    &'static str,
    &'static str,
);

const DELIVERED: &str = "delivered";

fn cases() -> Vec<Case> {
    vec![
        ("modern", |mx, _| mx, DELIVERED, DELIVERED),
        (
            "TLS 1.2",
            |mx, _| mx.tls_versions(TlsVersion::V1_2, TlsVersion::V1_2),
            DELIVERED,
            DELIVERED,
        ),
        (
            "TLS 1.1",
            |mx, _| mx.tls_versions(TlsVersion::V1_1, TlsVersion::V1_1),
            "bounced no-common-tls",
            "bounced no-common-tls",
        ),
        (
            "RSA key exchange with CBC",
            |mx, ca| {
                mx.identity(ca.rsa(2048).issue(&[MX]))
                    .tls_versions(TlsVersion::V1_2, TlsVersion::V1_2)
                    .ciphers("AES256-SHA:@SECLEVEL=0")
            },
            "bounced no-common-tls",
            "bounced no-common-tls",
        ),
        (
            "ECDHE with CBC",
            |mx, ca| {
                mx.identity(ca.rsa(2048).issue(&[MX]))
                    .tls_versions(TlsVersion::V1_2, TlsVersion::V1_2)
                    .ciphers("ECDHE-RSA-AES256-SHA384:@SECLEVEL=0")
            },
            "bounced no-common-tls",
            "bounced no-common-tls",
        ),
        (
            "no STARTTLS",
            |mx, _| mx.no_starttls(),
            "bounced no-starttls",
            "bounced no-starttls",
        ),
        (
            "STARTTLS masked",
            |mx, _| mx.starttls_masked(),
            "bounced no-starttls",
            "bounced no-starttls",
        ),
        (
            "454",
            |mx, _| mx.starttls_reply("454 4.7.0 TLS not available"),
            "deferred starttls-refused",
            "deferred starttls-refused",
        ),
        (
            "injection",
            |mx, _| mx.inject_after_starttls(b"250-evil\r\n250 PIPELINING\r\n"),
            "deferred protocol-error",
            "deferred protocol-error",
        ),
        (
            "handshake cut",
            |mx, _| mx.handshake_cut(),
            "deferred tls-interrupted",
            "deferred tls-interrupted",
        ),
        (
            "handshake garbage",
            // An injection, or a broken handshake, as the octets happen to arrive.
            |mx, _| mx.handshake_garbage(b"550 what is this?\r\n"),
            "deferred",
            "deferred",
        ),
        (
            "wrong name",
            |mx, ca| mx.identity(ca.issue(&["other.example"])),
            DELIVERED,
            "bounced certificate-name",
        ),
        (
            "expired",
            |mx, ca| mx.identity(ca.issue_expired(&[MX])),
            DELIVERED,
            "bounced certificate-expired",
        ),
        (
            "not yet valid",
            |mx, ca| mx.identity(ca.issue_not_yet_valid(&[MX])),
            DELIVERED,
            "bounced certificate-not-yet-valid",
        ),
        (
            "self-signed",
            |mx, _| mx.identity(Identity::self_signed(&[MX])),
            DELIVERED,
            "bounced certificate-untrusted",
        ),
        (
            "of another authority",
            |mx, _| mx.identity(Ca::new().issue(&[MX])),
            DELIVERED,
            "bounced certificate-untrusted",
        ),
        (
            "short RSA key",
            |mx, _| {
                mx.identity(Identity::self_signed_rsa(&[MX], 1024))
                    .tls_versions(TlsVersion::V1_2, TlsVersion::V1_2)
                    .ciphers("ALL:@SECLEVEL=0")
            },
            DELIVERED,
            "bounced certificate-untrusted",
        ),
    ]
}

#[tokio::test]
async fn what_each_far_side_gets() {
    for (name, bend, encrypted, authenticated) in cases() {
        for (level, expected) in [
            (TlsLevel::Encrypted, encrypted),
            (TlsLevel::Authenticated, authenticated),
        ] {
            let world = World::new(bend);
            let report = world.attempt(level).await;
            let fate = fate(&report);
            assert!(fate.starts_with(expected), "{name} at {level}: {fate}");
            assert_eq!(
                world.saw("MAIL"),
                expected == DELIVERED,
                "{name} at {level}"
            );
            assert_eq!(
                world.mx.violations(),
                Vec::<String>::new(),
                "{name} at {level}"
            );
        }
    }
}

#[tokio::test]
async fn the_message_arrives_whole_with_its_evidence() {
    let world = World::new(|mx, _| mx);
    let report = world.attempt(TlsLevel::Authenticated).await;
    let messages = world.mx.wait_messages(1, Duration::from_secs(5)).await;
    assert_eq!(&messages[0].data[..], b"Subject: x\r\n\r\n.dot\r\nend\r\n");
    let seen = messages[0].tls.as_ref().unwrap();
    let evidence = &report.recipients[0].evidence;
    let tls = evidence.tls.as_ref().unwrap();
    assert_eq!(
        (tls.version.as_str(), seen.version.as_str()),
        ("TLSv1.3", "TLSv1.3")
    );
    assert_eq!(
        evidence.authenticated_by,
        Some(AuthenticatedBy::PkixUnsignedMx)
    );
    let certificate = tls.certificate.as_ref().unwrap();
    assert_eq!(certificate.names, [MX]);
    assert_eq!(
        evidence.remote.as_ref().unwrap().address,
        Some(world.mx.addr())
    );
    drop(world.ca);
}

#[tokio::test]
async fn cleartext_only_where_there_is_no_tls() {
    let world = World::new(|mx, _| mx.no_starttls());
    let methods = ["tls", "cleartext"];
    let deliverer = world.deliverer(world.settings(), TlsLevel::Encrypted, &methods);
    assert_eq!(fate(&attempt(&deliverer, &job()).await), DELIVERED);
    assert!(world.mx.messages()[0].tls.is_none());

    let world = World::new(|mx, _| mx.tls_versions(TlsVersion::V1_1, TlsVersion::V1_1));
    let deliverer = world.deliverer(world.settings(), TlsLevel::Encrypted, &methods);
    assert_eq!(fate(&attempt(&deliverer, &job()).await), DELIVERED);

    let world = World::new(|mx, _| mx.starttls_reply("454 later"));
    let deliverer = world.deliverer(world.settings(), TlsLevel::Encrypted, &methods);
    assert_eq!(
        fate(&attempt(&deliverer, &job()).await),
        "deferred starttls-refused"
    );
    assert!(!world.saw("MAIL"));
}

#[tokio::test]
async fn e29_a_route_logs_in_over_authenticated_tls_alone() {
    let route = |world: &World| Settings {
        routes: vec![RouteSettings {
            domain: "*".into(),
            hosts: vec![(Host::parse(MX).unwrap(), world.mx.addr().port())],
            credentials: Some(Credentials {
                username: "relay".into(),
                password_file: world.folder.path().join("password"),
            }),
        }],
        ..world.settings()
    };
    let methods = ["tls", "cleartext"];
    let world = World::new(|mx, _| mx.auth("relay", "secret"));
    std::fs::write(world.folder.path().join("password"), "secret\n").unwrap();
    let deliverer = world.deliverer(route(&world), TlsLevel::Encrypted, &methods);
    let report = attempt(&deliverer, &job()).await;
    assert_eq!(fate(&report), DELIVERED);
    let evidence = &report.recipients[0].evidence;
    assert_eq!(evidence.authenticated_by, Some(AuthenticatedBy::Route));
    assert_eq!(evidence.required, Some(TlsLevel::Authenticated));
    assert_eq!(world.mx.messages()[0].auth.as_deref(), Some("relay"));

    // The wrong password waits for the operator.
    std::fs::write(world.folder.path().join("password"), "wrong\n").unwrap();
    assert_eq!(
        fate(&attempt(&deliverer, &job()).await),
        "deferred auth-failed"
    );

    // Not to a stranger, and not in the clear.
    for (bend, expected) in [
        (
            (|mx, _| {
                mx.auth("relay", "secret")
                    .identity(Identity::self_signed(&[MX]))
            }) as fn(SmtpBuilder, &Ca) -> SmtpBuilder,
            "bounced certificate-untrusted",
        ),
        (|mx, _| mx.no_starttls(), "bounced no-starttls"),
    ] {
        let world = World::new(bend);
        std::fs::write(world.folder.path().join("password"), "secret\n").unwrap();
        let deliverer = world.deliverer(route(&world), TlsLevel::Encrypted, &methods);
        assert_eq!(fate(&attempt(&deliverer, &job()).await), expected);
        assert!(!world.saw("AUTH") && !world.saw("MAIL"));
    }
}
