//! Recipients' keys in an operator's hand.

use std::path::PathBuf;

use serde_json::Value;

use crate::world::{Plan, World};

const ANNA: &str = "4BB96AEAB37B0F20BA80631725639C01070EBEC1";

fn kept(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/keys");
    path.join(name).to_str().unwrap().to_owned()
}

fn refused(world: &World, arguments: &[&str], wanted: &str) {
    let output = world.daemon.run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    assert!(said.contains(wanted), "{arguments:?}: {said}");
    assert!(said.lines().count() <= 2, "{said}");
}

fn json(world: &World, arguments: &[&str]) -> Vec<Value> {
    serde_json::from_str(&world.daemon.run_ok(arguments)).unwrap()
}

/// With a daemon or without: keys are files.
#[tokio::test]
async fn keys_come_and_go() {
    let world = World::new(&Plan::default());
    assert_eq!(world.daemon.run_ok(&["key", "list"]), "");
    refused(&world, &["key", "find", "anna@clinic.example"], "");
    let said = world.daemon.run_ok(&["key", "add", &kept("pgp-anna.asc")]);
    assert_eq!(
        said,
        format!("added openpgp {ANNA} for anna@clinic.example\n")
    );
    let said = world.daemon.run_ok(&["key", "add", &kept("pgp-anna.asc")]);
    assert!(said.starts_with("unchanged openpgp"), "{said}");
    let listed = world.daemon.run_ok(&["key", "list"]);
    let columns: Vec<&str> = listed.split_whitespace().collect();
    assert_eq!(
        columns,
        [
            ANNA,
            "openpgp",
            "manual",
            "usable",
            "-",
            "manual",
            "-",
            "anna@clinic.example"
        ]
    );
    let listed = json(&world, &["key", "list", "--json"]);
    assert_eq!(listed[0]["fingerprint"], ANNA);
    assert_eq!(listed[0]["refusal"], Value::Null);
    assert_eq!(listed[0]["addresses"][0], "anna@clinic.example");
    let found = json(&world, &["key", "find", "ANNA@clinic.example", "--json"]);
    assert_eq!(
        (&found[0]["used"], &found[0]["trust"]),
        (&true.into(), &"manual".into())
    );
    refused(&world, &["key", "find", "nobody@clinic.example"], "");
    refused(
        &world,
        &["key", "find", "nobody"],
        "\"nobody\": the address has no domain",
    );
    refused(&world, &["key", "approve", ANNA], "needs no approval");
    world.daemon.run_ok(&["key", "remove", ANNA]);
    refused(&world, &["key", "remove", ANNA], "postern key list");
    assert_eq!(world.daemon.run_ok(&["key", "list"]), "");
}

#[tokio::test]
async fn what_is_no_usable_certificate_is_told() {
    let world = World::new(&Plan::default());
    for (file, wanted) in [
        ("pgp-anna-secret.asc", "holds a secret key"),
        ("pgp-weak.asc", "too weak"),
        ("pgp-sha1.asc", "too weak"),
        ("README.md", "no OpenPGP or X.509 certificate"),
        ("missing.asc", "No such file"),
    ] {
        refused(&world, &["key", "add", &kept(file)], wanted);
    }
    assert_eq!(world.daemon.run_ok(&["key", "list"]), "");
    // One that somebody broke is named, and the others are listed.
    world.daemon.run_ok(&["key", "add", &kept("pgp-anna.asc")]);
    let recipients = world.daemon.dir().join("data/keys/recipients");
    std::fs::write(recipients.join("broken.asc"), "no key\n").unwrap();
    let output = world.daemon.run(&["key", "list"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("broken.asc is left out"), "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains(ANNA));
}

/// The first start makes the rest of the folder as if nobody had been there.
#[tokio::test]
async fn keys_may_come_before_the_first_start() {
    let mut world = World::new(&Plan::default());
    world.daemon.run_ok(&["key", "add", &kept("pgp-anna.asc")]);
    world.daemon.start().await;
    assert!(world.daemon.run_ok(&["key", "list"]).contains(ANNA));
    assert!(world.daemon.terminate().await.success());
}

/// X.509 is told from OpenPGP by what is in the file.
#[tokio::test]
async fn x509_certificates_come_and_go() {
    let world = World::new(&Plan::default());
    let said = world.daemon.run_ok(&["key", "add", &kept("x509-anna.pem")]);
    assert!(said.starts_with("added x509 "), "{said}");
    world.daemon.run_ok(&["key", "add", &kept("pgp-anna.asc")]);
    let found = json(&world, &["key", "find", "anna@clinic.example", "--json"]);
    let kinds: Vec<&str> = found.iter().map(|k| k["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["openpgp", "x509"]);
    assert!(found.iter().all(|k| k["used"] == true), "{found:?}");
    assert_eq!(found[1]["algorithm"], "P-256");
    let fingerprint = found[1]["fingerprint"].as_str().unwrap();
    world
        .daemon
        .run_ok(&["key", "remove", &fingerprint.to_lowercase()]);
    assert!(!world.daemon.run_ok(&["key", "list"]).contains("x509"));
    for (file, wanted) in [
        ("x509-server.pem", "names no mail address"),
        ("x509-expired.pem", "it has expired"),
        ("x509-anna.key", "holds a secret key"),
    ] {
        refused(&world, &["key", "add", &kept(file)], wanted);
    }
}
