//! The questions and answers of the control socket, as plain data.
//!
//! Owns what the command line may ask a running daemon and how it answers. Holds
//! always: one request and one answer a line, as JSON, each of bounded size, so
//! that the REST API can later say the same words. `cli` asks, `service`
//! answers.

mod domain;
mod key;

pub use domain::{DomainOrder, DomainView, ExceptionView, HostView, SeenCertificate};
pub use key::{KeyLookup, OfferedKey};

use serde::{Deserialize, Serialize};

use crate::types::units::parse_duration;
use crate::types::{Action, LogLevel, QueueId, State, Timestamp};

/// Octets of one request line at most.
pub const REQUEST_MAX: usize = 64 << 10;
/// Messages in one page of a listing.
pub const PAGE: usize = 500;
/// Messages in one page of what is done by hand.
pub const HAND_PAGE: usize = 500;
/// Octets of an operator's reason at most.
pub const NOTE_MAX: usize = 200;

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
    /// Do something to a page of messages.
    QueueHand {
        /// What, and to which.
        order: HandRequest,
    },
    /// Accept a test message.
    Test {
        /// To whom.
        recipient: String,
        /// From whom; without it, the postmaster.
        sender: Option<String>,
    },
    /// Everything open, sealed as a file of `spool export`: the answer is `export`,
    /// then frames (a length of 4 octets, big-endian, and so many octets) to one of
    /// length 0, then one more answer: `exported` or `failed`.
    SpoolExport,
    /// What is kept of a domain's MTA-STS policy.
    StsPolicy {
        /// The domain.
        domain: String,
    },
    /// Look a recipient's key up now.
    KeyLookup {
        /// The recipient's address.
        address: String,
    },
    /// Ask or change what is remembered of domains.
    Domain {
        /// What.
        order: DomainOrder,
    },
    /// Change how much is logged.
    LogLevel {
        /// From which level on.
        level: LogLevel,
        /// For so long; then as configured.
        seconds: Option<u64>,
    },
}

/// What is to be done by hand, and to which messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandRequest {
    /// What.
    pub action: Action,
    /// Until when to hold: RFC 3339, or how long from now.
    pub until: Option<String>,
    /// Why, for the audit.
    pub reason: Option<String>,
    /// To which messages.
    pub select: Selection,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
}

/// Which messages something is done to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// These, [`HAND_PAGE`] at most; none: those that the filter lets through.
    pub ids: Vec<String>,
    /// With a domain, its recipients alone are touched.
    pub filter: QueueFilter,
    /// From behind this id: the `next` of the answer before.
    pub after: Option<String>,
    /// Accepted until this time: the `before` of the first answer.
    pub before: Option<String>,
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
    /// What is kept of a domain's MTA-STS policy.
    StsPolicy {
        /// As the cache writes it; null: nothing is kept.
        kept: Option<String>,
    },
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
    /// What became of a page of messages.
    Handled {
        /// Each message.
        messages: Vec<HandledMessage>,
        /// Ask again with this as `after`, if there may be more.
        next: Option<String>,
        /// Ask again with this too.
        before: String,
    },
    /// A test message is in the spool.
    Accepted {
        /// Its id.
        id: String,
        /// From whom it is.
        sender: String,
        /// When, RFC 3339.
        received_at: String,
        /// The hash of the configuration that the daemon goes by.
        configuration: String,
    },
    /// What is remembered of domains.
    Domains {
        /// Each, by name.
        domains: Vec<DomainView>,
    },
    /// A domain was probed.
    Probed {
        /// The story of `explain --probe`, as JSON.
        story: serde_json::Value,
        /// The same for people.
        text: String,
        /// Whether a message would be delivered.
        delivered: bool,
        /// What is remembered now.
        domain: Box<DomainView>,
    },
    /// A key was looked up.
    KeyLookup {
        /// What came of it.
        lookup: KeyLookup,
    },
    /// The frames of an export follow.
    Export,
    /// The export is whole.
    Exported {
        /// What is in it.
        export: ExportCounts,
    },
    /// It is done, and there is nothing to tell.
    Done,
    /// It could not be done.
    Failed {
        /// Why, and what to do.
        error: String,
    },
}

/// What an export holds, as `spool export --json` prints it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportCounts {
    /// Messages.
    pub messages: u64,
    /// Their open recipients.
    pub recipients: u64,
    /// Octets of the messages.
    pub octets: u64,
    /// Ids of messages that could not be read, and so are not in it.
    pub damaged: Vec<String>,
}

/// What became of one message, as `queue hold --json` and its like print it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandledMessage {
    /// Its id.
    pub id: String,
    /// What became of it.
    pub result: HandResult,
    /// Recipients touched, or that would be.
    pub recipients: usize,
    /// Why not.
    pub error: Option<String>,
}

/// How an action ended for one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HandResult {
    /// It was done.
    Done,
    /// It would be done, but for the dry run.
    Would,
    /// No recipient is in a state that the action concerns.
    Nothing,
    /// It is being delivered right now.
    Busy,
    /// No such message, or nothing open.
    Unknown,
    /// The spool could not do it.
    Failed,
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
    /// Messages with an open recipient by age, the youngest first. These and what
    /// waits at sites and domains are counted anew every 10 s at most.
    pub ages: Vec<AgeStats>,
    /// Sites with work, those where most waits first, 100 at most.
    pub sites: Vec<SiteStats>,
    /// Recipient domains for which messages wait, the most first, 100 at most.
    pub domains: Vec<DomainStats>,
}

/// A class of age.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgeStats {
    /// `<5m`, `<1h`, `<4h`, `<1d`, `older`.
    pub age: String,
    /// Messages with an open recipient.
    pub messages: u64,
}

/// A recipient domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainStats {
    /// The domain, or an address literal.
    pub domain: String,
    /// Messages with a queued recipient there.
    pub waiting: u64,
}

/// A site with work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteStats {
    /// Its hosts.
    pub site: String,
    /// Connections.
    pub connections: usize,
    /// Messages that are queued for its domains, as far as their site is known.
    pub waiting: u64,
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

/// Reads a time, or a duration from now.
///
/// # Errors
/// What one looks like.
pub fn parse_moment(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    match parse_duration(text) {
        Ok(span) => Ok(now + span),
        Err(_) => text.parse::<Timestamp>().map_err(|_| {
            format!("\"{text}\" is neither a time (2026-11-22T08:00:00Z) nor a duration (4h)")
        }),
    }
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
