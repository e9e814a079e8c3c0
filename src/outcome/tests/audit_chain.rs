//! Days, their heads, what comes late, and what is removed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::audit_folder::{Hands, broken, day_files, event_at, everything, open_with, settings_of};
use crate::outcome::audit::{
    AuditError, AuditLog, Findings, KeyError, OpenError, PublicKey, public_path, verify,
};
use crate::sys::{RealDisk, SystemEntropy};
use crate::types::EventSink;

fn open(clock: &Hands, folder: &Path) -> AuditLog {
    open_with(Arc::new(RealDisk), clock, &settings_of(folder))
}

fn findings(folder: &Path) -> Findings {
    verify(folder, &public_path(&folder.join("keys/audit")), &[]).unwrap()
}

fn days(folder: &Path) -> Vec<String> {
    let paths = day_files(folder);
    let name = |path: &std::path::PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    paths.iter().map(name).collect()
}

#[test]
fn a_day_is_signed_by_the_first_event_of_a_later_one() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Hands::new("2026-11-22T08:00:00Z");
    let mut log = open(&clock, folder.path());
    log.append(&[event_at(1, "2026-11-22T08:00:00Z")]).unwrap();
    let found = findings(folder.path());
    assert_eq!((found.signed_through, found.head), (None, None));
    assert_eq!(found.unsigned.unwrap().events, 1);
    // Days without an event have no file, and are linked over.
    log.append(&[event_at(2, "2026-11-25T08:00:00Z")]).unwrap();
    let found = findings(folder.path());
    assert!(found.intact, "{:?}", found.breaks);
    assert_eq!(found.signed_through.as_deref(), Some("2026-11-22"));
    assert_eq!((found.days, found.events), (2, 2));
    assert_eq!(days(folder.path()), ["2026-11-22", "2026-11-25"]);
    let head = found.head.unwrap();
    let key = public_path(&folder.path().join("keys/audit"));
    assert!(verify(folder.path(), &key, &[head]).unwrap().intact);
    let other = "00".repeat(32).parse().unwrap();
    let found = verify(folder.path(), &key, &[head, other]).unwrap();
    assert_eq!(found.breaks.len(), 1);
    assert!(!found.intact && found.breaks[0].what.contains("no day ends with"));
}

#[test]
fn a_day_is_signed_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Hands::new("2026-11-22T08:00:00Z");
    let event = event_at(1, "2026-11-22T08:00:00Z");
    open(&clock, folder.path())
        .append(std::slice::from_ref(&event))
        .unwrap();
    open(&clock, folder.path());
    assert_eq!(
        findings(folder.path()).signed_through,
        None,
        "the day isn't over"
    );
    clock.set("2026-11-24T08:00:00Z");
    let mut log = open(&clock, folder.path());
    let found = findings(folder.path());
    assert_eq!(found.signed_through.as_deref(), Some("2026-11-22"));
    assert!(found.intact && found.unsigned.is_none());
    // What comes late, comes into the day it is written on; what was there, not.
    let late = event_at(2, "2026-11-22T23:59:59Z");
    log.append(&[event.clone(), late.clone()]).unwrap();
    drop(log);
    assert_eq!(days(folder.path()), ["2026-11-22", "2026-11-24"]);
    open(&clock, folder.path()).append(&[event, late]).unwrap();
    assert_eq!(everything(folder.path()).len(), 2);
    assert_eq!(broken(folder.path()), Vec::<String>::new());
}

/// The journal hands everything over again when its index is rebuilt.
#[test]
fn late_events_are_known_again_many_days_later() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Hands::new("2026-11-22T08:00:00Z");
    let mut all = Vec::new();
    for n in 1..8 {
        let mut log = open(&clock, folder.path());
        let today = event_at(n, &format!("2026-11-{:02}T08:00:00Z", 20 + n));
        // Each third day's is late by two days: the clock was set back.
        let late = event_at(100 + n, &format!("2026-11-{:02}T08:00:00Z", 18 + n));
        all.push(today.clone());
        log.append(&[today]).unwrap();
        if n % 3 == 0 {
            all.push(late.clone());
            log.append(&[late]).unwrap();
        }
    }
    let before = everything(folder.path());
    assert_eq!(before.len(), all.len());
    all.reverse();
    open(&clock, folder.path()).append(&all).unwrap();
    all.sort_by_key(|event| event.time);
    open(&clock, folder.path()).append(&all).unwrap();
    assert_eq!(everything(folder.path()), before);
}

#[test]
fn a_clock_that_is_set_back_breaks_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Hands::new("2026-11-25T08:00:00Z");
    let mut log = open(&clock, folder.path());
    log.append(&[event_at(1, "2026-11-25T08:00:00Z")]).unwrap();
    clock.set("2026-11-20T08:00:00Z");
    log.append(&[event_at(2, "2026-11-20T08:00:00Z")]).unwrap();
    let mut log = open(&clock, folder.path());
    log.append(&[event_at(3, "2026-11-20T09:00:00Z")]).unwrap();
    clock.set("2026-11-26T08:00:00Z");
    let mut log = open(&clock, folder.path());
    clock.set("2026-11-20T08:00:00Z");
    // The 25th is closed: the next file can only be a later one.
    log.append(&[event_at(4, "2026-11-20T10:00:00Z")]).unwrap();
    assert_eq!(days(folder.path()), ["2026-11-25", "2026-11-26"]);
    assert_eq!(everything(folder.path()).len(), 4);
    assert_eq!(broken(folder.path()), Vec::<String>::new());
}

#[test]
fn what_is_past_its_time_is_removed_and_that_is_in_the_chain() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Hands::new("2026-11-01T08:00:00Z");
    let settings = crate::outcome::Settings {
        audit_keep: Duration::from_secs(3 * 86_400),
        ..settings_of(folder.path())
    };
    let mut log = open_with(Arc::new(RealDisk), &clock, &settings);
    for n in [1, 2, 3, 5, 6, 7] {
        let event = event_at(n, &format!("2026-11-{n:02}T08:00:00Z"));
        log.append(&[event]).unwrap();
        assert_eq!(broken(folder.path()), Vec::<String>::new(), "day {n}");
    }
    let kept = ["2026-11-05", "2026-11-06", "2026-11-07"];
    assert_eq!(days(folder.path()), kept);
    let found = findings(folder.path());
    assert_eq!(found.removed_through.as_deref(), Some("2026-11-03"));
    // One jump of the clock removes nothing; and what was removed stays known.
    log.append(&[event_at(8, "2099-01-01T08:00:00Z")]).unwrap();
    assert_eq!(days(folder.path())[..3], kept);
    assert_eq!(broken(folder.path()), Vec::<String>::new());
    // More is missing than the policy removed.
    for day in &kept[..2] {
        std::fs::remove_file(folder.path().join(format!("{day}.jsonl"))).unwrap();
    }
    let broken = broken(folder.path());
    assert!(
        broken[0].starts_with("2026-11-07.jsonl:1: is not where"),
        "{broken:?}"
    );
}

#[test]
fn the_key_is_made_once_and_never_replaced_in_silence() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Hands::new("2026-11-22T08:00:00Z");
    let settings = settings_of(folder.path());
    let open = || {
        AuditLog::open(
            Arc::new(RealDisk),
            Arc::new(clock.clone()),
            &SystemEntropy::default(),
            &settings,
        )
        .map(|_| ())
    };
    open().unwrap();
    let (private, public) = (&settings.audit_key, public_path(&settings.audit_key));
    let first = PublicKey::load(&RealDisk, &public).unwrap();
    // The public key is written anew if it is missing.
    std::fs::remove_file(&public).unwrap();
    open().unwrap();
    assert_eq!(PublicKey::load(&RealDisk, &public).unwrap(), first);
    let secret = std::fs::read(private).unwrap();
    std::fs::remove_file(private).unwrap();
    assert!(matches!(
        open(),
        Err(OpenError::Key(KeyError::Missing { .. }))
    ));
    std::fs::write(private, "junk").unwrap();
    assert!(matches!(
        open(),
        Err(OpenError::Key(KeyError::NotKey { .. }))
    ));
    std::fs::write(private, secret).unwrap();
    let other = tempfile::tempdir().unwrap();
    open_with(Arc::new(RealDisk), &clock, &settings_of(other.path()));
    std::fs::copy(public_path(&other.path().join("keys/audit")), &public).unwrap();
    assert!(matches!(
        open(),
        Err(OpenError::Key(KeyError::Differs { .. }))
    ));
}

#[test]
fn without_anything_to_verify_no_key_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    assert!(findings(folder.path()).intact);
    std::fs::write(folder.path().join("2026-11-22.jsonl"), "{}\n").unwrap();
    let key = folder.path().join("none");
    assert!(matches!(
        verify(folder.path(), &key, &[]),
        Err(AuditError::Key(_))
    ));
}
