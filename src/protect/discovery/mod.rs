//! Discovery of recipients' keys: OpenPGP's Web Key Directory, where a domain
//! publishes the certificates of its addresses over HTTPS
//! (draft-koch-openpgp-webkey-service-21).
//!
//! Owns where a key is asked for, what of an answer is taken, how often a domain is
//! asked, and what is remembered of having asked. Holds always: only delivery and an
//! operator ask, never acceptance; what is found goes to the key store, which pins
//! it; what fails takes nothing away; one look at a time for an address, a few at a
//! time and so many a minute for a domain, a few in all; what is remembered is
//! bounded; no address goes into a log line, the domain alone does. Called by
//! `delivery` through [`Discover`], by `service` for `postern key find --lookup`.
//!
//! An address is asked for at `openpgpkey.DOMAIN`, and at the domain itself only
//! where DNS says that there is no such host (section 3.1). What stands for "no key
//! here" is definite: no host, a 4xx, a redirect (none is followed), something that
//! is no certificate, as many web sites answer whatever they are asked for. All else
//! is a failure, after which nothing is known.

mod finder;
mod memory;
mod meters;
mod offered;
mod pace;
mod wkd;

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use crate::fetch::FetchError;
use crate::types::{BoxFuture, Domain, Mailbox, Timestamp};

pub use finder::Finder;
pub use offered::{Became, Offered};

/// `[keys]`: whether and how often keys are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Whether Web Key Directories are asked.
    pub wkd: bool,
    /// After so long a key that was found is looked up again.
    pub refresh: Duration,
    /// After so long an address without a key is.
    pub not_found: Duration,
    /// Addresses, and domains, that are remembered as looked up.
    pub cache: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            wkd: true,
            refresh: Duration::from_secs(24 * 3600),
            not_found: Duration::from_secs(3600),
            cache: 50_000,
        }
    }
}

/// Looks keys up.
pub trait Discover: Send + Sync + fmt::Debug {
    /// Sees to it that the key store has what there is for a recipient. Asks nobody
    /// if that was done lately; else it may take a minute.
    fn look_up<'a>(&'a self, recipient: &'a Mailbox) -> BoxFuture<'a, Sought>;
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sought {
    /// It was looked up, now or lately: the store has what there is.
    Looked,
    /// Nobody could say. What the store has is as good as it was.
    Failed(LookupError),
}

/// Nobody could say whether there is a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the recipient's key can't be looked up: {cause}")]
pub struct LookupError {
    /// Why.
    pub cause: Cause,
    /// Since when it is so, without a success in between.
    pub since: Timestamp,
}

/// Why nobody could say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The domain's server, or the way to it.
    #[error("{0}")]
    Fetch(#[from] FetchError),
    /// Too many are being looked up, at this domain or in all.
    #[error("too many keys are being looked up")]
    Busy,
    /// What was found can't be stored.
    #[error("the key store can't be used")]
    Store,
}

impl Cause {
    /// The word that logs, figures and evidence use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fetch(error) => error.as_str(),
            Self::Busy => "busy",
            Self::Store => "store",
        }
    }
}

/// One look, for an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// The host that answered last, or should have.
    pub host: Option<Domain>,
    /// What came of it.
    pub ended: Ended,
    /// The certificates that were there, taken or not.
    pub offered: Vec<Offered>,
    /// What the key store says, where it can't be used.
    pub fault: Option<String>,
}

/// How a look ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// There is a key, in use or awaiting approval.
    Found,
    /// Certificates are there, and none can be used.
    Unusable,
    /// There is no key.
    Absent(Absent),
    /// Nobody could say.
    Failed(LookupError),
}

/// A definite no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Absent {
    /// Discovery is switched off.
    #[error("discovery is switched off ([keys] discovery)")]
    Off,
    /// The recipient is at an address literal, which has no directory.
    #[error("an address literal has no key directory")]
    Literal,
    /// The domain has no host to ask.
    #[error("the domain has no key directory: there is no such host")]
    NoHost,
    /// Its server has nothing for this address.
    #[error("the domain has no key for this address")]
    NoKey,
    /// Its server would have us look elsewhere. That is said of this address alone: some
    /// lead to their home page from whatever is not there.
    #[error("the domain's server answered with a redirect, which is not followed")]
    Redirect,
    /// Its hosts are in blocked networks.
    #[error("the domain's key directory is in a blocked network ([network] blocked)")]
    Blocked,
    /// What is there is too large to be a certificate.
    #[error("what is there is too large to be a certificate")]
    TooLarge,
    /// What is there is none.
    #[error("what is there is no OpenPGP certificate")]
    NoCertificate,
}

impl Absent {
    /// The word that listings and figures use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Literal => "literal",
            Self::NoHost => "no-host",
            Self::NoKey => "no-key",
            Self::Redirect => "redirect",
            Self::Blocked => "blocked",
            Self::TooLarge => "too-large",
            Self::NoCertificate => "no-certificate",
        }
    }

    /// What an answer means that is no octets; `None`: nothing for certain.
    fn of(error: FetchError) -> Option<Self> {
        match error {
            FetchError::NoHost => Some(Self::NoHost),
            FetchError::Blocked => Some(Self::Blocked),
            FetchError::Redirect(_) => Some(Self::Redirect),
            FetchError::TooLarge => Some(Self::TooLarge),
            // Of these the far side says itself that it may be another time.
            FetchError::Status(408 | 425 | 429) => None,
            FetchError::Status(400..=499) => Some(Self::NoKey),
            _ => None,
        }
    }

    /// Whether it holds for every address of the domain.
    fn is_of_domain(self) -> bool {
        matches!(self, Self::NoHost | Self::Blocked)
    }
}

impl Cause {
    /// Whether it holds for every address of the domain.
    fn is_of_domain(self) -> bool {
        match self {
            Self::Fetch(FetchError::Status(code)) => matches!(code, 429 | 503),
            Self::Fetch(FetchError::Protocol) | Self::Busy | Self::Store => false,
            Self::Fetch(_) => true,
        }
    }
}

impl Ended {
    /// The same, for delivery.
    fn sought(self) -> Sought {
        match self {
            Self::Failed(error) => Sought::Failed(error),
            _ => Sought::Looked,
        }
    }
}

/// Looks nothing up: for tests, and where there is no discovery.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoDiscovery;

impl Discover for NoDiscovery {
    fn look_up<'a>(&'a self, _: &'a Mailbox) -> BoxFuture<'a, Sought> {
        Box::pin(std::future::ready(Sought::Looked))
    }
}
