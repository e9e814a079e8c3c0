//! What comes of mail, by what the domain publishes, what its MX host shows, and what
//! the operator demands: `docs/sts-matrix.md`, made from real handshakes and held
//! against the page. `POSTERN_MATRIX=write` writes it anew.
//!
//! Beside the page, what must hold in every cell is said here once more.

use std::collections::HashMap;
use std::path::Path;

use postern::types::{AuthenticatedBy, Fate, Report, TlsLevel};
use postern_lab::{Ca, Identity, SmtpBuilder, TlsVersion};

use crate::delivery_support::{MX, attempt, fate, job};
use crate::world::{GOOD, World};

/// What a domain publishes, and whether that binds.
struct State {
    name: &'static str,
    binds: Binds,
    set: fn(&World),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Binds {
    No,
    /// To the host that the MX record names.
    ToThis,
    /// To another one.
    ToOther,
}

const OTHER: &str = "mx.other.example";

const STATES: [State; 8] = [
    State {
        name: "no policy",
        binds: Binds::No,
        set: |_| {},
    },
    State {
        name: "testing",
        binds: Binds::No,
        set: |world| world.publish("1", "testing", &[GOOD]),
    },
    State {
        name: "testing, another host",
        binds: Binds::No,
        set: |world| world.publish("1", "testing", &[OTHER]),
    },
    State {
        name: "enforce",
        binds: Binds::ToThis,
        set: |world| world.publish("1", "enforce", &["*.clinic.example"]),
    },
    State {
        name: "enforce, another host",
        binds: Binds::ToOther,
        set: |world| world.publish("1", "enforce", &[OTHER]),
    },
    State {
        name: "fetch fails, nothing kept",
        binds: Binds::No,
        set: |world| world.record(Some("1")),
    },
    State {
        name: "fetch fails, enforce kept",
        binds: Binds::ToThis,
        set: |world| {
            world.publish("1", "enforce", &[GOOD]);
            learn(world);
            world.record(Some("2"));
            world.https.no_policy("clinic.example");
            world.passes(10);
        },
    },
    State {
        name: "new id: testing, then enforce",
        binds: Binds::ToThis,
        set: |world| {
            world.publish("1", "testing", &[GOOD]);
            learn(world);
            world.publish("2", "enforce", &[GOOD]);
            world.passes(10);
        },
    },
];

/// Has the relay look the policy up.
fn learn(world: &World) {
    let domain = postern::types::Domain::parse("clinic.example").unwrap();
    tokio::task::block_in_place(|| {
        tokio::runtime::Handle::current().block_on(world.cache.of(&domain))
    });
}

type Bend = fn(SmtpBuilder, &Ca) -> SmtpBuilder;

/// What the MX host shows; whether its handshake is above the floor, and whether its
/// certificate is good for its name.
const FAR_SIDES: [(&str, Bend, bool, bool); 7] = [
    ("TLS 1.3", |mx, _| mx, true, true),
    (
        "certificate expired",
        |mx, ca| mx.identity(ca.issue_expired(&[MX])),
        true,
        false,
    ),
    (
        "certificate of another name",
        |mx, ca| mx.identity(ca.issue(&["clinic.example"])),
        true,
        false,
    ),
    (
        "self-signed",
        |mx, _| mx.identity(Identity::self_signed(&[MX])),
        true,
        false,
    ),
    (
        "TLS 1.2",
        |mx, _| mx.tls_versions(TlsVersion::V1_2, TlsVersion::V1_2),
        true,
        true,
    ),
    (
        "weak suite",
        |mx, ca| {
            mx.identity(ca.rsa(2048).issue(&[MX]))
                .tls_versions(TlsVersion::V1_2, TlsVersion::V1_2)
                .ciphers("AES256-SHA:@SECLEVEL=0")
        },
        false,
        false,
    ),
    ("no STARTTLS", |mx, _| mx.no_starttls(), false, false),
];

const LISTS: [[&str; 2]; 3] = [["tls", "bounce"], ["tls", "drop"], ["tls", "cleartext"]];
const LEVELS: [TlsLevel; 3] = [
    TlsLevel::Encrypted,
    TlsLevel::Authenticated,
    TlsLevel::Secure,
];

/// What came of it, in a few words.
fn cell(report: &Report) -> String {
    let recipient = &report.recipients[0];
    let evidence = &recipient.evidence;
    match &recipient.fate {
        Fate::Delivered(_) if evidence.tls.is_none() => "**in the clear**".to_owned(),
        Fate::Delivered(_) => match evidence.authenticated_by {
            Some(by) => format!("delivered, `{}`", by.as_str()),
            None => "delivered, any certificate".to_owned(),
        },
        Fate::Deferred(failure) => format!("waits: `{}`", failure.reason),
        Fate::Bounced(failure) => format!("bounced: `{}`", failure.reason),
        Fate::Dropped(failure) => format!("dropped: `{}`", failure.reason),
        Fate::Held(failure) => format!("held: `{}`", failure.reason),
    }
}

/// What holds whatever the page says.
fn hold(state: &State, good: bool, report: &Report, dialled: usize, told: bool, at: &str) {
    let recipient = &report.recipients[0];
    let by = recipient.evidence.authenticated_by;
    let delivered = matches!(recipient.fate, Fate::Delivered(_));
    assert_eq!(
        delivered, told,
        "{at}: MAIL FROM where nothing was delivered"
    );
    match state.binds {
        Binds::No => {
            assert_ne!(by, Some(AuthenticatedBy::MtaSts), "{at}");
        }
        Binds::ToOther => {
            assert_eq!(dialled, 0, "{at}: a host that is not listed was dialled");
            assert_eq!(fate(report), "deferred sts-host", "{at}");
        }
        Binds::ToThis => {
            assert_eq!(delivered, good, "{at}");
            let secure = by == Some(AuthenticatedBy::MtaSts);
            assert_eq!(secure, good, "{at}");
            let waits = matches!(&recipient.fate, Fate::Deferred(failure) if failure.status.starts_with('4'));
            assert!(delivered || waits, "{at}: {:?}", recipient.fate);
            assert_eq!(recipient.waiting.tell.is_some(), !good, "{at}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_says_what_each_policy_and_far_side_come_to() {
    let mut table = String::from(
        "| the domain publishes | its MX host shows | level | `tls`, `bounce` | `tls`, `drop` | `tls`, `cleartext` |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    // The first state, by far side, level and list.
    let mut unbound: HashMap<_, String> = HashMap::new();
    for state in &STATES {
        for (far_side, bend, above, certificate) in FAR_SIDES {
            let world = World::new(bend);
            (state.set)(&world);
            for level in LEVELS {
                let mut cells = Vec::new();
                for list in LISTS {
                    let mx = &world.base.mx;
                    let (said, came) = (mx.commands().len(), mx.connections());
                    let report = attempt(&world.relay(level, &list), &job()).await;
                    let commands = mx.commands();
                    let told = commands[said..].iter().any(|line| line.contains(" MAIL"));
                    let dialled = mx.connections() - came;
                    let at = format!("{}, {far_side}, {level}, {list:?}", state.name);
                    hold(state, above && certificate, &report, dialled, told, &at);
                    let cell = cell(&report);
                    // What does not bind changes nothing.
                    let key = (far_side, level.as_str(), list);
                    let without = unbound.entry(key).or_insert_with(|| cell.clone());
                    assert!(state.binds != Binds::No || cell == *without, "{at}: {cell}");
                    cells.push(cell);
                }
                let (name, cells) = (state.name, cells.join(" | "));
                table += &format!("| {name} | {far_side} | `{level}` | {cells} |\n");
            }
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/sts-matrix.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let begin = page.find("| the domain publishes |").unwrap_or(page.len());
    if std::env::var("POSTERN_MATRIX").as_deref() == Ok("write") {
        std::fs::write(&path, format!("{}{table}", &page[..begin])).unwrap();
    } else {
        assert!(
            page[begin..] == table,
            "docs/sts-matrix.md is not what is:\n{table}"
        );
    }
}
