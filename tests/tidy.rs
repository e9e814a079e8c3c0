//! Keeps the house in order: the room table of `docs/design.md` section 2, and
//! what every file must have.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Which room may use which (besides itself). An arrow that is not here needs the
/// table changed on purpose, in a commit of its own, with the reason.
const ROOMS: [(&str, &[&str]); 19] = [
    ("types", &[]),
    ("sys", &["types"]),
    ("wire", &["types"]),
    ("message", &["types"]),
    ("tls", &["types", "sys"]),
    ("dns", &["types", "sys"]),
    ("fetch", &["types", "sys", "dns", "tls"]),
    (
        "ingress",
        &["types", "sys", "wire", "message", "tls", "dns", "spool"],
    ),
    ("spool", &["types", "sys"]),
    ("queue", &["types", "sys", "spool", "delivery", "outcome"]),
    ("policy", &["types"]),
    ("assurance", &["types", "sys", "dns", "tls", "fetch"]),
    ("protect", &["types", "sys", "dns", "fetch", "message"]),
    (
        "delivery",
        &[
            "types",
            "sys",
            "wire",
            "message",
            "tls",
            "dns",
            "policy",
            "assurance",
            "protect",
        ],
    ),
    ("outcome", &["types", "sys", "dns", "message", "assurance"]),
    // Of the rooms' own: their `Settings` alone, see `config_uses_settings_alone`.
    (
        "config",
        &[
            "types", "ingress", "spool", "queue", "policy", "delivery", "outcome", "dns", "fetch",
            "protect",
        ],
    ),
    ("control", &["types"]),
    ("service", ALL),
    ("cli", &["types", "config", "control", "service"]),
];

/// The composition root uses all rooms.
const ALL: &[&str] = &[
    "types",
    "sys",
    "wire",
    "message",
    "tls",
    "dns",
    "fetch",
    "ingress",
    "spool",
    "queue",
    "policy",
    "assurance",
    "protect",
    "delivery",
    "outcome",
    "config",
    "control",
];

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(&root).unwrap().to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

/// The rooms a file names by `crate::ROOM`, outside its tests.
fn rooms_used(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let mut rooms = Vec::new();
    for line in code.lines().filter(|l| !l.trim_start().starts_with("//")) {
        for part in line.split("crate::").skip(1) {
            let room: String = part
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            rooms.push(room);
        }
    }
    rooms
}

#[test]
fn rooms_use_only_what_the_table_allows() {
    let table: BTreeMap<&str, &[&str]> = ROOMS.into_iter().collect();
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let room = path.iter().next().unwrap().to_string_lossy().into_owned();
        if room.ends_with(".rs") {
            continue; // lib.rs and main.rs
        }
        let Some(allowed) = table.get(room.as_str()) else {
            faults.push(format!("src/{room} is not in the room table"));
            continue;
        };
        for used in rooms_used(&text) {
            if used != room && !allowed.contains(&used.as_str()) {
                faults.push(format!("src/{} uses {used}", path.display()));
            }
        }
        // `use crate::{a, b}` would hide rooms from this test.
        if text.contains("use crate::{") {
            faults.push(format!(
                "src/{}: one `use crate::ROOM` a room",
                path.display()
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn config_uses_settings_alone() {
    for (path, text) in sources().iter().filter(|(p, _)| p.starts_with("config")) {
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
        for forbidden in [
            "spool::Store",
            "queue::Queue",
            "delivery::Deliver",
            "Ingress::",
        ] {
            assert!(!code.contains(forbidden), "{}: {forbidden}", path.display());
        }
    }
}

#[test]
fn every_file_says_what_it_is() {
    for (path, text) in sources() {
        let head = text.lines().next().unwrap_or_default();
        assert!(
            head.starts_with("//! ") && head.len() > 10,
            "src/{} does not open with a //! paragraph",
            path.display()
        );
        assert!(!head.contains("skeleton"), "src/{}", path.display());
    }
}

#[test]
fn files_stay_small() {
    for (path, text) in sources() {
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
        let lines = code.lines().count();
        assert!(lines <= 600, "src/{} has {lines} lines", path.display());
    }
}

#[test]
fn the_design_page_has_the_same_rooms() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/design.md");
    let page = fs::read_to_string(page).unwrap();
    for (room, allowed) in ROOMS {
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| `{room}/`")))
            .unwrap_or_else(|| panic!("docs/design.md has no row for {room}/"));
        if room == "service" {
            continue;
        }
        let cell = row.trim_end_matches('|').rsplit('|').next().unwrap();
        for name in allowed.iter().filter(|_| room != "config") {
            assert!(
                cell.contains(name),
                "docs/design.md: {room}/ may use {name}"
            );
        }
    }
}

/// A test or dialog named in the last column of these pages exists.
#[test]
fn the_pages_name_real_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let code = all_code(root);
    for (page, least) in [("attacks", 40), ("conformance", 80)] {
        let text = fs::read_to_string(root.join(format!("docs/{page}.md"))).unwrap();
        let rows = text.lines().filter(|line| line.starts_with("| "));
        let mut named = 0;
        for cell in rows.filter_map(|row| row.trim_end_matches(" |").rsplit(" | ").next()) {
            for name in cell.split('`').skip(1).step_by(2) {
                named += 1;
                let is_there = match name.contains('/') {
                    true => root.join(format!("tests/dialogs/{name}.txt")).is_file(),
                    false => code.contains(&format!("fn {name}(")),
                };
                assert!(is_there, "{page}.md: there is no test {name}");
            }
        }
        assert!(named > least, "{page}.md names only {named} tests");
    }
}

fn all_code(root: &Path) -> String {
    let mut code: String = sources().into_iter().map(|(_, text)| text).collect();
    let mut folders = vec![root.join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with(".unpacked") {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                code.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    code
}
