//! The key store: recipients' certificates, OpenPGP and X.509.
//!
//! Owns which certificates are known for whom, where each came from and how far
//! it is trusted, and which of them is used. Those added by hand are plain files
//! in `DATA_DIR/keys/recipients`, found ones are records in
//! `DATA_DIR/keys/discovered`. Holds always: a file is written to a new name,
//! fsynced and renamed; what was found and changes never replaces what is known:
//! it is held until somebody approves it; what can't be read takes nothing else
//! with it. Changes made by the command line are seen by a running daemon at its
//! next look. Called by `service` for the `key` commands, by `delivery` to choose
//! a key, and by discovery.

mod certificate;
mod choose;
mod files;
mod load;
mod record;
mod store;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::smime::Authorities;
use super::{KeyError, Refusal};
use crate::types::{Mailbox, Timestamp};

pub use crate::types::Trust;

pub use certificate::{AnyCertificate, UsableKey};
pub use choose::{Candidate, Chosen, NoKey};
pub use load::{Faulty, Keys};
pub use store::{Added, Discovery, KeyStore, Outcome};

/// What kind a certificate is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// OpenPGP: for the method `pgp`.
    OpenPgp,
    /// X.509: for the method `smime`.
    X509,
}

impl Kind {
    /// The word that listings use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenPgp => "openpgp",
            Self::X509 => "x509",
        }
    }
}

/// Where a certificate came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Added by hand.
    Manual,
    /// The domain's own key directory (WKD).
    Wkd,
}

impl Origin {
    /// The word that listings use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Wkd => "wkd",
        }
    }
}

/// What is asked of a key.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// The least trust that a rule demands.
    pub least: Trust,
    /// Whose word counts for X.509 that nobody added by hand.
    pub authorities: &'a Authorities,
    /// The present.
    pub now: Timestamp,
}

/// A certificate that is known.
#[derive(Debug, Clone)]
pub struct Key {
    /// The certificate.
    pub certificate: AnyCertificate,
    /// Where it came from.
    pub origin: Origin,
    /// How far it is trusted.
    pub trust: Trust,
    /// Since when it is known.
    pub since: Timestamp,
    /// When it was last found where it comes from.
    pub seen: Option<Timestamp>,
    /// For whom it was found; without one, it is for all its addresses.
    pub found_for: Option<Mailbox>,
    /// Whether it would replace another one, and waits for `key approve`.
    pub pending: bool,
}

impl Key {
    /// One that is added by hand now.
    #[must_use]
    pub fn by_hand(certificate: AnyCertificate, since: Timestamp) -> Self {
        Self {
            certificate,
            origin: Origin::Manual,
            trust: Trust::Manual,
            since,
            seen: None,
            found_for: None,
            pending: false,
        }
    }

    /// Whether it may be used for a recipient now, on these terms.
    ///
    /// # Errors
    /// Why not.
    pub fn usable_for(&self, recipient: &Mailbox, terms: &Terms<'_>) -> Result<UsableKey, Refusal> {
        let by_hand = self.trust == Trust::Manual;
        let usable = self.certificate.usable_for(recipient, by_hand, terms)?;
        if self.pending {
            return Err(Refusal::AwaitsApproval);
        }
        if self.trust < terms.least {
            return Err(Refusal::TooLittleTrust);
        }
        Ok(usable)
    }

    /// The addresses it is known for.
    #[must_use]
    pub fn addresses(&self) -> Vec<Mailbox> {
        match &self.found_for {
            Some(address) => vec![address.clone()],
            None => self.certificate.addresses(),
        }
    }
}

/// What went wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file can't be read or written.
    #[error("{}: {cause}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: std::io::Error,
    },
    /// What should be added is no certificate.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// What should be added could never be used.
    #[error("certificate {0} is not added: {1}")]
    Unusable(String, Refusal),
    /// No key has that fingerprint.
    #[error("no key has the fingerprint {0:?}: `postern key list` shows them")]
    Unknown(String),
    /// There is nothing to approve.
    #[error("key {0} was added by hand: it needs no approval")]
    Manual(String),
    /// Too many found keys.
    #[error("there are {} found keys, and no more are kept", record::MOST)]
    Full,
}

impl StoreError {
    fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |cause| Self::Io { path, cause }
    }
}

/// A fingerprint as people paste it, blanks and colons left out, in upper case.
#[must_use]
pub fn fingerprint(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_whitespace() && *c != ':')
        .map(|c| c.to_ascii_uppercase())
        .collect()
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
