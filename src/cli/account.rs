//! `postern account`.

use std::io::Read;

use clap::Subcommand;
use serde::Serialize;

use super::{Exit, output};
use crate::config::Config;
use crate::service::accounts;

/// Accounts that may submit mail.
#[derive(Debug, Subcommand)]
pub(super) enum Account {
    /// Add an account.
    Add {
        /// The name it logs in with.
        name: String,
        /// Read the password from standard input; otherwise one is made up and
        /// printed once.
        #[arg(long)]
        password_stdin: bool,
        /// What it may send as: an address or @domain (repeatable).
        #[arg(long = "sender", value_name = "PATTERN", required = true)]
        senders: Vec<String>,
    },
    /// List the accounts.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove an account.
    Remove {
        /// Its name.
        name: String,
    },
}

#[derive(Serialize)]
struct Listed {
    name: String,
    senders: Vec<String>,
}

/// What is wrong is told as it is.
type Done = Result<(), Box<dyn std::error::Error>>;

impl Account {
    pub(super) fn run(self, config: &Config) -> Exit {
        let done = match self {
            Self::Add {
                name,
                password_stdin,
                senders,
            } => add(config, &name, password_stdin, &senders),
            Self::List { json } => list(config, json),
            Self::Remove { name } => accounts::remove(config, &name).map_err(Box::from),
        };
        match done {
            Ok(()) => Exit::Done,
            Err(e) => {
                output::complain_of(&*e);
                Exit::Failed
            }
        }
    }
}

fn add(config: &Config, name: &str, stdin: bool, senders: &[String]) -> Done {
    let given = if stdin { Some(read_password()?) } else { None };
    let made = accounts::add(config, name, given, senders)?;
    if let Some(password) = made {
        output::say(format_args!("password: {}", password.as_str()));
    }
    Ok(())
}

fn read_password() -> Result<zeroize::Zeroizing<String>, String> {
    let mut text = zeroize::Zeroizing::new(String::new());
    std::io::stdin()
        .take(4096)
        .read_to_string(&mut text)
        .map_err(|e| format!("the password can't be read: {e}"))?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err("the password on standard input is empty".to_owned());
    }
    Ok(zeroize::Zeroizing::new(password.to_owned()))
}

fn list(config: &Config, json: bool) -> Done {
    let listed: Vec<Listed> = accounts::list(config)?
        .into_iter()
        .map(|(name, senders)| Listed { name, senders })
        .collect();
    if json {
        output::json(&listed);
    } else {
        let rows: Vec<_> = listed
            .into_iter()
            .map(|account| [account.name, account.senders.join(" ")])
            .collect();
        output::columns(&rows);
    }
    Ok(())
}
