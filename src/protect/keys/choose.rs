//! Which key is used for a recipient.
//!
//! Holds always: of those that may be used the most trusted is, and of these the
//! newest; each other one has its reason; a key that awaits approval is never
//! used.

use std::fmt;

use super::{Key, Keys, Kind, Terms, Trust, UsableKey};
use crate::protect::Refusal;
use crate::types::{Mailbox, Reason};

/// A key that was looked at.
#[derive(Debug, Clone)]
pub struct Candidate<'a> {
    /// The key.
    pub key: &'a Key,
    /// Whether it may be used, or why not.
    pub verdict: Result<UsableKey, Refusal>,
}

/// The key to use.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// It, checked for the recipient.
    pub key: UsableKey,
    /// How far it is trusted.
    pub trust: Trust,
}

/// Why there is no key to use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct NoKey {
    /// The kind that was asked for.
    pub kind: Kind,
    /// Each key that is known, by its fingerprint, with why it can't be used;
    /// none: none is known.
    pub refused: Vec<(String, Refusal)>,
}

impl NoKey {
    /// The word for it: what is wrong with the key that would have come first.
    #[must_use]
    pub fn reason(&self) -> Reason {
        let first = self.refused.first();
        first.map_or(Reason::NoKey, |(_, refusal)| refusal.reason())
    }
}

impl fmt::Display for NoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.refused.is_empty() {
            return write!(f, "no {} key is known for the recipient", self.kind);
        }
        write!(f, "no {} key can be used", self.kind)?;
        for (fingerprint, refusal) in &self.refused {
            write!(f, "; {fingerprint}: {refusal}")?;
        }
        Ok(())
    }
}

impl Keys {
    /// The keys of an address, those that would be chosen first in front, each
    /// with its verdict.
    #[must_use]
    pub fn candidates(
        &self,
        recipient: &Mailbox,
        kind: Kind,
        terms: &Terms<'_>,
    ) -> Vec<Candidate<'_>> {
        let mut found: Vec<Candidate<'_>> = self
            .of(recipient)
            .filter(|key| key.certificate.kind() == kind)
            .map(|key| Candidate {
                key,
                verdict: key.usable_for(recipient, terms),
            })
            .collect();
        found.sort_by_key(|candidate| {
            let rank = (candidate.key.trust, candidate.key.certificate.created());
            (candidate.verdict.is_err(), std::cmp::Reverse(rank))
        });
        found
    }

    /// The key of that kind to use for a recipient.
    ///
    /// # Errors
    /// [`NoKey`], with the reason for each that is known.
    pub fn choose(
        &self,
        recipient: &Mailbox,
        kind: Kind,
        terms: &Terms<'_>,
    ) -> Result<Chosen, NoKey> {
        let mut refused = Vec::new();
        for candidate in self.candidates(recipient, kind, terms) {
            let trust = candidate.key.trust;
            match candidate.verdict {
                Ok(key) => return Ok(Chosen { key, trust }),
                Err(refusal) => {
                    refused.push((candidate.key.certificate.fingerprint(), refusal));
                }
            }
        }
        Err(NoKey { kind, refused })
    }
}
