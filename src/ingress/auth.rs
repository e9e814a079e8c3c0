//! Whether a password is an account's.
//!
//! Holds always: at most as many argon2 hashes run at once as there are cores,
//! off the async threads, and `hashing` says whose turn it is; an unknown account costs the same as a known one; a
//! failed login is slowed, counted against the client and told in one log line
//! with the client's address, for fail2ban. Called by the socket task, which
//! tells the session the verdict.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use argon2::password_hash::SaltString;
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::time::{Instant, sleep};

use super::accounts::{Account, AccountsFile};
use super::hashing::{Hashing, Repute};
use super::limits::{ClientKey, Crowded};
use super::remembered::Remembered;
use super::sasl::Login;
use super::throttle::Throttle;
use crate::sys::Entropy;
use crate::sys::entropy::EntropyError;

/// What came of a login.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// The password is this account's.
    Accepted(Arc<Account>),
    /// It is not.
    Refused,
    /// The client has failed too often; it was not looked at.
    Limited,
    /// It could not be looked at in time.
    Unavailable,
    /// The password is right, but the connection may not stay.
    Crowded(Crowded),
}

/// Verifies logins.
pub struct Authenticator {
    accounts: AccountsFile,
    remembered: Mutex<Remembered>,
    throttle: Mutex<Throttle>,
    hashing: Hashing,
    dummy: String,
}

impl Authenticator {
    /// Verifies against this accounts file.
    ///
    /// # Errors
    /// [`EntropyError`].
    pub fn new(accounts: AccountsFile, entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            accounts,
            remembered: Mutex::new(Remembered::new(entropy)?),
            throttle: Mutex::new(Throttle::default()),
            hashing: Hashing::new(cores),
            dummy: dummy_hash(entropy)?,
        })
    }

    /// Looks at a login; waits before a "no", ever longer.
    pub async fn verify(self: &Arc<Self>, client: IpAddr, login: Login) -> Verdict {
        let key = ClientKey::of(client);
        if self.throttle().is_shut(key, Instant::now()) {
            log_failure(client, None, "too many failures");
            return Verdict::Limited;
        }
        let found = self.find(&login).await;
        let Some((account, known)) = found else {
            return Verdict::Unavailable;
        };
        if known {
            return account.map_or(Verdict::Refused, Verdict::Accepted);
        }
        let hash = account.as_ref().map_or(self.dummy.as_str(), |a| a.hash());
        let repute = self.throttle().repute(key, Instant::now());
        let matches = self.hash_matches(hash.to_owned(), &login, repute).await;
        let Some(matches) = matches else {
            tracing::warn!("auth not possible: client={client} reason=busy");
            return Verdict::Unavailable;
        };
        match account {
            Some(account) if matches => {
                let mut remembered = self.remembered();
                let tag = remembered.tag(&account, &login.password);
                remembered.remember(tag, Instant::now());
                drop(remembered);
                self.throttle().succeeded(key, Instant::now());
                Verdict::Accepted(account)
            }
            account => {
                let wait = self.throttle().failed(key, Instant::now());
                let reason = match &account {
                    Some(_) => "wrong password",
                    None => "no such account",
                };
                log_failure(client, account.as_deref(), reason);
                sleep(wait).await;
                Verdict::Refused
            }
        }
    }

    /// Whether an account that logged in is still there as it was then: a removed
    /// one must not go on sending for as long as it keeps its connection.
    pub async fn stands(self: &Arc<Self>, account: &Account) -> bool {
        let this = Arc::clone(self);
        let accounts = tokio::task::spawn_blocking(move || this.accounts.current()).await;
        // It fails only while the runtime goes down.
        accounts.is_ok_and(|now| now.get(account.name()).is_some_and(|a| **a == *account))
    }

    /// The account of that name, and whether this password of it is remembered;
    /// `None` if the runtime is going down.
    async fn find(self: &Arc<Self>, login: &Login) -> Option<(Option<Arc<Account>>, bool)> {
        let this = Arc::clone(self);
        let accounts = tokio::task::spawn_blocking(move || this.accounts.current())
            .await
            .ok()?;
        let account = accounts.get(&login.name).cloned();
        let known = account.as_ref().is_some_and(|account| {
            let remembered = self.remembered();
            let tag = remembered.tag(account, &login.password);
            remembered.knows(&tag, Instant::now())
        });
        Some((account, known))
    }

    /// `None` if there was no core for it in time.
    async fn hash_matches(&self, hash: String, login: &Login, repute: Repute) -> Option<bool> {
        let turn = self.hashing.turn(repute).await?;
        let password = login.password.clone();
        tokio::task::spawn_blocking(move || turn.matches(&hash, &password))
            .await
            .ok()
    }

    fn throttle(&self) -> std::sync::MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, Remembered> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authenticator(..)")
    }
}

/// One line for fail2ban. Only the name of an account that exists is told: what
/// was typed in its place may be a password.
fn log_failure(client: IpAddr, account: Option<&Account>, reason: &str) {
    let client = client.to_canonical();
    let account = account.map_or_else(|| "unknown".to_owned(), |a| log_name(a.name()));
    tracing::warn!("auth failed: client={client} account={account} reason=\"{reason}\"");
}

/// A name as one word that can't imitate another part of a log line.
pub(super) fn log_name(name: &str) -> String {
    let safe = |c: char| match c {
        '!'..='~' if !matches!(c, '"' | '=' | '\\') => c,
        _ => '_',
    };
    name.chars().map(safe).take(64).collect()
}

/// A hash with the parameters of real ones that no password has.
fn dummy_hash(entropy: &dyn Entropy) -> Result<String, EntropyError> {
    let mut random = [0u8; 16];
    entropy.fill(&mut random)?;
    let hash = SaltString::encode_b64(&random).ok().and_then(|salt| {
        use argon2::PasswordHasher;
        Argon2::new(Algorithm::Argon2id, Version::default(), Params::default())
            .hash_password(&random, &salt)
            .ok()
            .map(|hash| hash.to_string())
    });
    hash.ok_or(EntropyError)
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
