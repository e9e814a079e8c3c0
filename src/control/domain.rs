//! What is asked and told of domains.
//!
//! Holds always: the field names are the contract of `domain list --json` and
//! `domain show --json`; times are RFC 3339.

use serde::{Deserialize, Serialize};

/// What is asked of `postern domain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum DomainOrder {
    /// All that are remembered, or have an exception.
    List,
    /// One.
    Show {
        /// Which.
        domain: String,
    },
    /// Look at its hosts now.
    Probe {
        /// Which.
        domain: String,
    },
    /// Let it have `cleartext` for a while.
    Allow {
        /// Which.
        domain: String,
        /// Until when: RFC 3339, or how long from now.
        until: String,
        /// Why.
        reason: String,
    },
    /// Forget what is remembered, and take its exception back.
    Forget {
        /// Which.
        domain: String,
    },
}

/// What is remembered of a domain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainView {
    /// Its name.
    pub domain: String,
    /// `encrypted`: counts as such, so no `cleartext`; `no-tls`: known not to do TLS;
    /// `seen`: neither of both for certain; `unknown`: nothing is remembered.
    pub state: String,
    /// Since when it counts as encrypted.
    pub encrypted_since: Option<String>,
    /// When it lapses if no handshake is seen until then.
    pub lapses: Option<String>,
    /// When one of its hosts last gave an answer.
    pub last_seen: Option<String>,
    /// When mail last went its way.
    pub last_mail: Option<String>,
    /// When it was last probed.
    pub last_probe: Option<String>,
    /// Its MTA-STS policy when it was last seen: mode and id.
    pub sts: Option<String>,
    /// The operator's exception, if one is in force.
    pub exception: Option<ExceptionView>,
    /// Its hosts, by name.
    pub hosts: Vec<HostView>,
}

/// An operator's exception.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExceptionView {
    /// Who made it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// When it was made.
    pub made: String,
    /// When it ends.
    pub until: String,
}

/// What is remembered of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostView {
    /// Its name.
    pub host: String,
    /// On how many days a handshake was made.
    pub tls_days: u32,
    /// The first handshake.
    pub first_tls: Option<String>,
    /// The last one.
    pub last_tls: Option<String>,
    /// When it first said no to TLS.
    pub first_no_tls: Option<String>,
    /// When it last did.
    pub last_no_tls: Option<String>,
    /// Of the last handshake: the version.
    pub version: Option<String>,
    /// The cipher suite.
    pub cipher: Option<String>,
    /// The key-exchange group.
    pub group: Option<String>,
    /// Whether its name was proven.
    pub authenticated: bool,
    /// Its certificate.
    pub certificate: Option<SeenCertificate>,
    /// Its last answers, the newest first: time, and `tls` or the reason.
    pub answers: Vec<(String, String)>,
}

/// A certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenCertificate {
    /// SHA-256 over the DER, in hex.
    pub sha256: String,
    /// The names it is for.
    pub names: Vec<String>,
    /// When it ends.
    pub not_after: Option<String>,
}
