//! Who may send as whom: pure functions, no I/O.
//!
//! Holds always: nothing is an open relay: a client without an account relays
//! only where its network or certificate is listed, and only for the listener's
//! sender domains; an account sends only as its sender patterns, in MAIL FROM
//! and in every From mailbox; what can't be read is refused. Each "no" is an
//! enum that knows its reply. Called by the session.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::accounts::Account;
use super::settings::{Listener, ListenerKind};
use crate::message::FromField;
use crate::types::{AddressError, Domain, Mailbox, Principal};
use crate::wire::Reply;

/// What an account may send as: one address, or all of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SenderPattern {
    /// Exactly this address; the local part is compared without case.
    Address(Mailbox),
    /// Every address at this domain (not at its subdomains).
    Domain(Domain),
}

impl SenderPattern {
    /// Reads an address or `@domain`.
    ///
    /// # Errors
    /// What is wrong with it as an address.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix('@') {
            Some(domain) => Domain::parse(domain).map(Self::Domain),
            None => Mailbox::parse(text).map(Self::Address),
        }
    }

    fn covers(&self, address: &Mailbox) -> bool {
        match self {
            Self::Address(own) => {
                own.host() == address.host() && own.local().eq_ignore_ascii_case(address.local())
            }
            Self::Domain(domain) => address.domain() == Some(domain),
        }
    }
}

impl fmt::Display for SenderPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(mailbox) => mailbox.fmt(f),
            Self::Domain(domain) => write!(f, "@{domain}"),
        }
    }
}

/// A principal with what it may send as.
#[derive(Debug, Clone)]
pub enum Rights {
    /// An account and its patterns.
    Account(Arc<Account>),
    /// A trusted peer of a relay listener and the listener's sender domains.
    Peer {
        /// Who.
        principal: Principal,
        /// The domains it may send for.
        domains: Arc<[Domain]>,
    },
}

impl Rights {
    /// Who has them.
    #[must_use]
    pub fn principal(&self) -> Principal {
        match self {
            Self::Account(account) => Principal::Account(account.name().to_owned()),
            Self::Peer { principal, .. } => principal.clone(),
        }
    }

    /// Whether they are an account's, whose messages get submission fix-ups
    /// (RFC 6409 section 8).
    #[must_use]
    pub fn is_account(&self) -> bool {
        matches!(self, Self::Account(_))
    }

    fn cover(&self, address: &Mailbox) -> bool {
        match self {
            Self::Account(account) => account.senders().iter().any(|p| p.covers(address)),
            Self::Peer { domains, .. } => address
                .domain()
                .is_some_and(|domain| domains.contains(domain)),
        }
    }

    /// Whether MAIL FROM may be `sender`. The null sender waits for the From
    /// field (I19): every principal may have it here.
    ///
    /// # Errors
    /// [`Refusal::Sender`].
    pub fn check_sender(&self, sender: Option<&Mailbox>) -> Result<(), Refusal> {
        match sender {
            Some(address) if !self.cover(address) => Err(self.not_as("sender", address)),
            _ => Ok(()),
        }
    }

    /// Whether the message may bear this From field, `sender` being its
    /// reverse-path: an account's must be its own; a peer's only where the null
    /// sender leaves nothing else to go by.
    ///
    /// # Errors
    /// [`Refusal::Sender`], [`Refusal::FromMissing`] or [`Refusal::FromUnreadable`].
    pub fn check_from(&self, sender: Option<&Mailbox>, from: &FromField) -> Result<(), Refusal> {
        if !self.is_account() && sender.is_some() {
            return Ok(());
        }
        match from {
            FromField::Unreadable => Err(Refusal::FromUnreadable),
            // RFC 5322 section 3.6 demands one, but programs forget it.
            FromField::Missing if sender.is_some() => Ok(()),
            FromField::Missing => Err(Refusal::FromMissing),
            FromField::Mailboxes(list) => match list.iter().find(|m| !self.cover(m)) {
                Some(address) => Err(self.not_as("From address", address)),
                None => Ok(()),
            },
        }
    }

    fn not_as(&self, what: &'static str, address: &Mailbox) -> Refusal {
        Refusal::Sender {
            what,
            address: address.clone(),
            who: match self {
                Self::Account(account) => format!("account {}", account.name()),
                Self::Peer { .. } => "this relay".to_owned(),
            },
        }
    }
}

/// Why a message is not taken from this principal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The address is none that the principal may send as.
    #[error("The {what} <{address}> is not allowed for {who}")]
    Sender {
        /// Which address of the message.
        what: &'static str,
        /// The address.
        address: Mailbox,
        /// Whom it is not allowed for.
        who: String,
    },
    /// A null sender and no From field to go by.
    #[error("A message from <> needs a From field with an address that may be used here")]
    FromMissing,
    /// The From field is not a list of mailboxes.
    #[error("The From field can't be read as a list of addresses")]
    FromUnreadable,
}

impl Refusal {
    /// The reply to MAIL.
    #[must_use]
    pub fn reply_to_mail(&self) -> Reply {
        Reply::new(553, "5.7.1", self.to_string())
    }

    /// The reply to the message.
    #[must_use]
    pub fn reply_to_data(&self) -> Reply {
        Reply::new(550, "5.7.1", self.to_string())
    }
}

/// Why a client may not relay here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RelayRefusal {
    /// Its address is in none of the listener's networks.
    #[error("{0} is in no network that may relay here")]
    Network(IpAddr),
    /// It showed no verified certificate of a listed name.
    #[error("no client certificate of a name that may relay here was shown")]
    Certificate,
    /// Neither the one nor the other.
    #[error("{0} is in no network that may relay here, and showed no certificate that may")]
    Neither(IpAddr),
}

impl RelayRefusal {
    /// The reply to MAIL.
    #[must_use]
    pub fn reply(&self) -> Reply {
        Reply::new(550, "5.7.1", format!("Relaying denied: {self}"))
    }
}

/// Whether a client may relay through a listener, and as which principal.
/// `names` are those of its verified certificate. A listener that lists neither
/// networks nor certificates takes nobody.
///
/// # Errors
/// [`RelayRefusal`].
pub fn relay_principal(
    listener: &Listener,
    client: IpAddr,
    names: &[String],
) -> Result<Principal, RelayRefusal> {
    let client = client.to_canonical();
    let network = listener.networks.iter().any(|n| contains(n, client));
    let certificate = names
        .iter()
        .find(|name| listener.certificates.iter().any(|p| name_matches(p, name)));
    match (network, certificate) {
        (true, Some(name)) => Ok(Principal::Certificate(name.clone())),
        (false, None) if listener.certificates.is_empty() => Err(RelayRefusal::Network(client)),
        (false, None) if listener.networks.is_empty() => Err(RelayRefusal::Certificate),
        (false, None) => Err(RelayRefusal::Neither(client)),
        (true, None) if listener.require_both => Err(RelayRefusal::Certificate),
        (true, None) => Ok(Principal::Network(client)),
        (false, Some(_)) if listener.require_both => Err(RelayRefusal::Network(client)),
        (false, Some(name)) => Ok(Principal::Certificate(name.clone())),
    }
}

/// Whether a client comes from a network that a relay listener lists. It may
/// still have to show a certificate too.
pub(super) fn is_listed(listener: &Listener, client: IpAddr) -> bool {
    listener.kind == ListenerKind::Relay && listener.networks.iter().any(|n| contains(n, client))
}

/// Networks may be written as IPv4 or as IPv4-mapped IPv6.
fn contains(network: &IpNet, client: IpAddr) -> bool {
    let mapped = match client {
        IpAddr::V4(v4) => IpAddr::V6(v4.to_ipv6_mapped()),
        v6 @ IpAddr::V6(_) => v6,
    };
    network.contains(&client) || network.contains(&mapped)
}

/// `*.domain` stands for every name below the domain, whoever holds one being
/// of that domain; any other pattern for itself alone.
fn name_matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(domain) => name
            .len()
            .checked_sub(domain.len())
            .and_then(|at| name.split_at_checked(at))
            .is_some_and(|(head, tail)| {
                head.len() > 1 && head.ends_with('.') && tail.eq_ignore_ascii_case(domain)
            }),
        None => pattern.eq_ignore_ascii_case(name),
    }
}

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;
