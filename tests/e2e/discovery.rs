//! Recipients' keys found where their domains publish them (WKD): by an operator's hand, against
//! an HTTPS server of the lab, with the real daemon and without one.

use std::time::{Duration, UNIX_EPOCH};

use postern_lab::{Ca, HttpsServer, Page, loopback};
use sequoia_openpgp as pgp;
use serde_json::Value;

use pgp::cert::{CertBuilder, CertRevocationBuilder};
use pgp::serialize::SerializeInto;
use pgp::types::ReasonForRevocation;

use crate::logging::documented;
use crate::metrics::{get, watched};
use crate::world::{Plan, SOON, World, letter};

const ANNA: &str = "anna@clinic.example";
/// `gpg --with-wkd-hash` of it.
const HASH: &str = "fxy63pyohfbm34b533z1nk4bhfhbkpsh";
const HOST: &str = "openpgpkey.clinic.example";

/// A key with the second of its making, on a day of 2026.
fn key(address: &str, day: u64) -> pgp::Cert {
    let made = UNIX_EPOCH + Duration::from_secs(1_767_225_600 + day * 86_400);
    let builder = CertBuilder::new()
        .add_userid(address)
        .set_creation_time(made)
        .add_transport_encryption_subkey();
    builder.generate().unwrap().0
}

fn revoked(cert: &pgp::Cert) -> pgp::Cert {
    let key = cert.primary_key().key().clone();
    let mut signer = key.parts_into_secret().unwrap().into_keypair().unwrap();
    let packet = CertRevocationBuilder::new()
        .set_reason_for_revocation(ReasonForRevocation::KeyCompromised, b"")
        .unwrap()
        .build(&mut signer, cert, None)
        .unwrap();
    cert.clone().insert_packets(packet).unwrap().0
}

/// What the world sees of keys, in binary.
fn page(keys: &[&pgp::Cert]) -> Page {
    let public = keys.iter().map(|key| {
        let public = (*key).clone().strip_secret_key_material();
        public.to_vec().unwrap()
    });
    Page::octets(&public.collect::<Vec<_>>().concat())
}

struct Stage {
    world: World,
    https: HttpsServer,
}

impl Stage {
    fn of(world: World) -> Stage {
        let ip = loopback();
        world.dns.a(HOST, ip);
        let identity = world.ca.issue(&[HOST]);
        let https = HttpsServer::start((ip, world.https).into(), identity);
        Stage { world, https }
    }

    fn publish(&self, page: Page) {
        let path = format!("/.well-known/openpgpkey/clinic.example/hu/{HASH}?l=anna");
        self.https.serve(HOST, &path, page);
    }

    /// `key find --lookup --json`, and its exit code.
    fn look(&self) -> (Value, Option<i32>) {
        let arguments = ["key", "find", ANNA, "--lookup", "--json"];
        let output = self.world.daemon.run(&arguments);
        let told = serde_json::from_slice(&output.stdout);
        let told = told.unwrap_or_else(|e| panic!("{e}: {output:?}"));
        (told, output.status.code())
    }

    /// What came of looking, and of each certificate that was there.
    fn became(&self) -> (String, Vec<String>) {
        let (told, _) = self.look();
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let lookup = &told["lookup"];
        let offered = lookup["offered"].as_array().unwrap().iter();
        let reason = word(&lookup["reason"]);
        let result = format!("{} {reason}", word(&lookup["result"]));
        (
            result.trim().to_owned(),
            offered.map(|one| word(&one["became"])).collect(),
        )
    }

    fn used(&self) -> Option<String> {
        let output = self.world.daemon.run(&["key", "find", ANNA, "--json"]);
        let found: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        let used = found.iter().find(|key| key["used"] == true)?;
        Some(used["fingerprint"].as_str().unwrap().to_owned())
    }
}

fn print(key: &pgp::Cert) -> String {
    key.fingerprint().to_hex()
}

/// The life of a key: found, changed, approved, revoked; and what log and figures say of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_found_and_its_change_awaits_approval() {
    let (world, metrics) = watched(Plan::default()).await;
    let mut stage = Stage::of(world);
    let (old, new) = (key(ANNA, 0), key(ANNA, 90));
    stage.publish(page(&[&old]));
    let said = stage
        .world
        .daemon
        .run_ok(&["key", "find", ANNA, "--lookup"]);
    let wanted = format!(
        "{HOST} has a key for this address:\n  {}  new, and in use from now on\n",
        print(&old)
    );
    assert!(said.starts_with(&wanted), "{said}");
    assert!(said.contains(" discovered  used  "), "{said}");
    let asked = &stage.https.asked()[0];
    assert_eq!(asked.sni.as_deref(), Some(HOST));
    assert!(asked.path.ends_with(&format!("{HASH}?l=anna")));
    let listed = stage.world.daemon.run_ok(&["key", "list"]);
    let columns: Vec<&str> = listed.split_whitespace().collect();
    assert_eq!(columns[5], "wkd", "{listed}");
    assert!(columns[6].starts_with("20"), "{listed}");

    stage.publish(page(&[&new]));
    let held = ("found".to_owned(), vec!["awaits-approval".to_owned()]);
    assert_eq!(stage.became(), held);
    assert_eq!(stage.used(), Some(print(&old)));
    stage.world.daemon.run_ok(&["key", "approve", &print(&new)]);
    assert_eq!(stage.used(), Some(print(&new)));
    let (told, code) = stage.look();
    assert_eq!(told["lookup"]["offered"][0]["became"], "kept");
    assert_eq!(code, Some(0));

    stage.publish(page(&[&revoked(&new)]));
    let gone = ("unusable".to_owned(), vec!["revoked".to_owned()]);
    assert_eq!(stage.became(), gone);
    assert_eq!(stage.used(), None);
    stage.publish(page(&[&new]));
    stage.look();
    assert_eq!(stage.used(), None, "what is revoked stays so");

    let (_, figures) = get(metrics, "/metrics").await;
    for line in [
        "postern_key_lookups_total{result=\"found\",reason=\"none\"}",
        "postern_key_lookups_total{result=\"unusable\",reason=\"none\"}",
        "postern_keys{state=\"verified\"} 1",
        "postern_keys{state=\"awaiting-approval\"} 0",
        "postern_key_lookups_remembered 1",
    ] {
        assert!(figures.contains(line), "{line}: {figures}");
    }
    assert!(stage.world.daemon.terminate().await.success());
    let log = stage.world.daemon.log();
    let seen = documented(&log);
    for mark in ["key found:", "key awaits approval:", "key not taken:"] {
        assert!(seen.contains(mark), "{mark}: {log}");
    }
    assert!(!log.contains("anna") && !log.contains(HASH), "{log}");
}

/// Mail for somebody whose key nobody has added: found at the attempt, used, and heard of again
/// when it is taken back. Who has none gets nothing; where nobody can say, the mail waits.
#[tokio::test(flavor = "multi_thread")]
async fn mail_is_encrypted_to_a_key_that_is_found() {
    let plan = Plan {
        security: r#"methods = ["pgp", "bounce"]"#,
        tables: "[pgp]\n".into(),
        ..Plan::default()
    };
    let stage = Stage::of(World::start(&plan).await);
    let world = &stage.world;
    let anna = key(ANNA, 0);
    stage.publish(page(&[&anna]));
    let secret = "Zebrafish";
    for _ in 0..2 {
        let id = world.send(&[ANNA], letter(ANNA, "x", secret)).await;
        let entry = world.wait_audit(&id, ANNA, "delivered").await;
        assert_eq!(entry["method"], "pgp", "{entry}");
        let content = &entry["content"];
        assert_eq!(content["certificate"], print(&anna));
        assert_eq!(content["trust"], "discovered");
    }
    assert_eq!(stage.https.asked().len(), 1, "once for both messages");
    for message in world.far.messages() {
        let text = String::from_utf8_lossy(&message.data).into_owned();
        assert!(text.contains("-----BEGIN PGP MESSAGE-----"), "{text}");
        assert!(!text.contains(secret), "{text}");
    }
    // Nobody has published anything for these: 404, and one of them where the server is ill.
    let (none, ill) = ("none@clinic.example", "ill@clinic.example");
    let path = "/.well-known/openpgpkey/clinic.example/hu/he39bbb3u4zwj7bkmdjoob1zitrcwe1f?l=ill";
    stage.https.serve(HOST, path, page(&[&anna]).status(500));
    let id = world.send(&[none, ill], letter(none, "x", secret)).await;
    let entry = world.wait_audit(&id, none, "bounced").await;
    assert_eq!(entry["reason"], "no-key", "{entry}");
    let entry = world.wait_audit(&id, ill, "queued").await;
    assert_eq!(entry["reason"], "key-lookup", "{entry}");
    assert_eq!(world.far.count(), 2);
    // She takes it back.
    stage.publish(page(&[&revoked(&anna)]));
    stage.look();
    let id = world.send(&[ANNA], letter(ANNA, "x", secret)).await;
    let entry = world.wait_audit(&id, ANNA, "bounced").await;
    assert_eq!(entry["reason"], "key-revoked", "{entry}");
    assert_eq!(world.far.count(), 2);
    let log = world.daemon.log();
    documented(&log);
    assert!(!log.contains("anna@") && !log.contains(HASH), "{log}");
}

/// Everything that is no key of hers, and what stands for it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_key_of_hers_is_not_taken() {
    let stage = Stage::of(World::start(&Plan::default()).await);
    let good = key(ANNA, 0);
    let large = Page::octets(&vec![0x99; 600 * 1024]);
    let cases = [
        (page(&[&key("bernd@clinic.example", 0)]), "unusable"),
        (page(&[&revoked(&good)]), "unusable"),
        (
            page(&[&good]).redirect("https://elsewhere.example/"),
            "absent redirect",
        ),
        (page(&[&good]).status(404), "absent no-key"),
        (large, "absent too-large"),
        (Page::text("<html>Welcome"), "absent no-certificate"),
        (Page::octets(b""), "absent no-certificate"),
        (page(&[&good]).status(500), "failed status"),
        (page(&[&good]).cut_at(20), "failed protocol"),
    ];
    for (page, wanted) in cases {
        stage.publish(page.clone());
        assert_eq!(stage.became().0, wanted, "{page:?}");
        assert_eq!(stage.used(), None, "{page:?}");
    }
    stage.publish(page(&[&good]));
    let other = stage.world.ca.issue(&["clinic.example"]);
    for identity in [other, Ca::new().issue(&[HOST])] {
        let asked = stage.https.asked().len();
        stage.https.identity(identity);
        assert_eq!(stage.became().0, "failed certificate");
        assert_eq!(stage.https.asked().len(), asked, "it was told the address");
    }
    let said = stage.world.daemon.run(&["key", "find", ANNA, "--lookup"]);
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let wanted = "the key can't be looked up now: its certificate is not valid (certificate-untrusted) \
                  (asked: openpgpkey.clinic.example)\nno key is known for this address\n";
    assert_eq!(text, wanted);
    assert_eq!(said.status.code(), Some(1));
    let bad = stage.world.daemon.run(&["key", "find", "anna", "--lookup"]);
    let text = String::from_utf8_lossy(&bad.stderr).into_owned();
    assert_eq!(text, "postern: \"anna\": the address has no domain\n");
}

/// The direct method, without a daemon; and switched off.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_daemon_and_without_an_advanced_host() {
    let plan = Plan::default();
    let mut stage = Stage::of(World::new(&plan));
    let anna = key(ANNA, 0);
    stage.world.dns.remove(HOST);
    assert_eq!(stage.became().0, "absent no-host");
    stage.world.dns.a("clinic.example", stage.https.addr().ip());
    stage
        .https
        .identity(stage.world.ca.issue(&["clinic.example"]));
    let path = format!("/.well-known/openpgpkey/hu/{HASH}?l=anna");
    stage.https.serve("clinic.example", &path, page(&[&anna]));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(stage.became().0, "found");
    assert_eq!(stage.used(), Some(print(&anna)));
    let off = format!("{}[keys]\ndiscovery = []\n", stage.world.config(&plan));
    stage.world.daemon.config(&off);
    let asked = stage.https.asked().len();
    assert_eq!(stage.became().0, "absent off");
    assert_eq!(stage.https.asked().len(), asked);
}

/// Mail finds the key by itself, and goes on with it when another one is published.
#[tokio::test(flavor = "multi_thread")]
async fn mail_goes_to_the_key_that_its_domain_publishes() {
    let plan = Plan {
        security: "methods = [\"pgp\", \"bounce\"]",
        tables: "[pgp]\n[keys]\nrefresh = \"1m\"\n".to_owned(),
        ..Plan::default()
    };
    let stage = Stage::of(World::start(&plan).await);
    let (old, new) = (key(ANNA, 0), key(ANNA, 90));
    stage.publish(page(&[&old]));
    let story = stage.world.daemon.run_ok(&["explain", ANNA]);
    let wanted = "no key to use (no-key) (a delivery also asks the domain's key directory)";
    assert!(story.contains(wanted), "{story}");
    for n in 1..=2 {
        let text = letter(ANNA, "results", "Quetzal-0815 is positive\r\n");
        let id = stage.world.send(&[ANNA], text).await;
        let sent = stage.world.wait_audit(&id, ANNA, "delivered").await;
        assert_eq!(sent["method"], "pgp");
        let content = &sent["content"];
        assert_eq!(content["certificate"], print(&old), "{n}");
        assert_eq!(content["trust"], "discovered");
        let got = stage.world.far.wait_messages(n, SOON).await;
        let text = got[n - 1].text();
        assert!(
            text.contains("BEGIN PGP MESSAGE") && !text.contains("Quetzal"),
            "{text}"
        );
        // Another one there: it is held for a person, and the known one stays in use.
        stage.publish(page(&[&new]));
        assert_eq!(stage.became().1, ["awaits-approval"]);
    }
    // Nobody without a key, and nothing in the clear.
    let other = "bob@clinic.example";
    let id = stage
        .world
        .send(&[other], letter(other, "results", "Quetzal\r\n"))
        .await;
    let bounced = stage.world.wait_audit(&id, other, "bounced").await;
    assert_eq!(bounced["reason"], "no-key");
    assert_eq!(stage.world.far.count(), 2);
}
