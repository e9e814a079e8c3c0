//! The organisation's key, which signs inside the encryption.
//!
//! Holds always: a [`Signer`] can sign now and later only while its key is valid:
//! that is asked again for each message. An Ed25519 key signs in well under a
//! millisecond, RSA of 3072 bits in 6.

use std::fmt;

use sequoia_openpgp as pgp;

use pgp::crypto::KeyPair;
use pgp::parse::Parse;
use pgp::types::RevocationStatus;

use super::{CERTIFICATE_MAX, policy};
use crate::protect::{KeyError, Refusal, system_time};
use crate::types::Timestamp;

/// A secret key to sign with.
#[derive(Clone)]
pub struct Signer(pgp::Cert);

impl fmt::Debug for Signer {
    /// Never the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.fingerprint())
    }
}

impl Signer {
    /// Reads a secret key, armored or not.
    ///
    /// # Errors
    /// [`KeyError`] if it is none, or is under a passphrase.
    pub fn read(octets: &[u8]) -> Result<Self, KeyError> {
        if octets.len() > CERTIFICATE_MAX {
            return Err(KeyError::TooLarge);
        }
        let cert = pgp::Cert::from_bytes(octets)
            .map_err(|_| KeyError::Unreadable("no OpenPGP key in it".to_owned()))?;
        if !cert.is_tsk() {
            return Err(KeyError::Public);
        }
        if !cert
            .keys()
            .secret()
            .any(|key| key.key().has_unencrypted_secret())
        {
            return Err(KeyError::Passphrase);
        }
        Ok(Self(cert))
    }

    /// The fingerprint of its certificate, upper-case hex.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint().to_hex()
    }

    /// Whether it can sign now.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, now: Timestamp) -> Result<(), Refusal> {
        self.pair(now).map(drop)
    }

    /// The pair to sign with now.
    pub(super) fn pair(&self, now: Timestamp) -> Result<KeyPair, Refusal> {
        let at = system_time(now);
        let standard = policy(at);
        if let RevocationStatus::Revoked(_) = self.0.revocation_status(&standard, at) {
            return Err(Refusal::Revoked);
        }
        let valid = self
            .0
            .with_policy(&standard, at)
            .map_err(|_| Refusal::TooWeak)?;
        valid.alive().map_err(|_| Refusal::Expired)?;
        let mut keys = valid.keys().unencrypted_secret().for_signing();
        if keys.next().is_none() {
            return Err(Refusal::NotForSigning);
        }
        let mut fit = valid
            .keys()
            .unencrypted_secret()
            .for_signing()
            .supported()
            .alive()
            .revoked(false);
        let key = fit.next().ok_or(Refusal::Expired)?.key().clone();
        key.into_keypair().map_err(|_| Refusal::Unsupported)
    }
}
