//! Names of messages and of audit events.
//!
//! Holds always: ids are made from a clock and randomness that are passed in, so
//! they are unique across restarts and clock changes and sort by time of
//! acceptance; their text form is 20 letters and digits, safe in any log,
//! header or file name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// Crockford's base 32: no I, L, O, U, so that ids survive being read aloud.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Digits of an id's text: 96 bits at 5 bits each.
const TEXT_LEN: usize = 20;

/// Not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a queue id (20 letters and digits, as printed by the 250 after DATA)")]
pub struct IdError;

/// A message's name: 8 octets of time in microseconds, 4 random ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QueueId([u8; 12]);

/// An audit event's name, made as a [`QueueId`] is.
pub type EventId = QueueId;

impl QueueId {
    /// Makes an id from the time of acceptance and 4 random octets.
    #[must_use]
    pub fn new(at: Timestamp, random: [u8; 4]) -> Self {
        let mut octets = [0; 12];
        octets[..8].copy_from_slice(&at.as_micros().max(0).to_be_bytes());
        octets[8..].copy_from_slice(&random);
        Self(octets)
    }

    /// Its 12 octets, as the spool writes them; they sort as ids do.
    #[must_use]
    pub fn to_octets(self) -> [u8; 12] {
        self.0
    }

    /// From its 12 octets.
    #[must_use]
    pub fn from_octets(octets: [u8; 12]) -> Self {
        Self(octets)
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self
            .0
            .iter()
            .fold(0u128, |value, octet| value << 8 | u128::from(*octet));
        let mut text = [0; TEXT_LEN];
        for digit in text.iter_mut().rev() {
            *digit = DIGITS[(value & 31) as usize];
            value >>= 5;
        }
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

impl fmt::Debug for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for QueueId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.len() != TEXT_LEN {
            return Err(IdError);
        }
        let mut value = 0u128;
        for c in text.bytes() {
            let digit = DIGITS
                .iter()
                .position(|d| *d == c.to_ascii_uppercase())
                .ok_or(IdError)?;
            value = value << 5 | digit as u128;
        }
        let octets = value.to_be_bytes();
        if octets[..4] != [0; 4] {
            return Err(IdError);
        }
        let mut id = [0; 12];
        id.copy_from_slice(&octets[4..]);
        Ok(Self(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trip_and_order() {
        let early = QueueId::new(Timestamp::from_micros(1_000_000), [1, 2, 3, 4]);
        let late = QueueId::new(Timestamp::from_micros(2_000_000), [0, 0, 0, 0]);
        assert_eq!(early.to_string().parse::<QueueId>(), Ok(early));
        assert!(early < late && early.to_string() < late.to_string());
        assert_eq!(
            early.to_string().to_lowercase().parse::<QueueId>(),
            Ok(early)
        );
    }

    #[test]
    fn bad_ids_are_refused() {
        for text in [
            "",
            "short",
            "ZZZZZZZZZZZZZZZZZZZZ",
            "0000000000000000000U",
            "../../../../../../etc",
        ] {
            assert_eq!(text.parse::<QueueId>(), Err(IdError), "{text}");
        }
    }
}
