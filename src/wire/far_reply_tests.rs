//! Tables over replies as servers give them.

use super::*;

fn feed(octets: &[u8]) -> Result<Option<FarReply>, ReplyError> {
    ReplyReader::new().feed(&mut BytesMut::from(octets))
}

fn read(text: &str) -> FarReply {
    feed(text.as_bytes()).unwrap().unwrap()
}

#[test]
fn e1_multi_line_in_any_pieces() {
    let octets = b"250-one\r\n250-\r\n250 two\r\n354 next\r\n";
    for step in 1..octets.len() {
        let (mut reader, mut input, mut out) = (ReplyReader::new(), BytesMut::new(), Vec::new());
        for piece in octets.chunks(step) {
            input.extend_from_slice(piece);
            while let Some(reply) = reader.feed(&mut input).unwrap() {
                assert!(!reader.is_mid_reply());
                out.push((reply.code(), reply.lines().join("|")));
            }
        }
        assert_eq!(out, [(250, "one||two".into()), (354, "next".into())]);
    }
}

#[test]
fn e1_odd_replies() {
    for (text, code, lines) in [
        ("250\r\n", 250, vec![""]),
        ("250 \r\n", 250, vec![""]),
        ("250-\r\n250\r\n", 250, vec!["", ""]),
        ("250 ok\n", 250, vec!["ok"]),
        ("250-a\n250 b\n", 250, vec!["a", "b"]),
        // Mixed codes: the last line's.
        ("250-a\r\n550 b\r\n", 550, vec!["a", "b"]),
        ("550-a\r\n421 b\r\n", 421, vec!["a", "b"]),
        // Text wrapped without a code.
        (
            "550-a\r\n  wrapped\r\n550 b\r\n",
            550,
            vec!["a", "  wrapped", "b"],
        ),
        ("250-a\r\n250Ok\r\n250 b\r\n", 250, vec!["a", "250Ok", "b"]),
    ] {
        let reply = read(text);
        assert_eq!(
            (reply.code(), reply.lines()),
            (
                code,
                &lines.iter().map(ToString::to_string).collect::<Vec<_>>()[..]
            ),
            "{text:?}"
        );
    }
}

#[test]
fn e1_what_is_no_reply() {
    for text in [
        "\r\n",
        "hello\r\n",
        "25\r\n",
        "250Ok\r\n",
        "199 a\r\n",
        "600 a\r\n",
        "\0\n",
        "HTTP/1.1 400 Bad\r\n",
        "２50 a\r\n",
    ] {
        assert_eq!(
            feed(text.as_bytes()).err(),
            Some(ReplyError::NotAReply),
            "{text:?}"
        );
    }
    assert_eq!(feed(&vec![b'2'; LINE_MAX]).err(), Some(ReplyError::TooLong));
    assert!(feed(b"250 wait").unwrap().is_none());
}

#[test]
fn e1_long_lines_and_many_lines_are_bounded() {
    let long = format!("250 {}\r\n", "x".repeat(4096));
    assert_eq!(read(&long).lines()[0].len(), 4096);

    let many = "250-x\r\n".repeat(5000) + "250 end\r\n";
    assert_eq!(read(&many).lines().len(), LINES_KEPT);

    let line = format!("250-{}\r\n", "x".repeat(8000));
    let reply = read(&(line.repeat(20) + "250 end\r\n"));
    let kept: usize = reply.lines().iter().map(String::len).sum();
    assert!(kept <= OCTETS_KEPT);

    let endless = line.repeat(200);
    assert_eq!(feed(endless.as_bytes()).err(), Some(ReplyError::TooLong));
}

#[test]
fn e2_the_first_digit_decides() {
    for (text, class) in [
        ("251 a\r\n", 2),
        ("252 a\r\n", 2),
        ("299 a\r\n", 2),
        ("334 a\r\n", 3),
        ("499 a\r\n", 4),
        ("554 2.0.0 ok\r\n", 5),
    ] {
        let reply = read(text);
        let flags = [
            reply.is_positive(),
            reply.is_intermediate(),
            reply.is_temporary(),
            reply.is_permanent(),
        ];
        assert_eq!(flags.iter().position(|f| *f), Some(class - 2), "{text}");
    }
}

#[test]
fn e3_an_enhanced_code_must_agree() {
    for (text, enhanced) in [
        ("550 5.1.1 no\r\n", Some("5.1.1")),
        ("550 #5.1.0 Address rejected\r\n", Some("5.1.0")),
        ("550-5.7.1 a\r\n550 5.7.1 b\r\n", Some("5.7.1")),
        ("550-5.7.1 a\r\n550 b\r\n", Some("5.7.1")),
        ("550 5.1.1\r\n", Some("5.1.1")),
        ("550 4.2.2 full\r\n", None),
        ("250 5.0.0 ok\r\n", None),
        ("550 no\r\n", None),
        ("550 5.1 a\r\n", None),
        ("550 5.1.1.1 a\r\n", None),
        ("550 5.1.1000 a\r\n", None),
        ("550 5..1 a\r\n", None),
        ("550 192.0.2.1 a\r\n", None),
    ] {
        assert_eq!(read(text).enhanced(), enhanced, "{text:?}");
    }
}

#[test]
fn e1_remote_replies_are_short_and_printable() {
    let remote = read("550-5.1.1 no\tsuch\u{1b}[2J\r\n550 5.1.1 user\u{202e}\r\n").to_remote();
    assert_eq!(remote.to_string(), "550 5.1.1 no?such?[2J user?");
    assert_eq!(
        read("550 4.1.1 no\r\n").to_remote().to_string(),
        "550 4.1.1 no"
    );
    let reply = feed(b"250 \xff\xfe ok\r\n").unwrap().unwrap();
    assert_eq!(reply.to_remote().text, "\u{fffd}\u{fffd} ok");
    let long = read(&format!("550-{}\r\n550 b\r\n", "ü".repeat(1000))).to_remote();
    assert_eq!(long.text.len(), 512);
    let long = read(&format!("550 a{}\r\n", "ü".repeat(1000))).to_remote();
    assert_eq!(long.text.len(), 511);
}

#[test]
fn replies_show_no_text_in_debug() {
    assert_eq!(
        format!("{:?}", read("334 secret\r\n")),
        "FarReply(334, 1 lines)"
    );
}
