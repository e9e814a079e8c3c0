//! SIGHUP: the configuration swapped whole, or not at all.

use std::time::Duration;

use postern_lab::Stage;
use serde_json::Value;

use crate::world::{Plan, SENDER, SOON, World, letter, queue_id, wait};

const TO: &str = "p@clinic.example";

/// Writes a configuration, signals, and waits for this in what the log says then.
async fn reload(world: &mut World, text: &str, word: &str) -> String {
    let before = world.daemon.log().len();
    world.daemon.config(text);
    world.daemon.signal("HUP");
    wait(SOON, word, || world.daemon.log()[before..].contains(word)).await;
    world.daemon.log()[before..].to_owned()
}

/// What the audit holds about a message.
fn audit(world: &World, id: &str) -> Vec<Value> {
    let all = world.json(&["audit", "list", "--json"]);
    let all = all.as_array().unwrap().iter();
    all.filter(|entry| entry["id"] == id).cloned().collect()
}

/// The hash that the log names.
fn hash(log: &str) -> String {
    let (_, rest) = log.rsplit_once("configuration=").unwrap();
    rest.split_whitespace().next().unwrap().to_owned()
}

#[tokio::test]
async fn rules_routes_and_retry_are_swapped_without_a_restart() {
    let plan = Plan {
        retry: r#"["1h"]"#,
        ..Plan::default()
    };
    let mut world = World::start(&plan).await;
    let pid = world.daemon.pid();
    let old = hash(&world.daemon.log());
    let bare = world.mx("bare.example", |b| b.no_starttls());
    let to = "q@bare.example";
    let id = world.send(&[to], letter(to, "waits", "hi\r\n")).await;
    let refused = world.wait_audit(&id, to, "bounced").await;
    assert_eq!(refused["configuration"], old.as_str());
    world
        .far
        .change(|k| k.reply(Stage::Mail, "451 4.3.2 later"));
    let waits = world.send(&[TO], letter(TO, "waits", "hi\r\n")).await;
    world.wait_audit(&waits, TO, "queued").await;

    let plan = Plan {
        retry: r#"["1s"]"#,
        tables: format!(
            r#"[[rule]]
name = "the bare ones"
when = {{ recipient_domain = "bare.example" }}
methods = ["tls", "cleartext"]
[[route]]
domain = "routed.example"
hosts = ["{}"]
"#,
            world.far.addr()
        ),
        ..Plan::default()
    };
    // A session that began before goes on.
    let mut client = world.client().await;
    let text = world.config(&plan);
    let new = hash(&reload(&mut world, &text, "reloaded").await);
    assert_ne!(new, old);
    assert_eq!(world.daemon.pid(), pid);
    let reply = client
        .submit(SENDER, &[to], letter(to, "by rule", "hi\r\n"))
        .await;
    let id = queue_id(&reply.unwrap());
    let entry = world.wait_audit(&id, to, "delivered").await;
    assert_eq!(
        (&entry["method"], &entry["rule"]),
        (&"cleartext".into(), &"the bare ones".into())
    );
    assert_eq!(
        entry["configuration"],
        new.as_str(),
        "the evidence names what was in force"
    );
    assert_eq!(bare.count(), 1);
    world.far.change(|k| k.clear());
    let to = "r@routed.example";
    let id = world.send(&[to], letter(to, "by route", "hi\r\n")).await;
    // The route's host has a name in no certificate, so what counts is that it was asked.
    wait(SOON, "the route", || {
        let all = audit(&world, &id);
        !all.is_empty()
    })
    .await;
    // What waited for an hour waits no longer than the new list allows.
    wait(Duration::from_secs(150), "the wait to be shortened", || {
        let all = audit(&world, &waits);
        all.iter().any(|e| e["state"] == "delivered")
    })
    .await;
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_every_fault_is_told() {
    let mut world = World::start(&Plan::default()).await;
    let good = hash(&world.daemon.log());
    let text = world.config(&Plan::default());
    let bad = text
        .replace(
            "prefer = \"ipv4-only\"",
            "prefer = \"pigeon\"\nexpired = \"1h\"",
        )
        .replace("roots = [\"ca.pem\"]", "roots = [\"nowhere.pem\"]");
    let log = reload(&mut world, &bad, "stays in force").await;
    assert!(
        log.contains("delivery.prefer") && log.contains("expired"),
        "{log}"
    );
    assert!(log.contains("postern.toml:"), "with file and line: {log}");
    assert_eq!(hash(&log.replace(" stays", "\nstays")), good);
    let missing = text.replace("roots = [\"ca.pem\"]", "roots = [\"nowhere.pem\"]");
    let log = reload(&mut world, &missing, "stays in force").await;
    assert!(log.contains("nowhere.pem"), "{log}");
    std::fs::remove_file(world.daemon.config_file()).unwrap();
    let before = world.daemon.log().len();
    world.daemon.signal("HUP");
    wait(SOON, "the complaint", || {
        world.daemon.log()[before..].contains("stays in force")
    })
    .await;
    world.daemon.config(&text);
    let id = world.send(&[TO], letter(TO, "still", "hi\r\n")).await;
    let entry = world.wait_audit(&id, TO, "delivered").await;
    assert_eq!(entry["configuration"], good.as_str());
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_the_whole_refused() {
    let mut world = World::start(&Plan::default()).await;
    let plan = Plan {
        security: r#"methods = ["tls", "drop"]"#,
        ..Plan::default()
    };
    let text = world.config(&plan);
    let moved = text
        .replace(
            "data_dir = \"data\"",
            "data_dir = \"elsewhere\"\ncontrol = \"data/c.sock\"",
        )
        .replace(&world.relay.to_string(), "127.0.0.1:1")
        + "[spool]\nmax_size = \"1GiB\"\n";
    let log = reload(&mut world, &moved, "stays in force").await;
    for key in ["data_dir", "control", "spool.max_size", "[[listener]] bind"] {
        assert!(log.contains(key), "{key}: {log}");
    }
    assert!(log.contains("needs a restart"), "{log}");
    // Nothing of it is in force: a refusal bounces and is not dropped. (The command line reads
    // the file, so it gets the old one back.)
    let old = world.config(&Plan::default());
    world.daemon.config(&old);
    let to = "p@typo.example";
    let id = world.send(&[to], letter(to, "bounces", "hi\r\n")).await;
    world.wait_audit(&id, to, "bounced").await;
    reload(&mut world, &text, "reloaded").await;
    let id = world.send(&[to], letter(to, "drops", "hi\r\n")).await;
    world.wait_audit(&id, to, "dropped").await;
}

#[tokio::test]
async fn limits_and_log_addresses_hold_for_new_sessions() {
    let mut world = World::start(&Plan::default()).await;
    let plan = Plan {
        top: "log_addresses = true\nlimits.message_size = \"64KiB\"".to_owned(),
        ..Plan::default()
    };
    let text = world.config(&plan);
    reload(&mut world, &text, "reloaded").await;
    let mut client = world.client().await;
    let large = letter(TO, "large", "x\r\n".repeat(40_000));
    let reply = client.submit(SENDER, &[TO], large).await.unwrap();
    assert_eq!(reply.code / 100, 5, "{reply:?}");
    let id = world.send(&[TO], letter(TO, "small", "hi\r\n")).await;
    world.wait_audit(&id, TO, "delivered").await;
    world.daemon.wait_log(&format!("to=<{TO}>"), SOON).await;
}

/// At once, and not before a change for a while is over.
#[tokio::test]
async fn the_level_of_the_log_is_taken_over() {
    let level = |level: &str| Plan {
        tables: format!("[log]\nlevel = \"{level}\"\n"),
        ..Plan::default()
    };
    let mut world = World::start(&level("info")).await;
    let debug = world.config(&level("debug"));
    reload(&mut world, &debug, "now=debug").await;
    world
        .daemon
        .run_ok(&["log", "level", "info", "--for", "2s"]);
    let warn = world.config(&level("warn"));
    let log = reload(&mut world, &warn, "reloaded:").await;
    assert!(!log.contains("now=warn"), "{log}");
    world.daemon.wait_log("now=warn", SOON).await;
    let json = format!("{warn}\n").replace("[log]", "[log]\nformat = \"json\"");
    let log = reload(&mut world, &json, "stays in force").await;
    assert!(log.contains("[log] format has changed"), "{log}");
}

/// A root that is trusted no more is trusted no more, over kept connections either.
#[tokio::test]
async fn a_kept_connection_does_not_outlive_what_it_was_trusted_by() {
    let plan = Plan {
        retry: r#"["1h"]"#,
        security: r#"tls_level = "authenticated""#,
        ..Plan::default()
    };
    let mut world = World::start(&plan).await;
    let id = world.send(&[TO], letter(TO, "one", "hi\r\n")).await;
    world.wait_audit(&id, TO, "delivered").await;
    let text = world
        .config(&plan)
        .replace("roots = [\"ca.pem\"]", "roots = []");
    reload(&mut world, &text, "reloaded").await;
    let id = world.send(&[TO], letter(TO, "two", "hi\r\n")).await;
    wait(SOON, "the refusal", || {
        let all = audit(&world, &id);
        let reason = |e: &Value| e["reason"] == "certificate-untrusted";
        all.iter().any(reason)
    })
    .await;
    assert_eq!(world.far.count(), 1);
}

/// What `systemctl reload` waits for (sd_notify(3)), a bad file included.
#[tokio::test]
async fn the_service_manager_is_told_of_each_reload() {
    let mut world = World::start(&Plan::default()).await;
    let good = world.config(&Plan::default());
    for (n, (text, word)) in [(good.as_str(), "reloaded"), ("bad", "stays in force")]
        .into_iter()
        .enumerate()
    {
        reload(&mut world, text, word).await;
        wait(SOON, "the notices", || {
            world.daemon.notices().len() >= 2 * (n + 1)
        })
        .await;
    }
    let notices = world.daemon.notices();
    assert_eq!(notices.len(), 4, "{notices:?}");
    for pair in notices.chunks(2) {
        assert!(pair[0].contains("RELOADING=1\n"), "{notices:?}");
        let stamp = pair[0]
            .lines()
            .find_map(|l| l.strip_prefix("MONOTONIC_USEC="));
        assert!(stamp.unwrap().parse::<u64>().unwrap() > 0, "{notices:?}");
        assert!(pair[1].contains("READY=1"), "{notices:?}");
    }
}

/// Mail goes on through a reload a second: nothing is lost and nothing goes twice.
#[tokio::test]
async fn mail_goes_on_through_many_reloads() {
    const MANY: usize = 200;
    let mut world = World::start(&Plan::default()).await;
    let texts = ["10s", "20s"].map(|notice| {
        let plan = Plan {
            security: if notice == "10s" {
                ""
            } else {
                r#"tls_level = "authenticated""#
            },
            ..Plan::default()
        };
        world.config(&plan)
    });
    let mut client = world.client().await;
    for n in 0..MANY {
        if n % 20 == 0 {
            let text = &texts[n / 20 % 2];
            world.daemon.config(text);
            world.daemon.signal("HUP");
        }
        let reply = client
            .submit(SENDER, &[TO], letter(TO, "n", "hi\r\n"))
            .await;
        queue_id(&reply.unwrap());
    }
    world.wait_empty_queue(SOON * 2).await;
    assert_eq!(world.far.count(), MANY, "each once");
    let reloads = world.daemon.log().matches("reloaded:").count();
    assert!(reloads > 2, "{reloads}");
    assert!(!world.daemon.log().contains("internal fault"));
}
