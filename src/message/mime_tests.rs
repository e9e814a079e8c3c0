//! The walk through a message's parts: structures, what is unclear, bounds, any cutting.

use super::*;

/// The events in short: `+kind` a part, `kind:octets` its content, `~` outside, `?`
/// unclear; and whether all was ended.
fn walk(message: &[u8], step: usize) -> (String, bool) {
    let (mut told, mut walker) = (String::new(), Walker::new());
    let mut kind = String::new();
    let mut tell = |event: Event<'_>| match event {
        Event::Part(head) => {
            kind = head.kind.clone();
            told += &format!("|+{kind}|");
        }
        Event::Content(octets) => told += &String::from_utf8_lossy(octets),
        Event::Outside(octets) => told += &format!("~{}", String::from_utf8_lossy(octets)),
        Event::Unclear => told += "?",
    };
    for piece in message.chunks(step) {
        walker.push(piece, &mut tell);
    }
    let whole = walker.finish(&mut tell);
    (told.replace("\r\n", "/"), whole)
}

fn whole(message: &str) -> (String, bool) {
    let all = walk(message.as_bytes(), message.len().max(1));
    for step in 1..message.len().min(80) {
        assert_eq!(walk(message.as_bytes(), step), all, "{message:?} by {step}");
    }
    all
}

#[test]
fn simple_messages() {
    for (message, events) in [
        ("Subject: x\r\n\r\na\r\nb\r\n", "|+text/plain|a/b/"),
        (
            "Content-Type: text/HTML; charset=x\r\n\r\n--a\r\n",
            "|+text/html|--a/",
        ),
        ("Subject: x\r\n", "|+text/plain|"),
        ("\r\nbody\r\n", "|+text/plain|body/"),
        ("", "|+text/plain|"),
    ] {
        assert_eq!(whole(message), (events.to_owned(), true), "{message}");
    }
}

#[test]
fn parts_in_parts() {
    let message = "Content-Type: multipart/mixed;\r\n\tboundary=\r\n \"a b\"\r\n\r\nfore\r\n--a b\r\n\r\none\r\n\
        --a b\r\nContent-Type: multipart/alternative; boundary=in\r\n\r\n\
        --in\r\nContent-Type: text/html\r\n\r\ntwo\r\n--in--\r\nbehind\r\n\
        --a b  \r\nContent-Type: message/rfc822\r\n\r\nSubject: s\r\n\r\nthree\r\n--a b--\r\nend\r\n";
    let events = "|+multipart/mixed|~fore/|+text/plain|one/|+multipart/alternative||+text/html|two/~behind/\
        |+message/rfc822||+text/plain|three/~end/";
    assert_eq!(whole(message), (events.to_owned(), true));
    // The outer boundary ends the inner parts too; the end may be missing.
    let message = "Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n\
        Content-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n\r\none\r\n--o\r\n\r\ntwo\r\n";
    let events = "|+multipart/mixed||+multipart/mixed||+text/plain|one/|+text/plain|two/";
    assert_eq!(whole(message), (events.to_owned(), false));
    let digest = "Content-Type: multipart/digest; boundary=o\r\n\r\n--o\r\n\r\nSubject: a\r\n\r\nb\r\n--o--\r\n";
    let events = "|+multipart/digest||+message/rfc822||+text/plain|b/";
    assert_eq!(whole(digest), (events.to_owned(), true));
}

#[test]
fn what_readers_take_differently_is_unclear() {
    for message in [
        "Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\nx\r\n",
        "Content-Type: multipart/mixed; boundary=a; boundary=b\r\n\r\n--a\r\n\r\nx\r\n--a--\r\n",
        "Content-Type: multipart/mixed\r\n\r\n--a\r\n\r\nx\r\n--a--\r\n",
        "Content-Type: nonsense\r\n\r\nx\r\n",
        "Content-Type: multipart/mixed; boundary=a\r\n\r\n--abc\r\n\r\nx\r\n--a--\r\n",
        "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: text/html\r\n--a--\r\n",
        "Content-Type: multipart/mixed; boundary=a\r\nContent-Transfer-Encoding: base64\r\n\r\nLS1h\r\n",
        "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nLS1h\r\n",
    ] {
        assert!(whole(message).0.contains('?'), "{message}");
    }
}

#[test]
fn forms_of_one_content_are_told() {
    let message = "Content-Type: multipart/alternative; boundary=a\r\n\r\n--a\r\n\r\none\r\n--a\r\n\
        Content-Type: multipart/related; boundary=r\r\n\r\n--r\r\nContent-Type: text/html\r\n\r\ntwo\r\n--r--\r\n--a--\r\n";
    let mut forms = Vec::new();
    let mut walker = Walker::new();
    walker.push(message.as_bytes(), &mut |event| {
        if let Event::Part(head) = event {
            forms.push(head.form.map(|form| form.place));
        }
    });
    assert_eq!(forms, [None, Some(1), Some(2), Some(2)]);
}

#[test]
fn nesting_and_parts_are_bounded() {
    let nested: String = (0..1000)
        .map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n"))
        .collect();
    let (events, ended) = walk(nested.as_bytes(), nested.len());
    assert!(events.ends_with("?|+multipart/mixed|") && !ended);
    assert!(events.matches('+').count() <= DEPTH_MAX + 1);
    let many = "Content-Type: multipart/mixed; boundary=b\r\n\r\n".to_owned()
        + &"--b\r\n\r\nx\r\n".repeat(PARTS_MAX + 10);
    let (events, ended) = walk(many.as_bytes(), many.len());
    assert!(events.contains('?') && !ended);
    assert!(events.matches('+').count() <= PARTS_MAX + 1);
    let message = "Content-Type: message/rfc822\r\n\r\n".repeat(1000);
    assert!(walk(message.as_bytes(), message.len()).0.contains('?'));
    // One behind the other is no nesting.
    let digest = "Content-Type: multipart/digest; boundary=b\r\n\r\n".to_owned()
        + &"--b\r\n\r\nSubject: x\r\n\r\ny\r\n".repeat(100)
        + "--b--\r\n";
    let (events, ended) = walk(digest.as_bytes(), digest.len());
    assert!(!events.contains('?') && ended);
}

#[test]
fn long_lines_hold_no_boundary_in_their_middle() {
    let long = "x".repeat(3 * LINE_MAX) + "--b\r\n";
    let message =
        format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n{long}--b--\r\n");
    let expected = format!(
        "|+multipart/mixed||+text/plain|{}",
        long.replace("\r\n", "/")
    );
    for step in [1, 7, 2047, 2048, 2049, 100_000] {
        let (events, ended) = walk(message.as_bytes(), step);
        assert_eq!(
            (events.as_str(), ended),
            (expected.as_str(), true),
            "{step}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn however_it_is_cut_it_is_the_same(
        pieces in proptest::collection::vec(proptest::sample::select(vec![
            "--a\r\n", "--a--\r\n", "--b\r\n", "--b--\r\n", "--", "\r\n", "\n", "x", "a", ": ",
            "Content-Type: multipart/mixed; boundary=a\r\n",
            "Content-Type: multipart/alternative; boundary=b\r\n",
            "Content-Type: message/rfc822\r\n", "Content-Type: text/html\r\n",
            "Content-Transfer-Encoding: base64\r\n",
        ]), 0..40),
        step in 1usize..30,
    ) {
        let message = pieces.concat();
        let all = walk(message.as_bytes(), message.len().max(1));
        proptest::prop_assert_eq!(walk(message.as_bytes(), step), all);
    }
}
