//! Rules that keep a message from going anywhere: held, or dropped.
//!
//! Owns what such a rule says, and which counts where there are several. Holds always: a
//! hold comes before a drop, since what is held is not lost; nothing is dropped for
//! something that nobody has looked at: that is held. Made by `decide`, done by
//! `delivery`.

use super::Rule;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopping {
    /// It waits until somebody releases it.
    Hold,
    /// It ends here; nobody is told.
    Drop,
}

/// A rule that stops a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// What is done.
    pub what: Stopping,
    /// The rule.
    pub rule: String,
    /// Why, in the operator's words.
    pub reason: String,
}

impl Stop {
    /// In one line, for audit and queue.
    #[must_use]
    pub fn note(&self) -> String {
        let what = match self.what {
            Stopping::Hold => "held",
            Stopping::Drop => "dropped",
        };
        format!("{what} by rule \"{}\": {}", self.rule, self.reason)
    }

    /// What a rule that matches does; `certain`: not only because something was not
    /// noted.
    pub(super) fn of(rule: &Rule, certain: bool) -> Option<Self> {
        let stop = |what, reason| Self {
            what,
            rule: rule.name.clone(),
            reason,
        };
        match (&rule.hold, &rule.drop) {
            (Some(reason), _) => Some(stop(Stopping::Hold, reason.clone())),
            (None, Some(reason)) if certain => Some(stop(Stopping::Drop, reason.clone())),
            (None, Some(reason)) => {
                let reason = format!("{reason} (held, not dropped: what it asks was not noted)");
                Some(stop(Stopping::Hold, reason))
            }
            (None, None) => None,
        }
    }
}
