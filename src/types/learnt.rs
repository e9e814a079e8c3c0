//! What an attempt or a probe learnt of a domain's hosts, and what follows for the
//! next one.
//!
//! Owns the words that cross walls between delivery, outcome, spool, assurance and
//! ingress. Holds always: only what a host itself showed is in it; what is learnt
//! can take `cleartext` away and never adds it (design section 3.4).

use super::{Domain, Mailbox, Reason, Timestamp, TlsFacts};

/// What one attempt or probe saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learnt {
    /// The recipients' domain.
    pub domain: Domain,
    /// When.
    pub at: Timestamp,
    /// Whether it was only a look, and no mail.
    pub is_probe: bool,
    /// The domain's MTA-STS policy at that time: mode and id, as in `enforce 2026`.
    pub sts: Option<String>,
    /// Each connection, in the order made.
    pub hosts: Vec<HostSeen>,
}

/// One connection to a host, or what was to be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSeen {
    /// The MX name, or an address.
    pub host: String,
    /// What it has to offer.
    pub offer: Offer,
}

/// What a host has to offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offer {
    /// A finished handshake above the floor.
    Tls {
        /// What it proved.
        facts: TlsFacts,
        /// Whether the name was proven.
        is_authenticated: bool,
    },
    /// A definite no to TLS.
    Plain(Reason),
    /// No answer that says anything.
    Unknown(Reason),
}

/// What is remembered of a domain, as far as delivery has to know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Remembered {
    /// Nothing that forbids anything.
    #[default]
    Nothing,
    /// It counts as encrypted: no `cleartext`.
    Encrypted,
    /// It counts as encrypted, and the operator allows `cleartext` all the same.
    Waived(Waiver),
}

impl Remembered {
    /// Whether `cleartext` must not have its turn.
    #[must_use]
    pub fn forbids_cleartext(&self) -> bool {
        *self == Self::Encrypted
    }
}

/// An operator's exception for one domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiver {
    /// Which.
    pub domain: Domain,
    /// Who made it, as the system names them.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// When it was made.
    pub made: Timestamp,
    /// When it ends.
    pub until: Timestamp,
}

impl Waiver {
    /// As the audit notes it where it was used.
    #[must_use]
    pub fn note(&self) -> String {
        format!(
            "cleartext by exception of {} until {}: {}",
            self.owner, self.until, self.reason
        )
    }
}

/// What is seen of a message before it is accepted, by ingress and not by its
/// protocol: `refuse_without_tls`.
pub trait Foresight: Send + Sync {
    /// Whether this recipient is to be refused, because its domain is known not to
    /// do TLS and the operator wants such mail back at once.
    fn refuses(&self, question: Foreseen<'_>) -> bool;
}

/// The question of [`Foresight`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreseen<'a> {
    /// To whom.
    pub recipient: &'a Mailbox,
    /// From whom; `None` is `<>`.
    pub sender: Option<&'a Mailbox>,
    /// The account that submits.
    pub account: Option<&'a str>,
    /// The `bind` of the listener.
    pub listener: &'a str,
    /// Whether the listener itself wants it.
    pub by_listener: bool,
}

/// Foresees nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoForesight;

impl Foresight for NoForesight {
    fn refuses(&self, _: Foreseen<'_>) -> bool {
        false
    }
}
