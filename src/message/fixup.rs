//! What is done to a message's header when it comes in.
//!
//! Owns the fix-ups of a submission (RFC 6409 section 8) and the trace field of
//! every message. Holds always: what is not edited is passed on octet for octet;
//! what a DKIM signature covers is not removed; a relay listener's message gets
//! its Received field and nothing else; no Return-Path is ever added (RFC 5321
//! section 4.4). Called by `ingress`, once the header section is there.

use std::fmt;
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

use super::from::FromField;
use super::headers::{Field, HEADER_MAX, HeaderTooLarge, fields};
use super::trace::{self, TraceContext};

/// Octets of a Message-ID that is noted: a line's worth (RFC 5322 section 2.1.1).
const MESSAGE_ID_MAX: usize = 998;

/// Whether this relay is the first one, who puts right what a client left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A submission (RFC 6409).
    Submission,
    /// From another server, whose business it was.
    Relay,
}

/// Why a header section is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// Over [`HEADER_MAX`].
    #[error("message header too large")]
    TooLarge,
    /// The message has been here before (RFC 5321 section 6.3).
    #[error("too many hops, this message is looping")]
    Loop,
}

impl HeaderFault {
    /// The codes of the reply it deserves; the text is its `Display`.
    #[must_use]
    pub fn codes(&self) -> (u16, &'static str) {
        match self {
            Self::TooLarge => (552, "5.3.4"),
            Self::Loop => (554, "5.4.6"),
        }
    }
}

impl From<HeaderTooLarge> for HeaderFault {
    fn from(_: HeaderTooLarge) -> Self {
        Self::TooLarge
    }
}

/// A header section that is ready, with what later rooms ask of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The new section, to be followed by the unchanged body.
    pub header: Bytes,
    /// The authors, for admission.
    pub from: FromField,
    /// The Message-ID with its angle brackets, if it is one.
    pub message_id: Option<String>,
    /// Whether an octet of the section is over 127.
    pub eight_bit: bool,
}

impl fmt::Debug for Prepared {
    /// Tells the size alone: the section is content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prepared({} octets)", self.header.len())
    }
}

/// Makes the new header section out of the one that came: with the empty line
/// that ends it, or without if the message ended before, or empty if the message
/// has no header at all.
///
/// # Errors
/// A [`HeaderFault`].
pub fn prepare(
    header: &[u8],
    kind: Kind,
    context: &TraceContext<'_>,
) -> Result<Prepared, HeaderFault> {
    if header.len() > HEADER_MAX {
        return Err(HeaderFault::TooLarge);
    }
    if trace::is_looping(header, context.hostname) {
        return Err(HeaderFault::Loop);
    }
    let mut message_id = find_message_id(header);
    let mut added = context.received();
    let mut removed = Vec::new();
    if kind == Kind::Submission {
        if !has(header, "Message-ID") {
            let id = format!("<{}@{}>", context.id, context.hostname);
            added.push_str(&format!("Message-ID: {id}\r\n"));
            message_id = Some(id);
        }
        if !has(header, "Date") {
            added.push_str(&format!("Date: {}\r\n", context.at.to_rfc5322()));
        }
        removed = to_remove(header);
    }
    let header = splice(&added, header, removed);
    Ok(Prepared {
        from: FromField::read(fields(&header)),
        message_id,
        eight_bit: !header.is_ascii(),
        header,
    })
}

fn has(header: &[u8], name: &str) -> bool {
    fields(header).any(|field| field.is(name))
}

/// The first Message-ID field's value, if it is of the form `<left@right>`.
fn find_message_id(header: &[u8]) -> Option<String> {
    let value = fields(header)
        .find(|field| field.is("Message-ID"))?
        .unfolded();
    let inner = value.strip_prefix('<')?.strip_suffix('>')?;
    let is_id = value.len() <= MESSAGE_ID_MAX
        && inner.contains('@')
        && inner
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'<' | b'>'));
    is_id.then_some(value)
}

/// The fields that a submission must not carry on: Bcc shows who was meant not to
/// be shown (RFC 5322 section 3.6.3), Return-Path is for final delivery to write
/// (RFC 5321 section 4.4). One that a DKIM signature covers stays, since without
/// it the signature would break.
fn to_remove(header: &[u8]) -> Vec<Range<usize>> {
    const NAMES: [&str; 3] = ["Bcc", "Resent-Bcc", "Return-Path"];
    let signed: Vec<String> = fields(header)
        .filter(|field| field.is("DKIM-Signature"))
        .flat_map(|field| signed_fields(&field))
        .collect();
    fields(header)
        .filter(|field| NAMES.iter().any(|name| field.is(name)))
        .filter(|field| !signed.iter().any(|name| field.is(name)))
        .map(|field| field.range)
        .collect()
}

/// The names in a signature's `h=` (RFC 6376 section 3.5).
fn signed_fields(signature: &Field<'_>) -> Vec<String> {
    let value: String = signature.unfolded().split_ascii_whitespace().collect();
    value
        .split(';')
        .filter_map(|tag| tag.strip_prefix("h="))
        .flat_map(|names| names.split(':').map(str::to_owned))
        .collect()
}

/// `added`, then `header` without the ranges `removed` (in order, apart).
fn splice(added: &str, header: &[u8], removed: Vec<Range<usize>>) -> Bytes {
    let mut out = BytesMut::with_capacity(added.len() + header.len() + 2);
    out.put_slice(added.as_bytes());
    let mut from = 0;
    for range in removed {
        out.put_slice(header.get(from..range.start).unwrap_or_default());
        from = range.end;
    }
    out.put_slice(header.get(from..).unwrap_or_default());
    if header.is_empty() {
        // A message without a header: what follows is its body.
        out.put_slice(b"\r\n");
    }
    out.freeze()
}

#[cfg(test)]
#[path = "fixup_tests.rs"]
mod tests;
