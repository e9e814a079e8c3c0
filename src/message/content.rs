//! Notes of a message's content for policy.
//!
//! Owns the reading of header fields as people see them. Holds always: values are
//! unfolded and their encoded words decoded (RFC 2047), so that a spelling hides
//! nothing; a field that is too long or too frequent to be noted whole is not noted at
//! all. Called by `notes`, with the header section as it came, and by `explain`.

use mail_parser::parsers::MessageStream;

use super::headers::fields;
use crate::types::content::{ContentFacts, Wanted};

/// Octets of a value that is noted.
const VALUE_MAX: usize = 2048;
/// Fields of one name that are noted.
const VALUES_MAX: usize = 16;

/// Looks for the fields that are wanted.
#[must_use]
pub fn content_facts(header: &[u8], wanted: &Wanted) -> ContentFacts {
    let mut found: Vec<(String, Vec<String>)> = wanted
        .names()
        .into_iter()
        .map(|name| (name.to_owned(), Vec::new()))
        .collect();
    let mut too_much = Vec::new();
    for field in fields(header) {
        if let Some((name, values)) = found.iter_mut().find(|(name, _)| field.is(name)) {
            let value = decoded(field.value);
            if values.len() == VALUES_MAX || value.len() > VALUE_MAX {
                too_much.push(name.clone());
            } else {
                values.push(value);
            }
        }
    }
    found.retain(|(name, _)| !too_much.contains(name));
    ContentFacts {
        fields: found,
        ..ContentFacts::default()
    }
}

/// A field's value as people see it: on one line, encoded words decoded, words parted by
/// one blank.
pub(super) fn decoded(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value).replace(['\r', '\n'], "");
    let line = [text.trim().as_bytes(), b"\r\n"].concat();
    let value = MessageStream::new(&line).parse_unstructured();
    let words = value.as_text().unwrap_or_default().split_whitespace();
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(header: &str, name: &str) -> Option<Vec<String>> {
        let wanted = Wanted {
            fields: vec!["x-class".into()],
            ..Wanted::default()
        };
        let facts = content_facts(header.as_bytes(), &wanted);
        facts.values(name).map(<[String]>::to_vec)
    }

    #[test]
    fn values_as_people_see_them() {
        for (header, subject) in [
            ("Subject: [encrypt] hello\r\n\r\n", "[encrypt] hello"),
            ("subject :  [encrypt]\r\n  hello\r\n\r\n", "[encrypt] hello"),
            (
                "SUBJECT: =?utf-8?B?W2VuY3J5cHRd?= hello\r\n\r\n",
                "[encrypt] hello",
            ),
            (
                "Subject: =?utf-8?Q?=5Benc?=\r\n =?utf-8?Q?rypt=5D?= x\r\n\r\n",
                "[encrypt] x",
            ),
            ("Subject: Grüße\r\n\r\n", "Grüße"),
            ("Subject:\r\n\r\n", ""),
        ] {
            assert_eq!(noted(header, "subject").unwrap(), [subject], "{header:?}");
        }
        // Further fields of the name count too, whichever of them a reader shows.
        let twice = noted("Subject: a\r\nSubject: b\r\n\r\n", "subject").unwrap();
        assert_eq!(twice, ["a", "b"]);
    }

    #[test]
    fn what_is_not_there_was_looked_for_and_the_body_is_no_header() {
        assert_eq!(
            noted("To: a\r\n\r\nSubject: b\r\n", "subject"),
            Some(vec![])
        );
        assert_eq!(
            noted("X-Class: red\r\n\r\n", "x-class"),
            Some(vec!["red".into()])
        );
        assert_eq!(noted("X-Other: red\r\n\r\n", "x-other"), None);
        assert_eq!(noted("", "subject"), Some(vec![]));
    }

    #[test]
    fn what_is_too_much_is_not_noted() {
        let long = format!("Subject: {}\r\n\r\n", "x".repeat(VALUE_MAX + 1));
        assert_eq!(noted(&long, "subject"), None);
        let many = "X-Class: a\r\n".repeat(VALUES_MAX + 1);
        assert_eq!(noted(&many, "x-class"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_octets_will_do(header in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let header = [b"Subject: =?utf-8?Q?", header.as_slice()].concat();
            let _ = content_facts(&header, &Wanted::default());
        }
    }
}
