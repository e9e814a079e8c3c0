//! Rules that hold and rules that drop, against a daemon: at once, each recipient for itself,
//! without a report, and released by hand alone.

use postern_lab::Stage;

use crate::world::{Plan, SOON, World, letter};

const RULES: &str = r#"
[[rule]]
name = "look"
when.subject_contains = "[look]"
hold = "to be looked at"

[[rule]]
name = "closed"
when.recipient_domain = "closed.example"
drop = "no mail to this one"
"#;

fn plan(security: &'static str) -> Plan {
    Plan {
        security,
        tables: RULES.to_owned(),
        retry: r#"["1s"]"#,
        ..Plan::default()
    }
}

#[tokio::test]
async fn a_rule_holds_until_somebody_releases_and_not_again() {
    let mut world = World::start(&plan("")).await;
    let to = "p@clinic.example";
    let id = world.send(&[to], letter(to, "[look] a", "b\r\n")).await;
    let held = world.wait_audit(&id, to, "held").await;
    assert_eq!(held["rule"], "look");
    assert_eq!(held["reason"], "held-by-rule");
    assert_eq!(held["note"], "held by rule \"look\": to be looked at");
    // Where there is no such domain, too: nothing was asked.
    let nowhere = "p@nowhere.example";
    let other = world
        .send(&[nowhere], letter(nowhere, "[look] a", "b\r\n"))
        .await;
    world.wait_audit(&other, nowhere, "held").await;
    world.daemon.kill9();
    world.daemon.start().await;
    let listed = world.json(&["queue", "list", "--state", "held", "--json"]);
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let why = &listed[0]["recipients"][0]["last_reply"];
    assert_eq!(why, "held by rule \"look\": to be looked at");
    assert_eq!(listed[0]["recipients"][0]["attempts"], 0);
    assert_eq!(world.far.count(), 0);
    // Released, it is tried as any other, also more than once and over a crash.
    world
        .far
        .change(|k| k.reply(Stage::Mail, "451 4.3.2 later"));
    world.daemon.run_ok(&["queue", "release", &id]);
    let mut deferred = world.wait_audit(&id, to, "queued").await;
    while deferred["reason"] != "deferred" {
        deferred = world.wait_audit(&id, to, "queued").await;
    }
    world.daemon.kill9();
    world.daemon.start().await;
    world.far.change(|k| k.clear());
    world.wait_audit(&id, to, "delivered").await;
    assert_eq!(world.far.wait_messages(1, SOON).await.len(), 1);
    // Held and bounced by hand: the sender hears of that one.
    world.daemon.run_ok(&["queue", "remove", &other]);
    world.wait_empty_queue(SOON).await;
    // `explain` says it.
    let story = world.json(&["explain", to, "--json", "--subject", "a [look]"]);
    assert_eq!(story["stop"]["what"], "hold");
    assert_eq!(story["stop"]["reason"], "to be looked at");
    let text = world
        .daemon
        .run_ok(&["explain", to, "--subject", "a [look]"]);
    assert!(
        text.contains("held by rule \"look\": to be looked at"),
        "{text}"
    );
}

#[tokio::test]
async fn a_rule_drops_at_once_and_tells_nobody() {
    let world = World::start(&plan("")).await;
    let (closed, open) = ("p@closed.example", "p@clinic.example");
    let id = world
        .send(&[closed, open], letter(open, "a", "b\r\n"))
        .await;
    let dropped = world.wait_audit(&id, closed, "dropped").await;
    assert_eq!(dropped["rule"], "closed");
    assert_eq!(dropped["reason"], "dropped-by-rule");
    assert_eq!(
        dropped["note"],
        "dropped by rule \"closed\": no mail to this one"
    );
    world.wait_audit(&id, open, "delivered").await;
    world.wait_empty_queue(SOON).await;
    assert_eq!(world.far.count(), 1, "no report");
    let probe = world.daemon.run(&["explain", closed, "--json"]);
    let story: serde_json::Value = serde_json::from_slice(&probe.stdout).unwrap();
    assert_eq!(story["stop"]["what"], "drop");
}

/// Only observed: it goes, and the record says what would have become of it.
#[tokio::test]
async fn what_is_observed_is_delivered() {
    let world = World::start(&plan("observe = true")).await;
    let _closed = world.mx("closed.example", |b| b);
    let (closed, open) = ("p@closed.example", "p@clinic.example");
    for (to, subject, would, note) in [
        (open, "[look] a", "hold", "would be held by rule \"look\""),
        (closed, "a", "drop", "would be dropped by rule \"closed\""),
    ] {
        let id = world.send(&[to], letter(to, subject, "b\r\n")).await;
        let ended = world.wait_audit(&id, to, "delivered").await;
        assert_eq!(ended["would"]["method"], would);
        let said = ended["note"].as_str().unwrap();
        assert!(said.starts_with(note), "{said}");
    }
}
