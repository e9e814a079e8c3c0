//! `postern policy`.

use std::path::PathBuf;

use clap::Subcommand;

use super::{Exit, output};
use crate::config::{self, Config};
use crate::service::{ago, replay};
use crate::types::Timestamp;

/// Try changes of the rules before they are in force.
#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// Run a changed configuration over the recipients of the past, as the audit holds
    /// them, and tell by domain for whom something would change.
    Replay {
        /// The changed configuration; of it [security] and [[rule]] count.
        file: PathBuf,
        /// From this time on (RFC 3339), or from so long ago (30d) [default: all that the
        /// audit holds].
        #[arg(long, value_name = "TIME|DURATION", value_parser = ago)]
        since: Option<Timestamp>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

impl Policy {
    pub(super) fn run(self, config: &Config) -> Exit {
        let Self::Replay { file, since, json } = self;
        let new = match config::load(&file) {
            Ok(new) => new,
            Err(faults) => {
                output::complain(&faults);
                return Exit::Config;
            }
        };
        let (sum, broken) = match replay(config, &new, since) {
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
        match broken.is_empty() {
            true => Exit::Done,
            false => Exit::Failed,
        }
    }
}
