//! Where a message's header section ends, and where its fields are.
//!
//! Owns the framing of RFC 5322 section 2.2. Holds always: a field's range covers
//! its lines with their line ends, folds included, so that leaving out a range
//! leaves every other octet as it was; lines that are no field belong to none and
//! end nothing, since what one reader takes for the body another may show as a
//! header. Called within `message`, and by `ingress` for [`HeaderCollector`].

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memmem};

/// Octets of a header section at most.
pub const HEADER_MAX: usize = 256 * 1024;

/// The header section is over [`HEADER_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("message header too large")]
pub struct HeaderTooLarge;

/// One header field (RFC 5322 section 2.2).
#[derive(Clone, PartialEq, Eq)]
pub struct Field<'a> {
    /// Where its lines are in the section, line ends included.
    pub range: Range<usize>,
    /// Its name as written.
    pub name: &'a str,
    /// What follows the colon, folds and line end included.
    pub value: &'a [u8],
}

impl Field<'_> {
    /// Whether this is its name, in any case.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// Its value on one line, without blanks around it (RFC 5322 section 2.2.3).
    #[must_use]
    pub fn unfolded(&self) -> String {
        let text: Cow<'_, str> = String::from_utf8_lossy(self.value);
        text.replace(['\r', '\n'], "").trim().to_owned()
    }
}

impl fmt::Debug for Field<'_> {
    /// The name alone: a value is content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Field({} at {:?})", self.name, self.range)
    }
}

/// The fields of a header section in order, up to its empty line.
pub fn fields(section: &[u8]) -> impl Iterator<Item = Field<'_>> {
    Fields { section, at: 0 }
}

struct Fields<'a> {
    section: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        loop {
            let start = self.at;
            let rest = self.section.get(start..)?;
            let line = first_line(rest);
            if is_empty_line(line) {
                return None;
            }
            let mut length = line.len();
            while let Some(line) = rest.get(length..).map(first_line).filter(|l| is_fold(l)) {
                length += line.len();
            }
            self.at = start + length;
            if let Some((name, colon)) = field_name(line) {
                return Some(Field {
                    range: start..self.at,
                    name,
                    value: rest.get(colon + 1..length).unwrap_or_default(),
                });
            }
        }
    }
}

/// A line with its line end, or what there is of it.
fn first_line(octets: &[u8]) -> &[u8] {
    let end = memchr(b'\n', octets).map_or(octets.len(), |lf| lf + 1);
    octets.get(..end).unwrap_or(octets)
}

fn is_empty_line(line: &[u8]) -> bool {
    matches!(line, b"" | b"\r\n" | b"\n")
}

fn is_fold(line: &[u8]) -> bool {
    matches!(line.first(), Some(b' ' | b'\t'))
}

/// The field name at a line's start and where its colon is; blanks before the
/// colon are allowed (RFC 5322 section 4.5).
fn field_name(line: &[u8]) -> Option<(&str, usize)> {
    let colon = memchr(b':', line)?;
    let name = line.get(..colon)?.trim_ascii_end();
    let is_name = !name.is_empty() && name.iter().all(|b| matches!(b, b'!'..=b'~'));
    let name = std::str::from_utf8(name).ok()?;
    is_name.then_some((name, colon))
}

/// A message cut behind its header section.
#[derive(Clone, PartialEq, Eq)]
pub struct Collected {
    /// The section with the empty line that ends it; empty if the message has
    /// none.
    pub header: Bytes,
    /// What has come of the body.
    pub rest: Bytes,
}

impl fmt::Debug for Collected {
    /// Tells sizes alone: both are content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (header, rest) = (self.header.len(), self.rest.len());
        write!(f, "Collected({header} + {rest} octets)")
    }
}

/// Gathers the header section of a message that arrives in pieces.
///
/// A message whose first line is no field has no header: all of it is body.
#[derive(Default)]
pub struct HeaderCollector {
    buffer: BytesMut,
    /// Up to here no end was found.
    scanned: usize,
    /// Whether the first line was a field.
    begun: bool,
}

impl HeaderCollector {
    /// Starts at the message's first octet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next octets, of any number; gives the section once it is whole,
    /// and is then ready for another message.
    ///
    /// # Errors
    /// [`HeaderTooLarge`].
    pub fn push(&mut self, octets: &[u8]) -> Result<Option<Collected>, HeaderTooLarge> {
        self.buffer.extend_from_slice(octets);
        match self.end() {
            Some(end) if end <= HEADER_MAX => {
                let mut whole = std::mem::take(self).buffer;
                let header = whole.split_to(end).freeze();
                let rest = whole.freeze();
                Ok(Some(Collected { header, rest }))
            }
            None if self.buffer.len() <= HEADER_MAX => Ok(None),
            _ => Err(HeaderTooLarge),
        }
    }

    /// The section of a message that ended before its empty line.
    #[must_use]
    pub fn finish(self) -> Bytes {
        self.buffer.freeze()
    }

    fn end(&mut self) -> Option<usize> {
        if !self.begun {
            let window = self.buffer.get(self.scanned..)?;
            let Some(at) = memmem::find(window, b"\r\n") else {
                self.scanned = self.buffer.len().saturating_sub(1);
                return None;
            };
            self.scanned += at;
            let line = self.buffer.get(..self.scanned + 2)?;
            if is_empty_line(line) {
                return Some(line.len());
            }
            if field_name(line).is_none() {
                return Some(0);
            }
            self.begun = true;
        }
        let window = self.buffer.get(self.scanned..)?;
        let found = memmem::find(window, b"\r\n\r\n");
        let end = found.map(|at| self.scanned + at + 4);
        // The last three octets may be the start of the empty line.
        self.scanned = self.buffer.len().saturating_sub(3);
        end
    }
}

impl fmt::Debug for HeaderCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeaderCollector({} octets)", self.buffer.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(message: &[u8], step: usize) -> (Vec<u8>, Vec<u8>) {
        let mut collector = HeaderCollector::new();
        let mut pieces = message.chunks(step);
        while let Some(piece) = pieces.next() {
            if let Some(Collected { header, rest }) = collector.push(piece).unwrap() {
                let rest = [&rest[..], &pieces.collect::<Vec<_>>().concat()].concat();
                return (header.to_vec(), rest);
            }
        }
        (collector.finish().to_vec(), Vec::new())
    }

    #[test]
    fn sections_in_any_pieces() {
        for (header, rest) in [
            (&b"From: a\r\n b\r\n\r\n"[..], &b"body\r\n\r\n"[..]),
            (b"From: a\r\njunk\r\nTo: b\r\n\r\n", b""),
            (b"From: a\r\n", b""),
            (b"\r\n", b"body\r\n"),
            (b"", b"no field: here\r\n\r\n"),
            (b"", b" folded\r\nFrom: a\r\n\r\n"),
            (b"", b""),
        ] {
            let message = [header, rest].concat();
            for step in 1..=message.len().max(1) {
                assert_eq!(collect(&message, step), (header.to_vec(), rest.to_vec()));
            }
        }
    }

    #[test]
    fn sections_are_bounded() {
        let mut collector = HeaderCollector::new();
        let field = format!("X: {}\r\n", "x".repeat(1000));
        let result = (0..1000).try_for_each(|_| collector.push(field.as_bytes()).map(drop));
        assert_eq!(result, Err(HeaderTooLarge));
        let whole = [field.repeat(300).as_bytes(), b"\r\n"].concat();
        assert_eq!(HeaderCollector::new().push(&whole), Err(HeaderTooLarge));
    }

    #[test]
    fn ranges_cover_every_octet_of_a_field() {
        let section = b"Subject : a\r\n\tb\r\njunk line\r\n more junk\r\nX-8: \xff\r\nEmpty:\r\n\r\nTo: c\r\n";
        let found: Vec<_> = fields(section)
            .map(|f| {
                (
                    f.name.to_owned(),
                    f.unfolded(),
                    section[f.range.clone()].to_vec(),
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                (
                    "Subject".into(),
                    "a\tb".into(),
                    b"Subject : a\r\n\tb\r\n".to_vec()
                ),
                ("X-8".into(), "\u{fffd}".into(), b"X-8: \xff\r\n".to_vec()),
                ("Empty".into(), String::new(), b"Empty:\r\n".to_vec()),
            ]
        );
    }

    #[test]
    fn content_shows_in_no_debug() {
        let field = fields(b"Subject: secret\r\n").next().unwrap();
        let collected = HeaderCollector::new().push(b"Subject: secret\r\n\r\n");
        assert!(!format!("{field:?} {collected:?}").contains("secret"));
    }

    proptest::proptest! {
        #[test]
        fn fields_never_overlap(section in proptest::collection::vec(
            proptest::sample::select(b"a: \t\r\n\xff".to_vec()), 0..60)) {
            let mut end = 0;
            for field in fields(&section) {
                proptest::prop_assert!(end <= field.range.start);
                proptest::prop_assert!(field.range.end <= section.len());
                end = field.range.end;
            }
        }
    }
}
