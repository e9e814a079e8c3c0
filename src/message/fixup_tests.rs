//! Headers before and after.

use super::super::trace::tests::context;
use super::*;
use crate::types::Domain;

const RECEIVED_ONLY: &str = "";

/// Prepares `header`; gives what follows our Received field.
fn run(header: &[u8], kind: Kind) -> (Vec<u8>, Prepared) {
    let hostname = Domain::parse("relay.example").unwrap();
    let context = context(&hostname);
    let prepared = prepare(header, kind, &context).unwrap();
    let received = context.received();
    let rest = prepared.header.strip_prefix(received.as_bytes()).unwrap();
    (rest.to_vec(), prepared)
}

fn added() -> (String, String) {
    let hostname = Domain::parse("relay.example").unwrap();
    let context = context(&hostname);
    (
        format!("Message-ID: <{}@relay.example>\r\n", context.id),
        "Date: Sun, 22 Nov 2026 08:00:00 +0000\r\n".to_owned(),
    )
}

#[test]
fn a_submission_gets_what_is_missing_and_nothing_else() {
    let (id, date) = added();
    for (header, before) in [
        ("From: a@x\r\n\r\n", format!("{id}{date}")),
        ("DATE: now\r\n\r\n", id.clone()),
        ("message-id : <a@b>\r\n\r\n", date.clone()),
        (
            "Date: x\r\nMessage-ID: <a@b>\r\n\r\n",
            RECEIVED_ONLY.to_owned(),
        ),
        (
            "X: \u{1}\u{7f}junk\r\nno field\r\n\t folded\r\n\r\n",
            format!("{id}{date}"),
        ),
        ("From: a@x\r\n", format!("{id}{date}")),
        ("\r\n", format!("{id}{date}")),
    ] {
        let (rest, _) = run(header.as_bytes(), Kind::Submission);
        assert_eq!(rest, format!("{before}{header}").as_bytes(), "{header:?}");
    }
}

#[test]
fn a_message_without_header_gets_one() {
    let (id, date) = added();
    let (rest, prepared) = run(b"", Kind::Submission);
    assert_eq!(rest, format!("{id}{date}\r\n").as_bytes());
    assert_eq!(prepared.from, FromField::Missing);
    assert_eq!(run(b"", Kind::Relay).0, b"\r\n");
}

#[test]
fn i30_bcc_is_removed_unless_signed() {
    let keep = "Date: x\r\nMessage-ID: <a@b>\r\n";
    for (fields, left) in [
        ("Bcc: a@x\r\n", ""),
        ("bcc : a@x,\r\n b@y\r\nTo: c@z\r\nBCC:\r\n", "To: c@z\r\n"),
        ("Resent-Bcc: a@x\r\nX-Bcc: kept\r\n", "X-Bcc: kept\r\n"),
        ("Return-Path: <a@x>\r\n", ""),
        (
            "DKIM-Signature: v=1; h=from:to; bh=x\r\nBcc: a@x\r\n",
            "DKIM-Signature: v=1; h=from:to; bh=x\r\n",
        ),
    ] {
        let (rest, _) = run(format!("{fields}{keep}\r\n").as_bytes(), Kind::Submission);
        assert_eq!(rest, format!("{left}{keep}\r\n").as_bytes(), "{fields}");
    }
    let signed = "DKIM-Signature: v=1; h = From :\r\n\tBCC:to; b=x\r\nBcc: a@x\r\n";
    let whole = format!("{signed}{keep}\r\n");
    assert_eq!(run(whole.as_bytes(), Kind::Submission).0, whole.as_bytes());
}

#[test]
fn i30_a_relay_adds_received_alone() {
    let header = b"Return-Path: <a@x>\r\nBcc: b@y\r\nSubject: \xff\r\n\r\n";
    let (rest, prepared) = run(header, Kind::Relay);
    assert_eq!(rest, header);
    assert!(prepared.eight_bit && prepared.message_id.is_none());
    assert_eq!(run(b"X: y\r\n\r\n", Kind::Relay).0, b"X: y\r\n\r\n");
}

#[test]
fn i28_loops_and_giants_are_refused() {
    let hostname = Domain::parse("relay.example").unwrap();
    let context = context(&hostname);
    let hops = "Received: by x\r\n".repeat(101);
    let fault = prepare(hops.as_bytes(), Kind::Relay, &context).unwrap_err();
    assert_eq!((fault, fault.codes()), (HeaderFault::Loop, (554, "5.4.6")));
    let giant = vec![b'x'; HEADER_MAX + 1];
    let fault = prepare(&giant, Kind::Relay, &context).unwrap_err();
    assert_eq!(fault, HeaderFault::TooLarge);
}

#[test]
fn facts_name_a_message_id_that_is_one() {
    for (value, id) in [
        ("<a@b>", Some("<a@b>")),
        ("\r\n <a@b>", Some("<a@b>")),
        ("a@b", None),
        ("<a b@c>", None),
        ("<a@b> <c@d>", None),
        ("<ab>", None),
        ("<a@b\u{fc}>", None),
        ("", None),
    ] {
        let header = format!("Message-ID: {value}\r\n\r\n");
        assert_eq!(
            run(header.as_bytes(), Kind::Submission)
                .1
                .message_id
                .as_deref(),
            id,
            "{value}"
        );
    }
    let (_, prepared) = run(b"From: a@x\r\n\r\n", Kind::Submission);
    let id = prepared.message_id.unwrap();
    assert!(id.starts_with('<') && id.ends_with("@relay.example>"));
}

#[test]
fn headers_show_in_no_debug() {
    let (_, prepared) = run(b"Subject: secret\r\n\r\n", Kind::Submission);
    assert!(!format!("{prepared:?}").contains("secret"));
}
