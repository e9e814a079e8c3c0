//! OpenPGP (RFC 9580, RFC 4880) and PGP/MIME (RFC 3156), by sequoia-openpgp.
//!
//! Owns reading certificates, what makes one usable for a recipient, the
//! organisation's signing key, and the message that is made. Holds always: what is
//! encrypted is encrypted to every valid encryption subkey of one certificate and
//! to nothing else, at least one; the time is the one passed in. Called through
//! [`Certificate`], [`Signer`] and [`protect`].

mod certificate;
mod encrypt;
#[cfg(test)]
mod refusal_tests;
mod signer;
#[cfg(test)]
pub(in crate::protect) mod testing;
#[cfg(test)]
mod tests;

pub use certificate::{Certificate, Usable};
pub use encrypt::protect;
pub use signer::Signer;

use std::time::SystemTime;

use sequoia_openpgp::policy::StandardPolicy;
use sequoia_openpgp::types::KeyFlags;

/// Octets of a certificate at most: one with very many signatures, or a photo.
pub const CERTIFICATE_MAX: usize = 512 * 1024;

/// What the library holds for strong enough at that time.
fn policy(at: SystemTime) -> StandardPolicy<'static> {
    StandardPolicy::at(at)
}

/// The flags of keys that mail is encrypted to.
fn encryption() -> KeyFlags {
    KeyFlags::empty()
        .set_transport_encryption()
        .set_storage_encryption()
}
