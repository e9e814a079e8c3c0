//! `pgp` and `smime` from the submission to the recipient's own software.

use std::collections::BTreeMap;

use postern_lab::{
    Dialog, DialogServer, Identity, Received, SmtpServer, Stage, TlsVersion, loopback,
};
use serde_json::Value;

use crate::dsn::Dsn;
use crate::support::programs::{Gpg, KINDS, Openssl, X509_KINDS};
use crate::support::{BODY, MESSAGE, has, is_there, part, run};
use crate::world::{Plan, SENDER, SOON, World};

/// Found nowhere but in what was decrypted.
const MARKER: &str = "moglobin";

const SECTIONS: &str = "[pgp]\n[smime]\n";

/// The message, from somebody who may send it.
fn message() -> Vec<u8> {
    let at = MESSAGE.len() - BODY.len();
    let head = String::from_utf8(MESSAGE[..at].to_vec()).unwrap();
    [
        head.replace("berg@hospital.example", SENDER).as_bytes(),
        BODY,
    ]
    .concat()
}

/// Certificates of recipients, made by gpg and openssl, and known to the daemon.
struct People {
    gpg: Gpg,
    openssl: Openssl,
}

impl People {
    fn new() -> Self {
        Self {
            gpg: Gpg::new(),
            openssl: Openssl::new(),
        }
    }

    fn pgp(&self, world: &World, kind: &str, address: &str) {
        self.gpg.make(kind, address);
        let file = self
            .openssl
            .write("certificate.asc", &self.gpg.export(address));
        world.daemon.run_ok(&["key", "add", &file]);
    }

    fn smime(&self, world: &World, kind: &[&str], address: &str) {
        let usage = match kind.contains(&"ec") {
            true => "keyAgreement",
            false => "keyEncipherment",
        };
        self.openssl.make(address, kind, address, usage);
        let file = self.openssl.path(&format!("{address}.pem"));
        world.daemon.run_ok(&["key", "add", &file]);
    }

    /// What the owner of the OpenPGP key for an address reads; panics if that is nobody.
    fn open_pgp(&self, message: &Received, address: &str) -> Vec<u8> {
        let (types, encrypted) = part(&message.data, 1);
        assert_eq!(types, "multipart/encrypted application/octet-stream");
        let (content, said) = self.gpg.run(&["--decrypt"], &encrypted);
        assert!(said.contains("DECRYPTION_OKAY"), "{address}: {said}");
        let keys = self
            .gpg
            .run(&["--with-colons", "--list-keys", address], b"");
        let to: Vec<&str> = said.lines().filter(|l| l.contains("] ENC_TO ")).collect();
        assert!(!to.is_empty(), "{said}");
        for line in to {
            let key = line.split(' ').nth(2).unwrap();
            assert!(has(&keys.0, key), "{key} is not {address}");
        }
        content
    }

    /// The same for S/MIME.
    fn open_smime(&self, message: &Received, address: &str) -> Vec<u8> {
        let mail = self.openssl.write("mail", &message.data);
        let certificate = self.openssl.path(&format!("{address}.pem"));
        let key = self.openssl.path(&format!("{address}.key"));
        let arguments = ["-recip", &certificate, "-inkey", &key];
        let all = [&["cms", "-decrypt", "-in", &mail], &arguments[..]].concat();
        let (content, said) = run("openssl", &all, b"");
        assert!(!content.is_empty(), "{address}: {said}");
        let show = ["cms", "-cmsout", "-print", "-noout", "-in", &mail];
        let (printed, _) = run("openssl", &show, b"");
        let printed = String::from_utf8_lossy(&printed);
        let readers = printed.matches("d.ktri:").count() + printed.matches("d.kari:").count();
        assert_eq!(readers, 1, "{printed}");
        content
    }
}

/// The message of the one transaction for this recipient alone.
fn alone(server: &SmtpServer, address: &str) -> Received {
    let all = server.messages();
    let mut for_them = all
        .iter()
        .filter(|m| m.rcpt_to.contains(&address.to_owned()));
    let message = for_them
        .next()
        .unwrap_or_else(|| panic!("{address}: nothing"));
    assert_eq!(message.rcpt_to, [address]);
    assert!(for_them.next().is_none(), "{address}: twice");
    assert!(!has(&message.data, MARKER), "{address}: in the clear");
    assert!(has(&message.data, "Subject: [...]\r\n"), "{address}");
    message.clone()
}

fn at_body(content: &[u8], address: &str) {
    assert!(content.ends_with(BODY), "{address}");
    assert!(has(content, "Subject: your blood test\r\n"), "{address}");
    assert!(!has(content, "hidden@"), "{address}");
}

/// Twelve recipients at seven domains, by `tls`, `cleartext`, `pgp`, `smime` and a bounce:
/// each has what is theirs, and nothing of the others.
#[tokio::test]
async fn twelve_recipients_at_seven_domains_by_five_methods() {
    if !is_there("gpg") || !is_there("openssl") {
        return;
    }
    let plan = Plan {
        security: "methods = [\"tls\", \"pgp\", \"smime\", \"bounce\"]",
        tables: format!(
            "{SECTIONS}[[rule]]\nname = \"open\"\nwhen.recipient_domain = \"open.example\"\n\
             methods = [\"tls\", \"cleartext\"]\n\
             [[rule]]\nname = \"proven\"\nwhen.recipient_domain = \"alone.example\"\n\
             tls_level = \"authenticated\"\n"
        ),
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    let people = People::new();
    let bare = |domain: &str| world.mx(domain, |b| b.no_starttls());
    let (open, pgp, smime, mixed) = (
        bare("open.example"),
        bare("pgp.example"),
        bare("smime.example"),
        bare("mixed.example"),
    );
    let alone_mx = world.mx("alone.example", |b| {
        b.identity(Identity::self_signed(&["mx.alone.example"]))
    });
    let weak = world.mx("weak.example", |b| {
        b.tls_versions(TlsVersion::V1_0, TlsVersion::V1_1)
    });
    let (rsa, rsa4096, curve25519, p256) = (KINDS[0].1, KINDS[1].1, KINDS[2].1, KINDS[3].1);
    people.pgp(&world, rsa, "one@pgp.example");
    people.pgp(&world, curve25519, "two@pgp.example");
    people.pgp(&world, p256, "one@mixed.example");
    people.pgp(&world, rsa4096, "one@alone.example");
    people.smime(&world, X509_KINDS[0].1, "one@smime.example");
    people.smime(&world, X509_KINDS[2].1, "two@smime.example");
    people.smime(&world, X509_KINDS[1].1, "one@weak.example");
    let to = [
        "one@clinic.example",
        "two@clinic.example",
        "one@open.example",
        "two@open.example",
        "one@pgp.example",
        "two@pgp.example",
        "one@smime.example",
        "two@smime.example",
        "one@mixed.example",
        "keyless@mixed.example",
        "one@alone.example",
        "one@weak.example",
    ];
    let id = world.send(&to, message()).await;
    world.wait_empty_queue(SOON).await;

    // In one transaction each, as they came.
    for server in [&world.far, &open] {
        let messages = server.messages();
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].rcpt_to.len(), 2);
        assert!(messages[0].data.ends_with(BODY));
    }
    for (server, address) in [
        (&pgp, "one@pgp.example"),
        (&pgp, "two@pgp.example"),
        (&mixed, "one@mixed.example"),
        (&alone_mx, "one@alone.example"),
    ] {
        let content = people.open_pgp(&alone(server, address), address);
        at_body(&content, address);
    }
    for (server, address) in [
        (&smime, "one@smime.example"),
        (&smime, "two@smime.example"),
        (&weak, "one@weak.example"),
    ] {
        let content = people.open_smime(&alone(server, address), address);
        at_body(&content, address);
    }
    assert_eq!(mixed.count(), 1, "nothing for who has no key");
    let reports = world.home.wait_messages(1, SOON).await;
    let report = Dsn::read(&reports[0]);
    assert!(
        report.sentence.contains(
            "does not offer an encrypted connection, which our rules require, and no key of the \
             recipient is known"
        ),
        "{}",
        report.raw
    );
    for line in [
        "Not by: tls: no-starttls",
        "Not by: pgp: no-key",
        "Not by: smime: no-key",
    ] {
        assert!(report.raw.contains(line), "{}", report.raw);
    }
    evidence(&world, &id);
    assert!(world.daemon.run_ok(&["audit", "verify"]).contains("intact"));
}

/// What the audit says of each.
fn evidence(world: &World, id: &str) {
    let all = world.json(&["audit", "show", id, "--json"]);
    let last: BTreeMap<&str, &Value> = all
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["state"] != "queued")
        .map(|entry| (entry["recipient"].as_str().unwrap(), entry))
        .collect();
    assert_eq!(last.len(), 12);
    let words = |recipient: &str| {
        let entry = last[recipient];
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let cipher = text(&entry["content"]["cipher"]);
        let by = [&entry["state"], &entry["method"], &entry["achieved"]].map(text);
        format!("{} {cipher}", by.join(" "))
    };
    for (recipient, wanted) in [
        ("one@clinic.example", "delivered tls authenticated -"),
        ("two@open.example", "delivered cleartext - -"),
        ("one@pgp.example", "delivered pgp - AES-256-CFB-MDC"),
        ("two@smime.example", "delivered smime - AES-256-CBC"),
        ("one@mixed.example", "delivered pgp - AES-256-CFB-MDC"),
        ("keyless@mixed.example", "bounced smime - -"),
        (
            "one@alone.example",
            "delivered pgp encrypted AES-256-CFB-MDC",
        ),
        ("one@weak.example", "delivered smime - AES-256-CBC"),
    ] {
        assert_eq!(words(recipient), wanted, "{recipient}");
    }
    let keys = world.json(&["key", "list", "--json"]);
    let known: Vec<&Value> = keys
        .as_array()
        .unwrap()
        .iter()
        .map(|k| &k["fingerprint"])
        .collect();
    let content = &last["two@smime.example"]["content"];
    assert!(known.contains(&&content["certificate"]), "{content}");
    assert_eq!(content["trust"], "manual");
}

/// Nothing of a protected message is readable in the data folder or in the log, while it
/// waits and afterwards.
#[tokio::test]
async fn nothing_readable_is_left_behind() {
    if !is_there("gpg") {
        return;
    }
    let plan = Plan {
        security: "methods = [\"pgp\", \"bounce\"]",
        retry: r#"["1h"]"#,
        tables: SECTIONS.to_owned(),
        ..Plan::default()
    };
    let mut world = World::start(&plan).await;
    let people = People::new();
    let server = world.mx("pgp.example", |b| {
        b.no_starttls()
            .reply_times(Stage::Dot, 1, "451 4.3.0 later")
    });
    people.pgp(&world, KINDS[2].1, "one@pgp.example");
    let id = world.send(&["one@pgp.example"], message()).await;
    let waits = world.wait_audit(&id, "one@pgp.example", "queued").await;
    assert_eq!(waits["method"], "pgp");
    let readable = |world: &World, when: &str| {
        let folder = world.daemon.dir().join("data");
        let mut folders = vec![folder];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(octets) = std::fs::read(&path) {
                    let found = has(&octets, MARKER) || has(&octets, "blood test");
                    assert!(!found, "{when}: {}", path.display());
                }
            }
        }
        let log = world.daemon.log();
        assert!(
            !log.contains(MARKER) && !log.contains("blood test"),
            "{when}"
        );
    };
    readable(&world, "while it waits");
    world.daemon.run_ok(&["queue", "retry", &id]);
    world.wait_empty_queue(SOON).await;
    at_body(
        &people.open_pgp(&alone(&server, "one@pgp.example"), "one@pgp.example"),
        "one@pgp.example",
    );
    readable(&world, "afterwards");
    world.daemon.terminate().await;
    readable(&world, "stopped");
}

/// A far side that says nothing after the final dot, once: what was sent is sent again, octet
/// for octet, by a daemon that had a kill -9 in between.
#[tokio::test]
async fn a_retry_sends_the_same_octets_after_a_kill() {
    if !is_there("gpg") {
        return;
    }
    let plan = Plan {
        security: "methods = [\"pgp\", \"bounce\"]",
        retry: r#"["1h"]"#,
        tables: SECTIONS.to_owned(),
        ..Plan::default()
    };
    let mut world = World::start(&plan).await;
    let people = People::new();
    people.pgp(&world, KINDS[2].1, "one@slow.example");
    let ip = loopback();
    world.dns.mx("slow.example", 10, "mx.slow.example");
    world.dns.a("mx.slow.example", ip);
    let script = "S: 220 mx\nC: EHLO *\nS: 250-mx\nS: 250 8BITMIME\nC: MAIL *\nS: 250 ok\n\
                  C: RCPT *\nS: 250 ok\nC: DATA\nS: 354 go\nD:\n";
    let start = |rest: &str| {
        let dialog = Dialog::parse(&format!("{script}{rest}")).unwrap();
        DialogServer::start((ip, world.port).into(), dialog, None)
    };
    let first = start("CUT\n");
    let id = world.send(&["one@slow.example"], message()).await;
    let waits = world.wait_audit(&id, "one@slow.example", "queued").await;
    assert_eq!(waits["reason"], "outcome-unknown");
    let sent = first.data();
    drop(first);
    world.daemon.kill9();
    world.daemon.restart().await;
    let second = start("S: 250 2.0.0 ok\nC: QUIT\nS: 221 bye\n");
    world.daemon.run_ok(&["queue", "retry", &id]);
    world.wait_empty_queue(SOON).await;
    let again = second.data();
    assert_eq!((sent.len(), again.len()), (1, 1));
    assert!(sent == again, "another copy");
    assert!(has(&sent[0], "BEGIN PGP MESSAGE"));
}

/// A rule that finds its word in the Subject has the message encrypted, and takes the word
/// out, inside too.
#[tokio::test]
async fn a_word_in_the_subject_encrypts() {
    if !is_there("gpg") {
        return;
    }
    let plan = Plan {
        tables: format!(
            "{SECTIONS}[[rule]]\nname = \"escalate\"\nwhen.subject_contains = \"[encrypt]\"\n\
             methods = [\"pgp\", \"smime\"]\nstrip_subject_tag = true\n"
        ),
        security: "methods = [\"tls\", \"bounce\"]",
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    let people = People::new();
    people.pgp(&world, KINDS[2].1, "one@clinic.example");
    let text = |subject: &str| {
        format!("From: {SENDER}\r\nTo: one@clinic.example\r\nSubject: {subject}\r\n\r\nbody\r\n")
    };
    world
        .send(&["one@clinic.example"], text("[encrypt] results"))
        .await;
    world.send(&["one@clinic.example"], text("lunch")).await;
    world.wait_empty_queue(SOON).await;
    let messages = world.far.wait_messages(2, SOON).await;
    let (clear, encrypted): (Vec<_>, Vec<_>) = messages
        .iter()
        .partition(|m| has(&m.data, "Subject: lunch"));
    assert_eq!((clear.len(), encrypted.len()), (1, 1));
    let content = people.open_pgp(encrypted[0], "one@clinic.example");
    assert!(
        has(&content, "Subject: results\r\n"),
        "{:?}",
        String::from_utf8_lossy(&content)
    );
    let story = world.daemon.run_ok(&[
        "explain",
        "one@clinic.example",
        "--subject",
        "[encrypt] x",
        "--from",
        SENDER,
    ]);
    assert!(story.contains("rule \"escalate\": decides"), "{story}");
    assert!(story.contains("method pgp: encrypts to "), "{story}");
    assert!(
        story.contains("method smime: no key to use (no-key)"),
        "{story}"
    );
}

/// What gpg has encrypted before it was handed in goes as it is, where that counts.
#[tokio::test]
async fn what_its_sender_has_encrypted_counts_where_a_rule_says_so() {
    if !is_there("gpg") {
        return;
    }
    let plan = Plan {
        security: "methods = [\"tls\", \"pgp\", \"bounce\"]",
        tables: format!(
            "{SECTIONS}[[rule]]\nname = \"theirs\"\nwhen.recipient_domain = \"own.example\"\n\
             accept_encrypted = true\n"
        ),
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    let (own, other) = (
        world.mx("own.example", |b| b.no_starttls()),
        world.mx("other.example", |b| b.no_starttls()),
    );
    let people = People::new();
    // Nobody here has a key of theirs.
    people.gpg.make(KINDS[2].1, "one@own.example");
    let encrypt = ["--armor", "--encrypt", "--recipient", "one@own.example"];
    let (armored, said) = people
        .gpg
        .run(&encrypt, b"Content-Type: text/plain\r\n\r\nhello\r\n");
    assert!(!armored.is_empty(), "{said}");
    let armored = String::from_utf8(armored).unwrap().replace('\n', "\r\n");
    let message = format!(
        "From: {SENDER}\r\nTo: one@own.example\r\nSubject: ...\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=\"b\"\r\n\r\n\
         --b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n\
         --b\r\nContent-Type: application/octet-stream\r\n\r\n{armored}\r\n--b--\r\n"
    );
    let id = world
        .send(&["one@own.example", "one@other.example"], &message)
        .await;
    let sent = world.wait_audit(&id, "one@own.example", "delivered").await;
    assert_eq!(
        (&sent["method"], &sent["content"]["by"]),
        (&"pgp".into(), &"sender".into())
    );
    let got = own.wait_messages(1, SOON).await;
    assert!(got[0].text().ends_with(&format!("{armored}\r\n--b--\r\n")));
    people.open_pgp(&got[0], "one@own.example");
    // Elsewhere it counts for nothing.
    let bounced = world.wait_audit(&id, "one@other.example", "bounced").await;
    assert_eq!(bounced["reason"], "no-key");
    assert_eq!(other.count(), 0);
}

/// `check` names what can't be used, with its line.
#[tokio::test]
async fn check_looks_at_the_organisations_own_keys() {
    let kept = |name: &str| {
        let path = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/keys");
        path.join(name).display().to_string()
    };
    let (public, certificate, other) = (
        kept("pgp-anna.asc"),
        kept("x509-anna.pem"),
        kept("x509-anna.key"),
    );
    for (tables, wanted) in [
        (
            format!("[pgp]\nsigning_key = \"{public}\"\n"),
            "no secret key to sign with",
        ),
        (
            "[pgp]\nsigning_key = \"nowhere\"\n".to_owned(),
            "No such file",
        ),
        (
            format!("[smime]\nauthorities = \"{other}\"\n"),
            "smime.authorities",
        ),
        (
            format!("[smime]\nsigning_certificate = \"{certificate}\"\n"),
            "need one another",
        ),
        (
            "[[rule]]\nname = \"r\"\nwhen.recipient = \"a@b.example\"\nmethods = \"pgp\"\n"
                .to_owned(),
            "\"pgp\" needs a [pgp] section",
        ),
    ] {
        let plan = Plan {
            tables: tables.clone(),
            ..Plan::default()
        };
        let world = World::new(&plan);
        let output = world.daemon.run(&["check"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{tables}: {said}");
        assert!(said.contains(wanted), "{tables}: {said}");
    }
}
