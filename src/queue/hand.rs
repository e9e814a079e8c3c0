//! What operators do to messages: the orders, and the task that carries them out.
//!
//! Holds always: a message is settled by hand only while it is taken at each of
//! the hosts concerned, as for an attempt, so the two never race; it is loaded
//! anew before, so that what is done depends on what it is now. A hold's end goes
//! the same way. The dispatcher's side is in `claims`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::spool::{SpoolError, Stored};
use crate::types::{
    Action, Domain, Hand, Host, Job, JobRecipient, Mailbox, QueueId, RecipientStatus, State,
    Timestamp,
};

use super::shared::Shared;

/// Messages settled at once, so that they share the store's commits.
const AT_ONCE: usize = 32;
/// Messages whose hold has ended that are released in one go.
const LAPSED_MAX: usize = 500;
/// When the store is asked again that could not answer or could not read.
const STORE_PAUSE: Duration = Duration::from_secs(60);
/// Between two goes at holds that have ended.
const GO_PAUSE: Duration = Duration::from_secs(1);

/// An action on messages, a page of them at most: they are settled in one go.
#[derive(Debug, Clone)]
pub struct Order {
    /// What, why, and who.
    pub hand: Hand,
    /// Recipients at this domain alone.
    pub domain: Option<Domain>,
    /// Which messages.
    pub ids: Vec<QueueId>,
}

/// What became of one message of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handled {
    /// So many recipients were touched.
    Done(usize),
    /// No recipient is in a state that the action concerns.
    Nothing,
    /// It is being delivered right now.
    Busy,
    /// No such message, or nothing open.
    Unknown,
    /// The store could not do it.
    Failed(String),
}

/// Where the answer to an order goes; the ids in its order.
pub(super) type Answer = oneshot::Sender<Vec<(QueueId, Handled)>>;

/// An order as the dispatcher and its task hold it.
#[derive(Debug)]
pub(super) struct Errand {
    pub(super) hand: Hand,
    pub(super) domain: Option<Domain>,
    /// Recipients whose hold has ended alone.
    pub(super) lapsed: bool,
    pub(super) targets: Vec<Target>,
    /// What is known already: messages that could not be read.
    pub(super) known: Vec<(QueueId, Handled)>,
    pub(super) answer: Option<Answer>,
}

/// One message, and at which hosts it is to be touched.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) id: QueueId,
    pub(super) hosts: Vec<Host>,
}

/// The recipients that an action concerns.
pub fn concerned<'a>(
    stored: &'a Stored,
    action: Action,
    domain: Option<&'a Domain>,
) -> impl Iterator<Item = (u32, &'a Mailbox, &'a RecipientStatus)> {
    let mailboxes = stored.message.envelope.recipients.iter();
    (0..)
        .zip(mailboxes)
        .zip(&stored.recipients)
        .map(|((index, mailbox), status)| (index, mailbox, status))
        .filter(move |(_, mailbox, status)| {
            let wanted = |domain| matches!(mailbox.host(), Host::Domain(d) if d == domain);
            action.concerns(status.state) && domain.is_none_or(wanted)
        })
}

/// Finds the hosts of an order's messages.
pub(super) async fn prepare(shared: Arc<Shared>, order: Order, answer: Answer) -> Errand {
    let (mut targets, mut known) = (Vec::new(), Vec::new());
    for id in order.ids {
        match shared.store.load(id).await {
            Ok(stored) => {
                let domain = order.domain.as_ref();
                let hosts = hosts(concerned(&stored, order.hand.action, domain));
                match hosts.is_empty() {
                    true => known.push((id, Handled::Nothing)),
                    false => targets.push(Target { id, hosts }),
                }
            }
            Err(error) => known.push((id, failed(&error))),
        }
    }
    Errand {
        hand: order.hand,
        domain: order.domain,
        lapsed: false,
        targets,
        known,
        answer: Some(answer),
    }
}

/// Holds that have ended, and when to look again.
pub(super) async fn lapsed(shared: &Shared) -> (Option<Errand>, Option<Timestamp>) {
    let now = shared.now();
    let (due, next) = match due_and_next(shared, now).await {
        Ok(found) => found,
        Err(error) => {
            tracing::error!("what is held can't be read: {error}");
            return (None, Some(now + STORE_PAUSE));
        }
    };
    if due.is_empty() {
        return (None, next);
    }
    let mut targets = Vec::new();
    for id in due {
        if let Ok(stored) = shared.store.load(id).await {
            let hosts = hosts(
                concerned(&stored, Action::Release, None)
                    .filter(|(_, _, status)| has_lapsed(status, now)),
            );
            targets.push(Target { id, hosts });
        }
    }
    let pause = match targets.is_empty() {
        true => STORE_PAUSE,
        false => GO_PAUSE,
    };
    let errand = Errand {
        hand: Hand {
            action: Action::Release,
            until: None,
            reason: Some("the time of the hold has come".to_owned()),
            actor: None,
        },
        domain: None,
        lapsed: true,
        targets,
        known: Vec::new(),
        answer: None,
    };
    (Some(errand), Some(now + pause))
}

async fn due_and_next(
    shared: &Shared,
    now: Timestamp,
) -> Result<(Vec<QueueId>, Option<Timestamp>), SpoolError> {
    let due = shared.store.held(now, LAPSED_MAX).await?;
    let end = Timestamp::from_micros(i64::MAX);
    let first = shared.store.held(end, 1).await?;
    let ids = due.into_iter().map(|due| due.id).collect();
    Ok((ids, first.first().map(|due| due.when)))
}

fn has_lapsed(status: &RecipientStatus, now: Timestamp) -> bool {
    status.state == State::Held && status.next_attempt.is_some_and(|until| until <= now)
}

fn hosts<'a>(
    recipients: impl Iterator<Item = (u32, &'a Mailbox, &'a RecipientStatus)>,
) -> Vec<Host> {
    let mut hosts: Vec<Host> = recipients.map(|(_, m, _)| m.host().clone()).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

/// Settles what is taken; several at once.
pub(super) async fn carry_out(shared: Arc<Shared>, errand: Arc<Errand>) -> Vec<(QueueId, Handled)> {
    let mut handled = Vec::new();
    let mut under_way = JoinSet::new();
    for target in &errand.targets {
        if under_way.len() >= AT_ONCE {
            handled.extend(under_way.join_next().await.and_then(Result::ok));
        }
        let (shared, errand, id) = (Arc::clone(&shared), Arc::clone(&errand), target.id);
        under_way.spawn(async move { (id, one(&shared, &errand, id).await) });
    }
    while let Some(result) = under_way.join_next().await {
        handled.extend(result);
    }
    handled
}

async fn one(shared: &Shared, errand: &Errand, id: QueueId) -> Handled {
    let stored = match shared.store.load(id).await {
        Ok(stored) => stored,
        Err(error) => return failed(&error),
    };
    let now = shared.now();
    let (mut recipients, mut before) = (Vec::new(), Vec::new());
    for (index, mailbox, status) in concerned(&stored, errand.hand.action, errand.domain.as_ref()) {
        if errand.lapsed && !has_lapsed(status, now) {
            continue;
        }
        recipients.push(JobRecipient {
            index,
            mailbox: mailbox.clone(),
            attempts: status.attempts,
            delay_told: status.delay_told,
            copy: None,
            released: status.released,
        });
        before.push(status.clone());
    }
    let Some(first) = recipients.first() else {
        return Handled::Nothing;
    };
    let touched = recipients.len();
    let job = Job {
        host: first.mailbox.host().clone(),
        message: stored.message,
        body: stored.body,
        recipients,
    };
    let settlement = shared.outcome.by_hand(&job, &before, &errand.hand).await;
    match shared.store.settle(settlement).await {
        Ok(()) => Handled::Done(touched),
        Err(error) => failed(&error),
    }
}

fn failed(error: &SpoolError) -> Handled {
    match error {
        SpoolError::Unknown => Handled::Unknown,
        error => Handled::Failed(error.to_string()),
    }
}
