//! S/MIME (RFC 8551) with X.509 certificates, by OpenSSL's CMS.
//!
//! Owns reading certificates, what makes one usable for a recipient, whose word
//! counts for those that nobody added by hand, the organisation's signing key, and
//! the message that is made. Holds always: one certificate is encrypted to and no
//! other; the time is the one passed in. Of what OpenSSL can do, its safe interface
//! lacks RSA-OAEP, RSA-PSS, the choice of ECDH's key derivation (it is SHA-1's, which
//! is sound there) and streaming: RSA keys are wrapped with PKCS #1 v1.5, and a message
//! is in memory several times over. Called through [`Certificate`], [`Signer`] and
//! [`protect`].

mod authorities;
mod certificate;
mod encrypt;
mod signer;

#[cfg(test)]
mod refusal_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use authorities::Authorities;
pub use certificate::{Certificate, Usable};
pub use encrypt::{Cipher, protect};
pub use signer::Signer;

use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::pkey::{HasPublic, Id, PKeyRef};

use crate::protect::Refusal;
use crate::types::Timestamp;

/// Bits of an RSA key at least.
const RSA_LEAST: u32 = 2048;

/// The moment in OpenSSL's terms.
fn asn1(at: Timestamp) -> Result<Asn1Time, Refusal> {
    Asn1Time::from_unix(seconds(at)).map_err(|_| Refusal::Broken)
}

fn seconds(at: Timestamp) -> i64 {
    at.as_micros().div_euclid(1_000_000)
}

/// Whether a validity period holds now.
fn in_time(from: &Asn1TimeRef, to: &Asn1TimeRef, now: Timestamp) -> Result<(), Refusal> {
    let now = asn1(now)?;
    if from > now {
        Err(Refusal::NotYetValid)
    } else if to < now {
        Err(Refusal::Expired)
    } else {
        Ok(())
    }
}

/// Whether a key is strong enough, and of a kind that both CMS and readers know.
fn strong_enough<T: HasPublic>(key: &PKeyRef<T>) -> Result<(), Refusal> {
    match key.id() {
        Id::RSA if key.bits() < RSA_LEAST => Err(Refusal::TooWeak),
        Id::RSA => Ok(()),
        Id::EC if key.bits() < 256 => Err(Refusal::TooWeak),
        Id::EC => Ok(()),
        _ => Err(Refusal::Unsupported),
    }
}
