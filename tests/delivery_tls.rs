//! Attempts over real sockets against OpenSSL: no MAIL FROM where the level is
//! not met, and evidence where it is.

// A test may fail by panicking.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use postern::delivery::{Credentials, Deliver, Deliverer, Lane, Prefer, RouteSettings, Settings};
use postern::dns::DnsResolver;
use postern::policy::{self, Policy};
use postern::sys::{SystemClock, SystemEntropy, TcpDialler};
use postern::types::{
    AuthenticatedBy, BodyType, Domain, Envelope, Fate, Host, Job, JobRecipient, Mailbox,
    MemoryBody, Message, MessageFacts, MethodsList, Origin, Principal, Protocol, QueueId, Report,
    Source, Timestamp, TlsLevel,
};
use postern_lab::{
    Ca, DnsServer, Identity, SmtpBuilder, SmtpServer, TlsVersion, free_port, loopback,
};

/// One domain, one MX host, and a relay that wants to reach it.
struct World {
    ca: Ca,
    dns: DnsServer,
    mx: SmtpServer,
    folder: tempfile::TempDir,
}

const MX: &str = "mx.clinic.example";

impl World {
    fn new(bend: impl FnOnce(SmtpBuilder, &Ca) -> SmtpBuilder) -> Self {
        let ca = Ca::new();
        let (ip, port) = (loopback(), free_port());
        let good = SmtpServer::builder((ip, port).into())
            .name(MX)
            .identity(ca.issue(&[MX]));
        let mx = bend(good, &ca).start();
        let dns = DnsServer::start("127.0.0.1:0".parse().unwrap());
        dns.mx("clinic.example", 10, MX).a(MX, ip);
        let folder = tempfile::tempdir().unwrap();
        ca.write_pem(folder.path().join("ca.pem"));
        Self {
            ca,
            dns,
            mx,
            folder,
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            hostname: Domain::parse("relay.example").unwrap(),
            port: self.mx.addr().port(),
            sources: vec![],
            prefer: Prefer::Ipv6,
            // The lab lives on loopback.
            blocked: vec![],
            own_addresses: vec![],
            routes: vec![],
            roots: vec![self.folder.path().join("ca.pem")],
        }
    }

    fn deliverer(&self, settings: Settings, level: TlsLevel, methods: &[&str]) -> Deliverer {
        let mut policy = policy::Settings::default();
        policy.default.tls_level = level;
        policy.default.methods = MethodsList::parse(methods).unwrap();
        let dns = postern::dns::Settings {
            servers: vec![self.dns.addr()],
        };
        Deliverer::new(
            settings,
            Arc::new(Policy::new(policy, "0123456789abcdef".into())),
            Arc::new(DnsResolver::new(&dns).unwrap()),
            Arc::new(TcpDialler),
            Arc::new(SystemClock),
            Arc::new(SystemEntropy::default()),
        )
        .unwrap()
    }

    /// One attempt at this level.
    async fn attempt(&self, level: TlsLevel) -> Report {
        let deliverer = self.deliverer(self.settings(), level, &["tls", "bounce"]);
        attempt(&deliverer, &job()).await
    }

    fn saw(&self, verb: &str) -> bool {
        self.mx.commands().iter().any(|line| line.contains(verb))
    }
}

async fn attempt(deliverer: &Deliverer, job: &Job) -> Report {
    let route = deliverer.route(&job.host).await.unwrap();
    let mut lane = Lane::default();
    let report = deliverer.attempt(job, &route, &mut lane).await;
    deliverer.hang_up(lane).await;
    report
}

fn job() -> Job {
    let recipient = Mailbox::parse("nurse@clinic.example").unwrap();
    let body = MemoryBody::new([Bytes::from_static(b"Subject: x\r\n\r\n.dot\r\nend")]);
    let message = Message {
        id: QueueId::new(Timestamp::from_micros(1), [0; 4]),
        received_at: Timestamp::from_micros(1),
        origin: Origin::Submitted(Source {
            principal: Principal::Account("a".into()),
            listener: "[::]:587".into(),
            client: "198.51.100.1".parse().unwrap(),
            protocol: Protocol::Esmtpsa,
        }),
        envelope: Envelope {
            sender: Some(Mailbox::parse("s@a.example").unwrap()),
            recipients: vec![recipient.clone()],
            body: BodyType::SevenBit,
        },
        facts: MessageFacts {
            size: postern::types::Body::size(&body),
            eight_bit: false,
            message_id: None,
        },
    };
    Job {
        host: recipient.host().clone(),
        message: Arc::new(message),
        body: Arc::new(body),
        recipients: vec![JobRecipient {
            index: 0,
            mailbox: recipient,
            attempts: 0,
            delay_told: false,
        }],
    }
}

fn fate(report: &Report) -> String {
    match &report.recipients[0].fate {
        Fate::Delivered(_) => "delivered".into(),
        Fate::Deferred(failure) => format!("deferred {}", failure.reason),
        Fate::Bounced(failure) => format!("bounced {}", failure.reason),
        Fate::Dropped(failure) => format!("dropped {}", failure.reason),
    }
}

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
            "bounced certificate-expired",
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
