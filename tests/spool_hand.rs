//! The spool in an operator's hand: check, export, import, a new master key.
//!
//! Exports are cut at every octet and flipped at every octet; a rotation is killed
//! and its power cut at every step, and each of its calls to the disk made to fail.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod spool_support;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use postern::spool::{
    Archive, ArchiveError, Checked, Ended, Export, Exported, ImportError, Imported, JournalStore,
    OpenError, RotateError, SpoolError, Store, Taken, check, discard_index, rehearse, rotate_key,
};
use postern::sys::{
    Disk, Fate, Fault, FaultyDisk, Operation, Planned, PowerCutDisk, RealDisk, SystemEntropy,
};
use postern::types::{QueueId, RecipientStatus, State};
use spool_support::powercut::scratch;
use spool_support::*;

/// Everything that a spool lists: message, statuses, octets.
type All = BTreeMap<QueueId, (postern::types::Message, Vec<RecipientStatus>, Vec<u8>)>;

async fn everything(store: &JournalStore) -> All {
    let mut all = All::new();
    for stored in store
        .list(&Default::default(), None, usize::MAX)
        .await
        .unwrap()
    {
        let octets = read(&*stored.body).await.unwrap();
        let message = (*stored.message).clone();
        all.insert(message.id, (message, stored.recipients, octets));
    }
    all
}

/// A spool with messages of every kind: fresh, tried, held, large, a report, one
/// that is dead, and one that is gone.
async fn furnish(store: &JournalStore, large: bool) {
    accept(store, &["a@x.example", "b@y.example"], &pattern(300))
        .await
        .unwrap();
    accept(store, &["e@x.example"], b"").await.unwrap();
    let tried = accept(store, &["c@x.example", "d@y.example"], &pattern(700))
        .await
        .unwrap();
    let changes = vec![
        change(0, State::Queued, Some(at(5_000_000))),
        change(1, State::Delivered, None),
    ];
    store.settle(settlement(tried.id, changes)).await.unwrap();
    let held = accept(store, &["h@z.example"], &pattern(90)).await.unwrap();
    let hold = change(0, State::Held, Some(at(9_000_000)));
    store.settle(settlement(held.id, vec![hold])).await.unwrap();
    let bounced = accept(store, &["n@x.example"], &pattern(80)).await.unwrap();
    let mut ends = settlement(bounced.id, vec![change(0, State::Bounced, None)]);
    ends.messages = vec![dsn(7, bounced.id, &pattern(333))];
    store.settle(ends).await.unwrap();
    let dead = accept(store, &["dead@x.example"], &pattern(40))
        .await
        .unwrap();
    store
        .settle(settlement(dead.id, vec![change(0, State::Dead, None)]))
        .await
        .unwrap();
    if large {
        accept(store, &["l@x.example"], &pattern(2_500_000))
            .await
            .unwrap();
    }
}

fn disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

fn entropy() -> SystemEntropy {
    SystemEntropy::default()
}

fn key(folder: &Path) -> PathBuf {
    folder.join("keys/master")
}

/// Writes an export out; no piece of it is large.
fn write_out(mut export: Export, to: &Path) -> Exported {
    let mut file = std::fs::File::create(to).unwrap();
    while let Some(octets) = export.next_piece().unwrap() {
        assert!(octets.len() < 2 << 20);
        file.write_all(&octets).unwrap();
    }
    export.tally().clone()
}

fn still_export(folder: &Path, to: &Path) -> Exported {
    let export = Export::open(&settings(folder), disk(), Arc::new(entropy())).unwrap();
    write_out(export, to)
}

async fn blocking<T: Send + 'static>(with: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(with).await.unwrap()
}

async fn import(store: &Arc<JournalStore>, file: &Path, key: &Path) -> Imported {
    let (store, file, key) = (Arc::clone(store), file.to_owned(), key.to_owned());
    blocking(move || {
        let mut archive = Archive::open(&RealDisk, &file, &key).unwrap();
        store
            .import(&mut archive, &Ended::new(), &mut |_| {})
            .unwrap()
    })
    .await
}

/// Reads an export as an import into nothing would.
fn look(file: &Path, key: &Path) -> Result<Imported, ArchiveError> {
    let mut archive = Archive::open(&RealDisk, file, key)?;
    let nowhere = settings(Path::new("/nonexistent"));
    Ok(
        rehearse(&nowhere, disk(), &mut archive, &Ended::new(), &mut |_| {})
            .unwrap()
            .unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_holds_all_that_is_open_and_an_import_brings_it_back() {
    let (from, to) = (scratch(), scratch());
    let spool = open(from.path());
    furnish(&spool.store, true).await;
    let before = everything(&spool.store).await;
    let (live, still) = (from.path().join("live"), from.path().join("still"));
    let store = Arc::clone(&spool.store);
    let file = live.clone();
    let told = blocking(move || write_out(store.export().unwrap(), &file)).await;
    assert_eq!((told.messages, told.recipients), (7, 7));
    spool.store.close().await;
    assert_eq!(still_export(from.path(), &still), told);
    // Nothing of it is to be seen.
    let octets = std::fs::read(&live).unwrap();
    assert!(memchr::memmem::find(&octets, b"x.example").is_none());
    assert!(memchr::memmem::find(&octets, &pattern(40)).is_none());
    let target = open(to.path());
    for (nth, file) in [&live, &still, &live].into_iter().enumerate() {
        let imported = import(&target.store, file, &key(from.path())).await;
        assert!(imported.is_whole(), "{imported:?}");
        let (new, old) = if nth == 0 { (7, 0) } else { (0, 7) };
        assert_eq!((imported.messages, imported.already), (new, old));
    }
    assert_eq!(everything(&target.store).await, before);
    // Due and held as they were, here and after a start with a rebuilt index.
    assert_eq!(target.store.due_hosts().await.unwrap().len(), 3);
    assert_eq!(
        target.store.held(at(i64::MAX / 4), 9).await.unwrap().len(),
        1
    );
    target.store.close().await;
    let checked = check(&settings(to.path()), disk(), &entropy()).unwrap();
    assert!(checked.is_well, "{checked:?}");
    discard_index(&settings(to.path()), &RealDisk).unwrap();
    let again = open(to.path());
    assert_eq!(everything(&again.store).await, before);
    again.store.close().await;
}

/// What ends while the export runs is in it, or its report is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_meanwhile_is_not_lost() {
    let folder = scratch();
    let spool = open(folder.path());
    let mut ids = Vec::new();
    for n in 0..6 {
        ids.push(
            accept(&*spool.store, &["a@x.example"], &pattern(100 + n))
                .await
                .unwrap()
                .id,
        );
    }
    let store = Arc::clone(&spool.store);
    let (first, mut export) = blocking(move || {
        let mut export = store.export().unwrap();
        let first = [
            export.next_piece().unwrap().unwrap(),
            export.next_piece().unwrap().unwrap(),
        ]
        .concat();
        (first, export)
    })
    .await;
    // A report with an id behind all others, as the daemon makes them.
    let mut ends = settlement(ids[3], vec![change(0, State::Bounced, None)]);
    ends.messages = vec![dsn(9, ids[3], &pattern(500))];
    let report = ends.messages[0].message.id;
    spool.store.settle(ends).await.unwrap();
    let file = folder.path().join("export");
    let written = file.clone();
    blocking(move || {
        let mut out = first;
        while let Some(octets) = export.next_piece().unwrap() {
            out.extend_from_slice(&octets);
        }
        std::fs::write(written, out).unwrap();
    })
    .await;
    let mut archive = Archive::open(&RealDisk, &file, &key(folder.path())).unwrap();
    let mut seen = Vec::new();
    let nowhere = settings(Path::new("/nonexistent"));
    let imported = rehearse(&nowhere, disk(), &mut archive, &Ended::new(), &mut |m| {
        seen.push(m.id)
    });
    assert!(imported.unwrap().unwrap().is_whole());
    // The index page was read before it ended, so it may be looked up and be gone.
    assert!(seen.contains(&report) || seen.contains(&ids[3]), "{seen:?}");
    assert!([0, 1, 2, 4, 5].iter().all(|n| seen.contains(&ids[*n])));
    spool.store.close().await;
}

/// Compaction moves a message, and removes the segment it was in, between two of its
/// parts: the export has it whole, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_that_compaction_overtakes_goes_on() {
    let (folder, to) = (scratch(), scratch());
    let spool = open(folder.path());
    accept(&*spool.store, &["l@x.example"], &pattern(3_300_000))
        .await
        .unwrap();
    let mut fillers = Vec::new();
    for _ in 0..25 {
        let filler = accept(&*spool.store, &["f@x.example"], &pattern(900_000)).await;
        fillers.push(filler.unwrap().id);
    }
    spool.store.close().await;
    let spool = open(folder.path());
    let store = Arc::clone(&spool.store);
    let (mut out, mut export) = blocking(move || {
        let mut export = store.export().unwrap();
        let mut out = Vec::new();
        for _ in 0..3 {
            out.extend_from_slice(&export.next_piece().unwrap().unwrap());
        }
        (out, export)
    })
    .await;
    for id in fillers {
        let ends = settlement(id, vec![change(0, State::Delivered, None)]);
        spool.store.settle(ends).await.unwrap();
    }
    for _ in 0..4 {
        spool.store.maintain().await;
    }
    assert!(!segments(folder.path())[0].ends_with("00000001"));
    let file = folder.path().join("export");
    let written = file.clone();
    let told = blocking(move || {
        while let Some(octets) = export.next_piece().unwrap() {
            out.extend_from_slice(&octets);
        }
        std::fs::write(written, out).unwrap();
        export.tally().clone()
    })
    .await;
    assert_eq!((told.messages, told.damaged.len()), (1, 0));
    let before = everything(&spool.store).await;
    spool.store.close().await;
    let target = open(to.path());
    let imported = import(&target.store, &file, &key(folder.path())).await;
    assert!(
        imported.is_whole() && imported.messages == 1,
        "{imported:?}"
    );
    assert_eq!(everything(&target.store).await, before);
    target.store.close().await;
}

/// Killed, or its power cut, at any moment: the next import makes it whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_may_end_at_any_step() {
    let (from, to) = (scratch(), scratch());
    let spool = open(from.path());
    furnish(&spool.store, true).await;
    let before = everything(&spool.store).await;
    spool.store.close().await;
    let file = from.path().join("export");
    still_export(from.path(), &file);
    let disk = PowerCutDisk::new(Arc::new(RealDisk), to.path());
    let target = try_open(settings(to.path()), Arc::new(disk.clone())).unwrap();
    let first = disk.now();
    import(&target.store, &file, &key(from.path())).await;
    let last = disk.now();
    let mut partly = 0;
    for moment in first..=last {
        for fate in [Fate::Kill, Fate::PowerCut(moment as u64)] {
            let image = scratch();
            disk.image(moment, fate, image.path()).unwrap();
            let again = open(image.path());
            let there = listed(&*again.store).await.len() as u64;
            partly += u64::from(there > 0 && there < before.len() as u64);
            let imported = import(&again.store, &file, &key(from.path())).await;
            assert_eq!(imported.already, there);
            assert!(
                everything(&again.store).await == before,
                "{moment} {fate:?}"
            );
            again.store.close().await;
        }
    }
    eprintln!("{} steps, {partly} times a part was there", last - first);
    target.store.close().await;
}

/// A small export and how many messages it holds.
async fn small_export(folder: &Path) -> (PathBuf, Vec<u8>, u64) {
    let spool = open(folder);
    furnish(&spool.store, false).await;
    spool.store.close().await;
    let file = folder.join("export");
    let told = still_export(folder, &file);
    let octets = std::fs::read(&file).unwrap();
    (file, octets, told.messages)
}

#[tokio::test]
async fn an_export_cut_anywhere_is_recognised() {
    let folder = scratch();
    let (file, octets, messages) = small_export(folder.path()).await;
    for cut in 0..octets.len() {
        std::fs::write(&file, &octets[..cut]).unwrap();
        match look(&file, &key(folder.path())) {
            Err(ArchiveError::NotExport(_)) => assert_eq!(cut, 0),
            Err(ArchiveError::Start(_)) => assert!(cut < 56),
            Err(other) => panic!("cut at {cut}: {other}"),
            Ok(imported) => {
                assert!(!imported.is_whole(), "cut at {cut}: {imported:?}");
                assert!(imported.end.is_none() && imported.messages <= messages);
            }
        }
    }
    // And one with more behind its end is not taken for whole.
    std::fs::write(&file, [&octets[..], b"more"].concat()).unwrap();
    assert!(!look(&file, &key(folder.path())).unwrap().is_whole());
}

#[tokio::test]
async fn one_flipped_octet_is_named_and_the_rest_is_taken() {
    let folder = scratch();
    let (file, octets, messages) = small_export(folder.path()).await;
    for at in 0..octets.len() {
        let mut bad = octets.clone();
        bad[at] ^= 0x10;
        std::fs::write(&file, &bad).unwrap();
        match look(&file, &key(folder.path())) {
            Err(error) => assert!(at < 56, "flipped at {at}: {error}"),
            Ok(imported) => {
                assert!(
                    at >= 56 && !imported.is_whole(),
                    "flipped at {at}: {imported:?}"
                );
                assert!(
                    imported.messages >= messages - 1,
                    "flipped at {at}: {imported:?}"
                );
                assert!(!imported.unreadable.is_empty(), "flipped at {at}");
            }
        }
    }
}

#[tokio::test]
async fn a_large_message_with_a_damaged_part_is_named_with_its_domains() {
    let folder = scratch();
    let spool = open(folder.path());
    accept(&*spool.store, &["a@x.example"], &pattern(100))
        .await
        .unwrap();
    let large = accept(&*spool.store, &["l@x.example"], &pattern(2_500_000))
        .await
        .unwrap();
    spool.store.close().await;
    let file = folder.path().join("export");
    still_export(folder.path(), &file);
    let octets = std::fs::read(&file).unwrap();
    for at in [300_000, 1_400_000, 2_400_000] {
        let mut bad = octets.clone();
        bad[at] ^= 1;
        std::fs::write(&file, &bad).unwrap();
        let imported = look(&file, &key(folder.path())).unwrap();
        assert_eq!((imported.messages, imported.missing), (1, 0));
        let [named] = &imported.unreadable[..] else {
            panic!("{imported:?}");
        };
        assert_eq!(named.id, Some(large.id));
        assert_eq!(named.domains[0].to_string(), "x.example");
    }
}

#[tokio::test]
async fn other_files_and_other_keys_are_told_apart() {
    let folder = scratch();
    let (file, octets, _) = small_export(folder.path()).await;
    let other = folder.path().join("other");
    std::fs::write(&other, [5; 32]).unwrap();
    assert!(matches!(
        look(&file, &other),
        Err(ArchiveError::WrongKey { .. })
    ));
    let none = folder.path().join("none");
    assert!(matches!(
        look(&file, &none),
        Err(ArchiveError::MissingKey(_))
    ));
    assert!(matches!(
        look(&none, &other),
        Err(ArchiveError::File { .. })
    ));
    std::fs::write(&other, [5; 31]).unwrap();
    assert!(matches!(look(&file, &other), Err(ArchiveError::Key(_))));
    let mut later = octets;
    later[8] = 3;
    let crc = crc32fast::hash(&later[..52]);
    later[52..56].copy_from_slice(&crc.to_be_bytes());
    std::fs::write(&file, later).unwrap();
    let key = key(folder.path());
    assert!(matches!(
        look(&file, &key),
        Err(ArchiveError::Version(_, 3))
    ));
    assert!(matches!(look(&key, &key), Err(ArchiveError::NotExport(_))));
}

/// A spool that takes no more says how far it came, and goes on later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_does_not_fit_says_so_and_can_go_on() {
    let (from, to) = (scratch(), scratch());
    let spool = open(from.path());
    for _ in 0..20 {
        accept(&*spool.store, &["a@x.example"], &pattern(900_000))
            .await
            .unwrap();
    }
    let before = everything(&spool.store).await;
    spool.store.close().await;
    let file = from.path().join("export");
    still_export(from.path(), &file);
    let mut small = settings(to.path());
    small.max_size = 12 << 20;
    let target = try_open(small, disk()).unwrap();
    let (store, export, key_file) = (Arc::clone(&target.store), file.clone(), key(from.path()));
    let error = blocking(move || {
        let mut archive = Archive::open(&RealDisk, &export, &key_file).unwrap();
        store
            .import(&mut archive, &Ended::new(), &mut |m| {
                assert_eq!(m.taken, Taken::New)
            })
            .unwrap_err()
    })
    .await;
    let ImportError::Spool {
        why: SpoolError::Full,
        taken,
    } = error
    else {
        panic!("{error}");
    };
    assert!((1..20).contains(&taken));
    target.store.close().await;
    let target = open(to.path());
    assert_eq!(listed(&*target.store).await.len() as u64, taken);
    let imported = import(&target.store, &file, &key(from.path())).await;
    assert_eq!((imported.messages, imported.already), (20 - taken, taken));
    assert_eq!(everything(&target.store).await, before);
    target.store.close().await;
}

/// Names, lengths and octets of all files below a folder.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => all.extend(tree(&entry.path())),
            false => drop(all.insert(entry.path(), std::fs::read(entry.path()).unwrap())),
        }
    }
    all
}

/// Checks, and sees to it that nothing on disk is another.
fn checked(folder: &Path) -> Checked {
    let before = tree(folder);
    let checked = check(&settings(folder), disk(), &entropy()).unwrap();
    assert!(tree(folder) == before, "the check changed something");
    checked
}

#[tokio::test]
async fn a_check_finds_a_well_spool_well() {
    let folder = scratch();
    let spool = open(folder.path());
    assert!(matches!(
        check(&settings(folder.path()), disk(), &entropy()),
        Err(OpenError::Locked(_))
    ));
    assert!(matches!(
        Export::open(&settings(folder.path()), disk(), Arc::new(entropy())),
        Err(OpenError::Locked(_))
    ));
    furnish(&spool.store, true).await;
    let store = Arc::clone(&spool.store);
    let copied = scratch();
    store.maintain().await;
    accept(&*store, &["k@x.example"], b"after the checkpoint")
        .await
        .unwrap();
    // As kill -9 would leave it.
    copy(folder.path(), copied.path());
    store.close().await;
    let found = checked(folder.path());
    assert!(found.is_well && found.index.state == "well", "{found:?}");
    assert_eq!((found.messages, found.recipients), (8, 8));
    let found = checked(copied.path());
    assert!(
        found.damaged.is_empty() && found.unreadable.is_empty(),
        "{found:?}"
    );
    assert_eq!(found.messages, 8);
}

#[tokio::test]
async fn a_check_names_damage_and_a_repair_sets_it_aside() {
    let folder = scratch();
    let spool = open(folder.path());
    furnish(&spool.store, true).await;
    let id = accept(&*spool.store, &["q@broken.example"], &pattern(5_000))
        .await
        .unwrap()
        .id;
    spool.store.close().await;
    let segment = segments(folder.path()).remove(0);
    let octets = std::fs::read(&segment).unwrap();
    let place = memchr::memmem::find_iter(&octets, &id.to_octets())
        .next()
        .unwrap()
        - 8;
    let mut bad = octets.clone();
    bad[place + 3_000] ^= 1;
    std::fs::write(&segment, &bad).unwrap();
    let found = checked(folder.path());
    assert!(!found.is_well);
    let [lost] = &found.unreadable[..] else {
        panic!("{found:?}");
    };
    assert_eq!(
        (lost.id.as_str(), lost.what),
        (id.to_string().as_str(), "all")
    );
    assert_eq!(lost.domains, ["broken.example"]);
    assert_eq!((lost.place.segment, lost.place.offset), (1, place as u64));
    assert_eq!(found.damaged[0].what, "message");
    assert_eq!(found.damaged[0].id, Some(id.to_string()));
    // Its header too: the index knows its name.
    bad[place + 10] ^= 1;
    std::fs::write(&segment, &bad).unwrap();
    let found = checked(folder.path());
    assert_eq!(found.unreadable[0].id, id.to_string());
    assert_eq!(
        (found.damaged[0].id.as_ref(), found.damaged[0].what),
        (None, "unknown")
    );
    // The rest can be exported as it is, and the repair sets the record aside.
    let told = still_export(folder.path(), &folder.path().join("export"));
    assert_eq!((told.messages, told.damaged.len()), (7, 0));
    discard_index(&settings(folder.path()), &RealDisk).unwrap();
    let again = open(folder.path());
    assert_eq!(again.opened.damaged.len(), 1);
    assert_eq!(listed(&*again.store).await.len(), 7);
    again.store.close().await;
    let found = checked(folder.path());
    assert_eq!(
        (found.unreadable.len(), found.damaged.len()),
        (0, 1),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_check_names_a_message_whose_part_is_damaged() {
    let folder = scratch();
    let spool = open(folder.path());
    let id = accept(&*spool.store, &["l@x.example"], &pattern(2_500_000))
        .await
        .unwrap()
        .id;
    spool.store.close().await;
    let segment = segments(folder.path()).remove(0);
    let mut octets = std::fs::read(&segment).unwrap();
    octets[1_500_000] ^= 1;
    std::fs::write(&segment, octets).unwrap();
    let found = checked(folder.path());
    assert_eq!(found.damaged[0].what, "part of a body");
    let [lost] = &found.unreadable[..] else {
        panic!("{found:?}");
    };
    assert_eq!(
        (lost.id.as_str(), lost.what),
        (id.to_string().as_str(), "body")
    );
    assert_eq!(lost.domains, ["x.example"]);
    let told = still_export(folder.path(), &folder.path().join("export"));
    assert_eq!((told.messages, told.damaged), (0, vec![id]));
}

#[tokio::test]
async fn a_check_tells_how_the_index_stands() {
    let folder = scratch();
    let spool = open(folder.path());
    furnish(&spool.store, false).await;
    spool.store.close().await;
    let index = folder.path().join("spool/index");
    let older = folder.path().join("older");
    copy(&index, &older);
    std::fs::remove_dir_all(&index).unwrap();
    assert_eq!(checked(folder.path()).index.state, "rebuild");
    let spool = open(folder.path());
    assert!(spool.opened.rebuilt.is_some());
    accept(&*spool.store, &["k@x.example"], b"new")
        .await
        .unwrap();
    spool.store.close().await;
    std::fs::remove_dir_all(&index).unwrap();
    copy(&older, &index);
    let found = checked(folder.path());
    assert_eq!(found.index.state, "rebuild", "{found:?}");
    assert!(!found.is_well && found.unreadable.is_empty());
}

fn rotate(folder: &Path, disk: &Arc<dyn Disk>) -> Result<postern::spool::Rotated, RotateError> {
    rotate_key(&settings(folder), disk, &entropy(), None)
}

#[tokio::test]
async fn a_rotated_key_opens_all_and_the_old_one_nothing() {
    let folder = scratch();
    let spool = open(folder.path());
    furnish(&spool.store, true).await;
    let before = everything(&spool.store).await;
    assert!(matches!(
        rotate(folder.path(), &disk()),
        Err(RotateError::Open(OpenError::Locked(_)))
    ));
    spool.store.close().await;
    let export = folder.path().join("export");
    still_export(folder.path(), &export);
    let old = std::fs::read(key(folder.path())).unwrap();
    let rotated = rotate(folder.path(), &disk()).unwrap();
    assert!(rotated.is_in_force && rotated.keys >= 2 && rotated.unreadable.is_empty());
    let kept = rotated.old.unwrap();
    assert_eq!(std::fs::read(&kept).unwrap(), old);
    assert_ne!(std::fs::read(key(folder.path())).unwrap(), old);
    assert!(!folder.path().join("spool/rekey").exists());
    let found = checked(folder.path());
    assert!(found.is_well && found.index.state == "well", "{found:?}");
    // The old one is in the way of the next, until it is moved.
    assert!(matches!(
        rotate(folder.path(), &disk()),
        Err(RotateError::OldKept(_))
    ));
    assert!(matches!(
        look(&export, &key(folder.path())),
        Err(ArchiveError::WrongKey { .. })
    ));
    assert!(look(&export, &kept).unwrap().is_whole());
    let again = open(folder.path());
    assert_eq!(again.opened.rebuilt, None);
    assert_eq!(everything(&again.store).await, before);
    again.store.close().await;
    std::fs::write(key(folder.path()), old).unwrap();
    let refused = try_open(settings(folder.path()), disk()).err().unwrap();
    assert!(matches!(refused, OpenError::WrongKey(_)), "{refused}");
}

/// The key of a credential is put in its place by others: until then the old one
/// holds, and a start with it forgets the rotation.
#[tokio::test]
async fn a_credential_is_rotated_by_hand() {
    let folder = scratch();
    let spool = open(folder.path());
    furnish(&spool.store, false).await;
    let before = everything(&spool.store).await;
    spool.store.close().await;
    let mut settings = settings(folder.path());
    let place = key(folder.path());
    settings.master_key = postern::spool::MasterKey::Credential(place.clone());
    let new = folder.path().join("new-key");
    let rotate = |new: Option<&Path>| rotate_key(&settings, &disk(), &entropy(), new);
    assert!(matches!(rotate(None), Err(RotateError::NeedsFile)));
    assert!(matches!(rotate(Some(&place)), Err(RotateError::Same(_))));
    let rotated = rotate(Some(&new)).unwrap();
    assert!(!rotated.is_in_force && rotated.new == new);
    // Started with the old one, then with the new: refused, and nothing is lost.
    let again = try_open(settings.clone(), disk()).unwrap();
    again.store.close().await;
    let old = std::fs::read(&place).unwrap();
    std::fs::copy(&new, &place).unwrap();
    let refused = try_open(settings.clone(), disk()).err().unwrap();
    assert!(matches!(refused, OpenError::WrongKey(_)), "{refused}");
    std::fs::write(&place, old).unwrap();
    // Once more, and now in order; a key made by hand will do.
    std::fs::write(&new, [7; 32]).unwrap();
    rotate(Some(&new)).unwrap();
    std::fs::copy(&new, &place).unwrap();
    assert!(check(&settings, disk(), &entropy()).unwrap().is_well);
    let again = try_open(settings.clone(), disk()).unwrap();
    assert_eq!(again.opened.rebuilt, None);
    assert_eq!(everything(&again.store).await, before);
    again.store.close().await;
    assert!(!folder.path().join("spool/rekey").exists());
}

/// Kill -9 and a power cut at every step of a rotation: with the key that is then
/// in place all is there, with a start at once and with a rotation first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_may_end_at_any_step() {
    let folder = scratch();
    let disk = PowerCutDisk::new(Arc::new(RealDisk), folder.path());
    let recording: Arc<dyn Disk> = Arc::new(disk.clone());
    let spool = try_open(settings(folder.path()), Arc::clone(&recording)).unwrap();
    furnish(&spool.store, false).await;
    let before = everything(&spool.store).await;
    spool.store.close().await;
    // A second segment, and keys of damaged pieces.
    let spool = try_open(settings(folder.path()), Arc::clone(&recording)).unwrap();
    spool.store.close().await;
    let first = disk.now();
    rotate(folder.path(), &recording).unwrap();
    let last = disk.now();
    assert!(last - first > 10, "{first} to {last}");
    let old = std::fs::read(folder.path().join("keys/master.old")).unwrap();
    let (mut with_old, mut with_new) = (0, 0);
    for moment in first..=last {
        for fate in (0..4).map(Fate::PowerCut).chain([Fate::Kill]) {
            let image = scratch();
            disk.image(moment, fate, image.path()).unwrap();
            match std::fs::read(key(image.path())).unwrap() == old {
                true => with_old += 1,
                false => with_new += 1,
            }
            // A check reads it as it is.
            let found = check(&settings(image.path()), Arc::new(RealDisk), &entropy());
            let found = found.unwrap_or_else(|e| panic!("{moment} {fate:?}: {e}"));
            assert!(
                found.damaged.is_empty() && found.unreadable.is_empty(),
                "{found:?}"
            );
            if moment % 2 == 0 {
                let kept = image.path().join("keys/master.old");
                if std::fs::read(key(image.path())).unwrap() != old {
                    let _ = std::fs::remove_file(kept);
                }
                let real: Arc<dyn Disk> = Arc::new(RealDisk);
                rotate(image.path(), &real).unwrap_or_else(|e| panic!("{moment} {fate:?}: {e}"));
            }
            let again = try_open(settings(image.path()), Arc::new(RealDisk))
                .unwrap_or_else(|e| panic!("{moment} {fate:?}: {e}"));
            assert_eq!(again.opened.damaged, []);
            assert!(
                everything(&again.store).await == before,
                "{moment} {fate:?}"
            );
            again.store.close().await;
            assert!(!image.path().join("spool/rekey").exists());
        }
    }
    assert!(with_old > 0 && with_new > 0);
    eprintln!(
        "{} steps; old key {with_old} times, new key {with_new}",
        last - first
    );
}

/// Each call to the disk fails once: what is said of the key in force is true, and
/// the next try goes through.
#[tokio::test]
async fn a_rotation_whose_disk_fails_says_which_key_is_in_force() {
    let operations = [
        Operation::Open,
        Operation::Write,
        Operation::Read,
        Operation::Sync,
        Operation::SyncFolder,
        Operation::Rename,
        Operation::Remove,
    ];
    let mut failures = 0;
    for operation in operations {
        for after in 0.. {
            let folder = scratch();
            let spool = open(folder.path());
            furnish(&spool.store, false).await;
            let before = everything(&spool.store).await;
            spool.store.close().await;
            let old = std::fs::read(key(folder.path())).unwrap();
            let faulty = FaultyDisk::new(Arc::new(RealDisk));
            faulty.plan(Planned {
                operation,
                path: String::new(),
                after,
                times: 1,
                fault: Fault::Error(std::io::ErrorKind::StorageFull),
            });
            let disk: Arc<dyn Disk> = Arc::new(faulty);
            let result = rotate(folder.path(), &disk);
            let in_force = std::fs::read(key(folder.path())).unwrap();
            let error = match result {
                Ok(_) => break,
                Err(error) => error,
            };
            failures += 1;
            match error {
                RotateError::Late { .. } => assert_ne!(in_force, old, "{operation:?} {after}"),
                _ => assert_eq!(in_force, old, "{operation:?} {after}: {error}"),
            }
            let again = open(folder.path());
            assert_eq!(again.opened.damaged, []);
            assert!(
                everything(&again.store).await == before,
                "{operation:?} {after}"
            );
            again.store.close().await;
        }
    }
    assert!(failures > 20, "{failures}");
}
