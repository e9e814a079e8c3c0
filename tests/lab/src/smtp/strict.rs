//! What a client of SMTP must not do: the servers note it, so that every test that delivers
//! mail is also a test of the protocol.
//!
//! A note is only made of what is certainly wrong; timing never makes one.

use memchr::{memchr_iter, memmem};

/// Faults of one command line, as received with its line end. `unread` says that more had come
/// already, `pipelining` that the server has offered to take it so.
pub(super) fn line_faults(line: &[u8], unread: bool, pipelining: bool) -> Vec<&'static str> {
    let mut faults = Vec::new();
    let verb: Vec<u8> = line.iter().take(4).map(u8::to_ascii_uppercase).collect();
    if !line.ends_with(b"\r\n") {
        faults.push("a command line that does not end in CRLF");
    }
    // RFC 5321 4.5.3.1.4; extensions allow longer MAIL and RCPT, SASL longer AUTH lines.
    if line.len() > 512 && !matches!(&verb[..], b"MAIL" | b"RCPT" | b"AUTH") {
        faults.push("a command line over 512 octets");
    }
    // RFC 2920 3.1: only these may be followed by another command without waiting.
    let may_lead = matches!(&verb[..], b"MAIL" | b"RCPT" | b"RSET");
    if unread && !pipelining {
        faults.push("pipelining where it was not offered");
    } else if unread && !may_lead {
        faults.push("a command behind one that must end a group");
    }
    faults
}

/// Faults of a message's content as it came, with its final dot.
pub(super) fn content_faults(raw: &[u8], declared_8bit: bool) -> Vec<&'static str> {
    let mut faults = Vec::new();
    if !declared_8bit && !raw.is_ascii() {
        faults.push("8-bit content without BODY=8BITMIME");
    }
    let pairs = memmem::find_iter(raw, b"\r\n").count();
    if memchr_iter(b'\n', raw).count() != pairs {
        faults.push("a bare LF in the content");
    }
    if memchr_iter(b'\r', raw).count() != pairs {
        faults.push("a bare CR in the content");
    }
    // RFC 5321 4.5.3.1.6: 1000 octets with CRLF, not counting the stuffed dot.
    let mut from = 0;
    for end in memmem::find_iter(raw, b"\r\n") {
        if end - from > 999 || (end - from == 999 && raw[from] != b'.') {
            faults.push("a content line over 1000 octets");
            break;
        }
        from = end + 2;
    }
    faults
}

/// The EHLO keyword that a parameter of MAIL or RCPT needs.
pub(super) fn extension_of(parameter: &str) -> String {
    let keyword = parameter
        .split('=')
        .next()
        .unwrap_or_default()
        .to_ascii_uppercase();
    match keyword.as_str() {
        "BODY" => "8BITMIME".to_owned(),
        "RET" | "ENVID" | "NOTIFY" | "ORCPT" => "DSN".to_owned(),
        _ => keyword,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_lines_and_content_have_no_faults() {
        assert!(line_faults(b"MAIL FROM:<a@b>\r\n", true, true).is_empty());
        assert!(line_faults(b"EHLO x\r\n", false, false).is_empty());
        let long = format!("{}\r\n.\r\n", "x".repeat(998));
        assert!(content_faults(long.as_bytes(), false).is_empty());
        assert!(content_faults("ä\r\n.\r\n".as_bytes(), true).is_empty());
    }

    #[test]
    fn each_fault_is_seen() {
        assert_eq!(line_faults(b"NOOP\n", false, true).len(), 1);
        assert_eq!(line_faults(b"MAIL FROM:<a@b>\r\n", true, false).len(), 1);
        assert_eq!(line_faults(b"DATA\r\n", true, true).len(), 1);
        assert_eq!(content_faults("ä\r\n.\r\n".as_bytes(), false).len(), 1);
        assert_eq!(content_faults(b"a\nb\r\n.\r\n", false).len(), 1);
        assert_eq!(content_faults(b"a\rb\r\n.\r\n", false).len(), 1);
        let long = format!("{}\r\n.\r\n", "x".repeat(999));
        assert_eq!(content_faults(long.as_bytes(), false).len(), 1);
    }
}
