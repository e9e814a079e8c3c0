//! Attempts: from a job to a report.
//!
//! Owns [`Deliverer`], which stands behind the `Deliver` contract. Holds always:
//! an attempt depends on the job, the route, the lane and the far side alone; it
//! reports each recipient of the job exactly once; policy is asked anew each
//! time. Called by `queue` through the trait, by `service` to build it.

mod board;
mod clocks;
mod edited;
mod explain;
mod kept;
mod leg;
mod notes;
mod open;
mod probe;
mod protected;
mod tally;
mod transact;
mod walk;
mod watch;

use std::sync::Arc;

use tokio::time::Instant;

use self::board::Board;
pub use self::explain::{Explanation, KeyKnown};
pub(super) use self::kept::Kept;
use self::leg::Leg;
use self::notes::Notes;
pub use self::probe::Prospect;
use self::walk::{Errand, Walk};
pub use self::watch::{Asked, HostVerdict, Sighting};
use super::route::{RoutePatternError, Router};
use super::timeouts::{self, Patience};
use super::{Credentials, Deliver, Lane, NoRoute, Route, Settings};
use crate::assurance::{NoMemory, Published, Remembers, sts};
use crate::dns::Resolver;
use crate::policy::{Decision, Policy, Question};
use crate::protect::Protector;
use crate::sys::{Clock, Dialler, Entropy};
use crate::tls::{ClientTls, RootsError};
use crate::types::{
    BoxFuture, Domain, Host, Job, JobRecipient, RecipientReport, Remembered, Report, Site, Waiting,
};

/// Why delivery can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// A fault in `[trust] roots`.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// A fault in `[[route]] domain`.
    #[error(transparent)]
    Route(#[from] RoutePatternError),
}

/// Delivers. A reload of the configuration builds a new one.
pub struct Deliverer {
    settings: Arc<Settings>,
    policy: Arc<Policy>,
    resolver: Arc<dyn Resolver>,
    dialler: Arc<dyn Dialler>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    router: Router,
    tls: ClientTls,
    /// Where what domains publish is known; `None`: nobody asks.
    sts: Option<Arc<sts::Cache>>,
    memory: Arc<dyn Remembers>,
    /// Who encrypts; `None`: nobody, so that there is no key for anybody.
    protector: Option<Arc<Protector>>,
}

impl std::fmt::Debug for Deliverer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Deliverer({}, {:?})", self.settings.hostname, self.tls)
    }
}

impl Deliverer {
    /// Loads the trusted roots and makes the routes ready.
    ///
    /// # Errors
    /// [`DeliveryError`] for what the settings name and isn't there or is wrong.
    pub fn new(
        settings: Settings,
        policy: Arc<Policy>,
        resolver: Arc<dyn Resolver>,
        dialler: Arc<dyn Dialler>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, DeliveryError> {
        let settings = Arc::new(settings);
        Ok(Self {
            router: Router::new(settings.clone(), resolver.clone(), entropy.clone())?,
            tls: ClientTls::load(&settings.roots, clock.clone())?,
            settings,
            policy,
            resolver,
            dialler,
            clock,
            entropy,
            sts: None,
            memory: Arc::new(NoMemory),
            protector: None,
        })
    }

    /// Holds domains to the MTA-STS policies that this cache knows.
    #[must_use]
    pub fn holding_to(mut self, sts: Arc<sts::Cache>) -> Self {
        self.sts = Some(sts);
        self
    }

    /// The same with a memory of what domains did before.
    #[must_use]
    pub fn remembering(self, memory: Arc<dyn Remembers>) -> Self {
        Self { memory, ..self }
    }

    /// The same, protecting content with the keys that this one knows.
    #[must_use]
    pub fn protecting(mut self, protector: Arc<Protector>) -> Self {
        self.protector = Some(protector);
        self
    }

    /// Whether an operator's route replaces the MX hosts of `host`.
    #[must_use]
    pub fn has_route(&self, host: &Host) -> bool {
        self.router.is_fixed(host)
    }

    /// What is remembered of the domain; nothing where a fixed route names hosts
    /// that are not its own.
    fn remembered(&self, host: &Host, route: &Route) -> Remembered {
        match (host, &route.fixed) {
            (Host::Domain(domain), None) => self.memory.regard(domain, self.clock.now()),
            _ => Remembered::Nothing,
        }
    }

    /// The job's recipients by what policy decides for them, and by whether they
    /// have been tried before: clocks ask that (`clocks`).
    fn groups<'a>(&self, job: &'a Job) -> Vec<(Decision, Vec<&'a JobRecipient>)> {
        let mut groups: Vec<(Decision, Vec<&JobRecipient>)> = Vec::new();
        for recipient in &job.recipients {
            let question = Question::about(&job.message, &recipient.mailbox);
            let mut decision = self.policy.decide(&question);
            if recipient.released {
                decision.release();
            }
            let is_tried = |recipient: &JobRecipient| recipient.attempts > 0;
            let fits = |known: &Decision, members: &[&JobRecipient]| {
                let tried = members.iter().all(|member| is_tried(member));
                *known == decision && tried == is_tried(recipient)
            };
            match groups
                .iter_mut()
                .find(|(known, members)| fits(known, members))
            {
                Some((_, members)) => members.push(recipient),
                None => groups.push((decision, vec![recipient])),
            }
        }
        groups
    }

    /// The report, its recipients in the job's order.
    fn report(
        &self,
        job: &Job,
        site: Option<Site>,
        mut recipients: Vec<RecipientReport>,
    ) -> Report {
        let place = |index| job.recipients.iter().position(|r| r.index == index);
        recipients.sort_by_cached_key(|report| place(report.index));
        Report {
            id: job.message.id,
            site,
            at: self.clock.now(),
            recipients,
            learnt: None,
            waiver: None,
        }
    }

    /// What to log in with at the hosts of `route`.
    fn credentials(&self, host: &Host, route: &Route) -> Option<&Credentials> {
        match route.fixed {
            Some(_) => self.router.credentials(host),
            None => None,
        }
    }

    /// What the domain publishes; nothing where a fixed route replaces it. May take
    /// a minute, where the domain is asked.
    pub(super) async fn published(&self, host: &Host) -> Published {
        match self.asked(host) {
            Some((sts, domain)) => Published {
                sts: sts.of(domain).await,
            },
            None => Published::nothing(),
        }
    }

    /// The same after a host violated `than`, if it has changed (RFC 8461 section
    /// 5.1).
    async fn published_anew(&self, host: &Host, than: &Published) -> Option<Published> {
        let (sts, domain) = self.asked(host)?;
        let sts = sts.renewed(domain, &than.sts).await?;
        Some(Published { sts })
    }

    fn asked<'a>(&'a self, host: &'a Host) -> Option<(&'a sts::Cache, &'a Domain)> {
        let (sts, Host::Domain(domain)) = (self.sts.as_deref()?, host) else {
            return None;
        };
        (!self.router.is_fixed(host)).then_some((sts, domain))
    }

    async fn run(&self, job: &Job, route: &Route, lane: &mut Lane) -> Report {
        let mut published = match route.fixed {
            Some(_) => Published::nothing(),
            None => self.published(&job.host).await,
        };
        let remembered = self.remembered(&job.host, route);
        let notes = Notes::default();
        let known = (&remembered, &notes);
        let mut reports = Vec::new();
        for (decision, recipients) in self.groups(job) {
            let edited = match edited::edited(job, &decision.edits).await {
                Ok(edited) => edited,
                Err(failure) => {
                    let mut board = Board::new(&decision, &published, recipients);
                    board.defer(&failure, Waiting::default());
                    reports.extend(board.reports(&failure));
                    continue;
                }
            };
            let job = edited.as_ref().unwrap_or(job);
            let walk = self.errand(job, route, &published, known);
            let (board, last) = self.walk(&walk, &decision, recipients, lane).await;
            let violated = board.violated();
            let anew = match violated.is_empty() {
                true => None,
                false => self.published_anew(&job.host, &published).await,
            };
            let Some(anew) = anew else {
                reports.extend(board.reports(&last));
                continue;
            };
            published = anew;
            reports.extend(board.without(&violated).reports(&last));
            let walk = self.errand(job, route, &published, known);
            let (board, last) = self.walk(&walk, &decision, violated, lane).await;
            reports.extend(board.reports(&last));
        }
        let report = self.report(job, Some(route.site.clone()), reports);
        let (learnt, waiver) = notes.into_learnt(&job.host, &published, report.at, false);
        Report {
            // A route's hosts are the operator's choice and say nothing of the domain.
            learnt: learnt.filter(|_| route.fixed.is_none()),
            waiver,
            ..report
        }
    }

    /// The walk of a job, with what is remembered of its domain and what is learnt.
    fn errand<'a>(
        &'a self,
        job: &'a Job,
        route: &'a Route,
        published: &'a Published,
        (remembered, notes): (&'a Remembered, &'a Notes),
    ) -> Walk<'a> {
        Walk {
            errand: Errand::Deliver(job),
            patience: Patience::DELIVERY,
            route,
            credentials: self.credentials(&job.host, route),
            published,
            remembered,
            notes,
            until: Instant::now() + timeouts::ATTEMPT,
            observing: false,
            age: self.clock.now().since(job.message.received_at),
        }
    }
}

/// What a list comes to where there is no route.
fn nowhere(board: &mut Board<'_>, leg: &Leg<'_>, why: &NoRoute) {
    match why.permanent {
        true => board.end(leg.ending(), &why.failure),
        false => board.defer(&why.failure, Waiting::default()),
    }
}

impl Deliver for Deliverer {
    fn route<'a>(&'a self, host: &'a Host) -> BoxFuture<'a, Result<Route, NoRoute>> {
        Box::pin(self.router.route(host))
    }

    fn unroutable<'a>(&'a self, job: &'a Job, why: &'a NoRoute) -> Report {
        let mut reports = Vec::new();
        for (decision, recipients) in self.groups(job) {
            let board = unrouted(&decision, recipients, why);
            reports.extend(board.reports(&why.failure));
        }
        self.report(job, None, reports)
    }

    fn attempt<'a>(
        &'a self,
        job: &'a Job,
        route: &'a Route,
        lane: &'a mut Lane,
    ) -> BoxFuture<'a, Report> {
        Box::pin(self.run(job, route, lane))
    }

    fn hang_up(&self, lane: Lane) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Some(kept) = lane.kept {
                kept.hang_up().await;
            }
        })
    }
}

/// What follows for recipients whose host has no route.
fn unrouted<'a>(
    decision: &Decision,
    recipients: Vec<&'a JobRecipient>,
    why: &NoRoute,
) -> Board<'a> {
    let published = Published::nothing();
    let mut board = Board::new(decision, &published, recipients);
    match &decision.stop {
        Some(stop) => board.stop(stop),
        None => {
            let leg = Leg::configured(decision, None, &published);
            nowhere(&mut board, &leg, why);
        }
    }
    if let Some(observed) = Leg::observed(decision, None, &published) {
        board.observe();
        nowhere(&mut board, &observed, why);
    }
    board
}

#[cfg(test)]
mod tests;
