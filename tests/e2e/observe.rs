//! `[security] observe`: mail flows as through a plain relay, and the record says what the
//! configured methods would have done.

use std::path::Path;
use std::process::Command;

use postern_lab::{Identity, SmtpBuilder, SmtpServer, TlsVersion};
use serde_json::{Value, json};

use crate::logging::documented;
use crate::metrics::{get, watched};
use crate::world::{Plan, SENDER, SOON, World, letter, wait};

/// A list and a level for each of these; `observe` may be switched.
fn plan(observe: bool) -> Plan {
    let rule = |name: &str, methods: &str, level: &str| {
        format!(
            "[[rule]]\nname = \"{name}\"\nwhen.recipient_domain = \".{name}.example\"\n\
             methods = {methods}\ntls_level = \"{level}\"\n"
        )
    };
    let security = match observe {
        true => "observe = true",
        false => "observe = false",
    };
    Plan {
        security,
        tables: [
            rule("enc", r#"["tls", "bounce"]"#, "encrypted"),
            rule("auth", r#"["tls", "bounce"]"#, "authenticated"),
            rule("drop", r#"["tls", "drop"]"#, "encrypted"),
            rule("clear", r#"["tls", "cleartext"]"#, "encrypted"),
        ]
        .concat(),
        ..Plan::default()
    }
}

const LISTS: [&str; 4] = ["enc", "auth", "drop", "clear"];

/// A far side of each kind, with what the four lists would have come to.
fn turn(kind: &str, host: &str) -> Box<dyn FnOnce(SmtpBuilder) -> SmtpBuilder> {
    let alone = Identity::self_signed(&[host]);
    match kind {
        "modern" => Box::new(|b| b),
        "alone" => Box::new(move |b| b.identity(alone)),
        "weak" => Box::new(|b| b.tls_versions(TlsVersion::V1_0, TlsVersion::V1_1)),
        _ => Box::new(|b| b.no_starttls()),
    }
}

const TLS: (&str, Option<&str>) = ("tls", None);

/// By far side: the method that delivers, and what each list would have come to.
type Expected = (
    &'static str,
    &'static str,
    [(&'static str, Option<&'static str>); 4],
);

const EXPECTED: [Expected; 4] = [
    ("modern", "tls", [TLS; 4]),
    (
        "alone",
        "tls",
        [TLS, ("bounce", Some("certificate-untrusted")), TLS, TLS],
    ),
    (
        "weak",
        "cleartext",
        [
            ("bounce", Some("no-common-tls")),
            ("bounce", Some("no-common-tls")),
            ("drop", Some("no-common-tls")),
            ("cleartext", None),
        ],
    ),
    (
        "bare",
        "cleartext",
        [
            ("bounce", Some("no-starttls")),
            ("bounce", Some("no-starttls")),
            ("drop", Some("no-starttls")),
            ("cleartext", None),
        ],
    ),
];

/// Sends to each far side under each list, and checks what arrives and what is written.
async fn send_to_all(world: &World) -> Vec<SmtpServer> {
    let mut servers = Vec::new();
    for (kind, method, row) in EXPECTED {
        for (list, (would, reason)) in LISTS.into_iter().zip(row) {
            let domain = format!("{kind}.{list}.example");
            let server = world.mx(&domain, turn(kind, &format!("mx.{domain}")));
            let to = format!("p@{domain}");
            let id = world.send(&[&to], letter(&to, "hello", "hi\r\n")).await;
            let entry = world.wait_audit(&id, &to, "delivered").await;
            assert_eq!(entry["method"], method, "{entry:#}");
            assert_eq!(
                entry["would"],
                json!({"method": would, "reason": reason}),
                "{domain}: {entry:#}"
            );
            assert_eq!(entry["rule"], list, "{entry:#}");
            assert_eq!(entry["tls"].is_null(), method == "cleartext", "{entry:#}");
            assert_eq!((server.count(), entry["reason"].is_null()), (1, true));
            let told = match reason {
                Some(reason) => format!("would={would} would_reason={reason}"),
                None => format!("would={would}"),
            };
            let line = |line: &&str| line.contains(&id) && line.contains("status=delivered");
            let log = world.daemon.log();
            let line = log.lines().find(line).unwrap();
            assert!(line.ends_with(&told), "{line}");
            servers.push(server);
        }
    }
    servers
}

#[tokio::test]
async fn all_is_delivered_and_each_record_says_what_would_have_been() {
    let (world, metrics) = watched(plan(true)).await;
    let _servers = send_to_all(&world).await;
    world.wait_empty_queue(SOON).await;
    assert_eq!(world.home.count(), 0, "no sender is told of anything");
    let seen = documented(&world.daemon.log());
    assert!(seen.contains("observe is on: …"), "{seen:?}");

    let (_, page) = get(metrics, "/metrics").await;
    for line in [
        "postern_observe 1",
        "postern_observed_outcomes_total{status=\"delivered\",would=\"tls\",reason=\"none\"} 7",
        "postern_observed_outcomes_total{status=\"delivered\",would=\"bounce\",reason=\"no-starttls\"} 2",
        "postern_observed_outcomes_total{status=\"delivered\",would=\"drop\",reason=\"no-common-tls\"} 1",
    ] {
        assert!(page.lines().any(|l| l == line), "no {line} in\n{page}");
    }
    the_sum_is_right(&world);
    the_chain_holds(&world);
}

/// `audit would` and the filter.
fn the_sum_is_right(world: &World) {
    let sum = world.json(&["audit", "would", "--json", "--since", "1h"]);
    assert_eq!(
        (&sum["recipients"], &sum["delivered"], &sum["would_not"]),
        (&json!(16), &json!(16), &json!(7)),
        "{sum:#}"
    );
    let domains = sum["domains"].as_array().unwrap();
    let found = domains
        .iter()
        .find(|row| row["domain"] == "bare.drop.example");
    let found = found.unwrap();
    assert_eq!(
        (&found["method"], &found["reason"], &found["recipients"]),
        (&json!("drop"), &json!("no-starttls"), &json!(1)),
        "{found}"
    );
    assert!(
        domains
            .iter()
            .all(|row| row["domain"] != "alone.enc.example")
    );
    let text = world.daemon.run_ok(&["audit", "would"]);
    assert!(text.contains("would not have delivered 7"), "{text}");
    assert!(
        text.contains("alone.auth.example") && text.contains("certificate-untrusted"),
        "{text}"
    );
    let later = world.json(&[
        "audit",
        "would",
        "--json",
        "--since",
        "2099-01-01T00:00:00Z",
    ]);
    assert_eq!(later["recipients"], 0);
    for (would, n) in [("bounce", 5), ("drop", 2), ("wait", 0)] {
        let list = world.json(&["audit", "list", "--json", "--would", would]);
        assert_eq!(list.as_array().unwrap().len(), n, "{would}: {list:#}");
    }
    let text = world.daemon.run_ok(&["audit", "list", "--would", "drop"]);
    assert!(text.contains("would=drop would_reason=no-"), "{text}");
    let csv = world.daemon.run_ok(&["audit", "export", "--format", "csv"]);
    assert!(
        csv.contains(",drop,no-starttls,,,,,,,,,,recipient,,,,,\r\n"),
        "{csv}"
    );
}

/// The new field is under the chain's hashes like any other; both verifiers say so.
fn the_chain_holds(world: &World) {
    let verdict = world.daemon.run_ok(&["audit", "verify"]);
    assert!(verdict.contains("intact"), "{verdict}");
    let data = world.daemon.dir().join("data");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/verify_audit.py");
    let python = Command::new("python3")
        .arg(script)
        .args([data.join("audit"), data.join("keys/audit.pub.pem")])
        .output()
        .unwrap();
    assert!(python.status.success(), "{python:?}");
}

#[tokio::test]
async fn a_reload_enforces_at_once() {
    let (mut world, metrics) = watched(plan(true)).await;
    let (bare, to) = (
        world.mx("bare.enc.example", |b| b.no_starttls()),
        "p@bare.enc.example",
    );
    let dropped = world.mx("bare.drop.example", |b| b.no_starttls());
    let id = world.send(&[to], letter(to, "one", "hi\r\n")).await;
    world.wait_audit(&id, to, "delivered").await;

    let tables = format!("[metrics]\nbind = \"{metrics}\"\n{}", plan(false).tables);
    let text = |world: &World, observe| {
        let plan = Plan {
            tables: tables.clone(),
            ..plan(observe)
        };
        world.config(&plan)
    };
    let enforced = text(&world, false);
    reload(&mut world, &enforced, "observe is off").await;
    let id = world.send(&[to], letter(to, "two", "hi\r\n")).await;
    let entry = world.wait_audit(&id, to, "bounced").await;
    assert_eq!(
        (&entry["reason"], &entry["would"]),
        (&json!("no-starttls"), &Value::Null),
        "{entry:#}"
    );
    let gone = "p@bare.drop.example";
    let id = world.send(&[gone], letter(gone, "three", "hi\r\n")).await;
    world.wait_audit(&id, gone, "dropped").await;
    assert_eq!((bare.count(), dropped.count()), (1, 0));
    let (_, page) = get(metrics, "/metrics").await;
    assert!(page.contains("\npostern_observe 0\n"), "{page}");

    // And back, which is said again.
    let observed = text(&world, true);
    reload(&mut world, &observed, "observe is on").await;
    let id = world.send(&[gone], letter(gone, "four", "hi\r\n")).await;
    world.wait_audit(&id, gone, "delivered").await;
    let log = world.daemon.log();
    assert_eq!(log.matches("observe is on").count(), 2, "{log}");
    let seen = documented(&log);
    assert!(seen.contains("observe is off: …") && seen.contains("reloaded:"));
}

async fn reload(world: &mut World, text: &str, word: &str) {
    let before = world.daemon.log().len();
    world.daemon.config(text);
    world.daemon.signal("HUP");
    wait(SOON, word, || {
        let log = world.daemon.log();
        log[before..].contains(word) && log[before..].contains("reloaded:")
    })
    .await;
}

/// A report goes the way that the message itself would: in the clear where there is no other.
#[tokio::test]
async fn own_mail_is_observed_too() {
    let world = World::start(&plan(true)).await;
    world.home.change(|k| k.no_starttls());
    let to = "p@typo.example";
    let id = world.send(&[to], letter(to, "one", "hi\r\n")).await;
    let entry = world.wait_audit(&id, to, "bounced").await;
    assert_eq!(
        entry["would"],
        json!({"method": "bounce", "reason": "no-such-domain"})
    );
    world.home.wait_messages(1, SOON).await;
    world.wait_empty_queue(SOON).await;
    let all = world.json(&["audit", "list", "--json", "--recipient", SENDER]);
    let report = &all[0];
    assert_eq!(
        (&report["method"], &report["would"]),
        (
            &json!("cleartext"),
            &json!({"method": "bounce", "reason": "no-starttls"})
        ),
        "{report:#}"
    );
    // The typo is no loss by the configuration; the report is.
    let sum = world.json(&["audit", "would", "--json"]);
    assert_eq!(
        (&sum["recipients"], &sum["would_not"]),
        (&json!(2), &json!(1)),
        "{sum:#}"
    );
}

#[tokio::test]
async fn check_warns_and_explain_shows_both() {
    let world = World::start(&plan(true)).await;
    let check = world.daemon.run(&["check"]);
    assert!(check.status.success());
    let told = String::from_utf8_lossy(&check.stderr).into_owned();
    assert!(told.contains("observe is on: no method"), "{told}");
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(said.contains("nothing of this is enforced"), "{said}");

    world
        .dns
        .mx("bare.drop.example", 10, "mx.bare.drop.example");
    let explain = ["explain", "p@bare.drop.example"];
    let story = world.json(&[&explain[..], &["--json"]].concat());
    assert_eq!(
        (&story["ending"], &story["methods"][0]["because"]),
        (&json!("drop"), &json!("rule \"drop\"")),
        "{story:#}"
    );
    assert_eq!(
        story["observe"],
        json!([
            {"method": "tls", "must_prove": "encrypted", "because": "the method itself"},
            {"method": "cleartext", "must_prove": null, "because": null},
        ])
    );
    let text = world.daemon.run_ok(&explain);
    let observe = text.split_once("observe is on").unwrap().1;
    assert!(observe.contains("method cleartext"), "{text}");
}
