//! Why the daemon doesn't start.

use std::path::PathBuf;

use crate::delivery::DeliveryError;
use crate::dns::ResolverError;
use crate::ingress::StartError;
use crate::outcome::audit::{self, KeyError};
use crate::protect::OwnKeyError;
use crate::spool::OpenError;
use crate::tls::RootsError;

/// Why the daemon doesn't start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The asynchronous runtime can't be made.
    #[error("the runtime can't be started: {0}")]
    Runtime(#[source] std::io::Error),
    /// A folder can't be made.
    #[error("{path}: {source}", path = path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The spool can't be opened.
    #[error("the spool can't be opened: {0}")]
    Spool(#[from] OpenError),
    /// The audit can't be opened.
    #[error("the audit can't be opened: {0}")]
    Audit(#[from] audit::OpenError),
    /// No resolver.
    #[error("DNS: {0}")]
    Dns(#[from] ResolverError),
    /// Delivery can't be set up.
    #[error("{0}")]
    Delivery(#[from] DeliveryError),
    /// A fault in `[network] https_roots`.
    #[error("{0}")]
    Https(#[from] RootsError),
    /// A fault in what `[pgp]` or `[smime]` names.
    #[error("{0}")]
    OwnKey(#[from] OwnKeyError),
    /// A listener can't be set up.
    #[error("{0}")]
    Ingress(#[from] StartError),
    /// What the service manager handed over is no listening TCP socket.
    #[error("a socket from the service manager (LISTEN_FDS): {0}")]
    HandedOver(#[source] std::io::Error),
    /// The control socket can't be made.
    #[error("the control socket {path}: {source}", path = path.display())]
    Control {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The address for metrics can't be bound.
    #[error("[metrics] bind = \"{address}\": {source}")]
    Metrics {
        /// The address.
        address: std::net::SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// Signals can't be received.
    #[error("signals can't be received: {0}")]
    Signals(#[source] std::io::Error),
}

impl ServeError {
    /// Whether starting again can't help before the operator changes something:
    /// exit 78, at which systemd stops trying.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Spool(e) => matches!(
                e,
                OpenError::MissingKey(_)
                    | OpenError::MissingCredential(_)
                    | OpenError::WrongKey(_)
                    | OpenError::BadKey { .. }
            ),
            // An address may be there, and free, a moment later.
            Self::Ingress(StartError::Bind { .. } | StartError::Entropy(_)) => false,
            Self::Audit(audit::OpenError::Key(e)) => matches!(
                e,
                KeyError::Missing { .. } | KeyError::NotKey { .. } | KeyError::Differs { .. }
            ),
            Self::Delivery(_)
            | Self::Https(_)
            | Self::OwnKey(_)
            | Self::Ingress(_)
            | Self::HandedOver(_)
            | Self::Metrics { .. } => true,
            _ => false,
        }
    }
}
