//! Rules that ask what is in a message, against a daemon: noted at acceptance, kept sealed over a
//! restart, explained by the same code, and never lowering anything.

use crate::world::{Plan, SOON, World, letter};

const RULES: &str = r#"
[[rule]]
name = "encrypt"
when.subject_contains = "[encrypt]"
methods = ["tls", "bounce"]
tls_level = "authenticated"

[[rule]]
name = "class"
when.header = "X-Class: secret*"
raise = true
methods = ["tls"]
"#;

#[tokio::test]
async fn a_tag_in_the_subject_takes_cleartext_away() {
    let plan = Plan {
        security: "methods = [\"tls\", \"cleartext\"]\n",
        tables: RULES.to_owned(),
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    let plain = world.mx("plain.example", |b| b.no_starttls());
    let to = "p@plain.example";
    let id = world.send(&[to], letter(to, "hello", "b\r\n")).await;
    assert_eq!(
        world.wait_audit(&id, to, "delivered").await["method"],
        "cleartext"
    );
    // The tag as it is, and as an encoded word.
    for subject in ["Re: [Encrypt] hello", "=?utf-8?B?W2VuY3J5cHRd?= hello"] {
        let id = world.send(&[to], letter(to, subject, "b\r\n")).await;
        let bounced = world.wait_audit(&id, to, "bounced").await;
        assert_eq!(bounced["rule"], "encrypt", "{subject}");
        assert_eq!(bounced["reason"], "no-starttls");
    }
    let mut classed = b"X-Class: Secret-3\r\n".to_vec();
    classed.extend_from_slice(&letter(to, "hello", "b\r\n"));
    let id = world.send(&[to], classed).await;
    assert_eq!(world.wait_audit(&id, to, "bounced").await["rule"], "class");
    plain.wait_messages(1, SOON).await;
    assert_eq!(plain.count(), 1);
    // `explain` says the same.
    let rule = |args: &[&str]| {
        let mut all = vec!["explain", to, "--json"];
        all.extend(args);
        let story = world.json(&all);
        let methods = story["methods"].as_array().map(Vec::len);
        (story["rule"].as_str().map(str::to_owned), methods)
    };
    assert_eq!(rule(&[]), (None, Some(2)));
    assert_eq!(
        rule(&["--subject", "an [encrypt] b"]),
        (Some("encrypt".into()), Some(1))
    );
    assert_eq!(
        rule(&["--header", "x-class: SECRET"]),
        (Some("class".into()), Some(1))
    );
}

/// The tag that asked for protection is for nobody else to read; other fields come and go.
#[tokio::test]
async fn tags_leave_the_subject_and_fields_come_and_go() {
    let plan = Plan {
        tables: r#"
[[rule]]
name = "encrypt"
when.subject_contains = "[encrypt]"
strip_subject_tag = true

[[rule]]
name = "outside"
when.recipient_domain = "clinic.example"
raise = true
remove_header = "X-Internal"
add_header = "X-Sent-By: postern"
"#
        .to_owned(),
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    let to = "p@clinic.example";
    let mut data = b"X-Internal: ward 3\r\n".to_vec();
    data.extend_from_slice(&letter(to, "[Encrypt] results", ".a\r\n..b\r\n"));
    let id = world.send(&[to], data).await;
    let sent = world.wait_audit(&id, to, "delivered").await;
    assert_eq!(sent["rule"], "encrypt + outside");
    let arrived = world.far.wait_messages(1, SOON).await;
    assert_eq!(arrived[0].header("Subject").unwrap().trim(), "results");
    assert_eq!(arrived[0].header("X-Sent-By").unwrap().trim(), "postern");
    assert!(arrived[0].header("X-Internal").is_none());
    assert!(arrived[0].data.ends_with(b"\r\n\r\n.a\r\n..b\r\n"));
}

/// Numbers of patients in the text, encoded as mail programs do, or where nobody can see them.
#[tokio::test]
async fn patterns_are_counted_in_the_text() {
    let rule = |pattern: &str| {
        format!(
            "[[rule]]\nname = \"numbers\"\nmethods = [\"tls\"]\n\
             when.text_matches = {{ pattern = '{pattern}', at_least = 2 }}\n"
        )
    };
    let plan = Plan {
        security: "methods = [\"tls\", \"cleartext\"]\n",
        tables: rule(r"\b[A-Z][0-9]{9}\b"),
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    let plain = world.mx("plain.example", |b| b.no_starttls());
    let to = "p@plain.example";
    let base64 = "Content-Transfer-Encoding: base64\r\n";
    let text = |header: &str, body: &str| {
        let mut data = header.as_bytes().to_vec();
        data.extend_from_slice(&letter(to, "s", body));
        data
    };
    for (data, state) in [
        (text("", "A123456789 alone\r\n"), "delivered"),
        (text("", "A123456789 and B987654321\r\n"), "bounced"),
        // The same two.
        (
            text(base64, "QTEyMzQ1Njc4OSBhbmQgQjk4NzY1NDMyMQ==\r\n"),
            "bounced",
        ),
        // Longer than what is looked at.
        (text("", &"no number here\r\n".repeat(70_000)), "bounced"),
    ] {
        let id = world.send(&[to], data).await;
        let ended = world.wait_audit(&id, to, state).await;
        let rule = (state == "bounced").then_some("numbers");
        assert_eq!(ended["rule"].as_str(), rule);
    }
    assert_eq!(plain.count(), 1);
    let methods = |text: &str| {
        let story = world.json(&["explain", to, "--json", "--text", text]);
        story["methods"].as_array().map(Vec::len)
    };
    assert_eq!(methods("A123456789"), Some(2));
    assert_eq!(methods("A123456789 B987654321"), Some(1));
}

/// Notes are kept with the message, so that it can be asked after a restart.
#[tokio::test]
async fn what_was_noted_outlives_the_daemon() {
    let plan = Plan {
        security: "methods = [\"tls\", \"cleartext\"]\n",
        tables: RULES.to_owned(),
        ..Plan::default()
    };
    let mut world = World::start(&plan).await;
    let to = "p@late.example";
    world.dns.mx("late.example", 10, "mx.late.example");
    world.dns.a("mx.late.example", postern_lab::loopback());
    let id = world.send(&[to], letter(to, "[encrypt] x", "b\r\n")).await;
    world.wait_audit(&id, to, "queued").await;
    world.daemon.kill9();
    world.daemon.start().await;
    let late = world.mx("late.example", |b| b.no_starttls());
    let bounced = world.wait_audit(&id, to, "bounced").await;
    assert_eq!(bounced["rule"], "encrypt");
    assert_eq!(late.count(), 0);
}
