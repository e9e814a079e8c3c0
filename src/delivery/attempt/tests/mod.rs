//! Whole attempts over an in-memory network, with the clock paused.

mod clocks;
mod dialogs;
mod fallback;
mod far_side;
mod lanes;
mod memory;
mod observe;
mod probe;
mod protected;
mod replies;
mod waiting;

use std::sync::Arc;

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use self::far_side::{FarSide, Network};
use super::*;
use crate::delivery::testing::{FakeDns, settings};
use crate::policy::{self, Conditions, Rule};
use crate::sys::{SystemClock, SystemEntropy};
use crate::types::{
    BodyType, Envelope, Evidence, Failure, Fate, Mailbox, MemoryBody, Message, MessageFacts,
    Method, MethodsList, Origin, Principal, Protocol, QueueId, Source, Timestamp, TlsLevel,
};

/// A small authority for in-memory servers.
struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// TLS for a host of this name.
    fn tls(&self, name: &str) -> Option<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        Some(config)
    }
}

/// What an attempt is made in.
struct World {
    ca: Ca,
    dns: FakeDns,
    /// The real one, in its place.
    resolver: Option<Arc<dyn Resolver>>,
    network: Network,
    settings: Settings,
    policy: policy::Settings,
    _folder: tempfile::TempDir,
}

impl World {
    /// `b.example` with these MX hosts at 192.0.2.1, .2, ... in this order.
    fn new(ca: Ca, hosts: &[&FarSide]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let roots = folder.path().join("roots.pem");
        std::fs::write(&roots, ca.0.pem()).unwrap();
        let names: Vec<String> = (1..=hosts.len())
            .map(|n| format!("mx{n}.b.example"))
            .collect();
        let set: Vec<(u16, &str)> = (0u16..).zip(names.iter().map(String::as_str)).collect();
        let mut world = Self {
            ca,
            dns: FakeDns::new().mx("b.example", &set),
            resolver: None,
            network: Network::default(),
            settings: Settings {
                roots: vec![roots],
                ..settings()
            },
            policy: policy::Settings::default(),
            _folder: folder,
        };
        for (n, (name, host)) in names.iter().zip(hosts).enumerate() {
            let ip = format!("192.0.2.{}", n + 1);
            world.dns = world.dns.a(name, &ip);
            world.network = world.network.host(&ip, host);
        }
        world
    }

    fn methods(mut self, words: &[&str]) -> Self {
        self.policy.default.methods = MethodsList::parse(words).unwrap();
        self
    }

    fn level(mut self, level: TlsLevel) -> Self {
        self.policy.default.tls_level = level;
        self
    }

    fn deliverer(self) -> (Deliverer, Ca) {
        let policy = Policy::new(self.policy, "c0ffee".into());
        let deliverer = Deliverer::new(
            self.settings,
            Arc::new(policy),
            self.resolver.unwrap_or_else(|| Arc::new(self.dns)),
            Arc::new(self.network),
            Arc::new(SystemClock),
            Arc::new(SystemEntropy::default()),
        );
        (deliverer.unwrap(), self.ca)
    }

    /// One attempt for these recipients.
    async fn attempt(self, recipients: &[&str]) -> Report {
        let (deliverer, _) = self.deliverer();
        attempt(&deliverer, &job(recipients), &mut Lane::default()).await
    }
}

async fn attempt(deliverer: &Deliverer, job: &Job, lane: &mut Lane) -> Report {
    match deliverer.route(&job.host).await {
        Ok(route) => deliverer.attempt(job, &route, lane).await,
        Err(none) => deliverer.unroutable(job, &none),
    }
}

const BODY: &str = "Subject: hello\r\n\r\n.hello\r\n";

fn job(recipients: &[&str]) -> Job {
    job_of(
        recipients,
        MemoryBody::new([Bytes::from_static(BODY.as_bytes())]),
    )
}

fn job_of(recipients: &[&str], body: MemoryBody) -> Job {
    let mailbox = |local: &str| Mailbox::parse(&format!("{local}@b.example")).unwrap();
    let recipients: Vec<Mailbox> = recipients.iter().map(|local| mailbox(local)).collect();
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
            recipients: recipients.clone(),
            body: BodyType::SevenBit,
        },
        facts: MessageFacts {
            size: crate::types::Body::size(&body),
            eight_bit: false,
            message_id: None,
            content: None,
        },
    };
    let recipients = (0u32..)
        .zip(recipients)
        .map(|(index, mailbox)| JobRecipient {
            index,
            mailbox,
            attempts: 0,
            delay_told: false,
            copy: None,
            released: false,
        });
    Job {
        message: Arc::new(message),
        body: Arc::new(body),
        host: Host::parse("b.example").unwrap(),
        recipients: recipients.collect(),
    }
}

/// `delivered`, or the kind of fate with reason and status.
fn fates(report: &Report) -> Vec<String> {
    let told =
        |kind: &str, failure: &Failure| format!("{kind} {} {}", failure.reason, failure.status);
    let fates = report.recipients.iter().map(|r| match &r.fate {
        Fate::Delivered(_) => "delivered".to_owned(),
        Fate::Deferred(failure) => told("deferred", failure),
        Fate::Bounced(failure) => told("bounced", failure),
        Fate::Dropped(failure) => told("dropped", failure),
        Fate::Held(failure) => told("held", failure),
    });
    fates.collect()
}

fn evidence(report: &Report) -> &Evidence {
    &report.recipients[0].evidence
}
