//! What was found for an address: one file a kind and address.
//!
//! Holds always: the name is a hash, since an address may hold anything; a record
//! has a certificate in use, or one that waits for approval, or both.

use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::{AnyCertificate, Key, Kind, Origin, Trust};
use crate::protect::KeyError;
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
    /// When it was last found, likewise.
    #[serde(default)]
    pub(super) seen: Option<String>,
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

    /// Whether it has a certificate of this fingerprint.
    pub(super) fn holds(&self, fingerprint: &str) -> bool {
        let held = [&self.current, &self.pending].into_iter().flatten();
        let mut certificates = held.filter_map(|held| held.certificate(self.kind).ok());
        certificates.any(|certificate| certificate.fingerprint() == fingerprint)
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
                seen: held.seen.as_deref().and_then(|seen| seen.parse().ok()),
                found_for: Some(self.address.clone()),
                pending,
            });
        }
        Ok(keys)
    }
}

/// As a record has it, and can be read from it again.
fn text(certificate: &AnyCertificate) -> Result<String, KeyError> {
    let text = certificate.to_text()?;
    match text.len() > CERTIFICATE_MAX {
        true => Err(KeyError::TooLarge),
        false => Ok(String::from_utf8_lossy(&text).into_owned()),
    }
}

impl Held {
    /// A certificate just found.
    pub(super) fn found(
        certificate: &AnyCertificate,
        origin: Origin,
        now: Timestamp,
    ) -> Result<Self, KeyError> {
        Ok(Self {
            origin,
            trust: Trust::Discovered,
            since: now.to_string(),
            seen: Some(now.to_string()),
            certificate: text(certificate)?,
        })
    }

    /// Takes in a newer copy of its certificate; what was revoked stays so.
    pub(super) fn renew(
        &mut self,
        known: AnyCertificate,
        newer: &AnyCertificate,
        now: Timestamp,
    ) -> Result<(), KeyError> {
        self.certificate = text(&known.merged_with(newer.clone())?)?;
        self.seen = Some(now.to_string());
        Ok(())
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
