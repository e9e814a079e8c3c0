//! Trace fields: the Received field we add, and those that are there.
//!
//! Owns RFC 5321 section 4.4 with RFC 3848's protocol words, and the loop guard of
//! section 6.3. Holds always: what we add is 7-bit, folded below 78 columns, names
//! no recipient (no `for`, which would show a Bcc), and can't be broken by the
//! name a client gave. Called by `fixup`.

use std::net::IpAddr;

use crate::types::{Domain, Host, Protocol, QueueId, Timestamp};

use super::headers::{Field, fields};

/// Columns of a line at most (RFC 5322 section 2.1.1), the fold counting as 8.
const WIDTH: usize = 77;
/// Octets kept of the name a client gave.
const HELO_MAX: usize = 64;
/// Received fields from which on a message is in a loop (RFC 5321 section 6.3).
const RECEIVED_MAX: usize = 100;
/// Passages through this very relay, likewise: one is common (through an
/// internal server and back), two are not.
const OWN_MAX: usize = 2;

/// How a message reached us, for its Received field.
#[derive(Debug, Clone)]
pub struct TraceContext<'a> {
    /// Our name.
    pub hostname: &'a Domain,
    /// What the client called itself in EHLO or HELO.
    pub helo: &'a str,
    /// Its address.
    pub client: IpAddr,
    /// The word behind `with`.
    pub protocol: Protocol,
    /// The session's TLS, if it has it.
    pub tls: Option<TlsWords<'a>>,
    /// The message's name.
    pub id: QueueId,
    /// When it is accepted.
    pub at: Timestamp,
}

/// What the TLS comment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsWords<'a> {
    /// E.g. `TLSv1.3`.
    pub version: &'a str,
    /// E.g. `TLS_AES_256_GCM_SHA384`.
    pub cipher: &'a str,
}

impl TraceContext<'_> {
    /// The Received field with its line end (RFC 5321 section 4.4).
    #[must_use]
    pub fn received(&self) -> String {
        let client = Host::Literal(self.client.to_canonical());
        let mut words = vec![
            "from".to_owned(),
            printable(self.helo, HELO_MAX),
            format!("({client})"),
            "by".to_owned(),
            self.hostname.to_string(),
            "with".to_owned(),
            self.protocol.as_str().to_owned(),
            "id".to_owned(),
            self.id.to_string(),
        ];
        if let Some(tls) = self.tls {
            words.push(format!("({}", printable(tls.version, HELO_MAX)));
            words.push(format!("{})", printable(tls.cipher, HELO_MAX)));
        }
        if let Some(last) = words.last_mut() {
            last.push(';');
        }
        words.push(self.at.to_rfc5322());
        fold("Received:", &words)
    }
}

/// A word for a header: what is not of a host name or literal becomes `?`, so
/// that no client's name can open a comment, end a field or leave ASCII.
fn printable(text: &str, max: usize) -> String {
    let word: String = text
        .chars()
        .take(max)
        .map(|c| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' | '_' | ':' | '[' | ']' => c,
            _ => '?',
        })
        .collect();
    if word.is_empty() {
        "?".to_owned()
    } else {
        word
    }
}

/// Joins words by blanks, or by folds where a line would grow too long.
fn fold(name: &str, words: &[String]) -> String {
    let mut text = name.to_owned();
    let mut column = name.len();
    for word in words {
        if column + 1 + word.len() > WIDTH {
            text.push_str("\r\n\t");
            column = 8 + word.len();
        } else {
            text.push(' ');
            column += 1 + word.len();
        }
        text.push_str(word);
    }
    text.push_str("\r\n");
    text
}

/// Whether the message goes round in a loop (RFC 5321 section 6.3): over 100
/// Received fields, or two that this relay itself wrote.
#[must_use]
pub fn is_looping(section: &[u8], hostname: &Domain) -> bool {
    let (mut all, mut own) = (0, 0);
    for field in fields(section).filter(|field| field.is("Received")) {
        all += 1;
        own += usize::from(is_own(&field, hostname));
    }
    all > RECEIVED_MAX || own >= OWN_MAX
}

/// Whether this relay wrote the field: `by` our name, with an `id` of ours.
fn is_own(field: &Field<'_>, hostname: &Domain) -> bool {
    let value = field.unfolded();
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    let has = |key: &str, test: &dyn Fn(&str) -> bool| {
        words.windows(2).any(|pair| match pair {
            [word, value] => word.eq_ignore_ascii_case(key) && test(value.trim_end_matches(';')),
            _ => false,
        })
    };
    has("by", &|name| name.eq_ignore_ascii_case(hostname.as_str()))
        && has("id", &|id| id.parse::<QueueId>().is_ok())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn context(hostname: &Domain) -> TraceContext<'_> {
        let at = "2026-11-22T08:00:00Z".parse().unwrap();
        TraceContext {
            hostname,
            helo: "mail.clinic.example",
            client: "192.0.2.1".parse().unwrap(),
            protocol: Protocol::Esmtpsa,
            tls: Some(TlsWords {
                version: "TLSv1.3",
                cipher: "TLS_AES_256_GCM_SHA384",
            }),
            id: QueueId::new(at, [1, 2, 3, 4]),
            at,
        }
    }

    #[test]
    fn i29_received_has_protocol_and_tls_before_the_semicolon() {
        let hostname = Domain::parse("relay.example").unwrap();
        let context = context(&hostname);
        let text = context.received();
        assert_eq!(
            text.replace("\r\n\t", " "),
            format!(
                "Received: from mail.clinic.example ([192.0.2.1]) by relay.example with \
                 ESMTPSA id {} (TLSv1.3 TLS_AES_256_GCM_SHA384); \
                 Sun, 22 Nov 2026 08:00:00 +0000\r\n",
                context.id
            )
        );
        assert!(!text.contains(" for "));
        let plain = TraceContext {
            tls: None,
            protocol: Protocol::Smtp,
            ..context
        };
        let id = format!("with SMTP id {};", plain.id);
        assert!(plain.received().replace("\r\n\t", " ").contains(&id));
    }

    #[test]
    fn i29_a_clients_name_cannot_break_the_field() {
        let hostname = Domain::parse("relay.example").unwrap();
        let long = "x".repeat(2000);
        for helo in [
            "a b",
            "a\r\nBcc: x",
            "(",
            "jürgen",
            "",
            "a;b",
            "[IPv6:2001:db8::1]",
            &long,
        ] {
            let context = TraceContext {
                helo,
                client: "2001:db8::1".parse().unwrap(),
                ..context(&hostname)
            };
            let text = context.received();
            assert!(text.is_ascii() && text.ends_with("\r\n"), "{helo}");
            assert_eq!(
                text.matches("\r\n").count(),
                text.matches("\r\n\t").count() + 1
            );
            assert_eq!(text.matches('(').count(), 2, "{helo}");
            assert!(text.contains("([IPv6:2001:db8::1])"));
            for line in text.split("\r\n") {
                assert!(line.replace('\t', "        ").len() < 78, "{line}");
            }
            assert!(
                is_own(&fields(text.as_bytes()).next().unwrap(), &hostname),
                "{helo}"
            );
        }
    }

    #[test]
    fn i28_loops_are_seen() {
        let hostname = Domain::parse("relay.example").unwrap();
        let other = Domain::parse("other.example").unwrap();
        let own = context(&hostname).received();
        let foreign = context(&other).received();
        assert!(!is_looping(own.as_bytes(), &hostname));
        assert!(!is_looping(format!("{own}{foreign}").as_bytes(), &hostname));
        assert!(is_looping(
            format!("{own}{foreign}{own}").as_bytes(),
            &hostname
        ));
        assert!(!is_looping(foreign.repeat(100).as_bytes(), &hostname));
        assert!(is_looping(foreign.repeat(101).as_bytes(), &hostname));
    }
}
