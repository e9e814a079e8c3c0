//! A folder with an audit, a clock to set, and events.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::fixture::{at, settings};
use crate::outcome::Settings;
use crate::outcome::audit::{AuditFilter, AuditLog, Record, public_path, read, verify};
use crate::sys::{Clock, Disk, RealDisk, SystemEntropy};
use crate::types::{AuditEvent, EventSink, Evidence, Method, QueueId, State, Timestamp};

/// A clock that shows what it was set to.
#[derive(Debug, Clone)]
pub(super) struct Hands(Arc<Mutex<Timestamp>>);

impl Hands {
    pub(super) fn new(time: &str) -> Self {
        Self(Arc::new(Mutex::new(at(time))))
    }

    pub(super) fn set(&self, time: &str) {
        *self.0.lock().unwrap() = at(time);
    }
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

pub(super) fn start() -> Timestamp {
    at("2026-11-22T08:00:00Z")
}

/// The `n`-th event, which happened at a time.
pub(super) fn event_at(n: u8, time: &str) -> AuditEvent {
    let time = at(time);
    AuditEvent {
        event: QueueId::new(time, [1, 0, 0, n]),
        id: QueueId::new(start(), [0, 0, 0, n]),
        time,
        sender: "nurse@clinic.example".into(),
        recipient: format!("A{n}@x.example"),
        state: [State::Delivered, State::Queued][usize::from(n % 2)],
        method: Some(Method::Tls),
        reason: None,
        reply: Some("250 2.0.0 \"Ok\"\n".into()),
        evidence: Evidence::default(),
    }
}

/// The `n`-th event, on one of three days in turn.
pub(super) fn event(n: u8) -> AuditEvent {
    let day = start() + Duration::from_secs(24 * 3600) * u32::from(n % 3);
    event_at(n, &day.to_string())
}

pub(super) fn settings_of(folder: &Path) -> Settings {
    Settings {
        audit_folder: folder.to_owned(),
        audit_key: folder.join("keys/audit"),
        ..settings()
    }
}

/// Opens as the daemon does, with a clock that stands.
pub(super) fn open_on(disk: Arc<dyn Disk>, folder: &Path) -> AuditLog {
    open_with(
        disk,
        &Hands::new("2026-11-22T08:00:00Z"),
        &settings_of(folder),
    )
}

pub(super) fn open(folder: &Path) -> AuditLog {
    open_on(Arc::new(RealDisk), folder)
}

pub(super) fn open_with(disk: Arc<dyn Disk>, clock: &Hands, settings: &Settings) -> AuditLog {
    let entropy = SystemEntropy::default();
    let mut log = AuditLog::open(disk, Arc::new(clock.clone()), &entropy, settings).unwrap();
    log.begin().unwrap();
    log
}

pub(super) fn records(folder: &Path, filter: &AuditFilter) -> Vec<Record> {
    let records = read(folder, filter).unwrap();
    records.collect::<Result<_, _>>().unwrap()
}

pub(super) fn everything(folder: &Path) -> Vec<Record> {
    records(folder, &AuditFilter::default())
}

/// The day files, oldest first.
pub(super) fn day_files(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
        .collect();
    paths.sort();
    paths
}

/// What is broken, in words.
pub(super) fn broken(folder: &Path) -> Vec<String> {
    let key = public_path(&folder.join("keys/audit"));
    let found = verify(folder, &key, &[]).unwrap();
    assert_eq!(found.intact, found.breaks.is_empty());
    let words = found.breaks.into_iter().map(|b| match b.place {
        Some(place) => format!("{}:{}: {}", place.file, place.line, b.what),
        None => b.what,
    });
    words.collect()
}
