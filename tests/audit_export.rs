//! `postern audit export`, read by a CSV reader that is not ours.

#![allow(clippy::unwrap_used, clippy::panic)]

mod audit_support;

use std::process::Command;

use audit_support::Audit;
use serde_json::Value;

#[test]
fn export_takes_a_span_of_time() {
    let audit = Audit::new();
    let span = [
        "--since",
        "2026-11-11T08:00:02Z",
        "--until",
        "2026-11-12T08:00:01Z",
    ];
    let jsonl = audit.postern(&[&["audit", "export"], &span[..]].concat());
    assert!(jsonl.status.success());
    let lines: Vec<Value> = String::from_utf8(jsonl.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 7);
    assert_eq!(lines[0]["time"], "2026-11-11T08:00:02.000Z");
    let csv = audit.postern(&[&["audit", "export", "--format", "csv"], &span[..]].concat());
    let script = "import csv, json, sys; \
                  print(json.dumps(list(csv.DictReader(open(sys.argv[1], newline='')))))";
    let file = audit.root.path().join("export.csv");
    std::fs::write(&file, csv.stdout).unwrap();
    let output = Command::new("python3")
        .args(["-c", script])
        .arg(file)
        .output()
        .unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(rows.len(), 7);
    for (row, line) in rows.iter().zip(&lines) {
        for key in [
            "time",
            "id",
            "event",
            "sender",
            "recipient",
            "state",
            "reply",
        ] {
            assert_eq!(row[key], line[key], "{key}");
        }
        assert_eq!(row["reason"], "");
    }
}
