//! What all hosts together say about a method, and what follows.
//!
//! Owns the step from hosts' verdicts to the method's turn (design section 3.3).
//! Holds always: where a host proves less than the domain has published, nothing
//! else counts; where all are unknown, nothing follows; `cleartext` is never opened
//! by patience. A pure function of verdicts and clocks. Called by `walk`.

use super::clocks::Clocks;
use crate::delivery::failure::{self, Verdict};
use crate::types::{Failure, Method, Reason, Stage, Waiting};

/// What all hosts together say about a method.
#[derive(Default)]
pub(super) struct Tally {
    /// A host proves less than the recipient's domain has published.
    violated: Option<Failure>,
    unmet: Option<Failure>,
    /// A host was unmet for a reason that does not open `cleartext`.
    has_tls: bool,
    unknown: Option<Failure>,
    /// A host was not asked at all, so that it can't have been tried for long.
    unasked: bool,
    refused: Option<Failure>,
    absent: Option<Failure>,
}

/// What follows from a tally.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Summary {
    /// Later.
    Defer(Failure, Waiting),
    /// Refused for good, and not for want of protection.
    Bounce(Failure),
    /// No host can be asked, whatever the method.
    Nowhere(Failure),
    /// This method is not the way.
    Unmet {
        failure: Failure,
        /// Why `cleartext` is not the way either, if it isn't.
        shut: Option<Reason>,
        /// Whether patience with hosts that don't answer has run out for it.
        impatient: bool,
    },
}

impl Tally {
    pub(super) fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Unmet(failure) => {
                self.has_tls |= !failure::opens_cleartext(failure.reason);
                self.unmet = Some(failure);
            }
            Verdict::Violated(failure) => self.violated = Some(failure),
            Verdict::Unknown(failure) => self.unknown = Some(failure),
            Verdict::Refused(failure) => self.refused = Some(failure),
            Verdict::Absent(failure) => self.absent = Some(failure),
        }
    }

    /// Those beyond the cap are not asked, so they say nothing.
    pub(super) fn not_asked(&mut self) {
        self.unasked = true;
        self.unknown = Some(failure::ours(Reason::Unreachable, Stage::Connect));
    }

    /// Whether a host has definitely refused the protection required.
    pub(super) fn hinders(&self) -> bool {
        self.unmet.is_some()
    }

    /// How a host violates what the domain has published, if one does.
    pub(super) fn violation(&self) -> Option<Reason> {
        self.violated.as_ref().map(|failure| failure.reason)
    }

    /// What keeps a host from having said whether it takes a message.
    pub(super) fn unanswered(&self) -> Option<&Failure> {
        self.violated.as_ref().or(self.unknown.as_ref())
    }

    /// What follows for content that is protected itself, so that the best of what the
    /// hosts offer will do: a host that is definitely unmet leaves the next transport its
    /// turn, whatever the others say.
    pub(super) fn at_best(self, clocks: &Clocks) -> Summary {
        match (self.violated, self.unmet) {
            (Some(failure), _) => Summary::Defer(failure, clocks.violated()),
            (None, Some(failure)) => Summary::Unmet {
                failure,
                shut: None,
                impatient: false,
            },
            (None, None) => Self {
                violated: None,
                unmet: None,
                ..self
            }
            .summary(clocks, &[]),
        }
    }

    /// What follows; `next`: the methods that come behind this one.
    pub(super) fn summary(self, clocks: &Clocks, next: &[Method]) -> Summary {
        // Whatever the others say: it waits, and no other method has its turn.
        if let Some(failure) = self.violated {
            return Summary::Defer(failure, clocks.violated());
        }
        // A turn that patience can't bring about is no reason to give up.
        let patient = self.unasked || (next == [Method::Cleartext] && !self.has_tls);
        match (self.unknown, self.refused, self.unmet, self.absent) {
            (Some(unknown), None, Some(failure), _) if !patient => match clocks.unanswered() {
                Some(waiting) => Summary::Defer(unknown, waiting),
                None => Summary::Unmet {
                    shut: Some(match self.has_tls {
                        true => failure.reason,
                        false => unknown.reason,
                    }),
                    failure,
                    impatient: true,
                },
            },
            (Some(failure), ..) => Summary::Defer(failure, Waiting::default()),
            (None, Some(failure), ..) => Summary::Bounce(failure),
            (None, None, Some(failure), _) => match clocks.refused() {
                Some(waiting) => Summary::Defer(failure::for_now(failure), waiting),
                None => Summary::Unmet {
                    shut: self.has_tls.then_some(failure.reason),
                    failure,
                    impatient: false,
                },
            },
            (None, None, None, Some(failure)) => Summary::Nowhere(failure),
            (None, None, None, None) => Summary::Defer(
                failure::ours(Reason::Unreachable, Stage::Connect),
                Waiting::default(),
            ),
        }
    }
}

#[cfg(test)]
#[path = "tally_tests.rs"]
mod tests;
