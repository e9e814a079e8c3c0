//! The two clocks against a daemon, with spans of seconds: the next method's turn comes
//! when a clock ends, though the list of retries alone would come an hour late.

use postern_lab::loopback;

use crate::dsn::Dsn;
use crate::world::{Plan, SOON, World, letter};

const HOUR: &str = r#"["1h"]"#;

#[tokio::test]
async fn a_definite_no_waits_for_fallback_after() {
    let world = World::start(&Plan {
        retry: HOUR,
        security: "methods = [\"tls\", \"cleartext\"]\nfallback_after = \"3s\"\n",
        ..Plan::default()
    })
    .await;
    let plain = world.mx("plain.example", |b| b.no_starttls());
    let to = "p@plain.example";
    let id = world.send(&[to], letter(to, "s", "b\r\n")).await;
    let waits = world.wait_audit(&id, to, "queued").await;
    assert_eq!(waits["reason"], "no-starttls");
    assert_eq!(plain.count(), 0);
    plain.wait_messages(1, SOON).await;
    let sent = world.wait_audit(&id, to, "delivered").await;
    assert_eq!(sent["method"], "cleartext");
    assert_eq!(sent["passed_over"][0]["method"], "tls");
    assert_eq!(sent["passed_over"][0]["reason"], "no-starttls");
}

#[tokio::test]
async fn hosts_that_do_not_answer_are_tried_for_security_patience() {
    let world = World::start(&Plan {
        retry: HOUR,
        security: "tls_level = \"authenticated\"\nsecurity_patience = \"3s\"\n",
        ..Plan::default()
    })
    .await;
    let other = world.ca.issue(&["mx.other.example"]);
    let half = world.mx("half.example", |b| b.identity(other));
    world.dns.mx("half.example", 20, "gone.half.example");
    world.dns.a("gone.half.example", loopback());
    let to = "p@half.example";
    let id = world.send(&[to], letter(to, "s", "b\r\n")).await;
    assert_eq!(
        world.wait_audit(&id, to, "queued").await["reason"],
        "unreachable"
    );
    let arrived = world.home.wait_messages(1, SOON).await;
    let dsn = Dsn::read(&arrived[0]);
    assert_eq!(dsn.fields("Status"), ["5.7.5"]);
    let bounced = world.wait_audit(&id, to, "bounced").await;
    assert_eq!(bounced["reason"], "certificate-name");
    assert_eq!(bounced["passed_over"][0]["reason"], "certificate-name");
    assert_eq!(bounced["passed_over"][1]["reason"], "patience-over");
    assert_eq!(half.count(), 0);
}

#[tokio::test]
async fn where_nobody_answers_patience_changes_nothing() {
    let world = World::start(&Plan {
        retry: r#"["1s"]"#,
        expire: "6s",
        security: "methods = [\"tls\", \"drop\"]\nsecurity_patience = \"2s\"\n",
        ..Plan::default()
    })
    .await;
    world.dns.mx("gone.example", 10, "mx.gone.example");
    world.dns.a("mx.gone.example", loopback());
    let to = "p@gone.example";
    let id = world.send(&[to], letter(to, "s", "b\r\n")).await;
    let ended = world.wait_audit(&id, to, "expired").await;
    assert_eq!(ended["reason"], "unreachable");
    assert_eq!(ended["passed_over"].as_array().map(Vec::len), Some(0));
}
