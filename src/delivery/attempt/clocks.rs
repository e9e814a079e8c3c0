//! The two clocks of a methods list (design section 3.3).
//!
//! Owns the answer to "is it time for the next method?": `fallback_after` for what
//! was definitely refused, `security_patience` for hosts that don't answer beside
//! some that have. Holds always: both count from the message's acceptance, and
//! patience can't run out at a recipient's first attempt, so that what was held back
//! for days (by hand, or by a relay that stood still) is not given up at once. No
//! clock is read here: the age comes from outside. Called by `walk` and `tally`.

use std::time::Duration;

use crate::policy::Treatment;
use crate::types::{Ending, Waiting};

/// How a group of recipients stands to its clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clocks {
    age: Duration,
    tried: bool,
    fallback_after: Duration,
    patience: Duration,
    ending: Ending,
}

impl Clocks {
    /// Those of a decision, for a message of this age; `tried`: there was an attempt
    /// before this one.
    pub(super) fn new(treatment: &Treatment, age: Duration, tried: bool) -> Self {
        Self {
            age,
            tried,
            fallback_after: treatment.fallback_after,
            patience: treatment.security_patience,
            ending: treatment.methods.ending(),
        }
    }

    /// Those of a list that stands in for one that is only observed: what was
    /// definitely refused waits for nothing, and nothing runs out.
    pub(super) fn observed(self, ending: Ending) -> Self {
        Self {
            fallback_after: Duration::ZERO,
            patience: Duration::MAX,
            ending,
            ..self
        }
    }

    /// What there is to wait for where all hosts have definitely refused; `None`:
    /// the next method has its turn.
    pub(super) fn refused(&self) -> Option<Waiting> {
        self.until(self.fallback_after)
    }

    /// What there is to wait for where some have and the others don't answer;
    /// `None`: the next method has its turn.
    pub(super) fn unanswered(&self) -> Option<Waiting> {
        let end = self.patience.max(self.fallback_after);
        let untried = !self.tried && !self.patience.is_zero();
        let waiting = self.until(end);
        waiting.or_else(|| untried.then(|| self.answered()))
    }

    /// How those wait whose domain has published better: whatever the list's ending
    /// is, it comes at the end alone, and the sender hears of it early.
    pub(super) fn violated(&self) -> Waiting {
        Waiting {
            tell: Some(self.patience),
            ending: self.ending,
            ..self.answered()
        }
    }

    /// How those wait whose key can't be looked up now; `None`: patience is over.
    pub(super) fn for_key(&self) -> Option<Waiting> {
        self.unanswered()
    }

    /// How those wait for what only we ourselves or an operator can mend, or who had a
    /// key before: until the end, and the sender hears of it early.
    pub(super) fn held_up(&self) -> Waiting {
        self.violated()
    }

    fn until(&self, end: Duration) -> Option<Waiting> {
        (self.age < end).then(|| Waiting {
            until: Some(end),
            ..self.answered()
        })
    }

    fn answered(&self) -> Waiting {
        Waiting {
            answered: true,
            ..Waiting::default()
        }
    }
}
