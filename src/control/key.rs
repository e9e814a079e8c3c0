//! What is told of a key that was looked up.
//!
//! Holds always: the field names are the contract of `key find --lookup --json`.

use serde::{Deserialize, Serialize};

/// What came of looking an address's key up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyLookup {
    /// `found`: there is a key, in use or awaiting approval; `unusable`: there are
    /// certificates, and none can be used; `absent`: there is none; `failed`: nobody
    /// could say.
    pub result: String,
    /// Why, in a word, where it is `absent` or `failed`.
    pub reason: Option<String>,
    /// The same for people.
    pub detail: Option<String>,
    /// The host that was asked last.
    pub host: Option<String>,
    /// The certificates that were there, those that were taken first.
    pub offered: Vec<OfferedKey>,
}

/// A certificate that was there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferedKey {
    /// Its fingerprint.
    pub fingerprint: String,
    /// `new`, `kept`, `awaits-approval`, `passed-over`, `too-large`, or why it can't be
    /// used.
    pub became: String,
    /// The same for people.
    pub detail: String,
}
