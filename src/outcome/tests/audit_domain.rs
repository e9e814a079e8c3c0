//! Lines about domains among those about recipients.

use std::path::Path;

use super::audit_folder::{broken, event, event_at, everything, open, start};
use super::fixture::at;
use crate::outcome::audit::{
    AuditFilter, AuditKind, AuditLine, CSV_HEADER, csv_row, read_lines, verify,
};
use crate::types::{Domain, DomainChange, DomainEvent, EventSink, QueueId, State};

/// The `n`-th event of a domain.
pub(super) fn turn(n: u8, domain: &str, time: &str) -> DomainEvent {
    let time = at(time);
    DomainEvent {
        event: QueueId::new(time, [2, 0, 0, n]),
        time,
        domain: Domain::parse(domain).unwrap(),
        host: Some(format!("mx.{domain}")),
        change: DomainChange::Worse,
        what: "TLSv1.3 with a proven name before, no TLS now".into(),
        actor: None,
    }
}

fn lines(folder: &Path, filter: &AuditFilter) -> Vec<AuditLine> {
    let lines = read_lines(folder, filter).unwrap();
    lines.collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_line_of_a_domain_has_its_own_shape() {
    let folder = tempfile::tempdir().unwrap();
    let turn = turn(1, "x.example", "2026-11-22T08:00:00Z");
    open(folder.path())
        .append_domains(std::slice::from_ref(&turn))
        .unwrap();
    let text = std::fs::read_to_string(folder.path().join("2026-11-22.jsonl")).unwrap();
    let found: serde_json::Value = serde_json::from_str(&text).unwrap();
    let wanted = serde_json::json!({
        "prev": "0".repeat(64),
        "kind": "domain",
        "time": "2026-11-22T08:00:00.000Z",
        "domain": "x.example",
        "host": "mx.x.example",
        "change": "worse",
        "what": "TLSv1.3 with a proven name before, no TLS now",
        "actor": null,
        "event": turn.event.to_string(),
    });
    assert_eq!(found, wanted);
    let line = lines(folder.path(), &AuditFilter::default()).remove(0);
    let text = serde_json::to_value(&line).unwrap();
    assert_eq!(
        (&text["kind"], &text["prev"]),
        (&"domain".into(), &serde_json::Value::Null)
    );
    let row = csv_row(&line);
    assert_eq!(
        row.matches(',').count(),
        CSV_HEADER.matches(',').count() + 1,
        "one in a cell"
    );
    let wanted = format!(
        "2026-11-22T08:00:00.000Z,,{},{}domain,,x.example,mx.x.example,worse,\
         \"TLSv1.3 with a proven name before, no TLS now\"\r\n",
        turn.event,
        ",".repeat(30)
    );
    assert_eq!(row, wanted);
}

#[test]
fn both_kinds_are_one_chain_and_each_can_be_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    log.append(&[event_at(0, "2026-11-22T08:00:00Z")]).unwrap();
    let of_x = turn(1, "x.example", "2026-11-22T09:00:00Z");
    let of_y = turn(2, "y.example", "2026-11-23T09:00:00Z");
    log.append_domains(&[of_x.clone(), of_y.clone()]).unwrap();
    log.append(&[event_at(3, "2026-11-23T10:00:00Z")]).unwrap();
    // Handed over again, each is there once; also when the file is opened anew.
    log.append_domains(&[of_x.clone(), of_y.clone()]).unwrap();
    log.sync().unwrap();
    drop(log);
    let mut log = open(folder.path());
    log.append_domains(&[of_x, of_y]).unwrap();
    log.sync().unwrap();
    assert_eq!(broken(folder.path()), Vec::<String>::new());
    let key = crate::outcome::audit::public_path(&folder.path().join("keys/audit"));
    let found = verify(folder.path(), &key, &[]).unwrap();
    assert_eq!(
        (found.events, found.signed_through.as_deref()),
        (4, Some("2026-11-22"))
    );
    assert_eq!(everything(folder.path()).len(), 2, "those of recipients");

    let count = |filter: AuditFilter| lines(folder.path(), &filter).len();
    let all = AuditFilter::default;
    assert_eq!(count(all()), 4);
    let domain = |domain: &str| AuditFilter {
        domain: Some(domain.into()),
        ..all()
    };
    assert_eq!(
        (count(domain("X.example")), count(domain("y.example"))),
        (3, 1)
    );
    let kind = |kind| AuditFilter {
        kind: Some(kind),
        ..all()
    };
    assert_eq!(count(kind(AuditKind::Domain)), 2);
    assert_eq!(count(kind(AuditKind::Recipient)), 2);
    let recipient = Some("a0@x.example".to_owned());
    assert_eq!(count(AuditFilter { recipient, ..all() }), 1);
    let state = Some(State::Delivered);
    assert_eq!(count(AuditFilter { state, ..all() }), 1);
    let id = Some(event(0).id);
    assert_eq!(count(AuditFilter { id, ..all() }), 1);
    let since = Some(start() + std::time::Duration::from_secs(3601));
    assert_eq!(count(AuditFilter { since, ..all() }), 2);
}

/// A turn that a crash took is lost, and nothing else is.
#[test]
fn a_torn_turn_is_cut_off_and_the_chain_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("2026-11-22.jsonl");
    let mut log = open(folder.path());
    let first = event_at(0, "2026-11-22T08:00:00Z");
    log.append(std::slice::from_ref(&first)).unwrap();
    log.append_domains(&[turn(1, "x.example", "2026-11-22T09:00:00Z")])
        .unwrap();
    drop(log);
    let text = std::fs::read(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 7]).unwrap();
    let mut log = open(folder.path());
    log.append(&[first, event_at(3, "2026-11-22T10:00:00Z")])
        .unwrap();
    log.append_domains(&[turn(2, "x.example", "2026-11-22T11:00:00Z")])
        .unwrap();
    assert_eq!(lines(folder.path(), &AuditFilter::default()).len(), 3);
    assert_eq!(broken(folder.path()), Vec::<String>::new());
    // A change in it is found by the line behind it.
    log.append(&[event_at(4, "2026-11-22T12:00:00Z")]).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("worse", "better")).unwrap();
    assert_eq!(broken(folder.path()).len(), 1);
}
