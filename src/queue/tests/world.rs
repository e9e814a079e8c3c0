//! A queue between a scripted delivery and a store that can be made to fail.
//!
//! Holds always, and panics otherwise: no message is attempted at one host twice
//! at once, and none without its mark in the store.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use crate::delivery::{Deliver, Hop, Lane, NoRoute, Route};
use crate::outcome::{self, Outcome};
use crate::queue::shared::Shared;
use crate::queue::{Queue, QueueHandle, Settings};
use crate::spool::{
    Due, Filter, Fresh, FreshReceiver, Intake, MemoryStore, SpoolError, Stats, Store, Stored,
    Survey, Ticket,
};
use crate::sys::{Clock, SystemEntropy, TokioClock};
use crate::types::{
    AuditEvent, BodyType, BoxFuture, Domain, Envelope, Evidence, Failure, Fate, Host, Job, Mailbox,
    MessageFacts, Origin, OwnMailKind, Principal, Protocol, QueueId, Reason, RecipientReport,
    RemoteReply, Report, Settlement, Site, Source, Stage, Timestamp,
};

pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// tokio's clock, which a test can set back or forward.
pub(super) struct JumpClock {
    steady: TokioClock,
    offset: AtomicI64,
}

impl JumpClock {
    pub(super) fn jump(&self, seconds: i64) {
        self.offset.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }
}

impl Clock for JumpClock {
    fn now(&self) -> Timestamp {
        let offset = self.offset.load(Ordering::SeqCst);
        Timestamp::from_micros(self.steady.now().as_micros() + offset)
    }
}

/// One attempt, as delivery saw it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) id: QueueId,
    pub(super) host: String,
    pub(super) at: Timestamp,
    pub(super) recipients: Vec<u32>,
    pub(super) attempts: Vec<u32>,
}

/// What delivery is to do.
#[derive(Debug, Clone)]
pub(super) enum Act {
    Deliver,
    Defer(Reason, Stage),
    Bounce,
    Panic,
    /// Each recipient its own: by its place in the job.
    Each(Vec<Act>),
}

type Script = dyn Fn(&Job) -> Act + Send + Sync;
type Way = dyn Fn(&Host) -> Result<String, bool> + Send + Sync;

/// The scripted delivery.
pub(super) struct Scripted {
    clock: Arc<JumpClock>,
    store: Arc<Watched>,
    /// What it does; where hosts lead (`Err`: nowhere, permanently or not); how
    /// long an attempt takes.
    pub(super) script: Mutex<Arc<Script>>,
    pub(super) way: Mutex<Arc<Way>>,
    pub(super) takes: Mutex<Duration>,
    pub(super) seen: Mutex<Vec<Seen>>,
    under_way: Mutex<HashSet<(QueueId, Host)>>,
    now_at: Mutex<HashMap<String, usize>>,
    /// The most attempts at once: at any one site, and in all.
    pub(super) most: Mutex<(usize, usize)>,
}

impl Scripted {
    pub(super) fn does(&self, script: impl Fn(&Job) -> Act + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Arc::new(script);
    }

    pub(super) fn leads(
        &self,
        way: impl Fn(&Host) -> Result<String, bool> + Send + Sync + 'static,
    ) {
        *self.way.lock().unwrap() = Arc::new(way);
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn enter(&self, job: &Job, site: &str) {
        let key = (job.message.id, job.host.clone());
        assert!(self.under_way.lock().unwrap().insert(key), "twice at once");
        let marked = self.store.marked.lock().unwrap().contains(&job.message.id);
        assert!(marked, "attempted without a mark");
        let mut at = self.now_at.lock().unwrap();
        *at.entry(site.to_owned()).or_default() += 1;
        let mut most = self.most.lock().unwrap();
        most.0 = most.0.max(at[site]);
        most.1 = most.1.max(at.values().sum());
        self.seen.lock().unwrap().push(Seen {
            id: job.message.id,
            host: job.host.to_string(),
            at: self.clock.now(),
            recipients: job.recipients.iter().map(|r| r.index).collect(),
            attempts: job.recipients.iter().map(|r| r.attempts).collect(),
        });
    }

    fn leave(&self, job: &Job, site: &str) {
        let key = (job.message.id, job.host.clone());
        self.under_way.lock().unwrap().remove(&key);
        *self.now_at.lock().unwrap().get_mut(site).unwrap() -= 1;
    }

    fn report(&self, job: &Job, site: Option<Site>, act: &Act) -> Report {
        let one = |place: usize| match act {
            Act::Each(acts) => fate(&acts[place]),
            act => fate(act),
        };
        let recipients = job
            .recipients
            .iter()
            .enumerate()
            .map(|(place, r)| RecipientReport {
                index: r.index,
                fate: one(place),
                method: None,
                evidence: Evidence::default(),
                waiting: crate::types::Waiting::default(),
                copy: None,
                note: None,
            });
        Report {
            id: job.message.id,
            site,
            at: self.clock.now(),
            recipients: recipients.collect(),
            learnt: None,
            waiver: None,
        }
    }
}

fn fate(act: &Act) -> Fate {
    let failure = |reason, stage, status: &str| Failure {
        reason,
        stage,
        status: status.into(),
        reply: None,
    };
    match act {
        Act::Deliver => Fate::Delivered(RemoteReply {
            code: 250,
            enhanced: Some("2.0.0".into()),
            text: "Ok".into(),
        }),
        Act::Defer(reason, stage) => Fate::Deferred(failure(*reason, *stage, "4.4.1")),
        Act::Bounce => Fate::Bounced(failure(Reason::Rejected, Stage::Rcpt, "5.1.1")),
        Act::Panic | Act::Each(_) => panic!("scripted"),
    }
}

impl Deliver for Scripted {
    fn route<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Result<Route, NoRoute>> {
        let way = Arc::clone(&self.way.lock().unwrap());
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            match way(host) {
                Ok(name) => Ok(Route {
                    site: Site::new([name.as_str()]),
                    hosts: vec![Hop {
                        host: host.clone(),
                        port: 25,
                        preference: 10,
                    }],
                    fixed: None,
                    ttl: Duration::from_secs(300),
                }),
                Err(permanent) => Err(NoRoute {
                    permanent,
                    failure: Failure {
                        reason: if permanent {
                            Reason::NoSuchDomain
                        } else {
                            Reason::DnsFailed
                        },
                        stage: Stage::Route,
                        status: if permanent { "5.1.2" } else { "4.4.3" }.into(),
                        reply: None,
                    },
                }),
            }
        })
    }

    fn unroutable<'a>(&'a self, job: &'a Job, why: &'a NoRoute) -> Report {
        let mut report = self.report(job, None, &Act::Bounce);
        for recipient in &mut report.recipients {
            recipient.fate = match why.permanent {
                true => Fate::Bounced(why.failure.clone()),
                false => Fate::Deferred(why.failure.clone()),
            };
        }
        report
    }

    fn attempt<'a>(
        &'a self,
        job: &'a Job,
        route: &'a Route,
        _lane: &'a mut Lane,
    ) -> BoxFuture<'a, Report> {
        Box::pin(async move {
            let site = route.site.as_str();
            self.enter(job, site);
            let takes = *self.takes.lock().unwrap();
            tokio::time::sleep(takes).await;
            let script = Arc::clone(&self.script.lock().unwrap());
            let act = script(job);
            self.leave(job, site);
            if let Act::Panic = act {
                panic!("scripted");
            }
            self.report(job, Some(route.site.clone()), &act)
        })
    }

    fn hang_up(&self, _lane: Lane) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// A store that counts, records, and fails to settle while told to.
pub(super) struct Watched {
    inner: MemoryStore,
    pub(super) sick: Mutex<bool>,
    pub(super) suspects: Mutex<Vec<QueueId>>,
    pub(super) settlements: Mutex<Vec<Settlement>>,
    pub(super) loads: Mutex<usize>,
    pub(super) marked: Mutex<HashSet<QueueId>>,
}

impl Watched {
    /// Audit events of all settlements.
    pub(super) fn events(&self) -> Vec<AuditEvent> {
        let settlements = self.settlements.lock().unwrap();
        settlements.iter().flat_map(|s| s.events.clone()).collect()
    }

    /// When DSNs were written, whose subject has this word.
    pub(super) fn dsns(&self, word: &str) -> Vec<(QueueId, Timestamp)> {
        let settlements = self.settlements.lock().unwrap();
        let messages = settlements.iter().flat_map(|s| &s.messages);
        messages
            .filter(|new| {
                let text = String::from_utf8_lossy(&new.octets);
                let subject = text.lines().find(|line| line.starts_with("Subject: "));
                subject.unwrap().contains(word)
            })
            .map(|new| match new.message.origin {
                Origin::Own(OwnMailKind::Dsn { about }) => (about, new.message.received_at),
                _ => panic!("not a DSN"),
            })
            .collect()
    }
}

impl Store for Watched {
    fn intake(&self) -> Result<Box<dyn Intake>, SpoolError> {
        self.inner.intake()
    }
    fn settle(&self, settlement: Settlement) -> BoxFuture<'_, Result<(), SpoolError>> {
        Box::pin(async move {
            if *self.sick.lock().unwrap() {
                return Err(SpoolError::Sick(Arc::new(std::io::Error::other("sick"))));
            }
            self.inner.settle(settlement.clone()).await?;
            self.settlements.lock().unwrap().push(settlement);
            Ok(())
        })
    }
    fn load(&self, id: QueueId) -> BoxFuture<'_, Result<Stored, SpoolError>> {
        *self.loads.lock().unwrap() += 1;
        self.inner.load(id)
    }
    fn due_hosts(&self) -> BoxFuture<'_, Result<Vec<(Host, Timestamp)>, SpoolError>> {
        self.inner.due_hosts()
    }
    fn due(
        &self,
        host: &Host,
        after: Option<Due>,
        until: Timestamp,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Due>, SpoolError>> {
        self.inner.due(host, after, until, limit)
    }
    fn held(&self, until: Timestamp, limit: usize) -> BoxFuture<'_, Result<Vec<Due>, SpoolError>> {
        self.inner.held(until, limit)
    }
    fn take_overflow(&self) -> Vec<Host> {
        self.inner.take_overflow()
    }
    fn list(
        &self,
        filter: &Filter,
        after: Option<QueueId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Stored>, SpoolError>> {
        self.inner.list(filter, after, limit)
    }
    fn stats(&self) -> BoxFuture<'_, Result<Stats, SpoolError>> {
        self.inner.stats()
    }
    fn survey(&self, moments: Vec<Timestamp>) -> BoxFuture<'_, Result<Survey, SpoolError>> {
        self.inner.survey(moments)
    }
    fn begin_attempt(&self, id: QueueId) {
        assert!(self.marked.lock().unwrap().insert(id), "marked twice");
    }
    fn end_attempt(&self, id: QueueId) {
        assert!(self.marked.lock().unwrap().remove(&id), "not marked");
    }
    fn take_suspects(&self) -> Vec<QueueId> {
        std::mem::take(&mut *self.suspects.lock().unwrap())
    }
    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}

/// All of it, not yet running.
pub(in crate::queue) struct World {
    pub(super) store: Arc<Watched>,
    pub(super) deliver: Arc<Scripted>,
    pub(super) clock: Arc<JumpClock>,
    pub(in crate::queue) settings: Settings,
    fresh: Option<FreshReceiver>,
    shutdown: watch::Sender<bool>,
}

impl World {
    pub(in crate::queue) fn new() -> Self {
        let clock = Arc::new(JumpClock {
            steady: TokioClock::starting_at("2026-11-22T08:00:00Z".parse().unwrap()),
            offset: AtomicI64::new(0),
        });
        let (inner, fresh) = MemoryStore::new(clock.clone(), Arc::new(SystemEntropy::default()));
        let store = Arc::new(Watched {
            inner,
            sick: Mutex::default(),
            suspects: Mutex::default(),
            settlements: Mutex::default(),
            loads: Mutex::default(),
            marked: Mutex::default(),
        });
        let deliver = Arc::new(Scripted {
            clock: clock.clone(),
            store: store.clone(),
            script: Mutex::new(Arc::new(|_| Act::Deliver)),
            way: Mutex::new(Arc::new(|host| Ok(format!("mx.{host}")))),
            takes: Mutex::new(Duration::from_millis(20)),
            seen: Mutex::default(),
            under_way: Mutex::default(),
            now_at: Mutex::default(),
            most: Mutex::default(),
        });
        Self {
            store,
            deliver,
            clock,
            settings: Settings::default(),
            fresh: Some(fresh),
            shutdown: watch::channel(false).0,
        }
    }

    /// What was sent until now was accepted by a process that has ended.
    pub(super) fn forget_fresh(&mut self) {
        while self.fresh.as_mut().unwrap().try_recv().is_ok() {}
        self.store.take_overflow();
    }

    /// Takes what was sent until now out of the channel, to be handed over late.
    pub(super) fn hold_fresh(&mut self) -> (tokio::sync::mpsc::Sender<Fresh>, Vec<Fresh>) {
        let (sender, receiver) = tokio::sync::mpsc::channel(1000);
        let mut before = self.fresh.replace(receiver).unwrap();
        let held = std::iter::from_fn(|| before.try_recv().ok()).collect();
        (sender, held)
    }

    pub(super) fn start(&mut self) -> QueueHandle {
        let entropy = Arc::new(SystemEntropy::default());
        Queue {
            settings: self.settings.clone(),
            store: self.store.clone(),
            fresh: self.fresh.take().unwrap(),
            deliver: self.deliver.clone(),
            outcome: self.outcome(),
            clock: self.clock.clone(),
            entropy,
            shutdown: self.shutdown.subscribe(),
        }
        .start()
    }

    fn outcome(&self) -> Arc<Outcome> {
        let entropy = Arc::new(SystemEntropy::default());
        let settings = outcome::Settings {
            hostname: Domain::parse("relay.clinic.example").unwrap(),
            postmaster: None,
            audit_folder: "/nowhere".into(),
            audit_key: "/nowhere".into(),
            audit_keep: Duration::MAX,
            log_addresses: false,
            expire: self.settings.expire,
        };
        Arc::new(Outcome::new(settings, self.clock.clone(), entropy))
    }

    /// What a dispatcher is made of, for a test that is one itself.
    pub(in crate::queue) fn shared(&self) -> Arc<Shared> {
        Arc::new(Shared::new(
            self.settings.clone(),
            self.store.clone(),
            self.deliver.clone(),
            self.outcome(),
            self.clock.clone(),
            Arc::new(SystemEntropy::default()),
        ))
    }

    pub(super) fn stop(&self) {
        self.shutdown.send_replace(true);
    }

    /// Accepts a message.
    pub(super) async fn send(&self, to: &[&str]) -> QueueId {
        self.send_from(Some("nurse@clinic.example"), to).await
    }

    pub(super) async fn send_from(&self, from: Option<&str>, to: &[&str]) -> QueueId {
        let mut intake = self.store.intake().unwrap();
        let octets = Bytes::from_static(b"From: nurse@clinic.example\r\n\r\nhello\r\n");
        intake.write(octets).await.unwrap();
        let ticket = Ticket {
            origin: Origin::Submitted(Source {
                principal: Principal::Account("clinic".into()),
                listener: "[::]:587".into(),
                client: [192, 0, 2, 1].into(),
                protocol: Protocol::Esmtpsa,
            }),
            envelope: Envelope {
                sender: from.map(|from| Mailbox::parse(from).unwrap()),
                recipients: to.iter().map(|to| Mailbox::parse(to).unwrap()).collect(),
                body: BodyType::SevenBit,
            },
            facts: MessageFacts {
                size: 36,
                eight_bit: false,
                message_id: None,
                content: None,
            },
        };
        intake.commit(ticket).await.unwrap().id
    }

    /// Lets time go by until nothing is open, at most `limit`.
    pub(super) async fn until_empty(&self, limit: Duration) {
        let step = (limit / 5000).max(Duration::from_millis(100));
        let end = tokio::time::Instant::now() + limit;
        while self.open().await > 0 {
            assert!(tokio::time::Instant::now() < end, "still open");
            tokio::time::sleep(step).await;
        }
    }

    pub(super) async fn open(&self) -> u64 {
        self.store.stats().await.unwrap().recipients
    }
}
