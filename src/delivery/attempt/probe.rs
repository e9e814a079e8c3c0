//! What would happen, by asking the hosts.
//!
//! Owns the answer to `postern explain --probe`. Holds always: it is the walk of
//! an attempt, which ends where the transaction would begin, so neither MAIL FROM
//! nor AUTH nor an address of a person leaves the machine; it is over within a
//! minute. Called by `service`.

use tokio::time::{Instant, timeout_at};

use super::explain::Explanation;
use super::notes::Notes;
use super::walk::{Errand, Walk};
use super::watch::{Asked, Watch};
use super::{Deliverer, unrouted};
use crate::delivery::timeouts::{self, Patience};
use crate::delivery::{Lane, Route, failure};
use crate::policy::Question;
use crate::types::{Evidence, Fate, JobRecipient, Learnt, Method, Reason, Stage};

/// What an attempt made now would come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prospect {
    /// Each method's turn at each host, in the order taken.
    pub asked: Vec<Asked>,
    /// The method it ended at.
    pub method: Option<Method>,
    /// What was proven and passed over on the way.
    pub evidence: Evidence,
    /// What would become of the message; `None`: it would be handed over.
    pub fate: Option<Fate>,
    /// What was learnt of the domain's own hosts.
    pub learnt: Option<Learnt>,
}

impl Deliverer {
    /// Explains what an attempt for this recipient would do, and makes it, up to
    /// the first transaction.
    ///
    /// `None` if not even DNS answered in time.
    pub async fn probe(&self, question: Question<'_>) -> Option<(Explanation, Prospect)> {
        let began = Instant::now();
        let end = began + timeouts::PROBE_ALL;
        let explanation = timeout_at(end, self.explain(question)).await.ok()?;
        let recipient = JobRecipient {
            index: 0,
            mailbox: question.recipient.clone(),
            attempts: 0,
            delay_told: false,
            copy: None,
            released: false,
        };
        let (watch, notes) = (Watch::default(), Notes::default());
        let patience = Patience::probe(began);
        let walking = self.look(&explanation, &recipient, &watch, &notes, patience);
        let ended = timeout_at(end, walking).await.ok().flatten();
        let (method, evidence, fate) = ended.unwrap_or_else(|| {
            let late = failure::ours(Reason::TimedOut, Stage::Connect);
            (None, Evidence::default(), Some(Fate::Deferred(late)))
        });
        let is_own = |route: &Route| route.fixed.is_none();
        let host = question.recipient.host();
        let (learnt, _) = notes.into_learnt(host, &explanation.published, self.clock.now(), true);
        let prospect = Prospect {
            learnt: learnt.filter(|_| explanation.route.as_ref().is_ok_and(is_own)),
            asked: watch.into_notes(),
            method,
            evidence,
            fate,
        };
        Some((explanation, prospect))
    }

    async fn look(
        &self,
        explanation: &Explanation,
        recipient: &JobRecipient,
        watch: &Watch,
        notes: &Notes,
        patience: Patience,
    ) -> Option<(Option<Method>, Evidence, Option<Fate>)> {
        let decision = &explanation.decision;
        let route = match &explanation.route {
            Ok(route) => route,
            Err(why) => return unrouted(decision, vec![recipient], why).prospect(),
        };
        let remembered = self.remembered(recipient.mailbox.host(), route);
        let walk = Walk {
            errand: Errand::Probe(watch),
            patience,
            route,
            credentials: self.credentials(recipient.mailbox.host(), route),
            published: &explanation.published,
            remembered: &remembered,
            notes,
            until: patience.until(timeouts::ATTEMPT),
            observing: false,
            // As at its first attempt.
            age: std::time::Duration::ZERO,
        };
        let mut lane = Lane::default();
        let walking = self.walk(&walk, decision, vec![recipient], &mut lane);
        walking.await.0.prospect()
    }
}
