//! Methods of delivery and the list that a policy allows.
//!
//! Owns the grammar of design section 3.3: each method once, `cleartext` only
//! directly after `tls`, an ending last (`bounce` is implied). Holds always: a
//! [`MethodsList`] that exists obeys it. Methods that are not built yet are not
//! words of the language.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One way to deliver to one recipient.
///
/// The order is part of the journal's format: new ones go at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Over TLS at the level required.
    Tls,
    /// In the clear, to a host that definitely has no TLS.
    Cleartext,
    /// Encrypted with OpenPGP to the recipient's key, over the best TLS on offer.
    Pgp,
    /// Encrypted with S/MIME to the recipient's certificate, likewise.
    Smime,
}

/// How the octets of a message travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Over TLS above the floor.
    Tls,
    /// Without.
    Cleartext,
}

impl Method {
    /// The word that configuration, audit and logs use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Cleartext => "cleartext",
            Self::Pgp => "pgp",
            Self::Smime => "smime",
        }
    }

    /// Whether it protects the content itself, so that the way there need not.
    #[must_use]
    pub fn protects_content(self) -> bool {
        matches!(self, Self::Pgp | Self::Smime)
    }

    /// How it may travel, the best first.
    #[must_use]
    pub fn transports(self) -> &'static [Transport] {
        match self {
            Self::Tls => &[Transport::Tls],
            Self::Cleartext => &[Transport::Cleartext],
            Self::Pgp | Self::Smime => &[Transport::Tls, Transport::Cleartext],
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
    #[error("unknown method \"{0}\" (known: tls, cleartext, pgp, smime, bounce, drop)")]
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
                "pgp" => methods.push(Method::Pgp),
                "smime" => methods.push(Method::Smime),
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

    /// `tls`, and those of these that protect content where the other side has none.
    #[must_use]
    pub fn usual(pgp: bool, smime: bool) -> Self {
        let mut methods = vec![Method::Tls];
        methods.extend(pgp.then_some(Method::Pgp));
        methods.extend(smime.then_some(Method::Smime));
        Self {
            methods,
            ending: Ending::Bounce,
        }
    }

    /// What a list that may only raise protection leaves of this one: of `wanted`, in its
    /// order and with its ending, those methods that this list has, and those that protect
    /// the content, since they give more than any of the others. Where that is none, this
    /// list stays as it is.
    #[must_use]
    pub fn restricted_to(&self, wanted: &Self) -> Self {
        let may_be = |method: &&Method| method.protects_content() || self.methods.contains(method);
        let methods: Vec<Method> = wanted.methods.iter().filter(may_be).copied().collect();
        match methods.is_empty() {
            true => self.clone(),
            false => Self {
                methods,
                ending: wanted.ending,
            },
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
        assert_eq!(list(&["tls", "pgp", "smime"]), "tls > pgp > smime > bounce");
        assert_eq!(list(&["pgp", "smime", "drop"]), "pgp > smime > drop");
        assert_eq!(
            list(&["tls", "cleartext", "pgp"]),
            "tls > cleartext > pgp > bounce"
        );
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
        for later in ["escrow", "TLS", ""] {
            assert_eq!(fault(&["tls", later]), MethodsError::Unknown(later.into()));
        }
    }

    #[test]
    fn a_list_that_only_raises_takes_away_or_protects_content() {
        let list = |words: &[&str]| MethodsList::parse(words).unwrap();
        let cases: [(&[&str], &[&str], &str); 7] = [
            (&["tls"], &["pgp", "smime"], "pgp > smime > bounce"),
            (&["tls", "cleartext"], &["tls"], "tls > bounce"),
            (&["tls"], &["tls", "cleartext", "drop"], "tls > drop"),
            (
                &["tls", "cleartext"],
                &["tls", "cleartext"],
                "tls > cleartext > bounce",
            ),
            (&["pgp"], &["tls", "pgp"], "pgp > bounce"),
            // Nothing of it may be: what there was stays.
            (&["pgp"], &["tls"], "pgp > bounce"),
            (&["pgp"], &["tls", "cleartext"], "pgp > bounce"),
        ];
        for (before, wanted, left) in cases {
            let left_over = list(before).restricted_to(&list(wanted));
            assert_eq!(left_over.to_string(), left, "{before:?} {wanted:?}");
        }
    }

    #[test]
    fn own_mail_never_drops() {
        let list = MethodsList::parse(&["tls", "pgp", "drop"]).unwrap();
        assert_eq!(list.for_own_mail(false).to_string(), "tls > bounce");
        assert_eq!(
            list.for_own_mail(true).to_string(),
            "tls > cleartext > bounce"
        );
    }
}
