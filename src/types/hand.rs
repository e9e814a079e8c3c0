//! What an operator does to messages in the queue, by hand.
//!
//! Holds always: what is done says who did it, or that the daemon did it by
//! itself because a time had come. Asked through `control`, carried out by
//! `queue`, made a Settlement by `outcome`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{State, Timestamp};

/// What can be done by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Kept back until it is released.
    Hold,
    /// What is held becomes due at once.
    Release,
    /// What waits becomes due at once.
    Retry,
    /// Ends it; nobody is told.
    Remove,
    /// Ends it; the sender is told.
    Bounce,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 5] = [
        Self::Hold,
        Self::Release,
        Self::Retry,
        Self::Remove,
        Self::Bounce,
    ];

    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Retry => "retry",
            Self::Remove => "remove",
            Self::Bounce => "bounce",
        }
    }

    /// Whether it does something to a recipient in this state.
    #[must_use]
    pub fn concerns(self, state: State) -> bool {
        match self {
            Self::Hold | Self::Bounce => state.is_open(),
            Self::Release => state == State::Held,
            Self::Retry => state == State::Queued,
            Self::Remove => state.is_open() || state == State::Dead,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An action with who does it, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hand {
    /// What is done.
    pub action: Action,
    /// When what is held is released; `None`: when somebody does it.
    pub until: Option<Timestamp>,
    /// Why, in the operator's words.
    pub reason: Option<String>,
    /// Who, as the system names them; `None`: the daemon, since the time of a
    /// hold has come.
    pub actor: Option<String>,
}

impl Hand {
    /// What was done, in one line for the audit: `hold until 2026-…: REASON`.
    #[must_use]
    pub fn note(&self) -> String {
        let mut note = self.action.to_string();
        if let Some(until) = self.until {
            note.push_str(&format!(" until {until}"));
        }
        if let Some(reason) = &self.reason {
            note.push_str(&format!(": {reason}"));
        }
        note
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_done_to_what_has_ended_but_that_the_dead_are_removed() {
        for action in [
            Action::Hold,
            Action::Release,
            Action::Retry,
            Action::Remove,
            Action::Bounce,
        ] {
            for state in State::ALL.into_iter().filter(|s| !s.is_open()) {
                let dead = (action, state) == (Action::Remove, State::Dead);
                assert_eq!(action.concerns(state), dead, "{action} {state}");
            }
        }
        assert!(!Action::Retry.concerns(State::Held), "a hold is a hold");
    }

    #[test]
    fn the_note_says_what_and_why() {
        let hand = Hand {
            action: Action::Hold,
            until: Some(Timestamp::from_micros(0)),
            reason: Some("asked by legal".into()),
            actor: None,
        };
        let note = "hold until 1970-01-01T00:00:00.000Z: asked by legal";
        assert_eq!(hand.note(), note);
    }
}
