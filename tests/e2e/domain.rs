//! TLS memory at the real daemon: what it learns, what it forbids, and what operators do about it.

use std::path::Path;
use std::sync::Arc;

use postern::spool::{Settings, Tables};
use postern::sys::{RealDisk, SystemClock, SystemEntropy};
use serde_json::Value;

use crate::logging::documented;
use crate::world::{Plan, SOON, World, letter, wait};

fn plan() -> Plan {
    Plan {
        retry: r#"["1h"]"#,
        expire: "2d",
        delay_notice: "2d",
        security: r#"methods = ["tls", "cleartext", "bounce"]"#,
        tables: "[[rule]]\nname = \"strict\"\nwhen.sender = \"strict@ward.example\"\n\
                 refuse_without_tls = true\n"
            .into(),
        ..Plan::default()
    }
}

impl World {
    fn domain(&self, name: &str) -> Value {
        let output = self.daemon.run(&["domain", "show", name, "--json"]);
        serde_json::from_slice(&output.stdout).unwrap()
    }

    async fn wait_state(&self, name: &str, state: &str) -> Value {
        let mut view = Value::Null;
        wait(SOON, &format!("{name} {state}"), || {
            view = self.domain(name);
            view["state"] == state
        })
        .await;
        view
    }
}

/// Makes a stopped daemon remember that a domain's host did TLS on two days: what would take two.
fn remember(data: &Path, domain: &str) {
    let settings = Settings {
        folder: data.join("spool"),
        master_key: data.join("keys/master").into(),
        max_size: 1 << 30,
        message_size: 1 << 20,
    };
    let (tables, _) = Tables::open(
        &settings,
        Arc::new(RealDisk),
        Arc::new(SystemClock),
        &SystemEntropy::default(),
    )
    .unwrap();
    let table = tables.table("tls-memory");
    let known = table.get(b"clinic.example").unwrap().unwrap();
    let mut record: Value = serde_json::from_slice(&known).unwrap();
    record["encrypted_since"] = record["last_tls"].clone();
    let mut host = record["hosts"]["mx.clinic.example"].clone();
    host["tls_days"] = 2.into();
    record["hosts"] = serde_json::json!({ format!("mx.{domain}"): host });
    let text = serde_json::to_vec(&record).unwrap();
    table.put(domain.as_bytes(), &text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_learnt_lasts_and_is_shown_with_and_without_the_daemon() {
    let mut world = World::start(&plan()).await;
    let bare = world.mx("bare.example", |b| b.no_starttls());
    for (to, method) in [("p@clinic.example", "tls"), ("p@bare.example", "cleartext")] {
        let id = world.send(&[to], letter(to, "hello", "hi\r\n")).await;
        let entry = world.wait_audit(&id, to, "delivered").await;
        assert_eq!(entry["method"], method, "{entry:#}");
    }
    assert_eq!(bare.count(), 1);
    let seen = world.wait_state("clinic.example", "seen").await;
    let host = &seen["hosts"][0];
    assert_eq!(host["host"], "mx.clinic.example", "{seen:#}");
    assert_eq!(
        (&host["tls_days"], &host["version"]),
        (&1.into(), &"TLSv1.3".into())
    );
    assert_eq!(host["authenticated"], true);
    assert!(host["certificate"]["sha256"].is_string(), "{seen:#}");
    let plain = world.wait_state("bare.example", "no-tls").await;
    assert_eq!(
        plain["hosts"][0]["answers"][0][1], "no-starttls",
        "{plain:#}"
    );

    // RCPT is refused for what is known not to do TLS, and for nobody else.
    let mut client = world.client().await;
    client
        .line("MAIL FROM:<strict@ward.example>")
        .await
        .unwrap();
    let refused = client.line("RCPT TO:<p@bare.example>").await.unwrap();
    assert_eq!(
        (refused.code, &refused.text()[..6]),
        (550, "5.7.10"),
        "{refused:?}"
    );
    for known in ["clinic.example", "unknown.example"] {
        let taken = client.line(&format!("RCPT TO:<p@{known}>")).await.unwrap();
        assert_eq!(taken.code, 250, "{taken:?}");
    }
    client.line("RSET").await.unwrap();
    client.line("MAIL FROM:<dr@ward.example>").await.unwrap();
    let taken = client.line("RCPT TO:<p@bare.example>").await.unwrap();
    assert_eq!(taken.code, 250, "another sender's rule says nothing of it");
    client.quit().await.unwrap();

    // A probe looks, learns and sends nothing.
    let heard = world.far.count();
    let probed = world.json(&["domain", "probe", "clinic.example", "--json"]);
    assert_eq!(
        probed["explain"]["probe"]["outcome"], "delivered",
        "{probed:#}"
    );
    assert!(probed["domain"]["last_probe"].is_string(), "{probed:#}");
    assert_eq!(world.far.count(), heard);

    let names = |world: &World| -> Vec<String> {
        let all = world.json(&["domain", "list", "--json"]);
        let all = all.as_array().unwrap().iter();
        all.map(|v| v["domain"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&world), ["bare.example", "clinic.example"]);
    // A kill loses the last moments at most.
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    world.daemon.kill9();
    assert_eq!(names(&world), ["bare.example", "clinic.example"]);
    let output = world
        .daemon
        .run(&["domain", "allow", "a.example", "--until=1d", "--reason=x"]);
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    world.daemon.start().await;
    assert_eq!(names(&world), ["bare.example", "clinic.example"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_did_tls_gets_no_cleartext_until_an_operator_says_so() {
    let mut world = World::start(&plan()).await;
    let far = "p@clinic.example";
    let id = world.send(&[far], letter(far, "hello", "hi\r\n")).await;
    world.wait_audit(&id, far, "delivered").await;
    world.wait_state("clinic.example", "seen").await;
    world.daemon.terminate().await;
    remember(&world.daemon.data_dir(), "turned.example");
    let turned = world.mx("turned.example", |b| b.no_starttls());
    world.daemon.start().await;
    let view = world.wait_state("turned.example", "encrypted").await;
    assert!(view["lapses"].is_string(), "{view:#}");

    let to = "p@turned.example";
    let id = world.send(&[to], letter(to, "hello", "hi\r\n")).await;
    let entry = world.wait_audit(&id, to, "queued").await;
    assert_eq!(entry["reason"], "tls-remembered", "{entry:#}");
    assert_eq!(turned.count(), 0);
    let output = world.daemon.run(&["explain", to, "--probe", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let story: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(story["memory"], "encrypted", "{story:#}");
    assert_eq!(story["probe"]["reason"], "tls-remembered", "{story:#}");
    world
        .daemon
        .wait_log("domain worse: domain=turned.example", SOON)
        .await;

    // Nonsense is refused with what to do.
    for (until, reason, said) in [
        ("0s", "x", "in the future"),
        ("800d", "x", "a year away at most"),
        ("soon", "x", "neither a time"),
        ("1d", " ", "say why"),
    ] {
        let args = [
            "domain",
            "allow",
            "turned.example",
            "--until",
            until,
            "--reason",
            reason,
        ];
        let output = world.daemon.run(&args);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains(said), "{told}");
    }
    let allow = [
        "domain",
        "allow",
        "turned.example",
        "--until",
        "1d",
        "--reason",
        "ticket 12",
    ];
    let told = world.daemon.run_ok(&allow);
    assert!(told.contains("exception by uid="), "{told}");
    assert!(told.contains("ticket 12"), "{told}");
    // It outlives a kill at once.
    world.daemon.kill9();
    world.daemon.start().await;
    let story = world.json(&["explain", to, "--json"]);
    assert_eq!(story["memory"], "excepted", "{story:#}");
    world.daemon.run_ok(&["queue", "retry", "--all"]);
    let entry = world.wait_audit(&id, to, "delivered").await;
    assert_eq!(entry["method"], "cleartext", "{entry:#}");
    let note = entry["note"].as_str().unwrap();
    assert!(note.starts_with("cleartext by exception of uid="), "{note}");
    assert!(note.ends_with("ticket 12"), "{note}");
    assert_eq!(turned.count(), 1);
    for line in [
        "exception made: domain=turned.example by=uid=",
        "exception used: domain=turned.example",
    ] {
        world.daemon.wait_log(line, SOON).await;
    }
    // Forgotten, it is unknown, and the exception is gone with it.
    world.daemon.run_ok(&["domain", "forget", "turned.example"]);
    let output = world.daemon.run(&["domain", "show", "turned.example"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let output = world.daemon.run(&["domain", "forget", "turned.example"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let log = world.daemon.log();
    assert!(
        log.contains("exception taken back: domain=turned.example"),
        "{log}"
    );
    let marks = documented(&log);
    for mark in [
        "exception made:",
        "exception used:",
        "domain worse:",
        "domain forgotten:",
    ] {
        assert!(marks.contains(mark), "{mark}: {marks:?}");
    }
}
