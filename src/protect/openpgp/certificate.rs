//! A recipient's OpenPGP certificate, and whether it may be used.
//!
//! Holds always: a [`Usable`] was made by [`Certificate::usable_for`] alone, and
//! has at least one key. The library's key filters look at keys, not at the
//! certificate: one that is revoked as a whole still yields keys, so that is asked
//! first.

use std::fmt;
use std::time::SystemTime;

use sequoia_openpgp as pgp;

use pgp::cert::{CertParser, ValidCert};
use pgp::parse::Parse;
use pgp::policy::{AsymmetricAlgorithm, Policy, StandardPolicy};
use pgp::serialize::SerializeInto;
use pgp::types::{HashAlgorithm, RevocationStatus};

use super::{CERTIFICATE_MAX, encryption, policy};
use crate::protect::{KeyError, Refusal, system_time};
use crate::types::{Mailbox, Timestamp};

/// Certificates of one answer that are looked at.
const OFFERED_MAX: usize = 16;

/// A certificate that was read, usable or not.
#[derive(Clone, PartialEq)]
pub struct Certificate(Box<pgp::Cert>);

impl fmt::Debug for Certificate {
    /// Leaves the addresses out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.fingerprint())
    }
}

impl Certificate {
    /// Reads the certificates of a file, armored or not.
    ///
    /// # Errors
    /// [`KeyError`]: also for one that names no address, and where one of several
    /// is bad.
    pub fn read(octets: &[u8]) -> Result<Vec<Self>, KeyError> {
        if octets.len() > CERTIFICATE_MAX {
            return Err(KeyError::TooLarge);
        }
        let parser = CertParser::from_bytes(octets).map_err(unreadable)?;
        let mut found = Vec::new();
        for cert in parser {
            let cert = cert.map_err(unreadable)?;
            if cert.is_tsk() {
                return Err(KeyError::Secret);
            }
            let certificate = Self(Box::new(cert));
            if certificate.addresses().is_empty() {
                return Err(KeyError::NoAddress(certificate.fingerprint()));
            }
            // Some that can be read can't be written.
            certificate.to_binary()?;
            found.push(certificate);
        }
        if found.is_empty() {
            return Err(KeyError::Unreadable("it is empty".to_owned()));
        }
        Ok(found)
    }

    /// Reads what somebody else says are `address`'s certificates, armored or not.
    /// Each has the address's own user IDs alone: what others have it for is none of
    /// our business, and need not be kept. What can't be read or holds a secret is
    /// left out, so that it takes nothing with it.
    ///
    /// # Errors
    /// [`Refusal::OtherAddress`] for each that does not name the address,
    /// [`Refusal::Broken`] for one that can't be written, with the fingerprint.
    pub fn offered(octets: &[u8], address: &Mailbox) -> Vec<Result<Self, (String, Refusal)>> {
        let Ok(parser) = CertParser::from_bytes(octets) else {
            return Vec::new();
        };
        let readable = parser.filter_map(Result::ok).filter(|cert| !cert.is_tsk());
        let cut = readable.take(OFFERED_MAX).map(|cert| {
            let is_theirs = |user: &pgp::packet::UserID| {
                address_of(user).is_some_and(|named| crate::protect::is_same(&named, address))
            };
            let cut = cert
                .retain_userids(|user| is_theirs(user.userid()))
                .retain_user_attributes(|_| false);
            let refused = |refusal| Err((cut.fingerprint().to_hex(), refusal));
            if cut.userids().next().is_none() {
                return refused(Refusal::OtherAddress);
            }
            if cut.to_vec().is_err() {
                return refused(Refusal::Broken);
            }
            Ok(Self(Box::new(cut)))
        });
        cut.collect()
    }

    pub(super) fn of(cert: Box<pgp::Cert>) -> Self {
        Self(cert)
    }

    /// Its fingerprint, upper-case hex.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint().to_hex()
    }

    /// The addresses its user IDs name, whether they are valid or not.
    #[must_use]
    pub fn addresses(&self) -> Vec<Mailbox> {
        let mut found = Vec::new();
        for user in self.0.userids() {
            if let Some(address) = address_of(user.userid())
                && !found.contains(&address)
            {
                found.push(address);
            }
        }
        found
    }

    /// When its time is over, if it ever is, as far as can be told.
    #[must_use]
    pub fn expires(&self, now: Timestamp) -> Option<Timestamp> {
        let now = system_time(now);
        let lax = lax(now);
        let valid = self.0.with_policy(&lax, now).ok()?;
        timestamp(valid.primary_key().key_expiration_time()?)
    }

    /// When it was made.
    #[must_use]
    pub fn created(&self) -> Timestamp {
        timestamp(self.0.primary_key().key().creation_time()).unwrap_or_default()
    }

    /// Its public key's algorithm, and version where it is not 4: `RSA 3072`.
    #[must_use]
    pub fn algorithm(&self) -> String {
        let key = self.0.primary_key().key();
        let version = key.version();
        let name = match key.pk_algo() {
            pgp::types::PublicKeyAlgorithm::RSAEncryptSign => "RSA".to_owned(),
            other => other.to_string(),
        };
        let bits = key.mpis().bits().filter(|_| name == "RSA");
        let bits = bits.map_or(String::new(), |bits| format!(" {bits}"));
        let version = if version == 4 {
            String::new()
        } else {
            format!(" (v{version})")
        };
        format!("{name}{bits}{version}")
    }

    /// The certificate as a file holds it, armored.
    ///
    /// # Errors
    /// [`KeyError::Unreadable`], which would be the library's fault.
    pub fn to_armored(&self) -> Result<Vec<u8>, KeyError> {
        self.0.armored().to_vec().map_err(unreadable)
    }

    /// The certificate as it is sent in binary.
    ///
    /// # Errors
    /// As [`Self::to_armored`].
    pub fn to_binary(&self) -> Result<Vec<u8>, KeyError> {
        self.0.to_vec().map_err(unreadable)
    }

    /// This certificate with what a newer copy of it adds: user IDs, subkeys,
    /// revocations, longer validity.
    ///
    /// # Errors
    /// [`KeyError::Unreadable`] if they are not the same certificate.
    pub fn merged_with(self, newer: Self) -> Result<Self, KeyError> {
        let merged = self.0.merge_public(*newer.0).map_err(unreadable)?;
        Ok(Self(Box::new(merged)))
    }

    /// Whether mail for `recipient` may be encrypted to it now.
    ///
    /// # Errors
    /// The first [`Refusal`]: of the certificate as a whole, its user IDs, its keys.
    pub fn usable_for(&self, recipient: &Mailbox, now: Timestamp) -> Result<Usable, Refusal> {
        let at = system_time(now);
        let standard = policy(at);
        let valid = self.valid(&standard, at)?;
        if !names(&valid, recipient) {
            return Err(Refusal::OtherAddress);
        }
        let keys = keys(&self.0, &valid, at)?;
        Ok(Usable {
            cert: self.0.clone(),
            recipient: recipient.clone(),
            keys,
        })
    }

    /// The certificate as a whole: bound, strong enough, not revoked, in its time.
    fn valid<'a>(
        &'a self,
        standard: &'a dyn Policy,
        at: SystemTime,
    ) -> Result<ValidCert<'a>, Refusal> {
        if self.0.primary_key().key().creation_time() > at {
            return Err(Refusal::NotYetValid);
        }
        if let RevocationStatus::Revoked(_) = self.0.revocation_status(standard, at) {
            return Err(Refusal::Revoked);
        }
        let valid = self.0.with_policy(standard, at).map_err(|_| {
            match self.0.with_policy(&lax(at), at) {
                Ok(_) => Refusal::TooWeak,
                Err(_) => Refusal::Broken,
            }
        })?;
        valid.alive().map_err(|_| Refusal::Expired)?;
        Ok(valid)
    }
}

/// A certificate that was checked for a recipient.
#[derive(Clone)]
pub struct Usable {
    pub(super) cert: Box<pgp::Cert>,
    pub(super) recipient: Mailbox,
    keys: Vec<String>,
}

impl Usable {
    /// Its fingerprint, upper-case hex.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.cert.fingerprint().to_hex()
    }

    /// The fingerprints of the keys that will be encrypted to, at least one.
    #[must_use]
    pub fn keys(&self) -> &[String] {
        &self.keys
    }
}

impl fmt::Debug for Usable {
    /// Leaves the addresses out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Usable({}, {:?})", self.fingerprint(), self.keys)
    }
}

/// Whether a valid, unrevoked user ID is the recipient's.
fn names(valid: &ValidCert<'_>, recipient: &Mailbox) -> bool {
    valid
        .userids()
        .revoked(false)
        .filter_map(|user| address_of(user.userid()))
        .any(|address| crate::protect::is_same(&address, recipient))
}

/// The fingerprints of the keys to encrypt to.
fn keys(cert: &pgp::Cert, valid: &ValidCert<'_>, at: SystemTime) -> Result<Vec<String>, Refusal> {
    let lax = lax(at);
    let any = cert.with_policy(&lax, at).map_err(|_| Refusal::Broken)?;
    let flags = encryption();
    if any.keys().key_flags(flags.clone()).next().is_none() {
        return Err(Refusal::NotForEncryption);
    }
    let strong = || valid.keys().key_flags(flags.clone());
    if strong().next().is_none() {
        return Err(Refusal::TooWeak);
    }
    if strong().supported().next().is_none() {
        return Err(Refusal::Unsupported);
    }
    let standing = || strong().supported().revoked(false);
    if standing().next().is_none() {
        return Err(Refusal::Revoked);
    }
    let fit: Vec<String> = standing()
        .alive()
        .map(|key| key.key().fingerprint().to_hex())
        .collect();
    match fit.is_empty() {
        false => Ok(fit),
        true if standing().all(|key| key.key().creation_time() > at) => Err(Refusal::NotYetValid),
        true => Err(Refusal::Expired),
    }
}

/// Accepts what is too weak as well: only to tell why something is refused, never
/// to use it.
fn lax(at: SystemTime) -> StandardPolicy<'static> {
    let mut lax = policy(at);
    for hash in [
        HashAlgorithm::MD5,
        HashAlgorithm::SHA1,
        HashAlgorithm::RipeMD,
    ] {
        lax.accept_hash(hash);
    }
    for algorithm in [
        AsymmetricAlgorithm::RSA1024,
        AsymmetricAlgorithm::DSA1024,
        AsymmetricAlgorithm::DSA2048,
        AsymmetricAlgorithm::DSA3072,
        AsymmetricAlgorithm::DSA4096,
        AsymmetricAlgorithm::ElGamal1024,
        AsymmetricAlgorithm::ElGamal2048,
        AsymmetricAlgorithm::ElGamal3072,
        AsymmetricAlgorithm::ElGamal4096,
    ] {
        lax.accept_asymmetric_algo(algorithm);
    }
    lax
}

fn address_of(user: &pgp::packet::UserID) -> Option<Mailbox> {
    let address = user.email().ok()??;
    Mailbox::parse(address).ok()
}

fn timestamp(at: SystemTime) -> Option<Timestamp> {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_micros())
        .ok()
        .map(Timestamp::from_micros)
}

fn unreadable(error: impl fmt::Display) -> KeyError {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    KeyError::Unreadable(line.chars().take(160).collect())
}
