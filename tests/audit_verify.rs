//! Tampering with the audit, found by `postern audit verify` and by the verifier
//! in `docs/verify_audit.py`, which shares no code with it: each at its place.

#![allow(clippy::unwrap_used, clippy::panic)]

mod audit_support;

use std::process::Command;

use audit_support::{Audit, DAYS, EVENTS};
use serde_json::Value;

#[test]
fn an_audit_that_nobody_touched_is_intact() {
    let audit = Audit::new();
    let (places, text) = audit.breaks();
    assert_eq!(places, [], "{text}");
    assert!(
        text.contains("32 events in 4 day files, 2026-11-10 to 2026-11-14"),
        "{text}"
    );
    assert!(
        text.contains("not yet signed: 2026-11-14, 8 events"),
        "{text}"
    );
    assert!(
        text.contains("signed through 2026-11-12 with the key "),
        "{text}"
    );
    // A line that is just being written is no break.
    let mut octets = std::fs::read(audit.file(DAYS[3])).unwrap();
    octets.extend_from_slice(b"{\"prev\":\"");
    std::fs::write(audit.file(DAYS[3]), octets).unwrap();
    assert_eq!(audit.breaks().0, []);
}

/// Every octet of a signed day counts, wherever it stands.
#[test]
fn one_flipped_bit() {
    let audit = Audit::new();
    audit.edit(DAYS[1], |lines| {
        let at = lines[4].windows(3).position(|w| w == b"p4@").unwrap();
        lines[4][at + 1] ^= 1;
    });
    audit.is_broken_at(
        &[(DAYS[1], 6)],
        "does not follow line 5: one of the two was changed",
    );

    let audit = Audit::new();
    let original = std::fs::read(audit.file(DAYS[1])).unwrap();
    for at in (0..original.len()).step_by(197) {
        let mut octets = original.clone();
        octets[at] ^= 1;
        std::fs::write(audit.file(DAYS[1]), &octets).unwrap();
        let line = 1 + original[..at].iter().filter(|c| **c == b'\n').count() as u64;
        let output = audit.postern(&["audit", "verify", "--json"]);
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        let first = &found["breaks"][0];
        let is_there = first["file"] == "2026-11-11.jsonl"
            && [line, line + 1].contains(&first["line"].as_u64().unwrap())
            || first["file"] == "2026-11-12.jsonl" && line == u64::from(EVENTS) + 1;
        assert!(
            is_there && !output.status.success(),
            "octet {at}, line {line}: {found:#}"
        );
    }
}

#[test]
fn a_changed_first_line_or_head() {
    let audit = Audit::new();
    audit.edit(DAYS[1], |lines| lines[0][20] = b'x');
    audit.is_broken_at(&[(DAYS[1], 1), (DAYS[1], 2)], "is not a line of the audit");

    // In the head's count: its signature and what follows it tell.
    let audit = Audit::new();
    audit.edit(DAYS[1], |lines| {
        let head = String::from_utf8(lines[8].clone()).unwrap();
        lines[8] = head.replace("\"events\":8", "\"events\":7").into_bytes();
    });
    audit.is_broken_at(
        &[(DAYS[1], 9), (DAYS[2], 1)],
        "line 9: counts 7 events, but 8 stand before it",
    );
}

#[test]
fn a_removed_line() {
    let audit = Audit::new();
    audit.edit(DAYS[1], |lines| drop(lines.remove(4)));
    audit.is_broken_at(
        &[(DAYS[1], 5), (DAYS[1], 8)],
        "counts 8 events, but 7 stand before it",
    );
    // In the day that is not signed yet, too.
    let audit = Audit::new();
    audit.edit(DAYS[3], |lines| drop(lines.remove(4)));
    audit.is_broken_at(&[(DAYS[3], 5)], "line 5: does not follow line 4");
}

#[test]
fn a_swapped_pair() {
    let audit = Audit::new();
    audit.edit(DAYS[2], |lines| lines.swap(2, 3));
    audit.is_broken_at(
        &[(DAYS[2], 3), (DAYS[2], 4), (DAYS[2], 5)],
        "line 3: does not follow line 2",
    );
}

#[test]
fn an_added_line() {
    let audit = Audit::new();
    audit.edit(DAYS[1], |lines| lines.insert(3, lines[3].clone()));
    audit.is_broken_at(
        &[(DAYS[1], 5), (DAYS[1], 10)],
        "counts 8 events, but 9 stand before it",
    );
}

#[test]
fn a_truncated_day() {
    // Between two lines, and within one.
    let audit = Audit::new();
    audit.edit(DAYS[1], |lines| lines.truncate(5));
    audit.is_broken_at(
        &[(DAYS[1], 6)],
        "line 6: is missing: the file's end was cut off",
    );
    audit.edit(DAYS[2], |lines| lines[8].truncate(100));
    audit.is_broken_at(
        &[(DAYS[1], 6), (DAYS[2], 9)],
        "2026-11-12.jsonl, line 9: is missing",
    );
}

#[test]
fn a_removed_day() {
    let audit = Audit::new();
    std::fs::remove_file(audit.file(DAYS[1])).unwrap();
    audit.is_broken_at(
        &[(DAYS[2], 1), (DAYS[2], 9)],
        "line 9: follows 2026-11-11, whose file is missing",
    );
    // The oldest: no head says that the policy removed it.
    let audit = Audit::new();
    std::fs::remove_file(audit.file(DAYS[0])).unwrap();
    audit.is_broken_at(
        &[(DAYS[1], 1)],
        "no good head says that what came before was removed",
    );
}

/// The newest days can be taken away without a trace in what is left, but not from
/// those who noted a head.
#[test]
fn a_removed_end_is_found_by_a_head_kept_elsewhere() {
    let audit = Audit::new();
    let output = audit.postern(&["audit", "verify", "--json"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let head = found["head"].as_str().unwrap();
    assert!(
        audit
            .postern(&["audit", "verify", "--head", head])
            .status
            .success()
    );
    assert!(audit.python(&[head]).status.success());
    for day in &DAYS[2..] {
        std::fs::remove_file(audit.file(day)).unwrap();
    }
    assert_eq!(audit.breaks().0, []);
    let output = audit.postern(&["audit", "verify", "--head", head]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text.contains(&format!("no day ends with the head {head}")),
        "{text}"
    );
    let output = audit.python(&[head]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("no day ends with the head"));
}

/// With another key the whole audit can be written anew; the true public key tells.
#[test]
fn a_replaced_key() {
    let (audit, other) = (Audit::new(), Audit::new());
    let own = audit.root.path().join("own.pem");
    std::fs::copy(audit.public_key(), &own).unwrap();
    std::fs::copy(other.public_key(), audit.public_key()).unwrap();
    let heads = [(DAYS[0], 9), (DAYS[1], 9), (DAYS[2], 9)];
    audit.is_broken_at(&heads, "line 9: is signed with the key ");
    let own = own.to_str().unwrap();
    assert!(
        audit
            .postern(&["audit", "verify", "--key", own])
            .status
            .success()
    );
    let output = other.postern(&["audit", "verify", "--key", own]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    std::fs::write(audit.public_key(), "no key").unwrap();
    let output = audit.postern(&["audit", "verify"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not an Ed25519 key"));
}

/// A signature is what OpenSSL takes for one, over what `docs/audit.md` says.
#[test]
fn openssl_agrees() {
    let audit = Audit::new();
    let text = std::fs::read_to_string(audit.file(DAYS[0])).unwrap();
    let (signed, rest) = text
        .lines()
        .last()
        .unwrap()
        .split_once(",\"signature\":\"")
        .unwrap();
    let hex = rest.strip_suffix("\"}").unwrap();
    let octet = |n: usize| u8::from_str_radix(&hex[n..n + 2], 16).unwrap();
    let signature: Vec<u8> = (0..hex.len()).step_by(2).map(octet).collect();
    let (message, sig) = (
        audit.root.path().join("message"),
        audit.root.path().join("sig"),
    );
    std::fs::write(&message, signed).unwrap();
    std::fs::write(&sig, signature).unwrap();
    let output = Command::new("openssl")
        .args(["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey"])
        .arg(audit.public_key())
        .arg("-in")
        .arg(message)
        .arg("-sigfile")
        .arg(sig)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let private = audit.root.path().join("data/keys/audit");
    let output = Command::new("openssl")
        .args(["pkey", "-pubout", "-in"])
        .arg(private)
        .output()
        .unwrap();
    assert_eq!(output.stdout, std::fs::read(audit.public_key()).unwrap());
}
