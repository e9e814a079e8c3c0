//! Where an OpenPGP Web Key Directory has a key: draft-koch-openpgp-webkey-service-21,
//! section 3.1.
//!
//! Holds always: the advanced method's host is the domain's `openpgpkey`; the local
//! part is hashed in lower case (of ASCII alone) and sent as it is written.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::types::Domain;

/// A place where a key may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) host: Domain,
    pub(super) path: String,
}

/// By the advanced method; `None`: the domain is too long to have such a host.
pub(super) fn advanced(local: &str, domain: &Domain) -> Option<Place> {
    let host = Domain::parse(&format!("openpgpkey.{domain}")).ok()?;
    let path = format!("/.well-known/openpgpkey/{domain}{}", file(local));
    Some(Place { host, path })
}

/// By the direct method.
pub(super) fn direct(local: &str, domain: &Domain) -> Place {
    Place {
        host: domain.clone(),
        path: format!("/.well-known/openpgpkey{}", file(local)),
    }
}

fn file(local: &str) -> String {
    format!("/hu/{}?l={}", hash(local), escaped(local))
}

/// SHA-1 here names a file, and protects nothing.
fn hash(local: &str) -> String {
    let lower = local.to_ascii_lowercase();
    z_base_32(digest(&SHA1_FOR_LEGACY_USE_ONLY, lower.as_bytes()).as_ref())
}

/// z-base-32 (RFC 6189 section 5.1.6), five bits a letter; what is left over of the
/// bits fills one more.
fn z_base_32(octets: &[u8]) -> String {
    const LETTERS: &[u8; 32] = b"ybndrfg8ejkmcpqxot1uwisza345h769";
    let (mut bits, mut count) = (0_u32, 0);
    let mut text = String::new();
    let mut letter = |bits: u32| {
        let place = (bits & 31) as usize;
        text.extend(LETTERS.get(place).map(|letter| char::from(*letter)));
    };
    for octet in octets {
        bits = bits << 8 | u32::from(*octet);
        count += 8;
        while count >= 5 {
            count -= 5;
            letter(bits >> count);
        }
        bits &= (1 << count) - 1;
    }
    if count > 0 {
        letter(bits << (5 - count));
    }
    text
}

/// Percent-encoded (RFC 3986 section 2.1), all but what never needs it.
fn escaped(local: &str) -> String {
    let mut text = String::new();
    for octet in local.bytes() {
        match octet {
            b'-' | b'.' | b'_' | b'~' => text.push(char::from(octet)),
            _ if octet.is_ascii_alphanumeric() => text.push(char::from(octet)),
            // Writing to a String can't fail.
            _ => drop(write!(text, "%{octet:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain() -> Domain {
        Domain::parse("Example.ORG").unwrap()
    }

    /// The draft's own example.
    #[test]
    fn joe_doe() {
        let place = advanced("Joe.Doe", &domain()).unwrap();
        assert_eq!(place.host.as_str(), "openpgpkey.example.org");
        assert_eq!(
            place.path,
            "/.well-known/openpgpkey/example.org/hu/iy9q119eutrkn8s1mk4r39qejnbu3n5q?l=Joe.Doe"
        );
        let place = direct("Joe.Doe", &domain());
        assert_eq!(place.host.as_str(), "example.org");
        assert_eq!(
            place.path,
            "/.well-known/openpgpkey/hu/iy9q119eutrkn8s1mk4r39qejnbu3n5q?l=Joe.Doe"
        );
    }

    /// Well-known ones of other implementations (gpg-wks-client's among them).
    #[test]
    fn other_peoples_hashes() {
        for (local, wanted) in [
            ("bernhard.reiter", "it5sewh54rxz33fwmr8u6dy4bbz8itz4"),
            ("gemato", "5x66h616iaskmnadrm86ndo6xnxbxjxb"),
            ("dewey", "1g8totoxbt4zf6na1sukczp5fiewr1oe"),
            ("JOE.doe", "iy9q119eutrkn8s1mk4r39qejnbu3n5q"),
        ] {
            assert_eq!(hash(local), wanted, "{local}");
        }
    }

    /// Of the specification of z-base-32, and the ends.
    #[test]
    fn left_over_bits() {
        for (octets, wanted) in [
            (&b""[..], ""),
            (&[0], "yy"),
            (&[0xff], "9h"),
            (&[0xf0, 0xbf, 0xc7], "6n9hq"),
            (&[0xd4, 0x7a, 0x04], "4t7ye"),
        ] {
            assert_eq!(z_base_32(octets), wanted, "{octets:?}");
        }
    }

    #[test]
    fn what_a_query_may_not_hold_is_escaped() {
        assert_eq!(escaped("a b+c@d&e=f#\"%"), "a%20b%2Bc%40d%26e%3Df%23%22%25");
        assert_eq!(escaped("plain-name.1_x~"), "plain-name.1_x~");
    }

    #[test]
    fn a_domain_too_long_has_no_host() {
        let labels = [
            "a".repeat(63),
            "b".repeat(63),
            "c".repeat(63),
            "d".repeat(60),
        ];
        let long = Domain::parse(&labels.join(".")).unwrap();
        assert_eq!(advanced("a", &long), None);
    }
}
