//! What `explain --probe` foretells, and what a delivery then does: the same, for domains of every
//! kind, down to the reasons.

use postern_lab::{HttpsServer, Identity, Page, SmtpServer, Stage, TlsVersion, loopback};
use serde_json::Value;

use crate::world::{Plan, SENDER, World, letter};

/// Domains that come without an operator's word on them.
const PLAIN_DOMAINS: [&str; 20] = [
    "clinic.example",
    "alone.example",
    "name.example",
    "expired.example",
    "early.example",
    "twelve.example",
    "eleven.example",
    "weak.example",
    "bare.example",
    "busy.example",
    "off.example",
    "closed.example",
    "typo.example",
    "null.example",
    "nohost.example",
    "alias.example",
    "nomx.example",
    "second.example",
    "mixed.example",
    "sick.example",
];
/// Domains for which a rule or a route says something.
const RULED: [&str; 7] = [
    "open.example",
    "silent.example",
    "strict.example",
    "strict-alone.example",
    "secure.example",
    "routed.example",
    "routed-alone.example",
];
/// Domains with an MTA-STS policy.
const PROMISED: [&str; 6] = [
    "sts-good.example",
    "sts-moved.example",
    "sts-expired.example",
    "sts-bare.example",
    "sts-trial.example",
    "sts-gone.example",
];

const TABLES: &str = r#"
[[rule]]
name = "open"
when.recipient_domain = "open.example"
methods = ["tls", "cleartext"]
[[rule]]
name = "silent"
when.recipient_domain = "silent.example"
methods = ["tls", "drop"]
[[rule]]
name = "strict"
when.recipient_domain = ["strict.example", "strict-alone.example"]
tls_level = "authenticated"
[[rule]]
name = "secure"
when.recipient_domain = "secure.example"
tls_level = "secure"
[[route]]
domain = "routed.example"
hosts = ["mx.clinic.example:PORT"]
[[route]]
domain = "routed-alone.example"
hosts = ["mx.alone.example:PORT"]
"#;

/// All the servers behind these domains.
fn far_sides(world: &World) -> Vec<SmtpServer> {
    let (ca, dns) = (&world.ca, &world.dns);
    dns.null_mx("null.example");
    dns.mx("nohost.example", 10, "mx.nohost.example");
    dns.mx("off.example", 10, "mx.off.example");
    dns.a("mx.off.example", loopback());
    dns.servfail("sick.example");
    dns.cname("mx.alias.example", "mx.clinic.example");
    dns.mx("alias.example", 10, "mx.alias.example");
    dns.mx("second.example", 5, "mx.off.example");
    dns.mx("second.example", 10, "mx.clinic.example");
    dns.mx("mixed.example", 5, "mx.bare.example");
    dns.mx("mixed.example", 10, "mx.clinic.example");
    let alone = |b: postern_lab::SmtpBuilder, host| b.identity(Identity::self_signed(&[host]));
    let twelve = (TlsVersion::V1_2, TlsVersion::V1_2);
    let servers = vec![
        world.mx("alone.example", |b| alone(b, "mx.alone.example")),
        world.mx("strict-alone.example", |b| {
            alone(b, "mx.strict-alone.example")
        }),
        world.mx("name.example", |b| {
            b.identity(ca.issue(&["mx.wrong.example"]))
        }),
        world.mx("expired.example", |b| {
            b.identity(ca.issue_expired(&["mx.expired.example"]))
        }),
        world.mx("early.example", |b| {
            b.identity(ca.issue_not_yet_valid(&["mx.early.example"]))
        }),
        world.mx("twelve.example", |b| b.tls_versions(twelve.0, twelve.1)),
        world.mx("eleven.example", |b| {
            b.tls_versions(TlsVersion::V1_1, TlsVersion::V1_1)
        }),
        world.mx("weak.example", |b| {
            b.tls_versions(twelve.0, twelve.1).ciphers("AES256-SHA")
        }),
        world.mx("bare.example", |b| b.no_starttls()),
        world.mx("busy.example", |b| b.starttls_reply("454 4.7.0 later")),
        world.mx("closed.example", |b| {
            b.reply(Stage::Banner, "554 5.7.1 not from you")
        }),
        world.mx("nomx.example", |b| b),
        world.mx("open.example", |b| b.no_starttls()),
        world.mx("silent.example", |b| b.no_starttls()),
        world.mx("strict.example", |b| b),
        world.mx("secure.example", |b| b),
        world.mx("sts-good.example", |b| b),
        world.mx("sts-moved.example", |b| b),
        world.mx("sts-expired.example", |b| {
            b.identity(ca.issue_expired(&["mx.sts-expired.example"]))
        }),
        world.mx("sts-bare.example", |b| b.no_starttls()),
        world.mx("sts-trial.example", |b| b.no_starttls()),
        world.mx("sts-gone.example", |b| b),
    ];
    // Without MX its own address counts.
    let nomx = servers[11].addr().ip();
    dns.remove("nomx.example").a("nomx.example", nomx);
    servers
}

fn promises(world: &World) -> HttpsServer {
    let names: Vec<String> = PROMISED.iter().map(|d| format!("mta-sts.{d}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let ip = loopback();
    let https = HttpsServer::start((ip, world.https).into(), world.ca.issue(&names));
    for domain in PROMISED {
        world.dns.a(&format!("mta-sts.{domain}"), ip);
        world
            .dns
            .txt(&format!("_mta-sts.{domain}"), "v=STSv1; id=1;");
        let (mode, mx) = match domain {
            "sts-trial.example" => ("testing", format!("mx.{domain}")),
            "sts-moved.example" => ("enforce", "*.elsewhere.example".to_owned()),
            _ => ("enforce", format!("mx.{domain}")),
        };
        if domain != "sts-gone.example" {
            https.policy(domain, Page::policy(mode, &[&mx], 86_400));
        }
    }
    https
}

/// What both tell, in words that can be laid beside one another.
fn facts(entry: &Value) -> [Value; 6] {
    let pick = |name: &str| entry[name].clone();
    let tls = &entry["tls"];
    let handshake = ["version", "cipher", "group"].map(|fact| tls[fact].clone());
    [
        pick("method"),
        pick("reason"),
        pick("passed_over"),
        pick("achieved"),
        tls["authenticated_by"].clone(),
        Value::from(handshake.to_vec()),
    ]
}

/// The same of a probe, whose last address is where it ended.
fn foretold(json: &Value) -> [Value; 6] {
    let probe = &json["probe"];
    let asked = probe["asked"].as_array().unwrap();
    let met = asked.iter().rfind(|a| a["verdict"] == "met");
    let host = met.or(asked.last()).unwrap_or(&Value::Null);
    let address = host["addresses"].as_array().and_then(|all| all.last());
    let address = address.cloned().unwrap_or_default();
    let handshake = ["version", "cipher", "group"].map(|fact| address["tls"][fact].clone());
    [
        probe["method"].clone(),
        probe["reason"].clone(),
        probe["passed_over"].clone(),
        address["achieved"].clone(),
        address["authenticated_by"].clone(),
        Value::from(handshake.to_vec()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_three_domains_do_as_foretold() {
    let plan = Plan {
        retry: r#"["1h"]"#,
        tables: TABLES.to_owned(),
        ..Plan::default()
    };
    let mut world = World::new(&plan);
    let text = world.config(&plan).replace("PORT", &world.port.to_string());
    world.daemon.config(&text).start().await;
    world.add_account(crate::world::ACCOUNT, "@ward.example");
    let _servers = far_sides(&world);
    let _https = promises(&world);
    let domains = PLAIN_DOMAINS.into_iter().chain(RULED).chain(PROMISED);
    let (mut wrong, mut seen) = (Vec::new(), std::collections::BTreeMap::new());
    for domain in domains {
        let to = format!("p@{domain}");
        let output = world
            .daemon
            .run(&["explain", &to, "--from", SENDER, "--probe", "--json"]);
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let outcome = json["probe"]["outcome"].as_str().unwrap().to_owned();
        let state = match outcome.as_str() {
            "deferred" => "queued",
            other => other,
        };
        let id = world.send(&[&to], letter(&to, "x", "x\r\n")).await;
        let entry = world.wait_audit(&id, &to, state).await;
        let (told, done) = (foretold(&json), facts(&entry));
        if told != done {
            wrong.push(format!("{domain}: foretold {told:?}, done {done:?}"));
        }
        *seen.entry(outcome).or_insert(0) += 1;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Each way to end is there, so that the above says something.
    assert_eq!(seen.values().sum::<i32>(), 33);
    for outcome in ["delivered", "deferred", "bounced", "dropped"] {
        assert!(seen.contains_key(outcome), "{outcome}: {seen:?}");
    }
}
