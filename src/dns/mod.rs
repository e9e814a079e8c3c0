//! Questions to DNS, and answers that say what they are.
//!
//! Owns the [`Resolver`] trait and the real resolver behind it. Holds always: an
//! answer is Found, NoData, NoDomain or Failed, by response code, so that a
//! failure is never taken for "no record" (RFC 5321 section 5.1). Called by
//! `delivery` when it looks for hosts.

mod resolver;
mod settings;

use std::net::IpAddr;
use std::time::Duration;

pub use resolver::{DnsResolver, ResolverError};
pub use settings::Settings;

use crate::types::{BoxFuture, Domain};

/// What DNS said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<T> {
    /// Records, at least one, good for `ttl`.
    Found {
        /// The records.
        records: Vec<T>,
        /// How long they may be kept.
        ttl: Duration,
    },
    /// The name exists without such records.
    NoData,
    /// The name does not exist (NXDOMAIN).
    NoDomain,
    /// No usable answer: nothing is known.
    Failed(DnsFailure),
}

/// Why DNS gave no usable answer; each is temporary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DnsFailure {
    /// No answer in time.
    #[error("DNS did not answer in time")]
    TimedOut,
    /// The server answered with an error code such as SERVFAIL or REFUSED.
    #[error("DNS answered {0}")]
    Refused(String),
    /// The answer made no sense, or the server can't be reached.
    #[error("DNS failed")]
    Broken,
}

/// One MX record (RFC 5321 section 5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mx {
    /// Lower comes first.
    pub preference: u16,
    /// The host; `None` is the root, which with preference 0 alone is the null MX
    /// of RFC 7505. A name that is no valid domain (such as an IP address in its
    /// place) is not listed.
    pub exchange: Option<Domain>,
}

/// Answers questions about domains.
pub trait Resolver: Send + Sync {
    /// The MX records of a domain, in no order. `Found` with an empty list if
    /// there are records, but none of them is a usable name.
    fn mx(&self, domain: &Domain) -> BoxFuture<'_, Answer<Mx>>;

    /// The addresses of a host, AAAA and A, CNAMEs followed. `Failed` only if no
    /// family gave an address and at least one failed.
    fn addresses(&self, host: &Domain, families: Families) -> BoxFuture<'_, Answer<IpAddr>>;

    /// The TXT records of a name, each with its strings joined, in no order.
    fn txt(&self, name: &Domain) -> BoxFuture<'_, Answer<Vec<u8>>>;
}

/// Which address families to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Families {
    /// A and AAAA.
    Both,
    /// A alone.
    V4,
}
