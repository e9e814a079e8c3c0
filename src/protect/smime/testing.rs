//! A little authority for tests.

use openssl::asn1::{Asn1Integer, Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
};
use openssl::x509::{
    X509, X509Builder, X509Crl, X509CrlBuilder, X509Extension, X509Name, X509RevokedBuilder,
};

use super::seconds;
use crate::protect::openpgp::testing::at;

/// A certificate with its key.
pub(super) struct Identity {
    pub(super) certificate: X509,
    pub(super) key: PKey<Private>,
}

/// What a certificate is to be like.
pub(super) struct Wish {
    pub(super) key: Key,
    pub(super) address: Option<&'static str>,
    pub(super) subject_address: Option<&'static str>,
    pub(super) from: &'static str,
    pub(super) to: &'static str,
    pub(super) usage: Usage,
    pub(super) purpose: Option<&'static str>,
    pub(super) digest: MessageDigest,
    pub(super) serial: u32,
}

#[derive(Clone, Copy)]
pub(super) enum Key {
    Rsa(u32),
    Ec(Nid),
    Ed25519,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Usage {
    /// As the key's kind wants it.
    Encrypt,
    Sign,
    Authority,
    /// No extension.
    Any,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            key: Key::Rsa(2048),
            address: Some("anna@clinic.example"),
            subject_address: None,
            from: "2026-01-01T00:00:00Z",
            to: "2027-01-01T00:00:00Z",
            usage: Usage::Encrypt,
            purpose: Some("emailProtection"),
            digest: MessageDigest::sha256(),
            serial: 7,
        }
    }
}

/// An authority that signed itself.
pub(super) fn authority() -> Identity {
    issue(
        &Wish {
            address: None,
            usage: Usage::Authority,
            purpose: None,
            from: "2025-01-01T00:00:00Z",
            to: "2035-01-01T00:00:00Z",
            ..Wish::default()
        },
        None,
        "authority",
    )
}

/// One below another.
pub(super) fn below(issuer: &Identity) -> Identity {
    issue(
        &Wish {
            address: None,
            usage: Usage::Authority,
            purpose: None,
            to: "2034-01-01T00:00:00Z",
            serial: 99,
            ..Wish::default()
        },
        Some(issuer),
        "between",
    )
}

/// A person's certificate; without an issuer it signed itself.
pub(super) fn issue(wish: &Wish, issuer: Option<&Identity>, name: &str) -> Identity {
    let key = make_key(wish.key);
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(wish.serial).unwrap();
    let serial = Asn1Integer::from_bn(&serial).unwrap();
    builder.set_serial_number(&serial).unwrap();
    let mut subject = X509Name::builder().unwrap();
    subject.append_entry_by_nid(Nid::COMMONNAME, name).unwrap();
    if let Some(address) = wish.subject_address {
        subject
            .append_entry_by_nid(Nid::PKCS9_EMAILADDRESS, address)
            .unwrap();
    }
    let subject = subject.build();
    builder.set_subject_name(&subject).unwrap();
    let issued_by = issuer.map_or(&*subject, |i| i.certificate.subject_name());
    builder.set_issuer_name(issued_by).unwrap();
    builder.set_not_before(&time(wish.from)).unwrap();
    builder.set_not_after(&time(wish.to)).unwrap();
    builder.set_pubkey(&key).unwrap();
    extend(&mut builder, wish, issuer);
    let signing = issuer.map_or(&key, |i| &i.key);
    let digest = match wish.key {
        Key::Ed25519 if issuer.is_none() => MessageDigest::null(),
        _ => wish.digest,
    };
    builder.sign(signing, digest).unwrap();
    Identity {
        certificate: builder.build(),
        key,
    }
}

fn extend(builder: &mut X509Builder, wish: &Wish, issuer: Option<&Identity>) {
    let mut constraints = BasicConstraints::new();
    let mut usage = KeyUsage::new();
    match (wish.usage, wish.key) {
        (Usage::Authority, _) => {
            constraints.ca();
            usage.key_cert_sign().crl_sign();
        }
        (Usage::Sign, _) => {
            usage.digital_signature();
        }
        (_, Key::Ec(_)) => {
            usage.key_agreement();
        }
        _ => {
            usage.key_encipherment();
        }
    }
    builder
        .append_extension(constraints.build().unwrap())
        .unwrap();
    if wish.usage != Usage::Any {
        builder.append_extension(usage.build().unwrap()).unwrap();
    }
    if let Some(purpose) = wish.purpose {
        let purposes = ExtendedKeyUsage::new().other(purpose).build().unwrap();
        builder.append_extension(purposes).unwrap();
    }
    if let Some(address) = wish.address {
        let issuer = issuer.map(|i| i.certificate.as_ref());
        let context = builder.x509v3_context(issuer, None);
        let names = SubjectAlternativeName::new().email(address).build(&context);
        builder.append_extension(names.unwrap()).unwrap();
    }
}

fn make_key(kind: Key) -> PKey<Private> {
    match kind {
        Key::Rsa(bits) => PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap(),
        Key::Ec(curve) => {
            let group = EcGroup::from_curve_name(curve).unwrap();
            PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
        }
        Key::Ed25519 => PKey::generate_ed25519().unwrap(),
    }
}

/// A list of an authority, with these serial numbers, good until then.
pub(super) fn revocations(issuer: &Identity, serials: &[u32], until: &str) -> X509Crl {
    let mut builder = X509CrlBuilder::new().unwrap();
    builder
        .set_issuer_name(issuer.certificate.subject_name())
        .unwrap();
    builder
        .set_last_update(&time("2026-02-01T00:00:00Z"))
        .unwrap();
    builder.set_next_update(&time(until)).unwrap();
    for serial in serials {
        let mut revoked = X509RevokedBuilder::new().unwrap();
        let serial = BigNum::from_u32(*serial).unwrap();
        let serial = Asn1Integer::from_bn(&serial).unwrap();
        revoked.set_serial_number(&serial).unwrap();
        revoked
            .set_revocation_date(&time("2026-02-01T00:00:00Z"))
            .unwrap();
        builder.add_revoked(revoked.build()).unwrap();
    }
    // The library wants both: a key's identifier (any), and the list's number.
    for (name, der) in [
        ("2.5.29.35", &[0x30, 3, 0x80, 1, 1][..]),
        ("2.5.29.20", &[2, 1, 1]),
    ] {
        let name = Asn1Object::from_str(name).unwrap();
        let der = Asn1OctetString::new_from_bytes(der).unwrap();
        let extension = X509Extension::new_from_der(&name, false, &der).unwrap();
        builder.append_extension(extension).unwrap();
    }
    builder.sort().unwrap();
    builder.sign(&issuer.key, MessageDigest::sha256()).unwrap();
    builder.build().unwrap()
}

fn time(text: &str) -> Asn1Time {
    Asn1Time::from_unix(seconds(at(text))).unwrap()
}
