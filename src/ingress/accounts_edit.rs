//! Changes to the accounts file, for the command line.
//!
//! Holds always: the file is replaced whole (new name, fsync, rename, fsync of
//! the folder), so a reader or a crash sees the old accounts or the new; its
//! owner and mode stay; two changes at once wait for each other. A running
//! daemon notices by itself. Called by the command line through `accounts`.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use argon2::password_hash::SaltString;
use argon2::{Argon2, PasswordHasher};
use zeroize::Zeroizing;

use super::accounts::{Account, Accounts, AccountsError, Fault};
use super::admission::SenderPattern;
use crate::sys::Entropy;

/// An account as listings show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountSummary {
    /// Its name.
    pub name: String,
    /// Its sender patterns, as written in the file.
    pub senders: Vec<String>,
}

/// Adds an account. Without a sender pattern it may send as its own name, if
/// that is an address.
///
/// # Errors
/// [`AccountsError::Refused`] where the name is taken or a part is bad, else
/// what the file says.
pub fn add(
    path: &Path,
    name: &str,
    password: &str,
    senders: &[String],
    entropy: &dyn Entropy,
) -> Result<(), AccountsError> {
    let name_alone = [name.to_owned()];
    let senders = match senders {
        [] if SenderPattern::parse(name).is_ok() => &name_alone,
        given => given,
    };
    let patterns = senders
        .iter()
        .map(|text| SenderPattern::parse(text).map_err(|error| Fault::Sender(text.clone(), error)))
        .collect::<Result<Vec<_>, _>>()?;
    let account = Account::new(name, &hash(password, entropy)?, patterns)?;
    edit(path, |accounts| Ok(accounts.push(account)?))
}

/// Removes an account.
///
/// # Errors
/// [`AccountsError::Unknown`], else what the file says.
pub fn remove(path: &Path, name: &str) -> Result<(), AccountsError> {
    edit(path, |accounts| {
        if accounts.get(name).is_none() {
            return Err(AccountsError::Unknown(name.to_owned()));
        }
        let mut rest = Accounts::default();
        for account in accounts.iter() {
            if !account.name().eq_ignore_ascii_case(name) {
                rest.push(account.clone())?;
            }
        }
        *accounts = rest;
        Ok(())
    })
}

/// Lists the accounts in the file's order.
///
/// # Errors
/// What the file says.
pub fn list(path: &Path) -> Result<Vec<AccountSummary>, AccountsError> {
    let accounts = Accounts::read(path)?;
    let summary = |account: &Account| AccountSummary {
        name: account.name().to_owned(),
        senders: account.senders().iter().map(ToString::to_string).collect(),
    };
    Ok(accounts.iter().map(summary).collect())
}

/// Makes a password of 100 random bits that survives being read aloud.
///
/// # Errors
/// [`AccountsError::Entropy`].
pub fn generate_password(entropy: &dyn Entropy) -> Result<Zeroizing<String>, AccountsError> {
    const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut random = Zeroizing::new([0u8; 20]);
    entropy.fill(random.as_mut())?;
    let mut password = Zeroizing::new(String::with_capacity(24));
    for (at, octet) in random.iter().enumerate() {
        if at > 0 && at.is_multiple_of(5) {
            password.push('-');
        }
        // The index is under 32, the table's length.
        password.push(char::from(LETTERS[usize::from(octet & 31)]));
    }
    Ok(password)
}

fn hash(password: &str, entropy: &dyn Entropy) -> Result<String, AccountsError> {
    let mut random = [0u8; 16];
    entropy.fill(&mut random)?;
    let salt = SaltString::encode_b64(&random).map_err(AccountsError::Hashing)?;
    // The default is argon2id with 19 MiB and 2 passes (OWASP's first choice).
    Argon2::default()
        .hash_password(password.as_bytes(), &salt)
        .map(|hash| hash.to_string())
        .map_err(AccountsError::Hashing)
}

/// Reads, changes and replaces the file while no one else does.
fn edit(
    path: &Path,
    change: impl FnOnce(&mut Accounts) -> Result<(), AccountsError>,
) -> Result<(), AccountsError> {
    // A link stays a link: what it points to is replaced.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let failed = |cause| AccountsError::Io {
        path: path.clone(),
        cause,
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    // The folder is what stays while the file is replaced: lock that one.
    let lock = File::open(&folder).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let mut accounts = Accounts::read(path)?;
    change(&mut accounts)?;
    replace(path, &lock, &print(&accounts)).map_err(failed)
}

fn replace(path: &Path, folder: &File, text: &str) -> io::Result<()> {
    let (owner, group, mode) = match fs::metadata(path) {
        Ok(old) => (Some(old.uid()), old.gid(), old.mode() & 0o7777),
        // A new file is for the group of its folder, as the daemon's is.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            (None, folder.metadata()?.gid(), 0o640)
        }
        Err(error) => return Err(error),
    };
    let draft = path.with_extension("toml.new");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(text.as_bytes())?;
    let made = file.metadata()?;
    let own = owner.filter(|owner| *owner != made.uid());
    let new_group = Some(group).filter(|group| *group != made.gid());
    if own.is_some() || new_group.is_some() {
        match fchown(&file, own, new_group) {
            // An ordinary user can't give a new file away; it works as it is.
            Err(_) if owner.is_none() => {}
            other => other?,
        }
    }
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    folder.sync_all()
}

fn print(accounts: &Accounts) -> String {
    let mut text = String::from(
        "# Who may submit with a password. Written by `postern account`; a running\n\
         # daemon takes changes in by itself.\n",
    );
    for account in accounts.iter() {
        let senders: Vec<_> = account.senders().iter().map(ToString::to_string).collect();
        // Writing to a String can't fail.
        let _ = write!(
            text,
            "\n[[account]]\nname = {}\nhash = {}\nsenders = {}\n",
            toml::Value::from(account.name()),
            toml::Value::from(account.hash()),
            toml::Value::from(senders),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::SystemEntropy;

    fn entropy() -> SystemEntropy {
        SystemEntropy::default()
    }

    #[test]
    fn add_list_remove() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accounts.toml");
        let senders = [
            "@clinic.example".to_owned(),
            "\"q \\\" q\"@b.example".to_owned(),
        ];
        add(&path, "scan \"1\"\\", "secret", &senders, &entropy()).unwrap();
        add(&path, "me@b.example", "secret", &[], &entropy()).unwrap();
        let listed = list(&path).unwrap();
        assert_eq!(listed[0].name, "scan \"1\"\\");
        assert_eq!(listed[0].senders, senders);
        assert_eq!(listed[1].senders, ["me@b.example"]);
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        assert_eq!(mode(&path), 0o640);

        fs::set_permissions(&path, Permissions::from_mode(0o604)).unwrap();
        remove(&path, "ME@B.example").unwrap();
        assert_eq!(mode(&path), 0o604);
        assert_eq!(list(&path).unwrap().len(), 1);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("$argon2id$v=19$m=19456,t=2,p=1$") && !text.contains("secret"));
    }

    #[test]
    fn refusals_leave_the_file_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accounts.toml");
        let at = ["@x.example".to_owned()];
        add(&path, "a", "p", &at, &entropy()).unwrap();
        let before = fs::read(&path).unwrap();
        for (name, senders) in [
            ("A", &at[..]),
            ("b", &[]),
            ("b", &["x".to_owned()]),
            ("b\n", &at),
        ] {
            assert!(add(&path, name, "p", senders, &entropy()).is_err());
        }
        assert!(matches!(
            remove(&path, "b"),
            Err(AccountsError::Unknown(name)) if name == "b"
        ));
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn passwords_are_long_and_differ() {
        let one = generate_password(&entropy()).unwrap();
        assert_eq!(one.len(), 23);
        assert_ne!(one, generate_password(&entropy()).unwrap());
    }
}
