//! Replies of the far side, as a client reads them.
//!
//! Owns reading a reply (RFC 5321 section 4.2.1) from servers that mostly keep to
//! it. Holds always: the code decides, text never does; memory and the length of
//! a reply are bounded; what goes on to logs and DSNs is printable and short.
//! Called by `delivery`.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

use crate::types::RemoteReply;

/// Octets of a line at most, generous against the 512 of RFC 5321 section
/// 4.5.3.1.5.
const LINE_MAX: usize = 16 * 1024;
/// Lines kept; what follows is read and dropped.
const LINES_KEPT: usize = 1000;
/// Octets of text kept, likewise.
const OCTETS_KEPT: usize = 64 * 1024;
/// Octets of one reply at most.
const REPLY_MAX: usize = 1024 * 1024;
/// Octets of a [`RemoteReply`]'s text.
const REMOTE_TEXT_MAX: usize = 512;

/// Why what arrived is no reply. The connection is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// It does not begin with a code from 200 to 599.
    #[error("the server's answer is not an SMTP reply")]
    NotAReply,
    /// A line or the whole is longer than any sane reply.
    #[error("the server's reply is too long")]
    TooLong,
}

/// Puts replies together from the octets that arrive.
#[derive(Default)]
pub struct ReplyReader {
    lines: Vec<String>,
    kept: usize,
    seen: usize,
    begun: bool,
}

impl ReplyReader {
    /// Starts at the start of a reply.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes octets off `input`; gives the next reply once it is whole. With
    /// PIPELINING further replies may follow in `input`: call it again.
    ///
    /// Where the lines' codes differ, the last line's counts: it is the one that
    /// ends the reply (RFC 5321 section 4.2.1), and Postfix's choice too.
    ///
    /// # Errors
    /// A [`ReplyError`].
    pub fn feed(&mut self, input: &mut BytesMut) -> Result<Option<FarReply>, ReplyError> {
        loop {
            let window = input.get(..LINE_MAX).unwrap_or(input);
            let Some(lf) = memchr(b'\n', window) else {
                return match input.len() >= LINE_MAX {
                    true => Err(ReplyError::TooLong),
                    false => Ok(None),
                };
            };
            let line = input.split_to(lf).freeze();
            input.advance(1);
            self.seen += lf + 1;
            if self.seen > REPLY_MAX {
                return Err(ReplyError::TooLong);
            }
            if let Some(code) = self.take(&line)? {
                let reader = std::mem::take(self);
                return Ok(Some(FarReply {
                    code,
                    lines: reader.lines,
                }));
            }
        }
    }

    /// Whether a reply has begun and not ended: if the connection ends now, an
    /// answer was lost (E28).
    #[must_use]
    pub fn is_mid_reply(&self) -> bool {
        self.begun
    }

    /// Takes one line; gives the code if it is the last one.
    fn take(&mut self, line: &Bytes) -> Result<Option<u16>, ReplyError> {
        // Some servers end lines with a bare LF; nothing is at stake here.
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some((code, more, text)) = split(line) else {
            // A line without code amid a reply: some servers wrap long text.
            if !self.begun {
                return Err(ReplyError::NotAReply);
            }
            self.keep(line);
            return Ok(None);
        };
        self.begun = true;
        self.keep(text);
        Ok((!more).then_some(code))
    }

    fn keep(&mut self, text: &[u8]) {
        if self.lines.len() < LINES_KEPT && self.kept + text.len() <= OCTETS_KEPT {
            self.kept += text.len();
            self.lines.push(String::from_utf8_lossy(text).into_owned());
        }
    }
}

impl fmt::Debug for ReplyReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplyReader({} lines)", self.lines.len())
    }
}

/// Code, whether more lines follow, text; `None` if the line has no code.
fn split(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (digits, rest) = line.split_at_checked(3)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code = digits
        .iter()
        .fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    let (more, text) = match rest.split_first() {
        None => (false, rest),
        Some((b' ', text)) => (false, text),
        Some((b'-', text)) => (true, text),
        Some(_) => return None,
    };
    (200..600).contains(&code).then_some((code, more, text))
}

/// A whole reply of the far side.
#[derive(Clone, PartialEq, Eq)]
pub struct FarReply {
    code: u16,
    lines: Vec<String>,
}

impl FarReply {
    /// The three digits, 200 to 599.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The lines' text behind the code and its separator; never for a decision.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// 2xx: done (RFC 5321 section 4.2.1; 251 and 252 as well).
    #[must_use]
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 3xx: go on.
    #[must_use]
    pub fn is_intermediate(&self) -> bool {
        self.code / 100 == 3
    }

    /// 4xx: not now.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.code / 100 == 4
    }

    /// 5xx: not ever.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// The enhanced status code (RFC 2034), from the last line that has one whose
    /// class is that of the basic code: where they disagree, the basic code is
    /// trusted and this is `None`.
    #[must_use]
    pub fn enhanced(&self) -> Option<&str> {
        let class = self.code / 100;
        self.lines
            .iter()
            .rev()
            .find_map(|line| split_enhanced(line))
            .map(|(enhanced, _)| enhanced)
            .filter(|enhanced| enhanced.bytes().next().map(|b| u16::from(b & 15)) == Some(class))
    }

    /// The reply for evidence, logs and DSNs: the enhanced code taken out of the
    /// text, control characters replaced, 512 octets at most.
    #[must_use]
    pub fn to_remote(&self) -> RemoteReply {
        let enhanced = self.enhanced();
        let mut text = String::new();
        for line in &self.lines {
            let line = match split_enhanced(line) {
                Some((code, rest)) if Some(code) == enhanced => rest,
                _ => line,
            };
            if !text.is_empty() && !line.is_empty() {
                text.push(' ');
            }
            text.extend(line.chars().map(|c| if is_harmless(c) { c } else { '?' }));
            if text.len() > REMOTE_TEXT_MAX {
                break;
            }
        }
        text.truncate(text.floor_char_boundary(REMOTE_TEXT_MAX));
        RemoteReply {
            code: self.code,
            enhanced: enhanced.map(str::to_owned),
            text,
        }
    }
}

/// Neither a control character nor one that turns the direction of writing, with
/// which a log line could be made to read as another.
fn is_harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

impl fmt::Debug for FarReply {
    /// The code alone: remote texts are logged only where the operator says so.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FarReply({}, {} lines)", self.code, self.lines.len())
    }
}

/// An enhanced code (RFC 3463 section 2) at the start of a text, and what follows
/// it. A leading `#` is a known habit of one vendor.
fn split_enhanced(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_prefix('#').unwrap_or(text);
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let mut parts = word.split('.');
    let is_class = matches!(parts.next(), Some("2" | "4" | "5"));
    let is_number = |part: Option<&str>| {
        part.is_some_and(|p| (1..=3).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit()))
    };
    let is_code = is_class && is_number(parts.next()) && is_number(parts.next());
    (is_code && parts.next().is_none()).then_some((word, rest))
}

#[cfg(test)]
#[path = "far_reply_tests.rs"]
mod tests;
