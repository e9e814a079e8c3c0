//! What the connections of one listener share, made from the settings.
//!
//! Holds always: what can be wrong with files (certificate, client roots,
//! accounts) is found at start, not at the first client. Called by `start`, used
//! by the listeners and the socket tasks.

use std::num::NonZero;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::accounts::{AccountsError, AccountsFile};
use super::auth::Authenticator;
use super::limits::Connections;
use super::log_lines::Sparse;
use super::meters::Meters;
use super::session::{Rules, Sight};
use super::settings::{Listener, ListenerKind, Settings};
use crate::spool::Store;
use crate::sys::entropy::EntropyError;
use crate::sys::{Clock, Entropy};
use crate::tls::{ClientTrust, Identity, IdentityError, ServerTlsError, server_config};
use crate::types::{Foresight, Timestamp};

/// Why the ingress can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address can't be bound.
    #[error("listener {bind}: {cause}")]
    Bind {
        /// The listener's `bind`.
        bind: String,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The service manager handed a socket over that no listener is for.
    #[error(
        "the service manager listens on {address} for us, but no [[listener]] has that `bind`: \
         clients would wait there for ever (add one, or take it out of postern.socket)"
    )]
    Unasked {
        /// Where it listens.
        address: std::net::SocketAddr,
    },
    /// The listeners' certificate can't be used.
    #[error("[tls] certificate: {0}")]
    Identity(#[source] Box<IdentityError>),
    /// A listener's TLS can't be set up.
    #[error("listener {bind}: {cause}")]
    Tls {
        /// The listener's `bind`.
        bind: String,
        /// What is wrong.
        cause: Box<ServerTlsError>,
    },
    /// The accounts file can't be used.
    #[error("[accounts] file: {0}")]
    Accounts(#[source] Box<AccountsError>),
    /// The system gives no randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// A reload would need other sockets.
    #[error("listeners were added, removed or bound elsewhere: that needs a restart")]
    Listeners,
}

impl From<IdentityError> for StartError {
    fn from(cause: IdentityError) -> Self {
        Self::Identity(Box::new(cause))
    }
}

impl From<AccountsError> for StartError {
    fn from(cause: AccountsError) -> Self {
        Self::Accounts(Box::new(cause))
    }
}

/// The ports that the ingress works through.
#[derive(Clone)]
pub struct Ports {
    /// Where messages go.
    pub store: Arc<dyn Store>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Who knows which domains do no TLS.
    pub foresight: Arc<dyn Foresight>,
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ports(..)")
    }
}

/// One listener's share of the settings, ready for use.
#[derive(Debug)]
pub(super) struct Front {
    pub(super) rules: Arc<Rules>,
    pub(super) tls: Arc<ServerConfig>,
    /// Whom client certificates are verified against, where they count.
    pub(super) trust: Option<ClientTrust>,
    pub(super) common: Arc<Common>,
}

/// What all listeners share.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) ports: Ports,
    pub(super) identity: FollowedIdentity,
    pub(super) authenticator: Arc<Authenticator>,
    pub(super) connections: Arc<Connections>,
    pub(super) meters: Arc<Meters>,
    /// Log lines about connections that were not taken.
    pub(super) refusals_told: Arc<Sparse>,
    /// And about those that had to go for others.
    pub(super) displaced_told: Arc<Sparse>,
    pub(super) log_addresses: bool,
    /// Texts that are looked through at once: as many as there are cores.
    pub(super) counting: Arc<Semaphore>,
    accounts: PathBuf,
}

impl Front {
    /// Makes all fronts, in the order of the listeners. Reads files.
    ///
    /// # Errors
    /// [`StartError`].
    pub(super) fn make_all(
        settings: &Settings,
        ports: Ports,
        before: Option<&Common>,
    ) -> Result<Vec<Arc<Self>>, StartError> {
        let common = Arc::new(Common::make(settings, ports, before)?);
        settings
            .listeners
            .iter()
            .map(|listener| Self::make(settings, listener, &common).map(Arc::new))
            .collect()
    }

    fn make(
        settings: &Settings,
        listener: &Listener,
        common: &Arc<Common>,
    ) -> Result<Self, StartError> {
        let at = |cause| StartError::Tls {
            bind: listener.bind.clone(),
            cause: Box::new(cause),
        };
        let asks = listener.kind == ListenerKind::Relay && !listener.certificates.is_empty();
        let identity = Arc::clone(&common.identity.identity);
        let clock = Arc::clone(&common.ports.clock);
        Ok(Self {
            rules: Arc::new(Rules {
                foresight: Sight::new(Arc::clone(&common.ports.foresight)),
                ..Rules::new(settings, listener)
            }),
            tls: server_config(identity, asks, clock).map_err(at)?,
            trust: match asks {
                true => Some(ClientTrust::load(&listener.client_roots).map_err(at)?),
                false => None,
            },
            common: Arc::clone(common),
        })
    }
}

impl Common {
    /// At a reload, what counts (`before`) goes on counting.
    fn make(settings: &Settings, ports: Ports, before: Option<&Self>) -> Result<Self, StartError> {
        let identity = match &settings.tls {
            Some(files) => Identity::load(files.certificate.clone(), files.private_key.clone())?,
            None => Identity::self_signed(
                &settings.self_signed_folder,
                &settings.hostname,
                ports.clock.now(),
            )?,
        };
        let authenticator = match before.filter(|b| b.accounts == settings.accounts) {
            Some(before) => Arc::clone(&before.authenticator),
            None => {
                let accounts = AccountsFile::open(settings.accounts.clone())?;
                Arc::new(Authenticator::new(accounts, ports.entropy.as_ref())?)
            }
        };
        Ok(Self {
            identity: FollowedIdentity::new(identity),
            authenticator,
            connections: before.map_or_else(Arc::default, |b| Arc::clone(&b.connections)),
            meters: before.map_or_else(Arc::default, |b| Arc::clone(&b.meters)),
            refusals_told: before.map_or_else(Arc::default, |b| Arc::clone(&b.refusals_told)),
            displaced_told: before.map_or_else(Arc::default, |b| Arc::clone(&b.displaced_told)),
            log_addresses: settings.log_addresses,
            counting: before.map_or_else(counting, |b| Arc::clone(&b.counting)),
            accounts: settings.accounts.clone(),
            ports,
        })
    }
}

fn counting() -> Arc<Semaphore> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    Arc::new(Semaphore::new(cores))
}

impl Rules {
    /// The rules of one of the listeners.
    #[must_use]
    pub fn new(settings: &Settings, listener: &Listener) -> Self {
        Self {
            hostname: settings.hostname.clone(),
            postmaster: settings.postmaster.clone(),
            listener: listener.clone(),
            sender_domains: listener.sender_domains.clone().into(),
            limits: settings.limits,
            wanted: Arc::new(settings.wanted.clone()),
            foresight: Sight::default(),
        }
    }
}

/// The identity and when its files were last looked at.
#[derive(Debug)]
pub(super) struct FollowedIdentity {
    identity: Arc<Identity>,
    looked: Mutex<Instant>,
}

impl FollowedIdentity {
    fn new(identity: Identity) -> Self {
        Self {
            identity: Arc::new(identity),
            looked: Mutex::new(Instant::now()),
        }
    }

    /// Looks at the files, if that is due: called before handshakes.
    pub(super) async fn follow(&self) {
        {
            let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            if looked.elapsed() < FOLLOW_EVERY {
                return;
            }
            *looked = Instant::now();
        }
        let identity = Arc::clone(&self.identity);
        // It fails only while the runtime goes down.
        let _ = tokio::task::spawn_blocking(move || identity.refresh()).await;
    }

    /// When the certificate in its file ends.
    pub(super) async fn not_after(&self) -> Option<Timestamp> {
        self.follow().await;
        self.identity.not_after()
    }
}

/// How often certificate files are looked at, at most.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);
