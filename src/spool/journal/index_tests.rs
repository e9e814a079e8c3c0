//! The index against a plain map, with its changes on all ways to the database.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::sys::SystemEntropy;

#[derive(Debug, Clone)]
enum Step {
    /// Keys with their new values.
    Apply(Vec<(u8, Option<u8>)>),
    /// All into the database.
    Flush,
    /// A layer is closed and not written yet, as in the middle of a flush.
    Close,
    /// The database is closed after a flush, and opened again.
    Reopen,
    /// A copy is begun, unless one is.
    Begin,
    /// The copy takes the database's place, if there is one.
    Change,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = (0u8..12, prop::option::of(0u8..4));
    let step = prop_oneof![
        4 => prop::collection::vec(change, 1..6).prop_map(Step::Apply),
        1 => Just(Step::Flush),
        1 => Just(Step::Close),
        1 => Just(Step::Reopen),
        1 => Just(Step::Begin),
        1 => Just(Step::Change),
    ];
    prop::collection::vec(step, 1..14)
}

/// Three families of keys, so that there is something on both sides of a prefix.
fn key(number: u8) -> Vec<u8> {
    vec![b"amz"[usize::from(number % 3)], number / 3]
}

/// A value; 0 is the empty one.
fn value(number: u8) -> Vec<u8> {
    vec![number; usize::from(number)]
}

fn secret() -> Arc<SecretKey> {
    Arc::new(SecretKey::generate(&SystemEntropy::default()).unwrap())
}

/// sled's own threads may hold the lock of a database for a moment after its end.
fn open(folder: &Path, secret: &Arc<SecretKey>) -> Index {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        match Index::open(folder, Arc::clone(secret), &SystemEntropy::default()) {
            Err(IndexError::Sled(sled::Error::Io(_))) if deadline > std::time::Instant::now() => {
                std::thread::yield_now();
            }
            opened => return opened.unwrap(),
        }
    }
}

fn same(index: &Index, model: &BTreeMap<Vec<u8>, Vec<u8>>) {
    for number in 0..12 {
        assert_eq!(
            index.get(&key(number)).unwrap(),
            model.get(&key(number)).cloned()
        );
    }
    for prefix in [b"a".as_slice(), b"m", b"z", b"b"] {
        let of_prefix = || model.iter().filter(|(key, _)| key.starts_with(prefix));
        assert_eq!(
            index.last(prefix).unwrap(),
            of_prefix().next_back().map(|(key, _)| key.clone())
        );
        for from in 0..5 {
            let from = [prefix, &[from]].concat();
            let behind = || of_prefix().filter(|(key, _)| **key >= from);
            assert_eq!(
                index.seek(prefix, &from).unwrap(),
                behind().next().map(|(key, _)| key.clone())
            );
            for limit in [0, 1, 2, 100] {
                let expected: Vec<Pair> = behind()
                    .take(limit)
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect();
                assert_eq!(index.scan(prefix, &from, limit).unwrap(), expected);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whoever_reads_sees_every_change(steps in steps()) {
        let spool = tempfile::tempdir().unwrap();
        let (mut number, mut now, mut has_copy) = (0, 0, false);
        let folder = |number: u32| spool.path().join(number.to_string());
        let secret = secret();
        let mut index = open(&folder(0), &secret);
        let mut model = BTreeMap::new();
        for step in steps {
            match step {
                Step::Apply(changes) => {
                    for (number, to) in &changes {
                        match to {
                            Some(to) => model.insert(key(*number), value(*to)),
                            None => model.remove(&key(*number)),
                        };
                    }
                    let changes = changes.into_iter();
                    index.apply(changes.map(|(k, v)| (key(k), v.map(value))).collect()).unwrap();
                }
                Step::Flush => index.flusher().flush().unwrap(),
                Step::Close => drop(index.0.overlay.write().unwrap().close_layer()),
                Step::Reopen => {
                    index.flusher().flush().unwrap();
                    drop(index);
                    index = open(&folder(now), &secret);
                    has_copy = false;
                }
                Step::Begin => {
                    number += u32::from(!has_copy);
                    if !has_copy {
                        index.begin_copy(&folder(number)).unwrap();
                        has_copy = true;
                    }
                }
                Step::Change if has_copy => {
                    while index.copy_some().unwrap() {}
                    index.flush_copy().unwrap();
                    let pending = index.close().ok().unwrap();
                    index = open(&folder(number), &secret);
                    index.take_over(pending);
                    (now, has_copy) = (number, false);
                }
                Step::Change => {}
            }
            same(&index, &model);
        }
    }
}

/// What came and went between two flushes leaves nothing in the database.
#[test]
fn what_was_never_there_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let index = open(folder.path(), &secret());
    index.apply(vec![(key(1), Some(value(3)))]).unwrap();
    index
        .apply(vec![(key(1), None), (key(2), Some(value(1)))])
        .unwrap();
    index.flusher().flush().unwrap();
    assert_eq!(index.0.db.len(), 1);
    assert!(index.0.overlay().get(&key(1)).is_none());
}

/// Memory is bounded without anybody flushing.
#[test]
fn many_changes_go_to_the_database_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let index = open(folder.path(), &secret());
    let changes = |n: u32| (n.to_be_bytes().to_vec(), Some(vec![7; 2048]));
    for group in 0..18 {
        index
            .apply((0..512).map(|n| changes(group * 512 + n)).collect())
            .unwrap();
    }
    assert!(!index.0.db.is_empty());
    assert_eq!(index.scan(&[], &[], usize::MAX).unwrap().len(), 18 * 512);
}

/// All keys of a message come to the database together, and its id tells whether they have.
#[test]
fn of_a_message_that_never_came_nothing_is_looked_for() {
    use crate::spool::journal::entry::{due_key, message_key, status_key};
    use crate::types::{Host, QueueId, Timestamp};

    let folder = tempfile::tempdir().unwrap();
    let secret = secret();
    let index = open(folder.path(), &secret);
    let keys = |octet: u8| {
        let id = QueueId::from_octets([octet; 12]);
        let due = crate::spool::Due {
            when: Timestamp::from_micros(5),
            id,
        };
        let host = Host::parse("a.example").unwrap();
        [message_key(id), due_key(&host, due), status_key(id, 0)]
    };
    let enter = |octet: u8| {
        let changes = keys(octet).map(|key| (key, Some(vec![1])));
        index.apply(changes.into()).unwrap();
    };
    let is_unknown =
        |index: &Index, octet: u8| keys(octet).map(|key| index.0.has_not_come_to(&key));
    enter(3);
    enter(4);
    assert_eq!(is_unknown(&index, 3), [true; 3]);
    // One goes before it was written, and leaves nothing to remove.
    index.apply(keys(4).map(|key| (key, None)).into()).unwrap();
    index.flusher().flush().unwrap();
    assert_eq!(is_unknown(&index, 3), [false; 3]);
    assert_eq!(is_unknown(&index, 4), [true; 3]);
    for key in keys(4) {
        assert_eq!(index.get(&key).unwrap(), None);
    }
    drop(index);
    let index = open(folder.path(), &secret);
    assert_eq!(is_unknown(&index, 3), [false; 3]);
    assert_eq!(is_unknown(&index, 4), [true; 3]);
    for key in keys(3) {
        assert_eq!(index.get(&key).unwrap(), Some(vec![1]));
        index.apply(vec![(key, None)]).unwrap();
    }
    index.flusher().flush().unwrap();
    for key in keys(3) {
        assert_eq!(index.get(&key).unwrap(), None);
    }
}
