//! Who sends what to whom, and how it reached us.
//!
//! Owns the envelope, where a message came from, and the facts that later rooms
//! may ask about it. Holds always: nothing here is content but what `ContentFacts` holds
//! and hides from `Debug`; the facts are what policy, delivery and the audit need, so
//! that none of them opens the message.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{ContentFacts, Domain, Mailbox, QueueId, Timestamp};

/// What MAIL and RCPT said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The reverse-path; `None` is `MAIL FROM:<>` (RFC 5321 section 4.5.5).
    pub sender: Option<Mailbox>,
    /// The forward-paths in the order given, at least one, none twice.
    pub recipients: Vec<Mailbox>,
    /// What BODY= declared.
    pub body: BodyType,
}

/// The BODY= parameter (RFC 6152 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum BodyType {
    /// BODY=7BIT, or none given.
    #[default]
    SevenBit,
    /// BODY=8BITMIME.
    EightBitMime,
}

/// Who submitted a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Principal {
    /// An account, by its name.
    Account(String),
    /// A peer in one of a relay listener's networks.
    Network(IpAddr),
    /// A peer with a verified client certificate, by the name that matched.
    Certificate(String),
}

/// The session through which a message came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Who.
    pub principal: Principal,
    /// The listener's `bind`, as configured: what rules call `listener`.
    pub listener: String,
    /// The client's address.
    pub client: IpAddr,
    /// The protocol word of the Received field.
    pub protocol: Protocol,
}

/// The protocol word of a Received field's `with` clause (RFC 3848).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// HELO, no TLS.
    Smtp,
    /// EHLO, no TLS.
    Esmtp,
    /// EHLO and STARTTLS or TLS from the start.
    Esmtps,
    /// EHLO, TLS and AUTH.
    Esmtpsa,
}

impl Protocol {
    /// The word, as registered by RFC 3848.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Smtp => "SMTP",
            Self::Esmtp => "ESMTP",
            Self::Esmtps => "ESMTPS",
            Self::Esmtpsa => "ESMTPSA",
        }
    }
}

/// Where a message comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// From a client.
    Submitted(Source),
    /// Written by Postern itself.
    Own(OwnMailKind),
    /// A test message that an operator has asked for: `postern test`.
    Test {
        /// Who, as the system names them.
        by: String,
    },
}

/// What Postern itself writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OwnMailKind {
    /// A DSN about another message.
    Dsn {
        /// The message it reports on.
        about: QueueId,
    },
    /// A notice to the postmaster about a DSN that could not be delivered.
    DeadNotice {
        /// The DSN that is `dead`.
        about: QueueId,
    },
}

/// What is known of a message without opening it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageFacts {
    /// Octets as stored and sent, added headers included.
    pub size: u64,
    /// Whether any octet is over 127 (needs 8BITMIME, RFC 6152).
    pub eight_bit: bool,
    /// The Message-ID field's value with its angle brackets, if it is one.
    pub message_id: Option<String>,
    /// What policy may ask of its content; `None`: nothing was noted. The journal keeps
    /// it behind the rest of a record's head.
    #[serde(skip)]
    pub content: Option<Arc<ContentFacts>>,
}

/// An accepted message, without its octets and without what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its name, as told in the 250.
    pub id: QueueId,
    /// When it was accepted; retries and expiry count from here.
    pub received_at: Timestamp,
    /// Where it came from.
    pub origin: Origin,
    /// Who sends it to whom.
    pub envelope: Envelope,
    /// What policy and delivery may ask of it.
    pub facts: MessageFacts,
}

impl Message {
    /// The sender's domain, if there is a sender with one.
    #[must_use]
    pub fn sender_domain(&self) -> Option<&Domain> {
        self.envelope.sender.as_ref().and_then(Mailbox::domain)
    }

    /// Whether Postern wrote it.
    #[must_use]
    pub fn is_own_mail(&self) -> bool {
        matches!(self.origin, Origin::Own(_))
    }

    /// The distinct recipient hosts with the indices of their recipients, in the
    /// order of first mention: one job each.
    #[must_use]
    pub fn by_host(&self) -> Vec<(super::Host, Vec<u32>)> {
        let mut hosts: Vec<(super::Host, Vec<u32>)> = Vec::new();
        let mut places = std::collections::HashMap::new();
        for (index, mailbox) in (0u32..).zip(&self.envelope.recipients) {
            let place = *places.entry(mailbox.host()).or_insert_with(|| {
                hosts.push((mailbox.host().clone(), Vec::new()));
                hosts.len() - 1
            });
            hosts[place].1.push(index);
        }
        hosts
    }
}
