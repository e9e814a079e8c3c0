//! The log of a daemon at work, held against docs/logging.md: every line is one that the page
//! has, at its level, with its words and no others, as text and as JSON.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use postern_lab::{Client, ClientTls, Stage, TlsVersion};
use serde_json::Value;

use crate::world::{PASSWORD, Plan, RELAY, SENDER, SOON, World, letter, wait};

/// A row of the page.
struct Row {
    /// What the line begins with, or its `status`.
    mark: String,
    level: String,
    needed: BTreeSet<String>,
    optional: BTreeSet<String>,
}

/// One line of a log, in either format.
#[derive(Debug)]
struct Line {
    level: String,
    message: String,
    words: Vec<(String, String)>,
}

fn page() -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/logging.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let quoted = |text: &str| -> BTreeSet<String> {
            let words = text.split('`').skip(1).step_by(2);
            words.map(str::to_owned).collect()
        };
        let (needed, optional) = cells[2].split_once('[').unwrap_or((cells[2], ""));
        Row {
            mark: cells[0].trim().trim_matches('`').to_owned(),
            level: cells[1].trim().to_owned(),
            needed: quoted(needed),
            optional: quoted(optional),
        }
    })
    .collect()
}

impl Row {
    fn is_of(&self, line: &Line) -> bool {
        if let Some(status) = self.mark.strip_prefix("status=") {
            return line.word("status") == Some(status);
        }
        if self.mark == "action=…" {
            return line.word("action").is_some();
        }
        let mark = self.mark.trim_end_matches(':');
        match mark.strip_suffix('…') {
            Some(start) => line.message.starts_with(start),
            None => line.message == mark,
        }
    }

    fn check(&self, line: &Line) {
        assert_eq!(self.level, line.level, "{line:?}");
        let words: BTreeSet<String> = line.words.iter().map(|(key, _)| key.clone()).collect();
        let mut allowed: BTreeSet<String> = self.needed.union(&self.optional).cloned().collect();
        if self.mark.starts_with("status=") {
            allowed.insert("status".into());
        }
        if self.mark == "action=…" {
            allowed.insert("action".into());
        }
        let missing: Vec<_> = self.needed.difference(&words).collect();
        let unknown: Vec<_> = words.difference(&allowed).collect();
        let good = missing.is_empty() && unknown.is_empty();
        assert!(
            good,
            "missing {missing:?}, not on the page {unknown:?}: {line:?}"
        );
    }
}

impl Line {
    /// `TIME LEVEL what happened: key=value key="some words"`.
    fn of_text(text: &str) -> Line {
        let (_time, rest) = text.split_once(' ').unwrap();
        let (level, mut rest) = rest.trim_start().split_once(' ').unwrap();
        let mut line = Line {
            level: level.to_lowercase(),
            message: String::new(),
            words: Vec::new(),
        };
        while !rest.trim_start().is_empty() {
            rest = rest.trim_start();
            let blank = rest.find(' ').unwrap_or(rest.len());
            let quote = rest.find("=\"").filter(|at| *at < blank);
            let end = match quote {
                Some(at) => at + 3 + rest[at + 2..].find('"').unwrap(),
                None => blank,
            };
            let word;
            (word, rest) = rest.split_at(end);
            match word.split_once('=') {
                Some((key, value)) => line.words.push((key.into(), value.replace('"', ""))),
                None => line.message = format!("{} {word}", line.message),
            }
        }
        line.message = line.message.trim().trim_end_matches(':').to_owned();
        line
    }

    fn of_json(text: &str) -> Line {
        let value: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let object = value.as_object().unwrap();
        assert!(object["time"].as_str().unwrap().ends_with('Z'), "{value}");
        let own = ["time", "level", "message"];
        let words = object
            .iter()
            .filter(|(key, _)| !own.contains(&key.as_str()));
        Line {
            level: text(&object["level"]),
            message: object.get("message").map(text).unwrap_or_default(),
            words: words
                .map(|(key, value)| (key.clone(), text(value)))
                .collect(),
        }
    }

    fn word(&self, key: &str) -> Option<&str> {
        let found = self.words.iter().find(|(k, _)| k == key);
        found.map(|(_, value)| value.as_str())
    }
}

/// Checks all lines and gives the marks that were seen.
fn check(lines: &[Line]) -> BTreeSet<String> {
    let page = page();
    let mut seen = BTreeSet::new();
    for line in lines {
        let rows: Vec<&Row> = page.iter().filter(|row| row.is_of(line)).collect();
        assert_eq!(
            rows.len(),
            1,
            "docs/logging.md has {} rows for {line:?}",
            rows.len()
        );
        rows[0].check(line);
        seen.insert(rows[0].mark.clone());
    }
    seen
}

/// Checks a log in text against the page and gives the marks that were seen.
pub(crate) fn documented(log: &str) -> BTreeSet<String> {
    let lines: Vec<Line> = log.lines().map(Line::of_text).collect();
    check(&lines)
}

/// What the scenario brings forth, at level debug.
const SEEN: [&str; 17] = [
    "status=accepted",
    "status=refused",
    "status=delivered",
    "status=deferred",
    "status=bounced",
    "status=expired",
    "status=dropped",
    "status=dead",
    "auth failed:",
    "TLS handshake failed:",
    "connection lost:",
    "spool open:",
    "listening on …",
    "ready:",
    "log level changed:",
    "stopping",
    "stopped",
];

fn plan(top: &str, tables: &str) -> Plan {
    let drop = "[[rule]]\nname = \"drop\"\nwhen.recipient_domain = \"drop.example\"\n\
         methods = [\"tls\", \"drop\"]\n";
    Plan {
        retry: r#"["1s"]"#,
        expire: "3s",
        delay_notice: "1h",
        top: top.into(),
        tables: format!("{tables}{drop}"),
        ..Plan::default()
    }
}

/// Everything that happens to mail, and some things that happen to clients.
async fn scenario(world: &mut World) {
    world.daemon.run_ok(&["log", "level", "debug"]);
    let slow = world.mx("slow.example", |b| b.reply(Stage::Mail, "451 4.3.2 later"));
    let drop = world.mx("drop.example", |b| b.no_starttls());
    let no = "550 5.1.1 <x@clinic.example>: no such patient";
    world.far.change(|k| k.rcpt_reply("x@*", no));
    for (to, state) in [
        ("p@clinic.example", "delivered"),
        ("x@clinic.example", "bounced"),
        ("p@slow.example", "expired"),
        ("p@drop.example", "dropped"),
    ] {
        let id = world.send(&[to], letter(to, "Zebrafish", "hi\r\n")).await;
        world.wait_audit(&id, to, state).await;
    }
    assert_eq!(slow.count() + drop.count(), 0);
    // The next report finds no way.
    world
        .home
        .change(|k| k.reply(Stage::Mail, "550 5.7.1 no more reports"));
    let to = "x@clinic.example";
    world.send(&[to], letter(to, "Quetzal", "hi\r\n")).await;
    world.daemon.wait_log("dead", SOON).await;
    let mut client = world.client().await;
    client
        .line("MAIL FROM:<x@elsewhere.example>")
        .await
        .unwrap();
    let mut thief = world.starttls(world.submission, &world.client_tls()).await;
    thief.auth_plain("ward", "tulip").await.unwrap();
    old_device(world).await;
    world.daemon.wait_log("TLS handshake failed", SOON).await;
    world.daemon.wait_log("connection lost", SOON).await;
    assert!(world.daemon.terminate().await.success());
}

/// A client that knows nothing newer than TLS 1.1.
async fn old_device(world: &World) {
    let old = ClientTls::insecure().versions(TlsVersion::V1_1, TlsVersion::V1_1);
    let mut device = Client::connect(world.submission).await.unwrap();
    device.greet("device.ward.example").await.unwrap();
    assert!(device.starttls(&old, RELAY).await.is_err());
}

/// What must be in no log, whatever the settings.
fn nothing_secret(log: &str) {
    for word in ["Zebrafish", "Quetzal", "tulip", PASSWORD] {
        assert!(!log.contains(word), "{word} in\n{log}");
    }
}

#[tokio::test]
async fn the_page_has_every_line_with_its_words() {
    let mut world = World::start(&plan("", "")).await;
    scenario(&mut world).await;
    let log = world.daemon.log();
    nothing_secret(&log);
    assert!(!log.contains('@'), "an address in\n{log}");
    assert!(!log.contains("no such patient"), "a remote text in\n{log}");
    let lines: Vec<Line> = log.lines().map(Line::of_text).collect();
    let seen = check(&lines);
    for mark in SEEN {
        assert!(seen.contains(mark), "{mark} was not seen in\n{log}");
    }
}

#[tokio::test]
async fn json_has_the_same_words() {
    let json = "[log]\nformat = \"json\"\n";
    let mut world = World::start(&plan("log_addresses = true", json)).await;
    scenario(&mut world).await;
    let log = world.daemon.log();
    nothing_secret(&log);
    let lines: Vec<Line> = log.lines().map(Line::of_json).collect();
    let seen = check(&lines);
    for mark in SEEN {
        assert!(seen.contains(mark), "{mark} was not seen in\n{log}");
    }
    let bounced = lines.iter().find(|l| l.word("status") == Some("bounced"));
    let bounced = bounced.unwrap();
    assert_eq!(bounced.word("to"), Some("<x@clinic.example>"));
    assert!(bounced.word("reply").unwrap().contains("no such patient"));
    let accepted = lines.iter().find(|l| l.word("status") == Some("accepted"));
    assert_eq!(
        accepted.unwrap().word("from"),
        Some(&*format!("<{SENDER}>"))
    );
}

#[tokio::test]
async fn the_level_is_changed_for_a_while() {
    let mut world = World::start(&plan("", "[log]\nlevel = \"warn\"\n")).await;
    let lost = |world: &World| world.daemon.log().matches("connection lost").count();
    assert_eq!(world.daemon.log(), "", "level warn: nothing of info");
    let said = world
        .daemon
        .run_ok(&["log", "level", "debug", "--for", "2s"]);
    assert_eq!(said, "log level debug, for 2s\n");
    old_device(&world).await;
    wait(SOON, "a line of level debug", || lost(&world) == 1).await;
    let back = "log level changed: now=warn";
    world.daemon.wait_log(back, SOON).await;
    old_device(&world).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(lost(&world), 1, "{}", world.daemon.log());
    for (args, code) in [
        (&["log", "level", "loud"][..], 2),
        (&["log", "level", "debug", "--for", "soon"], 2),
    ] {
        assert_eq!(world.daemon.run(args).status.code(), Some(code), "{args:?}");
    }
    world.daemon.terminate().await;
    let alone = world.daemon.run(&["log", "level", "debug"]);
    assert_eq!(alone.status.code(), Some(75));
}

/// Every line of level info and debug in the source has a row, whether or not a test brings it
/// forth. (Warnings and errors are sentences, whose wording is no contract.)
#[test]
fn no_line_is_left_out_of_the_page() {
    let page = page();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut lines) = (vec![source], 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for call in ["tracing::info!(", "tracing::debug!("] {
                for (_, rest) in text.match_indices(call).map(|(at, _)| text.split_at(at)) {
                    let literal = rest.split('"').nth(1).unwrap();
                    lines += 1;
                    let known = page.iter().any(|row| row.has(literal));
                    assert!(known, "{}: no row for \"{literal}\"", path.display());
                }
            }
        }
    }
    assert!(lines > 15, "{lines}");
}

impl Row {
    /// Whether it is that of a line with this format.
    fn has(&self, format: &str) -> bool {
        if self.mark.starts_with("status=") {
            // Or put together elsewhere: accepted, and what came of attempts.
            return format.contains(&self.mark) || format.starts_with('{');
        }
        match self.mark.strip_suffix('…') {
            Some(key) if key.ends_with('=') => format.contains(key),
            Some(start) => format.starts_with(start),
            None => format.starts_with(&self.mark),
        }
    }
}
