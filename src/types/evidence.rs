//! What an attempt proved, as plain data.
//!
//! Owns the facts of a handshake and the evidence kept for each recipient. Holds
//! always: facts are what the connection itself said, filled in by `tls` after
//! the handshake, never what was hoped for.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{ContentProof, Method, Reason, StsFacts, Timestamp, TlsLevel, Would};

/// What a finished TLS handshake proved about the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsFacts {
    /// `TLSv1.2` or `TLSv1.3`, as Postfix logs name them.
    pub version: String,
    /// The IANA name of the cipher suite, e.g. `TLS_AES_256_GCM_SHA384` or
    /// `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`.
    pub cipher: String,
    /// The key-exchange group, e.g. `X25519`.
    pub group: String,
    /// The peer's own certificate, if it sent one.
    pub certificate: Option<CertificateFacts>,
}

/// A certificate, as far as evidence names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateFacts {
    /// SHA-256 over the DER, in lower-case hex.
    pub sha256: String,
    /// The DNS names it is for, at most 10.
    pub names: Vec<String>,
    /// When it ends.
    pub not_after: Option<Timestamp>,
}

/// What vouched for the peer's identity (design section 1, "TLS level").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthenticatedBy {
    /// A chain to a trusted root and the MX name as unsigned DNS gave it.
    PkixUnsignedMx,
    /// A chain to a trusted root and the name in an operator's route.
    Route,
    /// A chain to a trusted root and an MX name that the domain's MTA-STS policy
    /// in `enforce` mode lists (RFC 8461 section 4).
    MtaSts,
}

impl AuthenticatedBy {
    /// The word that audit and logs use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PkixUnsignedMx => "pkix-unsigned-mx",
            Self::Route => "route",
            Self::MtaSts => "mta-sts",
        }
    }

    /// The level that it proves.
    #[must_use]
    pub fn level(self) -> TlsLevel {
        match self {
            Self::PkixUnsignedMx => TlsLevel::Authenticated,
            Self::Route | Self::MtaSts => TlsLevel::Secure,
        }
    }
}

/// A host that was talked to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// Its name: the MX name, the route's host, or an address literal.
    pub name: String,
    /// Where it was reached, if it was.
    pub address: Option<SocketAddr>,
}

/// How one recipient's copy was protected, and why that way.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// The rule that decided; `None`: the `[security]` section.
    pub rule: Option<String>,
    /// SHA-256 of the configuration in force, first 16 hex digits.
    pub configuration: String,
    /// The level the transport had to prove; `None`: cleartext was allowed.
    pub required: Option<TlsLevel>,
    /// The level it proved; `None`: none.
    pub achieved: Option<TlsLevel>,
    /// What authenticated the peer, if something did.
    pub authenticated_by: Option<AuthenticatedBy>,
    /// The handshake, if there was one.
    pub tls: Option<TlsFacts>,
    /// The host that took the message, or the last one that did not.
    pub remote: Option<Remote>,
    /// Each method that was passed over, with why.
    pub passed_over: Vec<(Method, Reason)>,
    /// What the configured methods would have come to, while they are only
    /// observed; `None`: they are enforced.
    pub would: Option<Would>,
    /// The recipient's domain's MTA-STS policy; `None`: it has none.
    pub sts: Option<StsFacts>,
    /// How the content itself is protected; `None`: it is not.
    pub content: Option<ContentProof>,
}
