//! A certificate of either kind, told apart by what it holds.

use super::{Kind, Terms};
use crate::protect::{KeyError, Refusal, openpgp, smime};
use crate::types::{Mailbox, Timestamp};

/// An OpenPGP or X.509 certificate.
#[derive(Debug, Clone, PartialEq)]
pub enum AnyCertificate {
    /// OpenPGP.
    OpenPgp(openpgp::Certificate),
    /// X.509.
    X509(smime::Certificate),
}

/// One that was checked for a recipient.
#[derive(Debug, Clone)]
pub enum UsableKey {
    /// OpenPGP.
    OpenPgp(openpgp::Usable),
    /// X.509.
    X509(smime::Usable),
}

impl UsableKey {
    /// The certificate's fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        match self {
            Self::OpenPgp(usable) => usable.fingerprint(),
            Self::X509(usable) => usable.fingerprint(),
        }
    }
}

impl AnyCertificate {
    /// Reads a file's certificates, all of one kind.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn read(octets: &[u8]) -> Result<Vec<Self>, KeyError> {
        if smime::Certificate::is_likely(octets) {
            let found = smime::Certificate::read(octets)?;
            return Ok(found.into_iter().map(Self::X509).collect());
        }
        let found = openpgp::Certificate::read(octets)?;
        Ok(found.into_iter().map(Self::OpenPgp).collect())
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::OpenPgp(_) => Kind::OpenPgp,
            Self::X509(_) => Kind::X509,
        }
    }

    /// Its fingerprint, upper-case hex: of X.509 the SHA-256.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        match self {
            Self::OpenPgp(certificate) => certificate.fingerprint(),
            Self::X509(certificate) => certificate.fingerprint(),
        }
    }

    /// The addresses it names.
    #[must_use]
    pub fn addresses(&self) -> Vec<Mailbox> {
        match self {
            Self::OpenPgp(certificate) => certificate.addresses(),
            Self::X509(certificate) => certificate.addresses(),
        }
    }

    /// Its key's algorithm and size.
    #[must_use]
    pub fn algorithm(&self) -> String {
        match self {
            Self::OpenPgp(certificate) => certificate.algorithm(),
            Self::X509(certificate) => certificate.algorithm(),
        }
    }

    /// When it was made.
    #[must_use]
    pub fn created(&self) -> Timestamp {
        match self {
            Self::OpenPgp(certificate) => certificate.created(),
            Self::X509(certificate) => certificate.created(),
        }
    }

    /// When its time is over, if it ever is.
    #[must_use]
    pub fn expires(&self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::OpenPgp(certificate) => certificate.expires(now),
            Self::X509(certificate) => certificate.expires(),
        }
    }

    /// Whether mail for `recipient` may be encrypted to it now. X.509 that nobody
    /// added `by_hand` needs an authority's word.
    ///
    /// # Errors
    /// Why not.
    pub fn usable_for(
        &self,
        recipient: &Mailbox,
        by_hand: bool,
        terms: &Terms<'_>,
    ) -> Result<UsableKey, Refusal> {
        let now = terms.now;
        match self {
            Self::OpenPgp(certificate) => certificate
                .usable_for(recipient, now)
                .map(UsableKey::OpenPgp),
            Self::X509(certificate) => certificate
                .usable_for(recipient, by_hand, terms.authorities, now)
                .map(UsableKey::X509),
        }
    }

    /// What a file holds of it.
    pub(super) fn to_text(&self) -> Result<Vec<u8>, KeyError> {
        match self {
            Self::OpenPgp(certificate) => certificate.to_armored(),
            Self::X509(certificate) => certificate.to_pem(),
        }
    }

    /// The ending of its file's name.
    pub(super) fn extension(&self) -> &'static str {
        match self {
            Self::OpenPgp(_) => "asc",
            Self::X509(_) => "pem",
        }
    }

    /// This one with what a newer copy adds.
    pub(super) fn merged_with(self, newer: Self) -> Result<Self, KeyError> {
        match (self, newer) {
            (Self::OpenPgp(old), Self::OpenPgp(newer)) => old.merged_with(newer).map(Self::OpenPgp),
            // X.509 never changes, or it has another fingerprint.
            (old, _) => Ok(old),
        }
    }
}
