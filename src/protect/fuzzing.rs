//! How a message is taken apart, and a key directory's answer, for the fuzz targets
//! and nobody else.

use super::headers::Parts;
use super::openpgp;
use crate::types::Mailbox;

/// The outer header, the inner one and the body of a message; `None` if its header
/// section is too large.
#[must_use]
pub fn wrap(message: &[u8]) -> Option<(Vec<u8>, Vec<u8>, Vec<u8>)> {
    let parts = Parts::of(message).ok()?;
    Some((parts.outer(), parts.inner(), parts.body().to_vec()))
}

/// What a key directory's answer holds for an address: each certificate that names
/// it, as it would be kept, and the fingerprints of the others.
#[must_use]
pub fn directory(octets: &[u8], address: &Mailbox) -> Vec<Result<Vec<u8>, String>> {
    let offered = openpgp::Certificate::offered(octets, address);
    let told = offered.into_iter().map(|one| match one {
        Ok(certificate) => Ok(certificate.to_armored().unwrap_or_default()),
        Err((fingerprint, _)) => Err(fingerprint),
    });
    told.collect()
}
