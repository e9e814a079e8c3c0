//! Extensions: what an EHLO reply offers, on both sides.
//!
//! Owns the EHLO keywords (RFC 5321 section 4.1.1.1, RFC 1869's registry). Holds
//! always: what a client knows of a server comes from one EHLO reply alone; after
//! STARTTLS a new [`Extensions`] replaces the old (RFC 3207 section 4.2). Called
//! by `ingress` (offers) and `delivery` (reads).

use super::far_reply::FarReply;
use super::reply::Reply;

/// Mechanisms kept at most.
const MECHANISMS_MAX: usize = 32;

/// What a server offers. The default, nothing, is what HELO leaves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extensions {
    /// SIZE (RFC 1870): the parameter may be sent.
    pub size: bool,
    /// The largest message it takes; `None`: no limit told, as with `SIZE 0`
    /// (RFC 1870 section 4).
    pub size_limit: Option<u64>,
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// ENHANCEDSTATUSCODES (RFC 2034).
    pub enhanced_status_codes: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// A keyword was overwritten with `X`es on the way, as some firewalls do to
    /// STARTTLS: counts as no TLS, but says who is to blame (RFC 3207 section 6).
    pub starttls_masked: bool,
    /// AUTH's mechanisms in upper case (RFC 4954), the old `AUTH=` included.
    pub auth: Vec<String>,
}

impl Extensions {
    /// Reads a positive EHLO reply. Its first line is the server's greeting and
    /// never an extension (RFC 5321 section 4.1.1.1).
    #[must_use]
    pub fn from_ehlo(reply: &FarReply) -> Self {
        let mut found = Self::default();
        for line in reply.lines().iter().skip(1) {
            found.take(line);
        }
        found.starttls_masked &= !found.starttls;
        found
    }

    fn take(&mut self, line: &str) {
        let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
        let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
        match keyword.as_str() {
            "SIZE" => {
                self.size = true;
                let limit = words.next().and_then(|word| word.parse().ok());
                self.size_limit = limit.filter(|limit| *limit > 0);
            }
            "PIPELINING" => self.pipelining = true,
            "8BITMIME" => self.eight_bit_mime = true,
            "ENHANCEDSTATUSCODES" => self.enhanced_status_codes = true,
            "STARTTLS" => self.starttls = true,
            "AUTH" => self.take_mechanisms(words),
            _ => match keyword.strip_prefix("AUTH=") {
                Some(first) => self.take_mechanisms(std::iter::once(first).chain(words)),
                None => self.starttls_masked |= is_masked(&keyword),
            },
        }
    }

    fn take_mechanisms<'a>(&mut self, words: impl Iterator<Item = &'a str>) {
        for word in words {
            let name = word.to_ascii_uppercase();
            if !name.is_empty() && self.auth.len() < MECHANISMS_MAX && !self.auth.contains(&name) {
                self.auth.push(name);
            }
        }
    }
}

/// `XXXXXXXX`, or as Cisco firewalls write it `XXXXXXXA`.
fn is_masked(keyword: &str) -> bool {
    let stem = keyword.strip_suffix('A').unwrap_or(keyword);
    keyword.len() >= 4 && stem.bytes().all(|b| b == b'X')
}

/// What we offer a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer<'a> {
    /// The largest message taken; 0 says that there is no limit (RFC 1870
    /// section 4).
    pub size: u64,
    /// Whether STARTTLS is possible: never again under TLS (RFC 3207 section 4.2).
    pub starttls: bool,
    /// Mechanisms of AUTH; none: AUTH is not offered (RFC 4954 section 4).
    pub auth: &'a [&'a str],
}

impl Offer<'_> {
    /// The reply to EHLO (RFC 5321 section 4.1.1.1).
    #[must_use]
    pub fn ehlo_reply(&self, hostname: &str) -> Reply {
        let mut reply = Reply::plain(250, hostname.to_owned())
            .line("PIPELINING")
            .line(format!("SIZE {}", self.size))
            .line("8BITMIME")
            .line("ENHANCEDSTATUSCODES");
        if self.starttls {
            reply = reply.line("STARTTLS");
        }
        if !self.auth.is_empty() {
            reply = reply.line(format!("AUTH {}", self.auth.join(" ")));
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::super::far_reply::ReplyReader;
    use super::*;

    fn read(text: &str) -> Extensions {
        let mut input = BytesMut::from(text.as_bytes());
        let reply = ReplyReader::new().feed(&mut input).unwrap().unwrap();
        Extensions::from_ehlo(&reply)
    }

    #[test]
    fn keywords_in_any_case() {
        let found = read(
            "250-mx.example\r\n250-pipelining\r\n250-Size 1000\r\n250-8bitMIME\r\n\
             250-StartTLS\r\n250-ENHANCEDSTATUSCODES\r\n250-AUTH plain LOGIN\r\n\
             250-AUTH=LOGIN XOAUTH2\r\n250 X-OTHER\r\n",
        );
        assert_eq!(
            found,
            Extensions {
                size: true,
                size_limit: Some(1000),
                pipelining: true,
                eight_bit_mime: true,
                enhanced_status_codes: true,
                starttls: true,
                starttls_masked: false,
                auth: vec!["PLAIN".into(), "LOGIN".into(), "XOAUTH2".into()],
            }
        );
    }

    #[test]
    fn the_greeting_is_no_extension() {
        assert_eq!(read("250 STARTTLS\r\n"), Extensions::default());
        assert!(!read("250-STARTTLS\r\n250 SIZE\r\n").starttls);
    }

    #[test]
    fn i9_size_zero_is_no_limit() {
        for text in ["SIZE 0", "SIZE", "SIZE x", "SIZE 99999999999999999999999"] {
            let found = read(&format!("250-mx\r\n250 {text}\r\n"));
            assert!(found.size && found.size_limit.is_none(), "{text}");
        }
    }

    #[test]
    fn e23_a_masked_starttls_is_seen() {
        for text in ["XXXXXXXX", "XXXXXXXA", "XXXA"] {
            let found = read(&format!("250-mx\r\n250 {text}\r\n"));
            assert!(found.starttls_masked && !found.starttls, "{text}");
        }
        assert!(!read("250-mx\r\n250-XXXXXXXX\r\n250 STARTTLS\r\n").starttls_masked);
        for text in ["XCLIENT", "X", "XA", "XFORWARD NAME"] {
            assert!(
                !read(&format!("250-mx\r\n250 {text}\r\n")).starttls_masked,
                "{text}"
            );
        }
    }

    #[test]
    fn offers_read_back() {
        let offer = Offer {
            size: 52_428_800,
            starttls: true,
            auth: &["PLAIN", "LOGIN"],
        };
        let text = offer.ehlo_reply("relay.example").to_bytes();
        let found = read(std::str::from_utf8(&text).unwrap());
        assert!(found.pipelining && found.eight_bit_mime && found.starttls);
        assert_eq!(found.size_limit, Some(52_428_800));
        assert_eq!(found.auth, ["PLAIN", "LOGIN"]);
        let bare = Offer {
            size: 0,
            starttls: false,
            auth: &[],
        }
        .ehlo_reply("r");
        assert!(
            bare.lines()
                .all(|l| !l.starts_with("AUTH") && l != "STARTTLS")
        );
    }
}
