//! `postern test`: one harmless message, accepted from the operator.
//!
//! Owns what the message says, and how many there may be. Holds always: it says
//! nothing but that it is a test; it goes the way of any other message of its
//! sender, by spool, policy and delivery; its origin names who asked for it, and so
//! does each line of the audit about it. Asked through `control`; the command line
//! follows the message by itself.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::answers::Answers;
use super::explain::Case;
use crate::config::Config;
use crate::control::Answer;
use crate::policy::Policy;
use crate::spool::Ticket;
use crate::types::{
    BodyType, Domain, Envelope, Host, Mailbox, MessageFacts, Origin, QueueId, Timestamp,
};

/// Test messages accepted in [`SPAN`] at most: enough to try things, too few to
/// bother anybody.
const MAX: usize = 10;
const SPAN: Duration = Duration::from_secs(60);

/// What test messages are written with, and when the last ones were.
#[derive(Clone)]
pub(super) struct Tests(Arc<Mutex<Inner>>);

struct Inner {
    hostname: Domain,
    postmaster: Option<Mailbox>,
    configuration: String,
    accepted: VecDeque<Timestamp>,
}

/// What one message is written with.
struct Leave {
    hostname: Domain,
    sender: Mailbox,
    configuration: String,
}

impl Tests {
    pub(super) fn new(config: &Config) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            hostname: config.hostname.clone(),
            postmaster: config.outcome.postmaster.clone(),
            configuration: config.hash.clone(),
            accepted: VecDeque::new(),
        })))
    }

    /// After a reload.
    pub(super) fn renew(&self, config: &Config) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.hostname = config.hostname.clone();
        inner.postmaster.clone_from(&config.outcome.postmaster);
        inner.configuration.clone_from(&config.hash);
    }

    /// Leave for one more, from `sender` or else the postmaster.
    fn leave(&self, sender: Option<Mailbox>, now: Timestamp) -> Result<Leave, String> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back lets none in too early.
        inner.accepted.retain(|at| now.since(*at) < SPAN);
        if inner.accepted.len() >= MAX {
            return Err(format!(
                "{MAX} test messages were accepted within the last minute; try again in a minute"
            ));
        }
        let sender = match sender.or_else(|| inner.postmaster.clone()) {
            Some(sender) => sender,
            None => Mailbox::new("postmaster", Host::Domain(inner.hostname.clone()))
                .map_err(|e| format!("no sender: {e}; set `postmaster` or give --from"))?,
        };
        inner.accepted.push_back(now);
        Ok(Leave {
            hostname: inner.hostname.clone(),
            sender,
            configuration: inner.configuration.clone(),
        })
    }
}

impl Answers {
    /// Accepts a test message.
    pub(super) async fn test(
        &self,
        recipient: &str,
        sender: Option<&str>,
        actor: &str,
    ) -> Result<Answer, String> {
        let address = |text: &str| text.parse::<Mailbox>().map_err(|e| format!("{text}: {e}"));
        let recipient = address(recipient)?;
        let sender = sender.map(address).transpose()?;
        let now = self.clock.now();
        let leave = self.tests.leave(sender, now)?;
        let mut intake = self.store.intake().map_err(|e| e.to_string())?;
        let id = intake.id();
        let text = compose(id, &leave, &recipient, now);
        let size = text.len() as u64;
        let written = intake.write(Bytes::from(text)).await;
        written.map_err(|e| e.to_string())?;
        let ticket = Ticket {
            origin: Origin::Test {
                by: actor.to_owned(),
            },
            envelope: Envelope {
                sender: Some(leave.sender.clone()),
                recipients: vec![recipient],
                body: BodyType::SevenBit,
            },
            facts: MessageFacts {
                size,
                eight_bit: false,
                message_id: Some(message_id(id, &leave.hostname)),
                content: None,
            },
        };
        let accepted = intake.commit(ticket).await.map_err(|e| e.to_string())?;
        tracing::info!("id={id} action=test recipients=1 by={actor}");
        Ok(Answer::Accepted {
            id: id.to_string(),
            sender: leave.sender.to_string(),
            received_at: accepted.received_at.to_string(),
            configuration: leave.configuration,
        })
    }
}

fn message_id(id: QueueId, hostname: &Domain) -> String {
    format!("<{id}@{hostname}>")
}

fn compose(id: QueueId, leave: &Leave, recipient: &Mailbox, now: Timestamp) -> String {
    let (sender, hostname, date) = (&leave.sender, &leave.hostname, now.to_rfc5322());
    let message_id = message_id(id, hostname);
    format!(
        "From: <{sender}>\r\n\
         To: <{recipient}>\r\n\
         Subject: Test of the mail relay {hostname}\r\n\
         Date: {date}\r\n\
         Message-ID: {message_id}\r\n\
         Auto-Submitted: auto-generated\r\n\
         X-Postern-Test: {id}\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=us-ascii\r\n\
         \r\n\
         This is a test of the mail relay\r\n\
         {hostname}\r\n\
         sent at {date}.\r\n\
         \r\n\
         Its operator has asked for it, to see whether mail arrives and how it is\r\n\
         protected on its way. Nothing needs to be done about it.\r\n"
    )
}

/// What the configuration in the file prescribes for a message, in one line.
#[must_use]
pub fn plan(config: &Config, case: &Case) -> String {
    let policy = Policy::new(config.policy.clone(), config.hash.clone());
    let decision = policy.decide(&case.question());
    let (methods, level) = (&decision.treatment.methods, decision.treatment.tls_level);
    match decision.rule {
        Some(rule) => format!("rule \"{rule}\": {methods}, tls must prove {level}"),
        None => format!("[security]: {methods}, tls must prove {level}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tests(postmaster: Option<&str>) -> Tests {
        Tests(Arc::new(Mutex::new(Inner {
            hostname: Domain::parse("relay.example").unwrap(),
            postmaster: postmaster.map(|text| text.parse().unwrap()),
            configuration: "c".into(),
            accepted: VecDeque::new(),
        })))
    }

    #[test]
    fn ten_in_a_minute() {
        let tests = tests(None);
        let start = Timestamp::from_micros(1_000_000_000);
        for n in 0..10 {
            let leave = tests.leave(None, start + Duration::from_secs(n)).unwrap();
            assert_eq!(leave.sender.to_string(), "postmaster@relay.example");
        }
        let later = |seconds| tests.leave(None, start + Duration::from_secs(seconds));
        assert!(later(59).is_err_and(|e| e.contains("try again in a minute")));
        assert!(later(60).is_ok(), "the first one is a minute ago");
        assert!(later(60).is_err());
    }

    #[test]
    fn the_sender_is_who_is_asked_for_or_the_postmaster() {
        let tests = tests(Some("it@clinic.example"));
        let now = Timestamp::from_micros(0);
        let leave = |sender| tests.leave(sender, now).unwrap().sender.to_string();
        assert_eq!(leave(None), "it@clinic.example");
        let dr = "dr@clinic.example".parse().unwrap();
        assert_eq!(leave(Some(dr)), "dr@clinic.example");
    }

    #[test]
    fn the_message_is_plain_and_says_what_it_is() {
        let now = Timestamp::from_micros(1_000_000_000);
        let leave = tests(None).leave(None, now).unwrap();
        let to: Mailbox = "p@partner.example".parse().unwrap();
        let text = compose(QueueId::new(now, [0; 4]), &leave, &to, now);
        assert!(text.is_ascii() && text.contains("Auto-Submitted: auto-generated\r\n"));
        assert!(text.contains("test of the mail relay\r\nrelay.example\r\n"));
        assert!(text.replace("\r\n", "").find(['\r', '\n']).is_none());
        assert!(text.split("\r\n").all(|line| line.len() < 78), "{text}");
    }
}
