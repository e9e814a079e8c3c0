//! Tests of the message that is made.

use sequoia_openpgp as pgp;

use pgp::Profile;
use pgp::cert::CipherSuite;

use super::testing::{anna, armored, builder, decrypt, key, now, public, signer};
use super::{Certificate, Signer, protect};
use crate::protect::{KeyError, ProtectError, Protected, Refusal};
use crate::sys::SystemEntropy;

const MESSAGE: &[u8] = b"From: Dr Berg <berg@hospital.example>\r\nTo: anna@clinic.example\r\n\
    Bcc: hidden@clinic.example\r\nSubject: your blood test\r\nMIME-Version: 1.0\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
    H\xc3\xa4moglobin\r\n.\r\n--\r\nFrom here \r\n\r\n";
const BODY: &[u8] = b"H\xc3\xa4moglobin\r\n.\r\n--\r\nFrom here \r\n\r\n";

fn make(message: &[u8], to: &pgp::Cert, by: Option<&Signer>) -> Protected {
    let usable = public(to).usable_for(&anna(), now()).unwrap();
    protect(message, &usable, by, now(), &SystemEntropy::default()).unwrap()
}

fn has(octets: &[u8], text: &str) -> bool {
    memchr::memmem::find(octets, text.as_bytes()).is_some()
}

/// Every kind of key decrypts and verifies, and the body is what it was.
#[test]
fn keys_of_every_kind() {
    let organisation = builder(CipherSuite::Cv25519);
    let organisation = organisation.add_signing_subkey().generate().unwrap().0;
    let signer = signer(&organisation);
    for suite in [
        CipherSuite::RSA2k,
        CipherSuite::RSA4k,
        CipherSuite::Cv25519,
        CipherSuite::P256,
        CipherSuite::P384,
    ] {
        let anna = key(suite);
        let made = make(MESSAGE, &anna, Some(&signer));
        let (content, signatures) = decrypt(&made.octets, &anna, Some(&organisation)).unwrap();
        assert!(content.ends_with(BODY), "{suite:?}");
        assert!(has(&content, "Subject: your blood test\r\n"));
        assert!(has(&content, "HP-Outer: Subject: [...]\r\n"));
        assert_eq!(signatures, 1, "{suite:?}");
        assert_eq!(made.proof.keys.len(), 1);
        assert_eq!(made.proof.certificate, anna.fingerprint().to_hex());
        assert_eq!(made.proof.signed_by, Some(signer.fingerprint()));
    }
}

/// RFC 9580: version 6 keys and SEIPD version 2.
#[test]
fn version_6_keys() {
    let v6 = |email: &str| {
        pgp::cert::CertBuilder::new()
            .set_profile(Profile::RFC9580)
            .unwrap()
            .add_userid(format!("<{email}>"))
            .set_creation_time(crate::protect::system_time(super::testing::at(
                "2026-01-01T00:00:00Z",
            )))
            .add_transport_encryption_subkey()
            .add_signing_subkey()
            .generate()
            .unwrap()
            .0
    };
    let (anna, organisation) = (v6("anna@clinic.example"), v6("relay@hospital.example"));
    let made = make(MESSAGE, &anna, Some(&signer(&organisation)));
    assert_eq!(made.proof.cipher, "AES-256-OCB");
    assert!(public(&anna).algorithm().ends_with("(v6)"));
    let (content, signatures) = decrypt(&made.octets, &anna, Some(&organisation)).unwrap();
    assert!(content.ends_with(BODY) && signatures == 1);
}

#[test]
fn the_outside_says_nothing() {
    let anna = key(CipherSuite::Cv25519);
    let made = make(MESSAGE, &anna, None);
    let octets = &made.octets;
    assert_eq!(made.proof.signed_by, None);
    for secret in ["blood", "moglobin", "hidden", "utf-8"] {
        assert!(!has(octets, secret), "{secret}");
    }
    for wanted in [
        "To: anna@clinic.example\r\nSubject: [...]\r\nMIME-Version: 1.0\r\n",
        "Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\";\r\n boundary=",
        "Content-Type: application/pgp-encrypted\r\n",
        "\r\n\r\nVersion: 1\r\n\r\n--",
    ] {
        assert!(has(octets, wanted), "{wanted}");
    }
    let lines = octets.split(|b| *b == b'\n');
    assert!(lines.clone().all(|l| l.len() <= 79 && l.is_ascii()));
    assert_eq!(
        lines.clone().filter(|l| l.ends_with(b"\r")).count(),
        lines.count() - 1,
        "CRLF everywhere"
    );
    assert!(octets.ends_with(b"--\r\n"));
    assert!(!format!("{made:?}").contains("clinic"));
    // Somebody else's key opens nothing.
    assert!(decrypt(octets, &key(CipherSuite::Cv25519), None).is_err());
}

#[test]
fn all_encryption_subkeys_of_the_certificate_read_it() {
    let anna = builder(CipherSuite::Cv25519)
        .add_transport_encryption_subkey()
        .add_storage_encryption_subkey()
        .add_signing_subkey()
        .generate()
        .unwrap()
        .0;
    let made = make(MESSAGE, &anna, None);
    assert_eq!(made.proof.keys.len(), 2);
    let packets = pgp::PacketPile::from_bytes_of(armored(&made.octets));
    assert_eq!(packets, 2);
}

/// Counts the envelopes of a message.
trait Envelopes {
    fn from_bytes_of(octets: &[u8]) -> usize;
}

impl Envelopes for pgp::PacketPile {
    fn from_bytes_of(octets: &[u8]) -> usize {
        use pgp::parse::Parse;
        let pile = pgp::PacketPile::from_bytes(octets).unwrap();
        let is_envelope = |p: &&pgp::Packet| matches!(p, pgp::Packet::PKESK(_));
        pile.children().filter(is_envelope).count()
    }
}

#[test]
fn messages_of_every_size_and_shape() {
    let anna = key(CipherSuite::Cv25519);
    let large = [MESSAGE, &b"x".repeat(3 << 20)[..], b"\r\n"].concat();
    for message in [
        &large[..],
        b"",
        b"\r\n",
        b"no header",
        b"Subject: x\r\n",
        b"A: b",
    ] {
        let made = make(message, &anna, None);
        let (content, _) = decrypt(&made.octets, &anna, None).unwrap();
        let end = memchr::memmem::find(message, b"\r\n\r\n").map(|at| at + 4);
        let body = match end {
            Some(end) => &message[end..],
            None if message == b"no header\r\n" => message,
            None => b"",
        };
        assert!(content.ends_with(body));
        assert!(has(&content, "hp=\"cipher\""));
    }
}

/// The check at lookup is not the last one: what was usable then may not be now.
#[test]
fn what_expired_since_the_lookup_is_refused() {
    let anna_key = super::testing::for_a_year().generate().unwrap().0;
    let usable = public(&anna_key).usable_for(&anna(), now()).unwrap();
    let later = super::testing::at("2027-02-01T00:00:00Z");
    let made = protect(MESSAGE, &usable, None, later, &SystemEntropy::default());
    assert!(matches!(made, Err(ProtectError::Refused(Refusal::Expired))));
    let made = protect(
        MESSAGE,
        &usable,
        Some(&signer(&anna_key)),
        now(),
        &SystemEntropy::default(),
    );
    // This one has no subkey to sign with.
    assert!(matches!(
        made,
        Err(ProtectError::Signer(Refusal::NotForSigning))
    ));
}

#[test]
fn signing_keys_are_secret_and_open() {
    use pgp::serialize::SerializeInto;
    let open = key(CipherSuite::Cv25519);
    assert!(signer(&open).check(now()).is_ok());
    let text = public(&open).to_armored().unwrap();
    assert_eq!(Signer::read(&text).unwrap_err(), KeyError::Public);
    assert!(!format!("{:?}", signer(&open)).contains("anna"));
    let secret = open.as_tsk().armored().to_vec().unwrap();
    assert_eq!(Certificate::read(&secret).unwrap_err(), KeyError::Secret);
    let locked = builder(CipherSuite::Cv25519)
        .add_signing_subkey()
        .set_password(Some("secret".into()))
        .generate()
        .unwrap()
        .0;
    let locked = locked.as_tsk().armored().to_vec().unwrap();
    assert_eq!(Signer::read(&locked).unwrap_err(), KeyError::Passphrase);
    for junk in [&b""[..], b"hello", b"-----BEGIN PGP PUBLIC KEY BLOCK-----"] {
        assert!(matches!(
            Certificate::read(junk),
            Err(KeyError::Unreadable(_))
        ));
        assert!(Signer::read(junk).is_err());
    }
}
