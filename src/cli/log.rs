//! `postern log`.

use std::time::Duration;

use clap::Subcommand;

use super::{Exit, daemon, output};
use crate::config::Config;
use crate::control::{Answer, Request};
use crate::types::LogLevel;
use crate::types::units::{parse_duration, print_duration};

/// How much the running daemon logs.
#[derive(Debug, Subcommand)]
pub(super) enum Log {
    /// Change the level of the running daemon.
    Level {
        /// error, warn, info, debug or trace.
        level: LogLevel,
        /// Go back to the configured level after this long (15m, 2h).
        #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
        span: Option<Duration>,
    },
}

impl Log {
    pub(super) fn run(self, config: &Config) -> Exit {
        let Self::Level { level, span } = self;
        let request = Request::LogLevel {
            level,
            seconds: span.map(|span| span.as_secs()),
        };
        match daemon::ask(config, &request) {
            Ok(Answer::Done) => {
                let until = match span {
                    Some(span) => format!("for {}", print_duration(span)),
                    None => "until the daemon is restarted".to_owned(),
                };
                output::say(format_args!("log level {level}, {until}"));
                Exit::Done
            }
            Ok(_) => {
                output::complain("the daemon gave an answer to another question");
                Exit::Failed
            }
            Err(exit) => exit,
        }
    }
}
