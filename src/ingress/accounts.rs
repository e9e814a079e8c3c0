//! The accounts file: who may submit with a password, and as whom.
//!
//! Owns the form of `accounts.toml` and its reload. Holds always: an
//! [`Account`] has a sound argon2id hash and sender patterns that are addresses
//! or domains; a file that turns bad leaves the accounts as they were and is
//! logged once. `auth` asks for accounts; the command line edits the file through
//! [`add`], [`remove`] and [`list`].

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use argon2::password_hash::PasswordHash;
use argon2::{ARGON2ID_IDENT, Params};
use serde::Deserialize;
use toml::Spanned;

use super::admission::SenderPattern;
use crate::tls::Stamp;
use crate::types::AddressError;

pub use super::accounts_edit::{AccountSummary, add, generate_password, list, remove};

/// What is wrong with the accounts file, or with a change to it.
#[derive(Debug, thiserror::Error)]
pub enum AccountsError {
    /// The file can't be read or written.
    #[error("{}: {cause}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// What the file holds can't be used.
    #[error("{}:{line}: {cause}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong there.
        cause: Fault,
    },
    /// An account to be added can't be.
    #[error(transparent)]
    Refused(#[from] Fault),
    /// There is no such account.
    #[error("there is no account {0:?}")]
    Unknown(String),
    /// The system gives no randomness for a salt or password.
    #[error(transparent)]
    Entropy(#[from] crate::sys::entropy::EntropyError),
    /// argon2 failed.
    #[error("the password can't be hashed: {0}")]
    Hashing(argon2::password_hash::Error),
}

/// What is wrong with one account.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not TOML, or not of the form that accounts have.
    #[error("{0}")]
    Toml(String),
    /// A name that is empty, over-long or holds control characters.
    #[error("an account's name has 1 to {NAME_MAX} octets, none a control character")]
    Name,
    /// Two accounts of one name (case makes no difference).
    #[error(
        "there is already an account {0:?}: to give it another password or senders, remove it first (`postern account remove`)"
    )]
    Twice(String),
    /// Not an argon2id hash.
    #[error("hash is not an argon2id hash as `postern account add` writes it")]
    Hash,
    /// A sender that is neither an address nor `@domain`.
    #[error("sender {0:?} is neither an address nor @domain: {1}")]
    Sender(String, AddressError),
    /// No sender at all, so the account could send nothing.
    #[error("the account has no sender pattern (an address or @domain)")]
    NoSender,
}

/// An account.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    name: String,
    hash: String,
    senders: Vec<SenderPattern>,
}

impl fmt::Debug for Account {
    /// Leaves the hash out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({:?}, {:?})", self.name, self.senders)
    }
}

impl Account {
    /// Checks an account's parts.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn new(name: &str, hash: &str, senders: Vec<SenderPattern>) -> Result<Self, Fault> {
        if name.is_empty() || name.len() > NAME_MAX || name.chars().any(char::is_control) {
            return Err(Fault::Name);
        }
        if !is_argon2id(hash) {
            return Err(Fault::Hash);
        }
        if senders.is_empty() {
            return Err(Fault::NoSender);
        }
        Ok(Self {
            name: name.to_owned(),
            hash: hash.to_owned(),
            senders,
        })
    }

    /// Its name, as the file has it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it may send as.
    #[must_use]
    pub fn senders(&self) -> &[SenderPattern] {
        &self.senders
    }

    /// Its password's hash, a PHC string.
    pub(super) fn hash(&self) -> &str {
        &self.hash
    }
}

fn is_argon2id(text: &str) -> bool {
    PasswordHash::new(text).is_ok_and(|hash| {
        hash.algorithm == ARGON2ID_IDENT
            && hash.salt.is_some()
            && hash.hash.is_some()
            && Params::try_from(&hash).is_ok()
    })
}

/// All accounts, by name.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    in_order: Vec<Arc<Account>>,
    by_name: HashMap<String, usize>,
}

impl Accounts {
    /// Reads the text of an accounts file; `path` is for errors.
    ///
    /// # Errors
    /// [`AccountsError::Line`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, AccountsError> {
        let at = |offset: usize, cause: Fault| AccountsError::Line {
            path: path.to_owned(),
            line: line_of(text, offset),
            cause,
        };
        let raw: RawFile = toml::from_str(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            at(offset, Fault::Toml(error.message().to_owned()))
        })?;
        let mut accounts = Self::default();
        for entry in raw.account {
            let place = entry.name.span().start;
            let mut senders = Vec::new();
            for sender in entry.senders {
                let pattern = SenderPattern::parse(sender.get_ref()).map_err(|error| {
                    at(
                        sender.span().start,
                        Fault::Sender(sender.get_ref().clone(), error),
                    )
                })?;
                senders.push(pattern);
            }
            Account::new(entry.name.get_ref(), entry.hash.get_ref(), senders)
                .and_then(|account| accounts.push(account))
                .map_err(|fault| match fault {
                    Fault::Hash => at(entry.hash.span().start, fault),
                    other => at(place, other),
                })?;
        }
        Ok(accounts)
    }

    /// Reads the file; one that is missing has no accounts.
    ///
    /// # Errors
    /// [`AccountsError::Io`] or [`AccountsError::Line`].
    pub fn read(path: &Path) -> Result<Self, AccountsError> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(cause) => Err(AccountsError::Io {
                path: path.to_owned(),
                cause,
            }),
        }
    }

    /// The account of this name; case makes no difference in ASCII.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Account>> {
        let place = *self.by_name.get(&name.to_ascii_lowercase())?;
        self.in_order.get(place)
    }

    /// All accounts in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = &Account> {
        self.in_order.iter().map(AsRef::as_ref)
    }

    pub(super) fn push(&mut self, account: Account) -> Result<(), Fault> {
        let key = account.name.to_ascii_lowercase();
        if self.by_name.contains_key(&key) {
            return Err(Fault::Twice(account.name));
        }
        self.by_name.insert(key, self.in_order.len());
        self.in_order.push(Arc::new(account));
        Ok(())
    }
}

/// The file as it stands, followed as it changes.
#[derive(Debug)]
pub struct AccountsFile {
    path: PathBuf,
    state: Mutex<(Option<Stamp>, Arc<Accounts>)>,
}

impl AccountsFile {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// As [`Accounts::read`].
    pub fn open(path: PathBuf) -> Result<Self, AccountsError> {
        // Stamp first: a change while reading is then seen as one later.
        let stamp = Stamp::of(&path);
        let accounts = Accounts::read(&path)?;
        Ok(Self {
            path,
            state: Mutex::new((stamp, Arc::new(accounts))),
        })
    }

    /// The accounts of this moment. Touches the disk, so call it off the async
    /// threads.
    #[must_use]
    pub fn current(&self) -> Arc<Accounts> {
        let stamp = Stamp::of(&self.path);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0 != stamp {
            state.0 = stamp;
            match Accounts::read(&self.path) {
                Ok(accounts) => state.1 = Arc::new(accounts),
                Err(error) => tracing::error!("accounts not reloaded, the old ones stay: {error}"),
            }
        }
        Arc::clone(&state.1)
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    account: Vec<RawAccount>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAccount {
    name: Spanned<String>,
    hash: Spanned<String>,
    senders: Vec<Spanned<String>>,
}

/// Octets of a name at most.
const NAME_MAX: usize = 255;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A cheap hash of "secret".
    pub(in crate::ingress) fn cheap_hash() -> String {
        use argon2::PasswordHasher;
        let salt = argon2::password_hash::SaltString::encode_b64(b"0123456789abcdef").unwrap();
        let params = Params::new(8, 1, 1, None).unwrap();
        argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
            .hash_password(b"secret", &salt)
            .unwrap()
            .to_string()
    }

    fn parse(text: &str) -> Result<Accounts, String> {
        Accounts::parse(text, Path::new("accounts.toml")).map_err(|e| e.to_string())
    }

    fn entry(name: &str, senders: &str) -> String {
        format!(
            "[[account]]\nname = {name:?}\nhash = {:?}\nsenders = {senders}\n",
            cheap_hash()
        )
    }

    #[test]
    fn accounts_are_read() {
        let accounts = parse(&entry("Scanner", r#"["@clinic.example", "a@b.example"]"#)).unwrap();
        let account = accounts.get("scanner").unwrap();
        assert_eq!(account.name(), "Scanner");
        assert_eq!(account.senders().len(), 2);
        assert!(accounts.get("other").is_none());
        assert!(parse("").unwrap().iter().next().is_none());
        assert!(!format!("{account:?}").contains("argon2"));
    }

    #[test]
    fn faults_name_file_and_line() {
        let good = entry("a", r#"["@x.example"]"#);
        for (text, wanted) in [
            ("x = 1\n".to_owned(), "accounts.toml:1: unknown field"),
            ("[[account]]\nname = \n".to_owned(), "accounts.toml:2:"),
            (format!("{good}{good}"), "accounts.toml:6: there is already"),
            (entry("a", r#"["x.example"]"#), "accounts.toml:4: sender"),
            (entry("a", "[]"), "accounts.toml:2: the account has no"),
            (entry("", r#"["@x"]"#), "accounts.toml:2: an account's name"),
            (
                "[[account]]\nname = \"a\"\nhash = \"x\"\nsenders = [\"@x\"]\n".to_owned(),
                "accounts.toml:3: hash is not",
            ),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.starts_with(wanted), "{error}");
        }
    }

    #[test]
    fn the_file_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accounts.toml");
        let file = AccountsFile::open(path.clone()).unwrap();
        assert!(file.current().get("a").is_none());
        fs::write(&path, entry("a", r#"["@x.example"]"#)).unwrap();
        assert!(file.current().get("a").is_some());
        fs::write(&path, "broken").unwrap();
        assert!(file.current().get("a").is_some(), "the old ones stay");
        fs::remove_file(&path).unwrap();
        assert!(file.current().get("a").is_none());
    }
}
