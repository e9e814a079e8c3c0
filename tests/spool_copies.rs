//! Protected copies in the journal: kept over crashes, compaction, export and a lost
//! index, and gone with their recipient's end.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used, clippy::panic)]

mod spool_support;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use postern::spool::{Archive, Ended, Export, JournalStore, Store, check, rotate_key};
use postern::sys::{Disk, Fault, FaultyDisk, Operation, Planned, RealDisk, SystemEntropy};
use postern::types::{QueueId, State};
use spool_support::*;

type Copies = BTreeMap<QueueId, Vec<(u32, Vec<u8>)>>;

/// Octets of copies: one in the settlement's record, one in parts, and both beside a
/// large one.
const SIZES: [usize; 4] = [900, 80_000, 1_400_000, 3_300_000];

/// Messages with copies, some replaced, some with an end.
async fn furnish(store: &dyn Store) -> Copies {
    let to = ["a@x.example", "b@x.example", "c@x.example"];
    let mut all = Copies::new();
    for (n, size) in (1u8..).zip(SIZES) {
        let id = accept(store, &to, &pattern(size / 2)).await.unwrap().id;
        let copies = vec![kept(0, n, size), kept(1, n + 50, 700), kept(2, 9, 40)];
        store.settle(deferral(id, copies)).await.unwrap();
        let again = deferral(id, vec![kept(1, n + 100, size + 3)]);
        store.settle(again).await.unwrap();
        let ends = vec![change(2, State::Delivered, None)];
        store.settle(settlement(id, ends)).await.unwrap();
        let copies = [
            (0, copy_octets(n, size)),
            (1, copy_octets(n + 100, size + 3)),
        ];
        all.insert(id, copies.into());
    }
    all
}

async fn all_copies(store: &dyn Store) -> Copies {
    let mut all = Copies::new();
    for id in listed(store).await {
        all.insert(id, copies_of(store, id).await);
    }
    all
}

fn well(folder: &Path) {
    let (disk, entropy) = (Arc::new(RealDisk), SystemEntropy::default());
    let found = check(&settings(folder), disk, &entropy).unwrap();
    assert!(found.is_well, "{found:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_are_there_after_a_stop_a_crash_and_a_lost_index() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).store;
    let all = furnish(&*store).await;
    // As a crash leaves it.
    let crashed = tempfile::tempdir().unwrap();
    copy(folder.path(), crashed.path());
    store.close().await;
    well(folder.path());
    for is_lost in [false, true] {
        for folder in [folder.path(), crashed.path()] {
            if is_lost {
                std::fs::remove_dir_all(folder.join("spool/index")).unwrap();
            }
            let opening = open(folder);
            assert_eq!(opening.opened.damaged, []);
            assert!(all_copies(&*opening.store).await == all);
            opening.store.close().await;
            well(folder);
        }
    }
    // With the last recipients all goes, the segments' octets too.
    let store = open(folder.path()).store;
    for id in all.keys() {
        let ends = (0..2).map(|i| change(i, State::Delivered, None)).collect();
        store.settle(settlement(*id, ends)).await.unwrap();
    }
    assert!(listed(&*store).await.is_empty());
    store.close().await;
    let store = open(folder.path()).store;
    for _ in 0..3 {
        store.maintain().await;
    }
    assert!(store.stats().await.unwrap().disk < 1000);
}

/// Messages come and go until the segments with copies are emptied; a reading that was
/// under way goes on at the new place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compaction_takes_them_along() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).store;
    let all = furnish(&*store).await;
    let (id, copies) = all.iter().next_back().unwrap();
    let held = store.load(*id).await.unwrap().copy(0).unwrap();
    let mut reading = held.body.open();
    let mut begun = reading.next().await.unwrap().unwrap().to_vec();
    let octets = pattern(900_000);
    for _ in 0..160 {
        let id = accept(&*store, &["a@x.example"], &octets).await.unwrap().id;
        let done = vec![change(0, State::Delivered, None)];
        store.settle(settlement(id, done)).await.unwrap();
    }
    assert!(
        !segments(folder.path())[0].ends_with("00000001") || segments(folder.path()).len() >= 2
    );
    for _ in 0..3 {
        store.maintain().await;
    }
    assert_eq!(segments(folder.path()).len(), 1);
    assert!(all_copies(&*store).await == all);
    while let Some(piece) = reading.next().await.unwrap() {
        begun.extend_from_slice(&piece);
    }
    assert!(begun == copies[0].1);
    // One that was replaced is gone for who still has it, and is no other one.
    let old = store.load(*id).await.unwrap().copy(0).unwrap();
    let again = deferral(*id, vec![kept(0, 77, copies[0].1.len())]);
    store.settle(again).await.unwrap();
    assert!(read(&*old.body).await.is_err());
    store.close().await;
    well(folder.path());
    std::fs::remove_dir_all(folder.path().join("spool/index")).unwrap();
    let store = open(folder.path()).store;
    let found = all_copies(&*store).await;
    assert!(found[id][0].1 == copy_octets(77, copies[0].1.len()));
    assert!(
        found
            .iter()
            .filter(|(of, _)| *of != id)
            .all(|(of, c)| all[of] == *c)
    );
}

/// Copies come while the keeper moves their messages about: none is lost or mixed up.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn copies_that_come_while_messages_move() {
    let folder = tempfile::tempdir().unwrap();
    let small = postern::spool::Settings {
        max_size: 48 << 20,
        ..settings(folder.path())
    };
    let store = try_open(small.clone(), Arc::new(RealDisk)).unwrap().store;
    let mut tasks = Vec::new();
    for task in 0..4u8 {
        let store: Arc<JournalStore> = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            let octets = pattern(300_000);
            let id = accept(&*store, &["a@x.example"], &octets).await.unwrap().id;
            let mut last = Vec::new();
            for round in 0..25u8 {
                let size = [500, 200_000, 1_200_000][usize::from((task + round) % 3)];
                let mark = task * 50 + round;
                let keep = deferral(id, vec![kept(0, mark, size)]);
                store.settle(keep).await.unwrap();
                last = copy_octets(mark, size);
                assert!(copies_of(&*store, id).await == [(0, last.clone())]);
            }
            (id, vec![(0, last)])
        }));
    }
    let keeping = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            loop {
                store.maintain().await;
            }
        })
    };
    let mut all = Copies::new();
    for task in tasks {
        let (id, copies) = task.await.unwrap();
        all.insert(id, copies);
    }
    keeping.abort();
    let _ = keeping.await;
    for _ in 0..5 {
        store.maintain().await;
    }
    assert!(all_copies(&*store).await == all);
    let disk = store.stats().await.unwrap().disk;
    assert!(disk < 20 << 20, "{disk}");
    store.close().await;
    std::fs::remove_dir_all(folder.path().join("spool/index")).unwrap();
    let store = try_open(small, Arc::new(RealDisk)).unwrap().store;
    assert!(all_copies(&*store).await == all);
}

fn write_out(mut export: Export, to: &Path) {
    let mut file = std::fs::File::create(to).unwrap();
    while let Some(octets) = export.next_piece().unwrap() {
        file.write_all(&octets).unwrap();
    }
}

async fn import(from: &Path, file: &Path, to: &Path) -> Arc<JournalStore> {
    let store = open(to).store;
    let target = Arc::clone(&store);
    let (file, key): (PathBuf, PathBuf) = (file.to_owned(), from.join("keys/master"));
    let taking = tokio::task::spawn_blocking(move || {
        let mut archive = Archive::open(&RealDisk, &file, &key).unwrap();
        target
            .import(&mut archive, &Ended::new(), &mut |_| {})
            .unwrap()
    });
    let taken = taking.await.unwrap();
    assert!(taken.is_whole(), "{taken:?}");
    store
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_go_along_with_an_export() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).store;
    let all = furnish(&*store).await;
    let running = folder.path().join("running");
    let (export, to) = (store.export().unwrap(), running.clone());
    tokio::task::spawn_blocking(move || write_out(export, &to))
        .await
        .unwrap();
    store.close().await;
    let still = folder.path().join("still");
    let entropy = Arc::new(SystemEntropy::default());
    let export = Export::open(&settings(folder.path()), Arc::new(RealDisk), entropy).unwrap();
    write_out(export, &still);
    for file in [running, still] {
        let other = tempfile::tempdir().unwrap();
        let store = import(folder.path(), &file, other.path()).await;
        assert!(all_copies(&*store).await == all);
        for id in all.keys() {
            assert!(!body_of(&*store, *id).await.is_empty());
        }
        store.close().await;
        well(other.path());
        std::fs::remove_dir_all(other.path().join("spool/index")).unwrap();
        assert!(all_copies(&*open(other.path()).store).await == all);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_key_opens_them_and_nothing_is_in_the_clear() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).store;
    let id = accept(&*store, &["a@x.example"], b"x").await.unwrap().id;
    let marker = b"a word of the copy that nobody may read on the disk ".repeat(30_000);
    let mut copies = vec![kept(0, 1, 10)];
    copies[0].octets = marker.clone().into();
    store.settle(deferral(id, copies)).await.unwrap();
    store.close().await;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let entropy = SystemEntropy::default();
    rotate_key(&settings(folder.path()), &disk, &entropy, None)
        .map(|_| ())
        .unwrap();
    for segment in segments(folder.path()) {
        let octets = std::fs::read(segment).unwrap();
        assert!(memchr::memmem::find(&octets, &marker[..20]).is_none());
    }
    let store = open(folder.path()).store;
    assert!(copies_of(&*store, id).await == [(0, marker)]);
}

/// What is damaged is named; a copy whose record is lost is one that is not kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_names_a_damaged_copy() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).store;
    let id = accept(&*store, &["a@x.example"], b"x").await.unwrap().id;
    let before = std::fs::metadata(&segments(folder.path())[0])
        .unwrap()
        .len();
    let keep = deferral(id, vec![kept(0, 1, 2_000_000)]);
    store.settle(keep).await.unwrap();
    store.close().await;
    let path = &segments(folder.path())[0];
    let mut octets = std::fs::read(path).unwrap();
    octets[usize::try_from(before).unwrap() + 5_000] ^= 1;
    std::fs::write(path, octets).unwrap();
    let entropy = SystemEntropy::default();
    let found = check(&settings(folder.path()), Arc::new(RealDisk), &entropy).unwrap();
    assert!(!found.is_well);
    let named = &found.unreadable[0];
    assert_eq!(
        (named.id.as_str(), named.what),
        (id.to_string().as_str(), "copy")
    );
    let store = open(folder.path()).store;
    assert_eq!(body_of(&*store, id).await, b"x");
    let stored = store.load(id).await.unwrap();
    assert!(read(&*stored.copy(0).unwrap().body).await.is_err());
    // Another one heals it.
    store
        .settle(deferral(id, vec![kept(0, 2, 30)]))
        .await
        .unwrap();
    assert_eq!(copies_of(&*store, id).await, [(0, copy_octets(2, 30))]);
}

/// Where there is no room the settlement is made, and the copy left out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_spool_keeps_no_copies() {
    let folder = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new(Arc::new(RealDisk));
    let opening = try_open(settings(folder.path()), Arc::new(disk.clone())).unwrap();
    let store = opening.store;
    let to = ["a@x.example", "b@x.example"];
    let id = accept(&*store, &to, b"x").await.unwrap().id;
    disk.set_free(Some(0));
    let copies = vec![kept(0, 1, 500), kept(1, 2, 3_000_000)];
    store.settle(deferral(id, copies.clone())).await.unwrap();
    let stored = store.load(id).await.unwrap();
    assert!(stored.copies.is_empty());
    assert_eq!(stored.recipients[1].attempts, 1);
    disk.set_free(None);
    store.settle(deferral(id, copies)).await.unwrap();
    assert_eq!(copies_of(&*store, id).await.len(), 2);
}

/// A write that fails amid the parts of a copy: the settlement is to be made again, and
/// then is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_write_leaves_no_half_copy() {
    for after in 0..5 {
        let folder = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::new(Arc::new(RealDisk));
        let opening = try_open(settings(folder.path()), Arc::new(disk.clone())).unwrap();
        let store = opening.store;
        let id = accept(&*store, &["a@x.example"], b"x").await.unwrap().id;
        disk.plan(Planned {
            operation: Operation::Sync,
            path: "/seg/".into(),
            after,
            times: 1,
            fault: Fault::Error(std::io::ErrorKind::Other),
        });
        let keep = deferral(id, vec![kept(0, 1, 3_000_000)]);
        let first = store.settle(keep.clone()).await;
        assert_eq!(first.is_err(), after < 4, "{after}: {first:?}");
        if first.is_err() {
            let stored = store.load(id).await.unwrap();
            assert!(stored.copies.is_empty());
            store.maintain().await;
            store.settle(keep).await.unwrap();
        }
        let expected = [(0, copy_octets(1, 3_000_000))];
        assert!(copies_of(&*store, id).await == expected, "{after}");
        drop(store);
        let crashed = tempfile::tempdir().unwrap();
        copy(folder.path(), crashed.path());
        std::fs::remove_dir_all(crashed.path().join("spool/index")).unwrap();
        let again = open(crashed.path()).store;
        assert!(copies_of(&*again, id).await == expected, "{after}");
    }
}
