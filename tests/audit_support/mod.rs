//! An audit of a few days on a folder, both verifiers, and ways to tamper with it.

#![allow(dead_code)] // Each test file uses a part of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use postern::config;
use postern::outcome::audit::AuditLog;
use postern::sys::{Clock, RealDisk, SystemEntropy};
use postern::types::{AuditEvent, EventSink, Evidence, Method, QueueId, State, Timestamp};
use serde_json::Value;

/// The days that have events; on the 13th there were none.
pub(crate) const DAYS: [&str; 4] = ["2026-11-10", "2026-11-11", "2026-11-12", "2026-11-14"];
/// Events of a day; its head is the line behind them.
pub(crate) const EVENTS: u8 = 8;

struct Still(Timestamp);

impl Clock for Still {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// A data folder with an audit of four days, the last one not signed yet.
pub(crate) struct Audit {
    pub(crate) root: tempfile::TempDir,
}

impl Audit {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let text = "hostname = \"relay.clinic.example\"\ndata_dir = \"data\"\n";
        std::fs::write(root.path().join("postern.toml"), text).unwrap();
        let audit = Self { root };
        audit.write(&DAYS);
        audit
    }

    fn write(&self, days: &[&str]) {
        let config = config::load(&self.root.path().join("postern.toml")).unwrap();
        let clock = Still(format!("{}T00:00:00Z", DAYS[0]).parse().unwrap());
        let (disk, entropy) = (Arc::new(RealDisk), SystemEntropy::default());
        let mut log = AuditLog::open(disk, Arc::new(clock), &entropy, &config.outcome).unwrap();
        log.begin().unwrap();
        for (n, day) in (0..).zip(days) {
            let events: Vec<_> = (0..EVENTS).map(|e| event(n, e, day)).collect();
            log.append(&events).unwrap();
        }
        log.sync().unwrap();
    }

    pub(crate) fn file(&self, day: &str) -> PathBuf {
        self.root.path().join(format!("data/audit/{day}.jsonl"))
    }

    pub(crate) fn public_key(&self) -> PathBuf {
        self.root.path().join("data/keys/audit.pub.pem")
    }

    pub(crate) fn postern(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        let config = self.root.path().join("postern.toml");
        let command = command.arg("--config").arg(config).args(arguments);
        command.output().unwrap()
    }

    pub(crate) fn python(&self, heads: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/verify_audit.py");
        let mut command = Command::new("python3");
        command.arg(script).arg(self.root.path().join("data/audit"));
        command.arg(self.public_key()).args(heads);
        command.output().unwrap()
    }

    /// Changes the lines of a day.
    pub(crate) fn edit(&self, day: &str, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
        let octets = std::fs::read(self.file(day)).unwrap();
        let lines = octets.split_inclusive(|c| *c == b'\n');
        let mut lines: Vec<Vec<u8>> = lines.map(<[u8]>::to_vec).collect();
        assert!(lines.len() >= usize::from(EVENTS));
        change(&mut lines);
        std::fs::write(self.file(day), lines.concat()).unwrap();
    }

    /// The places that both verifiers name, which must be the same, and what
    /// Postern says of them.
    pub(crate) fn breaks(&self) -> (Vec<(String, u64)>, String) {
        let output = self.postern(&["audit", "verify", "--json"]);
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        let breaks = found["breaks"].as_array().unwrap();
        assert_eq!(found["intact"], breaks.is_empty());
        assert_eq!(output.status.code(), Some(i32::from(!breaks.is_empty())));
        let mut places: Vec<_> = breaks
            .iter()
            .map(|b| {
                (
                    b["file"].as_str().unwrap().to_owned(),
                    b["line"].as_u64().unwrap(),
                )
            })
            .collect();
        places.sort();
        places.dedup();
        let python = self.python(&[]);
        assert_eq!(python.status.code(), output.status.code(), "{python:?}");
        assert_eq!(python_places(&python), places, "{python:?}\n{found:#}");
        let text = self.postern(&["audit", "verify"]);
        assert_eq!(text.status.code(), output.status.code());
        (places, String::from_utf8(text.stdout).unwrap())
    }

    /// Both verifiers must find a break at these places, and Postern say this.
    pub(crate) fn is_broken_at(&self, places: &[(&str, u64)], words: &str) {
        let (found, text) = self.breaks();
        let wanted: Vec<_> = places
            .iter()
            .map(|(day, line)| (format!("{day}.jsonl"), *line))
            .collect();
        assert_eq!(found, wanted, "{text}");
        assert!(text.contains(words), "{text}");
        assert!(text.trim_end().ends_with("BROKEN"), "{text}");
    }
}

fn event(day_number: u8, n: u8, day: &str) -> AuditEvent {
    let time: Timestamp = format!("{day}T08:00:{n:02}Z").parse().unwrap();
    AuditEvent {
        event: QueueId::new(time, [0, 0, day_number, n]),
        id: QueueId::new(time, [1, 0, 0, n]),
        time,
        sender: "nurse@clinic.example".into(),
        recipient: format!("p{n}@x.example"),
        state: State::Delivered,
        method: Some(Method::Tls),
        reason: None,
        reply: Some(format!("250 2.0.0 Ok, \"{n}\" – grüezi")),
        evidence: Evidence::default(),
    }
}

/// The places in lines like `2026-11-10.jsonl, line 3: …`, sorted, each once.
fn python_places(output: &Output) -> Vec<(String, u64)> {
    let text = String::from_utf8_lossy(&output.stdout);
    let place = |line: &str| {
        let (file, rest) = line.split_once(", line ")?;
        Some((file.to_owned(), rest.split_once(':')?.0.parse().ok()?))
    };
    let mut places: Vec<_> = text.lines().filter_map(place).collect();
    places.sort();
    places.dedup();
    places
}
