//! Recipients' keys, as `postern key` shows and changes them.

use serde::Serialize;

use super::run::make_folder;
use crate::config::Config;
use crate::protect::Refusal;
use crate::protect::keys::{
    Candidate, Key, KeyStore, Keys, Kind, Outcome, StoreError, Terms, Trust,
};
use crate::protect::smime::Authorities;
use crate::sys::{Clock, SystemClock};
use crate::types::{AddressError, Mailbox, Timestamp};

/// Why a `key` command can't be done.
#[derive(Debug, thiserror::Error)]
pub enum KeyWorkError {
    /// Nobody can be asked.
    #[error("keys can't be looked up: {0}")]
    Unable(String),
    /// The store says no.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What should be looked up is no address.
    #[error("\"{}\": {cause}", text.escape_debug())]
    Address {
        /// What was given.
        text: String,
        /// What is wrong with it.
        cause: AddressError,
    },
}

/// A key, as `key list --json` prints it.
#[derive(Debug, Clone, Serialize)]
pub struct ListedKey {
    /// Upper-case hex: of X.509 the SHA-256.
    pub fingerprint: String,
    /// `openpgp` or `x509`.
    pub kind: &'static str,
    /// The addresses it is known for.
    pub addresses: Vec<String>,
    /// Where it came from: `manual`, `wkd`.
    pub origin: &'static str,
    /// `manual`, `verified` or `discovered`.
    pub trust: &'static str,
    /// Its algorithm and size.
    pub algorithm: String,
    /// Since when it is known, RFC 3339.
    pub since: String,
    /// When it was last found where it comes from, RFC 3339; null: it was added by hand.
    pub seen: Option<String>,
    /// When its time is over, RFC 3339; null: never.
    pub expires: Option<String>,
    /// Why it can't be used, in a word; null: it can.
    pub refusal: Option<&'static str>,
}

/// A key of an address, as `key find --json` prints it.
#[derive(Debug, Clone, Serialize)]
pub struct FoundKey {
    /// The key; its refusal is for this address.
    #[serde(flatten)]
    pub key: ListedKey,
    /// Whether this is the one of its kind that is used.
    pub used: bool,
}

/// What became of a certificate that was added.
#[derive(Debug, Clone)]
pub struct AddedKey {
    /// `added`, `updated` or `unchanged`.
    pub outcome: &'static str,
    /// What it is now.
    pub key: ListedKey,
}

/// What is in the store.
#[derive(Debug, Clone)]
pub struct KeyListing {
    /// The keys.
    pub keys: Vec<ListedKey>,
    /// Files that can't be read, each with why.
    pub faults: Vec<String>,
}

/// Adds the certificates that `octets` hold.
///
/// # Errors
/// [`KeyWorkError`]; then none is added.
pub fn add(config: &Config, octets: &[u8]) -> Result<Vec<AddedKey>, KeyWorkError> {
    // Keys may come before the first start; what can't be made is told by the
    // store's own error.
    let _ = make_folder(&config.data_dir);
    let now = SystemClock.now();
    let added = store(config).add(octets, now)?;
    let told = added.into_iter().map(|added| AddedKey {
        outcome: match added.outcome {
            Outcome::Added => "added",
            Outcome::Updated => "updated",
            Outcome::Unchanged => "unchanged",
        },
        key: listed(&Key::by_hand(added.certificate, now), now),
    });
    Ok(told.collect())
}

/// Forgets a key.
///
/// # Errors
/// [`KeyWorkError`].
pub fn remove(config: &Config, fingerprint: &str) -> Result<(), KeyWorkError> {
    Ok(store(config).remove(fingerprint)?)
}

/// Approves a key that was found.
///
/// # Errors
/// [`KeyWorkError`].
pub fn approve(config: &Config, fingerprint: &str) -> Result<(), KeyWorkError> {
    Ok(store(config).approve(fingerprint)?)
}

/// All keys.
///
/// # Errors
/// [`KeyWorkError`].
pub fn list(config: &Config) -> Result<KeyListing, KeyWorkError> {
    let (keys, now) = (store(config).current()?, SystemClock.now());
    Ok(KeyListing {
        keys: keys.all().map(|key| listed(key, now)).collect(),
        faults: faults(&keys),
    })
}

/// The keys of an address, by kind, those that are used first.
///
/// # Errors
/// [`KeyWorkError`].
pub fn find(config: &Config, address: &str) -> Result<Vec<FoundKey>, KeyWorkError> {
    let recipient = self::address(address)?;
    let (keys, now) = (store(config).current()?, SystemClock.now());
    let authorities = Authorities::default();
    let mut found = Vec::new();
    for kind in [Kind::OpenPgp, Kind::X509] {
        let candidates = keys.candidates(&recipient, kind, &terms(&authorities, now));
        for (place, candidate) in candidates.iter().enumerate() {
            let used = place == 0 && candidate.verdict.is_ok();
            found.push(FoundKey {
                key: judged(candidate, now),
                used,
            });
        }
    }
    Ok(found)
}

/// An address as somebody typed it.
pub(super) fn address(text: &str) -> Result<Mailbox, KeyWorkError> {
    Mailbox::parse(text).map_err(|cause| KeyWorkError::Address {
        text: text.to_owned(),
        cause,
    })
}

pub(super) fn store(config: &Config) -> KeyStore {
    KeyStore::new(config.data_dir.join("keys"))
}

/// Nothing is demanded, and only what was added by hand is trusted as X.509: there
/// is no other source of it yet.
fn terms(authorities: &Authorities, now: Timestamp) -> Terms<'_> {
    Terms {
        least: Trust::Discovered,
        authorities,
        now,
    }
}

fn faults(keys: &Keys) -> Vec<String> {
    let told = |faulty: &crate::protect::keys::Faulty| {
        format!(
            "{} is left out: {}",
            faulty.path.display(),
            faulty.fault.escape_debug()
        )
    };
    keys.faults().iter().map(told).collect()
}

/// A key with what keeps it from being used for all of its addresses, if it is so.
fn listed(key: &Key, now: Timestamp) -> ListedKey {
    let authorities = Authorities::default();
    let terms = terms(&authorities, now);
    let mut refusal = Some(Refusal::OtherAddress);
    for address in key.addresses() {
        refusal = key.usable_for(&address, &terms).err();
        if refusal.is_none() {
            break;
        }
    }
    row(key, refusal, now)
}

fn judged(candidate: &Candidate<'_>, now: Timestamp) -> ListedKey {
    row(
        candidate.key,
        candidate.verdict.as_ref().err().copied(),
        now,
    )
}

fn row(key: &Key, refusal: Option<Refusal>, now: Timestamp) -> ListedKey {
    let certificate = &key.certificate;
    ListedKey {
        fingerprint: certificate.fingerprint(),
        kind: certificate.kind().as_str(),
        addresses: key.addresses().iter().map(ToString::to_string).collect(),
        origin: key.origin.as_str(),
        trust: key.trust.as_str(),
        algorithm: certificate.algorithm(),
        since: key.since.to_string(),
        seen: key.seen.map(|at| at.to_string()),
        expires: certificate.expires(now).map(|at| at.to_string()),
        refusal: refusal.map(Refusal::as_str),
    }
}
