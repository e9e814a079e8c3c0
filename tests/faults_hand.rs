//! What an operator does by hand with a spool whose disk fails: an export leaves
//! nothing out in silence, a check never calls well what it could not read, and an
//! import that broke off is made whole by another.
//!
//! `POSTERN_FAULTS=full` fails every operation, CI some of them.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used, clippy::panic)]

mod spool_support;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use postern::spool::{Archive, Ended, Export, ImportError, Imported, Settings, Store, check};
use postern::sys::{Disk, Fault, FaultyDisk, Operation, Planned, RealDisk, SystemEntropy};
use postern::types::{QueueId, State};
use spool_support::*;

/// The messages of a spool: octets, and how each recipient stands.
type Messages = BTreeMap<QueueId, (Vec<u8>, Vec<State>)>;

async fn messages(store: &dyn Store) -> Messages {
    let mut messages = Messages::new();
    for id in listed(store).await {
        let stored = store.load(id).await.unwrap();
        let states = stored.recipients.iter().map(|s| s.state).collect();
        messages.insert(id, (body_of(store, id).await, states));
    }
    messages
}

/// The same of a closed spool.
async fn messages_in(folder: &Path) -> Messages {
    let store = open(folder).store;
    let messages = messages(&*store).await;
    store.close().await;
    messages
}

/// A closed spool with messages of one record, of many, settled in part, and a DSN.
async fn make_spool(folder: &Path) -> Messages {
    let store = open(folder).store;
    for size in [300, 2_700_000, 70_000, 9_000] {
        let to = ["a@x.example", "b@y.example"];
        accept(&*store, &to, &pattern(size)).await.unwrap();
    }
    let ids = listed(&*store).await;
    let mut bounced = settlement(ids[2], vec![change(1, State::Bounced, None)]);
    bounced.messages = vec![dsn(1, ids[2], &pattern(1_000))];
    store.settle(bounced).await.unwrap();
    let all = messages(&*store).await;
    assert_eq!(all.len(), 5);
    store.close().await;
    all
}

fn planned(operation: Operation, path: &str, after: u64, times: u64) -> Planned {
    Planned {
        operation,
        path: path.into(),
        after,
        times,
        fault: Fault::Error(ErrorKind::Other),
    }
}

/// Which of so many operations fail.
fn some_of(count: usize, few: usize) -> impl Iterator<Item = u64> {
    let is_full = std::env::var("POSTERN_FAULTS").is_ok_and(|word| word == "full");
    let step = if is_full { 1 } else { (count / few).max(1) };
    (0..count as u64).step_by(step)
}

fn faulty() -> FaultyDisk {
    FaultyDisk::new(Arc::new(RealDisk))
}

/// Exports a closed spool into a file; `None`: it said that it can't.
fn export(settings: &Settings, disk: Arc<dyn Disk>, to: &Path) -> Option<()> {
    let mut export = Export::open(settings, disk, Arc::new(SystemEntropy::default())).ok()?;
    let mut octets = Vec::new();
    while let Some(piece) = export.next_piece().ok()? {
        octets.extend_from_slice(&piece);
    }
    std::fs::write(to, octets).unwrap();
    Some(())
}

/// Imports into the spool in `folder`; `None`: that could not be opened.
async fn import(
    folder: &Path,
    disk: Arc<dyn Disk>,
    from: PathBuf,
    key: PathBuf,
) -> Option<Result<Imported, ImportError>> {
    let store = try_open(settings(folder), disk).ok()?.store;
    let at = Arc::clone(&store);
    let importing = tokio::task::spawn_blocking(move || {
        let mut archive = Archive::open(&RealDisk, &from, &key)?;
        at.import(&mut archive, &Ended::new(), &mut |_| {})
    });
    let result = importing.await.unwrap();
    store.close().await;
    Some(result)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_leaves_nothing_out_in_silence() {
    let folder = tempfile::tempdir().unwrap();
    let all = make_spool(folder.path()).await;
    let file = folder.path().join("export");
    let (settings, key) = (settings(folder.path()), folder.path().join("keys/master"));
    let counted = faulty();
    export(&settings, Arc::new(counted.clone()), &file).unwrap();
    for operation in [Operation::Open, Operation::Read] {
        for after in some_of(counted.count(operation, ""), 12) {
            let disk = faulty();
            disk.plan(planned(operation, "", after, 1));
            if export(&settings, Arc::new(disk), &file).is_none() {
                continue;
            }
            let into = tempfile::tempdir().unwrap();
            let imported = import(into.path(), Arc::new(RealDisk), file.clone(), key.clone());
            let imported = imported.await.unwrap().unwrap();
            let end = imported.end.clone().unwrap();
            let there = messages_in(into.path()).await;
            let left_out = all.keys().filter(|id| !there.contains_key(id));
            let left_out: Vec<QueueId> = left_out.copied().collect();
            assert_eq!(left_out, end.damaged, "{operation:?} {after}");
            assert!(there.iter().all(|(id, what)| all[id] == *what));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_never_calls_well_what_it_could_not_read() {
    let folder = tempfile::tempdir().unwrap();
    make_spool(folder.path()).await;
    let settings = settings(folder.path());
    let look = |disk: &FaultyDisk| {
        let entropy = SystemEntropy::default();
        check(&settings, Arc::new(disk.clone()), &entropy)
    };
    let counted = faulty();
    assert!(look(&counted).unwrap().is_well);
    let (open, read) = (Operation::Open, Operation::Read);
    for (operation, path) in [
        (open, "/seg/"),
        (read, "/seg/"),
        (open, "checkpoint"),
        (open, "index.key"),
        (open, "keys/master"),
    ] {
        let count = counted.count(operation, path);
        assert!(count > 0, "{operation:?} {path}");
        for after in some_of(count, 12) {
            let disk = faulty();
            // For good: what does not open once is tried again.
            disk.plan(planned(operation, path, after, u64::MAX));
            let is_well = look(&disk).is_ok_and(|checked| checked.is_well);
            assert!(!is_well, "{operation:?} {path} {after}");
        }
    }
    assert!(look(&counted).unwrap().is_well);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_broke_off_is_made_whole_by_another() {
    let folder = tempfile::tempdir().unwrap();
    let all = make_spool(folder.path()).await;
    let file = folder.path().join("export");
    let key = folder.path().join("keys/master");
    export(&settings(folder.path()), Arc::new(RealDisk), &file).unwrap();
    let counted = faulty();
    let into = tempfile::tempdir().unwrap();
    let disk = Arc::new(counted.clone());
    let imported = import(into.path(), disk, file.clone(), key.clone()).await;
    assert_eq!(imported.unwrap().unwrap().messages, 5);
    for operation in [
        Operation::Write,
        Operation::Sync,
        Operation::SyncFolder,
        Operation::Open,
    ] {
        for after in some_of(counted.count(operation, ""), 4) {
            for times in [1, u64::MAX] {
                let into = tempfile::tempdir().unwrap();
                let disk = faulty();
                disk.plan(planned(operation, "", after, times));
                let first = import(into.path(), Arc::new(disk), file.clone(), key.clone()).await;
                let before = messages_in(into.path()).await;
                let case = format!("{operation:?} {after} {times}: {first:?}");
                // What was said to be safe is.
                match first {
                    Some(Ok(first)) => assert_eq!(before.len() as u64, first.messages, "{case}"),
                    Some(Err(ImportError::Spool { taken, .. })) => {
                        assert!(before.len() as u64 >= taken, "{case}");
                    }
                    Some(Err(ImportError::Archive(_))) => panic!("{case}"),
                    None => assert!(before.is_empty(), "{case}"),
                }
                let again = import(into.path(), Arc::new(RealDisk), file.clone(), key.clone());
                let again = again.await.unwrap().unwrap();
                assert_eq!(again.messages + again.already, 5, "{case}");
                assert_eq!(messages_in(into.path()).await, all, "{case}");
            }
        }
    }
}
