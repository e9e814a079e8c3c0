//! A full disk: 452 to new mail, and nothing that was accepted is harmed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use postern_lab::{Client, Reply, Stage};

use crate::world::{Plan, SENDER, SOON, World, queue_id};

const TO: &str = "p@clinic.example";
const LIMIT: Duration = Duration::from_secs(90);

/// A small file system of its own, unmounted at the end.
pub(crate) struct Tmpfs(PathBuf);

impl Tmpfs {
    pub(crate) fn mount(at: &Path, size: &str) -> Option<Tmpfs> {
        std::fs::create_dir_all(at).unwrap();
        let options = format!("size={size}");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "postern-test"])
            .arg(at)
            .output();
        status
            .is_ok_and(|output| output.status.success())
            .then(|| Tmpfs(at.to_owned()))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily, since the daemon may still be about to end.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// The limit that the operator sets.
#[tokio::test]
async fn the_spool_reaches_its_size() {
    let plan = Plan {
        top: "spool.max_size = \"256MiB\"".to_owned(),
        ..Plan::default()
    };
    fills_up_and_recovers(World::start(&plan).await).await;
}

/// The limit that the disk sets, which the journal meets as ENOSPC or sees coming.
#[tokio::test]
async fn the_disk_is_full() {
    let mut world = World::new(&Plan::default());
    let Some(_disk) = Tmpfs::mount(&world.daemon.data_dir(), "300m") else {
        // Without root there is no small disk; the limit that the operator sets is tested above.
        eprintln!("the_disk_is_full: no tmpfs could be mounted here (root is needed); not shown");
        return;
    };
    world.daemon.start().await;
    fills_up_and_recovers(world).await;
}

async fn fills_up_and_recovers(mut world: World) {
    world
        .far
        .change(|k| k.reply(Stage::Mail, "451 4.3.2 closed"));
    let mut accepted = Vec::new();
    let refusal = fill(&world, &mut accepted).await;
    assert_eq!(refusal.code, 452, "{refusal:?}");
    assert!(refusal.text().starts_with("4.3.1"), "{refusal:?}");
    assert!(accepted.len() >= 5, "only {} fitted", accepted.len());
    // It lives, it says what is there, and it can end and start again in this state.
    assert_eq!(world.queue().len(), accepted.len());
    world.daemon.kill9();
    world.daemon.start().await;
    let mut client = Client::connect(world.relay).await.unwrap();
    client.greet("mta.ward.example").await.unwrap();
    let again = client.submit(SENDER, &[TO], data(10_000)).await.unwrap();
    assert_eq!(again.code, 452, "{again:?}");
    drop(client);
    // There is room for what became of them all, and then for new mail.
    world.far.change(|k| k.clear());
    world.far.wait_count(accepted.len(), LIMIT).await;
    world.wait_empty_queue(SOON).await;
    let arrived = world.far.messages();
    for (n, _) in &accepted {
        let whole = arrived.iter().any(|m| m.data.ends_with(&data(*n)[..]));
        assert!(whole, "{n} did not arrive whole");
    }
    accepts_again(&world).await;
    assert_eq!(world.home.count(), 0);
}

/// Sends messages of 5 MiB until one is refused, and gives the refusal.
async fn fill(world: &World, accepted: &mut Vec<(usize, String)>) -> Reply {
    let mut client = Client::connect(world.relay).await.unwrap();
    client.greet("mta.ward.example").await.unwrap();
    for n in 0..200 {
        let reply = client.submit(SENDER, &[TO], data(n)).await.unwrap();
        if reply.code != 250 {
            return reply;
        }
        accepted.push((n, queue_id(&reply)));
    }
    panic!("200 messages of 5 MiB were accepted");
}

async fn accepts_again(world: &World) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let mut client = Client::connect(world.relay).await.unwrap();
        client.greet("mta.ward.example").await.unwrap();
        let reply = client.submit(SENDER, &[TO], data(20_000)).await.unwrap();
        if reply.code == 250 {
            return;
        }
        assert_eq!(reply.code, 452, "{reply:?}");
        assert!(
            Instant::now() < deadline,
            "nothing is accepted though the spool is empty\n{}",
            world.daemon.log()
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// 5 MiB that belong to `n`.
fn data(n: usize) -> Vec<u8> {
    let head = format!("From: {SENDER}\r\nTo: {TO}\r\nSubject: {n}\r\nX-Lab-Id: {n}\r\n\r\n");
    let line = format!("{n:08} {}\r\n", "0123456789".repeat(7));
    [head, line.repeat((5 << 20) / line.len())]
        .concat()
        .into_bytes()
}
