//! What evidence says of a domain's MTA-STS policy (RFC 8461).
//!
//! Holds always: plain data; the words are part of the contract (audit, log,
//! figures). Filled in by `assurance`, kept in the evidence.

use serde::{Deserialize, Serialize};

use super::{Reason, Timestamp};

/// A policy's mode (section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StsMode {
    /// Mail must not go to a host that does not fulfil it.
    Enforce,
    /// Mail goes as if there were none, and what would have happened is told.
    Testing,
    /// It is no longer wanted.
    None,
}

impl StsMode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Enforce, Self::Testing, Self::None];

    /// The word that the policy file uses, and everybody else.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Testing => "testing",
            Self::None => "none",
        }
    }

    /// Of that word, to the letter.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == word)
    }
}

/// Where a policy was had from at an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StsSource {
    /// It was known.
    Cache,
    /// It was fetched for this attempt.
    Fetched,
}

impl StsSource {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Fetched => "fetched",
        }
    }
}

/// The policy that an attempt was made under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StsFacts {
    /// Its mode.
    pub mode: StsMode,
    /// The `id` of its record.
    pub id: String,
    /// Its host patterns, 20 at most.
    pub mx: Vec<String>,
    /// When it was fetched.
    pub fetched_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Where it was had from.
    pub source: StsSource,
    /// What is wrong by it with the host of this evidence: why mail must not go
    /// there (`enforce`), or would not (`testing`); `None`: nothing.
    pub finding: Option<Reason>,
}
