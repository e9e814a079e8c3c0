//! Writing the audit once, whatever happens.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::audit_domain::turn;
use super::audit_folder::{
    Hands, broken, day_files, event, everything, open, open_on, open_with, settings_of,
};
use crate::sys::{Disk, DiskFile, RealDisk};
use crate::types::EventSink;

#[derive(Debug, Clone)]
enum Step {
    /// Hands over events, from one and so many.
    Append(u8, u8),
    /// Hands over what happened to a domain, on a day of November.
    Domain(u8, u8),
    Sync,
    /// Opens anew, as after a crash that tore so many octets off the open end,
    /// on a day of November; the clock may have been set back.
    Reopen(u16, u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u8..40, 1u8..8).prop_map(|(from, many)| Step::Append(from, many)),
        (0u8..40, 22u8..25).prop_map(|(n, day)| Step::Domain(n, day)),
        Just(Step::Sync),
        (0u16..800, 22u8..28).prop_map(|(torn, day)| Step::Reopen(torn, day)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    /// However often events are handed over, in whatever runs and over whatever
    /// crashes: after a last replay each is there once and whole, in one chain.
    #[test]
    fn replays_do_no_harm(steps in proptest::collection::vec(step(), 1..20)) {
        let folder = tempfile::tempdir().unwrap();
        let mut log = open(folder.path());
        for step in steps {
            match step {
                Step::Append(from, many) => {
                    let events: Vec<_> = (from..from + many).map(event).collect();
                    log.append(&events).unwrap();
                }
                Step::Domain(n, day) => {
                    let time = format!("2026-11-{day}T08:00:00Z");
                    log.append_domains(&[turn(n, "x.example", &time)]).unwrap();
                }
                Step::Sync => log.sync().unwrap(),
                Step::Reopen(torn, day) => {
                    drop(log);
                    tear(folder.path(), torn);
                    let clock = Hands::new(&format!("2026-11-{day}T08:00:00Z"));
                    let disk = Arc::new(RealDisk);
                    log = open_with(disk, &clock, &settings_of(folder.path()));
                }
            }
        }
        let events: Vec<_> = (0..48).map(event).collect();
        log.append(&events).unwrap();
        log.append(&events).unwrap();
        log.sync().unwrap();
        let mut found: Vec<String> =
            everything(folder.path()).into_iter().map(|r| r.event).collect();
        found.sort();
        let mut wanted: Vec<String> = events.iter().map(|e| e.event.to_string()).collect();
        wanted.sort();
        prop_assert_eq!(found, wanted);
        prop_assert_eq!(broken(folder.path()), Vec::<String>::new());
    }
}

/// Cuts octets off the newest file's end, as a crash does to what was not durable;
/// a head is durable before anything else is done.
fn tear(folder: &Path, octets: u16) {
    let Some(path) = day_files(folder).pop() else {
        return;
    };
    let mut text = std::fs::read(&path).unwrap();
    let last = text.split_inclusive(|c| *c == b'\n').next_back();
    if last.is_some_and(|line| line.windows(7).any(|w| w == b"\"head\":")) {
        return;
    }
    text.truncate(text.len().saturating_sub(usize::from(octets)));
    std::fs::write(&path, text).unwrap();
}

/// A disk whose writes or syncs fail while told to; a failing write leaves half.
#[derive(Debug, Clone, Default)]
struct Faulty {
    write: Arc<AtomicBool>,
    sync: Arc<AtomicBool>,
}

#[derive(Debug)]
struct FaultyFile {
    inner: Box<dyn DiskFile>,
    faults: Faulty,
}

fn fault() -> std::io::Error {
    std::io::Error::other("injected")
}

impl DiskFile for FaultyFile {
    fn write_all_at(&self, octets: &[u8], offset: u64) -> std::io::Result<()> {
        if self.faults.write.load(Ordering::SeqCst) {
            self.inner
                .write_all_at(&octets[..octets.len() / 2], offset)?;
            return Err(fault());
        }
        self.inner.write_all_at(octets, offset)
    }
    fn read_exact_at(&self, octets: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.inner.read_exact_at(octets, offset)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        if self.faults.sync.load(Ordering::SeqCst) {
            // The kernel has dropped a page.
            self.inner.set_len(self.inner.len()? - 10)?;
            return Err(fault());
        }
        self.inner.sync_data()
    }
    fn set_len(&self, length: u64) -> std::io::Result<()> {
        self.inner.set_len(length)
    }
    fn len(&self) -> std::io::Result<u64> {
        self.inner.len()
    }
}

impl Disk for Faulty {
    fn open(&self, path: &Path, create: bool) -> std::io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(FaultyFile {
            inner: RealDisk.open(path, create)?,
            faults: self.clone(),
        }))
    }
    fn read(&self, path: &Path, limit: usize) -> std::io::Result<Vec<u8>> {
        RealDisk.read(path, limit)
    }
    fn list(&self, folder: &Path) -> std::io::Result<Vec<std::path::PathBuf>> {
        RealDisk.list(folder)
    }
    fn create_folder(&self, folder: &Path) -> std::io::Result<()> {
        RealDisk.create_folder(folder)
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> std::io::Result<()> {
        RealDisk.remove(path)
    }
    fn sync_folder(&self, folder: &Path) -> std::io::Result<()> {
        RealDisk.sync_folder(folder)
    }
    fn free(&self, folder: &Path) -> std::io::Result<u64> {
        RealDisk.free(folder)
    }
}

#[test]
fn a_write_that_fails_leaves_no_half_line() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Faulty::default();
    let mut log = open_on(Arc::new(disk.clone()), folder.path());
    log.append(&[event(0)]).unwrap();
    disk.write.store(true, Ordering::SeqCst);
    assert!(log.append(&[event(3)]).is_err());
    assert_eq!(everything(folder.path()).len(), 1);
    disk.write.store(false, Ordering::SeqCst);
    log.append(&[event(3)]).unwrap();
    assert_eq!(everything(folder.path()).len(), 2);
}

#[test]
fn what_a_failed_sync_may_have_lost_is_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Faulty::default();
    let mut log = open_on(Arc::new(disk.clone()), folder.path());
    log.append(&[event(0), event(3)]).unwrap();
    disk.sync.store(true, Ordering::SeqCst);
    assert!(log.sync().is_err());
    assert!(
        log.append(&[event(6)]).is_err(),
        "nothing is taken meanwhile"
    );
    assert!(log.sync().is_err());
    disk.sync.store(false, Ordering::SeqCst);
    log.sync().unwrap();
    log.append(&[event(0), event(6)]).unwrap();
    let found: Vec<String> = everything(folder.path())
        .into_iter()
        .map(|r| r.recipient)
        .collect();
    assert_eq!(found, ["A0@x.example", "A3@x.example", "A6@x.example"]);
}

/// Zeros are what a power cut leaves where data was not written before the length.
#[test]
fn zeros_of_a_power_cut_are_cut_off_and_a_copy_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let events = [event(0), event(3), event(6)];
    open(folder.path()).append(&events).unwrap();
    let path = day_files(folder.path()).pop().unwrap();
    let mut text = std::fs::read(&path).unwrap();
    let second = text.iter().position(|c| *c == b'\n').unwrap() + 1;
    text[second + 5..second + 50].fill(0);
    std::fs::write(&path, &text).unwrap();
    let mut log = open(folder.path());
    assert_eq!(everything(folder.path()).len(), 1);
    let copy = folder.path().join(format!("2026-11-22.cut-at-{second}"));
    assert_eq!(std::fs::read(copy).unwrap(), text[second..]);
    log.append(&events).unwrap();
    assert_eq!(everything(folder.path()).len(), 3);
    assert_eq!(broken(folder.path()), Vec::<String>::new());
}

/// A head is never written twice, whatever fails on the way to the next day.
#[test]
fn a_change_of_day_that_fails_is_done_later() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Faulty::default();
    let mut log = open_on(Arc::new(disk.clone()), folder.path());
    log.append(&[event(0)]).unwrap();
    for fault in [&disk.write, &disk.sync] {
        fault.store(true, Ordering::SeqCst);
        assert!(log.append(&[event(1)]).is_err());
        assert!(log.append(&[event(1)]).is_err());
        fault.store(false, Ordering::SeqCst);
    }
    log.append(&[event(0), event(1), event(3)]).unwrap();
    log.sync().unwrap();
    assert_eq!(everything(folder.path()).len(), 3);
    assert_eq!(broken(folder.path()), Vec::<String>::new());
}
