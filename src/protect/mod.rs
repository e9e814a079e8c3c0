//! Protection of the content itself: OpenPGP and S/MIME, and recipients' keys.
//!
//! Owns how a stored message becomes one that only its recipient can read: the
//! OpenPGP and CMS envelopes with header protection (RFC 9788), which keys may be
//! used for whom, and the key store. Holds always: one recipient's key to a copy,
//! so that no copy shows another recipient; a certificate can be encrypted to
//! only after it was checked for that recipient at that moment; every refusal has
//! a reason ([`Refusal`]); the octets of the body go in as they are; Bcc goes
//! nowhere; no error holds content. But for discovery, all of it computes for as long as the message
//! is large, so it is called off the async threads: by `delivery`, and by
//! `service` for the `key` commands.

pub mod discovery;
#[doc(hidden)]
pub mod fuzzing;
mod headers;
pub mod keys;
pub mod openpgp;
mod protector;
mod refusal;
mod settings;
pub mod smime;

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::message::HeaderTooLarge;
use crate::sys::entropy::EntropyError;
use crate::types::{Mailbox, Timestamp};

pub use protector::{Hindrance, OwnKeyError, ProtectedCopy, Protector};
pub use refusal::Refusal;
pub use settings::{PgpSettings, Settings, SmimeSettings};

/// A message that only its recipient can read.
#[derive(Clone, PartialEq, Eq)]
pub struct Protected {
    /// The whole message, with CRLF, of 7 bits but for 8-bit header fields that
    /// stay outside.
    pub octets: Vec<u8>,
    /// How it is protected.
    pub proof: Proof,
}

impl fmt::Debug for Protected {
    /// Tells the size alone: the outer header names people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Protected({} octets, {:?})",
            self.octets.len(),
            self.proof
        )
    }
}

/// How a message's content is protected: for evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The recipient's certificate, by its fingerprint.
    pub certificate: String,
    /// The keys that can read it: OpenPGP's subkeys by their fingerprints; for
    /// X.509 the certificate again.
    pub keys: Vec<String>,
    /// What the content is encrypted with, as `AES-256-OCB`.
    pub cipher: String,
    /// The certificate it is signed by, if it is.
    pub signed_by: Option<String>,
}

/// Why a message could not be protected although there was a key to use.
#[derive(Debug, thiserror::Error)]
pub enum ProtectError {
    /// The key was usable when it was looked up, and no longer is.
    #[error("the recipient's key can't be used: {0}")]
    Refused(#[from] Refusal),
    /// The organisation's own key can't sign.
    #[error("the organisation's signing key can't be used: {0}")]
    Signer(Refusal),
    /// The message's header section is too large to be taken apart.
    #[error(transparent)]
    Header(#[from] HeaderTooLarge),
    /// There is no randomness for a boundary.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The library failed.
    #[error("encryption failed: {0}")]
    Library(String),
}

/// Why octets are no key that can be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither OpenPGP nor X.509.
    #[error("this is no OpenPGP or X.509 certificate (armored, PEM or binary): {0}")]
    Unreadable(String),
    /// A secret key where a public one is wanted.
    #[error(
        "this holds a secret key, which belongs to its owner alone: give the certificate alone (gpg --export ADDRESS, openssl x509)"
    )]
    Secret,
    /// A public key where a secret one is wanted.
    #[error("this holds no secret key to sign with")]
    Public,
    /// A key and a certificate that don't belong together.
    #[error("the secret key is not that of the certificate, which stands first in its file")]
    OtherKey,
    /// A secret key under a passphrase.
    #[error("the secret key is protected by a passphrase: remove it, and protect the file instead")]
    Passphrase,
    /// A certificate that names no address.
    #[error("certificate {0} names no mail address, so no mail can be encrypted to it")]
    NoAddress(String),
    /// Larger than a certificate should be.
    #[error("the file is larger than {} KiB", openpgp::CERTIFICATE_MAX / 1024)]
    TooLarge,
}

/// The moment as the OpenPGP library wants it: its times end in 2106, and later
/// ones make it panic.
fn system_time(at: Timestamp) -> SystemTime {
    let micros = u64::try_from(at.as_micros()).unwrap_or(0);
    let last = Duration::from_secs(u32::MAX.into());
    UNIX_EPOCH + Duration::from_micros(micros).min(last)
}

/// Whether two addresses are one mailbox. A local part's case makes no difference
/// in practice, and the owner of a certificate wrote it as they liked.
fn is_same(one: &Mailbox, other: &Mailbox) -> bool {
    one.local().eq_ignore_ascii_case(other.local()) && one.host() == other.host()
}

/// Upper-case hex, as fingerprints are written.
fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02X}")).collect()
}
