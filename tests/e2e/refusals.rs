//! Keys that can't be used: none leads to clear text, each to the next method, with its reason
//! in audit, report and `explain`.

use std::path::PathBuf;

use postern_lab::SmtpServer;
use serde_json::json;

use crate::dsn::Dsn;
use crate::support::is_there;
use crate::support::programs::{Gpg, KINDS};
use crate::world::{Plan, SENDER, SOON, World, letter};

const ANNA: &str = "anna@clinic.example";
const BODY: &str = "Quetzal-0815 is positive\r\n";

/// Keys as files of the store, and what is said of them.
struct Case {
    /// Whose they are.
    to: &'static str,
    name: &'static str,
    /// Below `keys`.
    files: Vec<(&'static str, Vec<u8>)>,
    says: [&'static str; 2],
}

fn kept(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/keys");
    std::fs::read(path.join(name)).unwrap()
}

/// A certificate added by hand.
fn by_hand(name: &'static str, octets: Vec<u8>, says: [&'static str; 2]) -> Case {
    let file = match octets.starts_with(b"-----BEGIN CERT") {
        true => "recipients/one.pem",
        false => "recipients/one.asc",
    };
    Case {
        to: ANNA,
        name,
        files: vec![(file, octets)],
        says,
    }
}

/// A certificate that was found, in use or waiting for approval.
fn found(
    name: &'static str,
    kind: &str,
    octets: &[u8],
    waits: bool,
    says: [&'static str; 2],
) -> Case {
    let held = json!({
        "origin": "wkd", "trust": "discovered", "since": "2026-01-01T00:00:00Z",
        "certificate": String::from_utf8_lossy(octets),
    });
    let (current, pending) = match waits {
        true => (json!(null), held),
        false => (held, json!(null)),
    };
    let record = json!({"address": ANNA, "kind": kind, "current": current, "pending": pending});
    Case {
        to: ANNA,
        name,
        files: vec![("discovered/one.json", record.to_string().into_bytes())],
        says,
    }
}

fn of_gpg() -> Vec<Case> {
    if !is_there("gpg") {
        return Vec::new();
    }
    let sign_only = Gpg::new();
    sign_only.make("Key-Type: eddsa\nKey-Curve: ed25519", ANNA);
    let expired = Gpg::new();
    let made = [
        "--faked-system-time",
        "20240101T000000",
        "--passphrase",
        "",
        "--quick-gen-key",
        ANNA,
        "default",
        "default",
        "2024-06-01",
    ];
    expired.run(&made, b"");
    let revoked = Gpg::new();
    revoked.make(KINDS[2].1, ANNA);
    let folder = revoked.home().join("openpgp-revocs.d");
    let file = std::fs::read_dir(folder).unwrap().next().unwrap();
    let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
    revoked.run(
        &["--import"],
        text.replace(":-----BEGIN", "-----BEGIN").as_bytes(),
    );
    let other = Gpg::new();
    other.make(KINDS[2].1, "bob@clinic.example");
    vec![
        by_hand(
            "sign-only",
            sign_only.export(ANNA),
            ["key-not-for-encryption", "no-key"],
        ),
        by_hand("expired", expired.export(ANNA), ["key-expired", "no-key"]),
        by_hand("revoked", revoked.export(ANNA), ["key-revoked", "no-key"]),
        by_hand(
            "other",
            other.export("bob@clinic.example"),
            ["no-key", "no-key"],
        ),
    ]
}

fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case {
            to: "weak@clinic.example",
            ..by_hand("weak", kept("pgp-weak.asc"), ["key-too-weak", "no-key"])
        },
        Case {
            to: "weaksub@clinic.example",
            ..by_hand(
                "weak subkey",
                kept("pgp-weaksub.asc"),
                ["key-too-weak", "no-key"],
            )
        },
        Case {
            to: "sha1@clinic.example",
            ..by_hand("SHA-1", kept("pgp-sha1.asc"), ["key-too-weak", "no-key"])
        },
        by_hand("empty", Vec::new(), ["no-key", "no-key"]),
        by_hand(
            "X.509 expired",
            kept("x509-expired.pem"),
            ["no-key", "key-expired"],
        ),
        by_hand(
            "X.509 of a server",
            kept("x509-server.pem"),
            ["no-key", "no-key"],
        ),
        found(
            "untrusted chain",
            "x509",
            &kept("x509-anna.pem"),
            false,
            ["no-key", "key-untrusted"],
        ),
        found(
            "unapproved",
            "openpgp",
            &kept("pgp-anna.asc"),
            true,
            ["key-awaits-approval", "no-key"],
        ),
    ];
    cases.extend(of_gpg());
    cases
}

fn put(world: &World, case: &Case) {
    let keys = world.daemon.data_dir().join("keys");
    for folder in ["recipients", "discovered"] {
        let folder = keys.join(folder);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
    }
    for (name, octets) in &case.files {
        std::fs::write(keys.join(name), octets).unwrap();
    }
}

async fn at(world: &World, server: &SmtpServer, nth: usize, case: &Case) {
    put(world, case);
    let [pgp, smime] = case.says;
    let story = world.daemon.run_ok(&["explain", case.to]);
    for (method, reason) in [("pgp", pgp), ("smime", smime)] {
        let line = format!("method {method}: no key to use ({reason})");
        assert!(story.contains(&line), "{}: {story}", case.name);
    }
    let id = world
        .send(&[case.to], letter(case.to, "results", BODY))
        .await;
    let bounced = world.wait_audit(&id, case.to, "bounced").await;
    let passed = json!([
        {"method": "tls", "reason": "no-starttls"},
        {"method": "pgp", "reason": pgp},
        {"method": "smime", "reason": smime},
    ]);
    assert_eq!(bounced["passed_over"], passed, "{}", case.name);
    assert_eq!(bounced["reason"], smime, "{}", case.name);
    let reports = world.home.wait_messages(nth, SOON).await;
    let report = Dsn::read(&reports[nth - 1]);
    for (method, reason) in [("pgp", pgp), ("smime", smime)] {
        let line = format!("Not by: {method}: {reason}");
        assert!(report.raw.contains(&line), "{}: {}", case.name, report.raw);
    }
    assert_eq!(server.count(), 0, "{}", case.name);
    let seen = server.commands();
    assert!(
        !seen.iter().any(|line| line.contains("MAIL")),
        "{}",
        case.name
    );
}

#[tokio::test]
async fn no_key_that_cant_be_used_leads_to_clear_text() {
    let plan = Plan {
        security: "methods = [\"tls\", \"pgp\", \"smime\", \"bounce\"]",
        tables: "[pgp]\n[smime]\n".to_owned(),
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    // In place of the modern one.
    world
        .dns
        .remove("clinic.example")
        .remove("mx.clinic.example");
    let server = world.mx("clinic.example", |b| {
        b.no_starttls().name("mx.clinic.example")
    });
    for (nth, case) in cases().iter().enumerate() {
        at(&world, &server, nth + 1, case).await;
    }
}

/// The trust that a rule demands.
#[tokio::test]
async fn a_rule_may_ask_for_more_trust() {
    let plan = Plan {
        security: "methods = [\"pgp\", \"bounce\"]",
        tables: format!(
            "[pgp]\n[keys]\ndiscovery = []\n[[rule]]\nname = \"careful\"\nwhen.sender = \"{SENDER}\"\n\
             key_trust = \"manual\"\n"
        ),
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    let case = found("found", "openpgp", &kept("pgp-anna.asc"), false, ["", ""]);
    put(&world, &case);
    let story = world.daemon.run_ok(&["explain", ANNA, "--from", SENDER]);
    assert!(
        story.contains("no key to use (key-too-little-trust)"),
        "{story}"
    );
    let story = world
        .daemon
        .run_ok(&["explain", ANNA, "--from", "other@ward.example"]);
    assert!(
        story.contains("(discovered); over the best TLS on offer, down to none"),
        "{story}"
    );
    let id = world.send(&[ANNA], letter(ANNA, "results", BODY)).await;
    let bounced = world.wait_audit(&id, ANNA, "bounced").await;
    assert_eq!(bounced["reason"], "key-too-little-trust");
}
