//! What is there again after crashes, damage and lost indexes.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used, clippy::panic)]

mod spool_support;

use std::path::Path;
use std::sync::Arc;

use postern::spool::{OpenError, RebuildReason, SpoolError, Store};
use postern::sys::{RealDisk, SystemEntropy};
use postern::types::{QueueId, State};
use spool_support::*;

/// Accepts messages, some of which are settled; gives what must be there.
async fn fill(store: &dyn Store, count: usize) -> Vec<(QueueId, Vec<u8>)> {
    let mut kept = Vec::new();
    for n in 0..count {
        let size = [10, 3_000, 70_000, 1_500_000][n % 4];
        let octets = pattern(size + n);
        let id = accept(store, &["a@x.example", "b@y.example"], &octets)
            .await
            .unwrap()
            .id;
        match n % 3 {
            0 => {
                let done = (0..2).map(|i| change(i, State::Delivered, None)).collect();
                store.settle(settlement(id, done)).await.unwrap();
            }
            1 => {
                let mut half = settlement(id, vec![change(0, State::Bounced, None)]);
                let new = dsn(
                    u8::try_from(n).unwrap(),
                    id,
                    &octets[..octets.len().min(500)],
                );
                kept.push((new.message.id, new.octets.to_vec()));
                half.messages.push(new);
                half.events.push(event(u8::try_from(n).unwrap(), id));
                store.settle(half).await.unwrap();
                kept.push((id, octets));
            }
            _ => kept.push((id, octets)),
        }
    }
    kept.sort();
    kept
}

/// Checks that exactly these are there, whole, with their statuses.
async fn check(store: &dyn Store, kept: &[(QueueId, Vec<u8>)]) {
    let ids: Vec<_> = kept.iter().map(|(id, _)| *id).collect();
    assert_eq!(listed(store).await, ids);
    for (id, octets) in kept {
        assert!(body_of(store, *id).await == *octets, "{id}");
    }
    let stats = store.stats().await.unwrap();
    assert_eq!(stats.messages, kept.len() as u64);
    let sizes: u64 = kept.iter().map(|(_, octets)| octets.len() as u64).sum();
    assert_eq!(stats.octets, sizes);
    let mut open = 0;
    for stored in store.list(&Default::default(), None, 9999).await.unwrap() {
        open += stored
            .recipients
            .iter()
            .filter(|r| r.state.is_open())
            .count();
    }
    assert_eq!(stats.recipients, open as u64);
}

/// A filled spool, closed or not.
async fn filled(count: usize, should_close: bool) -> (tempfile::TempDir, Vec<(QueueId, Vec<u8>)>) {
    let folder = tempfile::tempdir().unwrap();
    let opening = open(folder.path());
    let kept = fill(&*opening.store, count).await;
    if should_close {
        opening.store.close().await;
        return (folder, kept);
    }
    opening.store.maintain().await;
    let copied = tempfile::tempdir().unwrap();
    copy(folder.path(), copied.path());
    (copied, kept)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_stop_and_start() {
    let (folder, kept) = filled(20, true).await;
    for _ in 0..3 {
        let opening = open(folder.path());
        assert!(opening.opened.was_clean);
        assert_eq!(opening.opened.rebuilt, None);
        assert_eq!(opening.opened.replayed, 0);
        assert_eq!(opening.sink.ids(), []);
        check(&*opening.store, &kept).await;
        opening.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_index_folder_deleted() {
    let (folder, kept) = filled(20, true).await;
    std::fs::remove_dir_all(folder.path().join("spool/index")).unwrap();
    let opening = open(folder.path());
    assert_eq!(opening.opened.rebuilt, Some(RebuildReason::Missing));
    check(&*opening.store, &kept).await;
    // All events again: their ids make that harmless.
    assert_eq!(opening.sink.ids().len(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_index_truncated_at_many_lengths() {
    let (folder, kept) = filled(8, true).await;
    let length = std::fs::metadata(folder.path().join("spool/index/db"))
        .unwrap()
        .len();
    for part in [0, 1, 10, 50, 90, 99] {
        let copied = tempfile::tempdir().unwrap();
        copy(folder.path(), copied.path());
        let db = std::fs::File::options()
            .write(true)
            .open(copied.path().join("spool/index/db"))
            .unwrap();
        db.set_len(length * part / 100).unwrap();
        let opening = open(copied.path());
        check(&*opening.store, &kept).await;
        opening.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_index_overwritten_with_noise() {
    let (folder, kept) = filled(8, true).await;
    let db = folder.path().join("spool/index/db");
    let mut octets = std::fs::read(&db).unwrap();
    for (at, octet) in octets.iter_mut().enumerate() {
        if at % 1000 < 100 {
            *octet ^= 0x55;
        }
    }
    std::fs::write(&db, octets).unwrap();
    let opening = open(folder.path());
    check(&*opening.store, &kept).await;
    assert!(opening.opened.rebuilt.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_index_replaced_by_an_older_copy() {
    let folder = tempfile::tempdir().unwrap();
    let opening = open(folder.path());
    let mut kept = fill(&*opening.store, 5).await;
    opening.store.close().await;
    let old = tempfile::tempdir().unwrap();
    copy(&folder.path().join("spool/index"), old.path());
    let opening = open(folder.path());
    let later = accept(&*opening.store, &["a@x.example"], b"later")
        .await
        .unwrap();
    kept.push((later.id, b"later".to_vec()));
    let done = vec![
        change(1, State::Delivered, None),
        change(0, State::Delivered, None),
    ];
    let (first, _) = kept.remove(0);
    opening.store.settle(settlement(first, done)).await.unwrap();
    opening.store.close().await;
    kept.sort();
    let index = folder.path().join("spool/index");
    std::fs::remove_dir_all(&index).unwrap();
    copy(old.path(), &index);
    let opening = open(folder.path());
    assert_eq!(opening.opened.rebuilt, Some(RebuildReason::WentBack));
    check(&*opening.store, &kept).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_checkpoint_or_the_journal_older_than_the_index() {
    let folder = tempfile::tempdir().unwrap();
    let opening = open(folder.path());
    let mut kept = Vec::new();
    // All live, so that compaction writes nothing behind the record cut below.
    for n in 0..3 {
        let octets = pattern(1_000 + n);
        let id = accept(&*opening.store, &["a@x.example"], &octets)
            .await
            .unwrap()
            .id;
        kept.push((id, octets));
    }
    opening.store.close().await;
    std::fs::remove_file(folder.path().join("spool/checkpoint")).unwrap();
    let opening = open(folder.path());
    assert_eq!(opening.opened.rebuilt, Some(RebuildReason::NoCheckpoint));
    check(&*opening.store, &kept).await;
    accept(&*opening.store, &["a@x.example"], b"to be lost")
        .await
        .unwrap();
    opening.store.close().await;
    let last = segments(folder.path()).pop().unwrap();
    let file = std::fs::File::options().write(true).open(&last).unwrap();
    file.set_len(file.metadata().unwrap().len() - 10).unwrap();
    let opening = open(folder.path());
    assert_eq!(opening.opened.rebuilt, Some(RebuildReason::AheadOfJournal));
    // It had been durable, so this is damage, not a torn write: it has a name.
    assert_eq!(opening.opened.damaged.len(), 1);
    assert!(opening.opened.damaged[0].id.is_some());
    check(&*opening.store, &kept).await;
}

/// The journal's file is as long as the index says, but its last pages are empty: so a
/// power cut may leave what was written and not synced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_index_ahead_of_a_torn_journal() {
    let folder = tempfile::tempdir().unwrap();
    let opening = open(folder.path());
    let octets = pattern(1_000);
    let kept = accept(&*opening.store, &["a@x.example"], &octets).await;
    let kept = [(kept.unwrap().id, octets)];
    opening.store.close().await;
    let checkpoint = folder.path().join("spool/checkpoint");
    let before = std::fs::read(&checkpoint).unwrap();
    let opening = open(folder.path());
    accept(&*opening.store, &["a@x.example"], &pattern(20_000))
        .await
        .unwrap();
    opening.store.close().await;
    std::fs::write(&checkpoint, before).unwrap();
    let last = segments(folder.path()).pop().unwrap();
    let mut octets = std::fs::read(&last).unwrap();
    let magic = octets[..4].to_vec();
    let second = octets[4..].windows(4).position(|w| w == magic).unwrap();
    octets[4 + second..].fill(0);
    std::fs::write(&last, octets).unwrap();
    let opening = open(folder.path());
    assert_eq!(opening.opened.rebuilt, Some(RebuildReason::AheadOfJournal));
    check(&*opening.store, &kept).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_two_bad_indexes_are_kept() {
    let (folder, kept) = filled(3, true).await;
    for _ in 0..4 {
        std::fs::write(folder.path().join("spool/index/db"), b"noise").unwrap();
        let opening = open(folder.path());
        assert!(opening.opened.rebuilt.is_some());
        check(&*opening.store, &kept).await;
        opening.store.close().await;
    }
    let bad = std::fs::read_dir(folder.path().join("spool"))
        .unwrap()
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().starts_with("index.bad-"))
        .count();
    assert_eq!(bad, 2);
}

/// The journal's last write cut at every octet: as a crash would leave it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_tail_at_every_octet() {
    let folder = tempfile::tempdir().unwrap();
    let opening = open(folder.path());
    let store = opening.store;
    let kept = fill(&*store, 2).await;
    store.maintain().await;
    let before = tempfile::tempdir().unwrap();
    copy(folder.path(), before.path());
    let name = segments(folder.path()).pop().unwrap();
    let start = std::fs::metadata(&name).unwrap().len();
    let last = accept(&*store, &["a@x.example"], b"last").await.unwrap().id;
    let journal = std::fs::read(&name).unwrap();
    assert!(journal.len() as u64 - start < 400);
    for end in usize::try_from(start).unwrap()..=journal.len() {
        // Without a sync of index and checkpoint after the last record.
        let copied = tempfile::tempdir().unwrap();
        copy(before.path(), copied.path());
        std::fs::write(segments(copied.path()).pop().unwrap(), &journal[..end]).unwrap();
        let opening = open(copied.path());
        let is_whole = end == journal.len();
        assert_eq!(opening.opened.rebuilt, None);
        assert_eq!(opening.opened.damaged, []);
        let is_cut = !is_whole && end as u64 > start;
        assert_eq!(opening.opened.cut.is_some(), is_cut, "{end}");
        assert_eq!(listed(&*opening.store).await.contains(&last), is_whole);
        assert_eq!(
            listed(&*opening.store).await.len(),
            kept.len() + usize::from(is_whole)
        );
        accept(&*opening.store, &["a@x.example"], b"goes on")
            .await
            .unwrap();
    }
}

/// One flipped octet anywhere in a record: what is damaged is named, the rest
/// is there, with and without the index.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_octet_is_named_and_harms_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let opening = open(folder.path());
    let store = opening.store;
    let first = accept(&*store, &["a@x.example"], b"first")
        .await
        .unwrap()
        .id;
    let name = segments(folder.path()).pop().unwrap();
    let length = || std::fs::metadata(&name).unwrap().len() as usize;
    let start = length();
    let second = accept(&*store, &["a@x.example"], &pattern(100))
        .await
        .unwrap()
        .id;
    let end = length();
    let third = accept(&*store, &["a@x.example"], b"third")
        .await
        .unwrap()
        .id;
    store.close().await;
    let journal = std::fs::read(&name).unwrap();
    let file_name = name.file_name().unwrap();
    // Magic, version, kind, id, part, lengths, salt, both sums, head, body, tag.
    let header = [0, 4, 5, 6, 8, 19, 20, 24, 27, 28, 31, 32, 47, 48, 52, 55];
    let places = header.into_iter().chain((56..end - start).step_by(23));
    for place in places.chain([end - start - 1]) {
        let mut damaged = journal.clone();
        damaged[start + place] ^= 0x10;
        let copied = tempfile::tempdir().unwrap();
        copy(folder.path(), copied.path());
        std::fs::write(copied.path().join("spool/seg").join(file_name), &damaged).unwrap();
        // With the index: found when it is read.
        let opening = open(copied.path());
        assert_eq!(body_of(&*opening.store, first).await, b"first");
        assert_eq!(body_of(&*opening.store, third).await, b"third");
        let is_read = match opening.store.load(second).await {
            Err(SpoolError::Damaged) => false,
            Err(other) => panic!("{other}"),
            Ok(stored) => read(&*stored.body).await.is_ok(),
        };
        assert!(!is_read, "{place}");
        opening.store.close().await;
        // Without: named at once.
        std::fs::remove_dir_all(copied.path().join("spool/index")).unwrap();
        let opening = open(copied.path());
        let named = &opening.opened.damaged;
        assert_eq!(named.len(), 1, "{place}");
        assert_eq!(named[0].offset, start as u64);
        assert_eq!(named[0].octets, (end - start) as u64);
        assert_eq!(named[0].id, (place >= 56).then_some(second));
        assert_eq!(listed(&*opening.store).await, [first, third]);
        let aside = copied.path().join("spool/damaged");
        // The record as it is, and the key it was sealed under.
        assert_eq!(std::fs::read_dir(aside).unwrap().count(), 2);
        opening.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_last_record_is_named_not_cut() {
    let folder = tempfile::tempdir().unwrap();
    let opening = open(folder.path());
    let id = accept(&*opening.store, &["a@x.example"], b"x")
        .await
        .unwrap()
        .id;
    opening.store.close().await;
    let name = segments(folder.path()).pop().unwrap();
    let mut journal = std::fs::read(&name).unwrap();
    *journal.last_mut().unwrap() ^= 1;
    std::fs::write(&name, journal).unwrap();
    std::fs::remove_dir_all(folder.path().join("spool/index")).unwrap();
    let opening = open(folder.path());
    assert_eq!(opening.opened.cut, None);
    assert_eq!(opening.opened.damaged[0].id, Some(id));
}

/// Copies taken file by file while messages come and go, as no crash would be
/// kind enough to leave them: all that was answered before is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_taken_at_work_hold_all_that_was_answered() {
    let folder = tempfile::tempdir().unwrap();
    let opening = open(folder.path());
    let store = opening.store;
    let kept = Arc::new(std::sync::Mutex::new(Vec::new()));
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut tasks = Vec::new();
    for task in 0..8usize {
        let (store, kept, done) = (Arc::clone(&store), Arc::clone(&kept), Arc::clone(&done));
        tasks.push(tokio::spawn(async move {
            let mut n = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let octets = pattern([300, 40_000, 1_200_000][n % 3] + task);
                let id = accept(&*store, &["a@x.example"], &octets).await.unwrap().id;
                if n % 2 == 0 {
                    let done = vec![change(0, State::Delivered, None)];
                    store.settle(settlement(id, done)).await.unwrap();
                } else {
                    kept.lock().unwrap().push((id, octets));
                }
                n += 1;
            }
        }));
    }
    for round in 0..6 {
        while kept.lock().unwrap().len() < 20 * (round + 1) {
            tokio::task::yield_now().await;
        }
        let answered = kept.lock().unwrap().clone();
        let copied = tempfile::tempdir().unwrap();
        copy(folder.path(), copied.path());
        let again = open(copied.path());
        assert!(!again.opened.was_clean);
        let found = listed(&*again.store).await;
        for (id, octets) in answered {
            assert!(found.contains(&id), "{id} is lost in round {round}");
            assert!(body_of(&*again.store, id).await == octets);
        }
        again.store.close().await;
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
}

/// Noise, holes and cuts anywhere in the folder: opening gives a spool or an
/// error that says what to do, never a panic, and never an endless search.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_damage_never_panics() {
    let (folder, kept) = filled(6, true).await;
    let mut seed = 0x2545_F491_4F6C_DD1Du64;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below.max(1)
    };
    for _ in 0..40 {
        let copied = tempfile::tempdir().unwrap();
        copy(folder.path(), copied.path());
        let spool = copied.path().join("spool");
        let mut files = segments(copied.path());
        files.extend(files.clone().iter().map(|f| f.with_extension("key")));
        for name in [
            "checkpoint",
            "inflight",
            "clean",
            "index.key",
            "index/db",
            "index/conf",
        ] {
            files.push(spool.join(name));
        }
        for _ in 0..=random(3) {
            let file = &files[random(files.len() as u64) as usize];
            let mut octets = std::fs::read(file).unwrap();
            let at = random(octets.len() as u64) as usize;
            match random(4) {
                0 => octets.truncate(at),
                1 => octets[at..].fill(0),
                2 => octets.extend_from_slice(&pattern(at % 5_000)),
                _ => octets.iter_mut().skip(at).take(40).for_each(|o| *o ^= 0xA5),
            }
            std::fs::write(file, octets).unwrap();
        }
        if let Ok(opening) = try_open(settings(copied.path()), Arc::new(RealDisk)) {
            for id in listed(&*opening.store).await {
                assert!(
                    kept.iter().any(|(kept, _)| *kept == id) || opening.opened.rebuilt.is_some()
                );
                if let Ok(stored) = opening.store.load(id).await {
                    let _ = read(&*stored.body).await;
                }
            }
            accept(&*opening.store, &["a@x.example"], b"goes on")
                .await
                .unwrap();
            opening.store.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_come_again_until_they_were_synced() {
    let folder = tempfile::tempdir().unwrap();
    let opening = open(folder.path());
    let store = opening.store;
    let id = accept(&*store, &["a@x.example"], b"x").await.unwrap().id;
    let later = vec![change(0, State::Queued, Some(at(5)))];
    let mut first = settlement(id, later.clone());
    first.events = vec![event(1, id)];
    store.settle(first).await.unwrap();
    store.maintain().await;
    opening
        .sink
        .is_failing
        .store(true, std::sync::atomic::Ordering::Relaxed);
    let mut second = settlement(id, later);
    second.events = vec![event(2, id)];
    store.settle(second).await.unwrap();
    let copied = tempfile::tempdir().unwrap();
    copy(folder.path(), copied.path());
    let again = open(copied.path());
    assert_eq!(again.sink.ids(), [event(2, id).event]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suspects_are_what_was_under_way() {
    let folder = tempfile::tempdir().unwrap();
    let opening = open(folder.path());
    let store = opening.store;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(accept(&*store, &["a@x.example"], b"x").await.unwrap().id);
    }
    for id in &ids {
        store.begin_attempt(*id);
    }
    store.begin_attempt(ids[1]);
    store.end_attempt(ids[0]);
    store.end_attempt(ids[1]);
    let done = vec![change(0, State::Delivered, None)];
    store.settle(settlement(ids[3], done)).await.unwrap();
    let copied = tempfile::tempdir().unwrap();
    copy(folder.path(), copied.path());
    let again = open(copied.path());
    assert_eq!(again.store.take_suspects(), ids[1..3]);
    assert!(again.store.take_suspects().is_empty());
    again.store.close().await;
    assert!(open(copied.path()).store.take_suspects().is_empty());
    store.close().await;
    assert!(open(folder.path()).store.take_suspects().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_missing_and_wrong_and_folders_locked() {
    let (folder, kept) = filled(3, true).await;
    let key = folder.path().join("keys/master");
    let octets = std::fs::read(&key).unwrap();
    assert_eq!(octets.len(), 32);
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let again = || try_open(settings(folder.path()), Arc::new(RealDisk));
    std::fs::remove_file(&key).unwrap();
    assert!(matches!(again(), Err(OpenError::MissingKey(_))));
    assert!(!key.exists());
    std::fs::write(&key, [7; 32]).unwrap();
    assert!(matches!(again(), Err(OpenError::WrongKey(_))));
    std::fs::write(&key, [7; 31]).unwrap();
    assert!(matches!(again(), Err(OpenError::BadKey { .. })));
    std::fs::write(&key, &octets).unwrap();
    let opening = again().unwrap();
    check(&*opening.store, &kept).await;
    assert!(matches!(again(), Err(OpenError::Locked(_))));
    opening.store.close().await;
    again().unwrap();
}

/// Neither subject nor body nor who it is for can be read from the disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_in_the_clear() {
    let folder = tempfile::tempdir().unwrap();
    let opening = open(folder.path());
    let store = opening.store;
    let mut octets = b"Subject: Befund-4711\r\n\r\nThe diagnosis is confidential.\r\n".to_vec();
    accept(&*store, &["patient.zero@x.example"], &octets)
        .await
        .unwrap();
    octets.extend(pattern(2 << 20));
    let id = accept(&*store, &["patient.zero@x.example"], &octets)
        .await
        .unwrap()
        .id;
    let mut settled = settlement(id, vec![change(0, State::Queued, Some(at(5)))]);
    settled.changes[0].status.last_reply = Some("451 patient.zero greylisted".into());
    settled.messages = vec![dsn(1, id, &octets[..60])];
    store.settle(settled).await.unwrap();
    store.maintain().await;
    let mut files = 0;
    for words in [
        "Befund-4711",
        "confidential",
        "patient.zero",
        "greylisted",
        "Ward",
    ] {
        files = grep(folder.path(), words.as_bytes());
    }
    assert!(files >= 6, "{files}");
}

/// Fails where a file holds `words`; counts files.
fn grep(folder: &Path, words: &[u8]) -> usize {
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            files += grep(&entry.path(), words);
        } else {
            let octets = std::fs::read(entry.path()).unwrap();
            assert!(memchr::memmem::find(&octets, words).is_none(), "{entry:?}");
            files += 1;
        }
    }
    files
}

/// Segments go when they have nothing left to say; the few live messages move.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_segments_are_compacted_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let mut opening = open(folder.path());
    let store = opening.store;
    let octets = pattern(900_000);
    let mut kept = Vec::new();
    let large = pattern(3 << 20);
    let id = accept(&*store, &["a@x.example", "b@y.example"], &large)
        .await
        .unwrap()
        .id;
    let half = vec![change(0, State::Delivered, None)];
    store.settle(settlement(id, half)).await.unwrap();
    kept.push((id, large));
    let held = opening.fresh.recv().await.unwrap();
    let mut reading = held.body.open();
    let begun = reading.next().await.unwrap().unwrap();
    for n in 0..160 {
        let id = accept(&*store, &["a@x.example"], &octets).await.unwrap().id;
        if n == 20 {
            let mut bounced = settlement(id, vec![change(0, State::Bounced, None)]);
            bounced.messages = vec![dsn(1, id, b"a DSN that moves")];
            kept.push((bounced.messages[0].message.id, b"a DSN that moves".to_vec()));
            store.settle(bounced).await.unwrap();
        } else {
            let done = vec![change(0, State::Delivered, None)];
            store.settle(settlement(id, done)).await.unwrap();
        }
    }
    assert!(
        !segments(folder.path())[0].ends_with("00000001") || segments(folder.path()).len() >= 2
    );
    for _ in 0..3 {
        store.maintain().await;
    }
    kept.sort();
    assert_eq!(segments(folder.path()).len(), 1);
    assert!(store.stats().await.unwrap().disk < 40 << 20);
    check(&*store, &kept).await;
    // A body in someone's hands can still be read, from where it is now, and a
    // reading that was under way goes on.
    let mut read_on = begun.to_vec();
    while let Some(piece) = reading.next().await.unwrap() {
        read_on.extend_from_slice(&piece);
    }
    assert!(read_on == pattern(3 << 20));
    assert!(read(&*held.body).await.unwrap() == pattern(3 << 20));
    // No settled message comes back when all is read anew.
    let copied = tempfile::tempdir().unwrap();
    copy(folder.path(), copied.path());
    std::fs::remove_dir_all(copied.path().join("spool/index")).unwrap();
    let again = open(copied.path());
    check(&*again.store, &kept).await;
    let stored = again.store.load(id).await.unwrap();
    assert_eq!(stored.recipients[0].state, State::Delivered);
}

/// An empty spool gives its room back, also that of a segment that is not full.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_spool_takes_next_to_no_room() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).store;
    let octets = pattern(900_000);
    let mut ids = Vec::new();
    for _ in 0..30 {
        ids.push(accept(&*store, &["a@x.example"], &octets).await.unwrap().id);
    }
    store.maintain().await;
    assert!(store.stats().await.unwrap().disk > 25 << 20);
    let (last, others) = ids.split_last().unwrap();
    for id in others {
        let done = vec![change(0, State::Delivered, None)];
        store.settle(settlement(*id, done)).await.unwrap();
    }
    store.maintain().await;
    assert_eq!(segments(folder.path()).len(), 1, "one still waits in it");
    let done = vec![change(0, State::Delivered, None)];
    store.settle(settlement(*last, done)).await.unwrap();
    for _ in 0..2 {
        store.maintain().await;
    }
    assert!(store.stats().await.unwrap().disk < 1 << 20);
    let id = accept(&*store, &["a@x.example"], b"and goes on")
        .await
        .unwrap()
        .id;
    check(&*store, &[(id, b"and goes on".to_vec())]).await;
}

/// A settlement outlives the record it settles, whichever segment could go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settlements_outlive_what_they_settle() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).store;
    // The first segment stays half live, so it stays.
    let octets = pattern(900_000);
    let mut ids = Vec::new();
    for _ in 0..60 {
        ids.push(accept(&*store, &["a@x.example"], &octets).await.unwrap().id);
    }
    let mut kept = ids.split_off(30);
    // A second segment holds settlements for the first, and is itself all dead.
    for _ in 0..80 {
        let id = accept(&*store, &["a@x.example"], &octets).await.unwrap().id;
        let done = vec![change(0, State::Delivered, None)];
        store.settle(settlement(id, done.clone())).await.unwrap();
        if let Some(old) = ids.pop() {
            store.settle(settlement(old, done)).await.unwrap();
        }
    }
    kept.push(accept(&*store, &["a@x.example"], b"x").await.unwrap().id);
    for _ in 0..3 {
        store.maintain().await;
    }
    assert_eq!(listed(&*store).await, kept);
    let copied = tempfile::tempdir().unwrap();
    copy(folder.path(), copied.path());
    std::fs::remove_dir_all(copied.path().join("spool/index")).unwrap();
    assert_eq!(listed(&*open(copied.path()).store).await, kept);
}

/// What only speaks of older segments need not outlive them, and a settled message
/// stays settled all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_of_which_nothing_lives_goes_before_those_it_speaks_of() {
    let folder = tempfile::tempdir().unwrap();
    let mut small = settings(folder.path());
    // Segments of 1 MiB.
    small.max_size = 16 << 20;
    let store = try_open(small, Arc::new(RealDisk)).unwrap().store;
    let octets = pattern(90_000);
    let two = ["a@x.example", "b@y.example"];
    let mut kept = Vec::new();
    // The first segments stay: what is in them waits, but for one message of each.
    let mut ended = Vec::new();
    for n in 0..40 {
        let id = accept(&*store, &two, &octets).await.unwrap().id;
        match n % 10 {
            0 => ended.push(id),
            _ => kept.push(id),
        }
    }
    let first = segments(folder.path());
    // Those behind say something of each message in them, and hold much that goes.
    let through = || async {
        for _ in 0..15 {
            let id = accept(&*store, &["a@x.example"], &octets).await.unwrap().id;
            let done = vec![change(0, State::Delivered, None)];
            store.settle(settlement(id, done)).await.unwrap();
        }
    };
    for (n, id) in (0i64..).zip(&kept) {
        let mut waits = change(1, State::Queued, Some(at(1000 + n)));
        waits.status.attempts = 3;
        let half = vec![change(0, State::Delivered, None), waits];
        store.settle(settlement(*id, half)).await.unwrap();
        if n % 9 == 0
            && let Some(id) = ended.pop()
        {
            let both = (0..2).map(|i| change(i, State::Bounced, None)).collect();
            store.settle(settlement(id, both)).await.unwrap();
        }
        if n % 2 == 0 {
            through().await;
            store.maintain().await;
        }
    }
    assert!(ended.is_empty());
    let left = segments(folder.path());
    let old = left.iter().filter(|path| first.contains(path)).count();
    assert!(old >= 3, "the first were not to be moved: {left:?}");
    let disk = store.stats().await.unwrap().disk;
    assert!(left.len() <= 8, "{disk} octets in {left:?}");
    // The index lost, nobody comes back, and who waits stands as before.
    let before = store.list(&Default::default(), None, 999).await.unwrap();
    assert_eq!(before.len(), kept.len());
    let copied = tempfile::tempdir().unwrap();
    copy(folder.path(), copied.path());
    std::fs::remove_dir_all(copied.path().join("spool/index")).unwrap();
    let mut again = settings(copied.path());
    again.max_size = 16 << 20;
    let again = try_open(again, Arc::new(RealDisk)).unwrap().store;
    assert_eq!(listed(&*again).await, kept);
    let after = again.list(&Default::default(), None, 999).await.unwrap();
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.recipients, after.recipients);
    }
    // And a check that knows no index says the same.
    store.close().await;
    let disk = Arc::new(RealDisk);
    let checked = postern::spool::check(&settings(folder.path()), disk, &SystemEntropy::default());
    let checked = checked.unwrap();
    assert!(checked.is_well, "{checked:?}");
    assert_eq!(checked.messages, kept.len() as u64);
}

/// A message that was moved away from a segment which has to stay (another one in it is
/// damaged), and moved again, leaves a record there of which nothing may come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_moved_twice_and_settled_stays_settled() {
    let folder = tempfile::tempdir().unwrap();
    let mut small = settings(folder.path());
    small.max_size = 16 << 20;
    let store = try_open(small, Arc::new(RealDisk)).unwrap().store;
    let octets = pattern(90_000);
    let done = || vec![change(0, State::Delivered, None)];
    accept(&*store, &["a@x.example"], &octets).await.unwrap();
    let moved = accept(&*store, &["a@x.example"], &octets).await.unwrap().id;
    let stays = segments(folder.path())[0].clone();
    let mut journal = std::fs::read(&stays).unwrap();
    journal[50_000] ^= 1;
    std::fs::write(&stays, journal).unwrap();
    let through = |rounds| {
        let (store, octets) = (&store, &octets);
        async move {
            for _ in 0..rounds {
                for _ in 0..15 {
                    let id = accept(&**store, &["a@x.example"], octets).await.unwrap().id;
                    store.settle(settlement(id, done())).await.unwrap();
                }
                store.maintain().await;
            }
        }
    };
    through(8).await;
    // What moves it last is in a segment that many others keep.
    let mut kept = Vec::new();
    for _ in 0..40 {
        kept.push(accept(&*store, &["a@x.example"], &octets).await.unwrap().id);
    }
    through(4).await;
    store.settle(settlement(moved, done())).await.unwrap();
    for round in 0..8 {
        through(1).await;
        assert_eq!(
            segments(folder.path())[0],
            stays,
            "the damaged message keeps it"
        );
        let copied = tempfile::tempdir().unwrap();
        copy(folder.path(), copied.path());
        std::fs::remove_dir_all(copied.path().join("spool/index")).unwrap();
        let again = open(copied.path());
        assert_eq!(listed(&*again.store).await, kept, "round {round}");
        again.store.close().await;
    }
}

/// A segment whose key is damaged is named and kept: the key may be mended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_without_its_key_is_named_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).store;
    let lost = accept(&*store, &["a@x.example"], b"lost").await.unwrap().id;
    store.close().await;
    let store = open(folder.path()).store;
    let kept = accept(&*store, &["a@x.example"], b"kept").await.unwrap().id;
    store.close().await;
    let key = segments(folder.path())[0].with_extension("key");
    let good = std::fs::read(&key).unwrap();
    std::fs::write(&key, [9; 40]).unwrap();
    std::fs::remove_dir_all(folder.path().join("spool/index")).unwrap();
    let opening = open(folder.path());
    assert_eq!(opening.opened.damaged.len(), 1);
    assert_eq!(opening.opened.damaged[0].segment, 1);
    assert_eq!(listed(&*opening.store).await, [kept]);
    opening.store.maintain().await;
    opening.store.maintain().await;
    opening.store.close().await;
    std::fs::write(&key, good).unwrap();
    std::fs::remove_dir_all(folder.path().join("spool/index")).unwrap();
    let opening = open(folder.path());
    // The clock starts anew with each opening here, so their order is open.
    let mut both = [lost, kept];
    both.sort();
    assert_eq!(listed(&*opening.store).await, both);
}

/// Octets of the index's file.
fn index_length(folder: &Path) -> u64 {
    std::fs::metadata(folder.join("spool/index/db"))
        .unwrap()
        .len()
}

/// Much that came and went must not leave a large index behind; what is still there
/// must be in the small one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_index_becomes_small_when_its_messages_have_gone() {
    let folder = tempfile::tempdir().unwrap();
    let opening = open(folder.path());
    let store = opening.store;
    let kept = fill(&*store, 20).await;
    let addresses: Vec<String> = (0..1000).map(|n| format!("r{n}@x.example")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let all = |state: State, next| {
        let one = |index| {
            let mut change = change(index, state, next);
            change.status.last_reply = Some("x".repeat(500));
            change
        };
        (0..1000).map(one).collect::<Vec<_>>()
    };
    let mut ids = Vec::new();
    for _ in 0..80 {
        let id = accept(&*store, &addresses, b"x").await.unwrap().id;
        let later = settlement(id, all(State::Queued, Some(at(5))));
        store.settle(later).await.unwrap();
        ids.push(id);
    }
    store.maintain().await;
    let large = index_length(folder.path());
    assert!(large > 32 << 20, "{large}");
    for id in ids {
        let done = settlement(id, all(State::Delivered, None));
        store.settle(done).await.unwrap();
    }
    store.maintain().await;
    let small = index_length(folder.path());
    assert!(small < large / 3, "{large} {small}");
    check(&*store, &kept).await;
    // It is the index in earnest: what is entered now is there after a crash.
    let more = accept(&*store, &["a@x.example"], b"more").await.unwrap().id;
    store.maintain().await;
    let copied = tempfile::tempdir().unwrap();
    copy(folder.path(), copied.path());
    // A copy of the index that was cut off is swept away.
    std::fs::create_dir(copied.path().join("spool/index.next")).unwrap();
    let again = open(copied.path());
    assert_eq!(again.opened.rebuilt, None);
    assert!(!copied.path().join("spool/index.next").exists());
    assert_eq!(body_of(&*again.store, more).await, b"more");
    assert_eq!(listed(&*again.store).await.len(), kept.len() + 1);
}
