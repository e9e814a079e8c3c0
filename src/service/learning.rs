//! The running daemon's TLS memory: what feeds it, what asks it, what it tells.
//!
//! Owns the way from the spool's sink to the memory, the daily probes, and the lines,
//! figures and audit events about domains that get better or worse. Holds always: the spool's
//! thread only hands over; what is learnt is in the table within a second or two,
//! and at a stop before the tables are closed; a probe is an attempt's own walk,
//! without the mail. Started by `run`.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::domain::{self, TABLE};
use super::explain::probe_with;
use super::sink::{Happened, Teller};
use super::tables::Knowledge;
use crate::assurance::{Better, Exceptions, PLAIN_LAPSE, Remembers, TlsMemory, Turn};
use crate::config::Config;
use crate::delivery::Deliverer;
use crate::policy::{Content, Policy, Question};
use crate::sys::metrics::{Counter, Page};
use crate::sys::{Clock, MemoryTable, RealDisk, TableError};
use crate::types::{Domain, DomainChange, Foreseen, Foresight, Host, Learnt, Timestamp};

/// Between two writes to the table of what is new, ...
const SAVE: Duration = Duration::from_secs(1);
/// ... and of when known domains were last seen; between two looks at who is to be probed,
/// and which exceptions have lapsed.
const LOOK: Duration = Duration::from_secs(60);
/// How often a domain is probed.
const PROBE: Duration = Duration::from_secs(24 * 3600);
/// Domains that mail went to within this time are probed.
const ACTIVE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Probes at once.
const PROBES: usize = 4;
/// Looks in a day.
const LOOKS: usize = 24 * 60;

/// The memory with what is needed to use it; shared by all who do.
#[derive(Clone)]
pub(super) struct Domains {
    pub(super) memory: Arc<TlsMemory>,
    pub(super) audit: Teller,
    clock: Arc<dyn Clock>,
    in_force: Arc<RwLock<InForce>>,
    figures: Arc<Figures>,
}

/// What a reload replaces.
struct InForce {
    deliverer: Arc<Deliverer>,
    policy: Policy,
    probe: bool,
}

/// What there is to see.
#[derive(Debug)]
struct Figures {
    turns: Counter<1>,
    probes: Counter<1>,
}

/// Ends the tasks when asked.
pub(super) struct Learning {
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
    probing: tokio::task::JoinHandle<()>,
}

/// Reads what is remembered; where that can't be, it begins anew and says so.
pub(super) async fn memory(config: &Config, knowledge: &Knowledge) -> Arc<TlsMemory> {
    let table = knowledge.table(TABLE);
    let config = config.clone();
    let path = domain::exceptions_file(&config);
    let opening = tokio::task::spawn_blocking(move || {
        let exceptions = domain::exceptions(&config).unwrap_or_else(|error| {
            tracing::error!("no exception is in force, since their file can't be read: {error}");
            Exceptions::none(Arc::new(RealDisk), path)
        });
        TlsMemory::open(table, exceptions)
    });
    match opening.await {
        Ok(memory) => Arc::new(memory),
        // Only by a panic.
        Err(_) => Arc::new(TlsMemory::open(
            Arc::new(MemoryTable::default()),
            Exceptions::none(Arc::new(RealDisk), std::path::PathBuf::new()),
        )),
    }
}

impl Domains {
    pub(super) fn new(
        config: &Config,
        memory: Arc<TlsMemory>,
        audit: Teller,
        deliverer: Arc<Deliverer>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            memory,
            audit,
            clock,
            in_force: Arc::new(RwLock::new(InForce::new(config, deliverer))),
            figures: Arc::new(Figures {
                turns: Counter::with([["better"], ["worse"]]),
                probes: Counter::with([["answered"], ["unanswered"]]),
            }),
        }
    }

    /// After a reload.
    pub(super) fn renew(&self, config: &Config, deliverer: Arc<Deliverer>) {
        let mut in_force = self
            .in_force
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *in_force = InForce::new(config, deliverer);
    }

    /// What delivery reads.
    pub(super) fn as_memory(&self) -> Arc<dyn Remembers> {
        Arc::clone(&self.memory) as Arc<dyn Remembers>
    }

    /// The deliverer in force.
    pub(super) fn deliverer(&self) -> Arc<Deliverer> {
        Arc::clone(&self.in_force().deliverer)
    }

    /// Takes in what was learnt, and tells what follows.
    pub(super) fn learn(&self, learnt: &Learnt) {
        for turn in self.memory.learn(learnt) {
            self.tell(&turn, learnt.at);
        }
    }

    /// Starts to take in what comes, and to probe.
    pub(super) fn start(&self, learnt: mpsc::Receiver<Learnt>) -> Learning {
        let (stop, stopped) = oneshot::channel();
        Learning {
            stop,
            task: tokio::spawn(self.clone().take_in(learnt, stopped)),
            probing: tokio::spawn(self.clone().probe_daily()),
        }
    }

    /// Writes the figures.
    pub(super) fn write_figures(&self, page: &mut Page) {
        let now = self.clock.now();
        let counts = self.memory.counts(now);
        let figure = |n: u64| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
        page.gauges(
            "postern_domains",
            "Domains remembered: counted as encrypted, known not to do TLS, or neither.",
            ["state"],
            [
                (["encrypted"], figure(counts.encrypted)),
                (["no-tls"], figure(counts.plain)),
                (["seen"], figure(counts.other)),
            ],
        );
        page.gauge(
            "postern_domain_exceptions",
            "Exceptions in force that let a remembered domain have cleartext.",
            figure(self.memory.exceptions().all(now).len() as u64),
        );
        page.counter(
            "postern_domain_turns_total",
            "Domains whose protection got better or worse.",
            ["way"],
            &self.figures.turns,
        );
        page.counter(
            "postern_domain_probes_total",
            "Daily probes of domains: a host answered, or none did.",
            ["result"],
            &self.figures.probes,
        );
    }

    fn in_force(&self) -> std::sync::RwLockReadGuard<'_, InForce> {
        self.in_force.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, turn: &Turn, time: Timestamp) {
        let (way, domain, what) = (turn.way.as_str(), &turn.domain, &turn.what);
        self.figures.turns.count([way]);
        let host = turn.host.as_deref().unwrap_or("all");
        let line = format!("domain {way}: domain={domain} host={host} what=\"{what}\"");
        match turn.way {
            Better::Better => tracing::info!("{line}"),
            Better::Worse => tracing::warn!("{line}"),
        }
        self.audit.tell(Happened {
            time,
            domain,
            host: turn.host.as_deref(),
            change: match turn.way {
                Better::Better => DomainChange::Better,
                Better::Worse => DomainChange::Worse,
            },
            what: what.clone(),
            actor: None,
        });
    }

    async fn take_in(self, mut learnt: mpsc::Receiver<Learnt>, mut stopped: oneshot::Receiver<()>) {
        let mut saving = tokio::time::interval(SAVE);
        saving.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looking = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                Some(learnt) = learnt.recv() => self.learn(&learnt),
                _ = saving.tick() => self.save(TlsMemory::save).await,
                _ = looking.tick() => {
                    self.save(TlsMemory::save_all).await;
                    self.lapse().await;
                }
                _ = &mut stopped => break,
            }
        }
        while let Ok(learnt) = learnt.try_recv() {
            self.learn(&learnt);
        }
        self.save(TlsMemory::save_all).await;
    }

    async fn save(&self, save: fn(&TlsMemory) -> Result<(), TableError>) {
        let memory = Arc::clone(&self.memory);
        let saving = tokio::task::spawn_blocking(move || save(&memory));
        if let Ok(Err(error)) = saving.await {
            tracing::error!("the TLS memory can't be written; tried again: {error}");
        }
    }

    async fn lapse(&self) {
        let (memory, now) = (Arc::clone(&self.memory), self.clock.now());
        let lapsing = tokio::task::spawn_blocking(move || memory.exceptions().lapse(now));
        match lapsing.await {
            Ok(Ok(lapsed)) => {
                for waiver in lapsed {
                    self.audit.tell(Happened {
                        time: now,
                        domain: &waiver.domain,
                        host: None,
                        change: DomainChange::ExceptionLapsed,
                        what: domain::exception_words(&waiver),
                        actor: None,
                    });
                    let (domain, owner, until) = (waiver.domain, waiver.owner, waiver.until);
                    tracing::warn!("exception lapsed: domain={domain} by={owner} until={until}");
                }
            }
            Ok(Err(error)) => tracing::error!("lapsed exceptions can't be taken out: {error}"),
            Err(_) => {}
        }
    }

    async fn probe_daily(self) {
        let mut looking = tokio::time::interval(LOOK);
        looking.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut probes = JoinSet::new();
        loop {
            looking.tick().await;
            if !self.in_force().probe {
                continue;
            }
            let now = self.clock.now();
            for domain in due(&self.memory.active(now - ACTIVE), now) {
                while probes.len() >= PROBES {
                    probes.join_next().await;
                }
                let domains = self.clone();
                probes.spawn(async move { domains.probe(&domain).await });
            }
        }
    }

    /// One daily probe.
    async fn probe(&self, domain: &Domain) {
        let Ok(case) = domain::case(domain) else {
            return;
        };
        let learnt = match probe_with(&self.deliverer(), &case, true).await {
            Ok((_, learnt)) => learnt,
            Err(_) => None,
        };
        self.figures.probes.count([match &learnt {
            Some(_) => "answered",
            None => "unanswered",
        }]);
        // Nobody there is a probe too: it is not tried again within the day.
        let nothing = Learnt {
            domain: domain.clone(),
            at: self.clock.now(),
            is_probe: true,
            sts: None,
            hosts: Vec::new(),
        };
        self.learn(&learnt.unwrap_or(nothing));
    }
}

impl InForce {
    fn new(config: &Config, deliverer: Arc<Deliverer>) -> Self {
        Self {
            deliverer,
            policy: Policy::new(config.policy.clone(), config.hash.clone()),
            probe: config.policy.probe,
        }
    }
}

impl Learning {
    /// Takes in what is left, writes it, and ends.
    pub(super) async fn finish(self) {
        self.probing.abort();
        if self.stop.send(()).is_ok() {
            // It ends by itself, or by a panic that the log has.
            let _ = self.task.await;
        }
    }
}

impl Foresight for Domains {
    fn refuses(&self, question: Foreseen<'_>) -> bool {
        let Host::Domain(domain) = question.recipient.host() else {
            return false;
        };
        let in_force = self.in_force();
        let asked = Question {
            recipient: question.recipient,
            sender: question.sender,
            account: question.account,
            listener: Some(question.listener),
            own_mail: false,
            // Nothing of it has come yet.
            content: Content::Ours,
        };
        let wanted = question.by_listener || in_force.policy.refuses_without_tls(&asked);
        wanted
            && !in_force.deliverer.has_route(question.recipient.host())
            && self.memory.lacks_tls(domain, self.clock.now())
    }
}

/// Who is to be probed now, of the active domains with the time of their last probe,
/// longest ago first: those a day old, and no more at once than make up a day.
fn due(active: &[(Domain, Timestamp)], now: Timestamp) -> Vec<Domain> {
    let most = active.len().div_ceil(LOOKS).max(1);
    let due = active.iter().filter(|(_, last)| now.since(*last) >= PROBE);
    due.take(most).map(|(domain, _)| domain.clone()).collect()
}

const _: () = assert!(PLAIN_LAPSE.as_secs() > PROBE.as_secs());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_spread_and_a_day_apart() {
        let now = Timestamp::default() + 100 * PROBE;
        let domain = |n: usize| Domain::parse(&format!("d{n}.example")).unwrap();
        let all: Vec<_> = (0..3000).map(|n| (domain(n), now - 2 * PROBE)).collect();
        assert_eq!(due(&all, now), [domain(0), domain(1), domain(2)]);
        let fresh: Vec<_> = (0..5).map(|n| (domain(n), now - PROBE / 2)).collect();
        assert_eq!(due(&fresh, now), []);
        assert_eq!(due(&[(domain(0), now - PROBE)], now), [domain(0)]);
    }
}
