//! What was found for an address: one file a kind and address.
//!
//! Holds always: the name is a hash, since an address may hold anything; a record
//! has a certificate in use, or one that waits for approval, or both.

use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::{AnyCertificate, Key, Kind, Origin, Trust};
use crate::protect::openpgp::CERTIFICATE_MAX;
use crate::types::{Mailbox, Timestamp};

/// Records at most. They are a memory that protects, so the oldest are not thrown
/// away for newer ones.
pub(super) const MOST: usize = 100_000;
/// Octets of a record at most: two certificates.
pub(super) const RECORD_MAX: usize = CERTIFICATE_MAX * 4;

/// A record, as its file has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) address: Mailbox,
    pub(super) kind: Kind,
    pub(super) current: Option<Held>,
    pub(super) pending: Option<Held>,
}

/// A certificate in a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Held {
    pub(super) origin: Origin,
    pub(super) trust: Trust,
    /// RFC 3339.
    pub(super) since: String,
    /// Armored, or PEM.
    pub(super) certificate: String,
}

impl Record {
    /// Where the record of an address and kind is.
    pub(super) fn path(folder: &Path, address: &Mailbox, kind: Kind) -> PathBuf {
        let name = format!("{kind} {}", address.to_string().to_ascii_lowercase());
        let hash = digest(&SHA256, name.as_bytes());
        let hash = crate::protect::hex(hash.as_ref().get(..16).unwrap_or_default());
        folder.join(format!("{}.json", hash.to_ascii_lowercase()))
    }

    /// Reads a record's file.
    pub(super) fn read(octets: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(octets).map_err(|e| e.to_string())
    }

    /// The keys in it.
    pub(super) fn keys(&self) -> Result<Vec<Key>, String> {
        let held = [(&self.current, false), (&self.pending, true)];
        let mut keys = Vec::new();
        for (held, pending) in held {
            let Some(held) = held else {
                continue;
            };
            keys.push(Key {
                certificate: held.certificate(self.kind)?,
                origin: held.origin,
                trust: held.trust,
                since: held.since.parse::<Timestamp>().map_err(|e| e.to_string())?,
                found_for: Some(self.address.clone()),
                pending,
            });
        }
        Ok(keys)
    }
}

impl Held {
    /// A certificate just found.
    pub(super) fn found(
        certificate: &AnyCertificate,
        origin: Origin,
        now: Timestamp,
    ) -> Result<Self, crate::protect::KeyError> {
        let text = certificate.to_text()?;
        Ok(Self {
            origin,
            trust: Trust::Discovered,
            since: now.to_string(),
            certificate: String::from_utf8_lossy(&text).into_owned(),
        })
    }

    /// The certificate itself.
    pub(super) fn certificate(&self, kind: Kind) -> Result<AnyCertificate, String> {
        let found = AnyCertificate::read(self.certificate.as_bytes()).map_err(|e| e.to_string())?;
        match <[AnyCertificate; 1]>::try_from(found) {
            Ok([certificate]) if certificate.kind() == kind => Ok(certificate),
            _ => Err(format!("not one {kind} certificate")),
        }
    }
}
