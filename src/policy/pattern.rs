//! Patterns of a rule's conditions.
//!
//! Owns matching (design section 4.2). Holds always: time is linear in pattern
//! and text, so that no rule and no address can make a decision slow; spellings
//! of one domain are equal on both sides (RFC 5321 section 2.3.5, RFC 5890).
//! Called by `decide`.

use crate::types::{AddressError, Domain};

/// A pattern, made ready once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pattern {
    /// Pieces between `*`; a single one is the whole text.
    Pieces(Vec<String>),
    /// `.example`: ends of the text that follow some label.
    Subdomains(String),
}

impl Pattern {
    /// For a text that is compared as it is, but for case.
    pub(super) fn text(text: &str) -> Self {
        Self::Pieces(text.to_lowercase().split('*').map(str::to_owned).collect())
    }

    /// For an address: behind its last `@` there is a domain.
    pub(super) fn address(text: &str) -> Self {
        match text.rsplit_once('@') {
            Some((local, domain)) => Self::text(&format!("{local}@{}", normal(domain))),
            None => Self::text(text),
        }
    }

    /// For a domain: exact, or `.example` for its subdomains.
    pub(super) fn domain(text: &str) -> Self {
        match text.strip_prefix('.') {
            Some(parent) if !parent.contains('*') => {
                Self::Subdomains(format!(".{}", normal(parent)))
            }
            _ => Self::text(&normal(text)),
        }
    }

    /// Whether `text`, in lower case, matches.
    pub(super) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Subdomains(end) => text.len() > end.len() && text.ends_with(end.as_str()),
            Self::Pieces(pieces) => match pieces.as_slice() {
                [] => text.is_empty(),
                [whole] => text == whole,
                [first, middle @ .., last] => between(first, middle, last, text),
            },
        }
    }

    /// Whether this is `""`, which stands for "there is none".
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Pieces(pieces) if matches!(pieces.as_slice(), [whole] if whole.is_empty()))
    }
}

/// Each middle piece is looked for behind the one before it: the first place is
/// always as good as any later one, so nothing is ever tried twice.
fn between(first: &str, middle: &[String], last: &str, text: &str) -> bool {
    let inner = text
        .strip_prefix(first)
        .and_then(|text| text.strip_suffix(last));
    let Some(mut inner) = inner else {
        return false;
    };
    for piece in middle {
        match inner.split_once(piece.as_str()) {
            Some((_, behind)) => inner = behind,
            None => return false,
        }
    }
    true
}

/// A domain pattern's labels as [`Domain`] has them; what holds a `*` stays.
fn normal(domain: &str) -> String {
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    let labels: Vec<String> = domain
        .split('.')
        .map(|label| match Domain::parse(label) {
            Ok(label) => label.into(),
            Err(_) => label.to_lowercase(),
        })
        .collect();
    labels.join(".")
}

/// Whether a text is of use as a domain pattern, for `postern check`: one with a
/// typing error would silently match nothing.
///
/// # Errors
/// The [`AddressError`] of the domain it stands for.
pub fn check_domain_pattern(text: &str) -> Result<(), AddressError> {
    if text.is_empty() || text.starts_with('[') {
        return Ok(());
    }
    let text = text.strip_prefix('.').unwrap_or(text);
    // Any run of characters may stand for the `*`: an `x` is always possible.
    Domain::parse(&text.replace('*', "x")).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, text, matches) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("a*", "abc", true),
            ("a*", "ba", false),
            ("*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "abcd", false),
            ("a*a", "a", false),
            ("ab*ba", "aba", false),
            ("*b*d*", "abcde", true),
            ("*d*b*", "abcde", false),
            ("*a*a*a*", "aa", false),
            ("A*", "abc", true),
            ("*ü*", "grün", true),
            ("a?c", "abc", false),
            ("a.c", "abc", false),
        ] {
            assert_eq!(
                Pattern::text(pattern).matches(text),
                matches,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn i17_domains_match_in_any_spelling() {
        for (pattern, domain, matches) in [
            ("Clinic.Example", "clinic.example", true),
            ("clinic.example.", "clinic.example", true),
            ("clinic.example", "a.clinic.example", false),
            (".clinic.example", "a.clinic.example", true),
            (".clinic.example", "a.b.clinic.example", true),
            (".clinic.example", "clinic.example", false),
            (".clinic.example", "anclinic.example", false),
            ("bücher.example", "xn--bcher-kva.example", true),
            (".BÜCHER.example", "a.xn--bcher-kva.example", true),
            ("*.bücher.example", "a.xn--bcher-kva.example", true),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example", true),
            ("*.example", "a.example", true),
            (".*.example", "a.b.example", false),
            ("*", "a.example", true),
            ("[192.0.2.1]", "[192.0.2.1]", true),
        ] {
            assert_eq!(
                Pattern::domain(pattern).matches(domain),
                matches,
                "{pattern} {domain}"
            );
        }
        assert!(Pattern::address("*@Bücher.example").matches("a@xn--bcher-kva.example"));
        assert!(Pattern::address("Anna*").matches("anna@x.example"));
    }

    #[test]
    fn useless_domain_patterns_are_found() {
        for text in [
            "",
            "a.example",
            ".a.example",
            "*",
            "*.a",
            "bücher.example",
            "[192.0.2.1]",
        ] {
            assert_eq!(check_domain_pattern(text), Ok(()), "{text}");
        }
        for text in ["a..example", "a@b.example", "..a", ".", "a b", "-a.example"] {
            assert!(check_domain_pattern(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_a_naive_matcher(pattern in "[ab*]{0,8}", text in "[ab]{0,8}") {
            fn naive(pattern: &[u8], text: &[u8]) -> bool {
                match pattern.split_first() {
                    None => text.is_empty(),
                    Some((b'*', rest)) => (0..=text.len()).any(|at| naive(rest, &text[at..])),
                    Some((octet, rest)) => text.first() == Some(octet) && naive(rest, &text[1..]),
                }
            }
            proptest::prop_assert_eq!(
                Pattern::text(&pattern).matches(&text),
                naive(pattern.as_bytes(), text.as_bytes())
            );
        }
    }
}
