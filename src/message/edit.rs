//! Edits of a header section that rules ask for on the way out.
//!
//! Owns taking a tag out of the Subject, and fields in and out. Holds always: what is
//! not edited is passed on octet for octet; a Subject is written anew only where its tag
//! is hidden in an encoded word (RFC 2047); a field that is added stands last, so that
//! trace fields stay on top. Called by `delivery`.

use mail_builder::headers::Header as _;
use mail_builder::headers::text::Text;

use super::content::decoded;
use super::headers::{Field, fields};
use crate::types::HeaderEdits;

/// The section with these edits made.
#[must_use]
pub fn edit_header(section: &[u8], edits: &HeaderEdits) -> Vec<u8> {
    let mut edited = Vec::with_capacity(section.len());
    let mut at = 0;
    for field in fields(section) {
        edited.extend_from_slice(section.get(at..field.range.start).unwrap_or_default());
        at = field.range.end;
        if edits.remove.iter().any(|name| field.is(name)) {
            continue;
        }
        let whole = section.get(field.range.clone()).unwrap_or_default();
        match field.is("Subject") {
            true => edited.extend(stripped(&field, whole, &edits.strip_subject)),
            false => edited.extend_from_slice(whole),
        }
    }
    let rest = section.get(at..).unwrap_or_default();
    // What is left may hold lines that are no fields, and ends with the empty line.
    let (lines, end) = match rest.strip_suffix(b"\r\n") {
        Some(lines) if lines.is_empty() || lines.ends_with(b"\r\n") => (lines, &b"\r\n"[..]),
        _ => (rest, &b""[..]),
    };
    edited.extend_from_slice(lines);
    for line in &edits.add {
        edited.extend_from_slice(line.as_bytes());
        edited.extend_from_slice(b"\r\n");
    }
    edited.extend_from_slice(end);
    edited
}

/// A Subject field without the tags.
fn stripped(field: &Field<'_>, whole: &[u8], tags: &[String]) -> Vec<u8> {
    let mut octets = whole.to_vec();
    for tag in tags.iter().filter(|tag| !tag.is_empty()) {
        // The name holds no tag that is looked for behind it.
        while let Some(at) = find(octets.get(field.name.len()..).unwrap_or_default(), tag) {
            let start = field.name.len() + at;
            let end = start + tag.len();
            // One of the blanks on both sides goes with it.
            let blank = octets.get(end) == Some(&b' ') && octets.get(start - 1) == Some(&b' ');
            octets.drain(start..end + usize::from(blank));
        }
    }
    let value = octets.get(field.name.len()..).unwrap_or_default();
    let colon = value.iter().position(|octet| *octet == b':');
    let value = colon.and_then(|at| value.get(at + 1..)).unwrap_or_default();
    let seen = decoded(value);
    let lower = seen.to_lowercase();
    match tags
        .iter()
        .any(|tag| !tag.is_empty() && lower.contains(tag.as_str()))
    {
        true => written(&without(&seen, tags)),
        false => octets,
    }
}

/// Where a text that is in lower case stands, in any case of ASCII letters.
fn find(octets: &[u8], text: &str) -> Option<usize> {
    let text = text.as_bytes();
    let mut places = octets.windows(text.len());
    places.position(|window| window.eq_ignore_ascii_case(text))
}

/// A text without the tags, of whatever case their letters are.
fn without(text: &str, tags: &[String]) -> String {
    let mut text = text.to_owned();
    for tag in tags.iter().filter(|tag| !tag.is_empty()) {
        while let Some((start, end)) = place(&text, tag) {
            text.replace_range(start..end, "");
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Where in the text something stands that is `tag` in lower case.
fn place(text: &str, tag: &str) -> Option<(usize, usize)> {
    text.char_indices().find_map(|(start, _)| {
        let mut lower = String::new();
        for (at, c) in text.get(start..)?.char_indices() {
            lower.extend(c.to_lowercase());
            if lower == tag {
                return Some((start, start + at + c.len_utf8()));
            }
            if !tag.starts_with(lower.as_str()) {
                return None;
            }
        }
        None
    })
}

/// A Subject field of this text.
fn written(text: &str) -> Vec<u8> {
    let mut octets = b"Subject: ".to_vec();
    // Writing to a Vec can't fail.
    Text::new(text).write_header(&mut octets, 9);
    let end = octets.trim_ascii_end().len();
    octets.truncate(end);
    octets.extend_from_slice(b"\r\n");
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edits(strip: &[&str], remove: &[&str], add: &[&str]) -> HeaderEdits {
        let all = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        HeaderEdits {
            strip_subject: all(strip),
            remove: all(remove),
            add: all(add),
        }
    }

    fn edited(section: &str, edits: &HeaderEdits) -> String {
        String::from_utf8(edit_header(section.as_bytes(), edits)).unwrap()
    }

    #[test]
    fn tags_leave_the_subject_and_nothing_else() {
        let tag = edits(&["[encrypt]"], &[], &[]);
        for (subject, left) in [
            ("Subject: [encrypt] hello\r\n", "Subject: hello\r\n"),
            ("Subject: Re: [ENCRYPT] hello\r\n", "Subject: Re: hello\r\n"),
            ("subject:[encrypt]hello\r\n", "subject:hello\r\n"),
            ("Subject: hello [encrypt]\r\n", "Subject: hello \r\n"),
            ("Subject: a\r\n [encrypt] b\r\n", "Subject: a\r\n b\r\n"),
            ("Subject: [encrypt][encrypt] x\r\n", "Subject: x\r\n"),
            ("Subject: encrypt\r\n", "Subject: encrypt\r\n"),
            // Hidden in an encoded word: written anew.
            (
                "Subject: =?utf-8?B?W2VuY3J5cHRd?= hello\r\n",
                "Subject: hello\r\n",
            ),
        ] {
            let section = |subject: &str| format!("X: [encrypt]\r\n  y\r\n{subject}To : a\r\n\r\n");
            assert_eq!(edited(&section(subject), &tag), section(left), "{subject}");
        }
    }

    #[test]
    fn encoded_subjects_stay_readable() {
        let tag = edits(&["[geheim]"], &[], &[]);
        let section = "Subject: =?utf-8?B?W0dlaGVpbV0gR3LDvMOfZQ==?=\r\n\r\n";
        let left = edited(section, &tag);
        assert!(left.is_ascii());
        let field = fields(left.as_bytes()).next().unwrap();
        assert_eq!(decoded(field.value), "Grüße");
    }

    #[test]
    fn fields_come_and_go() {
        let edits = edits(&[], &["x-tag"], &["X-Class: secret"]);
        for (section, left) in [
            (
                "A: 1\r\nX-Tag: 2\r\n 3\r\nB: 4\r\nx-tag: 5\r\n\r\n",
                "A: 1\r\nB: 4\r\nX-Class: secret\r\n\r\n",
            ),
            (
                "A: 1\r\njunk\r\n\r\n",
                "A: 1\r\njunk\r\nX-Class: secret\r\n\r\n",
            ),
            ("A: 1\r\n", "A: 1\r\nX-Class: secret\r\n"),
            ("\r\n", "X-Class: secret\r\n\r\n"),
        ] {
            assert_eq!(edited(section, &edits), left, "{section:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn without_edits_nothing_changes(section in proptest::collection::vec(
            proptest::sample::select(b"Subject: [x]\r\n\xff".to_vec()), 0..80)) {
            proptest::prop_assert_eq!(edit_header(&section, &HeaderEdits::default()), section);
        }

        #[test]
        fn any_octets_will_do(section in proptest::collection::vec(
            proptest::sample::select(b"Subject: [x]=?utf-8?QB\r\n\xff".to_vec()), 0..80)) {
            let section = [b"Subject: ", section.as_slice()].concat();
            let _ = edit_header(&section, &edits(&["[x]", "x"], &["t"], &["A: b"]));
        }
    }
}
