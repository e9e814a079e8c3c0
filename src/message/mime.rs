//! The parts of a message, walked while its octets come.
//!
//! Owns the framing of RFC 2046: boundaries, nesting, the fields of each part that say
//! what it is. Holds always: each octet is looked at once, whatever the message; memory is
//! bounded (one line, one part's header section, [`DEPTH_MAX`] boundaries); however the
//! octets are cut, the events are the same but for how contents are cut; whatever one
//! reader may see otherwise than another is told as [`Event::Unclear`]. Called by `texts`
//! and `sealed`, through `notes`.

use mail_parser::parsers::MessageStream;
use memchr::memchr;

use super::headers::fields;

/// Parts within parts.
const DEPTH_MAX: usize = 20;
/// Parts in all.
const PARTS_MAX: usize = 2000;
/// Octets of one part's header section.
const HEADER_MAX: usize = 64 * 1024;
/// Octets of a line that are kept to look for a boundary: those have 70 at most.
const LINE_MAX: usize = 2048;

/// What is found, in order.
#[derive(Debug)]
pub(super) enum Event<'a> {
    /// A part begins; what was before has ended.
    Part(&'a Head),
    /// Octets of the last part that is no multipart, encoded as they came.
    Content(&'a [u8]),
    /// Octets of a multipart in front of its first part or behind its last: nobody shows
    /// them.
    Outside(&'a [u8]),
    /// Others may read this otherwise.
    Unclear,
}

/// How a part's content is written (RFC 2045 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// As it is.
    Identity,
    /// base64.
    Base64,
    /// quoted-printable.
    QuotedPrintable,
    /// Something else.
    Unknown,
}

/// Which of several forms of the same content a part belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    /// The outermost multipart/alternative around it.
    pub(super) choice: usize,
    /// Its place in that one.
    pub(super) place: usize,
}

/// What a part says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// `text/plain`, in lower case.
    pub(super) kind: String,
    /// Its parameters, names in lower case.
    pub(super) parameters: Vec<(String, String)>,
    /// How it is written.
    pub(super) encoding: Encoding,
    /// Multiparts around it.
    pub(super) depth: usize,
    /// If it is one of several forms.
    pub(super) form: Option<Form>,
}

impl Head {
    /// A parameter by its name.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    fn is_multipart(&self) -> bool {
        self.kind.starts_with("multipart/")
    }
}

/// A multipart that has begun and not ended.
#[derive(Debug)]
struct Level {
    boundary: Vec<u8>,
    /// multipart/digest: its parts are messages unless they say otherwise.
    is_digest: bool,
    /// The number of a multipart/alternative.
    choice: Option<usize>,
    /// Parts that have begun.
    parts: usize,
    /// Messages around it.
    messages: usize,
}

#[derive(Debug, PartialEq)]
enum Place {
    /// In a header section, of which this has come.
    Header(Vec<u8>),
    Content,
    Outside,
}

/// Walks through one message.
#[derive(Debug)]
pub(super) struct Walker {
    levels: Vec<Level>,
    place: Place,
    /// The beginning of a line.
    partial: Vec<u8>,
    /// Behind the beginning of a long line: up to its end, nothing is a boundary.
    in_long_line: bool,
    parts: usize,
    choices: usize,
    /// Messages that we are within.
    messages: usize,
    /// More parts than are told apart: the rest is passed over.
    is_lost: bool,
}

impl Walker {
    pub(super) fn new() -> Self {
        Self {
            levels: Vec::new(),
            place: Place::Header(Vec::new()),
            partial: Vec::new(),
            in_long_line: false,
            parts: 0,
            choices: 0,
            messages: 0,
            is_lost: false,
        }
    }

    /// Takes the next octets.
    pub(super) fn push(&mut self, mut octets: &[u8], tell: &mut dyn FnMut(Event<'_>)) {
        while !octets.is_empty() && !self.is_lost {
            let end = memchr(b'\n', octets).map(|at| at + 1);
            let (line, rest) = octets.split_at(end.unwrap_or(octets.len()));
            octets = rest;
            if self.in_long_line {
                self.in_long_line = end.is_none();
                self.hold(line, tell);
            } else if end.is_none() || !self.partial.is_empty() {
                self.partial.extend_from_slice(line);
                if end.is_some() || self.partial.len() > LINE_MAX {
                    let line = std::mem::take(&mut self.partial);
                    self.in_long_line = end.is_none();
                    self.take(&line, tell);
                }
            } else {
                self.take(line, tell);
            }
        }
    }

    /// The message is over; whether each multipart in it was too.
    pub(super) fn finish(&mut self, tell: &mut dyn FnMut(Event<'_>)) -> bool {
        let line = std::mem::take(&mut self.partial);
        if !line.is_empty() {
            self.take(&line, tell);
        }
        if let Place::Header(header) = &mut self.place {
            let header = std::mem::take(header);
            self.begin(&header, tell);
        }
        self.levels.is_empty() && !self.is_lost
    }

    /// A line from its start.
    fn take(&mut self, line: &[u8], tell: &mut dyn FnMut(Event<'_>)) {
        if line.starts_with(b"--")
            && let Some(found) = self.boundary(line)
        {
            return self.cut(&found, tell);
        }
        let is_end = matches!(line, b"\r\n" | b"\n");
        if let (Place::Header(header), true) = (&mut self.place, is_end) {
            let header = std::mem::take(header);
            return self.begin(&header, tell);
        }
        self.hold(line, tell);
    }

    /// Octets that are no boundary.
    fn hold(&mut self, octets: &[u8], tell: &mut dyn FnMut(Event<'_>)) {
        match &mut self.place {
            Place::Content => tell(Event::Content(octets)),
            Place::Outside => tell(Event::Outside(octets)),
            Place::Header(header) if header.len() + octets.len() <= HEADER_MAX => {
                header.extend_from_slice(octets);
            }
            Place::Header(_) => tell(Event::Unclear),
        }
    }

    /// The level whose boundary this line is. RFC 2046 section 5.1.1 has readers compare
    /// only the line's beginning, some compare all of it: where that makes a difference,
    /// it is unclear.
    fn boundary(&self, line: &[u8]) -> Option<Found> {
        let line = line.get(2..)?.trim_ascii_end();
        let levels = || self.levels.iter().enumerate().rev();
        for (at, level) in levels() {
            let closes = match line.strip_prefix(level.boundary.as_slice()) {
                Some(b"") => false,
                Some(b"--") => true,
                _ => continue,
            };
            return Some(Found {
                at,
                closes,
                is_clear: true,
            });
        }
        let (at, _) = levels().find(|(_, level)| line.starts_with(&level.boundary))?;
        Some(Found {
            at,
            closes: false,
            is_clear: false,
        })
    }

    /// A boundary ends what was before.
    fn cut(&mut self, found: &Found, tell: &mut dyn FnMut(Event<'_>)) {
        if let Place::Header(header) = &mut self.place {
            // A part without an empty line, which some take for a part without a body.
            let header = std::mem::take(header);
            if !header.is_empty() {
                tell(Event::Unclear);
            }
            self.begin(&header, tell);
        }
        if !found.is_clear {
            tell(Event::Unclear);
        }
        if let Some(level) = self.levels.get(found.at) {
            self.messages = level.messages;
        }
        self.levels.truncate(found.at + usize::from(!found.closes));
        match found.closes {
            true => self.place = Place::Outside,
            false => {
                self.place = Place::Header(Vec::new());
                if let Some(level) = self.levels.last_mut() {
                    level.parts += 1;
                }
            }
        }
    }

    /// A part's header section is whole.
    fn begin(&mut self, header: &[u8], tell: &mut dyn FnMut(Event<'_>)) {
        self.parts += 1;
        let (head, is_clear) = self.head(header);
        let boundary = head.parameter("boundary").unwrap_or_default();
        let boundary = boundary.trim_ascii_end().as_bytes().to_vec();
        let is_deep = self.levels.len() + self.messages >= DEPTH_MAX;
        let is_message = matches!(head.kind.as_str(), "message/rfc822" | "message/global");
        let can_be_cut = !boundary.is_empty() && boundary.len() < LINE_MAX / 2;
        let nests = is_message || head.is_multipart();
        if !is_clear || (nests && (is_deep || head.encoding != Encoding::Identity)) {
            tell(Event::Unclear);
        }
        if self.parts > PARTS_MAX || (nests && is_deep) {
            self.is_lost = true;
            tell(Event::Unclear);
        }
        tell(Event::Part(&head));
        self.place = if head.is_multipart() && can_be_cut {
            self.levels.push(Level {
                boundary,
                is_digest: head.kind == "multipart/digest",
                choice: (head.kind == "multipart/alternative").then_some(self.choices),
                parts: 0,
                messages: self.messages,
            });
            self.choices += 1;
            Place::Outside
        } else if head.is_multipart() {
            tell(Event::Unclear);
            Place::Content
        } else if is_message && head.encoding == Encoding::Identity {
            self.messages += 1;
            Place::Header(Vec::new())
        } else {
            Place::Content
        };
    }

    /// Whether the part that begins is one of a digest itself.
    fn is_digests_own(&self) -> bool {
        let level = self.levels.last();
        level.is_some_and(|level| level.is_digest && level.messages == self.messages)
    }

    /// What a header section says, and whether all readers will agree.
    fn head(&self, header: &[u8]) -> (Head, bool) {
        let (mut kinds, mut encodings) = (Vec::new(), Vec::new());
        for field in fields(header) {
            if field.is("content-type") {
                kinds.push(field.unfolded());
            } else if field.is("content-transfer-encoding") {
                encodings.push(field.unfolded());
            }
        }
        let mut is_clear = kinds.len() < 2 && encodings.len() < 2;
        let (kind, parameters) = match kinds.first().map(|text| content_type(text)) {
            Some(Some(found)) => found,
            Some(None) => {
                is_clear = false;
                (String::new(), Vec::new())
            }
            None if self.is_digests_own() => ("message/rfc822".to_owned(), Vec::new()),
            None => ("text/plain".to_owned(), Vec::new()),
        };
        let is_twice = |(at, (name, _)): (usize, &(String, String))| {
            let before = parameters.get(..at).unwrap_or_default();
            before.iter().any(|(other, _)| other == name)
        };
        is_clear &= !parameters.iter().enumerate().any(is_twice);
        let encoding = encodings
            .first()
            .map_or(Encoding::Identity, |text| encoding(text));
        let form = self.levels.iter().find_map(|level| {
            Some(Form {
                choice: level.choice?,
                place: level.parts,
            })
        });
        let head = Head {
            kind,
            parameters,
            encoding,
            depth: self.levels.len() + self.messages,
            form,
        };
        (head, is_clear)
    }
}

/// A boundary in a line.
struct Found {
    at: usize,
    closes: bool,
    is_clear: bool,
}

fn encoding(text: &str) -> Encoding {
    // A comment behind it is allowed (RFC 2045 section 6.1).
    let word = text.split(['(', ';']).next().unwrap_or_default().trim();
    match word.to_ascii_lowercase().as_str() {
        "" | "7bit" | "8bit" | "binary" => Encoding::Identity,
        "base64" => Encoding::Base64,
        "quoted-printable" => Encoding::QuotedPrintable,
        _ => Encoding::Unknown,
    }
}

/// Type and parameters of a Content-Type; `None`: it is none.
fn content_type(text: &str) -> Option<(String, Vec<(String, String)>)> {
    // On one line, since the parser (0.11.9) loses a value that is folded away from its
    // parameter.
    let line = format!("{text}\r\n");
    let value = MessageStream::new(line.as_bytes()).parse_content_type();
    let found = value.as_content_type()?;
    let kind = match found.subtype() {
        Some(subtype) => format!("{}/{subtype}", found.ctype()).to_ascii_lowercase(),
        None => return None,
    };
    let parameters = found.attributes().unwrap_or_default().iter();
    let parameters = parameters.map(|parameter| {
        let name = parameter.name.to_ascii_lowercase();
        (name, parameter.value.to_string())
    });
    Some((kind, parameters.collect()))
}

#[cfg(test)]
#[path = "mime_tests.rs"]
mod tests;
