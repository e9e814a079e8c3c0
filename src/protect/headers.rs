//! A message taken apart for protection, and the headers inside and outside.
//!
//! Owns header protection (RFC 9788): the protected part carries the message's
//! own fields, `hp="cipher"`, and in HP-Outer what stays outside. Outside, the
//! Subject is `[...]`; as with `hcp_baseline`, and stricter: only fields known to
//! carry no content stay, since nobody knows all those that copy a subject
//! (Thread-Topic, DKIM-Signature with `z=`). Holds always: Bcc is nowhere; trace
//! fields are outside alone; what is left goes inside octet for octet, lines that
//! are no field included; the body is not looked at. There are no legacy display
//! elements (RFC 9788 section 2.1.2): they would change the body. Called by
//! `openpgp` and `smime`.

use crate::message::{Collected, Field, HeaderCollector, HeaderTooLarge, fields};
use crate::sys::Entropy;
use crate::sys::entropy::EntropyError;

/// What the Subject is outside (RFC 9788, `hcp_baseline`).
const SUBJECT: &[u8] = b"Subject: [...]\r\n";

/// Fields that stay outside as they are, and inside too.
const OUTSIDE: [&str; 14] = [
    "Date",
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Message-ID",
    "Auto-Submitted",
    "Precedence",
    "Importance",
    "Priority",
    "X-Priority",
    "Disposition-Notification-To",
    "TLS-Required",
];
/// The same, but for values that are more than message ids: In-Reply-To may quote
/// a subject (RFC 5322 section 4.5.4).
const IDS: [&str; 2] = ["In-Reply-To", "References"];
/// Fields of the way a message went: outside alone.
const TRACE: [&str; 8] = [
    "Received",
    "Return-Path",
    "Resent-Date",
    "Resent-From",
    "Resent-Sender",
    "Resent-To",
    "Resent-Cc",
    "Resent-Message-ID",
];
/// Fields that go nowhere. HP-Outer would speak of another envelope than ours.
const NOWHERE: [&str; 3] = ["Bcc", "Resent-Bcc", "HP-Outer"];

/// A message, cut behind its header section.
pub(super) struct Parts<'a> {
    header: &'a [u8],
    body: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Finds the end of the header section, as it was found at intake.
    pub(super) fn of(message: &'a [u8]) -> Result<Self, HeaderTooLarge> {
        let mut collector = HeaderCollector::new();
        for piece in message.chunks(PIECE) {
            if let Some(Collected { header, .. }) = collector.push(piece)? {
                let (header, body) = message.split_at(header.len());
                return Ok(Self { header, body });
            }
        }
        Ok(Self {
            header: message,
            body: b"",
        })
    }

    /// The body, behind the empty line.
    pub(super) fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The fields of the outer header, to be followed by MIME-Version and
    /// Content-Type.
    pub(super) fn outer(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for field in fields(self.header) {
            match place(&field) {
                Place::Both | Place::Outside => push_field(&mut out, self.octets(&field)),
                Place::Veiled => out.extend_from_slice(SUBJECT),
                Place::Inside | Place::Type | Place::Nowhere => {}
            }
        }
        out
    }

    /// The header section of the protected part, with its empty line.
    pub(super) fn inner(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.header.len() * 2 + 64);
        let mut rest = Vec::with_capacity(self.header.len());
        let (mut at, mut typed) = (0, false);
        for field in fields(self.header) {
            // What lies between fields is inside too.
            rest.extend_from_slice(self.header.get(at..field.range.start).unwrap_or_default());
            at = field.range.end;
            let octets = self.octets(&field);
            match place(&field) {
                Place::Both => push_outer(&mut out, octets),
                Place::Veiled => push_outer(&mut out, SUBJECT),
                Place::Type => {
                    // In front, so that the first line is a field whatever there is.
                    typed = true;
                    out.extend_from_slice(field.name.as_bytes());
                    out.push(b':');
                    push_field(&mut out, &with_parameter(field.value));
                    continue;
                }
                Place::Inside => {}
                Place::Outside | Place::Nowhere => continue,
            }
            push_field(&mut rest, octets);
        }
        if !typed {
            out.extend_from_slice(b"Content-Type: text/plain; hp=\"cipher\"\r\n");
        }
        rest.extend_from_slice(self.header.get(at..).unwrap_or_default());
        out.append(&mut rest);
        if !out.ends_with(b"\r\n\r\n") {
            let end: &[u8] = if out.ends_with(b"\r\n") {
                b"\r\n"
            } else {
                b"\r\n\r\n"
            };
            out.extend_from_slice(end);
        }
        out
    }

    fn octets(&self, field: &Field<'_>) -> &'a [u8] {
        self.header.get(field.range.clone()).unwrap_or_default()
    }
}

/// Where a field goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Both,
    Outside,
    /// Inside as it is, outside veiled: the Subject.
    Veiled,
    Inside,
    /// Content-Type: inside, with our parameter.
    Type,
    Nowhere,
}

fn place(field: &Field<'_>) -> Place {
    let is_in = |names: &[&str]| names.iter().any(|name| field.is(name));
    if is_in(&NOWHERE) {
        Place::Nowhere
    } else if is_in(&TRACE) {
        Place::Outside
    } else if field.is("Subject") {
        Place::Veiled
    } else if field.is("Content-Type") {
        Place::Type
    } else if is_in(&OUTSIDE) || is_in(&IDS) && is_ids(&field.unfolded()) {
        Place::Both
    } else {
        Place::Inside
    }
}

/// Whether a value is message ids and nothing else.
fn is_ids(value: &str) -> bool {
    value.split_ascii_whitespace().all(|word| {
        let id = word.strip_prefix('<').and_then(|w| w.strip_suffix('>'));
        id.is_some_and(|id| id.bytes().all(|b| b.is_ascii_graphic()))
    })
}

/// A field, with a line end where the message ended before.
fn push_field(out: &mut Vec<u8>, octets: &[u8]) {
    out.extend_from_slice(octets);
    if !octets.ends_with(b"\n") {
        out.extend_from_slice(b"\r\n");
    }
}

/// A field of the outer header, told inside (RFC 9788 section 2.2.1).
fn push_outer(out: &mut Vec<u8>, octets: &[u8]) {
    out.extend_from_slice(b"HP-Outer: ");
    push_field(out, octets);
}

/// A Content-Type's value with `hp="cipher"` behind the media type: before the
/// other parameters, since what is broken among them may swallow what follows. An
/// `hp` that was there is another part's and gets another name.
fn with_parameter(value: &[u8]) -> Vec<u8> {
    let end = type_end(value);
    let (kind, rest) = value.split_at(end);
    let kind = match kind.trim_ascii() {
        b"" => &b" text/plain"[..],
        _ => kind.trim_ascii_end(),
    };
    let mut out = kind.to_vec();
    out.extend_from_slice(b";\r\n hp=\"cipher\"");
    if rest.trim_ascii().is_empty() || rest.trim_ascii() == b";" {
        out.extend_from_slice(b"\r\n");
    } else {
        out.extend_from_slice(&without_hp(rest));
    }
    out
}

/// Where the media type ends: at the first `;` outside comments.
fn type_end(value: &[u8]) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while let Some(octet) = value.get(at) {
        match octet {
            b'\\' => at += 1,
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b';' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    // A comment that never ends hides nothing.
    let first = value.iter().position(|b| *b == b';');
    first.unwrap_or(value.len())
}

/// Renames parameters `hp` to `x-hp`, wherever one might be seen.
fn without_hp(parameters: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(parameters.len());
    let mut at = 0;
    while let Some(octet) = parameters.get(at) {
        out.push(*octet);
        at += 1;
        if *octet != b';' {
            continue;
        }
        let rest = parameters.get(at..).unwrap_or_default();
        let blank = rest.len() - rest.trim_ascii_start().len();
        let name = rest.get(blank..blank + 2).unwrap_or_default();
        let after = rest.get(blank + 2..).unwrap_or_default();
        let ends = after.trim_ascii_start().first();
        if name.eq_ignore_ascii_case(b"hp") && matches!(ends, Some(b'=' | b'*')) {
            out.extend_from_slice(rest.get(..blank).unwrap_or_default());
            out.extend_from_slice(b"x-");
            at += blank;
        }
    }
    out
}

/// A boundary that no content can hold but by luck of 1 in 2^120.
pub(super) fn boundary(entropy: &dyn Entropy) -> Result<String, EntropyError> {
    let mut random = [0u8; 15];
    entropy.fill(&mut random)?;
    Ok(format!("=_{}", super::hex(&random)))
}

/// Octets looked at at once for the end of the header section.
const PIECE: usize = 16 * 1024;

#[cfg(test)]
#[path = "headers_tests.rs"]
mod tests;
