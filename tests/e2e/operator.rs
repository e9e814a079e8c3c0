//! What the command line tells an operator, and the exit codes that scripts build on.

use serde_json::Value;

use crate::world::{Plan, SENDER, SOON, World, letter, wait};

const TO: &str = "p@clinic.example";

/// A message that waits: its server says 451.
async fn deferred(world: &World) -> String {
    world
        .far
        .change(|k| k.reply(postern_lab::Stage::Mail, "451 4.3.2 under repair"));
    let id = world.send(&[TO], letter(TO, "waits", "hi\r\n")).await;
    world.wait_audit(&id, TO, "queued").await;
    wait(SOON, "the deferral in the queue", || {
        world
            .queue()
            .iter()
            .any(|m| m["recipients"][0]["last_reply"].is_string())
    })
    .await;
    id
}

fn patient() -> Plan {
    Plan {
        retry: r#"["1h"]"#,
        expire: "1d",
        delay_notice: "1d",
        ..Plan::default()
    }
}

#[tokio::test]
async fn queue_list_and_show() {
    let world = World::start(&patient()).await;
    assert!(world.queue().is_empty());
    let id = deferred(&world).await;
    let queue = world.queue();
    assert_eq!(queue.len(), 1);
    let message = &queue[0];
    assert_eq!(message["id"], id.as_str());
    assert_eq!(message["sender"], SENDER);
    assert!(message["size"].as_u64().unwrap() > 50);
    is_time(&message["received_at"]);
    let recipient = &message["recipients"][0];
    assert_eq!(recipient["address"], TO);
    assert_eq!(
        (&recipient["state"], &recipient["attempts"]),
        (&"queued".into(), &1.into())
    );
    is_time(&recipient["next_attempt"]);
    assert!(
        recipient["last_reply"]
            .as_str()
            .unwrap()
            .contains("under repair")
    );
    for (filter, value, n) in [
        ("--domain", "clinic.example", 1),
        ("--domain", "other.example", 0),
        ("--sender", SENDER, 1),
        ("--sender", "x@ward.example", 0),
        ("--state", "queued", 1),
        ("--state", "dead", 0),
    ] {
        let found = world.json(&["queue", "list", "--json", filter, value]);
        assert_eq!(found.as_array().unwrap().len(), n, "{filter} {value}");
    }
    let shown = world.json(&["queue", "show", &id, "--json"]);
    assert_eq!(shown["id"], id.as_str());
    for args in [&["queue", "list"][..], &["queue", "show", &id]] {
        let text = world.daemon.run_ok(args);
        assert!(text.contains(&id) && text.contains(TO), "{args:?}: {text}");
    }
}

#[tokio::test]
async fn queue_stats_counts_and_names_the_site() {
    let world = World::start(&patient()).await;
    deferred(&world).await;
    let stats = world.json(&["queue", "stats", "--json"]);
    assert_eq!(stats["messages"], 1, "{stats}");
    assert_eq!(stats["recipients"]["queued"], 1, "{stats}");
    is_time(&stats["oldest"]);
    let class = |place: usize| {
        (
            &stats["ages"][place]["age"],
            &stats["ages"][place]["messages"],
        )
    };
    assert_eq!(class(0), (&"<5m".into(), &1.into()), "{stats}");
    assert_eq!(class(4), (&"older".into(), &0.into()), "{stats}");
    let domain = (
        &stats["domains"][0]["domain"],
        &stats["domains"][0]["waiting"],
    );
    assert_eq!(domain, (&"clinic.example".into(), &1.into()), "{stats}");
    assert_eq!(stats["sites"][0]["waiting"], 1, "{stats}");
    assert!(
        stats.to_string().contains("mx.clinic.example"),
        "the site is named: {stats}"
    );
    assert!(world.daemon.run_ok(&["queue", "stats"]).contains("queued"));
}

#[tokio::test]
async fn the_audit_tells_what_was_proven() {
    let world = World::start(&Plan::default()).await;
    let id = world
        .send(&[TO, "p@typo.example"], letter(TO, "hello", "hi\r\n"))
        .await;
    let entry = world.wait_audit(&id, TO, "delivered").await;
    assert_eq!(
        (&entry["sender"], &entry["method"]),
        (&SENDER.into(), &"tls".into())
    );
    assert_eq!(entry["reason"], Value::Null);
    assert_eq!(entry["tls"]["version"], "TLSv1.3");
    for key in ["cipher", "group"] {
        assert!(entry["tls"][key].is_string(), "{key}: {entry}");
    }
    assert!(!entry["tls"]["certificate"].is_null(), "{entry}");
    assert!(
        entry["remote"].to_string().contains("mx.clinic.example"),
        "{entry}"
    );
    assert!(
        entry["reply"].as_str().unwrap().starts_with("250"),
        "{entry}"
    );
    is_time(&entry["time"]);
    let bounced = world.wait_audit(&id, "p@typo.example", "bounced").await;
    assert_eq!(
        (&bounced["reason"], &bounced["tls"]),
        (&"no-such-domain".into(), &Value::Null)
    );
    for (filter, value, n) in [("--recipient", TO, 1), ("--state", "bounced", 1)] {
        let found = world.json(&["audit", "list", "--json", filter, value]);
        let mine = found
            .as_array()
            .unwrap()
            .iter()
            .filter(|e| e["id"] == id.as_str());
        assert!(mine.count() >= n, "{filter} {value}: {found}");
    }
    let none = world.json(&["audit", "list", "--json", "--since", "2099-01-01T00:00:00Z"]);
    assert_eq!(none.as_array().map(Vec::len), Some(0), "{none}");
    let shown = world.daemon.run_ok(&["audit", "show", &id]);
    assert!(
        shown.contains(TO) && shown.contains("TLSv1.3") && shown.contains("no-such-domain"),
        "{shown}"
    );
    world.json(&["audit", "show", &id, "--json"]);
}

#[tokio::test]
async fn explain_names_rule_methods_hosts_and_level() {
    let rule = "[[rule]]\nname = \"partners\"\nwhen.recipient_domain = [\"clinic.example\"]\n\
                when.sender = [\"dr@*\"]\ntls_level = \"authenticated\"\n";
    let world = World::start(&Plan {
        tables: rule.to_owned(),
        ..Plan::default()
    })
    .await;
    let text = world.daemon.run_ok(&["explain", TO, "--from", SENDER]);
    for word in ["partners", "tls", "mx.clinic.example", "authenticated"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let json = world
        .json(&["explain", TO, "--from", SENDER, "--json"])
        .to_string();
    for word in ["partners", "tls", "mx.clinic.example", "authenticated"] {
        assert!(json.contains(word), "{word}: {json}");
    }
    let other = world
        .daemon
        .run_ok(&["explain", TO, "--from", "it@ward.example"]);
    for word in ["does not match (sender)", "[security] decides", "encrypted"] {
        assert!(other.contains(word), "{word}: {other}");
    }
    assert!(!other.contains("authenticated"), "{other}");
    let nowhere = world
        .daemon
        .run(&["explain", "p@typo.example", "--from", SENDER]);
    let said = String::from_utf8_lossy(&nowhere.stdout).into_owned();
    assert!(
        said.contains("no-such-domain") || said.contains("does not exist"),
        "{nowhere:?}"
    );
    assert_eq!(world.far.connections(), 0, "explain sends nothing");
}

#[tokio::test]
async fn one_line_in_the_log_for_each_delivery() {
    let world = World::start(&Plan::default()).await;
    let id = world
        .send(&[TO, "p@typo.example"], letter(TO, "hello", "hi\r\n"))
        .await;
    world.wait_audit(&id, "p@typo.example", "bounced").await;
    world.wait_audit(&id, TO, "delivered").await;
    for words in [
        [
            "to_domain=clinic.example",
            "method=tls",
            "status=delivered",
            "dsn=2.0.0",
            "tls=TLSv1.3",
        ],
        [
            "to_domain=typo.example",
            "status=bounced",
            "dsn=5.1.2",
            "id=",
            "site=",
        ],
    ] {
        world.daemon.wait_log(words[0], SOON).await;
        let log = world.daemon.log();
        let line = |l: &&str| l.contains(&id) && words.iter().all(|word| l.contains(word));
        assert_eq!(log.lines().filter(line).count(), 1, "{words:?}\n{log}");
    }
    assert!(
        !world.daemon.log().contains(TO),
        "addresses only with log_addresses"
    );
}

#[tokio::test]
async fn exit_codes_0_1_2_and_75() {
    let mut world = World::start(&Plan::default()).await;
    let code = |world: &World, args: &[&str]| world.daemon.run(args).status.code().unwrap();
    assert_eq!(code(&world, &["check"]), 0);
    assert_eq!(code(&world, &["queue", "list"]), 0);
    assert_eq!(code(&world, &["queue", "show", "00000000000000000000"]), 1);
    assert_eq!(code(&world, &["queue", "show", "nonsense"]), 1);
    assert_eq!(code(&world, &["audit", "show", "00000000000000000000"]), 1);
    assert_eq!(code(&world, &["account", "remove", "nobody"]), 1);
    assert_eq!(
        code(
            &world,
            &["account", "add", "ward", "--sender", "@ward.example"]
        ),
        1
    );
    for usage in [
        &[][..],
        &["quue"],
        &["queue"],
        &["queue", "list", "--colour"],
        &["explain"],
    ] {
        assert_eq!(code(&world, usage), 2, "{usage:?}");
    }
    assert!(world.daemon.terminate().await.success());
    for args in [
        &["queue", "list"][..],
        &["queue", "stats", "--json"],
        &["queue", "show", "00000000000000000000"],
    ] {
        let output = world.daemon.run(args);
        assert_eq!(output.status.code(), Some(75), "{args:?}");
        assert!(
            !output.stderr.is_empty() && output.stdout.is_empty(),
            "{output:?}"
        );
    }
    // Accounts are files; they need no daemon.
    assert_eq!(code(&world, &["account", "list"]), 0);
}

/// Every command that reads a bad configuration tells all its faults and ends with 78.
#[tokio::test]
async fn a_bad_configuration_is_78() {
    let mut world = World::new(&Plan::default());
    world
        .daemon
        .config("hostname = \"a.example\"\ncolour = 3\n[limits]\nrecipients = 1\n");
    for args in [
        &["check"][..],
        &["serve"],
        &["queue", "list"],
        &["account", "list"],
    ] {
        let output = world.daemon.run(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{args:?}: {said}");
        assert!(
            said.contains("postern.toml:2:") && said.contains("postern.toml:4:"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn check_prints_the_effective_methods() {
    let world = World::new(&Plan {
        security: r#"methods = ["tls", "cleartext"]"#,
        ..Plan::default()
    });
    let text = world.daemon.run_ok(&["check"]);
    assert!(
        text.contains("tls") && text.contains("cleartext") && text.contains("bounce"),
        "{text}"
    );
    std::fs::remove_file(world.daemon.dir().join("relay.key")).unwrap();
    let output = world.daemon.run(&["check"]);
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(
        said.contains("relay.key"),
        "what is missing is named: {said}"
    );
}

/// SIGTERM: idle sessions get 421 at once, and the daemon ends well.
#[tokio::test]
async fn a_good_end() {
    let mut world = World::start(&patient()).await;
    let id = deferred(&world).await;
    let mut idle = world.client().await;
    world.daemon.signal("TERM");
    assert_eq!(idle.read_reply().await.unwrap().code, 421);
    assert!(world.daemon.wait_exit(SOON).await.success());
    world.daemon.start().await;
    assert_eq!(world.queue()[0]["id"], id.as_str());
}

fn is_time(value: &Value) {
    let text = value.as_str().unwrap_or_else(|| panic!("no time: {value}"));
    let shape = text.len() >= 20 && text.ends_with('Z') && text.as_bytes()[10] == b'T';
    assert!(shape, "not RFC 3339 in UTC: {text}");
}
