//! The DNS record `_mta-sts.DOMAIN` (RFC 8461 section 3.1).
//!
//! Holds always: the grammar is the RFC's to the letter, but that blanks may end
//! the record; of several records that look like ours the domain has none. No I/O.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The octets of `id` at most.
const ID_MAX: usize = 32;

/// The record's `id`: whoever changes the policy changes it too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PolicyId(String);

impl PolicyId {
    /// 1 to 32 letters and digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=ID_MAX).contains(&text.len());
        let letters = text.bytes().all(|octet| octet.is_ascii_alphanumeric());
        (fits && letters).then(|| Self(text.to_owned()))
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The `id` of the one record that is ours among the TXT records of the name.
///
/// `None` where there is none, more than one, or one that is malformed: then the
/// domain has no policy that could be looked for (section 3.1).
#[must_use]
pub fn find<'a>(records: impl IntoIterator<Item = &'a [u8]>) -> Option<PolicyId> {
    let mut ours = records.into_iter().filter(|record| is_ours(record));
    match (ours.next(), ours.next()) {
        (Some(record), None) => parse(record),
        _ => None,
    }
}

/// Whether it begins with the version (sections 3.1: others are discarded).
fn is_ours(record: &[u8]) -> bool {
    let Some(rest) = record.strip_prefix(b"v=STSv1") else {
        return false;
    };
    let rest = rest.trim_ascii_start();
    rest.first() == Some(&b';')
}

/// One record.
#[must_use]
pub fn parse(record: &[u8]) -> Option<PolicyId> {
    let text = std::str::from_utf8(record).ok()?;
    let mut fields = text.split(';').map(|field| field.trim_matches([' ', '\t']));
    if !text.starts_with("v=STSv1") || fields.next() != Some("v=STSv1") {
        return None;
    }
    let mut id = None;
    let mut fields = fields.peekable();
    while let Some(field) = fields.next() {
        // A delimiter may end the record, and only end it.
        if field.is_empty() && fields.peek().is_none() {
            break;
        }
        let (name, value) = field.split_once('=')?;
        if !is_name(name) {
            return None;
        }
        match name {
            // Of a field that comes twice the first counts (section 3.2).
            "id" if id.is_none() => id = Some(PolicyId::parse(value)?),
            _ if !is_value(value) => return None,
            _ => {}
        }
    }
    id
}

/// `sts-ext-name`.
pub(super) fn is_name(name: &str) -> bool {
    let mut octets = name.bytes();
    let first = octets.next().is_some_and(|o| o.is_ascii_alphanumeric());
    let rest = |o: u8| o.is_ascii_alphanumeric() || matches!(o, b'_' | b'-' | b'.');
    first && name.len() <= 32 && octets.all(rest)
}

/// `sts-ext-value`.
fn is_value(value: &str) -> bool {
    let fits = |o: u8| o.is_ascii_graphic() && !matches!(o, b';' | b'=');
    !value.is_empty() && value.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Option<String> {
        find([text.as_bytes()]).map(|id| id.to_string())
    }

    /// The example of section 3.1, and what the grammar allows beside it.
    #[test]
    fn rfc8461_3_1_records() {
        for (text, expected) in [
            ("v=STSv1; id=20160831085700Z;", "20160831085700Z"),
            ("v=STSv1; id=20160831085700Z", "20160831085700Z"),
            ("v=STSv1;id=1", "1"),
            ("v=STSv1 ;\tid=1 ; ", "1"),
            ("v=STSv1; a=b; id=1; c.d-e_f=!", "1"),
            ("v=STSv1; id=1; id=2;", "1"),
            (
                "v=STSv1; id=abcdefghijklmnopqrstuvwxyz012345;",
                "abcdefghijklmnopqrstuvwxyz012345",
            ),
        ] {
            assert_eq!(id(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn rfc8461_3_1_records_that_are_none() {
        for text in [
            "",
            "v=STSv1",
            "v=STSv1;",
            "v=STSv2; id=1",
            "v=STSv10; id=1",
            "V=STSv1; id=1",
            "v=stsv1; id=1",
            " v=STSv1; id=1",
            "id=1; v=STSv1",
            "v=STSv1; id=",
            "v=STSv1; id=a-b",
            "v=STSv1; id=a b",
            "v=STSv1; ID=1",
            "v=STSv1; id=abcdefghijklmnopqrstuvwxyz0123456",
            "v=STSv1; id=1;;",
            "v=STSv1;; id=1",
            "v=STSv1; id=1; x",
            "v=STSv1; id=1; x=",
            "v=STSv1; id=1; x=y=z",
            "v=STSv1; id=1; -x=y",
            "v=STSv1; id=1; x=\u{e9}",
        ] {
            assert_eq!(id(text), None, "{text:?}");
        }
        assert_eq!(find([&b"v=STSv1; id=\xff"[..]]), None);
    }

    #[test]
    fn e42_two_records_are_none() {
        let ours = &b"v=STSv1; id=1"[..];
        let broken = &b"v=STSv1; id=;"[..];
        let other = &b"google-site-verification=x"[..];
        assert!(find([ours, other]).is_some());
        assert_eq!(find([ours, ours]), None);
        // One that begins like ours is ours, malformed or not.
        assert_eq!(find([broken, ours]), None);
        assert_eq!(find([other]), None);
    }

    proptest::proptest! {
        #[test]
        fn any_octets_are_read_without_harm(octets: Vec<u8>) {
            if let Some(id) = parse(&octets) {
                proptest::prop_assert!((1..=32).contains(&id.as_str().len()));
            }
        }

        #[test]
        fn what_is_written_by_the_grammar_is_read(
            id in "[0-9A-Za-z]{1,32}",
            before in "[ \t]{0,2}", after in "[ \t]{0,2}",
            fields in proptest::collection::vec("[a-hj-z][a-z0-9_.-]{0,5}=[!-:<>-~]{1,9}", 0..4),
            end in "(;[ \t]?)?",
        ) {
            let mut text = format!("v=STSv1{before};{after}id={id}");
            for field in fields {
                text += &format!("{before};{after}{field}");
            }
            text += &end;
            let read = find([text.as_bytes()]);
            proptest::prop_assert_eq!(read.as_ref().map(PolicyId::as_str), Some(id.as_str()));
        }
    }
}
