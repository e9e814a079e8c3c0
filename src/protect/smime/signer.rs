//! The organisation's certificate and key, which sign inside the encryption.
//!
//! Holds always: the key belongs to the certificate; whether it is in its time is
//! asked again for each message.

use std::fmt;

use openssl::cms::{CMSOptions, CmsContentInfo};
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::stack::Stack;
use openssl::x509::{X509, X509KeyUsage};

use super::certificate::{Certificate, for_mail, parse};
use super::{in_time, strong_enough};
use crate::protect::{KeyError, Refusal};
use crate::types::Timestamp;

/// A certificate with its secret key, and those between it and a root.
#[derive(Clone)]
pub struct Signer {
    certificate: Certificate,
    between: Vec<X509>,
    key: PKey<Private>,
}

impl fmt::Debug for Signer {
    /// Never the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.fingerprint())
    }
}

impl Signer {
    /// Reads a certificate, first in its file, with those that go with it, and its
    /// key in PEM.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn read(certificates: &[u8], key: &[u8]) -> Result<Self, KeyError> {
        if memchr::memmem::find(key, b"ENCRYPTED").is_some() {
            return Err(KeyError::Passphrase);
        }
        // Without an answer OpenSSL would ask on the terminal.
        let key =
            PKey::private_key_from_pem_callback(key, |_| Ok(0)).map_err(|_| KeyError::Public)?;
        let mut between = parse(certificates)?;
        if between.is_empty() {
            return Err(KeyError::Unreadable("it is empty".to_owned()));
        }
        let certificate = between.remove(0);
        let public = certificate
            .public_key()
            .map_err(|_| KeyError::Unreadable("its key can't be read".to_owned()))?;
        if !public.public_eq(&key) {
            return Err(KeyError::OtherKey);
        }
        Ok(Self {
            certificate: Certificate(certificate),
            between,
            key,
        })
    }

    /// The SHA-256 of its certificate, upper-case hex.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.certificate.fingerprint()
    }

    /// Whether it can sign now.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, now: Timestamp) -> Result<(), Refusal> {
        let certificate = &self.certificate.0;
        in_time(certificate.not_before(), certificate.not_after(), now)?;
        strong_enough(&self.key)?;
        for_mail(certificate)?;
        let signing = X509KeyUsage::DIGITAL_SIGNATURE | X509KeyUsage::NON_REPUDIATION;
        match certificate.key_usage() {
            Some(usage) if !usage.intersects(signing) => Err(Refusal::NotForSigning),
            _ => Ok(()),
        }
    }

    /// A detached signature over octets, DER. SHA-256, as OpenSSL does by default.
    pub(super) fn sign(&self, octets: &[u8]) -> Result<Vec<u8>, ErrorStack> {
        let mut between = Stack::new()?;
        for authority in &self.between {
            between.push(authority.clone())?;
        }
        CmsContentInfo::sign(
            Some(&self.certificate.0),
            Some(&self.key),
            Some(&between),
            Some(octets),
            CMSOptions::BINARY | CMSOptions::DETACHED,
        )?
        .to_der()
    }
}
