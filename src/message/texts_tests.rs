//! What is text, how it is decoded, and what can't be counted.

use super::*;
use crate::message::Notes;
use crate::types::Wanted;

/// How often the pattern is in the message; `None`: that can't be told.
fn counted(message: impl AsRef<[u8]>, pattern: &str) -> Option<u32> {
    let message = message.as_ref();
    let pattern = TextPattern::parse(pattern).unwrap();
    let wanted = Wanted {
        fields: Vec::new(),
        patterns: vec![pattern],
    };
    let end = message.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    let (header, body) = message.split_at(end);
    let count = |step: usize| {
        let mut notes = Notes::new(header, &wanted);
        body.chunks(step).for_each(|piece| notes.push(piece));
        let (_, texts) = notes.finish();
        let counts = texts.unwrap().count(&wanted.patterns);
        counts.first().map(|count| count.count)
    };
    let whole = count(body.len().max(1));
    assert_eq!(count(3), whole);
    whole
}

const INSURED: &str = r"\b[A-Z]\d{9}\b";

#[test]
fn texts_are_decoded() {
    for (header, body) in [
        ("", "A123456789 and B987654321\r\n"),
        (
            "Content-Transfer-Encoding: base64\r\n",
            "QTEyMzQ1Njc4OSBhbmQgQjk4\r\nNzY1NDMyMQ==\r\n",
        ),
        (
            "Content-Transfer-Encoding: Quoted-Printable\r\n",
            "A1=323456789 and B98765=\r\n4321\r\n",
        ),
        (
            "Content-Type: text/html\r\n",
            "<p>A1234<b>56789</b><p>B987654321<style>C111111111</style>",
        ),
        (
            "Content-Type: text/html\r\n",
            "<tr><td>A123456789</td><td>B987654321</td></tr>",
        ),
        (
            "Content-Type: text/html\r\n",
            "if a < b A123456789&nbsp;B98765432&#49; > c",
        ),
        (
            "Content-Type: text/csv; charset=us-ascii\r\n",
            "A123456789,B987654321\r\n",
        ),
    ] {
        let message = format!("X: y\r\n{header}\r\n{body}");
        assert_eq!(counted(message, INSURED), Some(2), "{header}{body}");
    }
}

#[test]
fn charsets() {
    for (charset, octets) in [
        ("utf-8", &b"Gr\xc3\xbc\xc3\x9fe"[..]),
        ("\"UTF-8\"", b"Gr\xc3\xbc\xc3\x9fe"),
        ("iso-8859-1", b"Gr\xfc\xdfe"),
        ("windows-1252", b"Gr\xfc\xdfe"),
        ("us-ascii", b"Gr\xfc\xdfe"),
        ("us-ascii", b"Gr\xc3\xbc\xc3\x9fe"),
        ("utf-16le", b"G\0r\0\xfc\0\xdf\0e\0"),
        ("utf-16", b"\xfe\xff\0G\0r\0\xfc\0\xdf\0e"),
    ] {
        let head = format!(
            "Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        );
        let body = base64::engine::general_purpose::STANDARD.encode(octets);
        assert_eq!(counted(head + &body, "Grüße"), Some(1), "{charset}");
    }
}

#[test]
fn all_parts_count_and_of_several_forms_the_fullest() {
    let mixed = "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\
        Content-Type: multipart/alternative; boundary=y\r\n\r\n--y\r\n\r\nA111111111 A222222222\r\n--y\r\n\
        Content-Type: text/html\r\n\r\n<p>A111111111 A222222222 A333333333\r\n--y--\r\n--x\r\n\
        Content-Type: application/pdf\r\n\r\nA444444444\r\n--x\r\nContent-Type: message/rfc822\r\n\r\n\
        Subject: A777777777\r\n\r\nA555555555\r\n--x\r\n\
        Content-Type: text/plain\r\nContent-Disposition: attachment\r\n\r\nA666666666\r\n--x--\r\n";
    assert_eq!(counted(mixed, INSURED), Some(5));
}

#[test]
fn what_cannot_be_read_whole_is_not_counted() {
    for message in [
        "Content-Transfer-Encoding: base64\r\n\r\nQQ==QQ==\r\n",
        "Content-Transfer-Encoding: base64\r\n\r\n*\r\n",
        "Content-Transfer-Encoding: x-uuencode\r\n\r\nbegin\r\n",
        "Content-Transfer-Encoding: quoted-printable\r\n\r\n=zz\r\n",
        "Content-Type: text/plain; charset=klingon\r\n\r\nx\r\n",
        "Content-Type: multipart/mixed\r\n\r\nx\r\n",
    ] {
        assert_eq!(counted(message, INSURED), None, "{message}");
    }
    // Nor is what is too long; but what is no text may be.
    let long = "no number here\r\n".repeat(TEXT_MAX / 16 + 1);
    assert_eq!(counted(format!("\r\n\r\n{long}"), INSURED), None);
    let attached = format!("Content-Type: image/png\r\n\r\n{long}");
    assert_eq!(counted(attached, INSURED), Some(0));
    // Counting ends somewhere.
    assert_eq!(
        counted("\r\n\r\n".to_owned() + &"A1 ".repeat(2000), r"A\d"),
        Some(1000)
    );
}

proptest::proptest! {
    #[test]
    fn any_octets_will_do(
        head in proptest::sample::select(vec![
            "Content-Type: text/html; charset=utf-16", "Content-Type: text/html",
            "Content-Transfer-Encoding: quoted-printable", "Content-Transfer-Encoding: base64",
            "Content-Type: text/plain; charset=utf-7",
            "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/html",
        ]),
        octets in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
    ) {
        let _ = counted([head.as_bytes(), b"\r\n\r\n", &octets].concat(), "a");
    }
}
