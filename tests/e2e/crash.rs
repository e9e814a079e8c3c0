//! kill -9 at random moments under load: what got 250 arrives whole, whatever happens.
//!
//! Each round is a daemon of its own with a load of clients, half under TLS with a password, half
//! on the relay listener in the clear. The daemon is killed when a random number of messages has
//! been acknowledged, and started again. A message without a 250 is given up by its client, so
//! that the books are plain: acknowledged ⊆ received, and what came twice is counted.
//!
//! `POSTERN_CRASH_ROUNDS` (2) and `POSTERN_CRASH_MESSAGES` (2000) make it longer or shorter.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use postern_lab::{Client, ClientTls, Received};

use crate::world::{ACCOUNT, PASSWORD, Plan, RELAY, SENDER, World};

const CLIENTS: usize = 16;
const KILLS: usize = 3;
/// For a round, however busy the machine is.
const LIMIT: Duration = Duration::from_secs(240);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_messages_survive_kill_9() {
    let (rounds, messages) = (
        number("POSTERN_CRASH_ROUNDS", 2),
        number("POSTERN_CRASH_MESSAGES", 2000),
    );
    for n in 1..=rounds {
        let start = Instant::now();
        let tally = round(messages).await;
        eprintln!(
            "round {n}: {tally} in {:.1} s",
            start.elapsed().as_secs_f64()
        );
        assert!(
            tally.lost.is_empty(),
            "acknowledged and lost: {:?}",
            tally.lost
        );
        assert!(
            tally.broken.is_empty(),
            "not as they were sent: {:?}",
            tally.broken
        );
    }
}

struct Tally {
    acknowledged: usize,
    received: usize,
    distinct: usize,
    kills: usize,
    lost: Vec<String>,
    broken: Vec<String>,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (duplicates, extra) = (
            self.received - self.distinct,
            self.distinct - (self.acknowledged - self.lost.len()),
        );
        write!(
            f,
            "{} kills, {} acknowledged, {} received, {duplicates} of them twice, {extra} never acknowledged, {} lost",
            self.kills,
            self.acknowledged,
            self.received,
            self.lost.len()
        )
    }
}

async fn round(messages: u64) -> Tally {
    let mut world = World::start(&Plan {
        delivery: "connections_per_site = 4",
        ..Plan::default()
    })
    .await;
    let load = Arc::new(Load {
        target: messages,
        ..Load::default()
    });
    let mut clients = Vec::new();
    for n in 0..CLIENTS {
        let addr = if n % 2 == 0 {
            world.submission
        } else {
            world.relay
        };
        let tls = (n % 2 == 0).then(|| world.client_tls());
        clients.push(tokio::spawn(load.clone().client(addr, tls)));
    }
    for at in kill_points(messages) {
        load.wait(at).await;
        world.daemon.kill9();
        world.daemon.start().await;
    }
    load.wait(messages).await;
    // Once more while much of it is still on its way out.
    world.daemon.kill9();
    world.daemon.start().await;
    for client in clients {
        client.await.unwrap();
    }
    settle(&world, &load).await
}

/// Waits until all acknowledged messages have arrived and the queue is empty, and counts.
async fn settle(world: &World, load: &Load) -> Tally {
    let acknowledged = load.acknowledged.lock().unwrap().clone();
    let deadline = Instant::now() + LIMIT;
    let missing = || {
        let received: BTreeSet<String> = world.far.received_ids().into_iter().collect();
        acknowledged
            .difference(&received)
            .cloned()
            .collect::<Vec<_>>()
    };
    while !(missing().is_empty() && world.queue().is_empty()) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let arrived = world.far.messages();
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for message in &arrived {
        *times
            .entry(message.header("X-Lab-Id").unwrap())
            .or_default() += 1;
    }
    let broken = arrived
        .iter()
        .filter(|m| !is_whole(m))
        .map(|m| m.header("X-Lab-Id").unwrap());
    assert_eq!(world.far.violations(), Vec::<String>::new());
    assert_eq!(
        world.home.count(),
        0,
        "nothing was reported as undeliverable"
    );
    Tally {
        acknowledged: acknowledged.len(),
        received: arrived.len(),
        distinct: times.len(),
        kills: KILLS + 1,
        lost: missing(),
        broken: broken.collect(),
    }
}

/// The clients' common book.
#[derive(Default)]
struct Load {
    target: u64,
    next: AtomicU64,
    acknowledged: Mutex<BTreeSet<String>>,
    changed: tokio::sync::Notify,
}

impl Load {
    fn count(&self) -> u64 {
        self.acknowledged.lock().unwrap().len() as u64
    }

    /// Waits until so many are acknowledged.
    async fn wait(&self, at: u64) {
        let all = async {
            loop {
                let change = self.changed.notified();
                if self.count() >= at {
                    return;
                }
                change.await;
            }
        };
        let done = tokio::time::timeout(LIMIT, all).await;
        assert!(
            done.is_ok(),
            "only {} of {} acknowledged",
            self.count(),
            self.target
        );
    }

    /// Submits until the target is reached, over as many connections as it takes.
    async fn client(self: Arc<Self>, addr: SocketAddr, tls: Option<ClientTls>) {
        while self.count() < self.target {
            if self.session(addr, tls.as_ref()).await.is_err() {
                // The daemon is down; it will be back in a moment.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    async fn session(&self, addr: SocketAddr, tls: Option<&ClientTls>) -> io::Result<()> {
        let mut client = Client::connect(addr).await?;
        client.greet("load.ward.example").await?;
        if let Some(tls) = tls {
            client.starttls(tls, RELAY).await?;
            client.line("EHLO load.ward.example").await?;
            client.auth_plain(ACCOUNT, PASSWORD).await?;
        }
        while self.count() < self.target {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            let reply = client
                .submit(SENDER, &["p@clinic.example"], message(n))
                .await?;
            if reply.code != 250 {
                return Err(io::Error::other(reply.text()));
            }
            self.acknowledged.lock().unwrap().insert(n.to_string());
            self.changed.notify_waiters();
        }
        Ok(())
    }
}

fn message(n: u64) -> Vec<u8> {
    let head =
        format!("From: {SENDER}\r\nTo: p@clinic.example\r\nSubject: load\r\nX-Lab-Id: {n}\r\n\r\n");
    [head.into_bytes(), body(n)].concat()
}

/// The body of message `n`, whose every line is its own: mostly 2 KiB, some 40 KiB, a few 1 MiB.
fn body(n: u64) -> Vec<u8> {
    let size = match n % 50 {
        0 => 1 << 20,
        k if k % 5 == 0 => 40 << 10,
        _ => 2 << 10,
    };
    let filler = "0123456789abcdefghijklmnopqrstuvwxyz".repeat(2);
    (0..size / 100)
        .flat_map(|line| format!("{n:012} {line:012} {filler}\r\n").into_bytes())
        .collect()
}

fn is_whole(message: &Received) -> bool {
    let n = message.header("X-Lab-Id").unwrap().parse().unwrap();
    message.body() == body(n)
}

/// Random counts below `messages`, in order.
fn kill_points(messages: u64) -> Vec<u64> {
    let mut points: Vec<u64> = (0..KILLS)
        .map(|k| RandomState::new().hash_one(k) % messages)
        .collect();
    points.sort_unstable();
    points
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}
