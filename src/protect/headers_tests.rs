//! Tests of what is outside and inside.

use super::*;

fn cut(message: &str) -> (String, String, String) {
    let parts = Parts::of(message.as_bytes()).unwrap();
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
    (
        text(parts.outer()),
        text(parts.inner()),
        text(parts.body().to_vec()),
    )
}

#[test]
fn a_message_of_the_usual_kind() {
    let message = "Received: from a\r\n\tby b; now\r\nFrom: Anna <a@x>\r\nTo: b@y\r\nBcc: c@z\r\n\
        Subject: your\r\n blood test\r\nThread-Topic: blood test\r\nKeywords: blood\r\nMIME-Version: 1.0\r\n\
        Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nbody\r\n";
    let (outer, inner, body) = cut(message);
    assert_eq!(
        outer,
        "Received: from a\r\n\tby b; now\r\nFrom: Anna <a@x>\r\nTo: b@y\r\nSubject: [...]\r\n"
    );
    assert_eq!(
        inner,
        "HP-Outer: From: Anna <a@x>\r\nHP-Outer: To: b@y\r\nHP-Outer: Subject: [...]\r\n\
         Content-Type: text/plain;\r\n hp=\"cipher\"; charset=utf-8\r\n\
         From: Anna <a@x>\r\nTo: b@y\r\nSubject: your\r\n blood test\r\nThread-Topic: blood test\r\n\
         Keywords: blood\r\nMIME-Version: 1.0\r\n\
         Content-Transfer-Encoding: 8bit\r\n\r\n"
    );
    assert_eq!(body, "body\r\n");
}

#[test]
fn nothing_of_the_content_shows_outside() {
    for field in [
        "Subject: secret",
        "SUBJECT : secret",
        "subject:\r\n secret",
        "Thread-Topic: secret",
        "Comments: secret",
        "Keywords: secret",
        "Bcc: secret@x",
        "Resent-Bcc: secret@x",
        "Content-Description: secret",
        "X-Whatever: secret",
        "DKIM-Signature: z=Subject:secret",
        "Content-Type: text/plain; name=secret",
        "In-Reply-To: Your message \"secret\" <a@b>",
        "References: secret",
        "List-Id: secret",
        "HP-Outer: Subject: secret",
        "secret",
        "secret\r\n secret",
    ] {
        let message = format!("Subject: x\r\n{field}\r\nTo: a@x\r\n\r\nsecret\r\n");
        let (outer, inner, body) = cut(&message);
        assert!(!outer.contains("secret"), "{field}: {outer}");
        assert!(outer.ends_with("To: a@x\r\n") && outer.contains("Subject: [...]\r\n"));
        let nowhere = field.contains("cc: ") || field.starts_with("HP-Outer");
        assert_eq!(inner.contains("secret"), !nowhere, "{field}: {inner}");
        assert_eq!(body, "secret\r\n");
    }
}

#[test]
fn odd_headers_stay_whole_inside() {
    for (message, wanted, body) in [
        ("", "Content-Type: text/plain; hp=\"cipher\"\r\n\r\n", ""),
        (
            "no field here\r\n\r\nbody",
            "Content-Type: text/plain; hp=\"cipher\"\r\n\r\n",
            "no field here\r\n\r\nbody",
        ),
        (
            "\r\nbody\r\n",
            "Content-Type: text/plain; hp=\"cipher\"\r\n\r\n",
            "body\r\n",
        ),
        (
            "X: a\r\njunk\r\nY: b\r\n\r\nbody",
            "Content-Type: text/plain; hp=\"cipher\"\r\nX: a\r\njunk\r\nY: b\r\n\r\n",
            "body",
        ),
        (
            "X: a",
            "Content-Type: text/plain; hp=\"cipher\"\r\nX: a\r\n\r\n",
            "",
        ),
        (
            "X: a\r\n",
            "Content-Type: text/plain; hp=\"cipher\"\r\nX: a\r\n\r\n",
            "",
        ),
    ] {
        let (_, inner, rest) = cut(message);
        assert_eq!((inner.as_str(), rest.as_str()), (wanted, body), "{message}");
    }
}

#[test]
fn content_types_get_the_parameter() {
    for (value, wanted) in [
        (" text/html\r\n", " text/html;\r\n hp=\"cipher\"\r\n"),
        (" text/html;\r\n", " text/html;\r\n hp=\"cipher\"\r\n"),
        (
            " multipart/mixed;\r\n\tboundary=\"a;b\"\r\n",
            " multipart/mixed;\r\n hp=\"cipher\";\r\n\tboundary=\"a;b\"\r\n",
        ),
        (
            " text/html (a;b); x=1\r\n",
            " text/html (a;b);\r\n hp=\"cipher\"; x=1\r\n",
        ),
        (
            " text/html (a; x=1\r\n",
            " text/html (a;\r\n hp=\"cipher\"; x=1\r\n",
        ),
        ("\r\n", " text/plain;\r\n hp=\"cipher\"\r\n"),
        (
            " a/b; HP = clear; hp*=x; php=1\r\n",
            " a/b;\r\n hp=\"cipher\"; x-HP = clear; x-hp*=x; php=1\r\n",
        ),
    ] {
        let made = String::from_utf8(with_parameter(value.as_bytes())).unwrap();
        assert_eq!(made, wanted, "{value:?}");
    }
}

#[test]
fn boundaries_differ() {
    let entropy = crate::sys::SystemEntropy::default();
    let (a, b) = (boundary(&entropy).unwrap(), boundary(&entropy).unwrap());
    assert!(a != b && a.len() == 32);
}

proptest::proptest! {
    /// Whatever comes: the body is whole, the section ends where it should, and
    /// every field but those of the outside is inside.
    #[test]
    fn what_goes_in_is_inside(
        names in proptest::collection::vec(proptest::sample::select(vec![
            "From", "Bcc", "Subject", "X-A", "Content-Type", "Received", "junk line"]), 0..6),
        value in "[ -~]{0,20}",
        body in proptest::collection::vec(proptest::sample::select(b"a:-\r\n\xff".to_vec()), 0..40),
    ) {
        let mut message = Vec::new();
        for name in &names {
            let colon = if name.contains(' ') { "" } else { ": " };
            message.extend_from_slice(format!("{name}{colon}{value}\r\n").as_bytes());
        }
        message.extend_from_slice(b"\r\n");
        message.extend_from_slice(&body);
        let parts = Parts::of(&message).unwrap();
        let (outer, inner) = (parts.outer(), parts.inner());
        proptest::prop_assert_eq!([parts.header, parts.body].concat(), message.clone());
        proptest::prop_assert!(inner.ends_with(b"\r\n\r\n") || inner == b"\r\n");
        let found = |octets: &[u8], name: &str| fields(octets).filter(|f| f.is(name)).count();
        if names.first() != Some(&"junk line") {
            for name in ["From", "Subject", "X-A"] {
                proptest::prop_assert_eq!(found(&inner, name), names.iter().filter(|n| **n == name).count());
            }
            proptest::prop_assert_eq!(found(&outer, "From"), found(&inner, "From"));
        }
        for name in ["Bcc", "X-A", "Content-Type"] {
            proptest::prop_assert_eq!(found(&outer, name), 0);
        }
        proptest::prop_assert_eq!(found(&inner, "Bcc") + found(&inner, "Received"), 0);
    }
}
