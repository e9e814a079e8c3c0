//! MTA-STS as an operator meets it: mail to a domain with a policy, what the log, the audit,
//! `explain` and the figures say of it, and what the sender is told.

use std::net::SocketAddr;

use postern_lab::{HttpsServer, Page, loopback};

use crate::metrics::{get, watched};
use crate::world::{Plan, SENDER, SOON, World, letter, wait};

/// A daemon that asks this HTTPS server for policies.
struct Stage {
    world: World,
    https: HttpsServer,
}

const DOMAINS: [&str; 3] = ["clinic.example", "moved.example", "trial.example"];

impl Stage {
    fn of(world: World) -> Stage {
        let ip = loopback();
        let names = DOMAINS.map(|domain| format!("mta-sts.{domain}"));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for name in &names {
            world.dns.a(name, ip);
        }
        let https = HttpsServer::start((ip, world.https).into(), world.ca.issue(&names));
        Stage { world, https }
    }

    fn publish(&self, domain: &str, mode: &str, mx: &str) {
        let name = format!("_mta-sts.{domain}");
        self.world.dns.txt(&name, "v=STSv1; id=2026a;");
        self.https.policy(domain, Page::policy(mode, &[mx], 86_400));
    }
}

/// One domain that all is well with, one whose mail is led elsewhere, one that only tries.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_found_held_to_and_told_of() {
    let plan = Plan {
        security: r#"methods = ["tls", "cleartext"]"#,
        ..Plan::default()
    };
    let (world, metrics) = watched(plan).await;
    let stage = Stage::of(world);
    let world = &stage.world;
    let evil = world.mx("moved.example", |b| b);
    let trial = world.mx("trial.example", |b| b.no_starttls());
    stage.publish("clinic.example", "enforce", "mx.clinic.example");
    stage.publish("moved.example", "enforce", "*.elsewhere.example");
    stage.publish("trial.example", "testing", "mx.trial.example");

    let id = world
        .send(&["p@clinic.example"], letter("p@clinic.example", "x", "y"))
        .await;
    let entry = world.wait_audit(&id, "p@clinic.example", "delivered").await;
    assert_eq!(entry["tls"]["authenticated_by"], "mta-sts", "{entry}");
    assert_eq!(
        (&entry["achieved"], &entry["required"]),
        (&"secure".into(), &"secure".into())
    );
    let sts = &entry["sts"];
    assert_eq!(
        (&sts["mode"], &sts["id"]),
        (&"enforce".into(), &"2026a".into())
    );
    assert_eq!(
        (&sts["source"], &sts["finding"]),
        (&"fetched".into(), &serde_json::Value::Null)
    );
    assert_eq!(sts["mx"], serde_json::json!(["mx.clinic.example"]));

    let id = world
        .send(&["p@moved.example"], letter("p@moved.example", "x", "y"))
        .await;
    let entry = world.wait_audit(&id, "p@moved.example", "queued").await;
    assert_eq!(
        (&entry["reason"], &entry["sts"]["finding"]),
        (&"sts-host".into(), &"sts-host".into())
    );
    assert_eq!(evil.connections(), 0);

    let id = world
        .send(&["p@trial.example"], letter("p@trial.example", "x", "y"))
        .await;
    let entry = world.wait_audit(&id, "p@trial.example", "delivered").await;
    assert_eq!(
        (&entry["method"], &entry["tls"]),
        (&"cleartext".into(), &serde_json::Value::Null)
    );
    assert_eq!(
        (&entry["sts"]["mode"], &entry["sts"]["finding"]),
        (&"testing".into(), &"no-starttls".into())
    );
    assert_eq!(trial.count(), 1);

    let log = world.daemon.log();
    for line in [
        "MTA-STS policy: domain=clinic.example mode=enforce id=2026a max_age=86400 mx=mx.clinic.example",
        "status=delivered attempts=1 sts=enforce",
        "dsn=4.7.0 status=deferred reason=sts-host attempts=1 sts=enforce sts_finding=sts-host",
        "sts=testing sts_finding=no-starttls",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
    explains(&stage);
    figures(metrics).await;
}

/// `explain` asks the daemon what it keeps, so it says what delivery does though the record is
/// hidden from it and nothing can be fetched.
fn explains(stage: &Stage) {
    let world = &stage.world;
    for domain in DOMAINS {
        world.dns.remove(&format!("_mta-sts.{domain}"));
        stage.https.no_policy(domain);
    }
    let json = world.json(&["explain", "p@clinic.example", "--json"]);
    let sts = &json["sts"];
    assert_eq!(
        (&sts["mode"], &sts["source"]),
        (&"enforce".into(), &"cache".into()),
        "{sts}"
    );
    assert_eq!(sts["kept_known"], true);
    assert_eq!(json["methods"][0]["must_prove"], "secure");
    assert_eq!(json["methods"][0]["because"], "the domain's MTA-STS policy");
    assert_eq!(json["hosts"][0]["sts_listed"], true);
    let text = world.daemon.run_ok(&["explain", "p@clinic.example"]);
    assert!(
        text.contains("MTA-STS: enforce, id 2026a, hosts: mx.clinic.example; kept since "),
        "{text}"
    );
    let moved = world
        .daemon
        .run(&["explain", "p@moved.example", "--probe", "--json"]);
    assert_eq!(moved.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&moved.stdout).unwrap();
    assert_eq!(json["hosts"][0]["sts_listed"], false);
    let probe = &json["probe"];
    assert_eq!(
        (&probe["outcome"], &probe["reason"]),
        (&"deferred".into(), &"sts-host".into())
    );
    assert_eq!(probe["asked"][0]["verdict"], "violated");
    let good = world
        .daemon
        .run_ok(&["explain", "p@clinic.example", "--probe"]);
    assert!(good.contains("proves secure by mta-sts"), "{good}");
    let none = world.daemon.run_ok(&["explain", SENDER]);
    assert!(none.contains("MTA-STS: none (no record)"), "{none}");
}

async fn figures(metrics: SocketAddr) {
    let (_, page) = get(metrics, "/metrics").await;
    for line in [
        "postern_sts_fetches_total{result=\"ok\"} 3",
        "postern_sts_policies{mode=\"enforce\"} 2",
        "postern_sts_policies{mode=\"testing\"} 1",
        "postern_sts_outcomes_total{mode=\"testing\",finding=\"no-starttls\"} 1",
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
}

/// It never goes in the clear, and bounces at `expire` with the reason.
#[tokio::test(flavor = "multi_thread")]
async fn what_violates_a_policy_bounces_at_the_end_alone() {
    let plan = Plan {
        security: r#"methods = ["tls", "cleartext"]"#,
        expire: "6s",
        delay_notice: "2s",
        ..Plan::default()
    };
    let stage = Stage::of(World::start(&plan).await);
    let world = &stage.world;
    stage.publish("clinic.example", "enforce", "mx.clinic.example");
    world.far.change(|mx| mx.no_starttls());
    let id = world
        .send(&["p@clinic.example"], letter("p@clinic.example", "x", "y"))
        .await;
    let entry = world.wait_audit(&id, "p@clinic.example", "expired").await;
    assert_eq!(
        (&entry["reason"], &entry["sts"]["mode"]),
        (&"no-starttls".into(), &"enforce".into())
    );
    // The delay, and the end.
    wait(SOON, "two reports", || world.home.count() == 2).await;
    let reports = world.home.messages();
    for (report, action) in reports.iter().zip(["delayed", "failed"]) {
        let text = String::from_utf8_lossy(&report.data).into_owned();
        assert!(text.contains(&format!("Action: {action}")), "{text}");
        assert!(text.contains("Status: 4.7.10"), "{text}");
    }
    assert_eq!(world.far.count(), 0);
    let said = world.far.commands();
    assert!(!said.iter().any(|line| line.contains("MAIL")), "{said:?}");
}

/// A policy that is kept holds across kill -9, though its record is hidden meanwhile; and
/// `explain` knows it while the daemon is down.
#[tokio::test(flavor = "multi_thread")]
async fn policies_outlive_a_restart_of_the_daemon() {
    let plan = Plan {
        security: r#"methods = ["tls", "cleartext"]"#,
        ..Plan::default()
    };
    let mut stage = Stage::of(World::start(&plan).await);
    stage.publish("clinic.example", "enforce", "mx.clinic.example");
    let to = "p@clinic.example";
    let id = stage.world.send(&[to], letter(to, "x", "y")).await;
    stage.world.wait_audit(&id, to, "delivered").await;
    // What the tables take is on disk within a second.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    stage.world.daemon.kill9();
    stage.world.dns.remove("_mta-sts.clinic.example");
    stage.https.no_policy("clinic.example");
    let json = stage.world.json(&["explain", to, "--json"]);
    assert_eq!(json["sts"]["mode"], "enforce", "{json}");
    stage.world.daemon.start().await;
    stage.world.far.change(|mx| mx.no_starttls());
    let id = stage.world.send(&[to], letter(to, "x", "y")).await;
    let entry = stage.world.wait_audit(&id, to, "queued").await;
    assert_eq!(
        (&entry["reason"], &entry["sts"]["source"]),
        (&"no-starttls".into(), &"cache".into())
    );
}
