//! What there is to see of outcomes, for the operator's dashboard.
//!
//! Owns the names of the metrics of deliveries and failures. Holds always: what
//! log and audit tell of is counted once, and nothing else; methods, reasons and
//! TLS parameters are words of closed lists, anything else is `other`. Fed by
//! [`super::Outcome::settle`], written when `service` asks.

use crate::sys::metrics::{Counter, Histogram, Page};
use crate::types::{
    Action, Course, Message, Method, OwnMailKind, State, StsMode, Timestamp, tls_words,
};

use super::line::status;
use super::settle::Case;

/// Bounds of the time from acceptance to delivery, in seconds: from at once over
/// the waits between attempts to the default of `expire`.
const DELIVERY: &[f64] = &[
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0,
    432_000.0,
];
/// The room's counters.
#[derive(Debug)]
pub(super) struct Meters {
    outcomes: Counter<3>,
    observed: Counter<3>,
    sts: Counter<2>,
    tls: Counter<3>,
    own_mail: Counter<1>,
    by_hand: Counter<1>,
    delivery: Histogram,
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            // An alert asks whether this one stands still.
            outcomes: Counter::with([[status(State::Delivered), Method::Tls.as_str(), "none"]]),
            observed: Counter::with([[status(State::Delivered), Course::Tls.as_str(), "none"]]),
            sts: Counter::with([[StsMode::Enforce.as_str(), "none"]]),
            tls: Counter::default(),
            own_mail: Counter::with([["dsn"], ["dead-notice"]]),
            by_hand: Counter::with(Action::ALL.map(|action| [action.as_str()])),
            delivery: Histogram::new(DELIVERY),
        }
    }
}

impl Meters {
    /// Counts what came of one recipient.
    pub(super) fn note(&self, case: &Case<'_>, message: &Message, now: Timestamp) {
        let method = case.report.method.map_or("none", |method| method.as_str());
        let reason = case.failure().map_or("none", |f| f.reason.as_str());
        self.outcomes.count([status(case.state), method, reason]);
        if let Some(would) = case.report.evidence.would {
            let reason = would.reason.map_or("none", |reason| reason.as_str());
            let would = would.method.as_str();
            self.observed.count([status(case.state), would, reason]);
        }
        if let Some(sts) = &case.report.evidence.sts {
            let finding = sts.finding.map_or("none", |reason| reason.as_str());
            self.sts.count([sts.mode.as_str(), finding]);
        }
        if case.state != State::Delivered {
            return;
        }
        self.delivery.observe_span(now.since(message.received_at));
        self.tls.count(tls_words(case.report.evidence.tls.as_ref()));
    }

    /// Counts a message of our own.
    pub(super) fn note_own_mail(&self, kind: &OwnMailKind) {
        self.own_mail.count([match kind {
            OwnMailKind::Dsn { .. } => "dsn",
            OwnMailKind::DeadNotice { .. } => "dead-notice",
        }]);
    }

    /// Counts recipients that an operator has touched, or the end of a hold.
    pub(super) fn note_hand(&self, action: Action, recipients: usize) {
        self.by_hand.add([action.as_str()], recipients as u64);
    }

    pub(super) fn write(&self, page: &mut Page) {
        page.counter(
            "postern_outcomes_total",
            "Outcomes of attempts and endings, one a recipient, in the words of log and audit.",
            ["status", "method", "reason"],
            &self.outcomes,
        );
        page.counter(
            "postern_observed_outcomes_total",
            "The same while the configuration is only observed, by what it would have come to.",
            ["status", "would", "reason"],
            &self.observed,
        );
        page.counter(
            "postern_sts_outcomes_total",
            "Outcomes for domains with an MTA-STS policy, by mode and what is wrong by it with the host.",
            ["mode", "finding"],
            &self.sts,
        );
        page.histogram(
            "postern_delivery_seconds",
            "Time from the acceptance of a message to its delivery, one a recipient.",
            &self.delivery,
        );
        page.counter(
            "postern_delivery_tls_total",
            "Deliveries by what the handshake agreed on, one a recipient; none: in the clear.",
            ["version", "cipher", "group"],
            &self.tls,
        );
        page.counter(
            "postern_own_mail_total",
            "Delivery reports and notices written.",
            ["kind"],
            &self.own_mail,
        );
        page.counter(
            "postern_by_hand_recipients_total",
            "Recipients touched in the queue by hand, by the action; a hold that ends is a release.",
            ["action"],
            &self.by_hand,
        );
    }
}
