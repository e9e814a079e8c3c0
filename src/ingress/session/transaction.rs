//! One mail transaction, from MAIL to the reply after the final dot.
//!
//! Holds always: the recipients are those accepted, none twice, in order. Called
//! by the session.

use std::collections::HashSet;

use crate::ingress::admission::Rights;
use crate::ingress::intake::Incoming;
use crate::types::{BodyType, Envelope, Foreseen, Mailbox, Principal, QueueId};

use super::Rules;

/// A transaction under way.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) id: Option<QueueId>,
    pub(super) rights: Rights,
    pub(super) sender: Option<Mailbox>,
    body: BodyType,
    recipients: Vec<Mailbox>,
    known: HashSet<Mailbox>,
    /// RCPTs so far, whatever came of them.
    asked: usize,
    /// Whether a RCPT was refused: DATA then has another reply (I6).
    pub(super) refused_any: bool,
    /// The message, once DATA was said.
    pub(super) incoming: Option<Incoming>,
}

/// The transaction has all the recipients it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMany;

impl Transaction {
    pub(super) fn new(rights: Rights, sender: Option<Mailbox>, body: BodyType) -> Self {
        Self {
            id: None,
            rights,
            sender,
            body,
            recipients: Vec::new(),
            known: HashSet::new(),
            asked: 0,
            refused_any: false,
            incoming: None,
        }
    }

    /// Adds a recipient; one that is there already costs nothing.
    pub(super) fn add(&mut self, recipient: Mailbox, max: usize) -> Result<(), TooMany> {
        if self.known.contains(&recipient) {
            return Ok(());
        }
        if self.recipients.len() >= max {
            return Err(TooMany);
        }
        self.known.insert(recipient.clone());
        self.recipients.push(recipient);
        Ok(())
    }

    /// Whether a recipient is to be refused because its domain does no TLS.
    pub(super) fn is_foreseen(&self, recipient: &Mailbox, rules: &Rules) -> bool {
        let principal = self.rights.principal();
        rules.foresight.refuses(Foreseen {
            recipient,
            sender: self.sender.as_ref(),
            account: match &principal {
                Principal::Account(name) => Some(name),
                Principal::Network(_) | Principal::Certificate(_) => None,
            },
            listener: &rules.listener.bind,
            by_listener: rules.listener.refuse_without_tls,
        })
    }

    /// Counts a RCPT. Whether there have been so many that no end is to be
    /// expected: repeated and surplus ones cost nothing else (I10).
    pub(super) fn is_flood(&mut self, max: usize) -> bool {
        self.asked = self.asked.saturating_add(1);
        self.asked > max.saturating_mul(FLOOD_FACTOR)
    }

    pub(super) fn has_recipients(&self) -> bool {
        !self.recipients.is_empty()
    }

    pub(super) fn into_envelope(self) -> (Rights, Envelope) {
        let envelope = Envelope {
            sender: self.sender,
            recipients: self.recipients,
            body: self.body,
        };
        (self.rights, envelope)
    }
}

/// RCPTs of one transaction at most, in terms of the recipients it may have.
const FLOOD_FACTOR: usize = 10;
