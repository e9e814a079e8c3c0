//! What follows from an operator's hand: the same Settlement as from an attempt.
//!
//! Holds always: each recipient that is touched has an audit event that names who
//! touched it; a message that is bounced by hand goes the way of one that was
//! refused, DSN and all; nothing here counts as an attempt. Called by the queue.

use crate::types::{
    Action, AuditEvent, Evidence, Failure, Fate, Hand, Job, Mailbox, Reason, RecipientChange,
    RecipientReport, RecipientStatus, Report, Settlement, Stage, State, Timestamp, Waiting,
};

use super::settle::clip;
use super::{Decision, Outcome, Verdict};

/// Octets of a note in the queue's list.
const NOTE_MAX: usize = 512;

impl Outcome {
    /// What follows from an operator's action, with one log line.
    ///
    /// `job.recipients` are those that the action concerns; `before` is what they
    /// are now, in the same order.
    pub async fn by_hand(&self, job: &Job, before: &[RecipientStatus], hand: &Hand) -> Settlement {
        let now = self.now();
        tracing::info!(
            "id={} action={} recipients={} by={}",
            job.message.id,
            hand.action,
            job.recipients.len(),
            hand.actor.as_deref().unwrap_or("postern"),
        );
        self.meters.note_hand(hand.action, job.recipients.len());
        if hand.action == Action::Bounce {
            return self.bounce(job, before, hand, now).await;
        }
        let recipients = job.recipients.iter().zip(before);
        let changes: Vec<RecipientChange> = recipients
            .map(|(recipient, before)| RecipientChange {
                index: recipient.index,
                status: status(before, hand, now),
            })
            .collect();
        let sender = job.message.envelope.sender.as_ref();
        let events = job.recipients.iter().zip(&changes);
        let events = events.map(|(recipient, change)| AuditEvent {
            event: self.name(now),
            id: job.message.id,
            time: now,
            sender: sender.map(Mailbox::to_string).unwrap_or_default(),
            recipient: recipient.mailbox.to_string(),
            state: change.status.state,
            method: None,
            reason: Some(Reason::Operator.to_string()),
            reply: None,
            evidence: Evidence::default(),
            actor: hand.actor.clone(),
            note: Some(hand.note()),
        });
        Settlement {
            id: job.message.id,
            events: events.collect(),
            changes,
            messages: Vec::new(),
            copies: Vec::new(),
            learnt: None,
        }
    }

    /// As if it had been refused for good.
    async fn bounce(
        &self,
        job: &Job,
        before: &[RecipientStatus],
        hand: &Hand,
        now: Timestamp,
    ) -> Settlement {
        let recipients = job.recipients.iter().zip(before);
        let report = Report {
            id: job.message.id,
            site: None,
            at: now,
            recipients: recipients
                .map(|(recipient, before)| RecipientReport {
                    index: recipient.index,
                    fate: Fate::Bounced(Failure {
                        reason: Reason::Operator,
                        stage: Stage::Route,
                        status: "5.7.1".to_owned(),
                        reply: None,
                    }),
                    method: before.method,
                    evidence: Evidence::default(),
                    waiting: Waiting::default(),
                    copy: None,
                    note: None,
                })
                .collect(),
            learnt: None,
            waiver: None,
        };
        let decide = |attempts| Decision {
            verdict: Verdict::Bounced,
            attempts,
        };
        let recipients = job.recipients.iter();
        let decisions: Vec<Decision> = recipients.map(|r| decide(r.attempts)).collect();
        let mut settlement = self.settle(job, &report, &decisions).await;
        for event in &mut settlement.events {
            event.actor = hand.actor.clone();
            event.note = Some(hand.note());
        }
        settlement
    }
}

fn status(before: &RecipientStatus, hand: &Hand, now: Timestamp) -> RecipientStatus {
    let (state, next_attempt) = match hand.action {
        Action::Hold => (State::Held, hand.until),
        Action::Release | Action::Retry => (State::Queued, Some(now)),
        Action::Remove => (State::Removed, None),
        Action::Bounce => (State::Bounced, None),
    };
    // What the far side said last is of use to whoever retries.
    let last_reply = match (hand.action, &hand.actor) {
        (Action::Retry, _) => before.last_reply.clone(),
        (_, Some(actor)) => Some(format!("{actor}: {}", hand.note())),
        (_, None) => Some(hand.note()),
    };
    // Who is let go by an operator is not held by the rule that did so; the end of a hold's
    // time is nobody's judgement.
    let released = match hand.action {
        Action::Release => hand.actor.is_some() || before.released,
        Action::Hold => false,
        _ => before.released,
    };
    RecipientStatus {
        state,
        released,
        next_attempt,
        last_reply: last_reply.map(|text| clip(text, NOTE_MAX)),
        ..before.clone()
    }
}
