//! The spool in an operator's hand: an export under load, an import on another host, a check, a
//! new master key; and what is said to an operator who gets it wrong.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postern_lab::{Client, Stage};
use serde_json::Value;

use crate::world::{Plan, SENDER, SOON, World, letter, queue_id, wait};

const TO: &str = "p@clinic.example";
const ALSO: &str = "q@clinic.example";
const LATER: &str = "r@ward.example";
/// Clients of the load.
const CLIENTS: usize = 3;
/// Messages acknowledged before the export begins, and while it runs and after.
const BEFORE: usize = 240;

fn patient() -> Plan {
    Plan {
        retry: r#"["1h"]"#,
        expire: "1d",
        delay_notice: "1d",
        ..Plan::default()
    }
}

/// A daemon whose mail waits.
fn close(world: &World) {
    for far in [&world.far, &world.home] {
        far.change(|k| k.reply(Stage::Mail, "451 4.3.2 closed"));
    }
}

fn open(world: &World) {
    for far in [&world.far, &world.home] {
        far.change(|k| k.clear());
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The octets of the message `n`; now and then one that is stored in parts.
fn data(n: usize) -> Vec<u8> {
    let lines = if n % 40 == 7 { 40_000 } else { n % 90 };
    let body: Vec<u8> = (0..lines)
        .flat_map(|line| format!("{n} {line} \u{e9} the quick brown fox jumps\r\n").into_bytes())
        .collect();
    let id = format!("X-Lab-Id: {n}\r\n").into_bytes();
    [id, letter(TO, "kept", body)].concat()
}

/// What has been acknowledged: queue id → number.
type Books = Arc<Mutex<BTreeMap<String, usize>>>;

/// Submits until told to stop.
async fn load(relay: std::net::SocketAddr, client: usize, books: Books, stop: Arc<AtomicBool>) {
    let mut session = Client::connect(relay).await.unwrap();
    session.greet("mta.ward.example").await.unwrap();
    let mut n = client;
    while !stop.load(Ordering::Relaxed) {
        let to: &[&str] = match n % 3 {
            0 => &[TO, ALSO],
            1 => &[TO],
            _ => &[TO, LATER],
        };
        let reply = session.submit(SENDER, to, data(n)).await.unwrap();
        books.lock().unwrap().insert(queue_id(&reply), n);
        n += CLIENTS;
    }
    session.quit().await.unwrap();
}

/// The queue by id; an id that is there twice is an error.
fn queue(world: &World) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for message in world.queue() {
        let id = message["id"].as_str().unwrap().to_owned();
        assert!(all.insert(id, message).is_none(), "twice in the queue");
    }
    all
}

/// Another host with the same key.
fn with_key_of(from: &World, to: &World) {
    let keys = to.daemon.data_dir().join("keys");
    std::fs::create_dir_all(&keys).unwrap();
    let key = keys.join("master");
    std::fs::copy(from.daemon.data_dir().join("keys/master"), &key).unwrap();
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
}

/// What got 250 before the export began, as queue ids and numbers.
struct Exported {
    world: World,
    file: PathBuf,
    before: BTreeMap<String, usize>,
    held: Vec<String>,
    queue: BTreeMap<String, Value>,
}

/// A daemon under a steady load, some of its messages held, and an export of it while it runs.
async fn export_under_load() -> Exported {
    let world = World::start(&patient()).await;
    close(&world);
    let (books, stop) = (Books::default(), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| tokio::spawn(load(world.relay, n, Arc::clone(&books), Arc::clone(&stop))))
        .collect();
    wait(SOON, "messages", || {
        books.lock().unwrap().len() >= BEFORE / 2
    })
    .await;
    let held: Vec<String> = books.lock().unwrap().keys().take(12).cloned().collect();
    for (n, id) in held.iter().enumerate() {
        // One that is being tried right now is waited for.
        let until: &[&str] = if n % 2 == 0 { &[] } else { &["--until", "20h"] };
        world
            .daemon
            .run_ok(&[&["queue", "hold", id], until].concat());
    }
    wait(SOON, "messages", || books.lock().unwrap().len() >= BEFORE).await;
    let before = books.lock().unwrap().clone();
    let file = world.daemon.dir().join("backup");
    let counts = world.json(&["spool", "export", path(&file), "--json"]);
    let after = books.lock().unwrap().len();
    eprintln!(
        "{} before the export, {after} at its end: {counts}",
        before.len()
    );
    assert!(after > before.len(), "the load stood still");
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(counts["messages"].as_u64().unwrap() >= before.len() as u64);
    assert_eq!(counts["damaged"], serde_json::json!([]));
    let queue = queue(&world);
    Exported {
        world,
        file,
        before,
        held,
        queue,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_under_load_is_the_queue_of_another_host() {
    let mut from = export_under_load().await;
    assert!(from.world.daemon.terminate().await.success());
    let mut to = World::new(&patient());
    close(&to);
    with_key_of(&from.world, &to);
    let listed = to
        .daemon
        .run_ok(&["spool", "import", path(&from.file), "--dry-run"]);
    assert!(from.before.keys().all(|id| listed.contains(id.as_str())));
    assert!(!to.daemon.data_dir().join("spool").exists(), "a dry run");
    let first = to.json(&["spool", "import", path(&from.file), "--json"]);
    assert_eq!(
        (&first["complete"], &first["already"]),
        (&true.into(), &0.into())
    );
    // Twice is harmless.
    let again = to.json(&["spool", "import", path(&from.file), "--json"]);
    assert_eq!(
        (&again["already"], &again["imported"]),
        (&first["imported"], &0.into())
    );
    to.daemon.run_ok(&["spool", "check"]);
    to.daemon.start().await;
    let queue = queue(&to);
    for id in from.before.keys() {
        let there = queue.get(id).unwrap_or_else(|| panic!("{id} is not there"));
        let was = &from.queue[id];
        let untouched = ["id", "sender", "size", "received_at"];
        assert!(
            untouched.iter().all(|key| there[key] == was[key]),
            "{there} {was}"
        );
        let recipients = there["recipients"].as_array().unwrap();
        assert_eq!(
            recipients.len(),
            was["recipients"].as_array().unwrap().len()
        );
        let state = if from.held.contains(id) {
            "held"
        } else {
            "queued"
        };
        assert!(recipients.iter().all(|r| r["state"] == state), "{there}");
    }
    for id in &from.held {
        assert_eq!(queue[id]["recipients"], from.queue[id]["recipients"]);
    }
    // Then the far side is up.
    open(&to);
    to.daemon.run_ok(&["queue", "release", "--all"]);
    to.daemon.run_ok(&["queue", "retry", "--all"]);
    to.wait_empty_queue(Duration::from_secs(120)).await;
    let mut arrived: BTreeMap<usize, Vec<Vec<u8>>> = BTreeMap::new();
    for message in to.far.messages() {
        let n = message.header("X-Lab-Id").unwrap().parse().unwrap();
        arrived.entry(n).or_default().push(message.data.to_vec());
    }
    assert_eq!(arrived.len(), queue.len());
    for n in from.before.values() {
        let [copy] = &arrived[n][..] else {
            panic!("{n} came {} times", arrived[n].len());
        };
        assert!(copy.ends_with(&data(*n)), "{n} is not as it was");
    }
    let both = queue.values().filter(|m| {
        m["recipients"]
            .as_array()
            .unwrap()
            .iter()
            .any(|r| r["address"] == LATER)
    });
    assert_eq!(to.home.count(), both.count());
}

/// Another host with a key of its own, mail of its own, and a spool that nobody has open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_spool_moves_to_a_host_with_another_key() {
    let mut from = World::start(&patient()).await;
    close(&from);
    let mut ids = vec![
        from.send(&[TO], data(7)).await,
        from.send(&[TO], data(8)).await,
    ];
    from.daemon.kill9();
    let file = from.daemon.dir().join("backup");
    let said = from.daemon.run_ok(&["spool", "export", path(&file)]);
    assert!(
        said.starts_with("exported: 2 messages, 2 open recipients"),
        "{said}"
    );
    // Through a pipe it is the same, but for its key.
    let piped = from.daemon.run(&["spool", "export", "-"]);
    assert!(piped.status.success());
    assert_eq!(
        piped.stdout.len() as u64,
        std::fs::metadata(&file).unwrap().len()
    );
    let mut to = World::start(&patient()).await;
    close(&to);
    ids.push(to.send(&[TO], data(9)).await);
    assert!(to.daemon.terminate().await.success());
    let key = from.daemon.data_dir().join("keys/master");
    let said = to
        .daemon
        .run_ok(&["spool", "import", path(&file), "--key", path(&key)]);
    assert_eq!(
        said,
        "imported: 2 messages, 2 open recipients; already there: 0; ended since: 0\n"
    );
    to.daemon.run_ok(&["spool", "rotate-key"]);
    to.daemon.run_ok(&["spool", "check", "--repair"]);
    to.daemon.start().await;
    let there: Vec<String> = queue(&to).into_keys().collect();
    ids.sort();
    assert_eq!(there, ids);
    open(&to);
    to.daemon.run_ok(&["queue", "retry", "--all"]);
    to.wait_empty_queue(SOON).await;
    let mut bodies: Vec<Vec<u8>> = to
        .far
        .messages()
        .into_iter()
        .map(|m| m.data.to_vec())
        .collect();
    for n in [7, 8, 9] {
        let at = bodies.iter().position(|b| b.ends_with(&data(n)));
        bodies.remove(at.unwrap_or_else(|| panic!("{n} did not arrive")));
    }
    assert_eq!(bodies.len(), 0);
}

/// An export that comes back to the host that wrote it, where some of it has been delivered since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_ended_since_is_not_opened_again() {
    let mut world = World::start(&patient()).await;
    close(&world);
    let one = world.send(&[TO], data(1)).await;
    let two = world.send(&[TO, LATER], data(2)).await;
    let file = world.daemon.dir().join("backup");
    world.daemon.run_ok(&["spool", "export", path(&file)]);
    world.far.change(|k| k.clear());
    world.daemon.run_ok(&["queue", "retry", "--all"]);
    world.wait_audit(&one, TO, "delivered").await;
    world.wait_audit(&two, TO, "delivered").await;
    world.daemon.kill9();
    std::fs::remove_dir_all(world.daemon.data_dir().join("spool")).unwrap();
    let said = world
        .daemon
        .run_ok(&["spool", "import", path(&file), "--dry-run"]);
    assert!(said.contains(&format!("{one}  has ended since")), "{said}");
    let said = world.daemon.run_ok(&["spool", "import", path(&file)]);
    assert_eq!(
        said,
        "imported: 1 messages, 1 open recipients; already there: 0; ended since: 1\n"
    );
    open(&world);
    world.daemon.start().await;
    world.daemon.run_ok(&["queue", "retry", "--all"]);
    world.wait_empty_queue(SOON).await;
    assert_eq!((world.far.count(), world.home.count()), (2, 1));
}

/// Its report lay in the spool that is gone, so nobody would ever hear of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_bounced_since_and_was_not_told_is_opened_again() {
    let mut world = World::start(&patient()).await;
    close(&world);
    let told = world.send(&[LATER], data(1)).await;
    let untold = world.send(&[TO], data(2)).await;
    let file = world.daemon.dir().join("backup");
    world.daemon.run_ok(&["spool", "export", path(&file)]);
    let refused = "550 5.1.1 nobody of that name";
    world.home.change(|k| k.clear().rcpt_reply("r@*", refused));
    world.daemon.run_ok(&["queue", "retry", &told]);
    world.wait_audit(&told, LATER, "bounced").await;
    world.home.wait_messages(1, SOON).await;
    wait(SOON, "the first report delivered", || {
        queue(&world).len() == 1
    })
    .await;
    close(&world);
    world.far.change(|k| k.clear().rcpt_reply("*", refused));
    world.daemon.run_ok(&["queue", "retry", &untold]);
    world.wait_audit(&untold, TO, "bounced").await;
    world.daemon.kill9();
    std::fs::remove_dir_all(world.daemon.data_dir().join("spool")).unwrap();
    for dry in [&["--dry-run"][..], &[]] {
        let args = [&["spool", "import", path(&file)], dry].concat();
        let said = world.daemon.run_ok(&args);
        assert!(
            said.contains("1 open recipients; already there: 0; ended since: 1\n"),
            "{said}"
        );
    }
    world.home.change(|k| k.clear());
    world.daemon.start().await;
    world.daemon.run_ok(&["queue", "retry", "--all"]);
    world.wait_empty_queue(SOON).await;
    assert_eq!((world.far.count(), world.home.count()), (0, 2));
}

/// What a damaged spool is told of, and that a repair leaves one that starts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_names_what_is_lost_and_a_repair_passes_over_it() {
    let mut world = World::start(&patient()).await;
    close(&world);
    let lost = world.send(&[TO], data(5)).await;
    let kept = world.send(&[TO], data(6)).await;
    assert!(world.daemon.terminate().await.success());
    assert!(world.daemon.run_ok(&["spool", "check"]).ends_with("well\n"));
    // No room for the copy of the index says nothing about the index.
    world.daemon.env("TMPDIR", "/nowhere");
    let output = world.daemon.run(&["spool", "check"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.contains("index: unknown (it can't be copied to /nowhere"),
        "{said}"
    );
    assert!(!said.contains("DAMAGED"), "{said}");
    world.daemon.env("TMPDIR", "/tmp");
    let segment = world.daemon.data_dir().join("spool/seg/00000001");
    let mut octets = std::fs::read(&segment).unwrap();
    let at = octets.windows(4).position(|w| w == b"PstJ").unwrap();
    let next = octets[at + 4..]
        .windows(4)
        .position(|w| w == b"PstJ")
        .unwrap();
    octets[at + 4 + next + 100] ^= 1;
    std::fs::write(&segment, octets).unwrap();
    let output = world.daemon.run(&["spool", "check"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = format!("lost: {lost} can't be read at all; to clinic.example; accepted ");
    assert!(said.contains(&line), "{said}");
    assert!(
        said.contains("DAMAGED: `postern spool check --repair` would"),
        "{said}"
    );
    assert!(!said.contains(TO), "an address in {said}");
    let output = world.daemon.run(&["spool", "check", "--json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["unreadable"][0]["id"], lost.as_str());
    assert_eq!(json["damaged"][0]["segment"], 1);
    let output = world.daemon.run(&["spool", "check", "--repair"]);
    assert_eq!(
        output.status.code(),
        Some(1),
        "something is lost: {output:?}"
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains("repaired: index made anew"));
    world.daemon.start().await;
    assert_eq!(queue(&world).into_keys().collect::<Vec<_>>(), [kept]);
}

/// Exit code and stderr of a command, with the test's folders made plain.
fn refused(world: &World, args: &[&str]) -> (Option<i32>, String) {
    let output = world.daemon.run(args);
    let text = String::from_utf8_lossy(&output.stderr);
    (
        output.status.code(),
        text.replace(path(world.daemon.dir()), "DIR"),
    )
}

/// Each error that an operator meets, word for word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_is_told() {
    let mut world = World::start(&patient()).await;
    close(&world);
    world.send(&[TO], data(3)).await;
    let dir = world.daemon.dir().to_owned();
    let (backup, text, none) = (dir.join("backup"), dir.join("text"), dir.join("none"));
    std::fs::write(&text, "no export\n").unwrap();
    world.daemon.run_ok(&["spool", "export", path(&backup)]);
    let cut = dir.join("cut");
    let octets = std::fs::read(&backup).unwrap();
    std::fs::write(&cut, &octets[..octets.len() - 5]).unwrap();
    let said = |args: &[&str], code: i32, expected: &str| {
        let (status, text) = refused(&world, args);
        assert_eq!(
            (status, text.trim_end()),
            (Some(code), expected),
            "{args:?}"
        );
    };
    let running = "postern: the spool DIR/data/spool is in use by a running daemon: stop it first (systemctl stop postern)";
    said(&["spool", "check"], 1, running);
    said(&["spool", "check", "--repair"], 1, running);
    said(&["spool", "rotate-key"], 1, running);
    said(&["spool", "import", path(&backup)], 1, running);
    said(
        &["spool", "export", path(&backup)],
        1,
        "postern: DIR/backup is there already: name another file, or remove that one",
    );
    said(
        &["spool", "export", path(&none.join("backup"))],
        1,
        "postern: DIR/none/backup.partial: No such file or directory (os error 2)",
    );
    said(
        &["spool", "import", path(&none)],
        1,
        "postern: DIR/none: No such file or directory (os error 2)",
    );
    said(
        &["spool", "import", path(&text)],
        1,
        "postern: DIR/text is no export of a spool (`postern spool export` writes them)",
    );
    std::fs::write(dir.join("other"), [3; 32]).unwrap();
    said(
        &[
            "spool",
            "import",
            path(&backup),
            "--key",
            path(&dir.join("other")),
        ],
        1,
        "postern: the master key DIR/other does not open DIR/backup: give the key of the host that wrote it with --key (after `spool rotate-key` there, it may be the older one)",
    );
    assert!(world.daemon.terminate().await.success());
    let (status, text) = refused(&world, &["spool", "import", path(&cut)]);
    assert_eq!(status, Some(1));
    assert!(
        text.contains("the export has no end: it was cut short"),
        "{text}"
    );
    said_of_keys(&world);
}

/// The same with the daemon stopped and its key gone, or another.
fn said_of_keys(world: &World) {
    let key = world.daemon.data_dir().join("keys/master");
    let kept = std::fs::read(&key).unwrap();
    std::fs::write(&key, [9; 32]).unwrap();
    for command in ["check", "rotate-key"] {
        let (status, text) = refused(world, &["spool", command]);
        assert_eq!(status, Some(78), "{text}");
        let wrong = "postern: the master key DIR/data/keys/master does not open this spool: put back the key it was written with";
        assert!(text.starts_with(wrong), "{text}");
    }
    std::fs::remove_file(&key).unwrap();
    let (status, text) = refused(world, &["spool", "check"]);
    assert_eq!(status, Some(78), "{text}");
    assert!(text.contains("put the copy of the key back") && text.contains("spool import"));
    let (status, text) = refused(
        world,
        &["spool", "import", path(&world.daemon.dir().join("backup"))],
    );
    assert_eq!(
        (status, text.as_str()),
        (
            Some(1),
            "postern: the master key DIR/data/keys/master is missing: put there, or give with --key, the key of the host that wrote the export\n"
        )
    );
    std::fs::write(&key, kept).unwrap();
    let nobody = World::new(&patient());
    let (status, text) = refused(&nobody, &["spool", "check"]);
    assert_eq!(
        (status, text.as_str()),
        (
            Some(1),
            "postern: there is no spool in DIR/data/spool yet: `postern serve` makes one at its first start (is [spool] or data_dir right?)\n"
        )
    );
}

/// A file system that is full leaves no half export, and the daemon goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_to_a_full_disk_leaves_nothing() {
    let world = World::start(&patient()).await;
    close(&world);
    world.send(&[TO], data(7)).await;
    let small = world.daemon.dir().join("small");
    std::fs::create_dir(&small).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=512k", "postern-test"])
        .arg(&small)
        .output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("an_export_to_a_full_disk: no tmpfs could be mounted here; not shown");
        return;
    }
    let (status, text) = refused(&world, &["spool", "export", path(&small.join("backup"))]);
    let left = std::fs::read_dir(&small).unwrap().count();
    let _ = Command::new("umount").arg("-l").arg(&small).status();
    assert_eq!(
        (status, text.as_str()),
        (
            Some(1),
            "postern: the export can't be written: No space left on device (os error 28)\n"
        )
    );
    assert_eq!(left, 0);
    // And the next one may begin at once.
    world
        .daemon
        .run_ok(&["spool", "export", path(&world.daemon.dir().join("backup"))]);
}

/// Who asks and reads nothing, or goes away, holds up neither mail nor the next who asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_goes_away_ends_its_export() {
    use std::io::{Read, Write};
    let world = World::start(&patient()).await;
    close(&world);
    for _ in 0..4 {
        world.send(&[TO], data(7)).await;
    }
    let socket = world.daemon.data_dir().join("control.sock");
    let mut reader = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    reader.write_all(b"{\"ask\":\"spool-export\"}\n").unwrap();
    let mut some = [0; 1000];
    reader.read_exact(&mut some).unwrap();
    assert!(some.starts_with(b"{\"answer\":\"export\"}\n"));
    // It reads no more: mail is taken in, the rest answers, a second export has to wait.
    world.send(&[TO], data(1)).await;
    let file = world.daemon.dir().join("backup");
    let (status, text) = refused(&world, &["spool", "export", path(&file)]);
    assert_eq!(
        (status, text.as_str()),
        (
            Some(1),
            "postern: another export is running: wait for its end\n"
        )
    );
    drop(reader);
    wait(SOON, "the next export", || {
        world
            .daemon
            .run(&["spool", "export", path(&file)])
            .status
            .success()
    })
    .await;
}
