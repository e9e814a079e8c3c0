//! The questions and answers of the control socket, as plain data.
//!
//! Owns what the command line may ask a running daemon and how it answers. Holds
//! always: one request and one answer a line, as JSON, each of bounded size, so
//! that the REST API can later say the same words. `cli` asks, `service`
//! answers.

use serde::{Deserialize, Serialize};

use crate::types::{LogLevel, QueueId, State};

/// Octets of one request line at most.
pub const REQUEST_MAX: usize = 64 << 10;
/// Messages in one page of a listing.
pub const PAGE: usize = 500;

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Request {
    /// A page of the queue, from behind `after`.
    QueueList {
        /// Which messages.
        filter: QueueFilter,
        /// The last id of the page before.
        after: Option<String>,
    },
    /// One message.
    QueueShow {
        /// Its id.
        id: String,
    },
    /// Counts.
    QueueStats,
    /// Change how much is logged.
    LogLevel {
        /// From which level on.
        level: LogLevel,
        /// For so long; then as configured.
        seconds: Option<u64>,
    },
}

/// Which messages of the queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueFilter {
    /// Recipients at this domain.
    pub domain: Option<String>,
    /// This sender; empty is `<>`.
    pub sender: Option<String>,
    /// Recipients in this state.
    pub state: Option<State>,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// A page of messages; a full one may have more behind it.
    Queue {
        /// The messages, in order of acceptance.
        messages: Vec<QueuedMessage>,
        /// Ask again with this, if there may be more.
        next: Option<String>,
    },
    /// One message.
    Message {
        /// The message.
        message: QueuedMessage,
    },
    /// Counts.
    Stats {
        /// The counts.
        stats: QueueStats,
    },
    /// It is done, and there is nothing to tell.
    Done,
    /// It could not be done.
    Failed {
        /// Why, and what to do.
        error: String,
    },
}

/// A message, as `queue list --json` prints it (design section 4.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedMessage {
    /// Its id.
    pub id: String,
    /// The reverse-path, empty for `<>`.
    pub sender: String,
    /// Octets.
    pub size: u64,
    /// RFC 3339.
    pub received_at: String,
    /// All its recipients.
    pub recipients: Vec<QueuedRecipient>,
}

/// A recipient of a listed message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedRecipient {
    /// Its address.
    pub address: String,
    /// Its state.
    pub state: State,
    /// Attempts begun.
    pub attempts: u32,
    /// When it is tried next, RFC 3339; null once final.
    pub next_attempt: Option<String>,
    /// The method of the last attempt.
    pub method: Option<String>,
    /// What the far side last said.
    pub last_reply: Option<String>,
}

/// What `queue stats` prints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueStats {
    /// Messages with an open recipient.
    pub messages: u64,
    /// Recipients by state, of the messages that are listed.
    pub recipients: std::collections::BTreeMap<String, u64>,
    /// Octets of the messages with an open recipient.
    pub octets: u64,
    /// When the oldest open message was accepted, RFC 3339.
    pub oldest: Option<String>,
    /// Octets of the journal on disk.
    pub disk: u64,
    /// Sites with work, the busiest first, 100 at most.
    pub sites: Vec<SiteStats>,
}

/// A site with work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteStats {
    /// Its hosts.
    pub site: String,
    /// Connections.
    pub connections: usize,
    /// Jobs ready or being worked on.
    pub ready: usize,
    /// Until when it is left alone, RFC 3339.
    pub backoff_until: Option<String>,
    /// Why.
    pub last_error: Option<String>,
}

/// Reads an id as people paste it.
///
/// # Errors
/// What an id looks like.
pub fn parse_id(text: &str) -> Result<QueueId, String> {
    text.trim()
        .parse::<QueueId>()
        .map_err(|e| format!("\"{text}\" is {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of the contract.
    #[test]
    fn requests_and_answers_are_stable_json() {
        let request = Request::QueueList {
            filter: QueueFilter {
                domain: Some("a.example".into()),
                ..QueueFilter::default()
            },
            after: None,
        };
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(
            text,
            r#"{"ask":"queue-list","filter":{"domain":"a.example","sender":null,"state":null},"after":null}"#
        );
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
        let answer = Answer::Failed { error: "no".into() };
        let text = serde_json::to_string(&answer).unwrap();
        assert_eq!(text, r#"{"answer":"failed","error":"no"}"#);
    }
}
