//! What the queue has decided for one recipient.
//!
//! Owns the type alone: `queue::schedule` makes decisions, [`super::Outcome`]
//! carries them out. Holds always: a decision is either an ending or names the
//! next moment, so that no recipient is left without one.

use crate::types::Timestamp;

/// What becomes of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The far side took it.
    Delivered,
    /// Refused for good.
    Bounced,
    /// Dropped by the methods list or by a rule.
    Dropped,
    /// Held by a rule, until somebody releases it.
    Held,
    /// Deferred, and too old to be tried again (RFC 5321 section 4.5.4.1).
    Expired,
    /// Stays open.
    Waits {
        /// When it is due again.
        next: Timestamp,
        /// Whether the sender is to be told of the delay now.
        tell_delay: bool,
    },
}

/// The verdict for a recipient, with how often it has been attempted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// What becomes of it.
    pub verdict: Verdict,
    /// Attempts begun until now. As many as before where the recipient only
    /// waited behind its site's backoff: then no attempt is logged.
    pub attempts: u32,
}
