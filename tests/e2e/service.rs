//! The service manager's part: what it is told, the sockets and credentials it hands over.
//!
//! `systemd.py` plays it: it holds the listening sockets while the daemon comes and goes.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use postern_lab::{Client, free_port, loopback};
use tempfile::TempDir;

use crate::world::{Plan, SENDER, SOON, World, letter, queue_id, wait};

const BINARY: &str = env!("CARGO_BIN_EXE_postern");
const SYSTEMD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/systemd.py");
const TO: &str = "p@clinic.example";

/// A world whose daemon gets its sockets from a holder that outlives it.
struct Activated {
    world: World,
    _holder: Holder,
    _folder: TempDir,
}

impl Activated {
    /// Everything but a running daemon; `more` is held too.
    async fn new(plan: &Plan, more: &[SocketAddr]) -> Activated {
        let folder = tempfile::tempdir().unwrap();
        let (script, path) = (folder.path().join("start.sh"), folder.path().join("held"));
        let text = format!(
            "#!/bin/sh\nexec python3 {SYSTEMD} exec {} {BINARY} \"$@\"\n",
            path.display()
        );
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
        let world = World::with_binary(plan, script.to_str().unwrap());
        // In another order than the configuration's, and not all of them.
        let held = [&[world.relay, world.submission], more].concat();
        let holder = hold(&path, &held);
        wait(SOON, "the holder of the sockets", || path.exists()).await;
        Activated {
            world,
            _holder: holder,
            _folder: folder,
        }
    }

    async fn start(plan: &Plan) -> Activated {
        let mut activated = Activated::new(plan, &[]).await;
        activated.world.daemon.start().await;
        activated
    }
}

/// Ends when it is dropped, and with the test's process: its stdin is a pipe from here.
struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn hold(path: &Path, addresses: &[SocketAddr]) -> Holder {
    let mut command = Command::new("python3");
    command.args([SYSTEMD, "hold"]).arg(path);
    command.args(addresses.iter().map(ToString::to_string));
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    Holder(command.spawn().expect("python3 is installed"))
}

/// Waits until one is there so many times.
async fn notices(world: &World, notice: &str, times: usize) -> Vec<String> {
    let what = format!("{times} times {notice}");
    wait(SOON, &what, || {
        let all = world.daemon.notices();
        all.iter().filter(|n| n.trim_end() == notice).count() >= times
    })
    .await;
    world.daemon.notices()
}

#[tokio::test]
async fn the_service_manager_is_kept_informed() {
    let mut activated = Activated::start(&Plan::default()).await;
    let world = &mut activated.world;
    let begin = Instant::now();
    let told = notices(world, "WATCHDOG=1", 4).await;
    assert!(begin.elapsed() > Duration::from_secs(1), "{told:?}");
    assert!(world.daemon.terminate().await.success());
    let told = notices(world, "STOPPING=1", 1).await;
    assert_eq!(told.iter().filter(|n| n.contains("STOPPING=1")).count(), 1);
    assert!(!world.daemon.log().contains("service manager"));
}

/// While the service is down, clients of a held socket wait; those of one that is not held are
/// refused.
#[tokio::test]
async fn sockets_handed_over_keep_clients_waiting() {
    let mut activated = Activated::start(&Plan::default()).await;
    let world = &mut activated.world;
    assert!(Client::connect(world.submissions).await.is_ok());
    assert!(world.daemon.terminate().await.success());
    assert!(Client::connect(world.submissions).await.is_err());
    let mut early = Client::connect(world.relay).await.unwrap();
    world.daemon.start().await;
    early.greet("mta.ward.example").await.unwrap();
    let reply = early
        .submit(SENDER, &[TO], letter(TO, "early", "hi\r\n"))
        .await;
    let id = queue_id(&reply.unwrap());
    world.wait_audit(&id, TO, "delivered").await;
}

/// Nobody would ever answer there.
#[tokio::test]
async fn a_held_socket_without_a_listener_is_a_fault() {
    let stray = SocketAddr::from((loopback(), free_port()));
    let mut activated = Activated::new(&Plan::default(), &[stray]).await;
    let error = activated.world.daemon.try_start().await.unwrap_err();
    let log = activated.world.daemon.log();
    assert!(error.contains("78"), "{error}\n{log}");
    assert!(log.contains(&stray.to_string()), "{log}");
}

/// The books of a load: what was acknowledged and what went otherwise.
#[derive(Default)]
struct Books {
    acknowledged: AtomicUsize,
    refused: AtomicUsize,
    /// Told to come again later (421).
    put_off: AtomicUsize,
    /// Lost the connection without a word.
    cut: AtomicUsize,
}

/// Hands message `n` in, in a session of its own, as often as it takes.
async fn hand_in(books: Arc<Books>, relay: SocketAddr, n: usize) {
    let data = letter(TO, "load", format!("message {n}\r\n"));
    let data = [format!("X-Lab-Id: {n}\r\n").into_bytes(), data].concat();
    let count = |which: &AtomicUsize| which.fetch_add(1, Ordering::Relaxed);
    loop {
        let Ok(client) = Client::connect(relay).await else {
            count(&books.refused);
            return;
        };
        match session(client, &data).await {
            Ok(250) => break,
            Ok(_) => count(&books.put_off),
            Err(_) => count(&books.cut),
        };
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    count(&books.acknowledged);
}

/// The code that decided.
async fn session(mut client: Client, data: &[u8]) -> io::Result<u16> {
    let banner = client.read_reply().await?;
    if banner.code != 220 {
        return Ok(banner.code);
    }
    let hello = client.line("EHLO load.ward.example").await?;
    if hello.code != 250 {
        return Ok(hello.code);
    }
    let reply = client.submit(SENDER, &[TO], data).await?;
    if reply.code == 250 {
        let _ = client.quit().await;
    }
    Ok(reply.code)
}

/// 200 messages a second for ten seconds, while the service is restarted twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_by_hand_over_refuses_and_loses_nothing() {
    const RATE: u64 = 200;
    const MESSAGES: usize = 2000;
    let plan = Plan {
        top: "limits.connections_per_client = 2000\nlimits.connections = 2000".to_owned(),
        ..Plan::default()
    };
    let mut activated = Activated::start(&plan).await;
    let world = &mut activated.world;
    let (books, relay) = (Arc::new(Books::default()), world.relay);
    let over = Arc::new(AtomicBool::new(false));
    let load = {
        let (books, over) = (Arc::clone(&books), Arc::clone(&over));
        tokio::spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_micros(1_000_000 / RATE));
            let mut clients = tokio::task::JoinSet::new();
            for n in 0..MESSAGES {
                pace.tick().await;
                clients.spawn(hand_in(Arc::clone(&books), relay, n));
            }
            over.store(true, Ordering::Relaxed);
            clients.join_all().await;
        })
    };
    let mut down = Vec::new();
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let begin = Instant::now();
        assert!(world.daemon.terminate().await.success());
        world.daemon.start().await;
        down.push(begin.elapsed());
        assert!(!over.load(Ordering::Relaxed), "the load ended before");
    }
    tokio::time::timeout(Duration::from_secs(120), load)
        .await
        .expect("the load comes to its end")
        .unwrap();
    world.wait_empty_queue(Duration::from_secs(120)).await;
    let received = world.far.received_ids();
    let distinct: BTreeSet<&String> = received.iter().collect();
    eprintln!(
        "restarts took {down:?}: {books:?}, {} received, {} twice",
        distinct.len(),
        received.len() - distinct.len()
    );
    assert_eq!(books.refused.load(Ordering::Relaxed), 0, "refused");
    assert_eq!(books.cut.load(Ordering::Relaxed), 0, "cut off without 421");
    assert_eq!(books.acknowledged.load(Ordering::Relaxed), MESSAGES);
    assert_eq!(distinct.len(), MESSAGES, "acknowledged and lost");
}

impl std::fmt::Debug for Books {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = |which: &AtomicUsize| which.load(Ordering::Relaxed);
        write!(
            f,
            "{} acknowledged, {} refused, {} put off, {} cut",
            value(&self.acknowledged),
            value(&self.refused),
            value(&self.put_off),
            value(&self.cut)
        )
    }
}

/// A master key that the service manager brings is read from where it says, and never made.
#[tokio::test]
async fn the_master_key_as_a_credential() {
    let plan = Plan {
        top: "spool.master_key = \"credential:postern.master\"".to_owned(),
        ..Plan::default()
    };
    let mut world = World::new(&plan);
    let folder = world.daemon.dir().join("credentials");
    std::fs::create_dir(&folder).unwrap();
    world
        .daemon
        .env("CREDENTIALS_DIRECTORY", folder.to_str().unwrap());
    let error = world.daemon.try_start().await.unwrap_err();
    assert!(error.contains("78"), "{error}");
    let log = world.daemon.log();
    assert!(log.contains("credentials/postern.master with the"), "{log}");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    std::fs::write(folder.join("postern.master"), [7; 32]).unwrap();
    world.daemon.start().await;
    assert!(!world.daemon.data_dir().join("keys/master").exists());
    world.daemon.terminate().await;
    std::fs::write(folder.join("postern.master"), [8; 32]).unwrap();
    let error = world.daemon.try_start().await.unwrap_err();
    assert!(error.contains("78"), "another key: {error}");
}
