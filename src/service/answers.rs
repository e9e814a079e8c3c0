//! Answers to the control socket's questions, from the rooms that know.

use std::sync::Arc;
use std::time::Duration;

use super::export::Exports;
use super::learning::Domains;
use super::logging::LogControl;
use super::stats::Surveyed;
use super::test::Tests;
use super::{discovery, sts};
use crate::assurance::sts::Cache;
use crate::control::{
    Answer, PAGE, QueueFilter, QueuedMessage, QueuedRecipient, Request, parse_id,
};
use crate::protect::discovery::Finder;
use crate::queue::Questions;
use crate::spool::{Filter, SpoolError, Store, Stored};
use crate::sys::Clock;
use crate::types::{Domain, Mailbox};

/// What is needed to answer.
#[derive(Clone)]
pub(super) struct Answers {
    pub(super) store: Arc<dyn Store>,
    pub(super) queue: Questions,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) log: LogControl,
    pub(super) surveyed: Surveyed,
    pub(super) tests: Tests,
    pub(super) exports: Exports,
    pub(super) sts: Arc<Cache>,
    pub(super) domains: Domains,
    pub(super) finder: Arc<Finder>,
}

impl Answers {
    /// Answers `actor`, who is named where something is done by hand.
    pub(super) async fn to(&self, request: Request, actor: &str) -> Answer {
        let answer = match request {
            Request::QueueList { filter, after } => self.list(filter, after).await,
            Request::QueueShow { id } => self.show(&id).await,
            Request::QueueStats => self.stats().await,
            Request::QueueHand { order } => self.hand(order, actor).await,
            Request::Test { recipient, sender } => {
                self.test(&recipient, sender.as_deref(), actor).await
            }
            // The socket's business: it is a stream, not one answer.
            Request::SpoolExport => Err("an export can't be asked for in this way".to_owned()),
            Request::StsPolicy { domain } => match Domain::parse(&domain) {
                Ok(domain) => Ok(Answer::StsPolicy {
                    kept: sts::kept(&self.sts, &domain),
                }),
                Err(e) => Err(e.to_string()),
            },
            Request::KeyLookup { address } => {
                let looked = discovery::look(&self.finder, &address).await;
                looked
                    .map(|lookup| Answer::KeyLookup { lookup })
                    .map_err(|e| e.to_string())
            }
            Request::Domain { order } => self.domain(order, actor).await,
            Request::LogLevel { level, seconds } => {
                let span = seconds.map(Duration::from_secs);
                self.log.set(level, span).map(|()| Answer::Done)
            }
        };
        answer.unwrap_or_else(|error| Answer::Failed { error })
    }

    async fn list(&self, filter: QueueFilter, after: Option<String>) -> Result<Answer, String> {
        let filter = self::filter(filter)?;
        let after = after.as_deref().map(parse_id).transpose()?;
        let page = self.store.list(&filter, after, PAGE).await;
        let page = page.map_err(|e| e.to_string())?;
        let full = page.len() == PAGE;
        let next = page
            .last()
            .filter(|_| full)
            .map(|m| m.message.id.to_string());
        let messages = page.iter().map(queued_message).collect();
        Ok(Answer::Queue { messages, next })
    }

    async fn show(&self, id: &str) -> Result<Answer, String> {
        let id = parse_id(id)?;
        match self.store.load(id).await {
            Ok(stored) => Ok(Answer::Message {
                message: queued_message(&stored),
            }),
            Err(SpoolError::Unknown) => Err(format!(
                "no message {id} is queued; `postern audit show {id}` tells what became of it"
            )),
            Err(e) => Err(e.to_string()),
        }
    }
}

/// The store's filter for what was asked.
pub(super) fn filter(asked: QueueFilter) -> Result<Filter, String> {
    let domain = asked
        .domain
        .as_deref()
        .map(|text| Domain::parse(text).map_err(|e| format!("\"{}\" is {e}", text.escape_debug())));
    Ok(Filter {
        domain: domain.transpose()?,
        sender: asked.sender,
        state: asked.state,
    })
}

fn queued_message(stored: &Stored) -> QueuedMessage {
    let message = &stored.message;
    let recipients = message.envelope.recipients.iter().zip(&stored.recipients);
    QueuedMessage {
        id: message.id.to_string(),
        sender: message
            .envelope
            .sender
            .as_ref()
            .map(Mailbox::to_string)
            .unwrap_or_default(),
        size: message.facts.size,
        received_at: message.received_at.to_string(),
        recipients: recipients
            .map(|(address, status)| QueuedRecipient {
                address: address.to_string(),
                state: status.state,
                attempts: status.attempts,
                next_attempt: status.next_attempt.map(|at| at.to_string()),
                method: status.method.map(|method| method.to_string()),
                last_reply: status.last_reply.clone(),
            })
            .collect(),
    }
}
