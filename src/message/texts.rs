//! The text of a message, as rules count in it.
//!
//! Owns what counts as text, its decoding and the counting. Holds always: at most
//! [`TEXT_MAX`] octets of text are kept, and only until they are counted; where a text
//! can't be seen whole (too long, an encoding or charset that is broken or unknown, a
//! structure that readers take differently) there are no counts, which who asks takes for
//! the worse; of several forms of one content the fullest counts. The counting is heavy
//! and for threads that serve no connection. Called by `notes`, the counting by `ingress`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::html::html_to_text;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;

use super::mime::{Encoding, Event, Form, Head};
use crate::types::content::COUNT_MAX;
use crate::types::{TextCount, TextPattern};

/// Octets of text that are looked at, encoded as they came.
pub const TEXT_MAX: usize = 1 << 20;

/// base64 with or without its padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// One text part, as it came.
#[derive(Clone, PartialEq, Eq)]
struct Text {
    encoding: Encoding,
    charset: Option<String>,
    is_html: bool,
    form: Option<Form>,
    octets: Vec<u8>,
}

/// All text of a message, ready to be counted.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Texts {
    parts: Vec<Text>,
    /// Octets in all.
    size: usize,
    /// The part that octets belong to now is text.
    is_open: bool,
    /// Not all of it could be seen.
    is_partial: bool,
}

impl fmt::Debug for Texts {
    /// Tells the number alone: a text is content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Texts({}, partial: {})",
            self.parts.len(),
            self.is_partial
        )
    }
}

impl Texts {
    /// The text of a message that has this one alone.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let part = Text {
            encoding: Encoding::Identity,
            charset: None,
            is_html: false,
            form: None,
            octets: text.as_bytes().to_vec(),
        };
        Self {
            parts: vec![part],
            ..Self::default()
        }
    }

    pub(super) fn note(&mut self, event: &Event<'_>) {
        match event {
            Event::Part(head) => self.begin(head),
            Event::Content(octets) if self.is_open => self.add(octets),
            Event::Content(_) | Event::Outside(_) => {}
            Event::Unclear => self.give_up(),
        }
    }

    fn begin(&mut self, head: &Head) {
        let subtype = head.kind.strip_prefix("text/");
        self.is_open = subtype.is_some() && !self.is_partial;
        if self.is_open {
            self.parts.push(Text {
                encoding: head.encoding,
                charset: head.parameter("charset").map(str::to_owned),
                is_html: subtype == Some("html"),
                form: head.form,
                octets: Vec::new(),
            });
        }
    }

    fn add(&mut self, octets: &[u8]) {
        self.size += octets.len();
        match self.parts.last_mut() {
            Some(part) if self.size <= TEXT_MAX => part.octets.extend_from_slice(octets),
            _ => self.give_up(),
        }
    }

    /// Nothing will be counted, so nothing is kept.
    fn give_up(&mut self) {
        self.parts = Vec::new();
        self.is_open = false;
        self.is_partial = true;
    }

    /// Counts these patterns; none, if not all of the text can be read.
    #[must_use]
    pub fn count(&self, patterns: &[TextPattern]) -> Vec<TextCount> {
        let mut texts = Vec::new();
        for part in &self.parts {
            match part.decoded() {
                Some(text) => texts.push((part.form, text)),
                None => return Vec::new(),
            }
        }
        if self.is_partial {
            return Vec::new();
        }
        let counted = patterns.iter().map(|pattern| TextCount {
            pattern: pattern.key(),
            count: u32::try_from(count(pattern, &texts)).unwrap_or(u32::MAX),
        });
        counted.collect()
    }
}

/// Once for each form, of which the fullest counts.
fn count(pattern: &TextPattern, texts: &[(Option<Form>, String)]) -> usize {
    let mut alone = 0;
    let mut forms: BTreeMap<usize, BTreeMap<usize, usize>> = BTreeMap::new();
    for (form, text) in texts {
        let found = pattern.count(text, COUNT_MAX);
        let sum = match form {
            None => &mut alone,
            Some(form) => {
                let places = forms.entry(form.choice).or_default();
                places.entry(form.place).or_default()
            }
        };
        *sum += found;
    }
    let fullest = forms.values().filter_map(|places| places.values().max());
    let total: usize = alone + fullest.sum::<usize>();
    total.min(COUNT_MAX)
}

impl Text {
    /// As people see it; `None`: nobody can tell.
    fn decoded(&self) -> Option<String> {
        let octets: Cow<'_, [u8]> = match self.encoding {
            Encoding::Identity => Cow::Borrowed(&self.octets),
            Encoding::Base64 => Cow::Owned(base64(&self.octets)?),
            Encoding::QuotedPrintable => Cow::Owned(quoted_printable_decode(&self.octets)?),
            Encoding::Unknown => return None,
        };
        let text = characters(&octets, self.charset.as_deref())?;
        Some(match self.is_html {
            true => html_to_text(&apart(&text)),
            false => text,
        })
    }
}

fn base64(octets: &[u8]) -> Option<Vec<u8>> {
    let is_of_it = |octet: &u8| !octet.is_ascii_whitespace();
    let octets: Vec<u8> = octets.iter().copied().filter(is_of_it).collect();
    BASE64.decode(octets).ok()
}

fn characters(octets: &[u8], charset: Option<&str>) -> Option<String> {
    let name = charset.unwrap_or_default().trim().to_ascii_lowercase();
    match name.as_str() {
        "utf-8" | "utf8" => Some(String::from_utf8_lossy(octets).into_owned()),
        // What says nothing, or too little, is more often UTF-8 than not.
        "" | "us-ascii" | "ascii" => Some(match std::str::from_utf8(octets) {
            Ok(text) => text.to_owned(),
            Err(_) => charset_decoder(b"windows-1252")?(octets),
        }),
        name => charset_decoder(name.as_bytes()).map(|decode| decode(octets)),
    }
}

/// Elements that begin on a line or in a cell of their own.
const BLOCKS: [&str; 24] = [
    "address",
    "blockquote",
    "br",
    "caption",
    "dd",
    "div",
    "dl",
    "dt",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "li",
    "ol",
    "option",
    "p",
    "pre",
    "table",
    "td",
    "th",
    "tr",
];

/// HTML in which what stands apart on the screen is apart in the text too, and a `<` that
/// begins no tag is not taken for one.
fn apart(html: &str) -> String {
    let mut apart = String::with_capacity(html.len() + html.len() / 8);
    let mut rest = html;
    while let Some(at) = memchr::memchr(b'<', rest.as_bytes()) {
        let (before, tag) = rest.split_at(at);
        let (_, tag) = tag.split_at(1);
        apart.push_str(before);
        let name = tag.strip_prefix('/').unwrap_or(tag);
        match name.bytes().next() {
            Some(b'a'..=b'z' | b'A'..=b'Z') => {
                let is_name = |c: &u8| c.is_ascii_alphanumeric();
                let name: Vec<u8> = name.bytes().take_while(is_name).take(16).collect();
                let is_block = |block: &&str| block.as_bytes().eq_ignore_ascii_case(&name);
                if BLOCKS.iter().any(is_block) {
                    apart.push(' ');
                }
                apart.push('<');
            }
            Some(b'!' | b'?') => apart.push('<'),
            _ => apart.push_str("&lt;"),
        }
        rest = tag;
    }
    apart.push_str(rest);
    apart
}

#[cfg(test)]
#[path = "texts_tests.rs"]
mod tests;
