//! The turn of a method that protects the content: `pgp` and `smime`.
//!
//! Owns the way of each recipient's own copy: key, copy, best transport. Holds always: a
//! copy is made for one recipient and sent to that one alone, in a transaction of its own,
//! so that neither other recipients nor their keys show; what may have arrived is sent again octet for octet; it travels over TLS if a host has
//! any above the floor, else in the clear, but never against what the recipient's domain
//! has published; no copy, no connection; while the configuration is only observed, nothing
//! is encrypted. Called by `walk`.

use std::sync::Arc;

use tokio::time::timeout_at;

use super::Deliverer;
use super::board::Board;
use super::clocks::Clocks;
use super::leg::Leg;
use super::tally::Summary;
use super::walk::{Errand, Walk};
use crate::delivery::{Lane, failure};
use crate::protect::keys::Chosen;
use crate::protect::{Hindrance, ProtectedCopy};
use crate::types::{
    ContentProof, Encrypted, Failure, Job, JobRecipient, KeptCopy, MemoryBody, Message,
    MessageFacts, Method, Reason, Stage, StoredCopy, Transport, Waiting,
};

/// What is asked of hosts first.
const BEST: Transport = Transport::Tls;

/// Whose turn it is, and by which list and clocks.
#[derive(Clone, Copy)]
pub(super) struct Turn<'a> {
    pub(super) method: Method,
    pub(super) leg: &'a Leg<'a>,
    pub(super) clocks: &'a Clocks,
}

/// What the turn has come to for those who are still open.
pub(super) enum Passed {
    /// The next method has its turn; with why this one was not the way, if it wasn't.
    Over(Option<Failure>),
    /// No host can be asked, whatever the method.
    Nowhere(Failure),
}

/// What the turn of one recipient has come to.
enum Way {
    /// It has its fate, or another method its turn.
    Over(Option<Failure>),
    /// The hosts answer nobody now.
    Later(Failure, Waiting),
    Nowhere(Failure),
}

impl Deliverer {
    /// The turn of a method that protects content, for each who is open.
    pub(super) async fn protected(
        &self,
        walk: &Walk<'_>,
        turn: Turn<'_>,
        board: &mut Board<'_>,
        lane: &mut Lane,
    ) -> Passed {
        if let Errand::Deliver(job) = walk.errand
            && turn.leg.accepts(encrypted(job), turn.method)
        {
            return self.pass_on(walk, turn, board, lane).await;
        }
        let mut last = None;
        for at in board.open() {
            board.only(at);
            let way = self.protect_one(walk, turn, (board, at), lane).await;
            board.all();
            match way {
                Way::Over(failure) => last = failure.or(last),
                Way::Nowhere(failure) => return Passed::Nowhere(failure),
                // What holds for one holds for all: nobody else's copy is made in vain.
                Way::Later(failure, waiting) => {
                    self.put_off(walk, turn, board, (failure, waiting)).await;
                    break;
                }
            }
        }
        Passed::Over(last)
    }

    /// The message came encrypted, and that counts: all who are open have it as it is.
    async fn pass_on(
        &self,
        walk: &Walk<'_>,
        turn: Turn<'_>,
        board: &mut Board<'_>,
        lane: &mut Lane,
    ) -> Passed {
        if walk.observing {
            board.spare(turn.method);
            return Passed::Over(None);
        }
        board.protected(&ContentProof::by_sender());
        let way = self.send(walk, turn, board, lane).await;
        board.unprotected();
        match way {
            Way::Over(failure) => Passed::Over(failure),
            Way::Later(..) => Passed::Over(None),
            Way::Nowhere(failure) => Passed::Nowhere(failure),
        }
    }

    /// The hosts answer nobody: who has a key waits, and who has none is passed over.
    async fn put_off(
        &self,
        walk: &Walk<'_>,
        turn: Turn<'_>,
        board: &mut Board<'_>,
        (failure, waiting): (Failure, Waiting),
    ) {
        for at in board.open() {
            board.only(at);
            if self.key(walk, turn, board).await.is_ok() {
                board.turn(turn.method, &turn.leg.required(turn.method, BEST));
                board.defer(&failure, waiting);
            }
            board.all();
        }
    }

    /// The one recipient who is open.
    async fn protect_one(
        &self,
        walk: &Walk<'_>,
        turn: Turn<'_>,
        (board, at): (&mut Board<'_>, usize),
        lane: &mut Lane,
    ) -> Way {
        let method = turn.method;
        board.turn(method, &turn.leg.required(method, BEST));
        let key = match self.key(walk, turn, board).await {
            Ok(key) => key,
            Err(failure) => return Way::Over(Some(failure)),
        };
        if walk.observing {
            board.spare(method);
            return Way::Over(None);
        }
        let Errand::Deliver(job) = walk.errand else {
            return self.send(walk, turn, board, lane).await;
        };
        let Some(recipient) = board.recipient(at) else {
            return Way::Over(None);
        };
        let copying = self.copy(job, recipient, turn, key);
        let (copy, is_new) = match timeout_at(walk.until, copying).await {
            Ok(Ok(made)) => made,
            Ok(Err(hindrance)) => return Way::Over(hinder(hindrance, turn, board)),
            // Too many others have their turn before it.
            Err(_) => {
                let late = failure::for_now(failure::ours(Reason::TimedOut, Stage::Protect));
                board.defer(&late, Waiting::default());
                return Way::Over(None);
            }
        };
        board.protected(&copy.proof);
        let kept = KeptCopy {
            index: recipient.index,
            method,
            proof: copy.proof.clone(),
            octets: copy.octets.clone(),
        };
        let job = job_of(job, recipient, copy);
        let walk = Walk {
            errand: Errand::Deliver(&job),
            ..*walk
        };
        let way = self.send(&walk, turn, board, lane).await;
        board.unprotected();
        if is_new {
            board.sent(at, kept);
        }
        way
    }

    /// The copy that an earlier attempt left, if it is for the same key, so that what may
    /// have arrived already is sent again as it was; else a new one. Whether it is new.
    ///
    /// # Errors
    /// [`Hindrance`] to making one.
    async fn copy(
        &self,
        job: &Job,
        recipient: &JobRecipient,
        turn: Turn<'_>,
        key: Chosen,
    ) -> Result<(ProtectedCopy, bool), Hindrance> {
        let Some(protector) = &self.protector else {
            return Err(Hindrance::No(Reason::NoKey));
        };
        let same = |stored: &&StoredCopy| {
            let certificate = stored.proof.certificate.as_ref();
            stored.method == turn.method && certificate == Some(&key.key.fingerprint())
        };
        if let Some(stored) = recipient.copy.as_ref().filter(same)
            // One that can't be read any more is made anew.
            && let Ok(copy) = protector.again(stored).await
        {
            return Ok((copy, false));
        }
        let cipher = turn.leg.smime_cipher();
        let copy = protector.copy(job.body.as_ref(), key, cipher).await?;
        Ok((copy, true))
    }

    /// The key for the one who is open.
    ///
    /// # Errors
    /// Why there is none; the board knows what follows.
    async fn key(
        &self,
        walk: &Walk<'_>,
        turn: Turn<'_>,
        board: &mut Board<'_>,
    ) -> Result<Chosen, Failure> {
        let mailbox = board.mailboxes(&board.open()).pop();
        let (method, least) = (turn.method, turn.leg.key_trust());
        let chosen = match (&self.protector, mailbox, walk.errand) {
            (Some(protector), Some(mailbox), Errand::Deliver(_)) => {
                let looking = protector.key(method, &mailbox, least);
                let looked = timeout_at(walk.until, looking).await;
                looked.unwrap_or(Err(Hindrance::Unknown(Reason::KeyLookup)))
            }
            // The recipient's domain hears nothing of a probe.
            (Some(protector), Some(mailbox), Errand::Probe(_)) => {
                let known = protector.known(method, &mailbox, least).await;
                known.and_then(|known| known.map_err(|no| Hindrance::No(no.reason())))
            }
            (None, ..) | (_, None, _) => Err(Hindrance::No(Reason::NoKey)),
        };
        chosen.map_err(|hindrance| {
            let failure = failure::ours(hindrance.reason(), Stage::Protect);
            hinder(hindrance, turn, board).unwrap_or(failure)
        })
    }

    /// Sends what the errand is, by the best transport that a host offers.
    async fn send(
        &self,
        walk: &Walk<'_>,
        turn: Turn<'_>,
        board: &mut Board<'_>,
        lane: &mut Lane,
    ) -> Way {
        let method = turn.method;
        let mut last = None;
        for transport in method.transports() {
            let required = turn.leg.required(method, *transport);
            // Where something is asked of the way there, as by a login or for an address that
            // a message's own content may not lay open.
            if *transport == Transport::Cleartext && required.level().is_some() {
                continue;
            }
            board.turn(method, &required);
            let way = (method, *transport);
            let tally = self.try_way(walk, way, &required, board, lane).await;
            if let Some(reason) = tally.violation() {
                board.violate(reason);
            }
            board.defer_reached();
            board.end_unsuitable(tally.unanswered());
            match tally.at_best(turn.clocks) {
                _ if board.is_settled() => return Way::Over(None),
                Summary::Defer(failure, waiting) => {
                    board.defer(&failure, waiting);
                    return Way::Later(failure, waiting);
                }
                Summary::Bounce(failure) => {
                    board.bounce(&failure);
                    return Way::Over(None);
                }
                Summary::Nowhere(failure) => return Way::Nowhere(failure),
                Summary::Unmet { failure, .. } => last = Some(failure),
            }
        }
        if let Some(failure) = &last {
            board.pass_over(method, failure.reason);
        }
        Way::Over(last)
    }
}

/// What follows for the one who is open where there is no copy. Gives the failure if the
/// next method has its turn.
fn hinder(hindrance: Hindrance, turn: Turn<'_>, board: &mut Board<'_>) -> Option<Failure> {
    let failure = failure::ours(hindrance.reason(), Stage::Protect);
    let waiting = match hindrance {
        Hindrance::No(_) => None,
        Hindrance::Unknown(_) => turn.clocks.for_key(),
        Hindrance::WasKnown(_) | Hindrance::Trouble(_) => Some(turn.clocks.held_up()),
    };
    if let Some(waiting) = waiting {
        board.defer(&failure::for_now(failure), waiting);
        return None;
    }
    board.pass_over_for(turn.method, &failure);
    if matches!(hindrance, Hindrance::Unknown(_)) {
        board.pass_over(turn.method, Reason::PatienceOver);
    }
    Some(failure)
}

/// How the content came encrypted, if it did.
fn encrypted(job: &Job) -> Option<Encrypted> {
    let content = job.message.facts.content.as_ref()?;
    content.encrypted
}

/// The same job for one recipient, with the copy in place of the message.
fn job_of(job: &Job, recipient: &JobRecipient, copy: ProtectedCopy) -> Job {
    let facts = MessageFacts {
        size: copy.octets.len() as u64,
        eight_bit: !copy.octets.is_ascii(),
        ..job.message.facts.clone()
    };
    Job {
        message: Arc::new(Message {
            facts,
            ..Message::clone(&job.message)
        }),
        body: Arc::new(MemoryBody::new([copy.octets])),
        host: job.host.clone(),
        recipients: vec![recipient.clone()],
    }
}
