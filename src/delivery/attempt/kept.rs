//! A connection that is ready for transactions, and may be kept for more.
//!
//! Owns what a connection proved and where it leads. Holds always: it serves a
//! message only with a permit granted against what *it* proved, by the same
//! transport, host and login (pitfall E27). Called by `open` (makes it) and
//! `transact` (uses it); the queue holds it in a `Lane` without looking inside.

use tokio::time::Instant;

use crate::assurance;
use crate::delivery::connection::Connection;
use crate::delivery::failure;
use crate::delivery::{Credentials, Hop, Route, timeouts};
use crate::tls::Proof;
use crate::types::{
    Achieved, AuthenticatedBy, Failure, Permit, Reason, Remote, Required, Stage, Transport,
};

/// Transactions over one connection: many servers take no more.
const TRANSACTIONS_MAX: u32 = 100;

/// A connection with what it proved.
pub(in crate::delivery) struct Kept {
    pub(super) connection: Connection,
    /// What its handshake proved, once and for all; `None`: there was none.
    pub(super) proof: Option<Proof>,
    /// What that is worth to the domain whose mail it serves now.
    pub(super) achieved: Achieved,
    /// Why it does not prove the peer's identity; `None` if it does, or without TLS.
    pub(super) unproven: Option<Reason>,
    /// Where it leads.
    pub(super) hop: Hop,
    pub(super) remote: Remote,
    /// Whether an operator's route named the host: that is who vouched for it.
    pub(super) fixed: bool,
    /// What it is logged in with.
    pub(super) credentials: Option<Credentials>,
    /// What it was opened for.
    pub(super) transport: Transport,
    pub(super) born: Instant,
    pub(super) used: Instant,
    pub(super) messages: u32,
}

impl Kept {
    /// Whether it may be asked to serve another message at all.
    pub(super) fn is_fit(&self) -> bool {
        self.connection.is_idle()
            && self.messages < TRANSACTIONS_MAX
            && self.born.elapsed() < timeouts::KEPT_AGE
            && self.used.elapsed() < timeouts::KEPT_IDLE
    }

    /// Judges it for another domain at the same host, since what vouches for the
    /// host's name is the domain's own: only its MTA-STS policy, not that of the
    /// one for which the connection was opened.
    pub(super) fn regard(&mut self, vouched: AuthenticatedBy) {
        if let Some(proof) = &self.proof
            && let Ok(judged) = assurance::judge(proof.clone(), vouched)
        {
            self.achieved = judged.achieved;
            self.unproven = judged.unproven;
        }
    }

    /// Whether it leads where this message goes, in the same way.
    pub(super) fn fits(
        &self,
        route: &Route,
        transport: Transport,
        login: Option<&Credentials>,
    ) -> bool {
        let leads_there = route
            .hosts
            .iter()
            .any(|hop| (&hop.host, hop.port) == (&self.hop.host, self.hop.port));
        leads_there
            && self.transport == transport
            && self.fixed == route.fixed.is_some()
            && self.credentials.as_ref() == login
    }

    /// Whether a transaction that requires this would get its permit.
    pub(super) fn reaches(&self, required: &Required) -> bool {
        Permit::grant(required, &self.achieved).is_ok()
    }

    /// Why its host falls short of what is required, by the handshake of this very
    /// connection; `None` if that does not tell. It spares a look at a host that
    /// was looked at a moment ago, where nothing hangs on the answer.
    pub(super) fn shortfall(&self, hop: &Hop, required: &Required) -> Option<Failure> {
        let reason = self.unproven?;
        let is_that = (&hop.host, hop.port) == (&self.hop.host, self.hop.port);
        let tells = is_that && self.is_fit() && !self.reaches(required);
        tells.then(|| failure::ours(reason, Stage::StartTls))
    }

    /// The definite no of its host, if this very connection was greeted without an
    /// offer of TLS: that is fresher than any answer a new connection would bring
    /// but its own, and spares one a message. Where the offer was overwritten on
    /// the way, the host is asked again (pitfall E23).
    pub(super) fn without_tls(&self, hop: &Hop) -> Option<Failure> {
        let is_that = (&hop.host, hop.port) == (&self.hop.host, self.hop.port);
        let says_no = self.transport == Transport::Cleartext
            && !self.connection.offers_starttls()
            && !self.connection.is_masked();
        (is_that && says_no && self.is_fit())
            .then(|| failure::ours(Reason::NoStarttls, Stage::StartTls))
    }

    /// Ends it politely.
    pub(in crate::delivery) async fn hang_up(self) {
        self.connection.quit().await;
    }
}
