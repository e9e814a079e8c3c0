//! What has become of one recipient of one message.
//!
//! Holds always: a recipient is in exactly one state; a final state is never
//! left, but that an operator may take what is `dead` off the list; a `queued`
//! recipient has a time for its next attempt.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Method, Timestamp};

/// A recipient's state (design section 1).
///
/// The order is part of the journal's format: new states go at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Open: waits for its next attempt.
    Queued,
    /// Taken by the recipient's server.
    Delivered,
    /// Refused for good; the sender was told.
    Bounced,
    /// Not deliverable in time; the sender was told.
    Expired,
    /// Dropped by a rule; the audit records it.
    Dropped,
    /// Own mail that could not be delivered.
    Dead,
    /// Open: kept back by an operator, and never expires. The time, if there is
    /// one, is when it is released.
    Held,
    /// Taken out by an operator; nobody was told, the audit records it.
    Removed,
}

impl State {
    /// Every state, in the order of the journal's format.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Delivered,
        Self::Bounced,
        Self::Expired,
        Self::Dropped,
        Self::Dead,
        Self::Held,
        Self::Removed,
    ];

    /// Whether something is still to be done.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Held)
    }

    /// Whether a recipient in this state may come into another.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        self.is_open() || (self, next) == (Self::Dead, Self::Removed)
    }

    /// The word that listings, logs and the audit use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Delivered => "delivered",
            Self::Bounced => "bounced",
            Self::Expired => "expired",
            Self::Dropped => "dropped",
            Self::Dead => "dead",
            Self::Held => "held",
            Self::Removed => "removed",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No such state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a state (one of queued, held, delivered, bounced, expired, dropped, dead, removed)")]
pub struct StateError;

impl FromStr for State {
    type Err = StateError;
    fn from_str(text: &str) -> Result<Self, StateError> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or(StateError)
    }
}

/// One recipient's state and history, as the spool keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Kept", into = "Kept")]
pub struct RecipientStatus {
    /// Where it stands.
    pub state: State,
    /// Attempts begun.
    pub attempts: u32,
    /// When the next attempt is due, or when what is held is released; `None` once
    /// final, and for what is held until somebody releases it.
    pub next_attempt: Option<Timestamp>,
    /// Whether the sender has had the DSN "delayed".
    pub delay_told: bool,
    /// Whether an operator has released it: no rule holds it again.
    pub released: bool,
    /// The method of the last attempt, if one got that far.
    pub method: Option<Method>,
    /// What the far side last said, or why it wasn't reached; 512 octets at most.
    pub last_reply: Option<String>,
}

impl RecipientStatus {
    /// A fresh recipient, due at once.
    #[must_use]
    pub fn queued(now: Timestamp) -> Self {
        Self {
            state: State::Queued,
            attempts: 0,
            next_attempt: Some(now),
            delay_told: false,
            released: false,
            method: None,
            last_reply: None,
        }
    }
}

/// A status as the journal has it: where there was one flag in an octet, there are two.
#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    state: State,
    attempts: u32,
    next_attempt: Option<Timestamp>,
    flags: u8,
    method: Option<Method>,
    last_reply: Option<String>,
}

const DELAY_TOLD: u8 = 1;
const RELEASED: u8 = 2;

impl From<Kept> for RecipientStatus {
    fn from(kept: Kept) -> Self {
        Self {
            state: kept.state,
            attempts: kept.attempts,
            next_attempt: kept.next_attempt,
            delay_told: kept.flags & DELAY_TOLD != 0,
            released: kept.flags & RELEASED != 0,
            method: kept.method,
            last_reply: kept.last_reply,
        }
    }
}

impl From<RecipientStatus> for Kept {
    fn from(status: RecipientStatus) -> Self {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        Self {
            state: status.state,
            attempts: status.attempts,
            next_attempt: status.next_attempt,
            flags: flag(status.delay_told, DELAY_TOLD) | flag(status.released, RELEASED),
            method: status.method,
            last_reply: status.last_reply,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_of_before_reads_as_it_was() {
        // As the journal had it when there was one flag.
        let before = (
            State::Held,
            3u32,
            None::<Timestamp>,
            true,
            None::<Method>,
            Some("x"),
        );
        let octets = postcard::to_stdvec(&before).unwrap();
        let status: RecipientStatus = postcard::from_bytes(&octets).unwrap();
        assert!(status.delay_told && !status.released && status.attempts == 3);
        assert_eq!(postcard::to_stdvec(&status).unwrap(), octets);
        let released = RecipientStatus {
            released: true,
            ..status
        };
        let octets = postcard::to_stdvec(&released).unwrap();
        assert_eq!(
            postcard::from_bytes::<RecipientStatus>(&octets),
            Ok(released)
        );
    }
}
