//! Transactions over an open connection.
//!
//! Owns the cutting of recipients into transactions: at most [`RECIPIENTS_MAX`]
//! at once (RFC 5321 section 4.5.3.1.8), fewer where the far side says so, the
//! rest at once in a further one. Holds always: each transaction has a permit of
//! its own. Called by `walk`.

use tokio::time::Instant;

use super::board::Board;
use super::kept::Kept;
use super::walk::Walk;
use crate::delivery::failure;
use crate::delivery::session::{Outcome, Transaction};
use crate::types::{Job, Permit, Required};

/// Recipients in one transaction.
const RECIPIENTS_MAX: usize = 100;

/// Sends the message to all who are open, in as many transactions as it takes.
/// Gives the connection back if it can serve more. No transaction begins when the
/// attempt's time is over: an attempt that is cut off forgets whom it has reached
/// already, so a far side that takes one recipient at a time, slowly, would get
/// its copies again and again. One that was dead before a
/// word was answered leaves the board as it was, for a fresh one.
pub(super) async fn transact(
    mut kept: Box<Kept>,
    job: &Job,
    walk: &Walk<'_>,
    required: &Required,
    board: &mut Board<'_>,
) -> Option<Box<Kept>> {
    let reused = kept.messages > 0;
    let mut waiting = board.open();
    let mut first = true;
    while !waiting.is_empty() && Instant::now() < walk.until {
        let rest = waiting.split_off(waiting.len().min(RECIPIENTS_MAX));
        let batch = std::mem::replace(&mut waiting, rest);
        // No permit, no MAIL FROM.
        let permit = Permit::grant(required, &kept.achieved).ok()?;
        let transaction = Transaction {
            sender: job.message.envelope.sender.clone(),
            recipients: board.mailboxes(&batch),
            size: job.body.size(),
            eight_bit: job.message.facts.eight_bit,
        };
        let outcome = kept
            .connection
            .transact(permit, transaction, &*job.body)
            .await;
        if reused && first && outcome.recipients.iter().all(failure::was_stale) {
            return None;
        }
        first = false;
        kept.used = Instant::now();
        kept.messages = kept.messages.saturating_add(1);
        board.over(&batch, &kept, walk.published);
        let reusable = outcome.reusable;
        let again = settle(board, &batch, outcome);
        if !reusable || !kept.connection.is_idle() {
            return None;
        }
        waiting.extend(again);
    }
    Some(kept)
}

/// Gives each recipient what came of it; the places of those that the far side
/// had one too many of.
fn settle(board: &mut Board<'_>, batch: &[usize], outcome: Outcome) -> Vec<usize> {
    let ends = batch.iter().zip(outcome.recipients);
    ends.filter_map(|(at, end)| board.settle(*at, failure::of_recipient(end)).then_some(*at))
        .collect()
}
