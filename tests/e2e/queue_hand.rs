//! The queue in an operator's hand: hold, release, retry, remove, bounce.

use std::time::Duration;

use postern_lab::Stage;
use serde_json::Value;

use crate::dsn::Dsn;
use crate::world::{Plan, SENDER, SOON, World, letter, queue_id, wait};

const TO: &str = "p@clinic.example";
const DOWN: &str = "451 4.3.2 under repair";

fn patient() -> Plan {
    Plan {
        retry: r#"["1h"]"#,
        expire: "1d",
        delay_notice: "1d",
        ..Plan::default()
    }
}

/// A message that waits for an hour.
async fn waiting(world: &World, to: &[&str]) -> String {
    world.far.change(|k| k.reply(Stage::Mail, DOWN));
    let id = world.send(to, letter(to[0], "waits", "hi\r\n")).await;
    for to in to {
        world.wait_audit(&id, to, "queued").await;
    }
    id
}

fn repair(world: &World) {
    world.far.change(|k| k.clear());
}

/// What a command answers, by message.
fn by_hand(world: &World, args: &[&str]) -> Vec<Value> {
    let args = [&["queue"], args, &["--json"]].concat();
    world.json(&args).as_array().unwrap().clone()
}

fn state(world: &World, id: &str, recipient: usize) -> String {
    let shown = world.json(&["queue", "show", id, "--json"]);
    shown["recipients"][recipient]["state"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// What failed, by exit code and words.
fn refused(world: &World, args: &[&str], code: i32) -> String {
    let output = world.daemon.run(args);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_hold_survives_kill_9_and_ends_at_its_time() {
    let mut world = World::start(&patient()).await;
    let id = waiting(&world, &[TO]).await;
    let kept = waiting(&world, &[TO]).await;
    let held = world.daemon.run_ok(&[
        "queue",
        "hold",
        &id,
        "--until",
        "8s",
        "--reason",
        "asked by legal",
    ]);
    assert!(
        held.contains(&id) && held.contains("hold: 1 messages"),
        "{held}"
    );
    by_hand(&world, &["hold", &kept]);
    let message = world.json(&["queue", "show", &id, "--json"]);
    let recipient = &message["recipients"][0];
    assert_eq!(recipient["state"], "held");
    assert!(recipient["next_attempt"].is_string(), "{recipient}");
    let why = recipient["last_reply"].as_str().unwrap();
    assert!(
        why.starts_with("uid=") && why.contains("asked by legal"),
        "{why}"
    );
    let listed = world.json(&["queue", "list", "--state", "held", "--json"]);
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let stats = world.json(&["queue", "stats", "--json"]);
    assert_eq!(
        (&stats["recipients"]["held"], &stats["recipients"]["queued"]),
        (&2.into(), &0.into())
    );
    let entry = world.wait_audit(&id, TO, "held").await;
    let uid = format!("uid={}", users());
    assert!(
        entry["actor"].as_str().unwrap().starts_with(&uid),
        "{entry}"
    );
    assert!(
        entry["note"].as_str().unwrap().contains("asked by legal"),
        "{entry}"
    );
    repair(&world);
    world.daemon.kill9();
    world.daemon.start().await;
    assert_eq!(state(&world, &kept, 0), "held");
    world.wait_audit(&id, TO, "delivered").await;
    assert_eq!(state(&world, &kept, 0), "held", "the other has no end");
    let said = refused(&world, &["queue", "retry", &kept], 1);
    assert!(said.contains("released"), "{said}");
    by_hand(&world, &["release", "--all"]);
    world.wait_audit(&kept, TO, "delivered").await;
    world.wait_empty_queue(SOON).await;
    assert_eq!(world.far.count(), 2);
}

/// Of whom the tests run as.
fn users() -> String {
    let output = std::process::Command::new("id").arg("-u").output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[tokio::test]
async fn a_dry_run_touches_nothing_and_a_retry_all_of_the_site() {
    let world = World::start(&patient()).await;
    let ids = [waiting(&world, &[TO]).await, waiting(&world, &[TO]).await];
    let before = world.queue();
    for action in ["hold", "retry", "remove", "bounce"] {
        let would = by_hand(&world, &[action, "--all", "--dry-run"]);
        assert_eq!(would.len(), 2, "{action}");
        for (told, id) in would.iter().zip(&ids) {
            assert_eq!(told["id"], id.as_str());
            assert_eq!(
                (&told["result"], &told["recipients"]),
                (&"would".into(), &1.into())
            );
        }
        let text = world
            .daemon
            .run_ok(&["queue", action, &ids[0], "--dry-run"]);
        assert!(text.contains(&format!("would {action}")), "{text}");
    }
    assert!(by_hand(&world, &["release", "--all", "--dry-run"]).is_empty());
    assert_eq!(world.queue(), before);
    repair(&world);
    let done = by_hand(&world, &["retry", "--domain", "clinic.example"]);
    assert!(done.iter().all(|told| told["result"] == "done"), "{done:?}");
    world.wait_empty_queue(SOON).await;
    assert_eq!(world.far.count(), 2);
}

#[tokio::test]
async fn remove_tells_nobody_and_bounce_the_sender() {
    let world = World::start(&patient()).await;
    let slow = world.mx("slow.example", |b| b.reply(Stage::Mail, DOWN));
    let both = [TO, "q@slow.example"];
    let removed = waiting(&world, &both).await;
    let done = by_hand(&world, &["remove", "--domain", "slow.example"]);
    assert_eq!(done[0]["recipients"], 1, "that domain's recipient alone");
    assert_eq!(state(&world, &removed, 0), "queued");
    assert_eq!(state(&world, &removed, 1), "removed");
    by_hand(&world, &["remove", &removed]);
    world.wait_audit(&removed, TO, "removed").await;
    world.wait_empty_queue(SOON).await;
    assert_eq!(world.home.count(), 0, "nobody was told");

    // Where senders are, mail can't get in either: the reports wait too.
    world.home.change(|k| k.reply(Stage::Mail, DOWN));
    let bounced = waiting(&world, &both).await;
    let done = by_hand(&world, &["bounce", "--all", "--reason", "wrong list"]);
    assert_eq!(
        done.len(),
        1,
        "the report it wrote is not bounced: {done:?}"
    );
    let entry = world.wait_audit(&bounced, TO, "bounced").await;
    assert_eq!(entry["reason"], "operator");
    assert!(
        entry["note"].as_str().unwrap().contains("wrong list"),
        "{entry}"
    );
    wait(SOON, "the report's deferral", || {
        world
            .queue()
            .iter()
            .any(|m| m["recipients"][0]["attempts"] == 1)
    })
    .await;
    world.home.change(|k| k.clear());
    by_hand(&world, &["retry", "--sender", ""]);
    let arrived = world.home.wait_messages(1, SOON).await;
    let dsn = Dsn::read(&arrived[0]);
    assert_eq!(dsn.recipients(), both);
    assert!(
        dsn.sentence.contains("not delivered to 2"),
        "{}",
        dsn.sentence
    );
    assert!(dsn.raw.contains("administrators"), "{}", dsn.raw);
    assert_eq!(dsn.fields("Status"), ["5.7.1", "5.7.1"]);
    assert!(
        !dsn.raw.contains("wrong list"),
        "the reason is the house's own"
    );
    assert_eq!((world.far.count(), slow.count()), (0, 0));
}

#[tokio::test]
async fn what_is_being_delivered_is_not_touched() {
    let world = World::start(&patient()).await;
    world
        .far
        .change(|k| k.delay(Stage::Mail, Duration::from_secs(20)));
    let id = world.send(&[TO], letter(TO, "slow", "hi\r\n")).await;
    wait(SOON, "the attempt", || world.far.open_connections() > 0).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let said = refused(&world, &["queue", "remove", &id], 1);
    assert!(said.contains("being delivered right now"), "{said}");
    world.wait_audit(&id, TO, "delivered").await;
    assert_eq!(world.far.count(), 1);
    let said = refused(&world, &["queue", "remove", &id], 1);
    assert!(said.contains(&format!("postern audit show {id}")), "{said}");
}

#[tokio::test]
async fn wrong_orders_say_what_is_wrong() {
    let mut world = World::start(&patient()).await;
    for (args, code, word) in [
        (&["queue", "hold"][..], 2, "<ID>"),
        (
            &["queue", "hold", "--all", "--domain", "a.example"],
            2,
            "--domain",
        ),
        (
            &["queue", "hold", "--all", "--until", "soon"],
            2,
            "duration",
        ),
        (
            &["queue", "hold", "--all", "--until", "2001-01-01T00:00:00Z"],
            1,
            "past",
        ),
        (&["queue", "hold", "nonsense"], 1, "queue id"),
        (&["queue", "hold", "--domain", "not a domain"], 1, ""),
    ] {
        let said = refused(&world, args, code);
        assert!(said.contains(word), "{args:?}: {said}");
    }
    world.daemon.terminate().await;
    let said = refused(&world, &["queue", "retry", "--all"], 75);
    assert!(said.contains("postern serve"), "{said}");
}

/// Three pages are held, released and delivered; mail elsewhere goes on meanwhile.
#[tokio::test]
async fn a_large_selection_goes_by_pages() {
    const MANY: usize = 1100;
    let world = World::start(&patient()).await;
    let other = world.mx("other.example", |b| b);
    waiting(&world, &[TO]).await;
    let mut client = world.client().await;
    for _ in 1..MANY {
        let reply = client
            .submit(SENDER, &[TO], letter(TO, "n", "hi\r\n"))
            .await;
        queue_id(&reply.unwrap());
    }
    let hold = by_hand(&world, &["hold", "--all"]);
    let done = hold.iter().filter(|told| told["result"] == "done").count();
    assert_eq!(done, MANY);
    let to = "q@other.example";
    world.send(&[to], letter(to, "meanwhile", "hi\r\n")).await;
    other.wait_messages(1, SOON).await;
    repair(&world);
    let stats = world.json(&["queue", "stats", "--json"]);
    assert_eq!(stats["recipients"]["held"], MANY, "{stats}");
    assert_eq!(world.far.count(), 0);
    assert_eq!(by_hand(&world, &["release", "--all"]).len(), MANY);
    world.wait_empty_queue(SOON * 4).await;
    assert_eq!(world.far.count(), MANY, "each once");
}
