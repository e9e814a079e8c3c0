//! `explain --probe`: what it says of far sides of all kinds, and that none of them hears a word
//! about sender or recipient.

use postern_lab::{Identity, SmtpServer, TlsVersion, loopback};
use serde_json::Value;

use crate::world::{Plan, SENDER, SOON, World, letter};

/// A far side, and what a probe says of it at `encrypted` and at `authenticated`: outcome, verdict
/// of the host, reason.
struct Row {
    domain: &'static str,
    encrypted: (&'static str, &'static str, &'static str),
    authenticated: (&'static str, &'static str, &'static str),
}

const fn same(domain: &'static str, says: (&'static str, &'static str, &'static str)) -> Row {
    Row {
        domain,
        encrypted: says,
        authenticated: says,
    }
}

const MET: (&str, &str, &str) = ("delivered", "met", "");

const TABLE: [Row; 12] = [
    same("clinic.example", MET),
    Row {
        domain: "alone.example",
        encrypted: MET,
        authenticated: ("bounced", "unmet", "certificate-untrusted"),
    },
    Row {
        domain: "name.example",
        encrypted: MET,
        authenticated: ("bounced", "unmet", "certificate-name"),
    },
    Row {
        domain: "expired.example",
        encrypted: MET,
        authenticated: ("bounced", "unmet", "certificate-expired"),
    },
    same("eleven.example", ("bounced", "unmet", "no-common-tls")),
    same("plain.example", ("bounced", "unmet", "no-starttls")),
    same("busy.example", ("deferred", "unknown", "starttls-refused")),
    same("off.example", ("deferred", "unknown", "unreachable")),
    same("closed.example", ("bounced", "refused", "rejected")),
    same("typo.example", ("bounced", "", "no-such-domain")),
    same("null.example", ("bounced", "", "null-mx")),
    same("nohost.example", ("bounced", "absent", "no-host")),
];

fn far_sides(world: &World) -> Vec<SmtpServer> {
    let (wrong, expired) = (
        world.ca.issue(&["mx.wrong.example"]),
        world.ca.issue_expired(&["mx.expired.example"]),
    );
    world.dns.null_mx("null.example");
    world.dns.mx("nohost.example", 10, "mx.nohost.example");
    world.dns.mx("off.example", 10, "mx.off.example");
    world.dns.a("mx.off.example", loopback());
    vec![
        world.mx("alone.example", |b| {
            b.identity(Identity::self_signed(&["mx.alone.example"]))
        }),
        world.mx("name.example", |b| b.identity(wrong)),
        world.mx("expired.example", |b| b.identity(expired)),
        world.mx("eleven.example", |b| {
            b.tls_versions(TlsVersion::V1_1, TlsVersion::V1_1)
        }),
        world.mx("plain.example", |b| b.no_starttls()),
        world.mx("busy.example", |b| b.starttls_reply("454 4.7.0 later")),
        world.mx("closed.example", |b| {
            b.reply(postern_lab::Stage::Banner, "554 5.7.1 not from you")
        }),
    ]
}

/// Nothing but a greeting was heard.
fn heard_no_mail(server: &SmtpServer) {
    let said = ["EHLO", "HELO", "STARTTLS", "QUIT"];
    for line in server.commands() {
        let verb = line.split(' ').nth(2).unwrap_or_default();
        assert!(said.contains(&verb), "{line}");
        assert!(!line.contains('@'), "{line}");
    }
    assert_eq!(server.count(), 0);
    assert_eq!(server.violations(), Vec::<String>::new());
}

fn probe(world: &World, domain: &str) -> (Value, i32) {
    let output = world.daemon.run(&[
        "explain",
        &format!("p@{domain}"),
        "--from",
        SENDER,
        "--probe",
        "--json",
    ]);
    let json = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{domain}: {e}: {output:?}"));
    (json, output.status.code().unwrap())
}

fn check(world: &World, pick: impl Fn(&Row) -> (&'static str, &'static str, &'static str)) {
    let servers = far_sides(world);
    for row in &TABLE {
        let (domain, (outcome, verdict, reason)) = (row.domain, pick(row));
        let (json, exit) = probe(world, domain);
        let probe = &json["probe"];
        assert_eq!(probe["outcome"], outcome, "{domain}: {json:#}");
        assert_eq!(exit, i32::from(outcome != "delivered"), "{domain}");
        assert_eq!(probe["reason"].as_str().unwrap_or_default(), reason);
        let asked = &probe["asked"][0];
        assert_eq!(asked["verdict"].as_str().unwrap_or_default(), verdict);
        match verdict {
            "" => assert_eq!(probe["asked"].as_array().unwrap().len(), 0, "{domain}"),
            _ => assert_eq!(asked["reason"].as_str().unwrap_or_default(), reason),
        }
    }
    for server in servers.iter().chain([&world.far]) {
        assert!(server.connections() > 0);
        heard_no_mail(server);
    }
}

#[tokio::test]
async fn every_kind_of_far_side_at_encrypted() {
    check(&World::new(&Plan::default()), |row| row.encrypted);
}

#[tokio::test]
async fn every_kind_of_far_side_at_authenticated() {
    let plan = Plan {
        security: "tls_level = \"authenticated\"",
        ..Plan::default()
    };
    check(&World::new(&plan), |row| row.authenticated);
}

/// The probe tells in advance what a delivery then does, with the same facts.
#[tokio::test]
async fn what_is_foretold_is_what_happens() {
    let plan = Plan {
        security: "tls_level = \"authenticated\"",
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    let _servers = far_sides(&world);
    for row in TABLE.iter().filter(|row| row.authenticated.0 != "deferred") {
        let (json, _) = probe(&world, row.domain);
        let to = format!("p@{}", row.domain);
        let id = world.send(&[&to], letter(&to, "x", "x\r\n")).await;
        let entry = world.wait_audit(&id, &to, row.authenticated.0).await;
        assert_eq!(entry["reason"], json["probe"]["reason"], "{to}");
        let told = &json["probe"]["asked"][0]["addresses"][0];
        for fact in ["version", "cipher", "group"] {
            assert_eq!(entry["tls"][fact], told["tls"][fact], "{to}: {fact}");
        }
        let certificates = [&entry["tls"]["certificate"], &told["tls"]["certificate"]];
        for fact in ["sha256", "names", "not_after"] {
            assert_eq!(certificates[0][fact], certificates[1][fact], "{to}: {fact}");
        }
        assert_eq!(entry["achieved"], told["achieved"], "{to}");
    }
}

/// `cleartext` has its turn in a probe where it would have it in a delivery.
#[tokio::test]
async fn the_next_method_and_why_not_the_first() {
    let plan = Plan {
        security: "methods = [\"tls\", \"cleartext\"]",
        ..Plan::default()
    };
    let world = World::new(&plan);
    let servers = far_sides(&world);
    let (json, exit) = probe(&world, "plain.example");
    assert_eq!((&json["probe"]["method"], exit), (&"cleartext".into(), 0));
    let passed = serde_json::json!([{"method": "tls", "reason": "no-starttls"}]);
    assert_eq!(json["probe"]["passed_over"], passed);
    let (json, exit) = probe(&world, "busy.example");
    assert_eq!((&json["probe"]["method"], exit), (&"tls".into(), 1));
    assert_eq!(json["probe"]["outcome"], "deferred");
    let asked = json["probe"]["asked"].as_array().unwrap();
    assert_eq!(asked.len(), 1, "what is unknown is not asked for cleartext");
    servers.iter().for_each(heard_no_mail);
}

/// While the configuration is only observed: what happens, and what would.
#[tokio::test]
async fn observed_and_enforced() {
    let plan = Plan {
        security: "observe = true",
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    let servers = far_sides(&world);
    let (json, exit) = probe(&world, "plain.example");
    servers.iter().for_each(heard_no_mail);
    assert_eq!((&json["probe"]["method"], exit), (&"cleartext".into(), 0));
    let would = serde_json::json!({"method": "bounce", "reason": "no-starttls"});
    assert_eq!(json["probe"]["would"], would);
    let (json, _) = probe(&world, "clinic.example");
    let enforced = serde_json::json!({"method": "tls", "reason": null});
    assert_eq!(json["probe"]["would"], enforced);
    let said = world.daemon.run_ok(&["test", "p@plain.example"]);
    assert!(
        said.contains("  if observe were off: bounce (no-starttls)\n"),
        "{said}"
    );
    let to = "p@plain.example";
    let id = said.split([' ', ',']).nth(2).unwrap();
    let entry = world.wait_audit(id, to, "delivered").await;
    assert_eq!(entry["would"], would);
}

/// All hosts and addresses are looked at, and blocked networks are not.
#[tokio::test]
async fn every_host_and_address_but_no_blocked_one() {
    let world = World::new(&Plan::default());
    let second = world.mx("many.example", |b| b);
    world.dns.mx("many.example", 5, "mx.clinic.example");
    world.dns.a("mx.many.example", loopback());
    let (json, exit) = probe(&world, "many.example");
    assert_eq!(exit, 0);
    let asked = json["probe"]["asked"].as_array().unwrap();
    assert_eq!(asked.len(), 2, "{json:#}");
    assert_eq!(asked[0]["host"], "mx.clinic.example");
    assert!(
        json["probe"]["host"]
            .as_str()
            .unwrap()
            .starts_with("mx.clinic.example[")
    );
    let addresses = asked[1]["addresses"].as_array().unwrap();
    let reached = |a: &&Value| a["reached"] == true;
    assert_eq!(
        (addresses.len(), addresses.iter().filter(reached).count()),
        (2, 1)
    );
    heard_no_mail(&second);

    let mut world = World::new(&Plan::default());
    let text = world.config(&Plan::default());
    world
        .daemon
        .config(&text.replace("blocked = []", "blocked = [\"127.0.0.0/8\"]"));
    let (json, exit) = probe(&world, "clinic.example");
    assert_eq!((&json["probe"]["reason"], exit), (&"blocked".into(), 1));
    assert_eq!(world.far.connections(), 0);
}

/// A route that logs in is looked at without the password.
#[tokio::test]
async fn no_login_in_a_probe() {
    let plan = Plan {
        tables: "[[route]]\ndomain = \"clinic.example\"\nhosts = [\"mx.clinic.example:PORT\"]\n\
                 username = \"u\"\npassword_file = \"secret\"\n"
            .to_owned(),
        ..Plan::default()
    };
    let mut world = World::new(&plan);
    let text = world.config(&plan).replace("PORT", &world.port.to_string());
    world.daemon.config(&text);
    std::fs::write(world.daemon.dir().join("secret"), "hush\n").unwrap();
    let (json, exit) = probe(&world, "clinic.example");
    assert_eq!(exit, 0, "{json:#}");
    let asked = &json["probe"]["asked"][0];
    assert_eq!(asked["must_prove"], "authenticated");
    assert_eq!(asked["addresses"][0]["authenticated_by"], "route");
    heard_no_mail(&world.far);
}

/// A tarpit costs seconds, not the minutes that a delivery gives it.
#[tokio::test]
async fn a_far_side_that_says_nothing_is_left_soon() {
    let world = World::new(&Plan::default());
    let _slow = world.mx("slow.example", |b| b.handshake_stall());
    let began = std::time::Instant::now();
    let (json, exit) = probe(&world, "slow.example");
    assert_eq!((&json["probe"]["outcome"], exit), (&"deferred".into(), 1));
    assert!(began.elapsed() < 2 * SOON, "{:?}", began.elapsed());
}

/// The text for people, with what differs from run to run taken out.
#[tokio::test]
async fn the_text_for_people() {
    let plan = Plan {
        security: "tls_level = \"authenticated\"",
        ..Plan::default()
    };
    let world = World::new(&plan);
    let servers = far_sides(&world);
    let port = format!(":{}", world.port);
    let mut said = String::new();
    for row in &TABLE {
        let to = format!("p@{}", row.domain);
        let output = world.daemon.run(&["explain", &to, "--probe"]);
        let text = String::from_utf8(output.stdout).unwrap();
        let text = text.replace(&port, ":25");
        said.extend(text.split_inclusive([' ', '\n']).map(steady));
        said.push_str(&format!("exit {}\n\n", output.status.code().unwrap()));
    }
    assert!(said == include_str!("probe.txt"), "{said}");
    servers.iter().for_each(heard_no_mail);
}

/// Puts words in the place of what differs: addresses, fingerprints, times.
fn steady(word: &str) -> String {
    let bare = word.trim_end_matches([' ', '\n', ',']);
    let rest = &word[bare.len()..];
    if let Some(at) = bare.find("127.") {
        let ip = |c: char| c.is_ascii_digit() || c == '.';
        let behind = bare[at..].trim_start_matches(ip);
        return format!("{}192.0.2.1{behind}{rest}", &bare[..at]);
    }
    match bare {
        _ if bare.len() == 64 => format!("SHA256{rest}"),
        _ if bare.starts_with("20") && bare.contains('T') => format!("TIME{rest}"),
        _ => word.to_owned(),
    }
}
