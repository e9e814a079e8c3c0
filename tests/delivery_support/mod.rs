//! One relay and one MX host, for attempts over real sockets.

// Each test file uses a part.
#![allow(dead_code)]

use std::sync::Arc;

use bytes::Bytes;
use postern::delivery::{Deliver, Deliverer, Lane, Prefer, Settings};
use postern::dns::DnsResolver;
use postern::policy::{self, Policy};
use postern::sys::{SystemClock, SystemEntropy, TcpDialler};
use postern::types::{
    BodyType, Domain, Envelope, Fate, Job, JobRecipient, Mailbox, MemoryBody, Message,
    MessageFacts, MethodsList, Origin, Principal, Protocol, QueueId, Report, Source, Timestamp,
    TlsLevel,
};
use postern_lab::{Ca, DnsServer, SmtpBuilder, SmtpServer, free_port, loopback};

/// One domain, one MX host, and a relay that wants to reach it.
pub(crate) struct World {
    pub ca: Ca,
    pub dns: DnsServer,
    pub mx: SmtpServer,
    pub folder: tempfile::TempDir,
}

pub(crate) const MX: &str = "mx.clinic.example";

impl World {
    pub(crate) fn new(bend: impl FnOnce(SmtpBuilder, &Ca) -> SmtpBuilder) -> Self {
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

    pub(crate) fn settings(&self) -> Settings {
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

    pub(crate) fn deliverer(
        &self,
        settings: Settings,
        level: TlsLevel,
        methods: &[&str],
    ) -> Deliverer {
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
    pub(crate) async fn attempt(&self, level: TlsLevel) -> Report {
        let deliverer = self.deliverer(self.settings(), level, &["tls", "bounce"]);
        attempt(&deliverer, &job()).await
    }

    pub(crate) fn saw(&self, verb: &str) -> bool {
        self.mx.commands().iter().any(|line| line.contains(verb))
    }
}

pub(crate) async fn attempt(deliverer: &Deliverer, job: &Job) -> Report {
    let route = match deliverer.route(&job.host).await {
        Ok(route) => route,
        Err(none) => return deliverer.unroutable(job, &none),
    };
    let mut lane = Lane::default();
    let report = deliverer.attempt(job, &route, &mut lane).await;
    deliverer.hang_up(lane).await;
    report
}

pub(crate) fn job() -> Job {
    job_to("clinic.example")
}

pub(crate) fn job_to(domain: &str) -> Job {
    let recipient = Mailbox::parse(&format!("nurse@{domain}")).unwrap();
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
            content: None,
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
            copy: None,
            released: false,
        }],
    }
}

pub(crate) fn fate(report: &Report) -> String {
    match &report.recipients[0].fate {
        Fate::Delivered(_) => "delivered".into(),
        Fate::Deferred(failure) => format!("deferred {}", failure.reason),
        Fate::Bounced(failure) => format!("bounced {}", failure.reason),
        Fate::Dropped(failure) => format!("dropped {}", failure.reason),
        Fate::Held(failure) => format!("held {}", failure.reason),
    }
}
