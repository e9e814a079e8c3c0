//! The walk along the methods list (design section 3.3).
//!
//! Owns the order: kept connection, hosts, next method, ending. Holds always: the
//! next method has its turn only if every host that answered is definitely unmet
//! and the clocks allow it (`clocks`, `tally`); `cleartext` only if each of all hosts
//! definitely has no TLS. While the configuration is only observed, its list is walked as ever, and then another
//! one for those whom nothing but the want of protection kept from a host: so what is
//! said to have happened otherwise is what this code would have done. A probe walks
//! the same way, and where the transaction would begin it says QUIT.
//! Called by `Deliverer::attempt` and `probe`.

use std::time::Duration;

use tokio::time::Instant;

use super::Deliverer;
use super::board::Board;
use super::clocks::Clocks;
use super::kept::Kept;
use super::leg::Leg;
use super::notes::Notes;
use super::open::Purpose;
use super::protected::{Passed, Turn};
use super::tally::{Summary, Tally};
use super::transact::transact;
use super::watch::Watch;
use crate::assurance::Published;
use crate::delivery::failure;
use crate::delivery::route::HOSTS_MAX;
use crate::delivery::timeouts::{self, Patience};
use crate::delivery::{Credentials, Hop, Lane, Route};
use crate::policy::Decision;
use crate::types::{
    AuthenticatedBy, Failure, Host, Job, JobRecipient, Method, Reason, Remembered, Required, Stage,
    Transport, Waiting,
};

/// What is done where a host proves what is required.
#[derive(Clone, Copy)]
pub(super) enum Errand<'a> {
    /// It is given the message.
    Deliver(&'a Job),
    /// It is left alone, and all other hosts and addresses are looked at as well.
    Probe(&'a Watch),
}

/// What the walk needs to know besides its recipients.
pub(super) struct Walk<'a> {
    pub(super) errand: Errand<'a>,
    pub(super) patience: Patience,
    pub(super) route: &'a Route,
    pub(super) credentials: Option<&'a Credentials>,
    /// What the recipients' domain publishes.
    pub(super) published: &'a Published,
    /// How old the message is.
    pub(super) age: Duration,
    /// What is remembered of it.
    pub(super) remembered: &'a Remembered,
    /// What is learnt on the way.
    pub(super) notes: &'a Notes,
    /// When no further host or address is begun with.
    pub(super) until: Instant,
    /// Whether this list is only observed, so that what a kept connection says of
    /// its host will do for an answer: it saves a connection a message.
    pub(super) observing: bool,
}

impl Walk<'_> {
    fn watch(&self) -> Option<&Watch> {
        match self.errand {
            Errand::Deliver(_) => None,
            Errand::Probe(watch) => Some(watch),
        }
    }

    /// What stands behind the name of a host of this route.
    fn vouches(&self, host: &Host) -> AuthenticatedBy {
        vouches(self.route.fixed.is_some(), self.published, host)
    }
}

/// What stands behind a host's name: the operator who wrote the route, or what the
/// domain publishes.
pub(super) fn vouches(fixed: bool, published: &Published, host: &Host) -> AuthenticatedBy {
    match fixed {
        true => AuthenticatedBy::Route,
        false => published.vouches(host),
    }
}

impl Deliverer {
    /// One group: recipients with the same decision. With the board comes why the
    /// last method was not the way.
    pub(super) async fn walk<'a>(
        &self,
        walk: &Walk<'_>,
        decision: &Decision,
        recipients: Vec<&'a JobRecipient>,
        lane: &mut Lane,
    ) -> (Board<'a>, Failure) {
        let tried = recipients.iter().all(|recipient| recipient.attempts > 0);
        let clocks = Clocks::new(&decision.treatment, walk.age, tried);
        let mut board = Board::new(decision, walk.published, recipients);
        let configured = Leg::configured(decision, walk.credentials, walk.published);
        let first = Walk {
            observing: decision.observe.is_some(),
            ..*walk
        };
        let mut last = failure::ours(Reason::Unreachable, Stage::Connect);
        match &decision.stop {
            Some(stop) => board.stop(stop),
            None => {
                let following = self.follow(&first, &configured, clocks, &mut board, lane);
                last = following.await;
            }
        }
        if let Some(observed) = Leg::observed(decision, walk.credentials, walk.published) {
            board.observe();
            if !board.is_settled() {
                let walk = Walk {
                    until: walk.patience.until(timeouts::ATTEMPT / 2),
                    ..*walk
                };
                let clocks = clocks.observed(observed.ending());
                let following = self.follow(&walk, &observed, clocks, &mut board, lane);
                last = following.await;
            }
        }
        (board, last)
    }

    /// One list, to its end, for all who are open. Gives the failure that came last.
    async fn follow(
        &self,
        walk: &Walk<'_>,
        leg: &Leg<'_>,
        clocks: Clocks,
        board: &mut Board<'_>,
        lane: &mut Lane,
    ) -> Failure {
        let mut next = leg.methods();
        let mut last = failure::ours(Reason::Unreachable, Stage::Connect);
        let mut cleartext_shut = None;
        let mut barred = None;
        while let Some((method, rest)) = next.split_first() {
            next = rest;
            if board.is_settled() {
                break;
            }
            if let (Method::Cleartext, Some(reason)) = (method, cleartext_shut) {
                board.pass_over(*method, reason);
                continue;
            }
            if *method == Method::Cleartext
                && let Some(failure) = bar(walk)
            {
                board.pass_over(*method, failure.reason);
                barred = Some(failure);
                continue;
            }
            if method.protects_content() {
                let turn = Turn {
                    method: *method,
                    leg,
                    clocks: &clocks,
                };
                match self.protected(walk, turn, board, lane).await {
                    Passed::Over(Some(failure)) => last = failure,
                    Passed::Over(None) => {}
                    Passed::Nowhere(failure) => {
                        last = failure;
                        break;
                    }
                }
                continue;
            }
            // Each of the others has one way.
            let Some(transport) = method.transports().first() else {
                continue;
            };
            let way = (*method, *transport);
            let required = leg.required(*method, *transport);
            board.turn(*method, &required);
            let tally = self.try_way(walk, way, &required, board, lane).await;
            if tally.hinders() {
                board.hinder();
            }
            if let Some(reason) = tally.violation() {
                board.violate(reason);
            }
            board.defer_reached();
            board.end_unsuitable(tally.unanswered());
            match tally.summary(&clocks, next) {
                _ if board.is_settled() => break,
                Summary::Defer(failure, waiting) => board.defer(&failure, waiting),
                Summary::Bounce(failure) => board.bounce(&failure),
                Summary::Nowhere(failure) => {
                    last = failure;
                    break;
                }
                Summary::Unmet {
                    failure,
                    shut,
                    impatient,
                } => {
                    board.pass_over(*method, failure.reason);
                    if impatient {
                        board.pass_over(*method, Reason::PatienceOver);
                    }
                    // Logging in takes authenticated TLS, so this could only fail.
                    let login = walk.credentials.map(|_| Reason::Shortfall);
                    cleartext_shut = shut.or(login);
                    last = failure;
                }
            }
        }
        // What did TLS before is likely to do it again: it waits.
        if let Some(failure) = barred {
            let waiting = Waiting {
                answered: true,
                ending: leg.ending(),
                ..Waiting::default()
            };
            board.defer(&failure, waiting);
            last = failure;
        }
        board.end(leg.ending(), &last);
        last
    }

    /// Tries the lane's connection, then each host, for a method and by one transport.
    pub(super) async fn try_way(
        &self,
        walk: &Walk<'_>,
        (method, transport): (Method, Transport),
        required: &Required,
        board: &mut Board<'_>,
        lane: &mut Lane,
    ) -> Tally {
        self.try_kept(walk, transport, required, board, lane).await;
        let purpose = Purpose {
            method,
            transport,
            required,
            fixed: walk.route.fixed.is_some(),
            credentials: walk.credentials,
            published: walk.published,
            until: walk.until,
            patience: walk.patience,
            watch: walk.watch(),
            notes: walk.notes,
        };
        let mut tally = Tally::default();
        for (tried, hop) in walk.route.hosts.iter().enumerate() {
            if board.is_settled() && purpose.watch.is_none() {
                break;
            }
            if tried == HOSTS_MAX || Instant::now() >= walk.until {
                tally.not_asked();
                break;
            }
            if let Some((kept, failure)) = known(walk, lane, hop, purpose) {
                board.tried(&kept.remote, Some(&kept.achieved));
                let achieved = kept.achieved.level();
                tally.add(failure::of_host(failure, required, achieved));
                continue;
            }
            let opened = self.open(hop, purpose).await;
            if let Some(watch) = purpose.watch {
                watch.judged(opened.as_ref().err().map(|refusal| &refusal.verdict));
            }
            match opened {
                Ok(kept) => self.serve(kept, walk, required, board, lane).await,
                Err(refusal) => {
                    board.tried(&refusal.remote, refusal.achieved.as_deref());
                    tally.add(refusal.verdict);
                }
            }
        }
        tally
    }

    /// Does the errand at a host that proves what is required.
    async fn serve(
        &self,
        kept: Kept,
        walk: &Walk<'_>,
        required: &Required,
        board: &mut Board<'_>,
        lane: &mut Lane,
    ) {
        match walk.errand {
            Errand::Deliver(job) => {
                let after = transact(Box::new(kept), job, walk, required, board).await;
                keep(lane, after).await;
            }
            Errand::Probe(_) => {
                if kept.reaches(required) {
                    board.met(&kept, walk.published);
                }
                kept.hang_up().await;
            }
        }
    }

    /// Uses the lane's connection if it fits this message, by a new permit.
    async fn try_kept(
        &self,
        walk: &Walk<'_>,
        transport: Transport,
        required: &Required,
        board: &mut Board<'_>,
        lane: &mut Lane,
    ) {
        let Errand::Deliver(job) = walk.errand else {
            return;
        };
        let kept = lane.kept.take_if(|kept| {
            let vouched = walk.vouches(&kept.hop.host);
            kept.regard(vouched);
            kept.is_fit()
                && kept.fits(walk.route, transport, walk.credentials)
                && walk.published.admits(&kept.hop.host).is_ok()
                && kept.reaches(required)
        });
        let Some(kept) = kept else { return };
        let after = transact(kept, job, walk, required, board).await;
        keep(lane, after).await;
    }
}

/// What the lane's connection tells of TLS at a host, so that it need not be asked.
fn known<'a>(
    walk: &Walk<'_>,
    lane: &'a Lane,
    hop: &Hop,
    purpose: Purpose<'_>,
) -> Option<(&'a Kept, Failure)> {
    let kept = lane.kept.as_deref()?;
    let failure = match purpose.transport {
        Transport::Tls => kept.without_tls(hop),
        Transport::Cleartext => None,
    };
    let observed = || kept.shortfall(hop, purpose.required);
    let failure = failure.or_else(|| walk.observing.then(observed).flatten())?;
    Some((kept, failure))
}

/// Leaves a living connection in the lane; what was there before is ended.
async fn keep(lane: &mut Lane, after: Option<Box<Kept>>) {
    if let Some(kept) = after
        && let Some(former) = lane.kept.replace(kept)
    {
        former.hang_up().await;
    }
}

/// Why `cleartext` has no turn to a domain that is remembered as encrypted; an
/// exception that lets it is noted.
fn bar(walk: &Walk<'_>) -> Option<Failure> {
    if let Remembered::Waived(waiver) = walk.remembered {
        walk.notes.waived(waiver);
    }
    let barred = walk.remembered.forbids_cleartext();
    barred.then(|| failure::ours(Reason::TlsRemembered, Stage::StartTls))
}
