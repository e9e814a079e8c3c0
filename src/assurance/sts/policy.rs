//! The policy file (RFC 8461 section 3.2), and which hosts it lists (section 4.1).
//!
//! Holds always: what is not valid to the RFC's grammar is no policy; unknown
//! fields are ignored; a wildcard stands for exactly one label. No I/O.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::record::is_name;
use crate::types::{Domain, StsMode};

/// Octets of a policy at most (section 3.3).
pub(super) const OCTETS_MAX: usize = 64 * 1024;
/// `max_age` at most, in seconds: about a year (section 3.2).
const MAX_AGE: u64 = 31_557_600;
/// Patterns kept of one policy; 64 KiB hold thousands, nobody has so many hosts.
const PATTERNS_MAX: usize = 128;

/// Why a text is no policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Not UTF-8, or control characters.
    #[error("it is no text")]
    NoText,
    /// A line is no `key: value`.
    #[error("line {0} is no \"key: value\"")]
    Line(usize),
    /// A value that its key can't have.
    #[error("line {0} has a value that its key can't have")]
    Value(usize),
    /// A key that must be there is not.
    #[error("\"{0}\" is missing")]
    Missing(&'static str),
    /// More hosts than anybody has.
    #[error("it has more than 128 \"mx\"")]
    Crowded,
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// What is to be done with it.
    pub mode: StsMode,
    /// How long it holds from when it was fetched.
    pub max_age: Duration,
    /// The hosts that may take the domain's mail.
    pub mx: Vec<MxPattern>,
}

/// A host's name, or `*.` and the name of a domain for the hosts right below it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MxPattern {
    wildcard: bool,
    name: Domain,
}

impl MxPattern {
    fn parse(text: &str) -> Option<Self> {
        let (wildcard, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        // A name in the RFC's sense is one of letters, digits and hyphens; one of
        // more is never an MX host that a certificate could be for.
        let name = Domain::parse(name).ok()?;
        Some(Self { wildcard, name })
    }

    /// Whether it stands for this host (pitfall E39).
    #[must_use]
    pub fn matches(&self, host: &Domain) -> bool {
        if !self.wildcard {
            return self.name == *host;
        }
        let rest = host.as_str().split_once('.').map(|(_, rest)| rest);
        rest == Some(self.name.as_str())
    }
}

impl fmt::Display for MxPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.wildcard { "*." } else { "" };
        write!(f, "{star}{}", self.name)
    }
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn parse(octets: &[u8]) -> Result<Self, PolicyError> {
        let text = std::str::from_utf8(octets).map_err(|_| PolicyError::NoText)?;
        let mut draft = Draft::default();
        let mut lines = text.split('\n').enumerate().peekable();
        while let Some((at, line)) = lines.next() {
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.chars().any(|c| c.is_control() && c != '\t') {
                return Err(PolicyError::NoText);
            }
            // Nothing behind the last line end.
            if line.is_empty() && lines.peek().is_none() && at > 0 {
                break;
            }
            draft.take(line, at + 1)?;
        }
        draft.finish()
    }

    /// Whether mail for the domain may go to this host.
    #[must_use]
    pub fn lists(&self, host: &Domain) -> bool {
        self.mx.iter().any(|pattern| pattern.matches(host))
    }
}

/// The fields as they come.
#[derive(Default)]
struct Draft {
    version: bool,
    mode: Option<StsMode>,
    max_age: Option<Duration>,
    mx: Vec<MxPattern>,
}

impl Draft {
    fn take(&mut self, line: &str, number: usize) -> Result<(), PolicyError> {
        let wrong = PolicyError::Value(number);
        let (key, value) = line.split_once(':').ok_or(PolicyError::Line(number))?;
        let value = value.trim_matches([' ', '\t']);
        if !is_name(key) || value.is_empty() {
            return Err(PolicyError::Line(number));
        }
        match key {
            // Of a key that comes twice the first counts, but for `mx`.
            "version" if !self.version => {
                if value != "STSv1" {
                    return Err(wrong);
                }
                self.version = true;
            }
            "mode" if self.mode.is_none() => {
                self.mode = Some(StsMode::parse(value).ok_or(wrong)?);
            }
            "max_age" if self.max_age.is_none() => {
                self.max_age = Some(parse_age(value).ok_or(wrong)?);
            }
            "mx" => {
                if self.mx.len() == PATTERNS_MAX {
                    return Err(PolicyError::Crowded);
                }
                let pattern = MxPattern::parse(value).ok_or(wrong)?;
                if !self.mx.contains(&pattern) {
                    self.mx.push(pattern);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<Policy, PolicyError> {
        if !self.version {
            return Err(PolicyError::Missing("version"));
        }
        let mode = self.mode.ok_or(PolicyError::Missing("mode"))?;
        let max_age = self.max_age.ok_or(PolicyError::Missing("max_age"))?;
        // Without hosts only `none` makes sense.
        if self.mx.is_empty() && mode != StsMode::None {
            return Err(PolicyError::Missing("mx"));
        }
        Ok(Policy {
            mode,
            max_age,
            mx: self.mx,
        })
    }
}

/// `1*10(DIGIT)`, cut down to a year.
fn parse_age(text: &str) -> Option<Duration> {
    let digits = text.bytes().all(|octet| octet.is_ascii_digit());
    if !digits || text.len() > 10 {
        return None;
    }
    let seconds: u64 = text.parse().ok()?;
    Some(Duration::from_secs(seconds.min(MAX_AGE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "version: STSv1\nmode: enforce\nmx: mail.example.com\n\
                           mx: *.example.net\nmx: backupmx.example.com\nmax_age: 604800\n";

    fn parse(text: &str) -> Result<Policy, PolicyError> {
        Policy::parse(text.as_bytes())
    }

    fn domain(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    /// The example of section 3.2, in every legal spelling.
    #[test]
    fn rfc8461_3_2_policies() {
        let policy = parse(EXAMPLE).unwrap();
        assert_eq!(policy.mode, StsMode::Enforce);
        assert_eq!(policy.max_age, Duration::from_secs(604_800));
        let mx: Vec<String> = policy.mx.iter().map(ToString::to_string).collect();
        assert_eq!(
            mx,
            ["mail.example.com", "*.example.net", "backupmx.example.com"]
        );
        for spelling in [
            EXAMPLE.replace('\n', "\r\n"),
            EXAMPLE.trim_end().to_owned(),
            EXAMPLE.replace(": ", ":"),
            EXAMPLE.replace(": ", ":\t "),
            EXAMPLE.replace('\n', "  \n"),
            EXAMPLE.replace("mail.example.com", "MAIL.Example.COM"),
            format!("{EXAMPLE}x-note: a: b; c=\u{e9}\n"),
            format!("{EXAMPLE}mode: none\nversion: STSv2\nmax_age: 1\n"),
            format!("{EXAMPLE}mx: mail.example.com\n"),
        ] {
            assert_eq!(parse(&spelling).as_ref(), Ok(&policy), "{spelling}");
        }
        let none = parse("version: STSv1\nmode: none\nmax_age: 86400\n").unwrap();
        assert_eq!((none.mode, none.mx.len()), (StsMode::None, 0));
    }

    #[test]
    fn rfc8461_3_2_texts_that_are_no_policy() {
        use PolicyError::{Line, Missing, NoText, Value};
        for (text, error) in [
            ("", Line(1)),
            ("<html></html>", Line(1)),
            ("version: STSv2\n", Value(1)),
            ("version: STSv1\n\nmode: none\nmax_age: 1\n", Line(2)),
            ("version: STSv1\n: x\n", Line(2)),
            ("version: STSv1\nmode:\n", Line(2)),
            ("version: STSv1\nmode : none\n", Line(2)),
            ("version: STSv1\nmode: Enforce\n", Value(2)),
            ("version: STSv1\nmode: enforced\n", Value(2)),
            ("version: STSv1\nmode: none\nmax_age: -1\n", Value(3)),
            ("version: STSv1\nmode: none\nmax_age: 1d\n", Value(3)),
            (
                "version: STSv1\nmode: none\nmax_age: 12345678901\n",
                Value(3),
            ),
            ("version: STSv1\nmx: a b\n", Value(2)),
            ("version: STSv1\nmx: *.\n", Value(2)),
            ("version: STSv1\nmx: a.*.example\n", Value(2)),
            ("version: STSv1\nmx: *a.example\n", Value(2)),
            ("version: STSv1\nmode: none\u{0}\n", NoText),
            ("version: STSv1\rmode: none\n", NoText),
            ("mode: none\nmax_age: 1\n", Missing("version")),
            ("version: STSv1\nmax_age: 1\n", Missing("mode")),
            (
                "version: STSv1\nmode: none\nmx: a.example\n",
                Missing("max_age"),
            ),
            ("version: STSv1\nmode: enforce\nmax_age: 1\n", Missing("mx")),
            ("version: STSv1\nmode: testing\nmax_age: 1\n", Missing("mx")),
        ] {
            assert_eq!(parse(text), Err(error), "{text:?}");
        }
        assert_eq!(Policy::parse(b"version: STSv1\xff"), Err(NoText));
        let crowd: String = (0..300).map(|n| format!("mx: m{n}.example\n")).collect();
        let crowd = format!("version: STSv1\nmode: enforce\nmax_age: 1\n{crowd}");
        assert_eq!(parse(&crowd), Err(PolicyError::Crowded));
    }

    #[test]
    fn e43_max_age_is_cut_down_to_a_year() {
        let aged = |age: &str| {
            let text = EXAMPLE.replace("604800", age);
            parse(&text).unwrap().max_age.as_secs()
        };
        assert_eq!(aged("0"), 0);
        assert_eq!(aged("31557600"), 31_557_600);
        assert_eq!(aged("31557601"), 31_557_600);
        assert_eq!(aged("9999999999"), 31_557_600);
    }

    /// Section 4.1.
    #[test]
    fn e39_a_wildcard_is_one_label() {
        for (pattern, host, expected) in [
            ("mail.example.com", "mail.example.com", true),
            ("mail.example.com", "MAIL.example.com.", true),
            ("mail.example.com", "a.mail.example.com", false),
            ("example.com", "mail.example.com", false),
            ("*.example.com", "mail.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "a.mail.example.com", false),
            ("*.example.com", "mailexample.com", false),
            ("*.example.com", "mail.example.com.evil.example", false),
            ("*.com", "example.com", true),
            ("*.b\u{fc}cher.example", "mx.xn--bcher-kva.example", true),
        ] {
            let pattern = MxPattern::parse(pattern).unwrap();
            assert_eq!(pattern.matches(&domain(host)), expected, "{pattern} {host}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_octets_are_read_without_harm(octets: Vec<u8>) {
            if let Ok(policy) = Policy::parse(&octets) {
                proptest::prop_assert!(policy.max_age <= Duration::from_secs(MAX_AGE));
            }
        }

        #[test]
        fn what_is_written_is_read(
            mode in "(enforce|testing|none)", age in 0u64..40_000_000,
            hosts in proptest::collection::vec(r"(\*\.)?[a-z]{1,8}\.example", 1..6),
            end in "\r?\n",
        ) {
            let mx: String = hosts.iter().map(|host| format!("mx: {host}{end}")).collect();
            let text = format!("version: STSv1{end}mode: {mode}{end}{mx}max_age: {age}{end}");
            let policy = parse(&text).unwrap();
            proptest::prop_assert_eq!(policy.mode.as_str(), mode);
            proptest::prop_assert_eq!(policy.max_age.as_secs(), age.min(MAX_AGE));
            for host in hosts {
                proptest::prop_assert!(policy.mx.iter().any(|mx| mx.to_string() == host));
                let (named, below) = match host.strip_prefix("*.") {
                    Some(rest) => (format!("any.{rest}"), format!("a.any.{rest}")),
                    None => (host.clone(), format!("other.{host}")),
                };
                proptest::prop_assert!(policy.lists(&domain(&named)));
                let other = policy.lists(&domain(&below));
                let wild = |h: &String| h.starts_with("*.");
                proptest::prop_assert!(!other || policy.mx.iter().any(|p| wild(&p.to_string())));
            }
        }
    }
}
