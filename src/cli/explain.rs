//! `postern explain`.

use clap::Args;

use super::{Exit, output};
use crate::config::Config;
use crate::service;
use crate::types::Mailbox;

/// What would happen to a message for a recipient, and why.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The recipient's address.
    recipient: Mailbox,
    /// The sender's address; without it, no sender (<>) is assumed.
    #[arg(long, value_name = "ADDRESS")]
    from: Option<Mailbox>,
    /// The account that would submit.
    #[arg(long)]
    account: Option<String>,
    /// The listener's `bind` it would come through.
    #[arg(long, value_name = "BIND")]
    listener: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub(super) fn run(self, config: &Config) -> Exit {
        let question = service::Case {
            recipient: self.recipient,
            sender: self.from,
            account: self.account,
            listener: self.listener,
        };
        match service::explain(config, &question) {
            Ok(story) if self.json => {
                output::json(&story);
                Exit::Done
            }
            Ok(story) => {
                output::say(story);
                Exit::Done
            }
            Err(e) => {
                output::complain(e);
                Exit::Failed
            }
        }
    }
}
