//! The ingress part of the configuration.

use std::path::PathBuf;

use ipnet::IpNet;

use crate::types::{Domain, Mailbox, Wanted};

/// Everything that says who may submit, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The name in the greeting, in EHLO's reply and in Received fields.
    pub hostname: Domain,
    /// `RCPT TO:<postmaster>`; `None`: postmaster@ the sender's domain.
    pub postmaster: Option<Mailbox>,
    /// The listeners.
    pub listeners: Vec<Listener>,
    /// The listeners' certificate; `None`: a self-signed one is made.
    pub tls: Option<TlsFiles>,
    /// Where the self-signed certificate is kept, `DATA_DIR/tls`.
    pub self_signed_folder: PathBuf,
    /// The accounts file.
    pub accounts: PathBuf,
    /// Limits.
    pub limits: Limits,
    /// What is noted of messages' content, for the rules that ask it.
    pub wanted: Wanted,
    /// Whether log lines hold full addresses (`log_addresses`).
    pub log_addresses: bool,
}

/// A certificate chain and its key, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, the listener's own certificate first.
    pub certificate: PathBuf,
    /// Its private key.
    pub private_key: PathBuf,
}

/// One `[[listener]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// `bind` as configured, which is also its name in rules and the audit.
    pub bind: String,
    /// The address it binds.
    pub address: std::net::SocketAddr,
    /// Its kind.
    pub kind: ListenerKind,
    /// Whether MAIL needs TLS. Always true but for relay listeners, where it is
    /// `tls = "required"`.
    pub tls_required: bool,
    /// Networks that may relay here.
    pub networks: Vec<IpNet>,
    /// Names of client certificates that may relay here: exact or `*.domain`.
    pub certificates: Vec<String>,
    /// Whether network and certificate are both needed (`require = "both"`).
    pub require_both: bool,
    /// PEM files of roots for client certificates; empty: the system's.
    pub client_roots: Vec<PathBuf>,
    /// The domains that may send through a relay listener.
    pub sender_domains: Vec<Domain>,
    /// Whether recipients whose domain is known not to do TLS are refused at RCPT.
    pub refuse_without_tls: bool,
}

/// The three kinds of listener (design section 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListenerKind {
    /// STARTTLS, then AUTH (RFC 6409).
    Submission,
    /// TLS from the first octet, then AUTH (RFC 8314).
    Submissions,
    /// Trusted peers without AUTH.
    Relay,
}

impl ListenerKind {
    /// The word that the configuration and logs use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Submission => "submission",
            Self::Submissions => "submissions",
            Self::Relay => "relay",
        }
    }
}

/// `[limits]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Octets of a message.
    pub message_size: u64,
    /// Recipients of a message, at least 100 (RFC 5321 section 4.5.3.1.8).
    pub recipients: usize,
    /// Connections in all.
    pub connections: usize,
    /// Connections from one address (IPv6: one /64).
    pub connections_per_client: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_size: 50 << 20,
            recipients: 1000,
            connections: 1000,
            connections_per_client: 50,
        }
    }
}
