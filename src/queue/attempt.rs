//! One attempt: load, attempt, decide, settle.
//!
//! Holds always: work from the due index is loaded anew and only what is still
//! due is attempted, so that an entry read a moment too early does no harm; a
//! settlement is repeated until the store takes it, and until then the message
//! stays taken. Called by lanes, and for messages whose lane panicked.

use std::sync::Arc;
use std::time::Duration;

use crate::delivery::{Lane, NoRoute, Route};
use crate::outcome::Decision;
use crate::spool::{SpoolError, Stored};
use crate::types::{
    Evidence, Failure, Fate, Host, Job, JobRecipient, QueueId, Reason, RecipientReport, Report,
    Settlement, Stage, State, Timestamp, Waiting,
};

use super::health::{Health, judge};
use super::schedule;
use super::shared::{Mark, Shared};

/// The most that an attempt may take, whatever delivery's own time-outs come to,
/// besides the time that its octets take ...
const ATTEMPT_MAX: Duration = Duration::from_secs(2 * 60 * 60);
/// ... at so many a second, as delivery counts them too: what is cut off here
/// forgets whom it has reached.
const RATE_MIN: u64 = 8192;
/// The most that saying QUIT may take.
const HANG_UP_MAX: Duration = Duration::from_secs(10);
/// When a message is looked at again that the store could not give.
const STORE_PAUSE: Duration = Duration::from_secs(30);
/// Waits between attempts to settle: doubled, up to the last.
const SETTLE_WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// A message's due recipients at one host.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) id: QueueId,
    pub(super) host: Host,
    /// From memory; `None`: to be loaded.
    pub(super) job: Option<Arc<Job>>,
    /// Recipients due up to this moment are meant.
    pub(super) until: Timestamp,
}

impl Work {
    /// Octets that it holds in memory.
    pub(super) fn octets(&self) -> u64 {
        self.job.as_ref().map_or(0, |job| job.body.size())
    }
}

/// Where a host's mail goes, or why nowhere.
#[derive(Debug, Clone)]
pub(super) enum Lead {
    /// There.
    Route(Arc<Route>),
    /// Nowhere.
    None(Arc<NoRoute>),
}

/// What the dispatcher is told after an attempt.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) host: Host,
    pub(super) id: QueueId,
    pub(super) rest: Rest,
    pub(super) health: Health,
}

/// What is left to do for a message at a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing before this moment, or nothing at all.
    Until(Option<Timestamp>),
    /// It can't be read or settled: leave it alone for long.
    Park,
}

/// What of a message is due at a host.
struct Loaded {
    job: Arc<Job>,
    /// When recipients at the same host are due that are not due yet.
    later: Option<Timestamp>,
}

/// Makes an attempt and settles it.
pub(super) async fn perform(shared: &Shared, work: Work, lead: &Lead, lane: &mut Lane) -> Done {
    let _mark = Mark::new(shared, work.id);
    let done = |rest, health| Done {
        host: work.host.clone(),
        id: work.id,
        rest,
        health,
    };
    let loaded = match work.job.clone() {
        Some(job) => Loaded { job, later: None },
        None => match load(shared, &work).await {
            Ok(loaded) => loaded,
            Err(rest) => return done(rest, Health::Unknown),
        },
    };
    let job = &loaded.job;
    let report = complete(job, attempt(shared, job, lead, lane).await);
    let health = judge(&report);
    let decisions = decide(shared, job, &report);
    let settlement = shared.outcome.settle(job, &report, &decisions).await;
    let rest = settle(shared, settlement, loaded.later, lane).await;
    done(rest, health)
}

/// Settles a message whose attempt panicked: a deferral.
pub(super) async fn recover(shared: &Shared, work: Work) -> Done {
    let _mark = Mark::new(shared, work.id);
    let rest = match load(shared, &work).await {
        Ok(Loaded { job, later }) => {
            let report = deferral(&job, shared.now(), Reason::Interrupted);
            let decisions = decide(shared, &job, &report);
            let settlement = shared.outcome.settle(&job, &report, &decisions).await;
            settle(shared, settlement, later, &mut Lane::default()).await
        }
        Err(rest) => rest,
    };
    Done {
        host: work.host,
        id: work.id,
        rest,
        health: Health::Unknown,
    }
}

async fn attempt(shared: &Shared, job: &Job, lead: &Lead, lane: &mut Lane) -> Report {
    let route = match lead {
        Lead::Route(route) => route,
        Lead::None(why) => return shared.deliver.unroutable(job, why),
    };
    let attempt = shared.deliver.attempt(job, route, lane);
    let limit = ATTEMPT_MAX + Duration::from_secs(job.body.size() / RATE_MIN);
    match tokio::time::timeout(limit, attempt).await {
        Ok(report) => report,
        Err(_) => {
            tracing::error!(
                "id={}: an attempt was ended after {limit:?}",
                job.message.id
            );
            *lane = Lane::default();
            deferral(job, shared.now(), Reason::TimedOut)
        }
    }
}

/// A report that defers all of a job's recipients for a reason of our own.
pub(super) fn deferral(job: &Job, at: Timestamp, reason: Reason) -> Report {
    Report {
        id: job.message.id,
        site: None,
        at,
        recipients: job
            .recipients
            .iter()
            .map(|recipient| deferred(recipient, reason))
            .collect(),
        learnt: None,
        waiver: None,
    }
}

fn deferred(recipient: &JobRecipient, reason: Reason) -> RecipientReport {
    RecipientReport {
        index: recipient.index,
        fate: Fate::Deferred(Failure {
            reason,
            stage: Stage::Message,
            status: "4.3.0".to_owned(),
            reply: None,
        }),
        method: None,
        evidence: Evidence::default(),
        waiting: Waiting::default(),
        copy: None,
        note: None,
    }
}

/// The report with one entry for each recipient of the job, in its order: what
/// delivery left out counts as interrupted, what it made up is left out.
fn complete(job: &Job, mut report: Report) -> Report {
    let matches = report.recipients.len() == job.recipients.len()
        && job
            .recipients
            .iter()
            .zip(&report.recipients)
            .all(|(recipient, reported)| recipient.index == reported.index);
    if !matches {
        let mut reported: std::collections::HashMap<u32, RecipientReport> =
            report.recipients.drain(..).map(|r| (r.index, r)).collect();
        report.recipients = job
            .recipients
            .iter()
            .map(|recipient| {
                reported
                    .remove(&recipient.index)
                    .unwrap_or_else(|| deferred(recipient, Reason::Interrupted))
            })
            .collect();
    }
    report
}

/// One jitter for all, so that recipients that were deferred together are due
/// together and stay one transaction.
fn decide(shared: &Shared, job: &Job, report: &Report) -> Vec<Decision> {
    let (now, random) = (shared.now(), shared.random());
    job.recipients
        .iter()
        .zip(&report.recipients)
        .map(|(recipient, reported)| {
            let settings = &shared.settings;
            schedule::next(recipient, &job.message, now, reported, settings, random)
        })
        .collect()
}

async fn load(shared: &Shared, work: &Work) -> Result<Loaded, Rest> {
    let stored = match shared.store.load(work.id).await {
        Ok(stored) => stored,
        Err(SpoolError::Unknown) => return Err(Rest::Until(None)),
        Err(SpoolError::Damaged) => {
            tracing::error!("id={}: the stored message is damaged", work.id);
            return Err(Rest::Park);
        }
        Err(SpoolError::Full | SpoolError::Sick(_) | SpoolError::Closed) => {
            return Err(Rest::Until(Some(shared.now() + STORE_PAUSE)));
        }
    };
    let is_due = |when: Timestamp| when <= work.until;
    let (job, later) = job_of(&stored, &work.host, is_due);
    match job {
        Some(job) => Ok(Loaded {
            job: Arc::new(job),
            later,
        }),
        None => Err(Rest::Until(later)),
    }
}

/// The queued recipients at a host that are due, and when the others are.
pub(super) fn job_of(
    stored: &Stored,
    host: &Host,
    is_due: impl Fn(Timestamp) -> bool,
) -> (Option<Job>, Option<Timestamp>) {
    let mut recipients = Vec::new();
    let mut later: Option<Timestamp> = None;
    let mailboxes = &stored.message.envelope.recipients;
    for ((index, mailbox), status) in (0..).zip(mailboxes).zip(&stored.recipients) {
        if mailbox.host() != host || status.state != State::Queued {
            continue;
        }
        match status.next_attempt {
            Some(when) if !is_due(when) => later = Some(later.map_or(when, |l| l.min(when))),
            _ => recipients.push(JobRecipient {
                index,
                mailbox: mailbox.clone(),
                attempts: status.attempts,
                delay_told: status.delay_told,
                copy: stored.copy(index),
                released: status.released,
            }),
        }
    }
    let job = (!recipients.is_empty()).then(|| Job {
        message: Arc::clone(&stored.message),
        body: Arc::clone(&stored.body),
        host: host.clone(),
        recipients,
    });
    (job, later)
}

/// Hands a settlement to the store until it is taken. The message stays taken
/// meanwhile, so it is not attempted again before its outcome is known.
pub(super) async fn settle(
    shared: &Shared,
    settlement: Settlement,
    later: Option<Timestamp>,
    lane: &mut Lane,
) -> Rest {
    let next = settlement
        .changes
        .iter()
        .filter_map(|change| change.status.next_attempt)
        .chain(later)
        .min();
    let mut wait = SETTLE_WAIT.0;
    loop {
        let error = match shared.store.settle(settlement.clone()).await {
            Ok(()) => return Rest::Until(next),
            // Removed meanwhile, or the end of the process: then it is due again
            // at the next start.
            Err(SpoolError::Unknown | SpoolError::Closed) => return Rest::Until(None),
            Err(SpoolError::Damaged) => return Rest::Park,
            Err(error @ (SpoolError::Full | SpoolError::Sick(_))) => error,
        };
        tracing::error!(
            "id={}: the outcome can't be stored yet: {error}",
            settlement.id
        );
        hang_up(shared, std::mem::take(lane)).await;
        tokio::time::sleep(wait).await;
        wait = wait.saturating_mul(2).min(SETTLE_WAIT.1);
    }
}

/// Ends a lane's connection, if it has one.
pub(super) async fn hang_up(shared: &Shared, lane: Lane) {
    if lane.is_open() {
        // Whether the far side takes leave does not matter (E13).
        let _ = tokio::time::timeout(HANG_UP_MAX, shared.deliver.hang_up(lane)).await;
    }
}
