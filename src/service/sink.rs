//! Where settled events, what was learnt, and what happened to domains go.
//!
//! Owns the way from whoever has something to say of a domain to the audit. Holds
//! always: only the spool's own threads write the audit, one at a time; whoever
//! tells something hands it over and need not wait; what can't be written stays here
//! until it can, up to a bound. What was seen is lost by a crash in the last second,
//! and is seen again; an operator's act is answered once it is durable. Built by
//! `run` and given to the spool; told by [`super::learning`] and [`super::domain`].

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::outcome::audit::AuditLog;
use crate::sys::Entropy;
use crate::types::{
    AuditEvent, Domain, DomainChange, DomainEvent, EventId, EventSink, Learnt, Timestamp,
};

/// What waits on its way, of each kind, at most; what is more is left out.
const WAITING: usize = 4096;

/// How long an operator waits for the audit.
const PATIENCE: Duration = Duration::from_secs(10);

/// An event, and who waits until it is durable.
type Told = (DomainEvent, Option<oneshot::Sender<()>>);

/// What the sink takes to others and from others, beside what is settled.
pub(super) struct Ways {
    learnt: mpsc::Sender<Learnt>,
    told: mpsc::Receiver<Told>,
}

/// Whatever settled events and what was learnt go to.
pub(super) struct Sink {
    audit: AuditLog,
    /// `None` where there is no daemon (the spool's own commands).
    ways: Option<Ways>,
    /// Events of domains that the audit has not taken yet.
    waiting: Vec<DomainEvent>,
    /// Who waits for those and for what is not durable yet.
    answers: Vec<oneshot::Sender<()>>,
}

/// Tells the audit what happened to domains.
#[derive(Clone)]
pub(super) struct Teller {
    to: mpsc::Sender<Told>,
    entropy: Arc<dyn Entropy>,
    counter: Arc<AtomicU32>,
}

/// What happened to a domain; its name is made by the [`Teller`].
pub(super) struct Happened<'a> {
    pub(super) time: Timestamp,
    pub(super) domain: &'a Domain,
    pub(super) host: Option<&'a str>,
    pub(super) change: DomainChange,
    pub(super) what: String,
    pub(super) actor: Option<&'a str>,
}

/// The ways to and from a sink: its own ends, and those of the others.
pub(super) fn ways(entropy: Arc<dyn Entropy>) -> (Ways, mpsc::Receiver<Learnt>, Teller) {
    let (learnt, taught) = mpsc::channel(WAITING);
    let (to, told) = mpsc::channel(WAITING);
    let counter = Arc::default();
    let teller = Teller {
        to,
        entropy,
        counter,
    };
    (Ways { learnt, told }, taught, teller)
}

impl Teller {
    /// Hands over what happened. Does not wait.
    pub(super) fn tell(&self, happened: Happened<'_>) {
        self.hand_over(happened, None);
    }

    /// Hands over what an operator did, and waits until it is durable.
    ///
    /// # Errors
    /// What to tell the operator, where it is not.
    pub(super) async fn tell_for_good(&self, happened: Happened<'_>) -> Result<(), String> {
        let (done, is_done) = oneshot::channel();
        self.hand_over(happened, Some(done));
        match tokio::time::timeout(PATIENCE, is_done).await {
            Ok(Ok(())) => Ok(()),
            _ => Err("it is done, but could not be written into the audit yet: see the log".into()),
        }
    }

    fn hand_over(&self, happened: Happened<'_>, done: Option<oneshot::Sender<()>>) {
        let event = DomainEvent {
            event: self.name(happened.time),
            time: happened.time,
            domain: happened.domain.clone(),
            host: happened.host.map(str::to_owned),
            change: happened.change,
            what: happened.what,
            actor: happened.actor.map(str::to_owned),
        };
        if let Err(error) = self.to.try_send((event, done)) {
            let domain = happened.domain;
            tracing::warn!(%error, "the audit misses an event of {domain}; this log has it");
        }
    }

    /// It has to be unique, not secret.
    fn name(&self, now: Timestamp) -> EventId {
        let mut random = [0; 4];
        if self.entropy.fill(&mut random).is_err() {
            random = self.counter.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        }
        EventId::new(now, random)
    }
}

impl Sink {
    pub(super) fn new(audit: AuditLog, ways: Option<Ways>) -> Self {
        Self {
            audit,
            ways,
            waiting: Vec::new(),
            answers: Vec::new(),
        }
    }
}

impl EventSink for Sink {
    fn begin(&mut self) -> io::Result<()> {
        self.audit.begin()
    }

    fn append(&mut self, events: &[AuditEvent]) -> io::Result<()> {
        self.audit.append(events)
    }

    fn tend(&mut self) -> io::Result<()> {
        if let Some(ways) = &mut self.ways {
            while self.waiting.len() < WAITING
                && let Ok((event, answer)) = ways.told.try_recv()
            {
                self.waiting.push(event);
                self.answers.extend(answer);
            }
        }
        let taken = match self.waiting.is_empty() {
            true => Ok(()),
            false => self.audit.append_domains(&self.waiting),
        };
        if taken.is_ok() {
            self.waiting.clear();
        }
        // Also where it did not take them: after a failed sync it takes nothing
        // until one has succeeded.
        self.audit.sync().and(taken)?;
        for answer in self.answers.drain(..) {
            // Who waits no more needs no answer.
            let _ = answer.send(());
        }
        Ok(())
    }

    fn learn(&mut self, learnt: Learnt) {
        if let Some(ways) = &self.ways {
            // Full or gone: it is learnt again with the next message.
            let _ = ways.learnt.try_send(learnt);
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.audit.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Settings;
    use crate::outcome::audit::{AuditFilter, public_path, read_lines, verify};
    use crate::sys::{Fault, FaultyDisk, Operation, Planned, RealDisk, SystemClock, SystemEntropy};

    struct Rig {
        folder: tempfile::TempDir,
        disk: FaultyDisk,
        sink: Sink,
        teller: Teller,
    }

    fn rig() -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::new(Arc::new(RealDisk));
        let settings = Settings {
            hostname: Domain::parse("relay.clinic.example").unwrap(),
            postmaster: None,
            audit_folder: folder.path().join("audit"),
            audit_key: folder.path().join("keys/audit"),
            audit_keep: std::time::Duration::from_secs(400 * 24 * 3600),
            log_addresses: false,
            expire: std::time::Duration::from_secs(5 * 24 * 3600),
        };
        let entropy = Arc::new(SystemEntropy::default());
        let (clock, port) = (Arc::new(SystemClock), Arc::new(disk.clone()));
        let audit = AuditLog::open(port, clock, entropy.as_ref(), &settings).unwrap();
        let (ways, _, teller) = ways(entropy);
        let mut sink = Sink::new(audit, Some(ways));
        sink.begin().unwrap();
        Rig {
            folder,
            disk,
            sink,
            teller,
        }
    }

    impl Rig {
        fn tell(&self) {
            self.teller.tell(Happened {
                time: Timestamp::from_micros(1_800_000_000_000_000),
                domain: &Domain::parse("x.example").unwrap(),
                host: None,
                change: DomainChange::Worse,
                what: "TLSv1.3 before, no TLS now".into(),
                actor: None,
            });
        }

        fn break_on(&self, operation: Operation) {
            self.disk.plan(Planned {
                operation,
                path: ".jsonl".into(),
                after: 0,
                times: u64::MAX,
                fault: Fault::Error(io::ErrorKind::Other),
            });
        }

        /// Lines in the audit, which is one chain.
        fn lines(&self) -> usize {
            let folder = self.folder.path().join("audit");
            let key = public_path(&self.folder.path().join("keys/audit"));
            let found = verify(&folder, &key, &[]).unwrap();
            assert!(found.intact, "{:?}", found.breaks);
            read_lines(&folder, &AuditFilter::default())
                .unwrap()
                .count()
        }
    }

    #[test]
    fn what_is_told_is_written_at_the_next_round() {
        let mut rig = rig();
        rig.sink.tend().unwrap();
        rig.tell();
        rig.tell();
        assert_eq!(rig.lines(), 0);
        let before = rig.disk.count(Operation::Sync, ".jsonl");
        rig.sink.tend().unwrap();
        assert_eq!(rig.lines(), 2, "each has a name of its own");
        assert_eq!(rig.disk.count(Operation::Sync, ".jsonl"), before + 1);
        rig.sink.tend().unwrap();
        assert_eq!(
            rig.disk.count(Operation::Sync, ".jsonl"),
            before + 1,
            "nothing to do"
        );
    }

    #[test]
    fn what_the_disk_did_not_take_is_written_once_it_can() {
        let mut rig = rig();
        for operation in [Operation::Write, Operation::Sync] {
            let before = rig.lines();
            rig.break_on(operation);
            rig.tell();
            rig.sink.tend().unwrap_err();
            // In the meantime another one.
            rig.tell();
            rig.sink.tend().unwrap_err();
            rig.disk.heal();
            // After a failed sync, the next one is for what was there before.
            let _ = rig.sink.tend();
            rig.sink.tend().unwrap();
            assert_eq!(rig.lines(), before + 2, "{operation:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_operators_act_is_answered_once_it_is_durable() {
        let mut rig = rig();
        let domain = Domain::parse("x.example").unwrap();
        let teller = rig.teller.clone();
        let act = || Happened {
            time: Timestamp::from_micros(1_800_000_000_000_000),
            domain: &domain,
            host: None,
            change: DomainChange::ExceptionMade,
            what: String::new(),
            actor: Some("uid=0(root)"),
        };
        rig.break_on(Operation::Sync);
        let (told, _) = tokio::join!(teller.tell_for_good(act()), async {
            tokio::task::yield_now().await;
            rig.sink.tend().unwrap_err();
        });
        assert!(told.unwrap_err().contains("see the log"));
        rig.disk.heal();
        let (told, _) = tokio::join!(teller.tell_for_good(act()), async {
            tokio::task::yield_now().await;
            let _ = rig.sink.tend();
            rig.sink.tend().unwrap();
        });
        assert_eq!((told, rig.lines()), (Ok(()), 2));
    }

    #[test]
    fn what_comes_faster_than_it_is_written_is_left_out() {
        let mut rig = rig();
        (0..WAITING + 3).for_each(|_| rig.tell());
        rig.sink.tend().unwrap();
        assert_eq!(rig.lines(), WAITING);
    }
}
