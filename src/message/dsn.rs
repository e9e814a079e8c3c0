//! What of a message's header may stand in a DSN about it.
//!
//! Owns the `text/rfc822-headers` part (RFC 3462 section 2, RFC 3464 section 2).
//! Holds always: it is made from a list of what is allowed, not of what is not.
//! A DSN may travel in the clear, and nobody knows all the fields that copy a
//! subject (Thread-Topic, X-Subject, Comments, Keywords, a file name in
//! Content-Type): what is not known to be harmless is left out. Called by
//! `outcome`.

use super::headers::{Field, fields};

/// Octets given at most; fields that don't fit any more are left out.
const MAX: usize = 64 * 1024;
/// Octets of a line at most (RFC 5322 section 2.1.1).
const LINE_MAX: usize = 998;

/// Fields that pass as they are: they say who, when and by which way.
const WHOLE: [&str; 8] = [
    "Date",
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Received",
    "MIME-Version",
];
/// Fields of which the message ids pass: In-Reply-To may quote a subject
/// (RFC 5322 section 4.5.4 `obs-in-reply-to`).
const IDS: [&str; 3] = ["Message-ID", "In-Reply-To", "References"];

/// The part of a header section that a DSN may show, 7-bit, without the empty
/// line at its end.
#[must_use]
pub fn headers_for_dsn(header: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for field in fields(header) {
        let Some(shown) = show(&field) else {
            continue;
        };
        if out.len() + shown.len() <= MAX {
            out.extend_from_slice(&shown);
        }
    }
    out
}

/// The field as shown with its line end, if it is.
fn show(field: &Field<'_>) -> Option<Vec<u8>> {
    let is_in = |names: &[&str]| names.iter().any(|name| field.is(name));
    let value = if is_in(&WHOLE) {
        field.value.trim_ascii().to_vec()
    } else if is_in(&IDS) {
        message_ids(&field.unfolded())?
    } else if field.is("Content-Type") {
        media_type(&field.unfolded())?
    } else {
        return None;
    };
    let shown = [field.name.as_bytes(), b": ", &seven_bit(value), b"\r\n"].concat();
    let fits = shown.split(|b| *b == b'\n').all(|l| l.len() <= LINE_MAX);
    fits.then_some(shown)
}

/// The `<...>` of a value, one a line.
fn message_ids(value: &str) -> Option<Vec<u8>> {
    let ids: Vec<&str> = value
        .split('<')
        .skip(1)
        .filter_map(|part| part.split_once('>'))
        .map(|(id, _)| id)
        .filter(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_graphic()))
        .collect();
    let shown = format!("<{}>", ids.join(">\r\n\t<"));
    (!ids.is_empty()).then(|| shown.into_bytes())
}

/// The media type without its parameters, among which may be a file's name.
fn media_type(value: &str) -> Option<Vec<u8>> {
    let (kind, _) = value.split_once(';').unwrap_or((value, ""));
    let kind = kind.trim();
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"/-+._".contains(&b);
    let is_type = !kind.is_empty() && kind.bytes().all(is_token);
    is_type.then(|| kind.as_bytes().to_vec())
}

/// Replaces what is over 127, and control characters but those of a fold.
fn seven_bit(mut value: Vec<u8>) -> Vec<u8> {
    for octet in &mut value {
        if !matches!(octet, b' '..=b'~' | b'\t' | b'\r' | b'\n') {
            *octet = b'?';
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(header: &str) -> String {
        String::from_utf8(headers_for_dsn(header.as_bytes())).unwrap()
    }

    #[test]
    fn no_copy_of_the_subject_passes() {
        for field in [
            "Subject: secret",
            "SUBJECT : secret",
            "subject:\r\n secret",
            "Thread-Topic: secret",
            "X-Subject: secret",
            "Comments: secret",
            "Keywords: secret",
            "Bcc: secret@x",
            "Resent-Bcc: secret@x",
            "Content-Description: secret",
            "X-Whatever: secret",
            "Content-Disposition: attachment; filename=secret",
            "Content-Type: secret thing",
            "Content-Type: text/plain; name=secret",
            "Content-Type: text/plain;\r\n\tname=secret",
            "In-Reply-To: Your message \"secret\" <a@b>",
            "References: secret",
            "secret",
            "Resent-Subject: secret",
            "List-Id: secret",
            "Original-Subject: secret",
        ] {
            let text = shown(&format!(
                "Subject: secret\r\n{field}\r\nTo: a@x\r\nSubject: secret\r\n\r\nsecret\r\n"
            ));
            assert!(!text.contains("secret"), "{field}: {text}");
            assert!(text.ends_with("To: a@x\r\n"));
        }
    }

    #[test]
    fn what_says_who_when_and_which_way_passes() {
        let header = "Received: from a\r\n\tby b; now\r\nDate: x\r\nFrom: Anna <a@x>\r\n\
                      To: b@y,\r\n c@z\r\nMIME-Version: 1.0\r\n";
        assert_eq!(shown(header), header);
        assert_eq!(
            shown("References: <a@b>\r\n <c@d> junk\r\nContent-Type: text/plain; charset=x\r\n"),
            "References: <a@b>\r\n\t<c@d>\r\nContent-Type: text/plain\r\n"
        );
    }

    #[test]
    fn it_is_seven_bit_and_bounded() {
        assert_eq!(
            shown("From: J\u{fc}rgen\u{1b} <a@x>\r\n"),
            "From: J??rgen? <a@x>\r\n"
        );
        let many = "To: abc@example\r\n".repeat(10_000);
        let text = shown(&many);
        assert!(text.len() <= MAX && text.len() > MAX - 20);
        assert_eq!(
            shown(&format!("To: {}\r\nCc: a@x\r\n", "x".repeat(2000))),
            "Cc: a@x\r\n"
        );
        assert_eq!(shown(""), "");
    }
}
