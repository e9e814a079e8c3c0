//! Tables over the grammar of commands.

use super::*;

fn mail(line: &str) -> MailCommand {
    match Command::parse(line.as_bytes()) {
        Ok(Command::Mail(mail)) => mail,
        other => panic!("{line}: {other:?}"),
    }
}

fn rcpt(line: &str) -> String {
    match Command::parse(line.as_bytes()) {
        Ok(Command::Rcpt(RcptPath::Mailbox(mailbox))) => mailbox.to_string(),
        other => panic!("{line}: {other:?}"),
    }
}

/// Code and enhanced code of the reply that a line gets.
fn refusal(line: impl AsRef<[u8]>) -> String {
    let line = line.as_ref();
    let reply = Command::parse(line).unwrap_err().reply();
    format!("{} {}", reply.code(), reply.enhanced().unwrap())
}

#[test]
fn verbs_in_any_case() {
    for (line, command) in [
        ("ehlo mail.example", Command::Ehlo("mail.example".into())),
        ("HELO  [192.0.2.1] ", Command::Helo("[192.0.2.1]".into())),
        ("data", Command::Data),
        ("RSET ", Command::Rset),
        ("NOOP whatever it is", Command::Noop),
        ("Quit", Command::Quit),
        ("VRFY someone", Command::Vrfy),
        ("HELP MAIL", Command::Help),
        ("StartTLS", Command::StartTls),
    ] {
        assert_eq!(Command::parse(line.as_bytes()), Ok(command), "{line}");
    }
}

#[test]
fn faults_and_their_replies() {
    for (line, reply) in [
        ("", "500 5.5.2"),
        ("XYZZY", "500 5.5.2"),
        ("BDAT 10 LAST", "500 5.5.2"),
        ("GET / HTTP/1.1", "500 5.5.2"),
        ("EXPN list", "502 5.5.1"),
        ("EHLO", "501 5.5.4"),
        ("HELO ", "501 5.5.4"),
        ("VRFY", "501 5.5.4"),
        ("DATA now", "501 5.5.4"),
        ("QUIT now", "501 5.5.4"),
        ("STARTTLS now", "501 5.5.4"),
        ("MAIL", "501 5.5.4"),
        ("MAIL TO:<a@x>", "501 5.5.4"),
        ("MAIL FROM <a@x>", "501 5.5.4"),
        ("RCPT", "501 5.5.4"),
        ("RCPT TO", "501 5.5.4"),
        ("MAIL FROM:", "501 5.1.7"),
        ("MAIL FROM:<a@x", "501 5.1.7"),
        ("MAIL FROM:<a>", "501 5.1.7"),
        ("MAIL FROM:<a@x>b", "501 5.1.7"),
        ("MAIL FROM:<postmaster>", "501 5.1.7"),
        ("RCPT TO:<>", "501 5.1.3"),
        ("RCPT TO:<a b@x>", "501 5.1.3"),
        ("RCPT TO:<\"a@x>", "501 5.1.3"),
        ("RCPT TO:a b@x", "501 5.1.3"),
        ("RCPT TO:<<a@x>>", "501 5.1.3"),
    ] {
        assert_eq!(refusal(line), reply, "{line}");
    }
}

#[test]
fn i13_octets_that_are_no_text_are_501() {
    for line in [
        &b"MAIL FROM:<\xff@x>"[..],
        b"\xc3",
        b"NOOP \0",
        b"EHLO a\x1b[2J",
        b"NOOP\t\x7f",
    ] {
        assert_eq!(refusal(line), "501 5.5.2");
    }
}

#[test]
fn i14_quoted_local_parts_and_source_routes() {
    for (path, mailbox) in [
        ("<a@X.Example.>", "a@x.example"),
        ("<\"a@b\"@x.example>", "\"a@b\"@x.example"),
        ("<\"a b\"@x.example>", "\"a b\"@x.example"),
        ("<\"a>b\"@x.example>", "\"a>b\"@x.example"),
        ("<\"a\\\"b\"@x.example>", "\"a\\\"b\"@x.example"),
        ("<@hop.example:a@x.example>", "a@x.example"),
        ("<@one.example,@two.example:a@x.example>", "a@x.example"),
        (" <a@x.example>", "a@x.example"),
        ("a@x.example", "a@x.example"),
        ("\"a b\"@x.example", "\"a b\"@x.example"),
    ] {
        assert_eq!(rcpt(&format!("RCPT TO:{path}")), mailbox, "{path}");
    }
    for path in [
        "<@:a@x>",
        "<@hop a@x>",
        "<@a,b:a@x>",
        "<@hop:>",
        "<@hop:postmaster>",
        "<@[192.0.2.1]:a@x>",
    ] {
        assert_eq!(refusal(format!("RCPT TO:{path}")), "501 5.1.3", "{path}");
    }
    let long = "a".repeat(65);
    assert_eq!(refusal(format!("RCPT TO:<{long}@x>")), "501 5.1.3");
}

#[test]
fn i15_postmaster_needs_no_domain() {
    for path in ["<postmaster>", "<PostMaster>", "POSTMASTER"] {
        let line = format!("RCPT TO:{path}");
        assert_eq!(
            Command::parse(line.as_bytes()),
            Ok(Command::Rcpt(RcptPath::Postmaster)),
            "{path}"
        );
    }
    assert_eq!(refusal("RCPT TO:<postmaster@>"), "501 5.1.3");
}

#[test]
fn i16_address_literals_parse() {
    assert_eq!(rcpt("RCPT TO:<a@[192.0.2.1]>"), "a@[192.0.2.1]");
    assert_eq!(
        rcpt("RCPT TO:<a@[IPv6:2001:db8::1]>"),
        "a@[IPv6:2001:db8::1]"
    );
}

#[test]
fn i18_non_ascii_mailboxes_are_553() {
    for line in [
        "MAIL FROM:<jürgen@x>",
        "MAIL FROM:<a@bücher.example> SMTPUTF8",
        "RCPT TO:<\"ü\"@x>",
    ] {
        assert_eq!(refusal(line), "553 5.6.7", "{line}");
    }
}

#[test]
fn i19_the_null_sender_is_a_sender() {
    assert_eq!(mail("MAIL FROM:<>").sender, None);
    assert_eq!(mail("mail from: <> size=7").size, Some(7));
}

#[test]
fn i20_parameters() {
    let all = mail("MAIL FROM:<a@x> body=8bitmime  SIZE=1000 AUTH=<>");
    assert_eq!(
        (all.body, all.size, all.auth),
        (BodyType::EightBitMime, Some(1000), true)
    );
    assert_eq!(mail("MAIL FROM:a@x BODY=7BIT").body, BodyType::SevenBit);
    assert_eq!(
        mail("MAIL FROM:<> SIZE=99999999999999999999").size,
        Some(u64::MAX)
    );
    for (line, reply) in [
        ("MAIL FROM:<a@x> FOO=1", "555 5.5.4"),
        ("MAIL FROM:<a@x> SIZE=1 size=2", "555 5.5.4"),
        ("MAIL FROM:<a@x> RET=HDRS", "555 5.5.4"),
        ("MAIL FROM:<a@x> SMTPUTF8", "555 5.5.4"),
        ("MAIL FROM:<a@x> =1", "555 5.5.4"),
        ("RCPT TO:<a@x> NOTIFY=NEVER", "555 5.5.4"),
        ("MAIL FROM:<a@x> SIZE", "501 5.5.4"),
        ("MAIL FROM:<a@x> SIZE=", "501 5.5.4"),
        ("MAIL FROM:<a@x> SIZE=-1", "501 5.5.4"),
        ("MAIL FROM:<a@x> SIZE=000000000000000000001", "501 5.5.4"),
        ("MAIL FROM:<a@x> BODY=BINARYMIME", "501 5.5.4"),
        ("MAIL FROM:<a@x> AUTH=", "501 5.5.4"),
    ] {
        assert_eq!(refusal(line), reply, "{line}");
    }
}

#[test]
fn i5_auth_forms() {
    let auth = |line: &str| match Command::parse(line.as_bytes()) {
        Ok(Command::Auth(auth)) => auth,
        other => panic!("{line}: {other:?}"),
    };
    assert_eq!(auth("AUTH login").mechanism, "LOGIN");
    assert_eq!(auth("AUTH login").initial, None);
    assert_eq!(auth("AUTH PLAIN =").initial.unwrap().as_bytes(), b"");
    assert_eq!(
        auth("AUTH PLAIN AGEAYg==").initial.unwrap().as_bytes(),
        b"\0a\0b"
    );
    for (line, reply) in [
        ("AUTH", "501 5.5.4"),
        ("AUTH PLAIN AGEAYg== more", "501 5.5.4"),
        ("AUTH PL@IN", "501 5.5.4"),
        ("AUTH PLAIN AGEAYg", "501 5.5.2"),
        ("AUTH PLAIN *", "501 5.5.2"),
    ] {
        assert_eq!(refusal(line), reply, "{line}");
    }
    assert_eq!(AuthResponse::parse(b"*"), Ok(AuthResponse::Cancel));
    assert_eq!(AuthResponse::parse(b"="), Err(CommandError::Base64));
    match AuthResponse::parse(b"c2VjcmV0") {
        Ok(AuthResponse::Octets(octets)) => assert_eq!(octets.as_bytes(), b"secret"),
        other => panic!("{other:?}"),
    }
    assert!(
        matches!(AuthResponse::parse(b""), Ok(AuthResponse::Octets(o)) if o.as_bytes().is_empty())
    );
}

#[test]
fn credentials_show_in_no_debug() {
    let command = Command::parse(b"AUTH PLAIN c2VjcmV0").unwrap();
    let shown = format!("{command:?} {:?}", AuthResponse::parse(b"c2VjcmV0"));
    assert!(!shown.contains("c2Vj") && !shown.contains("115") && shown.contains("Secret(..)"));
}
