//! How the content of one recipient's copy was protected, as plain data.
//!
//! Owns the evidence of `pgp` and `smime` and how far a key is trusted. Holds always:
//! it says what was done with which key, never what the content is. Made by `protect`
//! and `delivery`, kept by `spool` with a copy, printed by the audit.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How far a certificate is trusted to be its owner's, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// Found, and so far always the same.
    Discovered,
    /// Found, and approved by an operator.
    Verified,
    /// Added by an operator.
    Manual,
}

impl Trust {
    /// The word that configuration, listings and the audit use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Discovered => "discovered",
            Self::Verified => "verified",
            Self::Manual => "manual",
        }
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What S/MIME encrypts the content with, the one that proves more last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum SmimeCipher {
    /// AES-256-CBC, which every reader knows.
    #[default]
    Aes256Cbc,
    /// AES-256-GCM (RFC 5084), which proves that nothing was changed; Apple Mail and
    /// older readers can't open it.
    Aes256Gcm,
}

impl SmimeCipher {
    /// The name that evidence uses; configuration has it in lower case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aes256Cbc => "AES-256-CBC",
            Self::Aes256Gcm => "AES-256-GCM",
        }
    }
}

/// Who encrypted the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EncryptedBy {
    /// Postern, for this recipient alone.
    Postern,
    /// Whoever sent it, by its structure; for whom can't be told.
    Sender,
}

impl fmt::Display for EncryptedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Postern => "postern",
            Self::Sender => "sender",
        })
    }
}

/// How the content of a copy is protected.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ContentProof {
    /// Who encrypted it.
    pub by: EncryptedBy,
    /// The recipient's certificate, by its fingerprint in upper-case hex: OpenPGP's own,
    /// of X.509 the SHA-256. `None`: the sender's choice.
    pub certificate: Option<String>,
    /// The keys that can read it: OpenPGP's subkeys by their fingerprints; of X.509 the
    /// certificate again.
    pub keys: Vec<String>,
    /// What it is encrypted with, as `AES-256-OCB`.
    pub cipher: Option<String>,
    /// The certificate it is signed by, if Postern signed it.
    pub signed_by: Option<String>,
    /// How far the certificate was trusted.
    pub trust: Option<Trust>,
}

impl ContentProof {
    /// Content that came encrypted.
    #[must_use]
    pub fn by_sender() -> Self {
        Self {
            by: EncryptedBy::Sender,
            certificate: None,
            keys: Vec::new(),
            cipher: None,
            signed_by: None,
            trust: None,
        }
    }
}
