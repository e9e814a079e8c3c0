//! Content that its sender has encrypted already, told by its structure.
//!
//! Owns what such a message looks like. Holds always: the whole message is encrypted
//! content, with nothing in the clear beside it but header fields and one known line in
//! front (RFC 3156 section 4; RFC 8551 sections 3.3 and 3.4); what is not certain is not
//! encrypted. For whom it is encrypted can't be told, nor whether anybody can open it. An
//! OpenPGP message in a text part (RFC 4880 section 6.2) does not count: what stands
//! around it is in the clear. Called by `notes`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::headers::fields;
use super::mime::{Encoding, Event, Head};
use crate::types::Encrypted;

/// What mail programs write in front of the parts, for readers of before MIME.
const FOREWORD: &[u8] = b"This is an OpenPGP/MIME encrypted message";
/// CMS content types (RFC 5652 section 6.1, RFC 5083 section 2.1), as DER has them.
const ENVELOPED: [&[u8]; 2] = [
    b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03",
    b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x17",
];
/// Octets of the content that are looked at for the type: two lengths and the type.
const START_MAX: usize = 32;

/// A message that may be encrypted.
#[derive(Debug)]
pub(super) enum Sealed {
    /// It says that it is PGP/MIME.
    Pgp(Pgp),
    /// It says that it is S/MIME.
    Smime(Smime),
    /// It is not.
    No,
}

/// Where a PGP/MIME message stands.
#[derive(Debug, Default)]
pub(super) struct Pgp {
    /// Parts that have begun.
    parts: usize,
    /// In the first part: `Version: 1` was there.
    has_version: bool,
    armor: Armor,
    /// Octets of a line that came in pieces.
    line: Vec<u8>,
    has_foreword: bool,
}

/// Where the armor stands (RFC 9580 section 6.2).
#[derive(Debug, Default, PartialEq, Clone, Copy)]
enum Armor {
    /// Before its first line.
    #[default]
    Before,
    /// In its header lines.
    Headers,
    Data,
    /// Behind its last line.
    Over,
}

/// Where an S/MIME message stands.
#[derive(Debug, Default)]
pub(super) struct Smime {
    parts: usize,
    /// The first octets of the base64.
    start: Vec<u8>,
    /// Behind its padding.
    is_padded: bool,
}

/// Octets of a line of armor at most, and more.
const LINE_MAX: usize = 1024;

impl Sealed {
    /// Whether a message with this header section says that it is encrypted.
    pub(super) fn expected(header: &[u8]) -> Option<Self> {
        let mut kinds = fields(header).filter(|field| field.is("content-type"));
        let kind = kinds.next()?.unfolded().to_ascii_lowercase();
        if kind.starts_with("multipart/encrypted") {
            Some(Self::Pgp(Pgp::default()))
        } else if ["application/pkcs7-mime", "application/x-pkcs7-mime"]
            .iter()
            .any(|name| kind.starts_with(name))
        {
            Some(Self::Smime(Smime::default()))
        } else {
            None
        }
    }

    pub(super) fn note(&mut self, event: &Event<'_>) {
        let goes_on = match (&mut *self, event) {
            (Self::No, _) | (_, Event::Unclear) => false,
            (Self::Pgp(pgp), event) => pgp.note(event),
            (Self::Smime(smime), Event::Part(head)) => smime.begin(head),
            (Self::Smime(smime), Event::Content(octets)) => smime.content(octets),
            (Self::Smime(_), Event::Outside(_)) => false,
        };
        if !goes_on {
            *self = Self::No;
        }
    }

    /// How it is encrypted, once it is over.
    pub(super) fn finish(self) -> Option<Encrypted> {
        match self {
            Self::Pgp(mut pgp) => {
                let fits = pgp.end_line() && pgp.parts == 3 && pgp.armor == Armor::Over;
                fits.then_some(Encrypted::OpenPgp)
            }
            Self::Smime(smime) => smime.is_enveloped().then_some(Encrypted::Smime),
            Self::No => None,
        }
    }
}

impl Pgp {
    /// Whether it can still be PGP/MIME.
    fn note(&mut self, event: &Event<'_>) -> bool {
        match event {
            Event::Part(head) => self.begin(head),
            Event::Content(octets) | Event::Outside(octets) => {
                self.line.extend_from_slice(octets);
                match octets.ends_with(b"\n") {
                    true => self.end_line(),
                    false => self.line.len() <= LINE_MAX,
                }
            }
            Event::Unclear => false,
        }
    }

    fn begin(&mut self, head: &Head) -> bool {
        if !self.end_line() {
            return false;
        }
        self.parts += 1;
        match self.parts {
            1 => {
                head.kind == "multipart/encrypted"
                    && head.depth == 0
                    && head
                        .parameter("protocol")
                        .is_some_and(|name| name.eq_ignore_ascii_case("application/pgp-encrypted"))
            }
            2 => head.kind == "application/pgp-encrypted" && head.encoding == Encoding::Identity,
            3 => {
                self.has_version
                    && head.kind == "application/octet-stream"
                    && head.encoding == Encoding::Identity
            }
            _ => false,
        }
    }

    /// A line is whole: whether it may stand there.
    fn end_line(&mut self) -> bool {
        let line = std::mem::take(&mut self.line);
        let line = line.trim_ascii_end();
        if line.is_empty() {
            if self.armor == Armor::Headers {
                self.armor = Armor::Data;
            }
            return true;
        }
        match self.parts {
            1 => line.starts_with(FOREWORD) && !std::mem::replace(&mut self.has_foreword, true),
            2 => {
                let is_version = line.eq_ignore_ascii_case(b"version: 1");
                is_version && !std::mem::replace(&mut self.has_version, true)
            }
            3 => self.armor_line(line),
            _ => false,
        }
    }

    fn armor_line(&mut self, line: &[u8]) -> bool {
        match (self.armor, line) {
            (Armor::Before, b"-----BEGIN PGP MESSAGE-----") => {
                self.armor = Armor::Headers;
                true
            }
            (Armor::Headers, line) => [&b"Version: "[..], b"Comment: ", b"Charset: ", b"Hash: "]
                .iter()
                .any(|name| line.starts_with(name)),
            (Armor::Data, b"-----END PGP MESSAGE-----") => {
                self.armor = Armor::Over;
                true
            }
            (Armor::Data, line) => line.iter().all(is_base64),
            (Armor::Before | Armor::Over, _) => false,
        }
    }
}

impl Smime {
    fn begin(&mut self, head: &Head) -> bool {
        self.parts += 1;
        let kinds = ["application/pkcs7-mime", "application/x-pkcs7-mime"];
        let is_enveloped = head.parameter("smime-type").is_some_and(|name| {
            let names = ["enveloped-data", "authenveloped-data"];
            names.iter().any(|known| name.eq_ignore_ascii_case(known))
        });
        self.parts == 1
            && kinds.contains(&head.kind.as_str())
            && is_enveloped
            && head.encoding == Encoding::Base64
    }

    /// All of it is base64.
    fn content(&mut self, octets: &[u8]) -> bool {
        for octet in octets.iter().filter(|octet| !octet.is_ascii_whitespace()) {
            if !is_base64(octet) || (self.is_padded && *octet != b'=') {
                return false;
            }
            self.is_padded |= *octet == b'=';
            if self.start.len() < START_MAX * 4 / 3 && !self.is_padded {
                self.start.push(*octet);
            }
        }
        true
    }

    /// A ContentInfo (RFC 5652 section 3) of one of the types.
    fn is_enveloped(&self) -> bool {
        let whole = self.start.len() / 4 * 4;
        let start = self.start.get(..whole).unwrap_or_default();
        let Ok(start) = STANDARD_NO_PAD.decode(start) else {
            return false;
        };
        // SEQUENCE, its length in one octet or more, then the type.
        let (Some(0x30), Some(length)) = (start.first(), start.get(1)) else {
            return false;
        };
        let further = match length {
            0..=0x80 => 0,
            long => usize::from(long & 0x7f),
        };
        let inner = start.get(2 + further..).unwrap_or_default();
        ENVELOPED.iter().any(|kind| inner.starts_with(kind))
    }
}

fn is_base64(octet: &u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/' | b'=')
}

#[cfg(test)]
#[path = "sealed_tests.rs"]
mod tests;
