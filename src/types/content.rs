//! What policy may ask of a message's content, noted when it was accepted.
//!
//! Owns the header fields that rules ask for, and the edits that they ask for. Holds always: this is content, so it is
//! kept sealed and never shown by `Debug`; what could not be noted whole is as if
//! nobody had looked, and who asks takes that for the worse. Made by `message`, kept by
//! `spool` with the message, asked by `policy`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Fields that are noted for every message, whatever the rules of the day.
const ALWAYS: [&str; 3] = ["subject", "sensitivity", "msip_labels"];

/// Which header fields are noted beside those that always are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Their names in lower case.
    pub fields: Vec<String>,
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

/// The fields of one message that were looked for.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ContentFacts {
    /// Names in lower case, each once, with the values found: decoded, on one line. A
    /// name without values was looked for and is not there.
    pub fields: Vec<(String, Vec<String>)>,
}

impl ContentFacts {
    /// The values of a field, by its name in lower case; `None`: nobody looked.
    #[must_use]
    pub fn values(&self, name: &str) -> Option<&[String]> {
        let found = self.fields.iter().find(|(known, _)| known == name);
        found.map(|(_, values)| values.as_slice())
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
        };
        assert_eq!(
            wanted.names(),
            ["subject", "sensitivity", "msip_labels", "x-a"]
        );
    }
}
