//! Discovery of keys with the real ports, and what `postern key find --lookup` tells.
//!
//! Holds always: the finder lives as long as the daemon; a reload changes how it asks,
//! not what it knows. Without a daemon the command looks by itself, and remembers
//! nothing but the key.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::keys::{KeyWorkError, address};
use super::run::make_folder;
use super::{ServeError, keys, sts};
use crate::config::Config;
use crate::control::{KeyLookup, OfferedKey};
use crate::fetch::Fetch;
use crate::protect::discovery::{Became, Ended, Finder, Lookup};
use crate::protect::keys::KeyStore;
use crate::sys::{MemoryTable, SystemClock, Table};

/// The table in which the finder keeps when it looked.
pub(super) const TABLE: &str = "key-lookups";
/// For one look that somebody waits for at a terminal, its turn included.
const PATIENCE: Duration = Duration::from_secs(50);

/// The daemon's finder, over its table.
///
/// # Errors
/// What the configuration names and can't be used.
pub(super) async fn open(
    config: &Config,
    table: Arc<dyn Table>,
    store: Arc<KeyStore>,
) -> Result<Arc<Finder>, ServeError> {
    let (settings, fetch) = (config.keys.clone(), fetch(config)?);
    let opening = tokio::task::spawn_blocking(move || {
        Finder::new(settings, fetch, store, table, Arc::new(SystemClock))
    });
    let opened = opening.await.map(Arc::new);
    opened.map_err(|e| ServeError::Runtime(std::io::Error::other(e)))
}

/// How it asks, by the configuration.
///
/// # Errors
/// As [`open`].
pub(super) fn fetch(config: &Config) -> Result<Arc<dyn Fetch>, ServeError> {
    Ok(sts::sources(config)?.fetch)
}

/// Looks an address's key up, and puts it in words.
///
/// # Errors
/// What is wrong with the address.
pub(super) async fn look(finder: &Finder, text: &str) -> Result<KeyLookup, KeyWorkError> {
    let recipient = address(text)?;
    let looked = timeout(PATIENCE, finder.look(&recipient)).await;
    Ok(looked.map_or_else(|_| late(), |lookup| told(&lookup)))
}

/// The same without a daemon.
///
/// # Errors
/// What is wrong with the address, or why nobody can be asked.
pub fn look_up(config: &Config, text: &str) -> Result<KeyLookup, KeyWorkError> {
    // It may be before the first start; what can't be made is told by the store.
    let _ = make_folder(&config.data_dir);
    let unable = |cause: &dyn std::fmt::Display| KeyWorkError::Unable(cause.to_string());
    let finder = Finder::new(
        config.keys.clone(),
        fetch(config).map_err(|e| unable(&e))?,
        Arc::new(keys::store(config)),
        Arc::new(MemoryTable::default()),
        Arc::new(SystemClock),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| unable(&e))?;
    runtime.block_on(look(&finder, text))
}

fn told(lookup: &Lookup) -> KeyLookup {
    let offered = lookup.offered.iter().map(|one| OfferedKey {
        fingerprint: one.fingerprint.clone(),
        became: one.became.as_str().to_owned(),
        detail: detail(one.became),
    });
    let (result, reason, detail) = match lookup.ended {
        Ended::Found => ("found", None, None),
        Ended::Unusable => ("unusable", None, None),
        Ended::Absent(absent) => ("absent", Some(absent.as_str()), Some(absent.to_string())),
        Ended::Failed(error) => (
            "failed",
            Some(error.cause.as_str()),
            Some(error.cause.to_string()),
        ),
    };
    let detail = lookup.fault.clone().or(detail);
    KeyLookup {
        result: result.to_owned(),
        reason: reason.map(str::to_owned),
        detail,
        host: lookup.host.as_ref().map(ToString::to_string),
        offered: offered.collect(),
    }
}

fn late() -> KeyLookup {
    KeyLookup {
        result: "failed".to_owned(),
        reason: Some("timed-out".to_owned()),
        detail: Some("there was no answer in time".to_owned()),
        ..KeyLookup::default()
    }
}

/// What became of a certificate, for people.
fn detail(became: Became) -> String {
    match became {
        Became::New => "new, and in use from now on".to_owned(),
        Became::Kept => "known already".to_owned(),
        Became::Held => {
            "another key is known, which stays in use: this one awaits `postern key approve`"
                .to_owned()
        }
        Became::PassedOver => "passed over for a newer one".to_owned(),
        Became::TooLarge => "not taken: it is too large".to_owned(),
        Became::Refused(refusal) => format!("not taken: {refusal}"),
    }
}
