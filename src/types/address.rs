//! Domains and mailboxes; parsing is the only constructor.
//!
//! Owns what an address is (RFC 5321 sections 2.3.11, 4.1.2, 4.1.3). Holds
//! always: a [`Domain`] is lower-case A-labels without a trailing dot, so two
//! spellings of one domain compare equal; a [`Mailbox`] prints as a valid path.
//! Called by every room that reads an address from outside.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Octets of a local part at most (RFC 5321 section 4.5.3.1.1).
const LOCAL_MAX: usize = 64;
/// Octets of a domain at most (RFC 5321 section 4.5.3.1.2).
const DOMAIN_MAX: usize = 255;
/// Octets of a path with its angle brackets at most (RFC 5321 section 4.5.3.1.3).
const PATH_MAX: usize = 256;

/// Why a text is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not of the grammar of RFC 5321 section 4.1.2.
    #[error("not a valid address")]
    Syntax,
    /// There is no domain after the local part.
    #[error("the address has no domain")]
    NoDomain,
    /// Not a domain name (RFC 5321 section 2.3.5, RFC 5890).
    #[error("not a valid domain name")]
    Domain,
    /// Not an address literal (RFC 5321 section 4.1.3).
    #[error("not a valid address literal")]
    Literal,
    /// Longer than RFC 5321 section 4.5.3.1 allows.
    #[error("the address is too long")]
    TooLong,
    /// A local part outside ASCII, which needs SMTPUTF8 (RFC 6531 section 3.5).
    #[error("the address needs SMTPUTF8, which is not offered")]
    NonAscii,
}

/// A domain name: lower-case A-labels, no trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Domain(Box<str>);

impl Domain {
    /// Reads a domain name: any case, U-labels or A-labels, with or without a
    /// trailing dot.
    ///
    /// # Errors
    /// [`AddressError::Domain`] or [`AddressError::TooLong`].
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(AddressError::Domain);
        }
        let name = if text.is_ascii() {
            text.to_ascii_lowercase()
        } else {
            idna::domain_to_ascii(text).map_err(|_| AddressError::Domain)?
        };
        if name.len() > DOMAIN_MAX {
            return Err(AddressError::TooLong);
        }
        if !name.split('.').all(is_label) {
            return Err(AddressError::Domain);
        }
        Ok(Self(name.into_boxed_str()))
    }

    /// The name, e.g. `clinic.example`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is a proper subdomain of `parent`.
    #[must_use]
    pub fn is_subdomain_of(&self, parent: &Domain) -> bool {
        self.0
            .strip_suffix(&*parent.0)
            .is_some_and(|head| head.ends_with('.'))
    }
}

/// A label of letters, digits, hyphens and, as the field has them, underscores.
fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= 63
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Domain {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Domain {
    type Error = AddressError;
    fn try_from(text: String) -> Result<Self, AddressError> {
        Self::parse(&text)
    }
}

impl From<Domain> for String {
    fn from(domain: Domain) -> Self {
        domain.0.into()
    }
}

/// What follows the `@`: a domain or an address literal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Host {
    /// A domain name.
    Domain(Domain),
    /// An address literal, `[192.0.2.1]` or `[IPv6:2001:db8::1]`.
    Literal(IpAddr),
}

impl Host {
    /// Reads a domain or, in square brackets, an address literal.
    ///
    /// # Errors
    /// [`AddressError::Domain`], [`AddressError::Literal`] or
    /// [`AddressError::TooLong`].
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let Some(inner) = text.strip_prefix('[') else {
            return Domain::parse(text).map(Self::Domain);
        };
        let inner = inner.strip_suffix(']').ok_or(AddressError::Literal)?;
        let is_v6 = inner
            .get(..5)
            .is_some_and(|p| p.eq_ignore_ascii_case("IPv6:"));
        let ip = if is_v6 {
            inner[5..].parse::<Ipv6Addr>().map(IpAddr::V6)
        } else {
            inner.parse::<Ipv4Addr>().map(IpAddr::V4)
        };
        ip.map(Self::Literal).map_err(|_| AddressError::Literal)
    }

    /// The domain, if it is one.
    #[must_use]
    pub fn domain(&self) -> Option<&Domain> {
        match self {
            Self::Domain(domain) => Some(domain),
            Self::Literal(_) => None,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain(domain) => domain.fmt(f),
            Self::Literal(IpAddr::V4(ip)) => write!(f, "[{ip}]"),
            Self::Literal(IpAddr::V6(ip)) => write!(f, "[IPv6:{ip}]"),
        }
    }
}

/// A mailbox, `local@host`. The local part is kept as written, unquoted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mailbox {
    local: Box<str>,
    host: Host,
}

impl Mailbox {
    /// Reads `local@host`, without angle brackets or source route.
    ///
    /// # Errors
    /// Any [`AddressError`].
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (local, rest) = split_local(text)?;
        let host = match rest.strip_prefix('@') {
            Some(host) => Host::parse(host)?,
            None if rest.is_empty() => return Err(AddressError::NoDomain),
            None => return Err(AddressError::Syntax),
        };
        Self::new(&local, host)
    }

    /// Joins a local part (unquoted) and a host.
    ///
    /// # Errors
    /// [`AddressError::TooLong`], [`AddressError::NonAscii`] or
    /// [`AddressError::Syntax`] (control characters).
    pub fn new(local: &str, host: Host) -> Result<Self, AddressError> {
        if !local.is_ascii() {
            return Err(AddressError::NonAscii);
        }
        if local.bytes().any(|b| b.is_ascii_control()) {
            return Err(AddressError::Syntax);
        }
        let mailbox = Self {
            local: local.into(),
            host,
        };
        if local.len() > LOCAL_MAX || mailbox.to_string().len() + 2 > PATH_MAX {
            return Err(AddressError::TooLong);
        }
        Ok(mailbox)
    }

    /// The local part, unquoted, as written.
    #[must_use]
    pub fn local(&self) -> &str {
        &self.local
    }

    /// What follows the `@`.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The domain, unless the host is an address literal.
    #[must_use]
    pub fn domain(&self) -> Option<&Domain> {
        self.host.domain()
    }
}

/// Splits off a local part; gives it unquoted with what follows it.
///
/// # Errors
/// [`AddressError::Syntax`] or [`AddressError::NonAscii`].
fn split_local(text: &str) -> Result<(String, &str), AddressError> {
    match text.strip_prefix('"') {
        Some(rest) => split_quoted(rest),
        None => {
            let end = text.find('@').unwrap_or(text.len());
            let (local, rest) = text.split_at(end);
            if !local.is_ascii() {
                return Err(AddressError::NonAscii);
            }
            if is_dot_string(local) {
                Ok((local.to_owned(), rest))
            } else {
                Err(AddressError::Syntax)
            }
        }
    }
}

/// Reads a quoted string behind its opening quote (RFC 5321 `Quoted-string`).
fn split_quoted(text: &str) -> Result<(String, &str), AddressError> {
    let mut local = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((local, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, escaped @ ' '..='~')) => local.push(escaped),
                _ => return Err(AddressError::Syntax),
            },
            ' '..='~' => local.push(c),
            c if !c.is_ascii() => return Err(AddressError::NonAscii),
            _ => return Err(AddressError::Syntax),
        }
    }
    Err(AddressError::Syntax)
}

/// RFC 5321 `Dot-string`: atoms joined by single dots.
fn is_dot_string(local: &str) -> bool {
    local
        .split('.')
        .all(|atom| !atom.is_empty() && atom.bytes().all(is_atext))
}

/// RFC 5322 section 3.2.3 `atext`.
fn is_atext(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b)
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_string(&self.local) {
            return write!(f, "{}@{}", self.local, self.host);
        }
        f.write_str("\"")?;
        for c in self.local.chars() {
            if matches!(c, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        write!(f, "\"@{}", self.host)
    }
}

impl FromStr for Mailbox {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Mailbox {
    type Error = AddressError;
    fn try_from(text: String) -> Result<Self, AddressError> {
        Self::parse(&text)
    }
}

impl From<Mailbox> for String {
    fn from(mailbox: Mailbox) -> Self {
        mailbox.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i17_spellings_of_one_domain_are_equal() {
        let plain = Domain::parse("xn--bcher-kva.example").unwrap();
        for text in ["BÜCHER.example", "bücher.example.", "XN--BCHER-KVA.Example"] {
            assert_eq!(Domain::parse(text).unwrap(), plain, "{text}");
        }
    }

    #[test]
    fn bad_domains_are_refused() {
        for text in [
            "",
            ".",
            "a..b",
            "-a.example",
            "a-.example",
            "a b",
            "a@b",
            &"a".repeat(64),
        ] {
            assert!(Domain::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn i14_quoted_local_parts_survive() {
        for text in [
            "\"a@b\"@x.example",
            "\"a b\"@x.example",
            "\"a\\\"b\\\\\"@x.example",
        ] {
            assert_eq!(Mailbox::parse(text).unwrap().to_string(), text);
        }
        // Quotes that aren't needed are dropped: the mailbox is the same.
        assert_eq!(
            Mailbox::parse("\"plain\"@x.example").unwrap(),
            Mailbox::parse("plain@x.example").unwrap()
        );
    }

    #[test]
    fn i14_lengths() {
        let local = "a".repeat(64);
        assert!(Mailbox::parse(&format!("{local}@x.example")).is_ok());
        assert_eq!(
            Mailbox::parse(&format!("a{local}@x.example")),
            Err(AddressError::TooLong)
        );
        let long = ["a".repeat(63), "b".repeat(63), "c".repeat(63)].join(".");
        assert_eq!(
            Mailbox::parse(&format!("{local}@{long}.example")),
            Err(AddressError::TooLong)
        );
    }

    #[test]
    fn i16_address_literals() {
        assert_eq!(
            Mailbox::parse("a@[192.0.2.1]").unwrap().host(),
            &Host::Literal("192.0.2.1".parse().unwrap())
        );
        assert_eq!(
            Mailbox::parse("a@[ipv6:2001:db8::1]").unwrap().to_string(),
            "a@[IPv6:2001:db8::1]"
        );
        assert_eq!(Mailbox::parse("a@[192.0.2]"), Err(AddressError::Literal));
    }

    #[test]
    fn i18_non_ascii_local_parts_need_smtputf8() {
        assert_eq!(
            Mailbox::parse("jürgen@x.example"),
            Err(AddressError::NonAscii)
        );
        assert_eq!(
            Mailbox::parse("\"ü\"@x.example"),
            Err(AddressError::NonAscii)
        );
    }

    #[test]
    fn broken_mailboxes_are_refused() {
        for text in [
            "", "@x", "a", "a@", ".a@x", "a.@x", "a..b@x", "a b@x", "\"a@x", "a@x@y", "\"a\"b@x",
        ] {
            assert!(Mailbox::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn subdomains() {
        let parent = Domain::parse("example").unwrap();
        assert!(Domain::parse("a.example").unwrap().is_subdomain_of(&parent));
        assert!(!Domain::parse("anexample").unwrap().is_subdomain_of(&parent));
        assert!(!parent.is_subdomain_of(&parent));
    }
}
