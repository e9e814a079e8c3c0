//! Mixed mail for a long time, with a kill -9 in every minute: `--soak MINUTES`.
//!
//! Source and sink are tasks of this process and count every message by its number: what the
//! server said 250 to must have been delivered, be in the queue or have been reported to the
//! sender. Memory and disk are looked at each second and written to a file, which
//! benches/relay/plot.py draws.

use std::collections::HashSet;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use postern_lab::{Ca, Daemon};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::measure::{disk, resident};
use crate::message::{self, SIZES, SOAK_DEFERRED};
use crate::options::{Options, Setup};
use crate::postern::{Setting, route, set_up};
use crate::round::machine;
use crate::sink;
use crate::source::Session;

/// Connections of the source.
const CONNECTIONS: u64 = 20;
/// Between two kills.
const MINUTE: Duration = Duration::from_secs(60);
/// How long the end is waited for while nothing comes any more.
const PATIENCE: Duration = Duration::from_secs(180);
/// Seconds at the beginning, left out, and after it and at the end, compared.
const WINDOW: usize = 300;
const MIB: f64 = 1024.0 * 1024.0;

/// What tasks share.
struct Shared {
    listen: SocketAddr,
    texts: Vec<Vec<u8>>,
    next: AtomicU64,
    /// Messages that got their 250, and those that got no answer.
    books: Mutex<(Vec<u64>, Vec<u64>)>,
    refused: AtomicU64,
    /// The server's process; 0 while there is none.
    pid: AtomicU32,
    over: AtomicBool,
    spool: PathBuf,
    audit: PathBuf,
    sink: Arc<sink::Shared>,
}

/// Runs it and prints what came of it.
pub(crate) fn run(options: &Options, minutes: u64) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be built");
    runtime.block_on(soak(options, minutes));
}

async fn soak(options: &Options, minutes: u64) {
    println!(
        "{}; {} messages a second for {minutes} minutes, {SOAK_DEFERRED} % deferred once, 0.1 % refused; of 1,000: {}",
        machine(),
        options.rate,
        SIZES
            .map(|(size, share)| format!("{share} of {} KiB", size >> 10))
            .join(", ")
    );
    let (mut daemon, shared) = start(options).await;
    let samples = tokio::spawn(watch(Arc::clone(&shared), options.csv.clone()));
    let mut sources = Vec::new();
    for _ in 0..CONNECTIONS {
        let every = Duration::from_secs(1) * CONNECTIONS as u32 / options.rate as u32;
        sources.push(tokio::spawn(source(Arc::clone(&shared), every)));
    }
    let mut minute = interval(MINUTE);
    let mut starts = Vec::new();
    minute.tick().await;
    for _ in 1..minutes {
        minute.tick().await;
        starts.push(kill(&mut daemon, &shared).await);
    }
    minute.tick().await;
    shared.over.store(true, Relaxed);
    for source in sources {
        source.await.expect("a source's task ends well");
    }
    let open = settle(&daemon, &shared).await;
    shared.pid.store(0, Relaxed);
    let samples = samples.await.expect("the watcher ends well");
    starts.sort_by(f64::total_cmp);
    println!(
        "{} kills; {:.1} s until ready again in the middle, {:.1} s at most",
        starts.len(),
        starts.get(starts.len() / 2).unwrap_or(&0.0),
        starts.last().unwrap_or(&0.0)
    );
    tell(&shared, &open);
    compare(&samples);
    println!("each second: {}", options.csv.display());
}

async fn start(options: &Options) -> (Daemon, Arc<Shared>) {
    let ca = Ca::new();
    let listen = (Ipv4Addr::LOCALHOST, postern_lab::free_port()).into();
    let far = (Ipv4Addr::LOCALHOST, postern_lab::free_port()).into();
    let setting = Setting {
        listen,
        tls_in: false,
        methods: "\"tls\"",
        delivery: "retry = [\"10s\", \"20s\", \"40s\", \"1m\"]".to_owned(),
        rest: route("*", far),
    };
    let mut daemon = set_up(&options.postern(), &ca, &setting);
    let identity = ca.issue(&[crate::stream::NAME]).write(daemon.dir(), "sink");
    let sink = Arc::new(sink::Shared::new(&Setup {
        bind: far,
        certificate: Some(identity.certificate),
        key: Some(identity.private_key),
        delay: 0,
        deferred: 0,
        recipients: 1,
        soak: true,
    }));
    tokio::spawn(sink::listen(Arc::clone(&sink)));
    daemon.ready_limit(Duration::from_secs(120));
    daemon.start().await;
    let shared = Shared {
        listen,
        texts: SIZES.iter().map(|(size, _)| message::text(*size)).collect(),
        next: AtomicU64::new(0),
        books: Mutex::default(),
        refused: AtomicU64::new(0),
        pid: AtomicU32::new(daemon.pid().expect("the daemon is running")),
        over: AtomicBool::new(false),
        spool: daemon.data_dir().join("spool"),
        audit: daemon.data_dir().join("audit"),
        sink,
    };
    (daemon, Arc::new(shared))
}

/// Kills the server and starts it again; gives the seconds until it is ready.
async fn kill(daemon: &mut Daemon, shared: &Shared) -> f64 {
    shared.pid.store(0, Relaxed);
    daemon.kill9();
    let begun = Instant::now();
    daemon.start().await;
    shared.pid.store(daemon.pid().unwrap_or_default(), Relaxed);
    begun.elapsed().as_secs_f64()
}

/// Sends a message at each tick, over one connection for as long as it holds.
async fn source(shared: Arc<Shared>, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut session = None;
    while !shared.over.load(Relaxed) {
        ticks.tick().await;
        if session.is_none() {
            session = Session::open(shared.listen, None).await.ok();
        }
        let Some(open) = &mut session else {
            continue;
        };
        let id = shared.next.fetch_add(1, Relaxed);
        let address = message::recipient(id, 0, &message::domain(message::DOMAIN, id % 50));
        let text = &shared.texts[message::size_of(id)];
        match open.send(std::iter::once(address), text, false).await {
            Ok(true) => shared.note(|(accepted, _)| accepted.push(id)),
            Ok(false) => drop(shared.refused.fetch_add(1, Relaxed)),
            Err(_) => {
                shared.note(|(_, unsure)| unsure.push(id));
                session = None;
            }
        }
    }
}

impl Shared {
    fn note<T>(&self, with: impl FnOnce(&mut (Vec<u64>, Vec<u64>)) -> T) -> T {
        with(&mut self.books.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The accepted messages that were neither delivered nor reported.
    fn missing(&self) -> Vec<u64> {
        let accepted = self.note(|(accepted, _)| accepted.clone());
        let count = self.sink.count();
        let is_missing = |id: &u64| !count.seen.contains(id) && !count.told.contains(id);
        accepted.into_iter().filter(is_missing).collect()
    }
}

/// What was seen in one second.
struct Sample {
    memory: u64,
    spool: u64,
}

/// Looks each second until all is over; writes each look down.
async fn watch(shared: Arc<Shared>, csv: PathBuf) -> Vec<Sample> {
    // Cargo's own folder need not be this one.
    let folder = csv.parent().map_or(Ok(()), std::fs::create_dir_all);
    let file = folder.and_then(|()| std::fs::File::create(&csv));
    let mut file = file.unwrap_or_else(|error| panic!("{}: {error}", csv.display()));
    writeln!(file, "second,resident,spool,audit,accepted,delivered").expect("the disk has room");
    let mut samples = Vec::new();
    let mut ticks = interval(Duration::from_secs(1));
    for second in 0_u64.. {
        ticks.tick().await;
        let pid = shared.pid.load(Relaxed);
        if pid == 0 && shared.over.load(Relaxed) {
            break;
        }
        let memory = if pid == 0 { 0 } else { resident(pid).0 };
        let (spool, audit) = (disk(&shared.spool), disk(&shared.audit));
        let accepted = shared.note(|(accepted, _)| accepted.len());
        let delivered = shared.sink.count().taken.copies;
        writeln!(
            file,
            "{second},{memory},{spool},{audit},{accepted},{delivered}"
        )
        .expect("the disk has room");
        samples.push(Sample { memory, spool });
    }
    samples
}

/// Waits until nothing is missing or nothing more comes; gives what is in the queue.
async fn settle(daemon: &Daemon, shared: &Shared) -> HashSet<u64> {
    let (mut least, mut since) = (usize::MAX, Instant::now());
    loop {
        let missing = shared.missing().len();
        if missing < least {
            (least, since) = (missing, Instant::now());
        }
        if missing == 0 || since.elapsed() > PATIENCE {
            break;
        }
        sleep(Duration::from_millis(500)).await;
    }
    let listed = daemon.run_ok(&["queue", "list", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("the list is JSON");
    let messages = listed.as_array().into_iter().flatten();
    let recipients = messages.flat_map(|message| message["recipients"].as_array());
    let addresses = recipients.flatten().filter_map(|r| r["address"].as_str());
    let numbers = addresses.filter_map(|a| message::numbers(format!("<{a}").as_bytes()));
    numbers.map(|(id, _)| id).collect()
}

/// Says whether the books balance.
fn tell(shared: &Shared, open: &HashSet<u64>) {
    let (accepted, unsure) = shared.note(|books| books.clone());
    let missing = shared.missing();
    let lost: Vec<&u64> = missing.iter().filter(|id| !open.contains(id)).collect();
    let count = shared.sink.count();
    let delivered = accepted.iter().filter(|id| count.seen.contains(id)).count();
    let told = accepted
        .iter()
        .filter(|id| !count.seen.contains(id) && count.told.contains(id))
        .count();
    let both = accepted
        .iter()
        .filter(|id| count.seen.contains(id) && count.told.contains(id))
        .count();
    let unsure_seen = unsure.iter().filter(|id| count.seen.contains(id)).count();
    println!(
        "acknowledged {} = delivered {delivered} + open {} + told {told} + lost {}",
        accepted.len(),
        missing.len() - lost.len(),
        lost.len()
    );
    println!(
        "delivered twice {}; delivered and told {both}; cut short {}; no answer {}, of which \
         delivered {unsure_seen}; refused {}",
        count.taken.again,
        count.short,
        unsure.len(),
        shared.refused.load(Relaxed)
    );
    if !lost.is_empty() {
        println!("LOST: {:?}", &lost[..lost.len().min(20)]);
    }
}

/// Says whether memory and disk are flat: five minutes early and five late.
fn compare(samples: &[Sample]) {
    let part = |from: usize, of: fn(&Sample) -> u64| {
        let values: Vec<u64> = samples.iter().skip(from).take(WINDOW).map(of).collect();
        let values: Vec<u64> = values.into_iter().filter(|v| *v > 0).collect();
        let peak = values.iter().max().copied().unwrap_or_default() as f64 / MIB;
        (
            values.iter().sum::<u64>() as f64 / values.len().max(1) as f64 / MIB,
            peak,
        )
    };
    let last = samples.len().saturating_sub(WINDOW);
    for (name, of) in [
        ("memory", (|s| s.memory) as fn(&Sample) -> u64),
        ("spool", |s| s.spool),
    ] {
        let (early, late) = (part(WINDOW.min(last), of), part(last, of));
        println!(
            "{name}, MiB: {:.0} ({:.0} at most) from minute 5 to 10, {:.0} ({:.0} at most) in the last 5",
            early.0, early.1, late.0, late.1
        );
    }
}
