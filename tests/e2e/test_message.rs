//! `postern test`: a message that is delivered, one that waits, one that bounces, and what is told.

use serde_json::Value;

use crate::dsn::Dsn;
use crate::world::{Plan, SOON, World, wait};

const OPERATOR: &str = "it@ward.example";

fn plan() -> Plan {
    Plan {
        retry: r#"["1h"]"#,
        top: format!("postmaster = \"{OPERATOR}\""),
        ..Plan::default()
    }
}

fn run(world: &World, args: &[&str]) -> (String, String, i32) {
    let output = world.daemon.run(args);
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
    let code = output.status.code().unwrap();
    (text(&output.stdout), text(&output.stderr), code)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[tokio::test]
async fn delivered() {
    let world = World::start(&plan()).await;
    let (said, complained, code) = run(&world, &["test", "p@clinic.example"]);
    assert_eq!((complained.as_str(), code), ("", 0), "{said}");
    let arrived = world.far.wait_messages(1, SOON).await.remove(0);
    let id = arrived.header("X-Postern-Test").unwrap();
    let told = [
        format!("accepted as {id}, from <{OPERATOR}> to <p@clinic.example>\n"),
        "by [security]: tls > bounce, tls must prove encrypted\n".to_owned(),
        " by tls\n  TLSv1.3 TLS_AES_256_GCM_SHA384 X25519MLKEM768\n".to_owned(),
        "  certificate for mx.clinic.example, until ".to_owned(),
        "  had to prove encrypted, proved authenticated by pkix-unsigned-mx\n  said \"250 "
            .to_owned(),
    ];
    for words in told {
        assert!(said.contains(&words), "{words}: {said}");
    }
    assert!(said.ends_with("\n  delivered\ndelivered\n"), "{said}");

    // What arrived, and what is known of who asked for it.
    assert_eq!(arrived.mail_from, OPERATOR);
    assert_eq!(arrived.header("Auto-Submitted").unwrap(), "auto-generated");
    let body = String::from_utf8_lossy(arrived.body()).into_owned();
    assert!(body.starts_with("This is a test of the mail relay\r\nrelay.ward.example\r\n"));
    let entry = world.wait_audit(&id, "p@clinic.example", "delivered").await;
    let actor = entry["actor"].as_str().unwrap();
    assert!(actor.starts_with("uid="), "{entry}");
    assert_eq!(entry["note"], "test");
    let line = format!("id={id} action=test recipients=1 by={actor}");
    world.daemon.wait_log(&line, SOON).await;
    assert!(!world.daemon.log().contains("p@clinic.example"));
}

#[tokio::test]
async fn still_queued() {
    let mut world = World::start(&plan()).await;
    let busy = world.mx("busy.example", |b| b.starttls_reply("454 4.7.0 later"));
    let (said, complained, code) = run(&world, &["test", "p@busy.example", "--wait", "2s"]);
    assert_eq!((complained.as_str(), code), ("", 1), "{said}");
    let id = world.queue()[0]["id"].as_str().unwrap().to_owned();
    for words in [
        "  said \"454 4.7.0 later\"\n  queued: starttls-refused\n",
        "still queued after 2s: 454 4.7.0 later\nnext attempt at 20",
        &format!("it stays in the queue; `postern queue remove {id}` takes it out\n"),
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(busy.count(), 0);

    // It is a message like any other, kill -9 or not, until somebody takes it out.
    world.daemon.kill9();
    world.daemon.start().await;
    assert_eq!(world.queue()[0]["id"], id.as_str());
    world.daemon.run_ok(&["queue", "remove", &id]);
    assert_eq!(world.queue().len(), 0);
}

/// What is done to it by hand meanwhile is part of the story.
#[tokio::test]
async fn removed_while_it_is_followed() {
    let world = World::start(&plan()).await;
    let _busy = world.mx("busy.example", |b| b.starttls_reply("454 4.7.0 later"));
    let mut follow = std::process::Command::new(env!("CARGO_BIN_EXE_postern"))
        .arg("--config")
        .arg(world.daemon.config_file())
        .args(["test", "p@busy.example"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    wait(SOON, "an attempt", || {
        let queue = world.queue();
        queue
            .first()
            .is_some_and(|m| m["recipients"][0]["attempts"] == 1)
    })
    .await;
    let id = world.queue()[0]["id"].as_str().unwrap().to_owned();
    world.daemon.run_ok(&["queue", "remove", &id]);
    assert_eq!(follow.wait().unwrap().code(), Some(1));
    let mut said = String::new();
    let mut stdout = follow.stdout.take().unwrap();
    std::io::Read::read_to_string(&mut stdout, &mut said).unwrap();
    assert!(said.contains(" remove, by uid="), "{said}");
    assert!(said.ends_with("  removed: operator\nremoved\n"), "{said}");
}

#[tokio::test]
async fn bounced_and_from_whom_one_likes() {
    let rule = "[[rule]]\nname = \"strict\"\nwhen.sender = [\"dr@ward.example\"]\n\
                tls_level = \"authenticated\"\n";
    let world = World::start(&Plan {
        tables: rule.to_owned(),
        ..plan()
    })
    .await;
    let wrong = world.ca.issue(&["mx.wrong.example"]);
    let _server = world.mx("name.example", |b| b.identity(wrong));
    let to = "p@name.example";
    // As the postmaster, any certificate will do; as that sender, not.
    assert_eq!(run(&world, &["test", to, "--json"]).2, 0);
    let (said, _, code) = run(&world, &["test", to, "--from", "dr@ward.example", "--json"]);
    let told = json(&said);
    assert_eq!((&told["state"], code), (&"bounced".into(), 1), "{told:#}");
    assert_eq!(
        told["policy"],
        "rule \"strict\": tls > bounce, tls must prove authenticated"
    );
    let entry = &told["audit"][0];
    assert_eq!(entry["reason"], "certificate-name", "{entry}");
    assert_eq!(entry["rule"], "strict");
    let reports = world.home.wait_messages(1, SOON).await;
    assert_eq!(Dsn::read(&reports[0]).recipients(), [to]);

    let (said, _, code) = run(&world, &["test", "p@typo.example"]);
    let end = "  bounced: no-such-domain\nbounced; <it@ward.example> gets a report\n";
    assert!(said.ends_with(end) && code == 1, "{said}");
}

#[tokio::test]
async fn what_can_not_be() {
    let mut world = World::start(&plan()).await;
    for bad in ["nobody", "two words@clinic.example", "p@clinic..example"] {
        let (_, complained, code) = run(&world, &["test", bad]);
        assert!(code == 2 && complained.contains(bad), "{complained}");
    }
    assert_eq!(
        run(&world, &["test", "p@clinic.example", "--wait", "soon"]).2,
        2
    );
    // No flood.
    let codes: Vec<i32> = (0..10)
        .map(|_| run(&world, &["test", "p@clinic.example"]).2)
        .collect();
    assert_eq!(codes, [0; 10]);
    let (said, complained, code) = run(&world, &["test", "p@clinic.example"]);
    assert_eq!((said.as_str(), code), ("", 1));
    assert!(complained.contains("try again in a minute"), "{complained}");
    assert_eq!(world.far.count(), 10);

    assert!(world.daemon.terminate().await.success());
    let (_, complained, code) = run(&world, &["test", "p@clinic.example"]);
    assert!(code == 75 && complained.contains("postern serve"));
}
