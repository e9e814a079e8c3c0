//! Reading a host's part of the due index: the next page of work, and the sweep.
//!
//! The sweep is how expiry and delay notices act for messages that wait without
//! being attempted (E57): it goes over the due entries, tells by the id alone how
//! old a message is, and loads only those old enough to need a look. Holds always:
//! it settles nothing that the dispatcher has taken, and the dispatcher takes
//! nothing of a host that is being swept. One task a host at a time.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};

use crate::delivery::Lane;
use crate::outcome::Decision;
use crate::spool::{Due, Stored};
use crate::types::{
    Evidence, Failure, Fate, Host, Job, QueueId, RecipientReport, Report, Timestamp, Waiting,
};

use super::attempt::{Rest, job_of, settle};
use super::schedule;
use super::shared::Shared;

/// Entries read at a time by the sweep.
const SWEEP_PAGE: usize = 1000;
/// Messages that one sweep settles, and how many of them at once.
const LOOKS_MAX: usize = 2000;
const AT_ONCE: usize = 32;
/// When the index is asked again that could not answer.
const STORE_PAUSE: Duration = Duration::from_secs(30);

/// What a host has due.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) due: Vec<Due>,
    /// Entries up to this moment were asked for.
    pub(super) until: Timestamp,
    /// There are more.
    pub(super) more: bool,
    /// When the first entry behind `until` is due.
    pub(super) next: Option<Timestamp>,
}

/// Reads the first `limit` due entries of a host.
///
/// An entry that lies ahead further than any wait was written before the clock
/// was set back: it counts as due (E57).
pub(super) async fn page(shared: &Shared, host: &Host, limit: usize) -> Page {
    let now = shared.now();
    match read(shared, host, now, limit).await {
        Ok(page) => {
            let latest = now + schedule::longest_wait(&shared.settings);
            let from_another_clock = page.next.is_some_and(|next| next > latest);
            if !page.due.is_empty() || !from_another_clock {
                return page;
            }
            let all = Timestamp::from_micros(i64::MAX);
            read(shared, host, all, limit).await.unwrap_or(page)
        }
        Err(error) => {
            tracing::error!("the due index can't be read: {error}");
            Page {
                due: Vec::new(),
                until: now,
                more: false,
                next: Some(now + STORE_PAUSE),
            }
        }
    }
}

async fn read(
    shared: &Shared,
    host: &Host,
    until: Timestamp,
    limit: usize,
) -> Result<Page, crate::spool::SpoolError> {
    let due = shared.store.due(host, None, until, limit).await?;
    let more = due.len() >= limit;
    let behind = Due {
        when: until,
        id: QueueId::from_octets([u8::MAX; 12]),
    };
    let end = Timestamp::from_micros(i64::MAX);
    let next = shared.store.due(host, Some(behind), end, 1).await?;
    Ok(Page {
        due,
        until,
        more,
        next: next.first().map(|due| due.when),
    })
}

/// What a sweep has found.
#[derive(Debug, Default)]
pub(super) struct Swept {
    /// When the next of the waiting messages wants a look.
    pub(super) look: Option<Timestamp>,
    /// The earliest due entry that was written.
    pub(super) next: Option<Timestamp>,
    /// It ended before it came through.
    pub(super) more: bool,
}

/// Goes over what waits at a host: tells senders of delays, ends what has
/// expired, and moves on what was looked at. `why` is what all of it waits for.
///
/// After [`LOOKS_MAX`] looks it ends, so that a host that can still be delivered
/// to does not wait for it; what was looked at is not due any more.
pub(super) async fn sweep(
    shared: Arc<Shared>,
    host: &Host,
    taken: &HashSet<QueueId>,
    why: &Failure,
) -> Swept {
    let now = shared.now();
    let mut swept = Swept::default();
    let (mut after, mut looks) = (None, 0);
    loop {
        let page = match shared.store.due(host, after, now, SWEEP_PAGE).await {
            Ok(page) => page,
            Err(error) => {
                tracing::error!("the due index can't be read: {error}");
                return swept;
            }
        };
        let mut old = Vec::new();
        for due in page.iter().filter(|due| !taken.contains(&due.id)) {
            let look = schedule::wants_look(accepted_at(due.id), &shared.settings);
            if look > now {
                swept.look = earlier(swept.look, Some(look));
            } else {
                old.push(due.id);
            }
        }
        looks += old.len();
        let next = look_at_all(&shared, host, old, now, why).await;
        swept.next = earlier(swept.next, next);
        if looks > LOOKS_MAX {
            swept.more = true;
            return swept;
        }
        after = page.last().copied();
        if page.len() < SWEEP_PAGE {
            return swept;
        }
    }
}

/// Settles messages that wait, several at once so that they share the store's
/// commits.
async fn look_at_all(
    shared: &Arc<Shared>,
    host: &Host,
    ids: Vec<QueueId>,
    now: Timestamp,
    why: &Failure,
) -> Option<Timestamp> {
    let mut earliest = None;
    let mut looks = JoinSet::new();
    for id in ids {
        if looks.len() >= AT_ONCE {
            earliest = earlier(earliest, joined(looks.join_next().await));
        }
        let (shared, host, why) = (Arc::clone(shared), host.clone(), why.clone());
        looks.spawn(async move { look_at(&shared, &host, id, now, &why).await });
    }
    while let Some(result) = looks.join_next().await {
        earliest = earlier(earliest, joined(Some(result)));
    }
    earliest
}

fn joined(result: Option<Result<Option<Timestamp>, JoinError>>) -> Option<Timestamp> {
    result.and_then(|result| {
        result.unwrap_or_else(|error| {
            tracing::error!("a look at a waiting message panicked ({})", error.id());
            None
        })
    })
}

/// Settles one message that waits; gives when it is due next.
async fn look_at(
    shared: &Shared,
    host: &Host,
    id: QueueId,
    now: Timestamp,
    why: &Failure,
) -> Option<Timestamp> {
    let stored = match shared.store.load(id).await {
        Ok(stored) => stored,
        Err(error) => {
            tracing::warn!("id={id}: not looked at while it waits: {error}");
            return None;
        }
    };
    let (job, later) = job_of(&stored, host, |when| when <= now);
    let job = job?;
    let random = shared.random();
    let decisions: Vec<Decision> = job
        .recipients
        .iter()
        .map(|r| schedule::waited(r, &job.message, now, &shared.settings, random))
        .collect();
    let report = waiting(&stored, &job, now, why);
    let settlement = shared.outcome.settle(&job, &report, &decisions).await;
    match settle(shared, settlement, later, &mut Lane::default()).await {
        Rest::Until(next) => next,
        Rest::Park => None,
    }
}

/// A report for recipients that were not attempted; keeps the method of their
/// last attempt.
fn waiting(stored: &Stored, job: &Job, at: Timestamp, why: &Failure) -> Report {
    let method = |index: u32| {
        let place = usize::try_from(index).unwrap_or(usize::MAX);
        stored
            .recipients
            .get(place)
            .and_then(|status| status.method)
    };
    Report {
        id: job.message.id,
        site: None,
        at,
        recipients: job
            .recipients
            .iter()
            .map(|recipient| RecipientReport {
                index: recipient.index,
                fate: Fate::Deferred(why.clone()),
                method: method(recipient.index),
                evidence: Evidence::default(),
                waiting: Waiting::default(),
                copy: None,
                note: None,
            })
            .collect(),
        learnt: None,
        waiver: None,
    }
}

/// When a message was accepted, by its id: near enough to choose what to load.
fn accepted_at(id: QueueId) -> Timestamp {
    let octets = id.to_octets();
    let mut time = [0; 8];
    time.copy_from_slice(&octets[..8]);
    Timestamp::from_micros(i64::from_be_bytes(time))
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
