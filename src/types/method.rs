//! Methods of delivery and the list that a policy allows.
//!
//! Owns the grammar of design section 3.3: each method once, `cleartext` only
//! directly after `tls`, an ending last (`bounce` is implied). Holds always: a
//! [`MethodsList`] that exists obeys it. Methods that are not built yet are not
//! words of the language.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One way to deliver to one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Over TLS at the level required.
    Tls,
    /// In the clear, to a host that definitely has no TLS.
    Cleartext,
}

impl Method {
    /// The word that configuration, audit and logs use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Cleartext => "cleartext",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What happens when no method succeeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// The sender gets a DSN.
    #[default]
    Bounce,
    /// The message is dropped for this recipient; the audit records it.
    Drop,
}

/// Why a list of words is no methods list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MethodsError {
    /// A word that is no method or ending, or not one yet.
    #[error("unknown method \"{0}\" (known: tls, cleartext, bounce, drop)")]
    Unknown(String),
    /// The same word twice.
    #[error("\"{0}\" stands twice in the methods list")]
    Twice(String),
    /// `bounce` or `drop` with something behind it.
    #[error("\"{0}\" ends the methods list, so nothing may follow it")]
    AfterEnding(String),
    /// `cleartext` not directly behind `tls`.
    #[error("\"cleartext\" may only stand directly after \"tls\"")]
    Cleartext,
    /// No method at all.
    #[error("the methods list names no method (put \"tls\" first)")]
    Empty,
}

/// The methods a policy allows, in the order tried, and the ending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodsList {
    methods: Vec<Method>,
    ending: Ending,
}

impl Default for MethodsList {
    /// `["tls", "bounce"]`.
    fn default() -> Self {
        Self {
            methods: vec![Method::Tls],
            ending: Ending::Bounce,
        }
    }
}

impl MethodsList {
    /// Reads the words of a list.
    ///
    /// # Errors
    /// The first fault, as a [`MethodsError`].
    pub fn parse<S: AsRef<str>>(words: &[S]) -> Result<Self, MethodsError> {
        let mut methods = Vec::new();
        let mut ending = None;
        let mut seen = Vec::new();
        for word in words.iter().map(AsRef::as_ref) {
            if seen.contains(&word) {
                return Err(MethodsError::Twice(word.to_owned()));
            }
            seen.push(word);
            if let Some((ending, _)) = ending {
                return Err(MethodsError::AfterEnding(ending));
            }
            match word {
                "tls" => methods.push(Method::Tls),
                "cleartext" if methods.last() == Some(&Method::Tls) => {
                    methods.push(Method::Cleartext);
                }
                "cleartext" => return Err(MethodsError::Cleartext),
                "bounce" => ending = Some((word.to_owned(), Ending::Bounce)),
                "drop" => ending = Some((word.to_owned(), Ending::Drop)),
                _ => return Err(MethodsError::Unknown(word.to_owned())),
            }
        }
        if methods.is_empty() {
            return Err(MethodsError::Empty);
        }
        Ok(Self {
            methods,
            ending: ending.map(|(_, ending)| ending).unwrap_or_default(),
        })
    }

    /// The list for own mail (design section 3.3): `tls`, and `cleartext` where
    /// this list has it or `cleartext` is true; never `drop`.
    #[must_use]
    pub fn for_own_mail(&self, cleartext: bool) -> Self {
        let mut methods = vec![Method::Tls];
        if cleartext || self.methods.contains(&Method::Cleartext) {
            methods.push(Method::Cleartext);
        }
        Self {
            methods,
            ending: Ending::Bounce,
        }
    }

    /// What is left of this list where only the methods of `allowed` may be used, in the
    /// order of this one, with the ending of `allowed`. Both begin with `tls` as long as
    /// there is nothing else to begin with, so something is left.
    #[must_use]
    pub fn restricted_to(&self, allowed: &Self) -> Self {
        let is_allowed = |method: &&Method| allowed.methods.contains(method);
        Self {
            methods: self.methods.iter().filter(is_allowed).copied().collect(),
            ending: allowed.ending,
        }
    }

    /// The best that the other side has, whatever that is: `tls`, then
    /// `cleartext`. What `[security] observe` delivers by.
    #[must_use]
    pub fn opportunistic() -> Self {
        Self {
            methods: vec![Method::Tls, Method::Cleartext],
            ending: Ending::Bounce,
        }
    }

    /// The methods in the order tried, at least one.
    #[must_use]
    pub fn methods(&self) -> &[Method] {
        &self.methods
    }

    /// What happens when none succeeds.
    #[must_use]
    pub fn ending(&self) -> Ending {
        self.ending
    }
}

impl fmt::Display for MethodsList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for method in &self.methods {
            write!(f, "{method} > ")?;
        }
        f.write_str(match self.ending {
            Ending::Bounce => "bounce",
            Ending::Drop => "drop",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_the_design() {
        let list = |words: &[&str]| MethodsList::parse(words).unwrap().to_string();
        assert_eq!(list(&["tls"]), "tls > bounce");
        assert_eq!(list(&["tls", "bounce"]), "tls > bounce");
        assert_eq!(list(&["tls", "cleartext"]), "tls > cleartext > bounce");
        assert_eq!(list(&["tls", "drop"]), "tls > drop");
        let opportunistic = MethodsList::opportunistic();
        assert_eq!(
            MethodsList::parse(&["tls", "cleartext"]).unwrap(),
            opportunistic
        );
    }

    #[test]
    fn faults_are_named() {
        let fault = |words: &[&str]| MethodsList::parse(words).unwrap_err();
        assert_eq!(fault(&[]), MethodsError::Empty);
        assert_eq!(fault(&["bounce"]), MethodsError::Empty);
        assert_eq!(fault(&["cleartext"]), MethodsError::Cleartext);
        assert_eq!(fault(&["tls", "tls"]), MethodsError::Twice("tls".into()));
        assert_eq!(
            fault(&["tls", "bounce", "drop"]),
            MethodsError::AfterEnding("bounce".into())
        );
        for later in ["pgp", "smime", "escrow", "TLS", ""] {
            assert_eq!(fault(&["tls", later]), MethodsError::Unknown(later.into()));
        }
    }

    #[test]
    fn own_mail_never_drops() {
        let list = MethodsList::parse(&["tls", "drop"]).unwrap();
        assert_eq!(list.for_own_mail(false).to_string(), "tls > bounce");
        assert_eq!(
            list.for_own_mail(true).to_string(),
            "tls > cleartext > bounce"
        );
    }
}
