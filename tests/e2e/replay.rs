//! `postern policy replay`: a changed configuration over what the audit holds.

use crate::world::{Plan, World, letter};

#[tokio::test]
async fn a_changed_configuration_is_run_over_the_past() {
    let plan = Plan {
        security: "methods = [\"tls\", \"cleartext\"]\n",
        tables:
            "[[rule]]\nname = \"tag\"\nwhen.subject_contains = \"[tag]\"\nmethods = [\"tls\"]\n"
                .to_owned(),
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    let _plain = world.mx("plain.example", |b| b.no_starttls());
    let (clear, tls) = ("p@plain.example", "p@clinic.example");
    for (to, subject) in [(clear, "a"), (clear, "b"), (tls, "a"), (tls, "[tag] a")] {
        let id = world.send(&[to], letter(to, subject, "b\r\n")).await;
        world.wait_audit(&id, to, "delivered").await;
    }
    let old = std::fs::read_to_string(world.daemon.config_file()).unwrap();
    let new = world.daemon.config_file().with_file_name("new.toml");
    let replay = |text: &str| {
        std::fs::write(&new, text).unwrap();
        let new = new.to_str().unwrap();
        world.json(&["policy", "replay", "--since", "1h", new, "--json"])
    };
    let same = replay(&old);
    assert_eq!(same["recipients"], 4);
    assert_eq!(same["unchanged"], 4);
    assert_eq!(same["domains"], serde_json::json!([]));
    // Cleartext is taken away: two went that way, one had TLS, and who had the tag had no
    // cleartext before.
    let strict = old.replace("methods = [\"tls\", \"cleartext\"]", "methods = [\"tls\"]");
    let found = replay(&strict);
    assert_eq!(
        found["domains"],
        serde_json::json!([
            {
                "domain": "plain.example",
                "from": "tls > cleartext > bounce (encrypted)",
                "to": "tls > bounce (encrypted)",
                "depends_on": [], "rules": [], "recipients": 2, "no_longer": 2,
            },
            {
                "domain": "clinic.example",
                "from": "tls > cleartext > bounce (encrypted)",
                "to": "tls > bounce (encrypted)",
                "depends_on": [], "rules": [], "recipients": 1, "no_longer": 0,
            },
        ])
    );
    assert_eq!(
        (&found["changed"], &found["no_longer"]),
        (&3.into(), &2.into())
    );
    // A new rule that asks what nobody keeps.
    let rule = "\n[[rule]]\nname = \"size\"\nwhen.min_size = \"1KiB\"\n\
                when.recipient_domain = \"plain.example\"\nhold = \"large\"\n";
    let found = replay(&(old.clone() + rule));
    assert_eq!(
        (&found["unchanged"], &found["depends"]),
        (&2.into(), &2.into())
    );
    assert_eq!(
        found["domains"][0]["depends_on"],
        serde_json::json!(["content"])
    );
    assert_eq!(found["domains"][0]["rules"], serde_json::json!(["size"]));
    let args = ["policy", "replay", new.to_str().unwrap()];
    let text = world.daemon.run_ok(&args);
    assert!(text.contains("depends on content"), "{text}");
    // A file with faults is told as by `check`.
    std::fs::write(&new, "methods = 1\n").unwrap();
    assert_eq!(world.daemon.run(&args).status.code(), Some(78));
}
