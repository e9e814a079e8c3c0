//! `postern spool`.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::{Exit, daemon, output, spool_check};
use crate::config::Config;
use crate::control::ExportCounts;
use crate::service::{
    self, ExportFile, Import, ImportSummary, ImportTaken, ImportedMessage, SpoolWorkError,
};

/// The stored mail: its health, copies of it, its master key.
#[derive(Debug, Subcommand)]
pub(super) enum Spool {
    /// Read all of the spool and tell what is damaged; the daemon must be stopped.
    Check {
        /// Make the index anew from the journal and set aside what is damaged.
        #[arg(long)]
        repair: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write everything that is open into one sealed file; with a running daemon or
    /// without.
    Export {
        /// The file, which must not exist; - is standard output.
        file: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Take in what an export holds; the daemon must be stopped.
    Import {
        /// The export.
        file: PathBuf,
        /// The master key of the host that wrote it, if it is not this one's.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// List what would be taken in, and take nothing.
        #[arg(long)]
        dry_run: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a new master key; the daemon must be stopped.
    RotateKey {
        /// Take the new key from this file, or write it there if there is none;
        /// needed where the master key is a credential of systemd's.
        #[arg(long, value_name = "FILE")]
        new_key: Option<PathBuf>,
    },
}

impl Spool {
    pub(super) fn run(self, config: &Config) -> Exit {
        let done = match self {
            Self::Check { repair, json } => spool_check::run(config, repair, json),
            Self::Export { file, json } => export(config, &file, json),
            Self::Import {
                file,
                key,
                dry_run,
                json,
            } => {
                let import = Import {
                    file: &file,
                    key: key.as_deref(),
                    dry_run,
                };
                import_into(config, &import, json)
            }
            Self::RotateKey { new_key } => rotate_key(config, new_key.as_deref()),
        };
        match done {
            Ok(()) => Exit::Done,
            Err(exit) => exit,
        }
    }
}

/// Tells what went wrong; gives how to exit.
pub(super) fn failed(error: &SpoolWorkError) -> Exit {
    output::complain(error);
    match error.is_configuration() {
        true => Exit::Config,
        false => Exit::Failed,
    }
}

fn export(config: &Config, path: &Path, json: bool) -> Result<(), Exit> {
    let refuse = |why: String| {
        output::complain(why);
        Exit::Failed
    };
    if path == Path::new("-") {
        let mut stdout = io::stdout().lock();
        if stdout.is_terminal() {
            return Err(refuse(
                "an export is no text: send it into a file or a pipe".into(),
            ));
        }
        let counts = write_export(config, &mut stdout)?;
        stdout.flush().map_err(|e| refuse(e.to_string()))?;
        let report = |text: String| output::complain(text);
        tell_export(&counts, report);
        return exit_of(&counts);
    }
    let mut file = ExportFile::create(path).map_err(refuse)?;
    let counts = write_export(config, &mut file)?;
    file.finish().map_err(refuse)?;
    match json {
        true => output::json(&counts),
        false => tell_export(&counts, output::say),
    }
    exit_of(&counts)
}

/// From the running daemon if there is one, else from the spool itself.
fn write_export(config: &Config, to: &mut dyn Write) -> Result<ExportCounts, Exit> {
    match daemon::export(config, to)? {
        Some(counts) => Ok(counts),
        None => service::export_spool(config, to).map_err(|e| failed(&e)),
    }
}

fn tell_export(counts: &ExportCounts, say: impl Fn(String)) {
    let ExportCounts {
        messages,
        recipients,
        octets,
        damaged,
    } = counts;
    say(format!(
        "exported: {messages} messages, {recipients} open recipients, {octets} octets"
    ));
    for id in damaged {
        output::complain(format_args!(
            "{id} could not be read and is not in the export (postern spool check tells more)"
        ));
    }
}

fn exit_of(counts: &ExportCounts) -> Result<(), Exit> {
    match counts.damaged.is_empty() {
        true => Ok(()),
        false => Err(Exit::Failed),
    }
}

fn import_into(config: &Config, import: &Import<'_>, json: bool) -> Result<(), Exit> {
    let lists = import.dry_run && !json;
    let mut told = |message: &ImportedMessage| {
        if lists {
            let (id, open, octets) = (message.id, message.open, message.octets);
            match message.taken {
                ImportTaken::New => output::say(format_args!(
                    "{id}  would import: {open} open recipients, {octets} octets"
                )),
                ImportTaken::Already => output::say(format_args!("{id}  is there already")),
                ImportTaken::Ended => {
                    output::say(format_args!(
                        "{id}  has ended since, as the audit here says"
                    ));
                }
            }
        }
    };
    let summary = service::import_spool(config, import, &mut told).map_err(|e| failed(&e))?;
    match json {
        true => output::json(&summary),
        false => tell_import(&summary, import.dry_run),
    }
    match summary.complete {
        true => Ok(()),
        false => Err(Exit::Failed),
    }
}

fn tell_import(summary: &ImportSummary, dry_run: bool) {
    for bad in &summary.unreadable {
        let what = match (&bad.id, bad.offset) {
            (Some(id), _) if bad.domains.is_empty() => format!("{id} is damaged in the export"),
            (Some(id), _) => format!(
                "{id} (to {}) is damaged in the export",
                bad.domains.join(", ")
            ),
            (None, Some(offset)) => format!("the export is damaged at octet {offset}"),
            (None, None) => "the export is damaged".to_owned(),
        };
        output::complain(format_args!("{what}: not imported"));
    }
    for id in &summary.not_exported {
        output::complain(format_args!(
            "{id} could not be read when the export was written, and is not in it"
        ));
    }
    if !summary.has_end {
        output::complain("the export has no end: it was cut short, and what followed is missing");
    } else if summary.missing > 0 {
        output::complain(format_args!(
            "the export says that it holds {} messages more, which are not in it",
            summary.missing
        ));
    }
    if summary.audit_faults > 0 {
        output::complain(format_args!(
            "{} lines of the audit here can't be read: what they say was delivered may be \
             delivered again (postern audit verify)",
            summary.audit_faults
        ));
    }
    let would = if dry_run { "would be " } else { "" };
    output::say(format_args!(
        "{would}imported: {} messages, {} open recipients; already there: {}; ended since: {}",
        summary.imported, summary.recipients, summary.already, summary.ended
    ));
}

fn rotate_key(config: &Config, new_key: Option<&Path>) -> Result<(), Exit> {
    let rotated = service::rotate_key(config, new_key).map_err(|e| failed(&e))?;
    for path in &rotated.unreadable {
        output::complain(format_args!(
            "{} does not open with the old key either, and was left as it is (postern spool check tells what that means)",
            path.display()
        ));
    }
    let new = rotated.new.display();
    output::say(format_args!("{} keys wrapped anew", rotated.keys));
    match &rotated.old {
        Some(old) => output::say(format_args!(
            "the new master key is {new}: copy it to a safe place. The old one is kept as {}: \
             exports and backups made until now need it; move it to where you keep those keys",
            old.display()
        )),
        None if rotated.is_in_force => output::say(format_args!("the new master key is {new}")),
        None => output::say(format_args!(
            "the new master key is in {new}: put it in the credential's place before the next \
             start, and keep the old one for older exports and backups. A start with the old key \
             forgets this rotation"
        )),
    }
    Ok(())
}
