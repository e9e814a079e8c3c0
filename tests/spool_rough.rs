//! Rough handling that no power cut is needed for: a disk that says no at the
//! opening, ports that panic, a clock set back, a spool that is small.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used, clippy::panic)]

mod spool_support;

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use postern::spool::{EventSink, JournalStore, RebuildReason, Store};
use postern::sys::entropy::EntropyError;
use postern::sys::{
    Clock, Entropy, Fault, FaultyDisk, Operation, Planned, RealDisk, SystemEntropy,
};
use postern::types::{AuditEvent, State, Timestamp};
use spool_support::*;

fn planned(operation: Operation, path: &str, times: u64, kind: ErrorKind) -> Planned {
    Planned {
        operation,
        path: path.into(),
        after: 0,
        times,
        fault: Fault::Error(kind),
    }
}

fn faulty() -> FaultyDisk {
    FaultyDisk::new(Arc::new(RealDisk))
}

fn delivered() -> Vec<postern::types::RecipientChange> {
    vec![change(0, State::Delivered, None)]
}

/// Once, by another user or with too many files open, is enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_that_does_not_open_is_not_taken_for_an_empty_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).store;
    let id = accept(&*store, &["a@x.example"], b"kept").await.unwrap().id;
    store.close().await;
    for times in 1..8 {
        let disk = faulty();
        let denied = ErrorKind::PermissionDenied;
        disk.plan(planned(Operation::Open, "/seg/0", times, denied));
        if let Ok(opening) = try_open(settings(folder.path()), Arc::new(disk)) {
            opening.store.close().await;
        }
        let opening = open(folder.path());
        assert_eq!(listed(&*opening.store).await, [id], "{times}");
        assert_eq!(body_of(&*opening.store, id).await, b"kept");
        opening.store.close().await;
    }
}

/// Nothing is removed, not even what seems to be left over, by who has no key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wrong_key_removes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).store;
    accept(&*store, &["a@x.example"], b"kept").await.unwrap();
    store.close().await;
    let left_over = folder.path().join("spool/seg/00000009.key");
    std::fs::write(&left_over, [7; 40]).unwrap();
    std::fs::write(folder.path().join("keys/master"), [9; 32]).unwrap();
    assert!(try_open(settings(folder.path()), Arc::new(RealDisk)).is_err());
    assert_eq!(std::fs::read(&left_over).unwrap(), [7; 40]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_fails_half_way_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let disk = faulty();
    for operation in [Operation::Remove, Operation::Sync, Operation::SyncFolder] {
        let opening = try_open(settings(folder.path()), Arc::new(disk.clone())).unwrap();
        let store = opening.store;
        let id = accept(&*store, &["a@x.example"], b"x").await.unwrap().id;
        store.settle(settlement(id, delivered())).await.unwrap();
        store.close().await;
        let opening = try_open(settings(folder.path()), Arc::new(disk.clone())).unwrap();
        let path = if operation == Operation::SyncFolder {
            "/seg"
        } else {
            ".key"
        };
        disk.plan(planned(operation, path, 1, ErrorKind::Other));
        for _ in 0..3 {
            opening.store.maintain().await;
        }
        assert_eq!(segments(folder.path()).len(), 1, "{operation:?}");
        let all = std::fs::read_dir(folder.path().join("spool/seg")).unwrap();
        assert_eq!(all.count(), 2);
        opening.store.close().await;
    }
}

/// All that comes is settled at once, so there is always room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_spool_does_not_fill_up_with_what_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path());
    settings.max_size = 8 << 20;
    let store = try_open(settings, Arc::new(RealDisk)).unwrap().store;
    let octets = pattern(100_000);
    for n in 0..300 {
        let id = match accept(&*store, &["a@x.example"], &octets).await {
            Ok(message) => message.id,
            Err(error) => panic!("{error} after {n} messages"),
        };
        store.settle(settlement(id, delivered())).await.unwrap();
        if n % 20 == 0 {
            store.maintain().await;
        }
    }
}

/// Panics when it is told to, once.
struct PanickingSink(Arc<AtomicBool>, Sink);

impl EventSink for PanickingSink {
    fn append(&mut self, events: &[AuditEvent]) -> std::io::Result<()> {
        assert!(!self.0.swap(false, Ordering::Relaxed), "as told");
        self.1.append(events)
    }
    fn sync(&mut self) -> std::io::Result<()> {
        self.1.sync()
    }
}

/// A panic costs those who wait an error, and no more: neither mail nor events,
/// and the spool goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_the_committer_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let (should_panic, sink) = (Arc::new(AtomicBool::new(false)), Sink::default());
    let (store, _fresh, _) = JournalStore::open(
        settings(folder.path()),
        Arc::new(RealDisk),
        Arc::new(TestClock::default()),
        Arc::new(SystemEntropy::default()),
        Box::new(PanickingSink(Arc::clone(&should_panic), sink.clone())),
    )
    .unwrap();
    let id = accept(&*store, &["a@x.example"], b"x").await.unwrap().id;
    should_panic.store(true, Ordering::Relaxed);
    let mut settled = settlement(id, delivered());
    settled.events = vec![event(1, id)];
    let answer = store.settle(settled);
    let answer = tokio::time::timeout(std::time::Duration::from_secs(20), answer).await;
    assert!(answer.unwrap().is_err());
    store.maintain().await;
    let later = accept(&*store, &["a@x.example"], b"later")
        .await
        .unwrap()
        .id;
    // Its record was durable, so the settlement holds, and the event is told.
    assert_eq!(listed(&*store).await, [later]);
    store.maintain().await;
    assert!(sink.ids().contains(&event(1, id).event));
    store.close().await;
    let again = open(folder.path());
    assert_eq!(listed(&*again.store).await, [later]);
}

/// Always the same moment.
struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        at(0)
    }
}

/// Random, but for the four octets of an id.
struct Poor(SystemEntropy);

impl Entropy for Poor {
    fn fill(&self, octets: &mut [u8]) -> Result<(), EntropyError> {
        if octets.len() == 4 {
            octets.fill(7);
            return Ok(());
        }
        self.0.fill(octets)
    }
}

/// Where a new message's id is one that is taken, it is not said to be accepted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_is_taken_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let again = || {
        let (store, _, _) = JournalStore::open(
            settings(folder.path()),
            Arc::new(RealDisk),
            Arc::new(Stopped),
            Arc::new(Poor(SystemEntropy::default())),
            Box::new(Sink::default()),
        )
        .unwrap();
        store
    };
    let store = again();
    let id = accept(&*store, &["a@x.example"], b"first")
        .await
        .unwrap()
        .id;
    store.close().await;
    let store = again();
    assert!(accept(&*store, &["a@x.example"], b"second").await.is_err());
    let third = accept(&*store, &["a@x.example"], b"third")
        .await
        .unwrap()
        .id;
    assert_eq!(listed(&*store).await, [id, third]);
    assert_eq!(body_of(&*store, id).await, b"first");
}

/// What a failed flush lost may show only after the next power cut, so an index
/// that failed is not trusted by the next process either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_failed_is_not_trusted_later() {
    let folder = tempfile::tempdir().unwrap();
    let disk = faulty();
    let opening = try_open(settings(folder.path()), Arc::new(disk.clone())).unwrap();
    let store = opening.store;
    store.maintain().await;
    disk.plan(planned(
        Operation::Sync,
        "/index/db",
        u64::MAX,
        ErrorKind::Other,
    ));
    // Nor can it be made anew here.
    disk.plan(planned(
        Operation::Rename,
        "/index",
        u64::MAX,
        ErrorKind::Other,
    ));
    let id = accept(&*store, &["a@x.example"], b"x").await.unwrap().id;
    store.maintain().await;
    store.close().await;
    let opening = open(folder.path());
    assert_eq!(opening.opened.rebuilt, Some(RebuildReason::Failed));
    assert_eq!(listed(&*opening.store).await, [id]);
    opening.store.close().await;
    let opening = open(folder.path());
    assert_eq!(opening.opened.rebuilt, None);
}

/// Where a failed segment could not be cut, the next one says where it ends, and
/// so has to stay as long as it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_refused_stays_away_when_segments_go() {
    let folder = tempfile::tempdir().unwrap();
    let disk = faulty();
    let opening = try_open(settings(folder.path()), Arc::new(disk.clone())).unwrap();
    let store = opening.store;
    let kept = accept(&*store, &["a@x.example"], &pattern(9_000))
        .await
        .unwrap();
    disk.plan(planned(Operation::Sync, "/seg/", 1, ErrorKind::Other));
    disk.plan(planned(Operation::Cut, "/seg/", 9, ErrorKind::Other));
    assert!(accept(&*store, &["a@x.example"], b"refused").await.is_err());
    store.maintain().await;
    let id = accept(&*store, &["a@x.example"], b"x").await.unwrap().id;
    store.settle(settlement(id, delivered())).await.unwrap();
    store.close().await;
    let opening = open(folder.path());
    opening.store.maintain().await;
    opening.store.close().await;
    std::fs::remove_dir_all(folder.path().join("spool/index")).unwrap();
    let opening = open(folder.path());
    assert_eq!(listed(&*opening.store).await, [kept.id]);
}

/// A segment with a live message that can't be found in it is read once, not
/// twice a second for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_that_can_not_be_emptied_is_let_be() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).store;
    let first = accept(&*store, &["a@x.example"], b"x").await.unwrap().id;
    let place = std::fs::metadata(&segments(folder.path())[0])
        .unwrap()
        .len();
    let gone = accept(&*store, &["a@x.example"], &pattern(90_000))
        .await
        .unwrap()
        .id;
    store.settle(settlement(gone, delivered())).await.unwrap();
    store.close().await;
    // Its header, so that not even the id is known.
    let mut journal = std::fs::read(&segments(folder.path())[0]).unwrap();
    let at = usize::try_from(place).unwrap();
    let start = memchr::memmem::rfind(&journal[..at], b"PstJ").unwrap();
    journal[start + 9] ^= 1;
    std::fs::write(&segments(folder.path())[0], journal).unwrap();
    let disk = faulty();
    let store = try_open(settings(folder.path()), Arc::new(disk.clone()))
        .unwrap()
        .store;
    for _ in 0..3 {
        store.maintain().await;
    }
    let before = disk.count(Operation::Read, "/seg/00000001");
    for _ in 0..3 {
        store.maintain().await;
    }
    assert_eq!(disk.count(Operation::Read, "/seg/00000001"), before);
    assert!(store.load(first).await.is_err());
}

/// A notice of more than a part's size lies in one run, and in several once it
/// was moved; who is reading it gets each octet once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reading_goes_on_where_runs_are_cut_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path());
    settings.max_size = 256 << 20;
    let store = try_open(settings, Arc::new(RealDisk)).unwrap().store;
    let id = accept(&*store, &["a@x.example"], b"x").await.unwrap().id;
    let octets = pattern(2_500_000);
    let mut bounced = settlement(id, delivered());
    bounced.messages = vec![dsn(1, id, &octets)];
    let notice = bounced.messages[0].message.id;
    store.settle(bounced).await.unwrap();
    let stored = store.load(notice).await.unwrap();
    let mut reading = stored.body.open();
    let mut got = Vec::new();
    while got.len() < 1_500_000 {
        got.extend(reading.next().await.unwrap().unwrap());
    }
    for _ in 0..40 {
        let id = accept(&*store, &["a@x.example"], &pattern(900_000))
            .await
            .unwrap()
            .id;
        store.settle(settlement(id, delivered())).await.unwrap();
    }
    for _ in 0..3 {
        store.maintain().await;
    }
    assert!(!segments(folder.path())[0].ends_with("00000001"));
    while let Some(piece) = reading.next().await.unwrap() {
        got.extend(piece);
    }
    assert!(got == octets);
}
