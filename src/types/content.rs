//! What policy may ask of a message's content, noted when it was accepted.
//!
//! Owns the header fields and counts that rules ask for, whether it was encrypted when it
//! came, and the edits that rules ask for. Holds always: this is content, so it is
//! kept sealed and never shown by `Debug`; of texts only counts are kept; what could not
//! be noted whole is as if nobody had looked, and who asks takes that for the worse. Made by `message`, kept by
//! `spool` with the message, asked by `policy`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{PatternKey, TextPattern};

/// Fields that are noted for every message, whatever the rules of the day.
const ALWAYS: [&str; 3] = ["subject", "sensitivity", "msip_labels"];

/// Patterns that one configuration can ask for.
pub const PATTERNS_MAX: usize = 32;
/// How often a pattern is counted at most.
pub const COUNT_MAX: usize = 1000;

/// Which header fields are noted beside those that always are, and what is counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Their names in lower case.
    pub fields: Vec<String>,
    /// Patterns that are counted in the text, each once.
    pub patterns: Vec<TextPattern>,
}

impl Wanted {
    /// All names, each once, in lower case.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = ALWAYS.to_vec();
        for name in &self.fields {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }
}

/// How often a pattern was found in a message's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextCount {
    /// Which.
    pub pattern: PatternKey,
    /// How often, [`COUNT_MAX`] at most.
    pub count: u32,
}

/// How the sender has encrypted a message, by its structure: no proof for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encrypted {
    /// PGP/MIME (RFC 3156 section 4).
    OpenPgp,
    /// S/MIME, enveloped-data or authEnveloped-data (RFC 8551 sections 3.3, 3.4).
    Smime,
}

impl Encrypted {
    /// Its name for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenPgp => "PGP/MIME",
            Self::Smime => "S/MIME",
        }
    }
}

/// What was noted of one message.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ContentFacts {
    /// Names in lower case, each once, with the values found: decoded, on one line. A
    /// name without values was looked for and is not there.
    pub fields: Vec<(String, Vec<String>)>,
    /// What was counted in its text; a pattern that is not here was not counted. The
    /// journal keeps this and what follows behind the rest.
    #[serde(skip)]
    pub texts: Vec<TextCount>,
    /// How the sender has encrypted it; `None`: it isn't, or nobody can tell.
    #[serde(skip)]
    pub encrypted: Option<Encrypted>,
}

impl ContentFacts {
    /// The values of a field, by its name in lower case; `None`: nobody looked.
    #[must_use]
    pub fn values(&self, name: &str) -> Option<&[String]> {
        let found = self.fields.iter().find(|(known, _)| known == name);
        found.map(|(_, values)| values.as_slice())
    }

    /// How often the pattern was found; `None`: nobody counted it.
    #[must_use]
    pub fn count(&self, pattern: &TextPattern) -> Option<usize> {
        let mut texts = self.texts.iter();
        let found = texts.find(|text| text.pattern == pattern.key())?;
        usize::try_from(found.count).ok()
    }
}

impl fmt::Debug for ContentFacts {
    /// Names alone: values are content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.fields.iter().map(|(name, _)| name.as_str()).collect();
        write!(f, "ContentFacts({names:?})")
    }
}

/// What a rule changes in a message's header section on its way out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderEdits {
    /// Texts that leave the Subject, in lower case.
    pub strip_subject: Vec<String>,
    /// Fields that are taken out, by name.
    pub remove: Vec<String>,
    /// Fields that are added, `Name: value`.
    pub add: Vec<String>,
}

impl HeaderEdits {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }

    /// These, and then those.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.strip_subject.extend_from_slice(&other.strip_subject);
        self.remove.extend_from_slice(&other.remove);
        self.add.extend_from_slice(&other.add);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looked_for_and_not_there_is_not_nobody_looked() {
        let facts = ContentFacts {
            fields: vec![("subject".into(), vec![]), ("x-a".into(), vec!["1".into()])],
            ..ContentFacts::default()
        };
        assert_eq!(facts.values("subject"), Some(&[][..]));
        assert_eq!(facts.values("x-a"), Some(&["1".to_owned()][..]));
        assert_eq!(facts.values("x-b"), None);
        assert!(!format!("{facts:?}").contains('1'));
    }

    #[test]
    fn names_come_once() {
        let wanted = Wanted {
            fields: vec!["x-a".into(), "subject".into(), "x-a".into()],
            patterns: Vec::new(),
        };
        assert_eq!(
            wanted.names(),
            ["subject", "sensitivity", "msip_labels", "x-a"]
        );
    }
}
