//! What the journal does when the disk fails under it.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used, clippy::panic)]

mod spool_support;

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use postern::spool::{SpoolError, Store};
use postern::sys::{Fault, FaultyDisk, Operation, Planned, RealDisk};
use postern::types::State;
use spool_support::*;

fn faulty() -> FaultyDisk {
    FaultyDisk::new(Arc::new(RealDisk))
}

fn planned(operation: Operation, path: &str, times: u64, fault: Fault) -> Planned {
    Planned {
        operation,
        path: path.into(),
        after: 0,
        times,
        fault,
    }
}

/// Runs 40 tasks that each accept a message; gives those answered yes, and
/// checks that all others were told why not.
async fn accept_many(store: &Arc<postern::spool::JournalStore>) -> Vec<postern::types::QueueId> {
    let tasks: Vec<_> = (0..40)
        .map(|n| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let octets = pattern(2_000 + n);
                accept(&*store, &["a@x.example"], &octets)
                    .await
                    .map(|m| m.id)
            })
        })
        .collect();
    let mut accepted = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(id) => accepted.push(id),
            Err(SpoolError::Sick(_) | SpoolError::Full) => {}
            Err(other) => panic!("{other}"),
        }
    }
    accepted
}

/// Breaks one call, then heals: what was answered yes is there, and nothing
/// else, before and after a crash.
async fn survives(operation: Operation, fault: Fault) {
    let folder = tempfile::tempdir().unwrap();
    let disk = faulty();
    let opening = try_open(settings(folder.path()), Arc::new(disk.clone())).unwrap();
    let store = opening.store;
    let mut accepted = accept_many(&store).await;
    assert_eq!(accepted.len(), 40);
    disk.plan(planned(operation, "/seg/", u64::MAX, fault));
    let segment_syncs = disk.count(Operation::Sync, "/seg/0");
    assert!(accept(&*store, &["a@x.example"], b"lost").await.is_err());
    assert!(accept_many(&store).await.is_empty());
    assert!(store.intake().is_err());
    if operation == Operation::Sync {
        // A failed fdatasync is never just repeated on the same file.
        let now = disk.count(Operation::Sync, "/seg/00000001");
        assert!(now <= segment_syncs + 1, "{now} {segment_syncs}");
    }
    disk.heal();
    store.maintain().await;
    accepted.extend(accept_many(&store).await);
    assert_eq!(accepted.len(), 80);
    let done = vec![change(0, State::Delivered, None)];
    store.settle(settlement(accepted[0], done)).await.unwrap();
    accepted.remove(0);
    accepted.sort();
    assert_eq!(listed(&*store).await, accepted);
    // A crash, and the index lost with it.
    let copied = tempfile::tempdir().unwrap();
    copy(folder.path(), copied.path());
    std::fs::remove_dir_all(copied.path().join("spool/index")).unwrap();
    let again = open(copied.path());
    assert_eq!(listed(&*again.store).await, accepted);
    assert_eq!(again.opened.damaged, []);
    for id in accepted {
        body_of(&*again.store, id).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_fdatasync_is_never_answered_yes() {
    survives(Operation::Sync, Fault::Error(ErrorKind::Other)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_write_is_never_answered_yes() {
    survives(Operation::Write, Fault::Error(ErrorKind::Other)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_write_is_never_answered_yes() {
    survives(Operation::Write, Fault::Short(700, ErrorKind::StorageFull)).await;
}

/// Where even the cut fails, the new segment says where the old one ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_refused_does_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let disk = faulty();
    let opening = try_open(settings(folder.path()), Arc::new(disk.clone())).unwrap();
    let store = opening.store;
    let kept = accept(&*store, &["a@x.example"], b"kept").await.unwrap().id;
    disk.plan(planned(
        Operation::Sync,
        "/seg/",
        1,
        Fault::Error(ErrorKind::Other),
    ));
    disk.plan(planned(
        Operation::Cut,
        "/seg/",
        9,
        Fault::Error(ErrorKind::Other),
    ));
    assert!(accept(&*store, &["a@x.example"], b"refused").await.is_err());
    store.maintain().await;
    let later = accept(&*store, &["a@x.example"], b"later")
        .await
        .unwrap()
        .id;
    let copied = tempfile::tempdir().unwrap();
    copy(folder.path(), copied.path());
    std::fs::remove_dir_all(copied.path().join("spool/index")).unwrap();
    let again = open(copied.path());
    assert_eq!(listed(&*again.store).await, [kept, later]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_says_full_and_settlements_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let disk = faulty();
    let opening = try_open(settings(folder.path()), Arc::new(disk.clone())).unwrap();
    let store = opening.store;
    let id = accept(&*store, &["a@x.example"], b"x").await.unwrap().id;
    let started = store.intake().unwrap();
    disk.set_free(Some(32 << 20));
    store.maintain().await;
    assert!(matches!(store.intake(), Err(SpoolError::Full)));
    let late = started.commit(ticket(&["a@x.example"])).await;
    assert!(matches!(late, Err(SpoolError::Full)));
    let mut settlement = settlement(id, vec![change(0, State::Bounced, None)]);
    settlement.messages = vec![dsn(1, id, b"a DSN uses the reserve")];
    let dsn = settlement.messages[0].message.id;
    store.settle(settlement).await.unwrap();
    assert_eq!(listed(&*store).await, [dsn]);
    disk.set_free(None);
    store.maintain().await;
    accept(&*store, &["a@x.example"], b"x").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configured_size_is_a_limit() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path());
    settings.max_size = 8 << 20;
    let opening = try_open(settings, Arc::new(RealDisk)).unwrap();
    let store = opening.store;
    let octets = pattern(500_000);
    let mut accepted = Vec::new();
    loop {
        match accept(&*store, &["a@x.example"], &octets).await {
            Ok(message) => accepted.push(message.id),
            Err(SpoolError::Full) => break,
            Err(other) => panic!("{other}"),
        }
        assert!(accepted.len() < 20);
    }
    assert!(store.stats().await.unwrap().disk <= 7 << 20);
    assert_eq!(listed(&*store).await, accepted);
    // A large message that stops half-way leaves nothing either.
    assert!(
        accept(&*store, &["a@x.example"], &pattern(3 << 20))
            .await
            .is_err()
    );
    assert_eq!(listed(&*store).await, accepted);
}

/// The index is only an index: where it fails, mail is neither lost nor refused
/// for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_flush_of_the_index_rebuilds_it() {
    let folder = tempfile::tempdir().unwrap();
    let disk = faulty();
    let opening = try_open(settings(folder.path()), Arc::new(disk.clone())).unwrap();
    let store = opening.store;
    let before = disk.count(Operation::Rename, "/index");
    let mut all = accept_many(&store).await;
    disk.plan(planned(
        Operation::Sync,
        "/index/db",
        1,
        Fault::Error(ErrorKind::Other),
    ));
    // The keeper's own thread makes its rounds too, so the moment is not ours.
    for _ in 0..5 {
        if let Ok(message) = accept(&*store, &["a@x.example"], b"x").await {
            all.push(message.id);
        }
        store.maintain().await;
    }
    assert_eq!(disk.count(Operation::Rename, "/index"), before + 1);
    all.sort();
    assert_eq!(listed(&*store).await, all);
    accept(&*store, &["a@x.example"], b"x").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_were_refused_are_handed_over_again() {
    let folder = tempfile::tempdir().unwrap();
    let opening = open(folder.path());
    let (store, sink) = (opening.store, opening.sink);
    let id = accept(&*store, &["a@x.example"], b"x").await.unwrap().id;
    for number in 0..6 {
        let is_failing = (2..4).contains(&number);
        sink.is_failing
            .store(is_failing, std::sync::atomic::Ordering::Relaxed);
        let mut settlement = settlement(id, vec![change(0, State::Queued, Some(at(9)))]);
        settlement.events = vec![event(number, id)];
        store.settle(settlement).await.unwrap();
    }
    store.maintain().await;
    let mut ids = sink.ids();
    ids.dedup();
    let expected: Vec<_> = (0..6).map(|n| event(n, id).event).collect();
    // In order; some may come twice.
    assert!(expected.iter().all(|id| ids.contains(id)));
    assert_eq!(&ids[ids.len() - 4..], &expected[2..]);
}

/// Between the last write to the journal and the answer there is an fdatasync.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_fdatasync_holds_the_answer_back() {
    let folder = tempfile::tempdir().unwrap();
    let disk = faulty();
    let opening = try_open(settings(folder.path()), Arc::new(disk.clone())).unwrap();
    let before = disk.count(Operation::Sync, "/seg/");
    let slow = Duration::from_millis(300);
    disk.plan(planned(Operation::Sync, "/seg/", 1, Fault::Slow(slow)));
    let start = std::time::Instant::now();
    accept(&*opening.store, &["a@x.example"], b"x")
        .await
        .unwrap();
    assert!(start.elapsed() >= slow);
    assert_eq!(disk.count(Operation::Sync, "/seg/"), before + 1);
}

/// A disk that fails while it is said again what a segment says of older ones: the segment
/// stays until that is durable, and goes in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_restatement_gives_nothing_up() {
    let folder = tempfile::tempdir().unwrap();
    let disk = faulty();
    let mut small = settings(folder.path());
    // Segments of 1 MiB.
    small.max_size = 16 << 20;
    let store = try_open(small, Arc::new(disk.clone())).unwrap().store;
    let (octets, two) = (pattern(90_000), ["a@x.example", "b@y.example"]);
    let mut kept = Vec::new();
    for _ in 0..36 {
        kept.push(accept(&*store, &two, &octets).await.unwrap().id);
    }
    for (n, id) in (0i64..).zip(&kept) {
        // Of the half that stays something is said; the other goes.
        let open = change(1, State::Queued, Some(at(1000 + n)));
        let half = vec![change(0, State::Delivered, None), open];
        store.settle(settlement(*id, half)).await.unwrap();
        for _ in 0..20 {
            let id = accept(&*store, &two[..1], &octets).await.unwrap().id;
            let done = vec![change(0, State::Delivered, None)];
            store.settle(settlement(id, done)).await.unwrap();
        }
        // Nothing else is written to the head meanwhile: what lives is in full segments.
        let head = segments(folder.path()).pop().unwrap();
        let head = format!("/seg/{}", head.file_name().unwrap().to_str().unwrap());
        let fault = Fault::Error(ErrorKind::Other);
        let (operation, fault) = match n % 3 {
            0 => (Operation::Sync, fault),
            1 => (Operation::Write, fault),
            _ => (Operation::Write, Fault::Short(40, ErrorKind::Other)),
        };
        disk.plan(planned(operation, &head, 1, fault));
        store.maintain().await;
        disk.heal();
        store.maintain().await;
        assert!(store.intake().is_ok(), "it goes on");
    }
    assert!(disk.struck() >= 5, "{} met", disk.struck());
    let left = segments(folder.path());
    assert!(left.len() <= 8, "{left:?}");
    let before = store.list(&Default::default(), None, 999).await.unwrap();
    assert_eq!(before.len(), kept.len());
    store.close().await;
    std::fs::remove_dir_all(folder.path().join("spool/index")).unwrap();
    let mut small = settings(folder.path());
    small.max_size = 16 << 20;
    let again = try_open(small, Arc::new(RealDisk)).unwrap().store;
    let after = again.list(&Default::default(), None, 999).await.unwrap();
    assert_eq!(after.len(), kept.len());
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.recipients, after.recipients);
    }
}
