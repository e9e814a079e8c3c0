//! No content and no password in files or logs: markers go in and are looked for everywhere.

use std::path::{Path, PathBuf};

use postern_lab::Stage;

use crate::world::{ACCOUNT, PASSWORD, Plan, SENDER, SOON, World, letter, wait};

const SUBJECT: &str = "Zebrafish4711subject";
const BODY: &str = "Quetzal0815body";

/// Whatever would give the markers away: as they are, and as base64 in its three phases.
fn needles() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for marker in [SUBJECT, BODY, PASSWORD] {
        all.push((marker.to_owned(), marker.as_bytes().to_vec()));
        let wide: Vec<u8> = marker.bytes().flat_map(|octet| [octet, 0]).collect();
        all.push((format!("{marker} as UTF-16"), wide));
        for phase in 0..3 {
            let text = base64(&[&[b'x'; 2][..phase], marker.as_bytes()].concat());
            let core = text[4..text.len() - 4].to_owned();
            all.push((format!("{marker} as base64"), core.into_bytes()));
        }
    }
    all
}

#[tokio::test]
async fn no_content_and_no_password_in_files_and_logs() {
    let plan = Plan {
        retry: r#"["1h"]"#,
        expire: "1d",
        delay_notice: "1d",
        ..Plan::default()
    };
    let mut world = World::start(&plan).await;
    world.daemon.env("POSTERN_LOG", "trace");
    world.daemon.restart().await;
    let id = every_fate(&world).await;
    refused_and_broken_off(&world).await;
    wait(SOON, "two messages in the queue", || {
        world.queue().len() == 2
    })
    .await;
    for args in [
        &["audit", "list", "--json"][..],
        &["queue", "list", "--json"],
        &["audit", "show", &id],
        &["queue", "show", &id],
    ] {
        holds_none(args[0], world.daemon.run_ok(args).as_bytes());
    }
    search(&world);
    // What compaction, checkpoints and a good end leave behind.
    assert!(world.daemon.terminate().await.success());
    search(&world);
    let log = world.daemon.log();
    assert!(
        !log.contains("marked-local-part"),
        "full addresses only with log_addresses"
    );
    // The search finds what is there: the messages have arrived with their markers.
    let arrived = world.far.messages();
    let found = std::panic::catch_unwind(|| holds_none("a message", &arrived[0].data));
    assert!(found.is_err());
}

/// A small and a large message that waits, that bounces and that is delivered. Gives the id of
/// one that waits.
async fn every_fate(world: &World) -> String {
    let stuck = world.mx("stuck.example", |b| b.reply(Stage::Dot, "451 4.3.0 later"));
    let strict = world.mx("strict.example", |b| b.reply(Stage::Dot, "550 5.7.1 no"));
    let mut ids = Vec::new();
    for (domain, state) in [
        ("stuck.example", "queued"),
        ("strict.example", "bounced"),
        ("clinic.example", "delivered"),
    ] {
        for body in [format!("{BODY}\r\n"), large()] {
            let to = format!("marked-local-part@{domain}");
            let id = world.send(&[&to], letter(&to, SUBJECT, body)).await;
            world.wait_audit(&id, &to, state).await;
            ids.push(id);
        }
    }
    assert_eq!(strict.count() + stuck.count(), 0);
    ids.remove(0)
}

/// A message that is refused, one that breaks off, and a password that is nearly right.
async fn refused_and_broken_off(world: &World) {
    let mut client = world.client().await;
    let forged = format!("From: x@other.example\r\nSubject: {SUBJECT}\r\n\r\n{BODY}\r\n");
    let to = "p@clinic.example";
    let reply = client.submit(SENDER, &[to], forged).await.unwrap();
    assert!(!reply.is_ok(), "{reply:?}");
    for line in [
        format!("MAIL FROM:<{SENDER}>"),
        format!("RCPT TO:<{to}>"),
        "DATA".to_owned(),
    ] {
        assert!(client.line(&line).await.unwrap().is_ok(), "{line}");
    }
    let head = format!("Subject: {SUBJECT}\r\n\r\n");
    client.send(head + &large()).await.unwrap();
    drop(client);
    let mut client = world.starttls(world.submission, &world.client_tls()).await;
    let nearly = format!("{PASSWORD}1");
    let reply = client.auth_plain(ACCOUNT, &nearly).await.unwrap();
    assert_eq!(reply.code, 535, "{reply:?}");
}

/// Some MiB, so that it is stored in parts.
fn large() -> String {
    format!("{BODY}\r\n").repeat(200_000)
}

fn search(world: &World) {
    let files = files(&world.daemon.data_dir());
    assert!(
        files
            .iter()
            .any(|f| f.to_string_lossy().contains("/spool/seg/")),
        "{files:?}"
    );
    for file in &files {
        // A file may go while the daemon runs.
        if let Ok(octets) = std::fs::read(file) {
            holds_none(&file.to_string_lossy(), &octets);
        }
    }
    let log = world.daemon.log();
    assert!(log.contains("TRACE"), "the log tells all it can");
    holds_none("the log", log.as_bytes());
}

fn holds_none(place: &str, octets: &[u8]) {
    for (name, needle) in needles() {
        let found = memchr::memmem::find(octets, &needle);
        assert_eq!(found, None, "{name} is in {place}");
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => all.extend(files(&entry.path())),
            kind if kind.is_file() => all.push(entry.path()),
            _ => {}
        }
    }
    all
}

fn base64(octets: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(octets)
}
