//! `postern key`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::{Exit, daemon, output};
use crate::config::Config;
use crate::control::{Answer, KeyLookup, Request};
use crate::service::discovery;
use crate::service::keys::{self, FoundKey, ListedKey};

/// Octets read of a file at most; the store takes less.
const READ_MAX: u64 = 4 << 20;

/// Recipients' certificates, OpenPGP and X.509.
#[derive(Debug, Subcommand)]
pub(super) enum Key {
    /// Add a recipient's certificate, or what is new in one.
    Add {
        /// An OpenPGP or X.509 certificate, armored, PEM or binary; - is standard
        /// input.
        file: PathBuf,
    },
    /// List all certificates, and what keeps each from being used.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Forget a certificate.
    Remove {
        /// Its fingerprint.
        #[arg(value_name = "FPR")]
        fingerprint: String,
    },
    /// Tell which certificate would be used for an address, and why not others.
    Find {
        /// The recipient's address.
        address: String,
        /// Look it up first where its domain publishes keys (WKD), now.
        #[arg(long)]
        lookup: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Approve a certificate that was found: one that changed comes into use.
    Approve {
        /// Its fingerprint.
        #[arg(value_name = "FPR")]
        fingerprint: String,
    },
}

/// What is wrong is told as it is.
type Done = Result<Exit, Box<dyn std::error::Error>>;

impl Key {
    pub(super) fn run(self, config: &Config) -> Exit {
        let done = match self {
            Self::Add { file } => add(config, &file),
            Self::List { json } => list(config, json),
            Self::Remove { fingerprint } => quietly(keys::remove(config, &fingerprint)),
            Self::Find {
                address,
                lookup: false,
                json,
            } => find(config, &address, json),
            Self::Find { address, json, .. } => match look_up(config, &address) {
                Ok(lookup) => find_with(config, &address, &lookup, json),
                Err(exit) => Ok(exit),
            },
            Self::Approve { fingerprint } => quietly(keys::approve(config, &fingerprint)),
        };
        done.unwrap_or_else(|e| {
            output::complain_of(&*e);
            Exit::Failed
        })
    }
}

fn quietly(done: Result<(), keys::KeyWorkError>) -> Done {
    done?;
    Ok(Exit::Done)
}

fn add(config: &Config, file: &Path) -> Done {
    for added in keys::add(config, &read(file)?)? {
        let ListedKey {
            fingerprint,
            kind,
            addresses,
            ..
        } = &added.key;
        let addresses = addresses.join(" ");
        output::say(format_args!(
            "{} {kind} {fingerprint} for {addresses}",
            added.outcome
        ));
        if let Some(refusal) = added.key.refusal {
            output::say(format_args!("it can't be used now: {refusal}"));
        }
    }
    Ok(Exit::Done)
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let mut octets = Vec::new();
    let done = match file == Path::new("-") {
        true => io::stdin().take(READ_MAX).read_to_end(&mut octets),
        false => File::open(file).and_then(|f| f.take(READ_MAX).read_to_end(&mut octets)),
    };
    match done {
        Ok(_) => Ok(octets),
        Err(e) => Err(format!("{}: {e}", file.display())),
    }
}

fn list(config: &Config, json: bool) -> Done {
    let listing = keys::list(config)?;
    for fault in &listing.faults {
        output::complain(fault);
    }
    if json {
        output::json(&listing.keys);
    } else {
        let rows: Vec<_> = listing.keys.iter().map(row).collect();
        output::columns(&rows);
    }
    Ok(Exit::Done)
}

fn row(key: &ListedKey) -> [String; 8] {
    let day = |at: &Option<String>| {
        let day = at.as_deref().and_then(|at| at.get(..10));
        day.unwrap_or("-").to_owned()
    };
    [
        key.fingerprint.clone(),
        key.kind.to_owned(),
        key.trust.to_owned(),
        key.refusal.unwrap_or("usable").to_owned(),
        day(&key.expires),
        key.origin.to_owned(),
        day(&key.seen),
        key.addresses.join(" "),
    ]
}

/// Has the daemon look, or looks itself where none runs.
fn look_up(config: &Config, address: &str) -> Result<KeyLookup, Exit> {
    let request = Request::KeyLookup {
        address: address.to_owned(),
    };
    match daemon::ask_if_running(config, &request)? {
        Some(Answer::KeyLookup { lookup }) => Ok(lookup),
        Some(_) => {
            output::complain("the daemon gave another answer: is it of another version?");
            Err(Exit::Failed)
        }
        None => discovery::look_up(config, address).map_err(|e| {
            output::complain_of(&e);
            Exit::Failed
        }),
    }
}

/// What came of looking, then what is known now.
fn find_with(config: &Config, address: &str, lookup: &KeyLookup, json: bool) -> Done {
    let found = keys::find(config, address)?;
    if json {
        output::json(&serde_json::json!({ "lookup": lookup, "keys": found }));
    } else {
        say_lookup(lookup);
        say_found(&found);
    }
    Ok(exit_of(&found))
}

fn say_lookup(lookup: &KeyLookup) {
    let detail = lookup.detail.as_deref().unwrap_or_default();
    let host = lookup.host.as_deref().unwrap_or("nobody");
    output::say(match lookup.result.as_str() {
        "found" => format!("{host} has a key for this address:"),
        "unusable" => format!("{host} has no key for this address that can be used:"),
        "absent" => format!("no key was found: {detail} (asked: {host})"),
        _ => format!("the key can't be looked up now: {detail} (asked: {host})"),
    });
    for offered in &lookup.offered {
        output::say(format_args!(
            "  {}  {}",
            offered.fingerprint, offered.detail
        ));
    }
}

fn find(config: &Config, address: &str, json: bool) -> Done {
    let found = keys::find(config, address)?;
    match json {
        true => output::json(&found),
        false => say_found(&found),
    }
    Ok(exit_of(&found))
}

fn say_found(found: &[FoundKey]) {
    if found.is_empty() {
        return output::say("no key is known for this address");
    }
    let rows = found.iter().map(|found| {
        let verdict = match (found.used, found.key.refusal) {
            (true, _) => "used",
            (_, Some(refusal)) => refusal,
            (_, None) => "usable",
        };
        let [fingerprint, kind, trust, _, expires, origin, seen, _] = row(&found.key);
        let verdict = verdict.to_owned();
        [fingerprint, kind, trust, verdict, expires, origin, seen]
    });
    output::columns(&rows.collect::<Vec<_>>());
}

fn exit_of(found: &[FoundKey]) -> Exit {
    match found.iter().any(|found| found.used) {
        true => Exit::Done,
        false => Exit::Failed,
    }
}
