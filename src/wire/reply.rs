//! Our own replies, as a server gives them.
//!
//! Owns how a reply is written (RFC 5321 section 4.2.1, RFC 2034 section 4).
//! Holds always: what is written is well-formed whatever text went in: every
//! line has the code, the enhanced code where there is one, printable ASCII
//! alone, and at most 512 octets. Called by the parsers here (the reply an error
//! deserves) and by `ingress`.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};

/// Octets of a reply line at most, with its CRLF (RFC 5321 section 4.5.3.1.5).
const LINE_MAX: usize = 512;

/// A reply of one line or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    enhanced: Option<&'static str>,
    lines: Vec<Cow<'static, str>>,
}

impl Reply {
    /// A reply with an enhanced status code (RFC 2034 section 4), as all 2xx, 4xx
    /// and 5xx replies have but the greeting and those to EHLO and HELO.
    pub fn new(code: u16, enhanced: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            enhanced: Some(enhanced),
            lines: vec![text.into()],
        }
    }

    /// A reply without an enhanced code: greeting, EHLO, HELO, 334, 354.
    pub fn plain(code: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            enhanced: None,
            lines: vec![text.into()],
        }
    }

    /// The same reply with one more line.
    #[must_use]
    pub fn line(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        self.lines.push(text.into());
        self
    }

    /// The three digits.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The enhanced status code, e.g. `5.5.2`.
    #[must_use]
    pub fn enhanced(&self) -> Option<&'static str> {
        self.enhanced
    }

    /// The lines' text, without codes.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(AsRef::as_ref)
    }

    /// Whether the command was carried out (2xx, 3xx).
    #[must_use]
    pub fn is_positive(&self) -> bool {
        (200..400).contains(&self.code)
    }

    /// Appends the reply as it goes over the wire.
    pub fn write_to(&self, out: &mut BytesMut) {
        let last = self.lines.len().saturating_sub(1);
        for (at, text) in self.lines.iter().enumerate() {
            let end = out.len() + LINE_MAX - 2;
            let separator = if at == last { ' ' } else { '-' };
            out.put_slice(format!("{:03}{separator}", self.code).as_bytes());
            if let Some(enhanced) = self.enhanced {
                out.put_slice(enhanced.as_bytes());
                out.put_u8(b' ');
            }
            for c in text.chars().take(end.saturating_sub(out.len())) {
                // Text may quote what a client sent: it must not end the line,
                // nor leave ASCII (RFC 5321 section 4.2: `textstring`).
                out.put_u8(match c {
                    ' '..='~' => c as u8,
                    _ => b'?',
                });
            }
            out.put_slice(b"\r\n");
        }
    }

    /// The reply as it goes over the wire.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.write_to(&mut out);
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_both_codes() {
        let reply = Reply::new(250, "2.0.0", "one").line("two").line("");
        assert_eq!(
            &reply.to_bytes()[..],
            b"250-2.0.0 one\r\n250-2.0.0 two\r\n250 2.0.0 \r\n"
        );
        assert_eq!(
            &Reply::plain(354, "Go ahead").to_bytes()[..],
            b"354 Go ahead\r\n"
        );
    }

    #[test]
    fn text_cannot_break_the_line() {
        let reply = Reply::new(501, "5.5.4", "a\r\n250 ok\0ü");
        assert_eq!(&reply.to_bytes()[..], b"501 5.5.4 a??250 ok??\r\n");
    }

    #[test]
    fn lines_end_at_512_octets() {
        let reply = Reply::new(550, "5.0.0", "x".repeat(2000)).line("y".repeat(2000));
        let octets = reply.to_bytes();
        assert_eq!(octets.len(), 1024);
        assert!(octets.ends_with(b"y\r\n"));
    }
}
