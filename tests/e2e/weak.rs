//! Far sides that are too weak: none of them ever sees MAIL FROM, and the sender is told why.

use postern_lab::{Ca, Client, Identity, SmtpBuilder, SmtpServer, Stage, TlsVersion};

use crate::dsn::Dsn;
use crate::world::{Plan, SOON, World, letter};

const SUBJECT: &str = "Zebrafish-4711 results";
const BODY: &str = "Quetzal-0815 is positive\r\n";

/// A weak server and what the sender's report says of it, as a clause and as a status.
struct Case {
    name: &'static str,
    turn: Box<dyn FnOnce(SmtpBuilder) -> SmtpBuilder>,
    says: &'static str,
    reason: &'static str,
}

fn case(
    name: &'static str,
    turn: impl FnOnce(SmtpBuilder) -> SmtpBuilder + 'static,
    says: &'static str,
    reason: &'static str,
) -> Case {
    Case {
        name,
        turn: Box::new(turn),
        says,
        reason,
    }
}

const TOO_WEAK: &str = "too weak";
const NO_TLS: &str = "does not offer an encrypted connection";
const NOT_PROVEN: &str = "could not prove that it is the right one";

fn weak_transport() -> Vec<Case> {
    let rsa = |name: &str| Identity::self_signed_rsa(&[name], 2048);
    let cbc = rsa("mx.cbc.example");
    let dhe = rsa("mx.kx.example");
    vec![
        case(
            "old.example",
            |b| b.tls_versions(TlsVersion::V1_0, TlsVersion::V1_1),
            TOO_WEAK,
            "no-common-tls",
        ),
        case(
            "eleven.example",
            |b| b.tls_versions(TlsVersion::V1_1, TlsVersion::V1_1),
            TOO_WEAK,
            "no-common-tls",
        ),
        case(
            "cbc.example",
            move |b| {
                b.identity(cbc)
                    .tls_versions(TlsVersion::V1_2, TlsVersion::V1_2)
                    .ciphers("AES256-SHA:AES128-SHA:@SECLEVEL=0")
            },
            TOO_WEAK,
            "no-common-tls",
        ),
        case(
            "kx.example",
            move |b| {
                b.identity(dhe)
                    .tls_versions(TlsVersion::V1_2, TlsVersion::V1_2)
                    .ciphers("AES256-GCM-SHA384:@SECLEVEL=0")
            },
            TOO_WEAK,
            "no-common-tls",
        ),
        case("plain.example", |b| b.no_starttls(), NO_TLS, "no-starttls"),
        case(
            "masked.example",
            |b| b.starttls_masked(),
            NO_TLS,
            "no-starttls",
        ),
    ]
}

fn weak_identity(ca: &Ca) -> Vec<Case> {
    let (name, expired) = (
        ca.issue(&["mx.wrong.example"]),
        ca.issue_expired(&["mx.expired.example"]),
    );
    let early = ca.issue_not_yet_valid(&["mx.early.example"]);
    let alone = Identity::self_signed(&["mx.alone.example"]);
    let foreign = Ca::new().issue(&["mx.foreign.example"]);
    vec![
        case(
            "name.example",
            |b| b.identity(name),
            NOT_PROVEN,
            "certificate-name",
        ),
        case(
            "expired.example",
            |b| b.identity(expired),
            "is not valid at this time",
            "certificate-expired",
        ),
        case(
            "early.example",
            |b| b.identity(early),
            "is not valid at this time",
            "certificate-not-yet-valid",
        ),
        case(
            "alone.example",
            |b| b.identity(alone),
            NOT_PROVEN,
            "certificate-untrusted",
        ),
        case(
            "foreign.example",
            |b| b.identity(foreign),
            NOT_PROVEN,
            "certificate-untrusted",
        ),
    ]
}

/// Nothing of a transaction was seen, in the clear or not.
fn saw_no_mail(server: &SmtpServer, name: &str) {
    let commands = server.commands();
    let verbs = ["MAIL", "RCPT", "DATA", "BDAT", "AUTH"];
    let said = |c: &&String| {
        verbs
            .iter()
            .any(|v| c.to_ascii_uppercase().contains(&format!(" {v}")))
    };
    assert_eq!(commands.iter().find(said), None, "{name}");
    assert!(server.connections() > 0, "{name} was never asked");
    assert_eq!(server.count(), 0, "{name}");
    assert_eq!(server.violations(), Vec::<String>::new(), "{name}");
}

/// Sends to each, and checks servers, reports and audit.
async fn all_bounce(world: &World, cases: Vec<Case>) {
    let mut sent = Vec::new();
    for Case {
        name,
        turn,
        says,
        reason,
    } in cases
    {
        let (server, to) = (world.mx(name, turn), format!("p@{name}"));
        let id = world.send(&[&to], letter(&to, SUBJECT, BODY)).await;
        sent.push((server, to, says, reason, id));
    }
    let reports = world.home.wait_messages(sent.len(), SOON).await;
    let reports: Vec<Dsn> = reports.iter().map(Dsn::read).collect();
    for (server, to, says, reason, id) in &sent {
        saw_no_mail(server, to);
        let about = |dsn: &&Dsn| dsn.recipients() == [to.as_str()];
        let dsn = reports
            .iter()
            .find(about)
            .unwrap_or_else(|| panic!("no report about {to}"));
        tells_why(dsn, to, says);
        assert!(
            dsn.fields("Status")[0].starts_with("5.7."),
            "{to}: {}",
            dsn.status
        );
        let entry = world.wait_audit(id, to, "bounced").await;
        assert_eq!(entry["reason"], *reason, "{to}: {entry}");
    }
    world.wait_empty_queue(SOON).await;
    assert_eq!(world.home.count(), sent.len());
}

fn tells_why(dsn: &Dsn, to: &str, says: &str) {
    let sentence = dsn.sentence.split(". ").next().unwrap();
    assert!(
        sentence.contains(says) && sentence.contains(to),
        "{to}: {}",
        dsn.sentence
    );
    assert!(
        !dsn.raw.contains("Zebrafish-4711") && !dsn.raw.contains("Quetzal-0815"),
        "{}",
        dsn.raw
    );
}

#[tokio::test]
async fn weak_transport_never_sees_mail_from() {
    let world = World::start(&Plan::default()).await;
    all_bounce(&world, weak_transport()).await;
}

#[tokio::test]
async fn weak_identity_never_sees_mail_from_under_authenticated() {
    let world = World::start(&Plan {
        security: "tls_level = \"authenticated\"",
        ..Plan::default()
    })
    .await;
    let mut cases = weak_transport();
    cases.extend(weak_identity(&world.ca.clone()));
    all_bounce(&world, cases).await;
    // A good one under the same rule.
    let id = world
        .send(
            &["p@clinic.example"],
            letter("p@clinic.example", SUBJECT, BODY),
        )
        .await;
    world.far.wait_messages(1, SOON).await;
    let entry = world.wait_audit(&id, "p@clinic.example", "delivered").await;
    assert_eq!(
        entry["tls"]["authenticated_by"], "pkix-unsigned-mx",
        "{entry}"
    );
}

/// Under `encrypted` any certificate will do: no passive tap reads along.
#[tokio::test]
async fn any_certificate_will_do_under_encrypted() {
    let world = World::start(&Plan::default()).await;
    let mut servers = Vec::new();
    for Case { name, turn, .. } in weak_identity(&world.ca.clone()) {
        servers.push(world.mx(name, turn));
        world
            .send(&[&format!("p@{name}")], letter("x", SUBJECT, BODY))
            .await;
    }
    for server in &servers {
        let arrived = server.wait_messages(1, SOON).await;
        assert_eq!(arrived[0].tls.as_ref().unwrap().version, "TLSv1.3");
    }
}

/// A 4xx to STARTTLS is no definite no: waited for, then told.
#[tokio::test]
async fn starttls_454_waits_and_is_given_up() {
    let world = World::start(&Plan {
        expire: "5s",
        ..Plan::default()
    })
    .await;
    let busy = world.mx("busy.example", |b| {
        b.starttls_reply("454 4.7.0 TLS not available due to temporary reason")
    });
    let to = "p@busy.example";
    let id = world.send(&[to], letter(to, SUBJECT, BODY)).await;
    let waiting = world.wait_audit(&id, to, "queued").await;
    assert_eq!(waiting["id"], id.as_str());
    let reports = world.home.wait_messages(1, SOON).await;
    let dsn = Dsn::read(&reports[0]);
    tells_why(&dsn, to, "refused to make the connection encrypted");
    saw_no_mail(&busy, to);
    assert!(busy.connections() >= 2, "it was tried again");
    world.wait_audit(&id, to, "expired").await;
}

/// A broken handshake may be an attack, or a bad day: never a reason to step down.
#[tokio::test]
async fn cleartext_only_where_there_is_definitely_no_tls() {
    let plan = Plan {
        security: r#"methods = ["tls", "cleartext"]"#,
        expire: "5s",
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    let unclear = [
        (
            "busy.example",
            world.mx("busy.example", |b| b.starttls_reply("454 4.7.0 later")),
        ),
        (
            "cut.example",
            world.mx("cut.example", |b| b.handshake_cut()),
        ),
        (
            "early-cut.example",
            world.mx("early-cut.example", |b| b.cut_after(Stage::Ehlo)),
        ),
    ];
    let plain = world.mx("plain.example", |b| b.no_starttls());
    for domain in [
        "busy.example",
        "cut.example",
        "early-cut.example",
        "plain.example",
        "clinic.example",
    ] {
        let to = format!("p@{domain}");
        world.send(&[&to], letter(&to, SUBJECT, BODY)).await;
    }
    let clear = plain.wait_messages(1, SOON).await;
    assert_eq!(clear[0].tls, None);
    let covered = world.far.wait_messages(1, SOON).await;
    assert_eq!(
        covered[0].tls.as_ref().unwrap().version,
        "TLSv1.3",
        "TLS where there is TLS"
    );
    world.home.wait_messages(3, SOON).await;
    for (name, server) in &unclear {
        saw_no_mail(server, name);
    }
    assert_eq!(plain.violations(), Vec::<String>::new());
}

/// Among several hosts, cleartext waits until every one that answers has said a definite no.
#[tokio::test]
async fn the_host_with_tls_is_preferred_to_cleartext() {
    let plan = Plan {
        security: r#"methods = ["tls", "cleartext"]"#,
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    let plain = world.mx("mixed.example", |b| b.no_starttls());
    world.dns.mx("mixed.example", 20, "mx.clinic.example");
    world
        .send(
            &["p@mixed.example"],
            letter("p@mixed.example", SUBJECT, BODY),
        )
        .await;
    let arrived = world.far.wait_messages(1, SOON).await;
    assert!(arrived[0].tls.is_some());
    saw_no_mail(&plain, "mixed.example");
}

#[tokio::test]
async fn drop_tells_the_audit_alone() {
    let rule = "[[rule]]\nname = \"exclusive\"\nwhen.recipient_domain = [\"plain.example\"]\nmethods = [\"tls\", \"drop\"]\n";
    let world = World::start(&Plan {
        tables: rule.to_owned(),
        ..Plan::default()
    })
    .await;
    let plain = world.mx("plain.example", |b| b.no_starttls());
    let to = "p@plain.example";
    let id = world.send(&[to], letter(to, SUBJECT, BODY)).await;
    let entry = world.wait_audit(&id, to, "dropped").await;
    assert_eq!(entry["reason"], "no-starttls", "{entry}");
    saw_no_mail(&plain, to);
    world.wait_empty_queue(SOON).await;
    // What comes later arrives first and alone: no report was sent.
    world
        .send(
            &["me@ward.example"],
            letter("me@ward.example", "later", "hi\r\n"),
        )
        .await;
    let arrived = world.home.wait_messages(1, SOON).await;
    assert_eq!(
        (arrived.len(), arrived[0].rcpt_to[0].as_str()),
        (1, "me@ward.example")
    );
}

/// Plaintext behind the 220 of STARTTLS is an injection: the connection is given up.
#[tokio::test]
async fn injected_plaintext_ends_the_connection() {
    let world = World::start(&Plan {
        expire: "4s",
        ..Plan::default()
    })
    .await;
    let server = world.mx("inject.example", |b| {
        b.inject_after_starttls(b"250-mx\r\n250 AUTH PLAIN\r\n")
    });
    let to = "p@inject.example";
    world.send(&[to], letter(to, SUBJECT, BODY)).await;
    world.home.wait_messages(1, SOON).await;
    saw_no_mail(&server, to);
    // And on the way in: what a client sends behind its STARTTLS is not obeyed under TLS.
    let mut client = Client::connect(world.submission).await.unwrap();
    client.greet("desk.ward.example").await.unwrap();
    client.send("STARTTLS\r\nNOOP injected\r\n").await.unwrap();
    let reply = client.read_reply().await.unwrap();
    if reply.is_ok()
        && client
            .handshake(&world.client_tls(), crate::world::RELAY)
            .await
            .is_ok()
    {
        let ehlo = client.line("EHLO desk.ward.example").await.unwrap();
        assert!(
            ehlo.lines.len() > 1,
            "the first reply under TLS is EHLO's: {ehlo:?}"
        );
    }
}
