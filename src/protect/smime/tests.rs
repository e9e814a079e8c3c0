//! Tests of the message that is made.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::cms::{CMSOptions, CmsContentInfo};
use openssl::nid::Nid;
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;

use super::testing::{Identity, Key, Usage, Wish, authority, issue};
use super::{Authorities, Certificate, Cipher, Signer, Usable, protect};
use crate::protect::openpgp::testing::{anna, at, now};
use crate::protect::{KeyError, ProtectError, Refusal};
use crate::sys::SystemEntropy;

const MESSAGE: &[u8] = b"From: Dr Berg <berg@hospital.example>\r\nTo: anna@clinic.example\r\n\
    Bcc: hidden@clinic.example\r\nSubject: your blood test\r\nMIME-Version: 1.0\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
    H\xc3\xa4moglobin \r\n.\r\n--\r\nFrom here \r\n\r\n";
const BODY: &[u8] = b"H\xc3\xa4moglobin \r\n.\r\n--\r\nFrom here \r\n\r\n";

fn usable(identity: &Identity) -> Usable {
    let read = Certificate::read(&identity.certificate.to_der().unwrap()).unwrap();
    let authorities = Authorities::default();
    read[0]
        .usable_for(&anna(), true, &authorities, now())
        .unwrap()
}

fn hospital() -> Signer {
    let wish = Wish {
        address: Some("relay@hospital.example"),
        usage: Usage::Sign,
        // OpenSSL signs with the clock of the machine, and so do readers look.
        to: "2040-01-01T00:00:00Z",
        ..Wish::default()
    };
    signer(&issue(&wish, None, "relay"))
}

fn signer(identity: &Identity) -> Signer {
    let key = identity.key.private_key_to_pem_pkcs8().unwrap();
    Signer::read(&identity.certificate.to_pem().unwrap(), &key).unwrap()
}

/// The DER in a message, and the content in that.
fn open(message: &[u8], to: &Identity) -> Vec<u8> {
    let start = memchr::memmem::find(message, b"\r\n\r\n").unwrap() + 4;
    let text: Vec<u8> = message[start..]
        .iter()
        .copied()
        .filter(|b| !b"\r\n".contains(b))
        .collect();
    let der = STANDARD.decode(text).unwrap();
    let cms = CmsContentInfo::from_der(&der).unwrap();
    cms.decrypt(&to.key, &to.certificate).unwrap()
}

fn has(octets: &[u8], text: &str) -> bool {
    memchr::memmem::find(octets, text.as_bytes()).is_some()
}

#[test]
fn keys_of_every_kind_with_either_cipher() {
    let entropy = SystemEntropy::default();
    for key in [
        Key::Rsa(2048),
        Key::Rsa(4096),
        Key::Ec(Nid::X9_62_PRIME256V1),
        Key::Ec(Nid::SECP384R1),
    ] {
        let anna = issue(
            &Wish {
                key,
                ..Wish::default()
            },
            None,
            "anna",
        );
        // Authenticated decryption of CMS is not in OpenSSL's simple interface:
        // `tests/protect_peers.rs` opens those with the program.
        let made = protect(
            MESSAGE,
            &usable(&anna),
            None,
            Cipher::Aes256Cbc,
            now(),
            &entropy,
        );
        let made = made.unwrap();
        let content = open(&made.octets, &anna);
        assert!(content.ends_with(BODY) && has(&content, "HP-Outer: Subject: [...]\r\n"));
        assert_eq!(made.proof.cipher, "AES-256-CBC");
        let made = protect(
            MESSAGE,
            &usable(&anna),
            None,
            Cipher::Aes256Gcm,
            now(),
            &entropy,
        );
        let made = made.unwrap();
        assert!(has(&made.octets, "smime-type=authEnveloped-data;\r\n"));
        assert_eq!(made.proof.cipher, "AES-256-GCM");
    }
}

#[test]
fn the_outside_says_nothing_and_the_signature_holds() {
    let anna = issue(&Wish::default(), None, "anna");
    let signer = hospital();
    let made = protect(
        MESSAGE,
        &usable(&anna),
        Some(&signer),
        Cipher::default(),
        now(),
        &SystemEntropy::default(),
    )
    .unwrap();
    for secret in ["blood", "moglobin", "hidden", "utf-8"] {
        assert!(!has(&made.octets, secret), "{secret}");
    }
    assert!(has(
        &made.octets,
        "Subject: [...]\r\nMIME-Version: 1.0\r\n\
         Content-Type: application/pkcs7-mime; smime-type=enveloped-data;\r\n name=\"smime.p7m\"\r\n"
    ));
    let lines = made.octets.split(|b| *b == b'\n');
    assert!(lines.clone().all(|l| l.len() <= 79 && l.is_ascii()));
    assert_eq!(made.proof.signed_by, Some(signer.fingerprint()));
    assert!(!format!("{made:?}{signer:?}").contains("clinic"));

    // multipart/signed, whose first part is signed octet for octet.
    let content = open(&made.octets, &anna);
    let text = String::from_utf8_lossy(&content).into_owned();
    let boundary = text.split("boundary=\"").nth(1).unwrap();
    let cut = format!("\r\n--{}\r\n", boundary.split('"').next().unwrap());
    let parts: Vec<usize> = memchr::memmem::find_iter(&content, &cut).collect();
    let entity = &content[parts[0] + cut.len()..parts[1]];
    assert!(entity.ends_with(BODY));
    let signature = &content[parts[1] + cut.len()..];
    let start = memchr::memmem::find(signature, b"\r\n\r\n").unwrap() + 4;
    let end = memchr::memmem::find(signature, b"\r\n\r\n--").unwrap();
    let encoded = String::from_utf8_lossy(&signature[start..end]).replace("\r\n", "");
    let mut cms = CmsContentInfo::from_der(&STANDARD.decode(encoded).unwrap()).unwrap();
    let (none, store) = (
        Stack::new().unwrap(),
        X509StoreBuilder::new().unwrap().build(),
    );
    let flags = CMSOptions::BINARY | CMSOptions::NO_SIGNER_CERT_VERIFY;
    let verified = cms.verify(Some(&none), Some(&store), Some(entity), None, flags);
    verified.unwrap();
}

/// The check at lookup is not the last one.
#[test]
fn what_expired_since_the_lookup_is_refused() {
    let anna = issue(&Wish::default(), None, "anna");
    let to = usable(&anna);
    let entropy = SystemEntropy::default();
    let make = |signer: Option<&Signer>, moment| {
        protect(MESSAGE, &to, signer, Cipher::default(), moment, &entropy).map(|_| ())
    };
    let late = make(None, at("2027-02-01T00:00:00Z"));
    assert!(matches!(late, Err(ProtectError::Refused(Refusal::Expired))));
    let wrong = make(Some(&signer(&anna)), now());
    assert!(matches!(
        wrong,
        Err(ProtectError::Signer(Refusal::NotForSigning))
    ));
}

#[test]
fn signers_and_certificates_that_cannot_be_read() {
    let one = issue(&Wish::default(), None, "anna");
    let pem = one.certificate.to_pem().unwrap();
    let key = one.key.private_key_to_pem_pkcs8().unwrap();
    let other = authority().key.private_key_to_pem_pkcs8().unwrap();
    let cipher = openssl::symm::Cipher::aes_128_cbc();
    let locked = one
        .key
        .private_key_to_pem_pkcs8_passphrase(cipher, b"secret");
    let refusal = |certificate: &[u8], key: &[u8]| Signer::read(certificate, key).unwrap_err();
    assert_eq!(refusal(&pem, &other), KeyError::OtherKey);
    assert_eq!(refusal(&pem, &locked.unwrap()), KeyError::Passphrase);
    assert_eq!(refusal(&pem, &pem), KeyError::Public);
    assert!(matches!(refusal(b"junk", &key), KeyError::Unreadable(_)));
    let both = [&key[..], &pem].concat();
    assert_eq!(Certificate::read(&both).unwrap_err(), KeyError::Secret);
    assert!(Certificate::is_likely(&both) && Certificate::is_likely(&pem));
    assert!(Certificate::is_likely(&one.certificate.to_der().unwrap()));
    let lone = authority().certificate.to_pem().unwrap();
    assert!(matches!(
        Certificate::read(&lone),
        Err(KeyError::NoAddress(_))
    ));
    // With its authority behind it, as files often are.
    assert_eq!(
        Certificate::read(&[&pem[..], &lone].concat())
            .unwrap()
            .len(),
        1
    );
    for junk in [&b""[..], b"-----BEGIN CERTIFICATE-----", b"\x30\x82\x01"] {
        assert!(matches!(
            Certificate::read(junk),
            Err(KeyError::Unreadable(_))
        ));
    }
}

#[test]
fn what_listings_show() {
    let wish = Wish {
        key: Key::Ec(Nid::X9_62_PRIME256V1),
        subject_address: Some("ANNA@clinic.example"),
        ..Wish::default()
    };
    let anna_too = issue(&wish, None, "anna");
    let read = Certificate::read(&anna_too.certificate.to_pem().unwrap()).unwrap();
    assert_eq!(read[0].algorithm(), "P-256");
    assert_eq!(read[0].addresses(), [anna()]);
    assert_eq!(read[0].created(), at("2026-01-01T00:00:00Z"));
    assert_eq!(read[0].expires(), Some(at("2027-01-01T00:00:00Z")));
    assert_eq!(read[0].fingerprint().len(), 64);
    let again = Certificate::read(&read[0].to_pem().unwrap()).unwrap();
    assert_eq!(again, read);
}
