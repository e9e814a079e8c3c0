//! `postern queue hold|release|retry|remove|bounce`.

use clap::Args;

use super::{Exit, daemon, output};
use crate::config::Config;
use crate::control::{
    Answer, HAND_PAGE, HandRequest, HandResult, HandledMessage, NOTE_MAX, QueueFilter, Request,
    Selection, parse_moment,
};
use crate::types::{Action, Timestamp};

/// Which messages, and how.
#[derive(Debug, Args)]
pub(super) struct HandArguments {
    /// Messages, by their ids.
    #[arg(value_name = "ID", required_unless_present_any = ["domain", "sender", "all"],
          conflicts_with_all = ["domain", "sender", "all"])]
    ids: Vec<String>,
    /// Recipients at this domain, of whatever message; its other recipients are
    /// left as they are.
    #[arg(long, conflicts_with = "all")]
    domain: Option<String>,
    /// Messages of this sender ("" for <>).
    #[arg(long, conflicts_with = "all")]
    sender: Option<String>,
    /// All messages.
    #[arg(long)]
    all: bool,
    /// Why, for the audit.
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: Option<String>,
    /// Tell what would be touched, and touch nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Which messages to hold, and for how long.
#[derive(Debug, Args)]
pub(super) struct HoldArguments {
    /// Release them then: a time (RFC 3339) or how long from now, such as 4h.
    #[arg(long, value_name = "TIME|DURATION", value_parser = until)]
    until: Option<String>,
    #[command(flatten)]
    hand: HandArguments,
}

impl HoldArguments {
    pub(super) fn run(self, config: &Config) -> Result<(), Exit> {
        self.hand.run_until(config, Action::Hold, self.until)
    }
}

impl HandArguments {
    pub(super) fn run(self, config: &Config, action: Action) -> Result<(), Exit> {
        self.run_until(config, action, None)
    }

    fn run_until(self, config: &Config, action: Action, until: Option<String>) -> Result<(), Exit> {
        let (json, by_id) = (self.json, !self.ids.is_empty());
        let mut tally = Tally::default();
        let mut all = Vec::new();
        let mut pages = self.ids.chunks(HAND_PAGE);
        let mut request = self.request(action, until, pages.next());
        loop {
            let ask = Request::QueueHand {
                order: request.clone(),
            };
            let Answer::Handled {
                messages,
                next,
                before,
            } = daemon::ask(config, &ask)?
            else {
                return Err(super::queue::unexpected());
            };
            for message in messages {
                tally.add(&message, by_id);
                match json {
                    true => all.push(message),
                    false => tell(&message, action, by_id),
                }
            }
            request.select.before = Some(before);
            match (pages.next(), next) {
                (Some(ids), _) => request.select.ids = ids.to_vec(),
                (None, Some(next)) => request.select.after = Some(next),
                (None, None) => break,
            }
        }
        match json {
            true => output::json(&all),
            false => tally.tell(action, self.dry_run),
        }
        match tally.failed {
            0 => Ok(()),
            _ => Err(Exit::Failed),
        }
    }

    /// What is asked first.
    fn request(
        &self,
        action: Action,
        until: Option<String>,
        ids: Option<&[String]>,
    ) -> HandRequest {
        HandRequest {
            action,
            until,
            reason: self.reason.clone(),
            select: Selection {
                ids: ids.unwrap_or_default().to_vec(),
                filter: QueueFilter {
                    domain: self.domain.clone(),
                    sender: self.sender.clone(),
                    state: None,
                },
                after: None,
                before: None,
            },
            dry_run: self.dry_run,
        }
    }
}

/// What came of all of it.
#[derive(Debug, Default)]
struct Tally {
    messages: u64,
    recipients: usize,
    failed: u64,
}

impl Tally {
    fn add(&mut self, message: &HandledMessage, by_id: bool) {
        match message.result {
            HandResult::Done | HandResult::Would => {
                self.messages += 1;
                self.recipients += message.recipients;
            }
            // What has gone since a selection was made is no failure.
            HandResult::Nothing | HandResult::Unknown if !by_id => {}
            _ => self.failed += 1,
        }
    }

    fn tell(&self, action: Action, dry_run: bool) {
        let would = if dry_run { "would " } else { "" };
        output::say(format_args!(
            "{would}{action}: {} messages, {} recipients",
            self.messages, self.recipients
        ));
    }
}

fn tell(message: &HandledMessage, action: Action, by_id: bool) {
    let id = &message.id;
    match (&message.error, message.result) {
        (None, HandResult::Would) => output::say(format_args!(
            "{id}  would {action} {} recipients",
            message.recipients
        )),
        (None, _) => output::say(format_args!(
            "{id}  {action}: {} recipients",
            message.recipients
        )),
        (Some(_), HandResult::Nothing | HandResult::Unknown) if !by_id => {}
        (Some(error), _) => output::complain(format_args!("{id}: {error}")),
    }
}

/// The daemon reads it again, by its own clock.
fn until(text: &str) -> Result<String, String> {
    parse_moment(text, Timestamp::default()).map(|_| text.to_owned())
}

fn reason(text: &str) -> Result<String, String> {
    match text.len() <= NOTE_MAX {
        true => Ok(text.to_owned()),
        false => Err(format!("longer than {NOTE_MAX} octets")),
    }
}
