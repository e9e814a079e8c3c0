//! The table of refusals: none of these is ever encrypted to.

use openssl::hash::MessageDigest;
use openssl::nid::Nid;

use super::testing::{Identity, Key, Usage, Wish, authority, below, issue, revocations};
use super::{Authorities, Certificate};
use crate::protect::Refusal;
use crate::protect::openpgp::testing::{anna, at, now};
use crate::types::Timestamp;

fn verdict(
    identity: &Identity,
    by_hand: bool,
    authorities: &Authorities,
    moment: Timestamp,
) -> Result<(), Refusal> {
    let certificate = Certificate::read(&identity.certificate.to_der().unwrap()).unwrap();
    let usable = certificate[0].usable_for(&anna(), by_hand, authorities, moment);
    usable.map(|_| ())
}

/// Of what was added by hand.
#[test]
fn refusals_have_their_reason() {
    let none = Authorities::default();
    let young = at("2025-06-01T00:00:00Z");
    let late = at("2027-06-01T00:00:00Z");
    let table: Vec<(&str, Wish, Timestamp, Refusal)> = vec![
        ("expired", Wish::default(), late, Refusal::Expired),
        ("young", Wish::default(), young, Refusal::NotYetValid),
        (
            "another's",
            Wish {
                address: Some("berta@clinic.example"),
                ..Wish::default()
            },
            now(),
            Refusal::OtherAddress,
        ),
        (
            "RSA of 1024 bits",
            Wish {
                key: Key::Rsa(1024),
                ..Wish::default()
            },
            now(),
            Refusal::TooWeak,
        ),
        (
            "a curve of 224 bits",
            Wish {
                key: Key::Ec(Nid::SECP224R1),
                ..Wish::default()
            },
            now(),
            Refusal::TooWeak,
        ),
        (
            "Ed25519",
            Wish {
                key: Key::Ed25519,
                ..Wish::default()
            },
            now(),
            Refusal::Unsupported,
        ),
        (
            "to sign with",
            Wish {
                usage: Usage::Sign,
                ..Wish::default()
            },
            now(),
            Refusal::NotForEncryption,
        ),
        (
            "a web server's",
            Wish {
                purpose: Some("serverAuth"),
                ..Wish::default()
            },
            now(),
            Refusal::WrongPurpose,
        ),
    ];
    for (what, wish, moment, wanted) in table {
        let identity = issue(&wish, None, "anna");
        let got = verdict(&identity, true, &none, moment);
        assert_eq!(got, Err(wanted), "{what}");
    }
}

#[test]
fn what_is_not_refused() {
    let none = Authorities::default();
    for wish in [
        Wish::default(),
        Wish {
            usage: Usage::Any,
            purpose: None,
            ..Wish::default()
        },
        Wish {
            purpose: Some("anyExtendedKeyUsage"),
            ..Wish::default()
        },
        Wish {
            address: None,
            subject_address: Some("anna@clinic.example"),
            ..Wish::default()
        },
        Wish {
            address: Some("ANNA@Clinic.Example"),
            ..Wish::default()
        },
    ] {
        let identity = issue(&wish, None, "anna");
        assert_eq!(verdict(&identity, true, &none, now()), Ok(()));
        // What nobody added by hand, nobody vouches for.
        let found = verdict(&identity, false, &none, now());
        assert_eq!(found, Err(Refusal::Untrusted));
    }
}

#[test]
fn chains_lead_to_a_root() {
    let (root, other) = (authority(), authority());
    let between = below(&root);
    let near = issue(&Wish::default(), Some(&root), "anna");
    let far = issue(&Wish::default(), Some(&between), "anna");
    let pem = |identity: &Identity| identity.certificate.to_pem().unwrap();
    let mut roots = Authorities::default();
    roots.add_roots(&pem(&root)).unwrap();
    assert_eq!(verdict(&near, false, &roots, now()), Ok(()));
    assert_eq!(verdict(&far, false, &roots, now()), Err(Refusal::Untrusted));
    roots.add_between(&pem(&between)).unwrap();
    assert_eq!(verdict(&far, false, &roots, now()), Ok(()));
    // An authority that is only known is no root.
    let mut strangers = Authorities::default();
    strangers.add_roots(&pem(&other)).unwrap();
    strangers.add_between(&pem(&root)).unwrap();
    assert_eq!(
        verdict(&near, false, &strangers, now()),
        Err(Refusal::Untrusted)
    );
    // A signature that can be forged proves nothing.
    let weak = Wish {
        digest: MessageDigest::sha1(),
        ..Wish::default()
    };
    let weak = issue(&weak, Some(&root), "anna");
    assert_eq!(
        verdict(&weak, false, &roots, now()),
        Err(Refusal::Untrusted)
    );
    // Its own time is not enough where the authority's is over.
    let long = Wish {
        to: "2040-01-01T00:00:00Z",
        ..Wish::default()
    };
    let long = issue(&long, Some(&root), "anna");
    let after = at("2036-01-01T00:00:00Z");
    assert_eq!(
        verdict(&long, false, &roots, after),
        Err(Refusal::Untrusted)
    );
}

#[test]
fn lists_of_revoked_certificates() {
    let (root, other) = (authority(), authority());
    let between = below(&root);
    let near = issue(&Wish::default(), Some(&root), "anna");
    let far = issue(&Wish::default(), Some(&between), "anna");
    let pem = |identity: &Identity| identity.certificate.to_pem().unwrap();
    let with = |issuer: &Identity, serials: &[u32], until: &str| {
        let mut authorities = Authorities::default();
        authorities.add_roots(&pem(&root)).unwrap();
        authorities.add_between(&pem(&between)).unwrap();
        let list = revocations(issuer, serials, until).to_pem().unwrap();
        authorities.add_revocations(&list).unwrap();
        authorities
    };
    let (fresh, stale) = ("2027-01-01T00:00:00Z", "2026-03-01T00:00:00Z");
    for (issuer, serials, until, by_hand, found) in [
        (
            &root,
            &[7][..],
            fresh,
            Err(Refusal::Revoked),
            Err(Refusal::Revoked),
        ),
        (&root, &[8], fresh, Ok(()), Ok(())),
        (&root, &[8], stale, Ok(()), Err(Refusal::RevocationUnknown)),
        (
            &root,
            &[7],
            stale,
            Err(Refusal::Revoked),
            Err(Refusal::Revoked),
        ),
        // By somebody of the same name who is not known.
        (&other, &[7], fresh, Ok(()), Ok(())),
    ] {
        let authorities = with(issuer, serials, until);
        assert_eq!(verdict(&near, true, &authorities, now()), by_hand);
        assert_eq!(verdict(&near, false, &authorities, now()), found);
    }
    // An authority on the way was revoked.
    let authorities = with(&root, &[99], fresh);
    let got = verdict(&far, false, &authorities, now());
    assert_eq!(got, Err(Refusal::Revoked));
}
