//! The command line: one file a subcommand.
//!
//! Owns the arguments, what is printed, and the exit codes of design section
//! 4.1: 0 done, 1 failed, 2 usage, 75 the daemon can't be reached, 78 bad
//! configuration. Holds always: listings print one thing a line or, with
//! `--json`, JSON; complaints go to stderr and say what to do. Called by `main`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{self, Config};

mod account;
mod audit;
mod check;
mod daemon;
mod domain;
mod explain;
mod hand;
mod key;
mod log;
mod output;
mod policy;
mod queue;
mod serve;
mod spool;
mod spool_check;
mod test;

/// Postern: an outbound SMTP relay that never lets a message leave unprotected.
#[derive(Debug, Parser)]
#[command(name = "postern", version, arg_required_else_help = true, after_long_help = AFTER)]
struct Arguments {
    /// The configuration file.
    #[arg(long, global = true, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

/// What `--help` and the manual end with.
const AFTER: &str = "\
Exit status: 0 done; 1 failed; 2 usage; 75 the daemon can't be reached; 78 bad configuration.

The configuration, with every key: /etc/postern/postern.toml as shipped. From \
nothing to first mail: /usr/share/doc/postern/install.md.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the relay in the foreground, logging to stderr.
    Serve,
    /// Check the configuration and what it names; tell every fault.
    Check,
    /// Add, list or remove the accounts that may submit mail.
    #[command(subcommand)]
    Account(account::Account),
    /// Look at messages that wait for delivery, and take them in hand.
    #[command(subcommand)]
    Queue(queue::Queue),
    /// Look up how messages were protected and what became of them.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Check, export, import the stored mail, and change its master key.
    #[command(subcommand)]
    Spool(spool::Spool),
    /// Add, list, remove, look up and approve recipients' certificates.
    #[command(subcommand)]
    Key(key::Key),
    /// Look at what is remembered of recipients' domains, and make exceptions.
    #[command(subcommand)]
    Domain(domain::Domain),
    /// Change how much the running daemon logs.
    #[command(subcommand)]
    Log(log::Log),
    /// Try changes of the rules before they are in force.
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Tell what would happen to a message for a recipient, and why.
    Explain(explain::Explain),
    /// Send one harmless message, and tell what becomes of it.
    Test(test::Test),
}

/// How a command ends (sysexits.h where systemd and scripts look for it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Done = 0,
    Failed = 1,
    TempFail = 75,
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The arguments as a whole, for manual pages and shell completions.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Reads the arguments, the program's name first, and does what they say. Usage
/// errors and `--help` end the process as clap does.
#[must_use]
pub fn run<A>(arguments: A) -> ExitCode
where
    A: IntoIterator,
    A::Item: Into<OsString> + Clone,
{
    let arguments = Arguments::parse_from(arguments);
    let config = match config::load(&arguments.config) {
        Ok(config) => config,
        Err(faults) => {
            output::complain(&faults);
            return Exit::Config.into();
        }
    };
    dispatch(arguments.command, config).into()
}

fn dispatch(command: Command, config: Config) -> Exit {
    match command {
        Command::Serve => serve::run(config),
        Command::Check => check::run(&config),
        Command::Account(account) => account.run(&config),
        Command::Queue(queue) => queue.run(&config),
        Command::Audit(audit) => audit.run(&config),
        Command::Spool(spool) => spool.run(&config),
        Command::Key(key) => key.run(&config),
        Command::Domain(domain) => domain.run(&config),
        Command::Log(log) => log.run(&config),
        Command::Policy(policy) => policy.run(&config),
        Command::Explain(explain) => explain.run(&config),
        Command::Test(test) => test.run(&config),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_sound() {
        command().debug_assert();
    }
}
