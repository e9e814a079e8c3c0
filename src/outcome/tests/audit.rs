//! Reading the audit, and the form of its lines.

use std::time::Duration;

use super::audit_folder::{event, everything, open, records, start};
use crate::outcome::audit::{
    AuditError, AuditFilter, AuditLine, CSV_HEADER, Record, csv_row, read,
};
use crate::types::{
    AuthenticatedBy, CertificateFacts, ContentProof, Course, EncryptedBy, EventSink, Evidence,
    Method, Reason, Remote, State, StsFacts, StsMode, StsSource, TlsFacts, TlsLevel, Trust, Would,
};

const DAY: Duration = Duration::from_secs(24 * 3600);

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
            cipher: "TLS_AES_256_GCM_SHA384".into(),
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
        would: None,
        sts: Some(StsFacts {
            mode: StsMode::Testing,
            id: "1".into(),
            mx: vec!["*.x.example".into()],
            fetched_at: start(),
            expires_at: start() + DAY,
            source: StsSource::Cache,
            finding: Some(Reason::CertificateName),
        }),
        content: Some(ContentProof {
            by: EncryptedBy::Postern,
            certificate: Some("AB".into()),
            keys: vec!["CD".into()],
            cipher: Some("AES-256-OCB".into()),
            signed_by: None,
            trust: Some(Trust::Manual),
        }),
    };
    let mut log = open(folder.path());
    log.append(&[event.clone()]).unwrap();
    log.sync().unwrap();
    let text = std::fs::read_to_string(folder.path().join("2026-11-22.jsonl")).unwrap();
    let found: serde_json::Value = serde_json::from_str(&text).unwrap();
    let wanted = serde_json::json!({
        "prev": "0".repeat(64),
        "id": event.id.to_string(),
        "time": "2026-11-22T08:00:00.000Z",
        "sender": "nurse@clinic.example",
        "recipient": "A0@x.example",
        "state": "delivered",
        "method": "tls",
        "reason": null,
        "tls": {
            "version": "TLSv1.3",
            "cipher": "TLS_AES_256_GCM_SHA384",
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
        "note": null,
        "would": null,
        "sts": {
            "mode": "testing",
            "id": "1",
            "mx": ["*.x.example"],
            "fetched_at": "2026-11-22T08:00:00.000Z",
            "expires_at": "2026-11-23T08:00:00.000Z",
            "source": "cache",
            "finding": "certificate-name"
        },
        "content": {
            "by": "postern",
            "certificate": "AB",
            "keys": ["CD"],
            "cipher": "AES-256-OCB",
            "signed_by": null,
            "trust": "manual"
        }
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
    for path in [
        inner.clone(),
        inner.join("2026-11-22.jsonl"),
        inner.join("keys/audit"),
    ] {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
}

#[test]
fn filters() {
    let folder = tempfile::tempdir().unwrap();
    let events: Vec<_> = (0..9).map(event).collect();
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
    let until = since;
    assert_eq!(
        found(AuditFilter {
            until,
            ..AuditFilter::default()
        }),
        6
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
    std::fs::write(&path, format!("{first}\njunk\n{long}\n{second}")).unwrap();
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
        std::fs::write(&path, &text[..text.len() / 3]).unwrap();
        let items: Vec<_> = read(folder.path(), &AuditFilter::default())
            .unwrap()
            .collect();
        assert_eq!(items.len(), found);
        // In a file of the past it will not be completed.
        assert_eq!(items[0].is_err(), day == "2026-11-22");
    }
}

#[test]
fn csv_is_quoted_and_no_formula() {
    let mut event = event(0);
    event.sender = "=cmd|'/c calc'!A1@x.example".into();
    event.recipient = "'q@x.example".into();
    event.reply = Some("250 \"a\", b\r\nc".into());
    event.evidence.passed_over = vec![
        (Method::Tls, Reason::NoStarttls),
        (Method::Cleartext, Reason::Blocked),
    ];
    event.evidence.would = Some(Would {
        method: Course::Drop,
        reason: Some(Reason::NoStarttls),
    });
    let line = AuditLine::Recipient(Box::new(Record::from(&event)));
    let row = csv_row(&line);
    let (id, name) = (event.id, event.event);
    let wanted = format!(
        "2026-11-22T08:00:00.000Z,{id},{name},'=cmd|'/c calc'!A1@x.example,''q@x.example,\
         delivered,tls,,,,,,,,,,\"250 \"\"a\"\", b\r\nc\",,,,,\
         tls:no-starttls cleartext:blocked,drop,no-starttls,,,,,,,,,,recipient,,,,,\r\n"
    );
    assert_eq!(row, wanted);
    let columns = CSV_HEADER.matches(',').count();
    // The reply has one comma of its own.
    assert_eq!(row.matches(',').count(), columns + 1);
    assert!(CSV_HEADER.ends_with("\r\n"));
}
