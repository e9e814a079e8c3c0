//! Each disk operation of a relay's life fails once, or for good: the books balance.
//!
//! A life is the rooms that do it, without sockets: messages of several sizes are
//! accepted, delivered, deferred and bounced over spool, queue, delivery and
//! outcome, with the audit behind them, all on the failing disk. The first life only
//! counts its disk operations, from the opening on. Then there is a life for each
//! operation and each kind of fault; at its end the process is gone (the folder as it
//! is then), and a later life on a sound disk brings everything to its end. Then:
//! acknowledged = delivered + told to the sender; what was refused is nowhere;
//! nobody got a message twice but by what was in flight at the end.
//!
//! CI tries some of them; `POSTERN_FAULTS=full` tries all.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod faults_support;
mod spool_support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use faults_support::{FarSide, Names, Taken, letter, number_of};
use postern::delivery::{Deliverer, Prefer};
use postern::outcome::audit::{self, AuditFilter, AuditLog};
use postern::outcome::{self, Outcome};
use postern::policy::{self, Policy};
use postern::queue::{self, Queue};
use postern::spool::{JournalStore, SpoolError, Store};
use postern::sys::{
    Clock, Disk, Fault, FaultyDisk, Operation, Planned, RealDisk, SystemClock, SystemEntropy,
};
use postern::types::{Domain, Mailbox, MethodsList, QueueId, State, Timestamp};
use spool_support::{copy, settings, ticket};
use tokio::sync::watch;

const SENDER: &str = "Ward@clinic.example";
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The machine's clock, so far ahead.
struct Ahead(Duration);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now() + self.0
    }
}

/// The rooms at work on one folder.
struct Life {
    store: Arc<JournalStore>,
    queue: queue::QueueHandle,
    stop: watch::Sender<bool>,
}

impl Life {
    /// `before` hears of what is open before the queue starts.
    async fn begin(
        folder: &Path,
        disk: Arc<dyn Disk>,
        ahead: Duration,
        far: &FarSide,
        open: &mut BTreeSet<(QueueId, String)>,
    ) -> Result<Self, String> {
        let clock: Arc<dyn Clock> = Arc::new(Ahead(ahead));
        let entropy = Arc::new(SystemEntropy::default());
        let about = outcome_settings(folder);
        let at = folder.to_owned();
        let (tick, about_audit) = (Arc::clone(&clock), about.clone());
        let opening = tokio::task::spawn_blocking(move || {
            let entropy = Arc::new(SystemEntropy::default());
            let audit = AuditLog::open(Arc::clone(&disk), tick.clone(), &*entropy, &about_audit);
            let audit = audit.map_err(|e| e.to_string())?;
            JournalStore::open(settings(&at), disk, tick, entropy, Box::new(audit))
                .map_err(|e| e.to_string())
        });
        let (store, fresh, _) = opening.await.unwrap()?;
        for stored in store
            .list(&Default::default(), None, usize::MAX)
            .await
            .unwrap()
        {
            let mailboxes = stored.message.envelope.recipients.iter();
            for (mailbox, status) in mailboxes.zip(&stored.recipients) {
                if status.state.is_open() {
                    open.insert((stored.message.id, mailbox.to_string()));
                }
            }
        }
        let (stop, shutdown) = watch::channel(false);
        let queue = Queue {
            settings: queue::Settings {
                delay_notice: Duration::MAX,
                ..queue::Settings::default()
            },
            store: store.clone(),
            fresh,
            deliver: Arc::new(deliverer(far)),
            outcome: Arc::new(Outcome::new(about, clock.clone(), entropy.clone())),
            clock,
            entropy,
            shutdown,
        };
        Ok(Self {
            store,
            queue: queue.start(),
            stop,
        })
    }

    /// Until nothing is due any more, or for so long.
    async fn settle_down(&self, now: &dyn Clock, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        loop {
            self.store.maintain().await;
            let all = self.store.list(&Default::default(), None, usize::MAX).await;
            let soon = now.now() + Duration::from_secs(1);
            let is_due = |when: Option<Timestamp>| when.is_none_or(|when| when < soon);
            let waits = all.as_ref().is_ok_and(|all| {
                let mut statuses = all.iter().flat_map(|stored| &stored.recipients);
                !statuses.any(|s| s.state == State::Queued && is_due(s.next_attempt))
            });
            if waits {
                return true;
            }
            if Instant::now() > end {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn end(self) {
        self.stop.send_replace(true);
        self.queue.join().await;
        self.store.close().await;
    }
}

fn outcome_settings(folder: &Path) -> outcome::Settings {
    outcome::Settings {
        hostname: Domain::parse("relay.clinic.example").unwrap(),
        postmaster: None,
        audit_folder: folder.join("audit"),
        audit_key: folder.join("keys/audit"),
        audit_keep: 400 * DAY,
        log_addresses: false,
        expire: 5 * DAY,
    }
}

fn deliverer(far: &FarSide) -> Deliverer {
    let mut policy = policy::Settings::default();
    policy.default.methods = MethodsList::parse(&["tls", "cleartext"]).unwrap();
    policy.dsn_cleartext = true;
    let settings = postern::delivery::Settings {
        hostname: Domain::parse("relay.clinic.example").unwrap(),
        port: 25,
        sources: vec![],
        prefer: Prefer::Ipv6,
        blocked: vec![],
        own_addresses: vec![],
        routes: vec![],
        roots: vec![],
    };
    let clock = Arc::new(SystemClock);
    let entropy = Arc::new(SystemEntropy::default());
    let policy = Arc::new(Policy::new(policy, "c0ffee".into()));
    let dialler = Arc::new(far.clone());
    Deliverer::new(
        settings,
        policy,
        Arc::new(Names(1)),
        dialler,
        clock,
        entropy,
    )
    .unwrap()
}

/// What a sender knows of one message.
struct Sent {
    number: usize,
    recipients: Vec<String>,
    answer: Result<QueueId, SpoolError>,
}

/// To whom and how large: delivered, in part, in many records, bounced.
const LETTERS: [(&[&str], usize); 5] = [
    (&["ann@a.example"], 300),
    (
        &["bob@a.example", "later@a.example", "bad@b.example"],
        4_000,
    ),
    (&["cyd@b.example", "dan@c.example"], 2_600_000),
    (&["bad@c.example"], 70_000),
    (&["eve@c.example"], 900),
];

async fn send(store: &JournalStore, number: usize, to: &[&str], octets: usize) -> Sent {
    let writing = async {
        let mut intake = store.intake()?;
        for piece in letter(number, octets).chunks(16 * 1024) {
            intake.write(Bytes::copy_from_slice(piece)).await?;
        }
        Ok(intake.commit(ticket(to)).await?.id)
    };
    Sent {
        number,
        recipients: to.iter().map(|to| (*to).to_owned()).collect(),
        answer: writing.await,
    }
}

/// A life on a disk that fails as planned, up to the moment it is cut off, into
/// `copied`.
async fn first_life(
    disk: &FaultyDisk,
    far: &FarSide,
    is_for_good: bool,
    copied: &Path,
) -> Vec<Sent> {
    let folder = tempfile::tempdir().unwrap();
    let mut sent = Vec::new();
    let mut open = BTreeSet::new();
    let ports: Arc<dyn Disk> = Arc::new(disk.clone());
    if let Ok(life) = Life::begin(folder.path(), ports, Duration::ZERO, far, &mut open).await {
        for (number, (to, octets)) in LETTERS.iter().enumerate() {
            sent.push(send(&life.store, number, to, *octets).await);
        }
        let patience = match is_for_good {
            true => Duration::from_millis(60),
            // A message that the store could not give is looked at again after 30 s.
            false => Duration::from_secs(45),
        };
        let is_calm = life.settle_down(&SystemClock, patience).await;
        assert!(is_calm || is_for_good, "one fault, and no rest after it");
        // And what comes after the fault, which may come only now.
        for number in LETTERS.len()..LETTERS.len() + 5 {
            let last = send(
                &life.store,
                number,
                &["fay@a.example", "bad@a.example"],
                500,
            )
            .await;
            let is_well = last.answer.is_ok();
            sent.push(last);
            if is_well || is_for_good {
                break;
            }
            life.store.maintain().await;
        }
        let is_well = sent.last().is_some_and(|sent| sent.answer.is_ok());
        assert!(is_well || is_for_good, "one fault, and no mail after it");
        life.settle_down(&SystemClock, patience).await;
        far.shut(true);
        copy(folder.path(), copied);
        disk.heal();
        life.end().await;
    } else {
        copy(folder.path(), copied);
    }
    far.shut(false);
    sent
}

/// The lives after it, on a sound disk, a day apart: what was in flight is put off
/// in the first of them. Gives what was open at the beginning.
async fn later_lives(copied: &Path, far: &FarSide) -> BTreeSet<(QueueId, String)> {
    let mut open = BTreeSet::new();
    far.relent();
    for day in 1..5 {
        let mut still_open = BTreeSet::new();
        let clock = Ahead(day * DAY);
        let life = Life::begin(copied, Arc::new(RealDisk), day * DAY, far, &mut still_open).await;
        let life = life.unwrap();
        let is_calm = life.settle_down(&clock, Duration::from_secs(20)).await;
        assert!(is_calm, "a later life finds no rest");
        let left = life.store.stats().await.unwrap().recipients;
        life.end().await;
        if day == 1 {
            open = still_open;
        }
        if left == 0 {
            return open;
        }
    }
    panic!("something is open for ever");
}

/// How often each recipient got each letter, and what the sender was told.
#[derive(Default)]
struct Books {
    delivered: BTreeMap<(usize, String), usize>,
    dsns: Vec<String>,
}

impl Books {
    /// Whether there is a DSN about this message and recipient.
    fn tells(&self, id: QueueId, recipient: &str) -> bool {
        let (id, recipient) = (
            id.to_string(),
            format!("Final-Recipient: rfc822; {recipient}"),
        );
        let mut dsns = self.dsns.iter();
        dsns.any(|dsn| dsn.contains(&id) && dsn.contains(&recipient))
    }
}

fn books(taken: &[Taken]) -> Books {
    let mut books = Books::default();
    for Taken { recipients, body } in taken {
        if let Some(number) = number_of(body) {
            let octets = LETTERS.get(number).map_or(500, |(_, octets)| *octets);
            assert!(
                *body == with_trace(body, &letter(number, octets)),
                "other octets"
            );
            for recipient in recipients {
                *books
                    .delivered
                    .entry((number, recipient.clone()))
                    .or_default() += 1;
            }
            continue;
        }
        assert_eq!(recipients, &[SENDER]);
        books.dsns.push(String::from_utf8_lossy(body).into_owned());
    }
    books
}

/// The letter as it must have come, whatever stands before it.
fn with_trace(body: &[u8], letter: &[u8]) -> Vec<u8> {
    let before = body.len().saturating_sub(letter.len());
    [&body[..before], letter].concat()
}

/// What does not balance.
fn audit_books(
    sent: &[Sent],
    before: &Books,
    after: &Books,
    open: &BTreeSet<(QueueId, String)>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for Sent {
        number,
        recipients,
        answer,
    } in sent
    {
        for recipient in recipients {
            let key = (*number, recipient.clone());
            let got = after.delivered.get(&key).copied().unwrap_or(0);
            let got_before = before.delivered.get(&key).copied().unwrap_or(0);
            let name = format!("letter {number} to {recipient}");
            match answer {
                Err(_) if got > 0 => wrong.push(format!("{name} was refused and went")),
                Err(_) => {}
                Ok(id) => {
                    let was_open = open.contains(&(*id, recipient.clone()));
                    let is_bad = recipient.starts_with("bad");
                    let is_told = after.tells(*id, recipient);
                    if is_bad != is_told || is_bad == (got > 0) {
                        wrong.push(format!("{name}: delivered {got} times, told: {is_told}"));
                    }
                    if got_before > 1 || (got > got_before && !was_open) {
                        wrong.push(format!("{name} went {got_before} times, then {got}"));
                    }
                }
            }
        }
    }
    let accepted = sent.iter().filter_map(|sent| sent.answer.as_ref().ok());
    let accepted: Vec<String> = accepted.map(ToString::to_string).collect();
    for dsn in &after.dsns {
        if !accepted.iter().any(|id| dsn.contains(id)) {
            wrong.push("a DSN about what was refused".to_owned());
        }
    }
    wrong
}

/// The audit names the end of everybody, and can be read whole.
fn check_audit(copied: &Path, sent: &[Sent]) -> Vec<String> {
    let mut ends = BTreeSet::new();
    for record in audit::read(&copied.join("audit"), &AuditFilter::default()).unwrap() {
        match record {
            Ok(record) => {
                ends.insert((
                    record.id.to_string(),
                    record.recipient,
                    record.state.to_string(),
                ));
            }
            Err(error) => return vec![error.to_string()],
        }
    }
    let mut wrong = Vec::new();
    for Sent {
        recipients, answer, ..
    } in sent
    {
        let Ok(id) = answer else { continue };
        for recipient in recipients {
            let state = match recipient.starts_with("bad") {
                true => State::Bounced,
                false => State::Delivered,
            };
            let address = Mailbox::parse(recipient).unwrap().to_string();
            if !ends.contains(&(id.to_string(), address, state.to_string())) {
                wrong.push(format!("{id} to {recipient}: no {state:?} in the audit"));
            }
        }
    }
    wrong
}

/// One case: what is planned, and what did not balance.
fn play(planned: Option<Planned>) -> (FaultyDisk, Vec<String>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let disk = FaultyDisk::new(Arc::new(RealDisk));
    let is_for_good = planned.as_ref().is_some_and(|planned| planned.times > 1);
    if let Some(planned) = planned {
        disk.plan(planned);
    }
    let wrong = runtime.block_on(async {
        let copied = tempfile::tempdir().unwrap();
        let far = FarSide::new(None);
        let sent = first_life(&disk, &far, is_for_good, copied.path()).await;
        let before = books(&far.taken());
        let open = later_lives(copied.path(), &far).await;
        let after = books(&far.taken());
        let mut wrong = audit_books(&sent, &before, &after, &open);
        wrong.extend(check_audit(copied.path(), &sent));
        wrong
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    (disk, wrong)
}

const OPERATIONS: [Operation; 8] = [
    Operation::Open,
    Operation::Write,
    Operation::Read,
    Operation::Sync,
    Operation::SyncFolder,
    Operation::Cut,
    Operation::Rename,
    Operation::Remove,
];

/// How each operation fails: the first few once, the others for good.
fn faults(operation: Operation) -> Vec<(Fault, u64)> {
    let (io, full) = (ErrorKind::Other, ErrorKind::StorageFull);
    match operation {
        Operation::Write => vec![
            (Fault::Error(io), 1),
            (Fault::Short(7, full), 1),
            (Fault::Short(3_000, io), 1),
            (Fault::Short(100, full), u64::MAX),
            (Fault::Error(io), u64::MAX),
        ],
        Operation::Sync => vec![
            (Fault::Error(io), 1),
            (Fault::Slow(Duration::from_millis(50)), 1),
            (Fault::Error(io), u64::MAX),
        ],
        _ => vec![(Fault::Error(io), 1), (Fault::Error(io), u64::MAX)],
    }
}

fn cases(counted: &FaultyDisk, is_full: bool) -> Vec<Planned> {
    let mut cases = Vec::new();
    for operation in OPERATIONS {
        let count = counted.count(operation, "");
        eprintln!("{operation:?}: {count} in a good life");
        for (turn, (fault, times)) in faults(operation).into_iter().enumerate() {
            // Each kind of fault begins elsewhere, so that together they leave few gaps.
            let step = if is_full { 1 } else { (count / 6).max(1) };
            for after in (0..count).skip(turn % step).step_by(step) {
                cases.push(Planned {
                    operation,
                    path: String::new(),
                    after: after as u64,
                    times,
                    fault,
                });
            }
        }
    }
    cases
}

#[test]
fn the_books_balance_whichever_disk_operation_fails() {
    let (counted, wrong) = play(None);
    assert_eq!(wrong, Vec::<String>::new());
    let is_full = std::env::var("POSTERN_FAULTS").is_ok_and(|word| word == "full");
    let cases = cases(&counted, is_full);
    eprintln!("{} cases", cases.len());
    let (next, failed) = (AtomicUsize::new(0), std::sync::Mutex::new(Vec::new()));
    // Most of a life is waiting, so more of them than there are processors.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let named = format!("{case:?}");
                    let played = std::panic::catch_unwind(|| play(Some(case.clone())).1);
                    let wrong = played.unwrap_or_else(|_| vec!["panicked, see above".to_owned()]);
                    if !wrong.is_empty() {
                        failed.lock().unwrap().push((named, wrong));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{failed:#?}");
}
