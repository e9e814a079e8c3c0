//! Patterns that are counted in the text of messages.
//!
//! Owns their checking and the name under which a count is kept. Holds always: a
//! pattern is a regular expression that is matched in time linear in the text (crate
//! `regex`) and takes bounded memory; a count names the pattern that was counted, so that
//! one written since is told from one that was not found. Parsed by `config`, counted by
//! `message`, asked by `policy`.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

/// Characters of a pattern at most.
const TEXT_MAX: usize = 1000;
/// Octets that a pattern may take when made ready, and again while it is matched.
const SIZE_MAX: usize = 1 << 20;
/// Part of each key: to be changed when texts are read in another way than before, so
/// that old counts no longer answer for them.
const READING: &str = "1:";

/// What is wrong with a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextPatternError {
    /// Longer than a pattern may be.
    #[error("is longer than {TEXT_MAX} characters")]
    Long,
    /// It would count places without any text.
    #[error("also matches no text at all, so every message would have it")]
    Empty,
    /// The crate's words.
    #[error("is no regular expression that can be used here: {0}")]
    Regex(String),
}

/// Which pattern was counted: the beginning of a SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PatternKey([u8; 16]);

/// A regular expression, ready to be counted; case counts unless it says `(?i)`.
#[derive(Clone)]
pub struct TextPattern {
    text: Arc<str>,
    key: PatternKey,
    regex: Regex,
}

impl TextPattern {
    /// Makes a pattern ready.
    ///
    /// # Errors
    /// [`TextPatternError`].
    pub fn parse(text: &str) -> Result<Self, TextPatternError> {
        if text.chars().count() > TEXT_MAX {
            return Err(TextPatternError::Long);
        }
        let mut builder = RegexBuilder::new(text);
        builder.size_limit(SIZE_MAX).dfa_size_limit(SIZE_MAX);
        let regex = builder.build().map_err(|error| {
            // The last line says what; those before draw a picture.
            let words = error.to_string();
            let last = words.lines().last().unwrap_or_default();
            TextPatternError::Regex(last.trim_start_matches("error: ").to_owned())
        })?;
        if regex.is_match("") {
            return Err(TextPatternError::Empty);
        }
        let named = digest(&SHA256, format!("{READING}{text}").as_bytes());
        let mut key = [0; 16];
        key.iter_mut()
            .zip(named.as_ref())
            .for_each(|(to, from)| *to = *from);
        Ok(Self {
            text: text.into(),
            key: PatternKey(key),
            regex,
        })
    }

    /// Under which its count is kept.
    #[must_use]
    pub fn key(&self) -> PatternKey {
        self.key
    }

    /// How often it is in the text, without overlaps; counted no further than `most`.
    #[must_use]
    pub fn count(&self, text: &str, most: usize) -> usize {
        self.regex.find_iter(text).take(most).count()
    }
}

impl fmt::Debug for TextPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TextPattern({:?})", self.text)
    }
}

impl PartialEq for TextPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for TextPattern {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_are_counted_without_overlaps_and_to_a_bound() {
        let insured = TextPattern::parse(r"\b[A-Z]\d{9}\b").unwrap();
        let text = "A123456789, B987654321 and x1 and C1234567890";
        assert_eq!(insured.count(text, 1000), 2);
        assert_eq!(insured.count(text, 1), 1);
        assert_eq!(TextPattern::parse("aa").unwrap().count("aaaaa", 9), 2);
    }

    #[test]
    fn what_is_wrong_is_told_in_a_line() {
        for (text, words) in [
            ("a(b", "unclosed group"),
            (r"(a)\1", "backreferences"),
            (r"(\w{1000}){1000}", "size limit"),
            ("x*", "no text at all"),
            (&"x".repeat(TEXT_MAX + 1), "longer than"),
        ] {
            let fault = TextPattern::parse(text).unwrap_err().to_string();
            assert!(fault.contains(words), "{fault}");
            assert!(!fault.contains('\n'), "{fault}");
        }
    }

    #[test]
    fn keys_tell_patterns_apart() {
        let key = |text| TextPattern::parse(text).unwrap().key();
        assert_eq!(key("a+"), key("a+"));
        assert_ne!(key("a+"), key("a++"));
    }
}
