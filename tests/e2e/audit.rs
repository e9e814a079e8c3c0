//! That the audit of a daemon that was killed is one chain, verified beside the running daemon and
//! without it, and that a change in it is found.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::world::{Plan, SOON, World, letter, wait};

const TO: &str = "p@clinic.example";

#[tokio::test]
async fn the_audit_is_one_chain_over_crashes() {
    let mut world = World::start(&Plan::default()).await;
    for round in 0..3 {
        let id = world.send(&[TO], letter(TO, "hello", "hi\r\n")).await;
        world.wait_audit(&id, TO, "delivered").await;
        world.wait_empty_queue(SOON).await;
        let found = world.json(&["audit", "verify", "--json"]);
        assert_eq!(found["intact"], true, "round {round}: {found:#}");
        world.daemon.kill9();
        let found = world.json(&["audit", "verify", "--json"]);
        assert_eq!(found["intact"], true, "round {round}, killed: {found:#}");
        world.daemon.start().await;
    }
}

#[tokio::test]
async fn the_next_start_signs_the_day_before_and_a_change_in_it_is_found() {
    let mut world = World::start(&Plan::default()).await;
    let id = world.send(&[TO], letter(TO, "hello", "hi\r\n")).await;
    world.wait_audit(&id, TO, "delivered").await;
    world.wait_empty_queue(SOON).await;
    world.daemon.terminate().await;

    // Today's file becomes that of an earlier day.
    let folder = world.daemon.data_dir().join("audit");
    let found = world.json(&["audit", "verify", "--json"]);
    let today = found["last"].as_str().unwrap().to_owned();
    assert_eq!(found["unsigned"]["day"], today.as_str());
    let earlier = folder.join("2026-01-01.jsonl");
    std::fs::rename(folder.join(format!("{today}.jsonl")), &earlier).unwrap();
    world.daemon.start().await;
    let found = world.json(&["audit", "verify", "--json"]);
    assert_eq!(
        (&found["intact"], &found["signed_through"]),
        (&Value::from(true), &Value::from("2026-01-01")),
        "{found:#}"
    );
    let head = found["head"].as_str().unwrap();
    assert!(
        world.daemon.log().contains(&format!("head={head}")),
        "the log names the head, as a copy elsewhere"
    );
    let id = world.send(&[TO], letter(TO, "hello", "hi\r\n")).await;
    world.wait_audit(&id, TO, "delivered").await;
    let found = world.json(&["audit", "verify", "--json", "--head", head]);
    assert_eq!(
        (found["days"].as_u64(), &found["intact"]),
        (Some(2), &true.into())
    );
    a_change_is_found(&world, &earlier, head);
}

/// Both verifiers find the audit intact, and then a change in a file.
fn a_change_is_found(world: &World, file: &Path, head: &str) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/verify_audit.py");
    let key = world.daemon.data_dir().join("keys/audit.pub.pem");
    let python = || {
        let mut command = Command::new("python3");
        command
            .arg(script)
            .arg(world.daemon.data_dir().join("audit"))
            .arg(&key)
            .arg(head)
            .output()
            .unwrap()
    };
    let output = python();
    assert!(output.status.success(), "{output:?}");

    let text = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, text.replacen("delivered", "Delivered", 1)).unwrap();
    let output = world.daemon.run(&["audit", "verify"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains("2026-01-01.jsonl, line "), "{told}");
    assert_eq!(python().status.code(), Some(1));
}

/// A daemon without its key would sign what nobody could verify: it does not start.
#[tokio::test]
async fn a_lost_key_is_told_and_not_replaced() {
    let mut world = World::start(&Plan::default()).await;
    world.daemon.terminate().await;
    let key = world.daemon.data_dir().join("keys/audit");
    std::fs::remove_file(&key).unwrap();
    let output = world.daemon.run(&["serve"]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("put it back from your backup"), "{told}");
    assert!(!key.exists());
}

/// A domain of which TLS was seen offers STARTTLS no more: the audit tells, in a line of
/// its own, and is one chain with it; so does an operator's exception for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_domain_that_gets_worse_is_in_the_audit() {
    let plan = Plan {
        security: r#"methods = ["tls", "cleartext", "bounce"]"#,
        ..Plan::default()
    };
    let mut world = World::start(&plan).await;
    let to = "p@turning.example";
    let far = world.mx("turning.example", |b| b);
    let id = world.send(&[to], letter(to, "hello", "hi\r\n")).await;
    let entry = world.wait_audit(&id, to, "delivered").await;
    assert_eq!(entry["method"], "tls", "{entry:#}");
    world.wait_empty_queue(SOON).await;
    // So that no kept connection is used again.
    world.daemon.terminate().await;
    drop(far);
    let bare = world.mx("turning.example", |b| b.no_starttls());
    world.daemon.start().await;
    let id = world.send(&[to], letter(to, "hello", "hi\r\n")).await;
    let entry = world.wait_audit(&id, to, "delivered").await;
    assert_eq!(entry["method"], "cleartext", "{entry:#}");
    assert_eq!(bare.count(), 1);

    let of_domain = [
        "audit",
        "list",
        "--json",
        "--kind=domain",
        "--domain=Turning.example",
    ];
    wait(SOON, "the turn in the audit", || {
        world.json(&of_domain).as_array().unwrap().len() == 1
    })
    .await;
    let turn = world.json(&of_domain)[0].clone();
    let told = |field: &str| turn[field].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        [told("kind"), told("domain"), told("host"), told("change")],
        ["domain", "turning.example", "mx.turning.example", "worse"],
        "{turn:#}"
    );
    assert!(told("what").ends_with("no TLS now"), "{turn:#}");
    assert!(turn["time"].is_string() && turn["event"].is_string() && turn["actor"].is_null());
    let people = world
        .daemon
        .run_ok(&["audit", "list", "--domain=turning.example"]);
    assert_eq!(
        people.matches("to=<p@turning.example>").count(),
        2,
        "{people}"
    );
    assert!(
        people.contains(" domain worse domain=turning.example host=mx.turning.example what=\"")
    );
    let csv = world.daemon.run_ok(&["audit", "export", "--format=csv"]);
    assert!(
        csv.contains(",domain,,turning.example,mx.turning.example,worse,\""),
        "{csv}"
    );
    let jsonl = world.daemon.run_ok(&["audit", "export"]);
    assert!(jsonl.contains("{\"kind\":\"domain\",\"time\":"), "{jsonl}");

    world.daemon.run_ok(&[
        "domain",
        "allow",
        "turning.example",
        "--until=1d",
        "--reason=ticket 7",
    ]);
    world
        .daemon
        .run_ok(&["domain", "forget", "turning.example"]);
    wait(SOON, "what the operator did", || {
        world.json(&of_domain).as_array().unwrap().len() == 4
    })
    .await;
    let all = world.json(&of_domain);
    let change = |n: usize| all[n]["change"].as_str().unwrap().to_owned();
    let found = [change(1), change(2), change(3)];
    assert_eq!(
        found,
        ["exception-made", "forgotten", "exception-taken-back"],
        "{all:#}"
    );
    let what = all[1]["what"].as_str().unwrap();
    assert!(
        what.starts_with("cleartext until ") && what.ends_with(": ticket 7"),
        "{what}"
    );
    assert!(
        all[1]["actor"].as_str().unwrap().starts_with("uid="),
        "{all:#}"
    );

    world.daemon.kill9();
    let found = world.json(&["audit", "verify", "--json"]);
    assert_eq!(
        (&found["intact"], found["events"].as_u64()),
        (&true.into(), Some(6)),
        "{found:#}"
    );
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/verify_audit.py");
    let data = world.daemon.data_dir();
    let mut python = Command::new("python3");
    python.arg(script).arg(data.join("audit"));
    let output = python
        .arg(data.join("keys/audit.pub.pem"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    world.daemon.start().await;
}
