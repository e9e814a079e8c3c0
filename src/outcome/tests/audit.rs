//! Writing the audit once, whatever happens, and reading it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use crate::outcome::audit::{AuditError, AuditFilter, AuditLog, Record, read};
use crate::sys::{Disk, DiskFile, RealDisk};
use crate::types::{
    AuditEvent, AuthenticatedBy, CertificateFacts, EventSink, Evidence, Method, QueueId, Reason,
    Remote, State, Timestamp, TlsFacts, TlsLevel,
};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn start() -> Timestamp {
    "2026-11-22T08:00:00Z".parse().unwrap()
}

fn event(n: u8) -> AuditEvent {
    // Three days in turn.
    let time = start() + DAY * u32::from(n % 3);
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
        actor: None,
        note: None,
    }
}

fn open(folder: &Path) -> AuditLog {
    AuditLog::open(Arc::new(RealDisk), folder).unwrap()
}

fn records(folder: &Path, filter: &AuditFilter) -> Vec<Record> {
    let records = read(folder, filter).unwrap();
    records.collect::<Result<_, _>>().unwrap()
}

fn everything(folder: &Path) -> Vec<Record> {
    records(folder, &AuditFilter::default())
}

#[test]
fn a_line_holds_the_contracts_fields() {
    let folder = tempfile::tempdir().unwrap();
    let mut event = event(0);
    event.evidence = Evidence {
        rule: Some("clinics".into()),
        configuration: "0123456789abcdef".into(),
        required: Some(TlsLevel::Encrypted),
        achieved: Some(TlsLevel::Authenticated),
        authenticated_by: Some(AuthenticatedBy::PkixUnsignedMx),
        tls: Some(TlsFacts {
            version: "TLSv1.3".into(),
            cipher: "TLS13_AES_256_GCM_SHA384".into(),
            group: "X25519".into(),
            certificate: Some(CertificateFacts {
                sha256: "ab".into(),
                names: vec!["mx.x.example".into()],
                not_after: Some(start()),
            }),
        }),
        remote: Some(Remote {
            name: "mx.x.example".into(),
            address: "[2001:db8::1]:25".parse().ok(),
        }),
        passed_over: vec![(Method::Cleartext, Reason::NoStarttls)],
    };
    let mut log = open(folder.path());
    log.append(&[event.clone()]).unwrap();
    log.sync().unwrap();
    let text = std::fs::read_to_string(folder.path().join("2026-11-22.jsonl")).unwrap();
    let found: serde_json::Value = serde_json::from_str(&text).unwrap();
    let wanted = serde_json::json!({
        "id": event.id.to_string(),
        "time": "2026-11-22T08:00:00.000Z",
        "sender": "nurse@clinic.example",
        "recipient": "A0@x.example",
        "state": "delivered",
        "method": "tls",
        "reason": null,
        "tls": {
            "version": "TLSv1.3",
            "cipher": "TLS13_AES_256_GCM_SHA384",
            "group": "X25519",
            "certificate": {
                "sha256": "ab",
                "names": ["mx.x.example"],
                "not_after": "2026-11-22T08:00:00.000Z"
            },
            "authenticated_by": "pkix-unsigned-mx"
        },
        "remote": "mx.x.example[2001:db8::1]:25",
        "reply": "250 2.0.0 \"Ok\"\n",
        "event": event.event.to_string(),
        "rule": "clinics",
        "configuration": "0123456789abcdef",
        "required": "encrypted",
        "achieved": "authenticated",
        "passed_over": [{"method": "cleartext", "reason": "no-starttls"}],
        "actor": null,
        "note": null
    });
    assert_eq!(found, wanted);
    assert_eq!(text.lines().count(), 1);
    assert_eq!(everything(folder.path()), [Record::from(&event)]);
}

#[test]
fn files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("audit");
    open(&inner).append(&[event(0)]).unwrap();
    for path in [inner.clone(), inner.join("2026-11-22.jsonl")] {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
}

#[test]
fn filters() {
    let folder = tempfile::tempdir().unwrap();
    let events: Vec<AuditEvent> = (0..9).map(event).collect();
    open(folder.path()).append(&events).unwrap();
    let found = |filter: AuditFilter| records(folder.path(), &filter).len();
    assert_eq!(found(AuditFilter::default()), 9);
    let since = Some(start() + DAY);
    assert_eq!(
        found(AuditFilter {
            since,
            ..AuditFilter::default()
        }),
        6
    );
    let since = Some(start() + DAY + Duration::from_secs(1));
    assert_eq!(
        found(AuditFilter {
            since,
            ..AuditFilter::default()
        }),
        3
    );
    let recipient = Some("a4@X.example".to_owned());
    assert_eq!(
        found(AuditFilter {
            recipient,
            ..AuditFilter::default()
        }),
        1
    );
    let state = Some(State::Queued);
    assert_eq!(
        found(AuditFilter {
            state,
            ..AuditFilter::default()
        }),
        4
    );
    let id = Some(events[5].id);
    assert_eq!(
        found(AuditFilter {
            id,
            ..AuditFilter::default()
        }),
        1
    );
    assert_eq!(
        found(AuditFilter {
            id,
            state: Some(State::Dead),
            ..AuditFilter::default()
        }),
        0
    );
    let nowhere = folder.path().join("nowhere");
    assert_eq!(records(&nowhere, &AuditFilter::default()), []);
}

#[test]
fn a_broken_line_is_named_and_the_rest_is_read() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).append(&[event(0), event(3)]).unwrap();
    let path = folder.path().join("2026-11-22.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let (first, second) = text.split_once('\n').unwrap();
    let long = "x".repeat(3 * 1024 * 1024);
    std::fs::write(&path, format!("{first}\n\0\0junk\n{long}\n{second}")).unwrap();
    let found: Vec<_> = read(folder.path(), &AuditFilter::default())
        .unwrap()
        .collect();
    assert_eq!(found.len(), 4);
    assert!(found[0].is_ok() && found[3].is_ok());
    for (place, wanted) in [(1, 2), (2, 3)] {
        match &found[place] {
            Err(AuditError::Broken { path, line }) => {
                assert_eq!(
                    (path.file_name().unwrap(), *line),
                    ("2026-11-22.jsonl".as_ref(), wanted)
                );
            }
            other => panic!("{other:?}"),
        }
    }
    // The writer leaves it where it is.
    open(folder.path())
        .append(&[event(0), event(3), event(6)])
        .unwrap();
    assert_eq!(
        read(folder.path(), &AuditFilter::default())
            .unwrap()
            .count(),
        5
    );
}

#[test]
fn a_line_that_is_being_written_is_left_for_later() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).append(&[event(0), event(1)]).unwrap();
    for (day, found) in [("2026-11-23", 1), ("2026-11-22", 1)] {
        let path = folder.path().join(format!("{day}.jsonl"));
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, &text[..text.len() / 2]).unwrap();
        let items: Vec<_> = read(folder.path(), &AuditFilter::default())
            .unwrap()
            .collect();
        assert_eq!(items.len(), found);
        // In a file of the past it will not be completed.
        assert_eq!(items[0].is_err(), day == "2026-11-22");
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Hands over events, from one and so many.
    Append(u8, u8),
    Sync,
    /// Opens anew, as after a crash that tore so many octets off the day's file.
    Reopen(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u8..40, 1u8..8).prop_map(|(from, many)| Step::Append(from, many)),
        Just(Step::Sync),
        (0u16..400).prop_map(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    /// However often events are handed over, in whatever runs and over whatever
    /// crashes: after a last replay each is there once and whole.
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
                Step::Sync => log.sync().unwrap(),
                Step::Reopen(torn) => {
                    drop(log);
                    tear(folder.path(), torn);
                    log = open(folder.path());
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
    }
}

/// Cuts octets off each file's end, as a crash does to what was not durable.
fn tear(folder: &Path, octets: u16) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mut text = std::fs::read(&path).unwrap();
        text.truncate(text.len().saturating_sub(usize::from(octets)));
        std::fs::write(&path, text).unwrap();
    }
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
            // The kernel has dropped the pages.
            self.inner.set_len(self.inner.len()? / 2)?;
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
    let mut log = AuditLog::open(Arc::new(disk.clone()), folder.path()).unwrap();
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
    let mut log = AuditLog::open(Arc::new(disk.clone()), folder.path()).unwrap();
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
