//! One piece of work for delivery.

use std::sync::Arc;

use super::{Body, Host, Mailbox, Message, StoredCopy};

/// The due recipients of one message at one host (domain or address literal).
#[derive(Debug, Clone)]
pub struct Job {
    /// The message.
    pub message: Arc<Message>,
    /// Its octets.
    pub body: Arc<dyn Body>,
    /// The host that all these recipients share.
    pub host: Host,
    /// Who is due, at least one.
    pub recipients: Vec<JobRecipient>,
}

/// One due recipient.
#[derive(Debug, Clone)]
pub struct JobRecipient {
    /// Its place in the envelope's recipients.
    pub index: u32,
    /// Its address.
    pub mailbox: Mailbox,
    /// Attempts begun before this one.
    pub attempts: u32,
    /// Whether the sender has had the DSN "delayed".
    pub delay_told: bool,
    /// The protected copy that an earlier attempt left, to be sent again as it is.
    pub copy: Option<StoredCopy>,
    /// Whether an operator has released it, so that no rule holds it.
    pub released: bool,
}
