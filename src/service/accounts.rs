//! The accounts file, as `postern account` changes it.

use zeroize::Zeroizing;

use super::run::make_folder;
use crate::config::Config;
use crate::ingress::accounts::{self, AccountsError};
use crate::sys::SystemEntropy;

/// Adds an account. Without a password one is made up and given back.
///
/// # Errors
/// What is wrong with a name or pattern, or with the file.
pub fn add(
    config: &Config,
    name: &str,
    password: Option<Zeroizing<String>>,
    senders: &[String],
) -> Result<Option<Zeroizing<String>>, AccountsError> {
    let entropy = SystemEntropy::default();
    let path = &config.ingress.accounts;
    // Accounts may come before the first start; what can't be made here is told
    // by the file's own error.
    if path.starts_with(&config.data_dir) {
        let _ = make_folder(&config.data_dir);
    }
    if let Some(password) = password {
        accounts::add(path, name, &password, senders, &entropy)?;
        return Ok(None);
    }
    let password = accounts::generate_password(&entropy)?;
    accounts::add(path, name, &password, senders, &entropy)?;
    Ok(Some(password))
}

/// Removes an account.
///
/// # Errors
/// If there is none of that name, or what the file says.
pub fn remove(config: &Config, name: &str) -> Result<(), AccountsError> {
    accounts::remove(&config.ingress.accounts, name)
}

/// Each account's name with its sender patterns.
///
/// # Errors
/// What the file says.
pub fn list(config: &Config) -> Result<Vec<(String, Vec<String>)>, AccountsError> {
    let listed = accounts::list(&config.ingress.accounts)?;
    Ok(listed.into_iter().map(|a| (a.name, a.senders)).collect())
}
