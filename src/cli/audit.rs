//! `postern audit`.

use clap::Subcommand;

use super::{Exit, output};
use crate::config::Config;
use crate::control::parse_id;
use crate::service::{AuditQuestion, audit};
use crate::types::{State, Timestamp};

/// How messages were protected, and what became of them.
#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// List changes of state, oldest first.
    List {
        /// From this time on (RFC 3339).
        #[arg(long)]
        since: Option<Timestamp>,
        /// For this recipient.
        #[arg(long)]
        recipient: Option<String>,
        /// Into this state.
        #[arg(long)]
        state: Option<State>,
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
}

impl Audit {
    pub(super) fn run(self, config: &Config) -> Exit {
        let (question, json) = match self {
            Self::List {
                since,
                recipient,
                state,
                json,
            } => {
                let question = AuditQuestion {
                    since,
                    recipient,
                    state,
                    id: None,
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

fn list(config: &Config, question: &AuditQuestion, json: bool) -> Exit {
    let mut all = Vec::new();
    let mut found = false;
    let mut exit = Exit::Done;
    let entries = match audit(config, question) {
        Ok(entries) => entries,
        Err(e) => {
            output::complain(e);
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
                output::complain(e);
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
