//! A job, its report, and ports that give the same every time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;

use crate::outcome::{Decision, Outcome, Settings, Verdict};
use crate::sys::entropy::EntropyError;
use crate::sys::{Clock, Entropy};
use crate::types::{
    BodyType, Domain, Envelope, Evidence, Failure, Fate, Host, Job, JobRecipient, Mailbox,
    MemoryBody, Message, MessageFacts, Method, Origin, OwnMailKind, Principal, Protocol, QueueId,
    Reason, RecipientReport, Remote, RemoteReply, Report, Site, Source, Stage, Timestamp,
};

pub(super) const HEADER: &str = "Received: from ward7 by relay.clinic.example; \
    Sun, 22 Nov 2026 08:00:00 +0000\r\n\
    From: Nurse <nurse@clinic.example>\r\n\
    To: a@x.example\r\n\
    Subject: HIV test of\r\n Mr Zebra\r\n\
    Thread-Topic: HIV test of Mr Zebra\r\n\
    Message-ID: <1@clinic.example>\r\n";

pub(super) struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        at("2026-11-22T08:05:00Z")
    }
}

#[derive(Default)]
pub(super) struct Counting(AtomicU32);

impl Entropy for Counting {
    fn fill(&self, octets: &mut [u8]) -> Result<(), EntropyError> {
        let count = self.0.fetch_add(1, Ordering::SeqCst).to_be_bytes();
        octets.copy_from_slice(&count[..octets.len()]);
        Ok(())
    }
}

pub(super) struct NoEntropy;

impl Entropy for NoEntropy {
    fn fill(&self, _: &mut [u8]) -> Result<(), EntropyError> {
        Err(EntropyError)
    }
}

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(super) fn settings() -> Settings {
    Settings {
        hostname: Domain::parse("relay.clinic.example").unwrap(),
        postmaster: Mailbox::parse("it@clinic.example").ok(),
        audit_folder: "/nowhere".into(),
        audit_key: "/nowhere".into(),
        audit_keep: Duration::from_secs(400 * 24 * 3600),
        log_addresses: false,
        expire: Duration::from_secs(5 * 24 * 3600),
    }
}

pub(super) fn outcome() -> Outcome {
    Outcome::new(settings(), Arc::new(Still), Arc::new(Counting::default()))
}

pub(super) fn id(n: u8) -> QueueId {
    QueueId::new(at("2026-11-22T08:00:00Z"), [0, 0, 0, n])
}

/// A message from the nurse to these.
pub(super) fn job(to: &[&str]) -> Job {
    let mailboxes: Vec<Mailbox> = to.iter().map(|to| Mailbox::parse(to).unwrap()).collect();
    let recipients = (0..).zip(&mailboxes).map(|(index, mailbox)| JobRecipient {
        index,
        mailbox: mailbox.clone(),
        attempts: 2,
        delay_told: false,
        copy: None,
        released: false,
    });
    Job {
        host: Host::parse("x.example").unwrap(),
        recipients: recipients.collect(),
        message: Arc::new(Message {
            id: id(1),
            received_at: at("2026-11-22T08:00:00Z"),
            origin: Origin::Submitted(Source {
                principal: Principal::Account("ward7".into()),
                listener: "[::]:587".into(),
                client: [192, 0, 2, 1].into(),
                protocol: Protocol::Esmtpsa,
            }),
            envelope: Envelope {
                sender: Mailbox::parse("nurse@clinic.example").ok(),
                recipients: mailboxes,
                body: BodyType::SevenBit,
            },
            facts: MessageFacts {
                size: 99,
                eight_bit: false,
                message_id: Some("<1@clinic.example>".into()),
                content: None,
            },
        }),
        body: Arc::new(MemoryBody::new(
            // The end of the header lies across two pieces.
            [HEADER, "\r", "\nMr Zebra is fine.\r\n"].map(|s| Bytes::from_static(s.as_bytes())),
        )),
    }
}

/// A DSN about `job`'s message, to its sender.
pub(super) fn own(kind: OwnMailKind) -> Job {
    let mut job = job(&["nurse@clinic.example"]);
    let message = Arc::get_mut(&mut job.message).unwrap();
    message.origin = Origin::Own(kind);
    message.envelope.sender = None;
    message.id = id(2);
    job
}

pub(super) fn failure(reason: Reason, status: &str, reply: Option<(u16, &str)>) -> Failure {
    Failure {
        reason,
        stage: Stage::Rcpt,
        status: status.into(),
        reply: reply.map(|(code, text)| RemoteReply {
            code,
            enhanced: Some(status.into()),
            text: text.into(),
        }),
    }
}

pub(super) fn delivered() -> Fate {
    Fate::Delivered(RemoteReply {
        code: 250,
        enhanced: Some("2.0.0".into()),
        text: "Ok: queued as 1".into(),
    })
}

pub(super) fn report(job: &Job, fates: Vec<Fate>) -> Report {
    let evidence = Evidence {
        remote: Some(Remote {
            name: "mx.x.example".into(),
            address: "192.0.2.25:25".parse().ok(),
        }),
        ..Evidence::default()
    };
    let recipients = job
        .recipients
        .iter()
        .zip(fates)
        .map(|(r, fate)| RecipientReport {
            index: r.index,
            fate,
            method: Some(Method::Tls),
            evidence: evidence.clone(),
            waiting: crate::types::Waiting::default(),
            copy: None,
            note: None,
        });
    Report {
        id: job.message.id,
        site: Some(Site::new(["mx.x.example"])),
        at: at("2026-11-22T08:05:00Z"),
        recipients: recipients.collect(),
        learnt: None,
        waiver: None,
    }
}

/// The third attempt's decision.
pub(super) fn decided(verdict: Verdict) -> Decision {
    Decision {
        verdict,
        attempts: 3,
    }
}

pub(super) fn waits(tell_delay: bool) -> Verdict {
    Verdict::Waits {
        next: at("2026-11-22T08:25:00Z"),
        tell_delay,
    }
}
