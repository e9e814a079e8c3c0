//! What every engine does alike: names, filters, the upkeep of statuses.
//!
//! Owns the rules of the contract that do not depend on where messages lie, so
//! that engines can't differ in them. Holds always: a final state is never left
//! (but `dead` for `removed`), a queued recipient has a time, ids of one process are never equal. Called by
//! the engines only.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::sys::{Clock, Entropy};
use crate::types::{
    Host, Mailbox, Message, QueueId, RecipientChange, RecipientStatus, State, Timestamp,
};

use super::{Filter, SpoolError, Ticket};

/// Octets of a remote reply that are kept; the index's value size counts on it.
const REPLY_MAX: usize = 512;

/// Makes queue ids: by the clock, but never twice the same microsecond, so that
/// not even weak randomness makes two messages of one process share a name.
pub(super) struct IdMaker {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    last: AtomicI64,
}

impl IdMaker {
    pub(super) fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            clock,
            entropy,
            last: AtomicI64::new(i64::MIN),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// # Errors
    /// [`SpoolError::Sick`] if the system gives no randomness.
    pub(super) fn next(&self) -> Result<QueueId, SpoolError> {
        let mut random = [0; 4];
        self.entropy
            .fill(&mut random)
            .map_err(|e| SpoolError::Sick(Arc::new(std::io::Error::other(e))))?;
        let now = self.clock.now().as_micros();
        let later = |last: i64| now.max(last.saturating_add(1));
        // The closure never refuses, so the update can't fail.
        let last = self
            .last
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |l| Some(later(l)))
            .unwrap_or(now);
        Ok(QueueId::new(Timestamp::from_micros(later(last)), random))
    }
}

/// Makes a message of a ticket.
pub(super) fn message(id: QueueId, received_at: Timestamp, ticket: Ticket) -> Message {
    Message {
        id,
        received_at,
        origin: ticket.origin,
        envelope: ticket.envelope,
        facts: ticket.facts,
    }
}

/// Puts a settlement's new status in order: a queued recipient has a time, a
/// final one has none (what is held may have one), and what the far side said is cut to its limit.
pub(super) fn tidy(mut change: RecipientChange, now: Timestamp) -> RecipientChange {
    let status = &mut change.status;
    status.next_attempt = match status.state {
        State::Queued => status.next_attempt.or(Some(now)),
        State::Held => status.next_attempt,
        _ => None,
    };
    if let Some(reply) = &mut status.last_reply
        && reply.len() > REPLY_MAX
    {
        let mut end = REPLY_MAX;
        while !reply.is_char_boundary(end) {
            end -= 1;
        }
        reply.truncate(end);
    }
    change
}

/// The earliest time at which one of these recipients is due.
pub(super) fn earliest<'a>(
    statuses: impl IntoIterator<Item = &'a RecipientStatus>,
) -> Option<Timestamp> {
    statuses
        .into_iter()
        .filter(|s| s.state == State::Queued)
        .filter_map(|s| s.next_attempt)
        .min()
}

/// The earliest time at which one of these recipients is to be released.
pub(super) fn release<'a>(
    statuses: impl IntoIterator<Item = &'a RecipientStatus>,
) -> Option<Timestamp> {
    statuses
        .into_iter()
        .filter(|s| s.state == State::Held)
        .filter_map(|s| s.next_attempt)
        .min()
}

/// Whether a settlement may be made for a message with these counts: something is
/// open, or what is dead is to be taken off the list.
pub(super) fn may_settle(open: usize, dead: usize, changes: &[RecipientChange]) -> bool {
    let removes = |c: &RecipientChange| c.status.state == State::Removed;
    open > 0 || (dead > 0 && !changes.is_empty() && changes.iter().all(removes))
}

/// Counts a message accepted at `at` in its class of age (see [`super::Survey`]).
pub(super) fn count_age(by_age: &mut [u64], moments: &[Timestamp], at: Timestamp) {
    let class = moments.iter().position(|moment| at > *moment);
    if let Some(count) = by_age.get_mut(class.unwrap_or(moments.len())) {
        *count += 1;
    }
}

impl Filter {
    /// Whether a message is among those asked for.
    pub(super) fn matches(&self, message: &Message, statuses: &[RecipientStatus]) -> bool {
        self.matches_sender(message)
            && message
                .envelope
                .recipients
                .iter()
                .zip(statuses)
                .any(|(mailbox, status)| self.matches_recipient(mailbox, status))
    }

    fn matches_sender(&self, message: &Message) -> bool {
        let Some(wanted) = &self.sender else {
            return true;
        };
        match &message.envelope.sender {
            None => wanted.is_empty(),
            Some(sender) => sender.to_string().eq_ignore_ascii_case(wanted),
        }
    }

    fn matches_recipient(&self, mailbox: &Mailbox, status: &RecipientStatus) -> bool {
        let domain = self
            .domain
            .as_ref()
            .is_none_or(|wanted| matches!(mailbox.host(), Host::Domain(d) if d == wanted));
        domain && self.state.is_none_or(|wanted| wanted == status.state)
    }
}
