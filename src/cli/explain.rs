//! `postern explain`.

use clap::Args;

use super::{Exit, daemon, domain, output};
use crate::config::Config;
use crate::service;
use crate::types::Mailbox;
use crate::types::units::parse_size;

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
    /// The message's Subject, for rules that ask it.
    #[arg(long, value_name = "TEXT")]
    subject: Option<String>,
    /// A header field, "Name: value", for rules that ask it; repeatable.
    #[arg(long, value_name = "FIELD")]
    header: Vec<String>,
    /// The message's text, for rules that count in it.
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// The message's size, for rules that ask it.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    size: Option<u64>,
    /// Connect to the hosts and shake hands, without a word about sender or
    /// recipient; exit 0 if a message would be delivered now, 1 if not.
    #[arg(long)]
    probe: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Explain {
    pub(super) fn run(self, config: &Config) -> Exit {
        let subject = self.subject.map(|text| format!("Subject: {text}"));
        let lines: Vec<String> = subject.into_iter().chain(self.header).collect();
        let content = service::Case::noted(
            config,
            &lines,
            self.text.as_deref().unwrap_or_default(),
            self.size.unwrap_or(0),
        );
        let question = service::Case {
            recipient: self.recipient,
            sender: self.from,
            account: self.account,
            listener: self.listener,
            content: Some(content),
        };
        let name = question.recipient.host().to_string();
        let kept = daemon::kept_policy(config, &name);
        let told = domain::told(config, &question.recipient);
        let story = match service::explain(config, &question, kept, told.as_ref(), self.probe) {
            Ok(story) => story,
            Err(e) => {
                output::complain(e);
                return Exit::Failed;
            }
        };
        let exit = match story.would_be_delivered() {
            Some(false) => Exit::Failed,
            Some(true) | None => Exit::Done,
        };
        match self.json {
            true => output::json(&story),
            false => output::say(story),
        }
        exit
    }
}
