//! `postern key`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::{Exit, output};
use crate::config::Config;
use crate::service::keys::{self, ListedKey};

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
            Self::Find { address, json } => find(config, &address, json),
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

fn row(key: &ListedKey) -> [String; 6] {
    let expires = key.expires.as_deref().and_then(|at| at.get(..10));
    [
        key.fingerprint.clone(),
        key.kind.to_owned(),
        key.trust.to_owned(),
        key.refusal.unwrap_or("usable").to_owned(),
        expires.unwrap_or("-").to_owned(),
        key.addresses.join(" "),
    ]
}

fn find(config: &Config, address: &str, json: bool) -> Done {
    let found = keys::find(config, address)?;
    if json {
        output::json(&found);
    } else if found.is_empty() {
        output::say("no key is known for this address");
    } else {
        let rows = found.iter().map(|found| {
            let verdict = match (found.used, found.key.refusal) {
                (true, _) => "used",
                (_, Some(refusal)) => refusal,
                (_, None) => "usable",
            };
            let [fingerprint, kind, trust, _, expires, _] = row(&found.key);
            [fingerprint, kind, trust, verdict.to_owned(), expires]
        });
        let rows: Vec<_> = rows.collect();
        output::columns(&rows);
    }
    match found.iter().any(|found| found.used) {
        true => Ok(Exit::Done),
        false => Ok(Exit::Failed),
    }
}
