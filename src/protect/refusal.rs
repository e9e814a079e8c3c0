//! Why a key can't be used for a recipient.
//!
//! Owns the words of evidence, `explain` and `key list`. Holds always: one enum
//! for OpenPGP and X.509, so that who reads need not know which it was; a word
//! never changes its meaning. Made by `openpgp`, `smime` and `keys`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::types::Reason;

/// A definite no to one certificate, for one recipient, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
    /// Taken back by its owner, or by the authority that issued it.
    Revoked,
    /// A key too short, or a signature or hash that can be forged.
    TooWeak,
    /// It has keys, and none is for encryption: only to sign or certify with.
    NotForEncryption,
    /// It has keys for mail, but none to sign with.
    NotForSigning,
    /// X.509: issued for something else than mail.
    WrongPurpose,
    /// It doesn't name this recipient.
    OtherAddress,
    /// An algorithm that can't be used here.
    Unsupported,
    /// X.509: no chain to a trusted authority, and not added by hand.
    Untrusted,
    /// X.509: its authority's list of revoked certificates is outdated.
    RevocationUnknown,
    /// What binds its parts together doesn't hold.
    Broken,
    /// Less trusted than the rule demands.
    TooLittleTrust,
    /// It came in place of another one, and nobody has approved it yet.
    AwaitsApproval,
}

impl Refusal {
    /// The word that audit and listings use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
            Self::Revoked => "revoked",
            Self::TooWeak => "too-weak",
            Self::NotForEncryption => "not-for-encryption",
            Self::NotForSigning => "not-for-signing",
            Self::WrongPurpose => "wrong-purpose",
            Self::OtherAddress => "other-address",
            Self::Unsupported => "unsupported",
            Self::Untrusted => "untrusted",
            Self::RevocationUnknown => "revocation-unknown",
            Self::Broken => "broken",
            Self::TooLittleTrust => "too-little-trust",
            Self::AwaitsApproval => "awaits-approval",
        }
    }

    /// What evidence calls it.
    #[must_use]
    pub fn reason(self) -> Reason {
        match self {
            Self::Expired => Reason::KeyExpired,
            Self::NotYetValid => Reason::KeyNotYetValid,
            Self::Revoked => Reason::KeyRevoked,
            Self::TooWeak => Reason::KeyTooWeak,
            // Of the second there are none among recipients' keys.
            Self::NotForEncryption | Self::NotForSigning => Reason::KeyNotForEncryption,
            Self::WrongPurpose => Reason::KeyWrongPurpose,
            Self::OtherAddress => Reason::KeyOtherAddress,
            Self::Unsupported => Reason::KeyUnsupported,
            Self::Untrusted => Reason::KeyUntrusted,
            Self::RevocationUnknown => Reason::KeyRevocationUnknown,
            Self::Broken => Reason::KeyBroken,
            Self::TooLittleTrust => Reason::KeyTooLittleTrust,
            Self::AwaitsApproval => Reason::KeyAwaitsApproval,
        }
    }

    /// What it means, for people.
    fn explain(self) -> &'static str {
        match self {
            Self::Expired => "it has expired",
            Self::NotYetValid => "it is not valid yet",
            Self::Revoked => "it is revoked",
            Self::TooWeak => "a key or signature in it is too weak",
            Self::NotForEncryption => "it is not for encryption",
            Self::NotForSigning => "it is not for signing",
            Self::WrongPurpose => "it was not issued for mail",
            Self::OtherAddress => "it is not for this address",
            Self::Unsupported => "it uses an algorithm that is not supported",
            Self::Untrusted => "no trusted authority issued it",
            Self::RevocationUnknown => "whether it is revoked can't be told: the list is outdated",
            Self::Broken => "its signatures don't hold",
            Self::TooLittleTrust => "it is trusted less than is demanded",
            Self::AwaitsApproval => "it replaces another one and awaits `postern key approve`",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.explain())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_json() {
        for refusal in [
            Refusal::Expired,
            Refusal::NotYetValid,
            Refusal::Revoked,
            Refusal::TooWeak,
            Refusal::NotForEncryption,
            Refusal::NotForSigning,
            Refusal::WrongPurpose,
            Refusal::OtherAddress,
            Refusal::Unsupported,
            Refusal::Untrusted,
            Refusal::RevocationUnknown,
            Refusal::Broken,
            Refusal::TooLittleTrust,
            Refusal::AwaitsApproval,
        ] {
            let word = serde_json::to_string(&refusal).unwrap();
            assert_eq!(word, format!("\"{}\"", refusal.as_str()));
        }
    }
}
