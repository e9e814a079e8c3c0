//! The table of refusals: none of these is ever encrypted to.

use sequoia_openpgp as pgp;

use pgp::cert::CipherSuite;
use pgp::types::ReasonForRevocation;

use super::testing::{anna, at, builder, for_a_year, key, now, public};
use super::{Certificate, Usable};
use crate::protect::{KeyError, Refusal, system_time};
use crate::types::{Mailbox, Timestamp};

const MADE: &str = "2026-01-01T00:00:00Z";

fn kept(name: &str) -> Certificate {
    let path = format!("{}/tests/keys/pgp-{name}.asc", env!("CARGO_MANIFEST_DIR"));
    let octets = std::fs::read(path).unwrap();
    Certificate::read(&octets).unwrap().remove(0)
}

fn at_clinic(name: &str) -> Mailbox {
    Mailbox::parse(&format!("{name}@clinic.example")).unwrap()
}

/// Revokes with the revocation that was made along with the key.
fn revoked(reason: Option<ReasonForRevocation>) -> pgp::Cert {
    let (cert, mut ready) = for_a_year().generate().unwrap();
    if let Some(reason) = reason {
        let mut signer = cert
            .primary_key()
            .key()
            .clone()
            .parts_into_secret()
            .unwrap()
            .into_keypair()
            .unwrap();
        ready = pgp::cert::CertRevocationBuilder::new()
            .set_reason_for_revocation(reason, b"")
            .unwrap()
            .set_signature_creation_time(system_time(at("2026-06-01T00:00:00Z")))
            .unwrap()
            .build(&mut signer, &cert, None)
            .unwrap();
    }
    cert.insert_packets(ready).unwrap().0
}

fn with_revoked_subkey() -> pgp::Cert {
    let cert = for_a_year().generate().unwrap().0;
    let mut signer = cert
        .primary_key()
        .key()
        .clone()
        .parts_into_secret()
        .unwrap()
        .into_keypair()
        .unwrap();
    let subkey = cert.keys().subkeys().next().unwrap();
    let packet = pgp::cert::SubkeyRevocationBuilder::new()
        .set_reason_for_revocation(ReasonForRevocation::KeyCompromised, b"")
        .unwrap()
        .set_signature_creation_time(system_time(at("2026-06-01T00:00:00Z")))
        .unwrap()
        .build(&mut signer, &cert, subkey.key(), None)
        .unwrap();
    cert.clone().insert_packets(packet).unwrap().0
}

fn with_revoked_user_id() -> pgp::Cert {
    let cert = for_a_year().add_userid("<other@clinic.example>");
    let cert = cert.generate().unwrap().0;
    let mut signer = cert
        .primary_key()
        .key()
        .clone()
        .parts_into_secret()
        .unwrap()
        .into_keypair()
        .unwrap();
    let user = cert
        .userids()
        .find(|u| u.userid().value().starts_with(b"Anna"));
    let packet = pgp::cert::UserIDRevocationBuilder::new()
        .set_reason_for_revocation(ReasonForRevocation::UIDRetired, b"")
        .unwrap()
        .set_signature_creation_time(system_time(at("2026-06-01T00:00:00Z")))
        .unwrap()
        .build(&mut signer, &cert, user.unwrap().userid(), None)
        .unwrap();
    cert.clone().insert_packets(packet).unwrap().0
}

#[test]
fn refusals_have_their_reason() {
    let year = public(&for_a_year().generate().unwrap().0);
    let alone = builder(CipherSuite::Cv25519).generate().unwrap().0;
    let sign_only = builder(CipherSuite::Cv25519).add_signing_subkey();
    let sign_only = sign_only.generate().unwrap().0;
    let superseded = ReasonForRevocation::KeySuperseded;
    let late = now() + std::time::Duration::from_secs(400 * 86_400);
    let table: Vec<(&str, Certificate, Mailbox, Timestamp, Refusal)> = vec![
        ("expired", year.clone(), anna(), late, Refusal::Expired),
        (
            "young",
            year.clone(),
            anna(),
            at("2025-01-01T00:00:00Z"),
            Refusal::NotYetValid,
        ),
        (
            "revoked",
            public(&revoked(None)),
            anna(),
            now(),
            Refusal::Revoked,
        ),
        (
            "superseded",
            public(&revoked(Some(superseded))),
            anna(),
            now(),
            Refusal::Revoked,
        ),
        (
            "subkey revoked",
            public(&with_revoked_subkey()),
            anna(),
            now(),
            Refusal::Revoked,
        ),
        (
            "user ID revoked",
            public(&with_revoked_user_id()),
            anna(),
            now(),
            Refusal::OtherAddress,
        ),
        (
            "wrong user ID",
            year,
            at_clinic("berta"),
            now(),
            Refusal::OtherAddress,
        ),
        (
            "sign only",
            public(&sign_only),
            anna(),
            now(),
            Refusal::NotForEncryption,
        ),
        (
            "no subkeys",
            public(&alone),
            anna(),
            now(),
            Refusal::NotForEncryption,
        ),
        (
            "RSA of 1024 bits",
            kept("weak"),
            at_clinic("weak"),
            now(),
            Refusal::TooWeak,
        ),
        (
            "a weak subkey",
            kept("weaksub"),
            at_clinic("weaksub"),
            now(),
            Refusal::TooWeak,
        ),
        (
            "bound by SHA-1",
            kept("sha1"),
            at_clinic("sha1"),
            now(),
            Refusal::TooWeak,
        ),
        (
            "ElGamal",
            kept("elgamal"),
            at_clinic("elgamal"),
            now(),
            Refusal::TooWeak,
        ),
    ];
    for (what, certificate, recipient, moment, wanted) in table {
        let got = certificate
            .usable_for(&recipient, moment)
            .map(|_: Usable| ());
        assert_eq!(got, Err(wanted), "{what}");
    }
}

/// Before it was superseded it was good, and a key stays good for its other
/// addresses and in any case of letters.
#[test]
fn what_is_not_refused() {
    let superseded = public(&revoked(Some(ReasonForRevocation::KeySuperseded)));
    assert!(
        superseded
            .usable_for(&anna(), at("2026-03-01T00:00:00Z"))
            .is_ok()
    );
    let other = public(&with_revoked_user_id());
    assert!(other.usable_for(&at_clinic("other"), now()).is_ok());
    let plain = public(&key(CipherSuite::Cv25519));
    let shouted = Mailbox::parse("ANNA@Clinic.Example").unwrap();
    assert!(plain.usable_for(&shouted, now()).is_ok());
    assert_eq!(plain.addresses(), [anna()]);
    assert_eq!(plain.created(), at(MADE));
    assert_eq!(plain.expires(now()), None);
    assert_eq!(plain.algorithm(), "EdDSA");
}

#[test]
fn certificates_without_an_address_are_not_taken() {
    use pgp::serialize::SerializeInto;
    let nobody = pgp::cert::CertBuilder::new().add_userid("Nobody");
    let nobody = nobody
        .add_transport_encryption_subkey()
        .generate()
        .unwrap()
        .0;
    let octets = nobody.armored().to_vec().unwrap();
    assert!(matches!(
        Certificate::read(&octets),
        Err(KeyError::NoAddress(_))
    ));
    let large = vec![0u8; super::CERTIFICATE_MAX + 1];
    assert_eq!(Certificate::read(&large).unwrap_err(), KeyError::TooLarge);
}

#[test]
fn a_newer_copy_adds_to_the_old() {
    let (old, newer) = super::testing::revoked_later();
    assert!(old.usable_for(&anna(), now()).is_ok());
    let merged = old.merged_with(newer).unwrap();
    assert_eq!(
        merged.usable_for(&anna(), now()).map(|_| ()),
        Err(Refusal::Revoked)
    );
    let stranger = public(&key(CipherSuite::Cv25519));
    assert!(merged.merged_with(stranger).is_err());
}
