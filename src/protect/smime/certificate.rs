//! A recipient's X.509 certificate, and whether it may be used.
//!
//! Holds always: a [`Usable`] was made by [`Certificate::usable_for`] alone. The
//! purposes that OpenSSL checks by itself refuse EC certificates for key agreement,
//! so key usage and extended key usage are looked at here.

use std::fmt;

use openssl::asn1::Asn1Time;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::Id;
use openssl::x509::{X509, X509ExtendedKeyUsage, X509KeyUsage};

use super::{Authorities, in_time, strong_enough};
use crate::protect::openpgp::CERTIFICATE_MAX;
use crate::protect::{KeyError, Refusal, hex, is_same};
use crate::types::{Mailbox, Timestamp};

/// A certificate that was read, usable or not.
#[derive(Clone)]
pub struct Certificate(pub(super) X509);

impl fmt::Debug for Certificate {
    /// Leaves the names out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.fingerprint())
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint() == other.fingerprint()
    }
}

impl Certificate {
    /// Reads the certificates of a file, PEM or DER. Those of authorities, which
    /// often come along, are left out.
    ///
    /// # Errors
    /// [`KeyError`]: also where none names an address.
    pub fn read(octets: &[u8]) -> Result<Vec<Self>, KeyError> {
        if octets.len() > CERTIFICATE_MAX {
            return Err(KeyError::TooLarge);
        }
        let found: Vec<Self> = parse(octets)?.into_iter().map(Self).collect();
        let mut people = Vec::new();
        for certificate in &found {
            let is_new = !people.contains(certificate);
            if is_new && !certificate.is_authority() && !certificate.addresses().is_empty() {
                people.push(certificate.clone());
            }
        }
        match (people.is_empty(), found.first()) {
            (false, _) => Ok(people),
            (true, Some(first)) => Err(KeyError::NoAddress(first.fingerprint())),
            (true, None) => Err(KeyError::Unreadable("it is empty".to_owned())),
        }
    }

    /// Whether octets look like X.509 rather than OpenPGP.
    #[must_use]
    pub fn is_likely(octets: &[u8]) -> bool {
        let pem = memchr::memmem::find(octets, b"-----BEGIN CERTIFICATE-----").is_some()
            || memchr::memmem::find(octets, b"-----BEGIN TRUSTED CERTIFICATE-----").is_some()
            || memchr::memmem::find(octets, b" PRIVATE KEY-----").is_some();
        // A DER sequence of two length octets: no OpenPGP packet begins with 0x30.
        pem || octets.starts_with(&[0x30, 0x82])
    }

    /// The SHA-256 of its DER, upper-case hex.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let digest = self.0.digest(MessageDigest::sha256());
        digest.map_or_else(|_| String::new(), |digest| hex(&digest))
    }

    /// The addresses it names: rfc822Name, and emailAddress in its subject.
    #[must_use]
    pub fn addresses(&self) -> Vec<Mailbox> {
        let mut texts = Vec::new();
        for name in self.0.subject_alt_names().into_iter().flatten() {
            texts.extend(name.email().map(str::to_owned));
        }
        for entry in self
            .0
            .subject_name()
            .entries_by_nid(Nid::PKCS9_EMAILADDRESS)
        {
            texts.extend(entry.data().to_string().ok());
        }
        let mut found = Vec::new();
        for address in texts.iter().filter_map(|text| Mailbox::parse(text).ok()) {
            if !found.iter().any(|known| is_same(known, &address)) {
                found.push(address);
            }
        }
        found
    }

    /// When its time begins.
    #[must_use]
    pub fn created(&self) -> Timestamp {
        timestamp(self.0.not_before()).unwrap_or_default()
    }

    /// When its time is over.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        timestamp(self.0.not_after())
    }

    /// Its key's algorithm and size: `RSA 2048`, `P-256`.
    #[must_use]
    pub fn algorithm(&self) -> String {
        let Ok(key) = self.0.public_key() else {
            return "unknown".to_owned();
        };
        match key.id() {
            Id::RSA => format!("RSA {}", key.bits()),
            Id::EC => {
                let curve = key.ec_key().ok().and_then(|ec| ec.group().curve_name());
                match curve {
                    Some(Nid::X9_62_PRIME256V1) => "P-256".to_owned(),
                    Some(Nid::SECP384R1) => "P-384".to_owned(),
                    Some(Nid::SECP521R1) => "P-521".to_owned(),
                    other => other
                        .and_then(|nid| nid.short_name().ok())
                        .map_or_else(|| format!("EC {}", key.bits()), str::to_owned),
                }
            }
            _ => "unsupported".to_owned(),
        }
    }

    /// The certificate as a file holds it.
    ///
    /// # Errors
    /// [`KeyError::Unreadable`], which would be the library's fault.
    pub fn to_pem(&self) -> Result<Vec<u8>, KeyError> {
        self.0.to_pem().map_err(unreadable)
    }

    /// Whether mail for `recipient` may be encrypted to it now. One that nobody
    /// added `by_hand` needs a chain to one of the `authorities`.
    ///
    /// # Errors
    /// The first [`Refusal`]: its time, its key, its purpose, its addresses, who
    /// issued it.
    pub fn usable_for(
        &self,
        recipient: &Mailbox,
        by_hand: bool,
        authorities: &Authorities,
        now: Timestamp,
    ) -> Result<Usable, Refusal> {
        self.check(now)?;
        if !self.addresses().iter().any(|a| is_same(a, recipient)) {
            return Err(Refusal::OtherAddress);
        }
        authorities.not_revoked(&self.0, by_hand, now)?;
        if !by_hand {
            authorities.vouch_for(&self.0, now)?;
        }
        Ok(Usable(self.clone()))
    }

    /// What the certificate itself says: its time, its key, its purpose.
    pub(super) fn check(&self, now: Timestamp) -> Result<(), Refusal> {
        in_time(self.0.not_before(), self.0.not_after(), now)?;
        let key = self.0.public_key().map_err(|_| Refusal::Unsupported)?;
        strong_enough(&key)?;
        for_mail(&self.0)?;
        // RSA keys wrap, EC keys agree (RFC 5753 section 3).
        let wanted = match key.id() {
            Id::EC => X509KeyUsage::KEY_AGREEMENT,
            _ => X509KeyUsage::KEY_ENCIPHERMENT,
        };
        match self.0.key_usage() {
            Some(usage) if !usage.contains(wanted) => Err(Refusal::NotForEncryption),
            _ => Ok(()),
        }
    }

    fn is_authority(&self) -> bool {
        let usage = self.0.key_usage();
        usage.is_some_and(|usage| usage.contains(X509KeyUsage::KEY_CERT_SIGN))
    }
}

/// A certificate that was checked for a recipient.
#[derive(Debug, Clone)]
pub struct Usable(pub(super) Certificate);

impl Usable {
    /// The SHA-256 of its DER, upper-case hex.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint()
    }
}

/// Whether a certificate is for mail, or for anything (RFC 8550 section 4.4.4).
pub(super) fn for_mail(certificate: &X509) -> Result<(), Refusal> {
    let mail = X509ExtendedKeyUsage::SMIME | X509ExtendedKeyUsage::ANYEKU;
    match certificate.extended_key_usage() {
        Some(purposes) if !purposes.intersects(mail) => Err(Refusal::WrongPurpose),
        _ => Ok(()),
    }
}

/// The certificates in a file, authorities' too.
pub(super) fn parse(octets: &[u8]) -> Result<Vec<X509>, KeyError> {
    if memchr::memmem::find(octets, b" PRIVATE KEY-----").is_some() {
        return Err(KeyError::Secret);
    }
    match memchr::memmem::find(octets, b"-----BEGIN ") {
        Some(_) => X509::stack_from_pem(octets).map_err(unreadable),
        None => X509::from_der(octets)
            .map(|one| vec![one])
            .map_err(unreadable),
    }
}

fn timestamp(at: &openssl::asn1::Asn1TimeRef) -> Option<Timestamp> {
    let since = Asn1Time::from_unix(0).ok()?.diff(at).ok()?;
    let seconds = i64::from(since.days) * 86_400 + i64::from(since.secs);
    seconds.checked_mul(1_000_000).map(Timestamp::from_micros)
}

pub(super) fn unreadable(error: ErrorStack) -> KeyError {
    let first = error.errors().first().and_then(|e| e.reason());
    KeyError::Unreadable(first.unwrap_or("bad encoding").to_owned())
}
