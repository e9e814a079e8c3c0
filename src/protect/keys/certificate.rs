//! A certificate of either kind, told apart by what it holds.

use super::Kind;
use crate::protect::{KeyError, Refusal, openpgp};
use crate::types::{Mailbox, Timestamp};

/// An OpenPGP or X.509 certificate.
#[derive(Debug, Clone, PartialEq)]
pub enum AnyCertificate {
    /// OpenPGP.
    OpenPgp(openpgp::Certificate),
}

/// One that was checked for a recipient.
#[derive(Debug, Clone)]
pub enum UsableKey {
    /// OpenPGP.
    OpenPgp(openpgp::Usable),
}

impl UsableKey {
    /// The certificate's fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        match self {
            Self::OpenPgp(usable) => usable.fingerprint(),
        }
    }
}

impl AnyCertificate {
    /// Reads a file's certificates, all of one kind.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn read(octets: &[u8]) -> Result<Vec<Self>, KeyError> {
        let found = openpgp::Certificate::read(octets)?;
        Ok(found.into_iter().map(Self::OpenPgp).collect())
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::OpenPgp(_) => Kind::OpenPgp,
        }
    }

    /// Its fingerprint, upper-case hex: of X.509 the SHA-256.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        match self {
            Self::OpenPgp(certificate) => certificate.fingerprint(),
        }
    }

    /// The addresses it names.
    #[must_use]
    pub fn addresses(&self) -> Vec<Mailbox> {
        match self {
            Self::OpenPgp(certificate) => certificate.addresses(),
        }
    }

    /// Its key's algorithm and size.
    #[must_use]
    pub fn algorithm(&self) -> String {
        match self {
            Self::OpenPgp(certificate) => certificate.algorithm(),
        }
    }

    /// When it was made.
    #[must_use]
    pub fn created(&self) -> Timestamp {
        match self {
            Self::OpenPgp(certificate) => certificate.created(),
        }
    }

    /// When its time is over, if it ever is.
    #[must_use]
    pub fn expires(&self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::OpenPgp(certificate) => certificate.expires(now),
        }
    }

    /// Whether mail for `recipient` may be encrypted to it now.
    ///
    /// # Errors
    /// Why not.
    pub fn usable_for(&self, recipient: &Mailbox, now: Timestamp) -> Result<UsableKey, Refusal> {
        match self {
            Self::OpenPgp(certificate) => certificate
                .usable_for(recipient, now)
                .map(UsableKey::OpenPgp),
        }
    }

    /// What a file holds of it.
    pub(super) fn to_text(&self) -> Result<Vec<u8>, KeyError> {
        match self {
            Self::OpenPgp(certificate) => certificate.to_armored(),
        }
    }

    /// The ending of its file's name.
    pub(super) fn extension(&self) -> &'static str {
        match self {
            Self::OpenPgp(_) => "asc",
        }
    }

    /// This one with what a newer copy adds.
    pub(super) fn merged_with(self, newer: Self) -> Result<Self, KeyError> {
        match (self, newer) {
            (Self::OpenPgp(old), Self::OpenPgp(newer)) => old.merged_with(newer).map(Self::OpenPgp),
        }
    }
}
