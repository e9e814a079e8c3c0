//! `postern test`: asks the daemon to accept a test message, and tells its story.
//!
//! Holds always: the queue says when there is news, the audit says what it is; the
//! audit is read only then, since it may be large.

use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::{Exit, daemon, output};
use crate::config::Config;
use crate::control::{Answer, QueuedRecipient, Request, parse_id};
use crate::service::{AuditEntry, AuditQuestion, Case, audit, plan};
use crate::types::units::{parse_duration, print_duration};
use crate::types::{Mailbox, QueueId, State, Timestamp};

/// Between two looks at the queue.
const STEP: Duration = Duration::from_millis(200);
/// How long the audit is waited for, once the queue has news.
const AUDIT_PATIENCE: Duration = Duration::from_secs(10);

/// Send one harmless message, and tell what becomes of it.
#[derive(Debug, Args)]
pub(super) struct Test {
    /// The recipient's address.
    recipient: Mailbox,
    /// The sender's address [default: the postmaster].
    #[arg(long, value_name = "ADDRESS")]
    from: Option<Mailbox>,
    /// How long to follow it.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    wait: Duration,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The story, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Told {
    id: String,
    sender: String,
    recipient: String,
    /// Rule, methods and level, by the configuration file.
    policy: String,
    /// What it is now.
    state: State,
    /// What the audit holds about it.
    audit: Vec<AuditEntry>,
    /// When it is tried next; null once final.
    next_attempt: Option<String>,
    /// What the far side said last, or why it waits.
    last_reply: Option<String>,
}

/// A message that is followed.
struct Followed<'a> {
    config: &'a Config,
    id: QueueId,
    since: Timestamp,
    told: Told,
    json: bool,
}

impl Test {
    pub(super) fn run(self, config: &Config) -> Exit {
        match self.follow(config) {
            Ok(exit) | Err(exit) => exit,
        }
    }

    fn follow(self, config: &Config) -> Result<Exit, Exit> {
        let began = Instant::now();
        let mut followed = self.begin(config)?;
        // What it was when the audit was last read.
        let mut known = None;
        loop {
            let looked = followed.look();
            if looked.is_err() && self.json {
                output::json(&followed.told);
            }
            let Some(recipient) = looked? else {
                followed.hear(None);
                return followed.end();
            };
            if known.as_ref() != Some(&recipient) {
                followed.hear(Some(&recipient));
                known = Some(recipient.clone());
            }
            followed.told.state = recipient.state;
            followed.told.next_attempt = recipient.next_attempt;
            followed.told.last_reply = recipient.last_reply;
            if began.elapsed() >= self.wait {
                return followed.give_up(self.wait);
            }
            std::thread::sleep(STEP);
        }
    }

    /// What the file prescribes for a message from this sender.
    fn policy(&self, config: &Config, sender: &str) -> String {
        let case = Case {
            recipient: self.recipient.clone(),
            sender: sender.parse().ok(),
            account: None,
            listener: None,
            content: None,
        };
        plan(config, &case)
    }

    /// Has the message accepted.
    fn begin<'a>(&self, config: &'a Config) -> Result<Followed<'a>, Exit> {
        let request = Request::Test {
            recipient: self.recipient.to_string(),
            sender: self.from.as_ref().map(Mailbox::to_string),
        };
        let Answer::Accepted {
            id,
            sender,
            received_at,
            configuration,
        } = daemon::ask(config, &request)?
        else {
            return Err(super::queue::unexpected());
        };
        let policy = self.policy(config, &sender);
        if !self.json {
            let to = &self.recipient;
            output::say(format_args!("accepted as {id}, from <{sender}> to <{to}>"));
            output::say(format_args!("by {policy}"));
        }
        if configuration != config.hash {
            output::complain(
                "the daemon runs an earlier configuration than the file has; \
                 `systemctl reload postern`",
            );
        }
        Ok(Followed {
            config,
            id: parse_id(&id).map_err(|_| super::queue::unexpected())?,
            since: received_at
                .parse()
                .map_err(|_| super::queue::unexpected())?,
            json: self.json,
            told: Told {
                id,
                sender,
                recipient: self.recipient.to_string(),
                policy,
                state: State::Queued,
                audit: Vec::new(),
                next_attempt: None,
                last_reply: None,
            },
        })
    }
}

impl Followed<'_> {
    /// The recipient as the queue has it; `None`: it is open no more.
    fn look(&self) -> Result<Option<QueuedRecipient>, Exit> {
        let id = self.told.id.clone();
        match daemon::try_ask(self.config, &Request::QueueShow { id })? {
            Answer::Message { message } => {
                let mut recipients = message.recipients.into_iter();
                Ok(recipients.next().filter(|r| r.state.is_open()))
            }
            _ => Ok(None),
        }
    }

    /// Tells what is new in the audit. If the queue knows of an attempt or an end,
    /// the audit will in a moment.
    fn hear(&mut self, queued: Option<&QueuedRecipient>) {
        let began = Instant::now();
        loop {
            self.read_audit();
            let heard = match queued {
                // One entry for each attempt, and those of what was done by hand.
                Some(recipient) => self.told.audit.len() >= recipient.attempts as usize,
                None => self.ended().is_some(),
            };
            if heard || began.elapsed() >= AUDIT_PATIENCE {
                return;
            }
            std::thread::sleep(STEP);
        }
    }

    /// The final state, once the audit has it.
    fn ended(&self) -> Option<State> {
        let last = self.told.audit.last().and_then(AuditEntry::state);
        last.filter(|state| !state.is_open())
    }

    fn read_audit(&mut self) {
        let question = AuditQuestion {
            since: Some(self.since),
            id: Some(self.id),
            ..AuditQuestion::default()
        };
        let entries = match audit(self.config, &question) {
            Ok(entries) => entries,
            Err(e) => return output::complain(e),
        };
        let known = self.told.audit.len();
        for entry in entries.filter_map(Result::ok).skip(known) {
            if !self.json {
                output::say(entry.story());
            }
            self.told.audit.push(entry);
        }
    }

    /// It has left the queue: the audit says how.
    fn end(mut self) -> Result<Exit, Exit> {
        let Some(state) = self.ended() else {
            output::complain(format_args!(
                "it has left the queue, and the audit does not say how; \
                 `postern audit show {}`",
                self.told.id
            ));
            if self.json {
                output::json(&self.told);
            }
            return Err(Exit::Failed);
        };
        self.told.state = state;
        self.told.next_attempt = None;
        let delivered = state == State::Delivered;
        let bounced = matches!(state, State::Bounced | State::Expired);
        let sender = &self.told.sender;
        match (self.json, bounced) {
            (true, _) => output::json(&self.told),
            (false, true) => output::say(format_args!("{state}; <{sender}> gets a report")),
            (false, false) => output::say(state),
        }
        Ok(if delivered { Exit::Done } else { Exit::Failed })
    }

    /// It is not delivered in time.
    fn give_up(self, wait: Duration) -> Result<Exit, Exit> {
        let told = &self.told;
        if self.json {
            output::json(told);
            return Ok(Exit::Failed);
        }
        let (state, span, id) = (told.state, print_duration(wait), &told.id);
        let why = told.last_reply.as_deref().unwrap_or("not tried yet");
        output::say(format_args!("still {state} after {span}: {why}"));
        if let Some(next) = &told.next_attempt {
            output::say(format_args!("next attempt at {next}"));
        }
        output::say(format_args!(
            "it stays in the queue; `postern queue remove {id}` takes it out"
        ));
        Ok(Exit::Failed)
    }
}
