//! The tables over restarts, kills and damage.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::*;
use crate::sys::{RealDisk, SystemEntropy};

/// A clock that tests set.
#[derive(Default)]
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

impl Hand {
    fn pass(&self, hours: i64) {
        self.0.fetch_add(hours * 3_600_000_000, Ordering::SeqCst);
    }
}

struct Scene {
    folder: tempfile::TempDir,
    clock: Arc<Hand>,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("master"), [7; 32]).unwrap();
        let scene = Self {
            folder,
            clock: Arc::default(),
        };
        fs::create_dir(scene.spool()).unwrap();
        scene
    }

    fn spool(&self) -> std::path::PathBuf {
        self.folder.path().join("spool")
    }

    fn settings(&self) -> Settings {
        Settings {
            folder: self.spool(),
            master_key: self.folder.path().join("master").into(),
            max_size: 1 << 30,
            message_size: 1 << 20,
        }
    }

    fn open(&self) -> (Tables, TablesOpened) {
        Tables::open(
            &self.settings(),
            Arc::new(RealDisk),
            self.clock.clone(),
            &SystemEntropy::default(),
        )
        .unwrap()
    }

    fn copy(&self) -> TablesCopy {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        Tables::copy(&self.settings(), &disk, &SystemEntropy::default()).unwrap()
    }

    /// What a kill would leave of the folder, in another scene.
    fn as_killed(&self) -> Self {
        let other = Self::new();
        super::super::journal::check::copy_folder(&self.spool(), &other.spool()).unwrap();
        other
    }
}

/// Puts a value of each length that matters; gives them back.
fn fill(table: &Arc<dyn Table>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let lengths = [0, 1, 3071, 3072, 3073, 6144, VALUE_MAX];
    let pairs: Vec<_> = lengths
        .iter()
        .map(|n| (format!("{n:06}").into_bytes(), vec![b'v'; *n]))
        .collect();
    for (key, value) in &pairs {
        table.put(key, value).unwrap();
    }
    pairs
}

#[test]
fn what_was_put_is_there_after_a_restart_and_in_its_own_table() {
    let scene = Scene::new();
    let (tables, opened) = scene.open();
    assert_eq!(opened, TablesOpened::default());
    let table = tables.table("one");
    let pairs = fill(&table);
    tables.table("one-more").put(b"000001", b"other").unwrap();
    assert!(table.put(b"k", &vec![0; VALUE_MAX + 1]).is_err());
    drop(tables);
    let (tables, opened) = scene.open();
    assert_eq!(opened, TablesOpened::default());
    let table = tables.table("one");
    assert_eq!(table.all().unwrap(), pairs);
    for (key, value) in &pairs {
        assert_eq!(table.get(key).unwrap().as_ref(), Some(value));
    }
    // Shorter, longer, gone.
    table.put(b"006144", b"short").unwrap();
    table.put(b"000001", &[1; 10_000]).unwrap();
    table.remove(b"003073").unwrap();
    table.remove(b"never").unwrap();
    assert_eq!(table.get(b"006144").unwrap().unwrap(), b"short");
    assert_eq!(table.get(b"000001").unwrap().unwrap(), [1; 10_000]);
    assert_eq!(table.get(b"003073").unwrap(), None);
    assert_eq!(table.all().unwrap().len(), pairs.len() - 1);
    let raw = tables.shared.database.raw().unwrap();
    // 1 + 1 + 4 + 1 + 1 + 22 pieces, and the other table's one.
    assert_eq!(raw.len(), 31);
    assert!(raw.iter().all(|(_, value)| value.len() <= 4096));
}

#[test]
fn a_kill_loses_nothing_that_was_put() {
    let scene = Scene::new();
    let (tables, _) = scene.open();
    let pairs = fill(&tables.table("one"));
    // As the system has it at this moment: nothing was closed.
    let killed = scene.as_killed();
    let (after, opened) = killed.open();
    assert_eq!(opened.replaced, None);
    assert_eq!(after.table("one").all().unwrap(), pairs);
}

#[test]
fn values_are_sealed_on_the_disk() {
    let scene = Scene::new();
    let (tables, _) = scene.open();
    let secret = b"what-nobody-reads";
    tables.table("one").put(b"key", secret).unwrap();
    drop(tables);
    for file in [
        scene.spool().join("tables/db"),
        scene.spool().join("tables.dump"),
    ] {
        let octets = fs::read(&file).unwrap();
        assert!(!octets.windows(secret.len()).any(|w| w == secret));
        assert!(octets.windows(3).any(|w| w == b"key"), "{}", file.display());
    }
}

/// Ruins the database of a scene.
type Ruin = fn(&Path);

#[test]
fn a_database_that_is_no_good_comes_back_from_the_dump() {
    let ruins: [(&str, Ruin); 4] = [
        ("gone", |f| fs::remove_dir_all(f).unwrap()),
        ("no file", |f| fs::remove_file(f.join("db")).unwrap()),
        ("empty", |f| fs::write(f.join("db"), b"").unwrap()),
        ("noise", |f| {
            let length = fs::metadata(f.join("db")).unwrap().len();
            fs::write(f.join("db"), vec![0xA5; length as usize]).unwrap();
        }),
    ];
    for (name, ruin) in ruins {
        let scene = Scene::new();
        let (tables, _) = scene.open();
        let pairs = fill(&tables.table("one"));
        drop(tables);
        ruin(&scene.spool().join("tables"));
        assert_eq!(scene.copy().table("one").all().unwrap(), pairs, "{name}");
        let (tables, opened) = scene.open();
        assert!(opened.replaced.is_some(), "{name}");
        assert!(opened.restored > 0, "{name}");
        assert_eq!(opened.lost, None, "{name}");
        assert_eq!(tables.table("one").all().unwrap(), pairs, "{name}");
        drop(tables);
        let (_, opened) = scene.open();
        assert_eq!(opened, TablesOpened::default(), "{name}");
    }
}

#[test]
fn without_dump_or_key_it_begins_anew_and_says_so() {
    let lost: [(&str, Ruin); 3] = [
        ("dump", |f| {
            fs::write(f.join("tables.dump"), b"PstTable").unwrap();
            fs::write(f.join("tables/db"), b"").unwrap();
        }),
        ("key", |f| fs::remove_file(f.join("tables.key")).unwrap()),
        ("bad key", |f| {
            fs::write(f.join("tables.key"), [1; 40]).unwrap()
        }),
    ];
    for (name, lose) in lost {
        let scene = Scene::new();
        let (tables, _) = scene.open();
        fill(&tables.table("one"));
        drop(tables);
        lose(&scene.spool());
        let (tables, opened) = scene.open();
        assert!(opened.lost.is_some(), "{name}: {opened:?}");
        assert_eq!(tables.table("one").all().unwrap(), [], "{name}");
        tables.table("one").put(b"a", b"b").unwrap();
        drop(tables);
        let (tables, opened) = scene.open();
        assert_eq!(opened, TablesOpened::default(), "{name}");
        assert_eq!(tables.table("one").get(b"a").unwrap().unwrap(), b"b");
    }
}

#[test]
fn an_old_copy_of_the_database_is_noticed() {
    let scene = Scene::new();
    let (tables, _) = scene.open();
    tables.table("one").put(b"a", b"old").unwrap();
    drop(tables);
    let old = scene.as_killed();
    let (tables, _) = scene.open();
    tables.table("one").put(b"a", b"new").unwrap();
    drop(tables);
    fs::remove_dir_all(scene.spool().join("tables")).unwrap();
    fs::rename(old.spool().join("tables"), scene.spool().join("tables")).unwrap();
    let (tables, opened) = scene.open();
    assert!(opened.replaced.unwrap().contains("older"));
    assert_eq!(tables.table("one").get(b"a").unwrap().unwrap(), b"new");
}

#[test]
fn the_dump_is_made_once_a_day() {
    let scene = Scene::new();
    let (tables, _) = scene.open();
    // The thread would do this by itself, a second later.
    let maintain = || tables.shared.maintain(false);
    let epoch = || tables.shared.state().epoch;
    tables.table("one").put(b"a", b"1").unwrap();
    maintain();
    assert_eq!(epoch(), 1, "the first one at once");
    tables.table("one").put(b"a", b"2").unwrap();
    maintain();
    scene.clock.pass(23);
    maintain();
    assert_eq!(epoch(), 1);
    scene.clock.pass(1);
    maintain();
    assert_eq!(epoch(), 2);
    scene.clock.pass(48);
    maintain();
    assert_eq!(epoch(), 2, "nothing was changed");
}

#[test]
fn a_copy_reads_and_leaves_all_as_it_is() {
    let scene = Scene::new();
    let none: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    assert_eq!(scene.copy().table("one").all().unwrap(), none);
    let (tables, _) = scene.open();
    let pairs = fill(&tables.table("one"));
    drop(tables);
    let before = fs::read(scene.spool().join("tables/db")).unwrap();
    assert_eq!(scene.copy().table("one").all().unwrap(), pairs);
    assert_eq!(scene.copy().table("on").all().unwrap(), none);
    assert_eq!(fs::read(scene.spool().join("tables/db")).unwrap(), before);
}
