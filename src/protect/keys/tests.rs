//! Tests of the store: what is kept, what is pinned, what is chosen.

use std::fs;
use std::time::Duration;

use sequoia_openpgp::cert::CipherSuite;

use super::files;
use super::*;
use crate::protect::openpgp::testing::{anna, at, builder, for_a_year, key, now, public};

fn store() -> (tempfile::TempDir, KeyStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = KeyStore::new(folder.path().join("keys"));
    (folder, store)
}

fn annas() -> AnyCertificate {
    AnyCertificate::OpenPgp(public(&key(CipherSuite::Cv25519)))
}

fn text(certificate: &AnyCertificate) -> Vec<u8> {
    certificate.to_text().unwrap()
}

fn terms(least: Trust) -> Terms<'static> {
    static NOBODY: std::sync::LazyLock<Authorities> =
        std::sync::LazyLock::new(Authorities::default);
    Terms {
        least,
        authorities: &NOBODY,
        now: now(),
    }
}

fn chosen(store: &KeyStore, least: Trust) -> Result<(String, Trust), Vec<Refusal>> {
    let keys = store.current().unwrap();
    match keys.choose(&anna(), Kind::OpenPgp, &terms(least)) {
        Ok(chosen) => Ok((chosen.key.fingerprint(), chosen.trust)),
        Err(no) => Err(no.refused.into_iter().map(|(_, why)| why).collect()),
    }
}

fn found(store: &KeyStore, certificate: &AnyCertificate) -> Discovery {
    let found = store.discovered_for(&anna(), certificate, Origin::Wkd, &terms(Trust::Discovered));
    found.unwrap()
}

#[test]
fn added_by_hand_listed_removed() {
    let (folder, store) = store();
    assert_eq!(chosen(&store, Trust::Discovered), Err(vec![]));
    let one = annas();
    let added = store.add(&text(&one), now()).unwrap();
    assert_eq!(added[0].outcome, Outcome::Added);
    let path = folder.path().join("keys/recipients");
    let path = path.join(format!("{}.asc", one.fingerprint()));
    assert!(path.is_file());
    let wanted = Ok((one.fingerprint(), Trust::Manual));
    assert_eq!(chosen(&store, Trust::Manual), wanted);
    // Again, as it was.
    let again = store.add(&text(&one), now()).unwrap();
    assert_eq!(again[0].outcome, Outcome::Unchanged);
    // A daemon with a store of its own sees it, and sees it go.
    let daemon = KeyStore::new(folder.path().join("keys"));
    assert_eq!(chosen(&daemon, Trust::Manual), wanted);
    let spaced = one.fingerprint().to_lowercase();
    let (head, tail) = spaced.split_at(20);
    store.remove(&format!("{head}  {tail}")).unwrap();
    assert_eq!(chosen(&daemon, Trust::Discovered), Err(vec![]));
    assert!(matches!(
        store.remove(&one.fingerprint()),
        Err(StoreError::Unknown(_))
    ));
}

#[test]
fn a_newer_copy_is_taken_in_and_an_older_one_takes_nothing_back() {
    let (_folder, store) = store();
    let (old, revoked) = crate::protect::openpgp::testing::revoked_later();
    let (old, revoked) = (
        AnyCertificate::OpenPgp(old),
        AnyCertificate::OpenPgp(revoked),
    );
    store.add(&text(&old), now()).unwrap();
    assert!(chosen(&store, Trust::Manual).is_ok());
    let added = store.add(&text(&revoked), now()).unwrap();
    assert_eq!(added[0].outcome, Outcome::Updated);
    assert_eq!(chosen(&store, Trust::Manual), Err(vec![Refusal::Revoked]));
    let added = store.add(&text(&old), now()).unwrap();
    assert_eq!(added[0].outcome, Outcome::Unchanged);
    assert_eq!(chosen(&store, Trust::Manual), Err(vec![Refusal::Revoked]));
}

#[test]
fn what_can_never_be_used_is_not_added() {
    let (folder, store) = store();
    let year = AnyCertificate::OpenPgp(public(&for_a_year().generate().unwrap().0));
    let late = now() + Duration::from_secs(400 * 86_400);
    let refused = store.add(&text(&year), late);
    assert!(matches!(
        refused,
        Err(StoreError::Unusable(_, Refusal::Expired))
    ));
    // What is not valid yet will be.
    assert!(store.add(&text(&year), at("2025-01-01T00:00:00Z")).is_ok());
    assert!(store.add(b"junk", now()).is_err());
    let files = files::list(&folder.path().join("keys/recipients")).unwrap();
    assert_eq!(files.len(), 1);
}

/// A found key that changes never takes the place of the old one by itself.
#[test]
fn a_change_waits_for_approval() {
    let (_folder, store) = store();
    let (first, second) = (annas(), annas());
    assert_eq!(found(&store, &first), Discovery::New);
    assert_eq!(found(&store, &first), Discovery::Kept);
    let wanted = Ok((first.fingerprint(), Trust::Discovered));
    assert_eq!(chosen(&store, Trust::Discovered), wanted);
    assert_eq!(
        chosen(&store, Trust::Verified),
        Err(vec![Refusal::TooLittleTrust])
    );
    assert_eq!(found(&store, &second), Discovery::Held);
    assert_eq!(found(&store, &first), Discovery::Kept);
    assert_eq!(chosen(&store, Trust::Discovered), wanted);
    let keys = store.current().unwrap();
    let candidates = keys.candidates(&anna(), Kind::OpenPgp, &terms(Trust::Discovered));
    assert_eq!(
        candidates[1].verdict.as_ref().unwrap_err(),
        &Refusal::AwaitsApproval
    );
    store.approve(&second.fingerprint()).unwrap();
    let wanted = Ok((second.fingerprint(), Trust::Verified));
    assert_eq!(chosen(&store, Trust::Verified), wanted);
    // The first one is the change now.
    assert_eq!(found(&store, &first), Discovery::Held);
    assert_eq!(chosen(&store, Trust::Verified), wanted);
    store.remove(&second.fingerprint()).unwrap();
    assert_eq!(
        chosen(&store, Trust::Discovered),
        Err(vec![Refusal::AwaitsApproval])
    );
    store.remove(&first.fingerprint()).unwrap();
    assert_eq!(chosen(&store, Trust::Discovered), Err(vec![]));
    assert!(matches!(
        store.approve(&first.fingerprint()),
        Err(StoreError::Unknown(_))
    ));
}

#[test]
fn by_hand_is_pinned_too() {
    let (_folder, store) = store();
    let (mine, other) = (annas(), annas());
    store.add(&text(&mine), now()).unwrap();
    assert_eq!(found(&store, &other), Discovery::Held);
    assert_eq!(found(&store, &mine), Discovery::Kept);
    let wanted = Ok((mine.fingerprint(), Trust::Manual));
    assert_eq!(chosen(&store, Trust::Discovered), wanted);
    // Approved, it comes second still.
    store.approve(&other.fingerprint()).unwrap();
    assert_eq!(chosen(&store, Trust::Discovered), wanted);
    let (_empty, lone) = self::store();
    lone.add(&text(&mine), now()).unwrap();
    assert!(matches!(
        lone.approve(&mine.fingerprint()),
        Err(StoreError::Manual(_))
    ));
}

#[test]
fn what_is_found_for_somebody_else_is_not_kept() {
    let (_folder, store) = store();
    let other = Mailbox::parse("other@clinic.example").unwrap();
    let refused = store.discovered_for(&other, &annas(), Origin::Wkd, &terms(Trust::Discovered));
    assert!(matches!(
        refused,
        Err(StoreError::Unusable(_, Refusal::OtherAddress))
    ));
}

#[test]
fn the_newest_of_equals_is_used() {
    let (_folder, store) = store();
    let old = annas();
    let newer = builder(CipherSuite::Cv25519)
        .set_creation_time(crate::protect::system_time(at("2026-05-01T00:00:00Z")))
        .add_transport_encryption_subkey();
    let newer = AnyCertificate::OpenPgp(public(&newer.generate().unwrap().0));
    let added = store.add(&[text(&newer), text(&old)].concat(), now());
    assert_eq!(added.unwrap().len(), 2);
    let wanted = Ok((newer.fingerprint(), Trust::Manual));
    assert_eq!(chosen(&store, Trust::Manual), wanted);
}

#[test]
fn a_broken_file_takes_nothing_with_it() {
    let (folder, store) = store();
    let one = annas();
    store.add(&text(&one), now()).unwrap();
    found(&store, &annas());
    let keys = folder.path().join("keys");
    fs::write(keys.join("recipients/broken.asc"), "no key").unwrap();
    fs::write(keys.join("discovered/broken.json"), "{}").unwrap();
    fs::write(keys.join("recipients/.draft.asc.new"), "half a k").unwrap();
    assert!(chosen(&store, Trust::Manual).is_ok());
    assert_eq!(store.current().unwrap().faults().len(), 2);
    // And what cannot be read is not taken for nothing known.
    for record in files::list(&keys.join("discovered")).unwrap() {
        fs::write(record, "broken").unwrap();
    }
    let again = store.discovered_for(&anna(), &annas(), Origin::Wkd, &terms(Trust::Discovered));
    assert!(matches!(again, Err(StoreError::Io { .. })));
}

/// A file with keys of several people, as somebody may put it there.
#[test]
fn one_of_several_keys_in_a_file_is_removed() {
    let (folder, store) = store();
    let (one, two) = (annas(), annas());
    let recipients = folder.path().join("keys/recipients");
    fs::create_dir_all(&recipients).unwrap();
    let binary = |c: &AnyCertificate| {
        let AnyCertificate::OpenPgp(c) = c else {
            panic!("OpenPGP")
        };
        c.to_binary().unwrap()
    };
    fs::write(
        recipients.join("all.pgp"),
        [binary(&one), binary(&two)].concat(),
    )
    .unwrap();
    assert_eq!(store.current().unwrap().all().count(), 2);
    store.remove(&one.fingerprint()).unwrap();
    let wanted = Ok((two.fingerprint(), Trust::Manual));
    assert_eq!(chosen(&store, Trust::Manual), wanted);
}

#[test]
fn no_key_says_why() {
    let none = NoKey {
        kind: Kind::OpenPgp,
        refused: Vec::new(),
    };
    assert_eq!(
        none.to_string(),
        "no openpgp key is known for the recipient"
    );
    let refused = vec![("AB".to_owned(), Refusal::Expired)];
    let none = NoKey {
        kind: Kind::X509,
        refused,
    };
    assert_eq!(
        none.to_string(),
        "no x509 key can be used; AB: it has expired"
    );
}
