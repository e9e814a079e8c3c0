//! The chain: how each line of the audit vouches for the one before.
//!
//! Owns the form of both kinds of line. An event's is its record with `prev`
//! in front; a day's last is its head, which says how many events the day has and
//! is signed. Holds always: `prev` is the SHA-256 over the exact octets of the
//! line before, its line end included, over all files in the order of their days
//! ([`Link::START`] before the first); the signature is over all of the head's
//! line that stands before `,"signature":`. Called by the writer and by `verify`.
//! `docs/audit.md` tells the same to those who verify by other means.

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use aws_lc_rs::digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::AuditKey;

/// Octets of `{"prev":"…",`, behind which a line shows its kind.
const PREV_LEN: usize = 75;

/// The name by which a line is known to the next one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link([u8; 32]);

/// Not 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a hash (64 digits of 0-9 and a-f)")]
pub struct LinkError;

impl Link {
    /// What the very first line follows.
    pub const START: Self = Self([0; 32]);

    /// The link to a line, given with its line end.
    #[must_use]
    pub fn of(line: &[u8]) -> Self {
        let mut octets = [0; 32];
        octets.copy_from_slice(digest::digest(&digest::SHA256, line).as_ref());
        Self(octets)
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Link {
    type Err = LinkError;
    fn from_str(text: &str) -> Result<Self, LinkError> {
        let octets = unhex(text).ok_or(LinkError)?;
        octets.try_into().map(Self).map_err(|_| LinkError)
    }
}

impl Serialize for Link {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Link {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What the end of a day says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// The day, `2026-11-22`.
    pub(super) day: String,
    /// The day of the file before; `None`: there was none.
    pub(super) after: Option<String>,
    /// The lines before this one.
    pub(super) events: u64,
    /// What `[audit] keep` has removed so far.
    pub(super) removed: Option<Removed>,
}

/// The days that the policy has removed: all up to one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Removed {
    /// The last day removed.
    pub(super) through: String,
    /// The link to its head, which what is left begins with.
    pub(super) head: Link,
}

/// A head as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct SignedHead {
    /// The line before.
    pub(super) prev: Link,
    /// What it says.
    pub(super) head: Head,
    /// The name of the key.
    pub(super) key: String,
    /// Ed25519, in hex.
    pub(super) signature: String,
}

/// An event's line, with its end.
pub(super) fn event_line(prev: Link, record: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = format!("{{\"prev\":\"{prev}\",").into_bytes();
    let record = serde_json::to_vec(record)?;
    line.extend_from_slice(record.strip_prefix(b"{").unwrap_or(&record));
    line.push(b'\n');
    Ok(line)
}

/// A head's line, with its end.
pub(super) fn head_line(prev: Link, head: &Head, key: &AuditKey) -> io::Result<Vec<u8>> {
    /// What is signed, but for the closing brace.
    #[derive(Serialize)]
    struct Unsigned<'a> {
        prev: Link,
        head: &'a Head,
        key: &'a str,
    }
    let name = key.name();
    let mut line = serde_json::to_vec(&Unsigned {
        prev,
        head,
        key: &name,
    })?;
    line.pop();
    let signature = hex(&key.sign(&line));
    line.write_all(signature_text(&signature).as_bytes())?;
    Ok(line)
}

/// How a head's line ends.
fn signature_text(signature: &str) -> String {
    format!(",\"signature\":\"{signature}\"}}\n")
}

/// Whether a line says that it is a head.
pub(super) fn is_head(line: &[u8]) -> bool {
    let rest = line.get(PREV_LEN..).unwrap_or_default();
    rest.starts_with(b"\"head\":")
}

/// The line before, as an event's line names it.
pub(super) fn prev_of(line: &[u8]) -> Option<Link> {
    let text = line.strip_prefix(b"{\"prev\":\"")?.get(..64)?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

impl SignedHead {
    /// Reads a line; `None` if it is no head.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        is_head(line)
            .then(|| serde_json::from_slice(line).ok())
            .flatten()
    }

    /// The octets of its line that are signed, and the signature over them.
    pub(super) fn signed<'a>(&self, line: &'a [u8]) -> Option<(&'a [u8], Vec<u8>)> {
        let end = signature_text(&self.signature);
        Some((line.strip_suffix(end.as_bytes())?, unhex(&self.signature)?))
    }
}

pub(super) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Lower-case digits only: one value has one text.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |octet: &u8| match octet {
        b'0'..=b'9' => Some(octet - b'0'),
        b'a'..=b'f' => Some(octet - b'a' + 10),
        _ => None,
    };
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}
