//! `postern audit`.

use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};

use super::{Exit, output};
use crate::config::Config;
use crate::control::parse_id;
use crate::service::{
    AUDIT_CSV_HEADER, AuditEntry, AuditKind, AuditLink, AuditQuestion, ago, audit, observed,
    verify_audit,
};
use crate::types::{Course, Domain, State, Timestamp};

/// How messages were protected, and what became of them.
#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// List changes of state and what happened to domains, in the order they were
    /// written.
    List {
        /// From this time on (RFC 3339), or from so long ago (7d).
        #[arg(long, value_name = "TIME|DURATION", value_parser = ago)]
        since: Option<Timestamp>,
        /// For this recipient.
        #[arg(long)]
        recipient: Option<String>,
        /// For recipients in this domain, and what happened to the domain itself.
        #[arg(long, value_parser = domain)]
        domain: Option<String>,
        /// Only what became of recipients (recipient), or only what happened to
        /// domains (domain).
        #[arg(long, value_name = "recipient|domain")]
        kind: Option<AuditKind>,
        /// Into this state.
        #[arg(long)]
        state: Option<State>,
        /// That would have come to this, while `[security] observe` was on: tls,
        /// cleartext, pgp, smime, wait, bounce, drop or hold.
        #[arg(long)]
        would: Option<Course>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Sum up, by domain, what was delivered while `[security] observe` was on and
    /// would not be if the configuration were enforced.
    Would {
        /// From this time on (RFC 3339), or from so long ago (7d).
        #[arg(long, value_name = "TIME|DURATION", value_parser = ago)]
        since: Option<Timestamp>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show everything about one message.
    Show {
        /// Its id, as the 250 and the log named it.
        id: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Check that nothing in the audit was changed, removed or added.
    Verify {
        /// A copy of the public key, kept elsewhere [default: keys/audit.pub.pem in
        /// data_dir].
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// A head that was noted earlier and must be found (repeatable).
        #[arg(long, value_name = "HASH")]
        head: Vec<AuditLink>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print all of it for other programs.
    Export {
        /// From this time on (RFC 3339), or from so long ago (7d).
        #[arg(long, value_name = "TIME|DURATION", value_parser = ago)]
        since: Option<Timestamp>,
        /// Before this time (RFC 3339).
        #[arg(long)]
        until: Option<Timestamp>,
        /// One JSON object a line, or CSV with a line of names.
        #[arg(long, value_enum, default_value_t = Format::Jsonl)]
        format: Format,
    },
}

/// What an export is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Jsonl,
    Csv,
}

impl Audit {
    pub(super) fn run(self, config: &Config) -> Exit {
        let (question, json) = match self {
            Self::Verify { key, head, json } => {
                return verify(config, key.as_deref(), &head, json);
            }
            Self::Would { since, json } => return would(config, since, json),
            Self::Export {
                since,
                until,
                format,
            } => {
                let question = AuditQuestion {
                    since,
                    until,
                    ..AuditQuestion::default()
                };
                return export(config, &question, format);
            }
            Self::List {
                since,
                recipient,
                domain,
                kind,
                state,
                would,
                json,
            } => {
                let question = AuditQuestion {
                    since,
                    recipient,
                    state,
                    would,
                    domain,
                    kind,
                    ..AuditQuestion::default()
                };
                (question, json)
            }
            Self::Show { id, json } => match parse_id(&id) {
                Ok(id) => {
                    let question = AuditQuestion {
                        id: Some(id),
                        ..AuditQuestion::default()
                    };
                    (question, json)
                }
                Err(e) => {
                    output::complain(e);
                    return Exit::Failed;
                }
            },
        };
        list(config, &question, json)
    }
}

/// A domain as the audit writes it.
fn domain(text: &str) -> Result<String, String> {
    let domain = Domain::parse(text.trim()).map_err(|e| e.to_string())?;
    Ok(domain.to_string())
}

fn verify(config: &Config, key: Option<&Path>, heads: &[AuditLink], json: bool) -> Exit {
    match verify_audit(config, key, heads) {
        Ok(verdict) => {
            if json {
                output::json(&verdict);
            } else {
                output::say(&verdict);
            }
            if verdict.is_intact() {
                Exit::Done
            } else {
                Exit::Failed
            }
        }
        Err(e) => {
            output::complain_of(&e);
            Exit::Failed
        }
    }
}

fn would(config: &Config, since: Option<Timestamp>, json: bool) -> Exit {
    let (sum, broken) = match observed(config, since) {
        Ok(found) => found,
        Err(e) => {
            output::complain_of(&e);
            return Exit::Failed;
        }
    };
    if json {
        output::json(&sum);
    } else {
        output::say(&sum);
        output::columns(&sum.rows());
    }
    for line in &broken {
        output::complain(line);
    }
    if broken.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    }
}

fn export(config: &Config, question: &AuditQuestion, format: Format) -> Exit {
    let entries = match audit(config, question) {
        Ok(entries) => entries,
        Err(e) => {
            output::complain_of(&e);
            return Exit::Failed;
        }
    };
    if format == Format::Csv {
        output::put(AUDIT_CSV_HEADER);
    }
    let mut exit = Exit::Done;
    for entry in entries {
        match entry {
            Ok(entry) => give(&entry, format),
            Err(e) => {
                output::complain_of(&e);
                exit = Exit::Failed;
            }
        }
    }
    exit
}

fn give(entry: &AuditEntry, format: Format) {
    match format {
        Format::Csv => output::put(&entry.csv()),
        Format::Jsonl => match serde_json::to_string(entry) {
            Ok(text) => output::say(text),
            Err(e) => output::complain(e),
        },
    }
}

fn list(config: &Config, question: &AuditQuestion, json: bool) -> Exit {
    let mut all = Vec::new();
    let mut found = false;
    let mut exit = Exit::Done;
    let entries = match audit(config, question) {
        Ok(entries) => entries,
        Err(e) => {
            output::complain_of(&e);
            return Exit::Failed;
        }
    };
    for entry in entries {
        match entry {
            Ok(entry) if json => all.push(entry),
            Ok(entry) => {
                found = true;
                output::say(entry);
            }
            Err(e) => {
                output::complain_of(&e);
                exit = Exit::Failed;
            }
        }
    }
    if json {
        output::json(&all);
    }
    if question.id.is_some() && !found && all.is_empty() {
        output::complain(
            "the audit holds nothing about that id (it begins with the first attempt)",
        );
        return Exit::Failed;
    }
    exit
}
