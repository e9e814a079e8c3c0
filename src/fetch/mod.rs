//! HTTPS with caps, for what a domain publishes beside DNS.
//!
//! Owns one GET: the name is resolved by our own resolver, the address pinned, the
//! certificate held against the name before a word is said. Holds always: status
//! 200 alone, no redirect, no cache, no cookie; octets, headers and time are
//! capped; nothing is connected to in a blocked network, however its address is
//! written; what failed says why, in a closed list of words, and never quotes the
//! far side. Called by `assurance` (MTA-STS) and `protect` (keys); later for webhooks, reports.

mod https;
mod settings;

pub use https::HttpsFetcher;
pub use settings::Settings;

use std::fmt;
use std::time::Duration;

use crate::types::{BoxFuture, Domain, Reason};

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The host, for DNS, SNI, the certificate and the `Host` header.
    pub host: Domain,
    /// The path with its leading slash, and the query if there is one.
    pub path: String,
    /// The media type that the answer must have, whatever its parameters; `None`: any.
    pub media_type: Option<&'static str>,
    /// Octets of the answer at most.
    pub octets: usize,
    /// From the first question to DNS to the last octet.
    pub time: Duration,
}

/// Gets things over HTTPS.
pub trait Fetch: Send + Sync {
    /// The body of a 200.
    ///
    /// # Errors
    /// Why there is none.
    fn get(&self, request: Request) -> BoxFuture<'_, Result<Vec<u8>, FetchError>>;
}

/// Why nothing was fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum FetchError {
    /// DNS did not answer.
    #[error("DNS did not answer")]
    Dns,
    /// There is no such host, or it has no address.
    #[error("there is no such host")]
    NoHost,
    /// Every address is in a blocked network.
    #[error("its addresses are in blocked networks")]
    Blocked,
    /// No connection to any address.
    #[error("it can't be reached")]
    Unreachable,
    /// The handshake broke off, or has nothing in common with us.
    #[error("the TLS handshake failed")]
    Handshake,
    /// The certificate is not valid for the host.
    #[error("its certificate is not valid ({0})")]
    Certificate(Reason),
    /// It would have us look elsewhere.
    #[error("it answered with a redirect ({0})")]
    Redirect(u16),
    /// Any other status than 200.
    #[error("it answered {0}")]
    Status(u16),
    /// Another media type.
    #[error("the answer has the wrong media type")]
    MediaType,
    /// More than was asked for.
    #[error("the answer is too large")]
    TooLarge,
    /// Not in time.
    #[error("it did not answer in time")]
    TimedOut,
    /// No HTTP.
    #[error("the answer is no HTTP")]
    Protocol,
}

impl FetchError {
    /// The word that logs and figures use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::NoHost => "no-host",
            Self::Blocked => "blocked",
            Self::Unreachable => "unreachable",
            Self::Handshake => "handshake",
            Self::Certificate(_) => "certificate",
            Self::Redirect(_) => "redirect",
            Self::Status(_) => "status",
            Self::MediaType => "media-type",
            Self::TooLarge => "too-large",
            Self::TimedOut => "timed-out",
            Self::Protocol => "protocol",
        }
    }
}

/// The request as logs may name it: without the query, which can hold a name.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "https://{}{path}", self.host)
    }
}
