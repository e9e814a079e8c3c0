//! Who issued a certificate, in words for people.
//!
//! Owns the reading of an X.501 name (RFC 5280 section 4.1.2.4), which webpki gives
//! as octets: common name and organisation, no more. Holds always: it is shown and
//! never judged by; whatever the octets are, nothing here panics, and what it gives
//! is short and printable. Called by `facts`.

/// The attributes that are shown, by the octets of their OID: 2.5.4.3 and 2.5.4.10.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANISATION: &[u8] = &[0x55, 0x04, 0x0a];
/// Characters of each attribute at most.
const TEXT_MAX: usize = 64;

const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

/// `COMMON NAME, ORGANISATION`, or what there is of it.
///
/// `name` is the content of the Name, without its own tag.
pub(super) fn words(name: &[u8]) -> Option<String> {
    let (mut common, mut organisation) = (None, None);
    for set in Elements(name).filter(|element| element.tag == SET) {
        for pair in Elements(set.content).filter(|element| element.tag == SEQUENCE) {
            let mut parts = Elements(pair.content);
            let (Some(oid), Some(value)) = (parts.next(), parts.next()) else {
                continue;
            };
            match (oid.tag, oid.content) {
                (OID, COMMON_NAME) => common = Some(printable(value.content)),
                (OID, ORGANISATION) => organisation = Some(printable(value.content)),
                _ => {}
            }
        }
    }
    let there: Vec<String> = [common, organisation].into_iter().flatten().collect();
    (!there.is_empty()).then(|| there.join(", "))
}

fn printable(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets);
    let shown = text.chars().take(TEXT_MAX);
    shown.map(|c| if disturbs(c) { '?' } else { c }).collect()
}

/// Whether a terminal would do something else than print it: controls, and what
/// turns the direction of writing.
fn disturbs(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// One DER element.
struct Element<'a> {
    tag: u8,
    content: &'a [u8],
}

/// The elements of some content, as far as they are whole.
struct Elements<'a>(&'a [u8]);

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let (tag, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        // Lengths over 65535 don't come in names.
        let (length, rest) = match (*first, rest) {
            (short @ 0..=0x7f, rest) => (usize::from(short), rest),
            (0x81, [a, rest @ ..]) => (usize::from(*a), rest),
            (0x82, [a, b, rest @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), rest),
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(Element { tag: *tag, content })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustls::pki_types::CertificateDer;
    use webpki::EndEntityCert;

    use super::*;

    fn issuer(organisation: &str) -> String {
        let mut params = rcgen::CertificateParams::new(vec!["mx.example".into()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let name = &mut params.distinguished_name;
        name.push(rcgen::DnType::CountryName, "AT");
        name.push(rcgen::DnType::OrganizationName, organisation);
        name.push(rcgen::DnType::CommonName, "Lab root");
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let der: &CertificateDer<'_> = certificate.der();
        words(EndEntityCert::try_from(der).unwrap().issuer()).unwrap()
    }

    #[test]
    fn common_name_and_organisation() {
        assert_eq!(issuer("Klinik für alle"), "Lab root, Klinik für alle");
    }

    #[test]
    fn long_and_unprintable_ones_are_made_harmless() {
        let long = "x".repeat(300);
        assert_eq!(issuer(&long), format!("Lab root, {}", "x".repeat(64)));
        assert_eq!(issuer("a\r\nb\u{1b}[2J\u{202e}"), "Lab root, a??b?[2J?");
    }

    proptest! {
        #[test]
        fn no_octets_make_it_panic(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = words(&octets);
        }
    }
}
