//! A protected copy of a message for one recipient, kept for the next attempt.
//!
//! Owns the words between delivery, outcome and spool. Holds always: a copy is for one
//! recipient alone; what is stored gives the same octets each time it is read, so that
//! a retry after an unknown outcome sends what was sent (design section 3.2). Made by
//! `delivery`, kept by `spool` until the recipient's state is final.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::{Body, ContentProof, Method};

/// A copy to be kept, in place of an earlier one of the same recipient.
#[derive(Clone, PartialEq, Eq)]
pub struct KeptCopy {
    /// The recipient's place in the envelope.
    pub index: u32,
    /// The method that made it.
    pub method: Method,
    /// How its content is protected.
    pub proof: ContentProof,
    /// Its octets, as they go out.
    pub octets: Bytes,
}

impl fmt::Debug for KeptCopy {
    /// Content belongs in no log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (index, method, octets) = (self.index, self.method, self.octets.len());
        write!(f, "KeptCopy({index}, {method}, {octets} octets)")
    }
}

/// A copy that was kept.
#[derive(Debug, Clone)]
pub struct StoredCopy {
    /// The method that made it.
    pub method: Method,
    /// How its content is protected.
    pub proof: ContentProof,
    /// Its octets.
    pub body: Arc<dyn Body>,
}
