//! What there is to see of the listeners, for the operator's dashboard.
//!
//! Owns the names of the metrics of what comes in. Holds always: the counters
//! outlive a reload; labels are listener kinds and classes, never a client, an
//! account or an address. Fed by the listeners and the socket tasks, written
//! when `service` asks.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::task::AbortHandle;

use super::auth::Verdict;
use super::front::Front;
use super::limits::Crowded;
use super::settings::ListenerKind;
use crate::spool::Ticket;
use crate::sys::metrics::{Counter, Histogram, Page};
use crate::types::{TlsFacts, tls_words};

/// Bounds of the time that a commit takes, in seconds.
const ACCEPT: &[f64] = &[
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
const KINDS: [ListenerKind; 3] = [
    ListenerKind::Submission,
    ListenerKind::Submissions,
    ListenerKind::Relay,
];

/// The room's counters.
#[derive(Debug)]
pub(super) struct Meters {
    connections: Counter<1>,
    crowded: Counter<1>,
    displaced: Counter<1>,
    handshakes_failed: Counter<1>,
    tls: Counter<4>,
    auth_failures: Counter<1>,
    messages: Counter<1>,
    recipients: Counter<1>,
    octets: Counter<1>,
    refusals: Counter<2>,
    accept: Histogram,
}

impl Default for Meters {
    fn default() -> Self {
        let by_kind = || Counter::with(KINDS.map(|kind| [kind.as_str()]));
        let refused = |kind: ListenerKind| ["4xx", "5xx"].map(|class| [kind.as_str(), class]);
        Self {
            connections: by_kind(),
            crowded: Counter::with([["in-all"], ["from-client"], ["of-account"]]),
            displaced: by_kind(),
            handshakes_failed: by_kind(),
            tls: Counter::default(),
            auth_failures: Counter::with([["refused"], ["limited"], ["unavailable"]]),
            messages: by_kind(),
            recipients: by_kind(),
            octets: by_kind(),
            refusals: Counter::with(KINDS.into_iter().flat_map(refused)),
            accept: Histogram::new(ACCEPT),
        }
    }
}

impl Meters {
    pub(super) fn connected(&self, kind: ListenerKind) {
        self.connections.count([kind.as_str()]);
    }

    pub(super) fn turned_away(&self, why: Crowded) {
        self.crowded.count([match why {
            Crowded::InAll => "in-all",
            Crowded::FromClient => "from-client",
            Crowded::OfAccount => "of-account",
            // Counted when it ends.
            Crowded::Displaced => return,
        }]);
    }

    /// A connection that had to go for another one.
    pub(super) fn displaced(&self, kind: ListenerKind) {
        self.displaced.count([kind.as_str()]);
    }

    pub(super) fn handshake_failed(&self, kind: ListenerKind) {
        self.handshakes_failed.count([kind.as_str()]);
    }

    /// A handshake that came to an end.
    pub(super) fn secured(&self, kind: ListenerKind, facts: &TlsFacts) {
        let [version, cipher, group] = tls_words(Some(facts));
        self.tls.count([kind.as_str(), version, cipher, group]);
    }

    pub(super) fn login(&self, verdict: &Verdict) {
        self.auth_failures.count([match verdict {
            // Those of an account that has too many are counted as connections.
            Verdict::Accepted(_) | Verdict::Crowded(_) => return,
            Verdict::Refused => "refused",
            Verdict::Limited => "limited",
            Verdict::Unavailable => "unavailable",
        }]);
    }

    /// A reply of 4xx or 5xx; `first` is its first digit.
    pub(super) fn refused(&self, kind: ListenerKind, first: u8) {
        let class = if first == b'4' { "4xx" } else { "5xx" };
        self.refusals.count([kind.as_str(), class]);
    }

    /// A message that is being committed.
    pub(super) fn weigh(kind: ListenerKind, ticket: &Ticket) -> Weight {
        Weight {
            kind,
            recipients: ticket.envelope.recipients.len() as u64,
            octets: ticket.facts.size,
        }
    }

    /// It was committed.
    pub(super) fn accepted(&self, weight: &Weight, span: Duration) {
        let kind = [weight.kind.as_str()];
        self.messages.count(kind);
        self.recipients.add(kind, weight.recipients);
        self.octets.add(kind, weight.octets);
        self.accept.observe_span(span);
    }

    fn write_sessions(&self, page: &mut Page) {
        page.counter(
            "postern_ingress_connections_total",
            "Connections taken.",
            ["listener"],
            &self.connections,
        );
        page.counter(
            "postern_ingress_connections_refused_total",
            "Connections refused, by the limit that was reached.",
            ["limit"],
            &self.crowded,
        );
        page.counter(
            "postern_ingress_connections_displaced_total",
            "Connections ended before they had logged in, to make room for others.",
            ["listener"],
            &self.displaced,
        );
        page.counter(
            "postern_ingress_handshakes_failed_total",
            "TLS handshakes of clients that failed.",
            ["listener"],
            &self.handshakes_failed,
        );
        page.counter(
            "postern_ingress_tls_total",
            "TLS connections of clients by what the handshake agreed on.",
            ["listener", "version", "cipher", "group"],
            &self.tls,
        );
        page.counter(
            "postern_auth_failures_total",
            "Logins refused, not looked at after too many failures, or not possible.",
            ["reason"],
            &self.auth_failures,
        );
    }

    fn write_messages(&self, page: &mut Page) {
        page.counter(
            "postern_accepted_messages_total",
            "Messages taken: durable and acknowledged.",
            ["listener"],
            &self.messages,
        );
        page.counter(
            "postern_accepted_recipients_total",
            "Recipients of the messages taken.",
            ["listener"],
            &self.recipients,
        );
        page.counter(
            "postern_accepted_bytes_total",
            "Octets of the messages taken.",
            ["listener"],
            &self.octets,
        );
        page.counter(
            "postern_refusals_total",
            "Replies to clients that refuse something, by class.",
            ["listener", "class"],
            &self.refusals,
        );
        page.histogram(
            "postern_accept_seconds",
            "Time from the end of a message to its 250: that of making it durable.",
            &self.accept,
        );
    }
}

/// What a message counts for.
pub(super) struct Weight {
    kind: ListenerKind,
    recipients: u64,
    octets: u64,
}

/// What there is to see of the ingress, for as long as it lives.
#[derive(Debug, Clone)]
pub struct Figures {
    pub(super) fronts: Vec<Arc<RwLock<Arc<Front>>>>,
    pub(super) accepting: Vec<AbortHandle>,
}

impl Figures {
    /// Whether every listener takes connections.
    #[must_use]
    pub fn is_accepting(&self) -> bool {
        !self.accepting.iter().any(AbortHandle::is_finished)
    }

    /// Writes them. Looks at the certificate's files first, if that is due.
    pub async fn write(&self, page: &mut Page) {
        let Some(front) = self.fronts.first() else {
            return;
        };
        let front = Arc::clone(&front.read().unwrap_or_else(PoisonError::into_inner));
        let common = &front.common;
        let (open, strangers) = common.connections.open_now();
        page.gauge(
            "postern_ingress_connections",
            "Connections of clients that are open.",
            open,
        );
        page.gauge(
            "postern_ingress_strangers",
            "Those of them that have not logged in and are not listed.",
            strangers,
        );
        common.meters.write_sessions(page);
        common.meters.write_messages(page);
        if let Some(end) = common.identity.not_after().await {
            page.gauge(
                "postern_certificate_expiry_timestamp_seconds",
                "When the listeners' certificate ends, in seconds since 1970.",
                f64::from(u32::try_from(end.as_micros() / 1_000_000).unwrap_or(u32::MAX)),
            );
        }
    }
}
