//! What is there again after the power went, at any moment of a busy life.
//!
//! A workload runs on a disk that records; then the folder is made as the cut
//! may have left it at many moments, opened, and held against what had been
//! answered by then. `POSTERN_POWERCUT_POINTS` sets how many cuts are tried of
//! each recording, `POSTERN_POWERCUT_SEED` what they begin with.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod spool_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use postern::spool::{JournalStore, Store};
use postern::sys::{Fate, Fault, FaultyDisk, Operation, Planned, RealDisk};
use postern::types::State;
use spool_support::ledger::Told;
use spool_support::powercut::*;
use spool_support::segments;

/// Moments of each recording at which the power goes.
fn points() -> u64 {
    let set = std::env::var("POSTERN_POWERCUT_POINTS").ok();
    set.map_or(40, |text| text.parse().unwrap())
}

fn first_seed() -> u64 {
    let set = std::env::var("POSTERN_POWERCUT_SEED").ok();
    set.map_or(1, |text| text.parse().unwrap())
}

/// Many come and go, some stay; segments roll, are compacted and removed.
async fn churn(life: &Life, store: &Arc<JournalStore>, rounds: usize) {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    for round in 0..rounds {
        let mut tasks = Vec::new();
        for task in 0..6 {
            let (life, store) = (life.clone(), Arc::clone(store));
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let size = [200, 3_000, 70_000, 900, 250_000, 1_300_000][(task + round) % 6];
            tasks.push(tokio::spawn(async move {
                let Some(id) = life.accept(&store, size + number).await else {
                    return;
                };
                match number % 8 {
                    0 => {}
                    1 => {
                        let queued = [(0, State::Queued)];
                        for size in [900, 60_000, 1_200_000, 7].iter().skip(round % 4) {
                            let copy = [(0, size + number)];
                            life.settle_keeping(&store, id, &queued, 0, &copy).await;
                        }
                        life.settle(&store, id, &[(1, State::Delivered)], 0).await;
                    }
                    2 => life.settle(&store, id, &[(0, State::Bounced)], 300).await,
                    3 => {
                        let both = [(0, State::Bounced), (1, State::Bounced)];
                        life.settle(&store, id, &both, 20_000).await;
                    }
                    _ => {
                        let both = [(0, State::Delivered), (1, State::Delivered)];
                        life.settle(&store, id, &both, 0).await;
                    }
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        if round % 3 == 2 {
            store.maintain().await;
        }
        life.keep_index();
    }
}

/// Ends some of what earlier rounds left.
async fn settle_old(life: &Life, store: &Arc<JournalStore>, every: usize) {
    for id in life.open_ids().into_iter().step_by(every) {
        let both = [(0, State::Delivered), (1, State::Delivered)];
        life.settle(store, id, &both, 0).await;
    }
    store.maintain().await;
    life.keep_index();
}

fn break_once(disk: &FaultyDisk, operation: Operation, fault: Fault) {
    disk.plan(Planned {
        operation,
        path: "/seg/".into(),
        after: 2,
        times: 1,
        fault,
    });
}

/// Opens, works, closes; thrice, with a write and a sync that fail.
async fn busy_life(life: &Life, faulty: &FaultyDisk) {
    for session in 0..3 {
        let store = life.open();
        churn(life, &store, 4).await;
        if session == 1 {
            let kind = std::io::ErrorKind::Other;
            break_once(faulty, Operation::Sync, Fault::Error(kind));
            churn(life, &store, 1).await;
            store.maintain().await;
            break_once(faulty, Operation::Write, Fault::Short(700, kind));
            churn(life, &store, 1).await;
            store.maintain().await;
        }
        settle_old(life, &store, 2 + session).await;
        churn(life, &store, 2).await;
        store.maintain().await;
        if session < 2 {
            store.close().await;
        }
        life.keep_index();
    }
    // Or else removal and compaction were hardly tried.
    let left = segments(life.folder());
    let last = left.last().unwrap().file_name().unwrap().to_str().unwrap();
    let begun: usize = last.parse().unwrap();
    assert!(left.len() * 4 < begun * 3, "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_a_power_cut() {
    let folder = scratch();
    let faulty = FaultyDisk::new(Arc::new(RealDisk));
    let life = Life::new(Arc::new(faulty.clone()), folder.path());
    busy_life(&life, &faulty).await;
    let end = life.disk.now();
    let mut told = Told::default();
    for point in 0..points() {
        let seed = first_seed().wrapping_add(point);
        let moment = usize::try_from(shuffle(seed) % (end as u64 + 1)).unwrap();
        life.check(moment, Fate::PowerCut(seed), &mut told).await;
    }
    eprintln!("{end} changes recorded; {told}");
    assert!(told.opened > 0);
}

/// The process dies first; the next one goes on, and then the power goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_left_survives_a_power_cut() {
    let folder = scratch();
    let faulty = FaultyDisk::new(Arc::new(RealDisk));
    let life = Life::new(Arc::new(faulty.clone()), folder.path());
    busy_life(&life, &faulty).await;
    let end = life.disk.now();
    let mut told = Told::default();
    for point in 0..points().div_ceil(4) {
        let seed = first_seed().wrapping_add(point);
        let moment = usize::try_from(shuffle(seed) % (end as u64 + 1)).unwrap();
        let folder = scratch();
        let next = life.killed(moment, folder.path(), seed);
        let store = next.open();
        let opened = next.disk.now();
        // What is found here is there for good, answered or not.
        next.adopt(&store).await;
        churn(&next, &store, 1).await;
        settle_old(&next, &store, 3).await;
        let span = (next.disk.now() - opened) as u64;
        for cut in 0..3 {
            let at = shuffle(seed ^ (cut << 40)) % (span + 1);
            let moment = opened + usize::try_from(at).unwrap();
            let fate = Fate::PowerCut(seed ^ (cut << 50));
            next.check(moment, fate, &mut told).await;
        }
        store.close().await;
    }
    eprintln!("{end} changes recorded; {told}");
    assert!(told.opened > 0);
}

/// A spool whose own folder is lost is lost, whatever was synced in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_are_durable_before_what_is_in_them() {
    let folder = scratch();
    let life = Life::new(Arc::new(RealDisk), folder.path());
    let store = life.open();
    life.accept(&store, 100).await.unwrap();
    let mut told = Told::default();
    for seed in 0..12 {
        let moment = life.disk.now();
        life.check(moment, Fate::PowerCut(seed), &mut told).await;
    }
}

/// While a segment's name may come back, its key must not be destroyed: that
/// would look like damage, for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_is_gone_before_its_key_is() {
    let folder = scratch();
    let life = Life::new(Arc::new(RealDisk), folder.path());
    let store = life.open();
    let both = [(0, State::Delivered), (1, State::Delivered)];
    let id = life.accept(&store, 100).await.unwrap();
    life.settle(&store, id, &both, 0).await;
    store.close().await;
    let before = life.disk.now();
    let store = life.open();
    store.maintain().await;
    assert_eq!(segments(folder.path()).len(), 1);
    let mut told = Told::default();
    for moment in before..=life.disk.now() {
        for seed in 0..6 {
            let fate = Fate::PowerCut(shuffle(seed));
            let opened = life.check(moment, fate, &mut told).await;
            assert_eq!(opened.damaged, [], "cut at {moment} with seed {seed}");
        }
    }
}

/// A process is killed between a write and its fdatasync, or when that has
/// failed. The next one finds the record, builds on it, and so must make sure of
/// it first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_opening_finds_is_durable_before_it_is_built_upon() {
    for is_failed in [false, true] {
        let folder = scratch();
        let faulty = FaultyDisk::new(Arc::new(RealDisk));
        let life = Life::new(Arc::new(faulty.clone()), folder.path());
        let store = life.open();
        let id = life.accept(&store, 100).await.unwrap();
        store.maintain().await;
        let before = life.disk.now();
        if is_failed {
            faulty.plan(Planned {
                operation: Operation::Sync,
                path: "/seg/".into(),
                after: 0,
                times: 1,
                fault: Fault::Error(std::io::ErrorKind::Other),
            });
        }
        let both = [(0, State::Bounced), (1, State::Bounced)];
        life.settle(&store, id, &both, 300).await;
        let folder = scratch();
        // Behind the settlement's write, and behind its sync if that failed.
        let moment = before + 1 + usize::from(is_failed);
        let next = life.killed(moment, folder.path(), 0);
        let again = next.open();
        next.adopt(&again).await;
        assert_eq!(next.open_ids(), []);
        again.maintain().await;
        let mut told = Told::default();
        for seed in 0..12 {
            let moment = next.disk.now();
            next.check(moment, Fate::PowerCut(seed), &mut told).await;
        }
    }
}
