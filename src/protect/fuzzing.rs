//! How a message is taken apart, for the fuzz targets and nobody else.

use super::headers::Parts;

/// The outer header, the inner one and the body of a message; `None` if its header
/// section is too large.
#[must_use]
pub fn wrap(message: &[u8]) -> Option<(Vec<u8>, Vec<u8>, Vec<u8>)> {
    let parts = Parts::of(message).ok()?;
    Some((parts.outer(), parts.inner(), parts.body().to_vec()))
}
