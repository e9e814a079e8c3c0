//! What would happen, without doing it.
//!
//! Owns the answer to `postern explain`. Holds always: it asks the same policy,
//! assurance and routing code as an attempt does, and connects to nobody.

use std::net::IpAddr;

use super::Deliverer;
use super::leg::Leg;
use crate::assurance::Published;
use crate::delivery::{Hop, NoRoute, Route};
use crate::policy::{Decision, Question, RuleTrial};
use crate::protect::keys::NoKey;
use crate::types::{Failure, Mailbox, Method, Reason, Remembered, Required, Trust};

/// The way of one recipient, as it stands now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The rule, its methods and level.
    pub decision: Decision,
    /// Each rule, and why it decided or did not.
    pub trials: Vec<RuleTrial>,
    /// What each method of the list must prove, and who asks for it.
    pub required: Vec<(Method, Required)>,
    /// The same for the list by which it is delivered where that one would not, if
    /// the configuration is only observed.
    pub observed: Option<Vec<(Method, Required)>>,
    /// The key of each method that protects content, as far as is known without a look
    /// around, or why there is none.
    pub keys: Vec<(Method, KeyKnown)>,
    /// What the recipient's domain publishes.
    pub published: Published,
    /// Whether the route logs in.
    pub logs_in: bool,
    /// What is remembered of the domain.
    pub remembered: Remembered,
    /// Where it goes.
    pub route: Result<Route, NoRoute>,
    /// The addresses of the route's hosts, in the order tried, or why there are
    /// none.
    pub hosts: Vec<(Hop, Result<Vec<IpAddr>, Failure>)>,
}

/// What is known of a recipient's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyKnown {
    /// It would be used.
    Usable {
        /// The certificate's fingerprint, upper-case hex.
        fingerprint: String,
        /// How far it is trusted.
        trust: Trust,
    },
    /// None would be.
    None(NoKey),
    /// The store can't be read.
    Unreadable(Reason),
}

impl Deliverer {
    /// Explains what an attempt for this recipient would do.
    pub async fn explain(&self, question: Question<'_>) -> Explanation {
        let host = question.recipient.host();
        let decision = self.policy.decide(&question);
        let credentials = self.router.credentials(host);
        let route = self.router.route(host).await;
        let mut hosts = Vec::new();
        if let Ok(route) = &route {
            for hop in &route.hosts {
                let addresses = self.addresses(hop, route.fixed.is_some()).await;
                hosts.push((hop.clone(), addresses));
            }
        }
        let published = self.published(host).await;
        let required = Leg::configured(&decision, credentials, &published).all_required();
        let keys = self.keys(&decision, question.recipient).await;
        let observed = Leg::observed(&decision, credentials, &published);
        let observed = observed.map(|leg| leg.all_required());
        Explanation {
            required,
            keys,
            observed,
            trials: self.policy.explain(&question),
            logs_in: credentials.is_some(),
            published,
            remembered: match &route {
                Ok(route) => self.remembered(host, route),
                Err(_) => Remembered::Nothing,
            },
            decision,
            route,
            hosts,
        }
    }

    /// The keys that the methods of a list would use.
    async fn keys(&self, decision: &Decision, recipient: &Mailbox) -> Vec<(Method, KeyKnown)> {
        let treatment = &decision.treatment;
        let methods = treatment.methods.methods().iter().copied();
        let mut known = Vec::new();
        for method in methods.filter(|method| method.protects_content()) {
            let Some(protector) = &self.protector else {
                continue;
            };
            let found = protector
                .known(method, recipient, treatment.key_trust)
                .await;
            let key = match found {
                Ok(Ok(chosen)) => KeyKnown::Usable {
                    fingerprint: chosen.key.fingerprint(),
                    trust: chosen.trust,
                },
                Ok(Err(none)) => KeyKnown::None(none),
                Err(hindrance) => KeyKnown::Unreadable(hindrance.reason()),
            };
            known.push((method, key));
        }
        known
    }
}
