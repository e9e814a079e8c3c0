//! `/metrics`, `/healthz` and `/readyz`: what monitoring asks.
//!
//! Holds always: the page is put together from what each room says of itself;
//! health means that the process can still do its work, readiness that it takes
//! mail now; both say in a word what is missing. Started by `run`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::ServeError;
use super::http::{self, Answer, Response, Status};
use super::learning::Domains;
use super::logging::LogControl;
use super::observe::Observing;
use super::reload::Reloads;
use crate::assurance::sts::Cache;
use crate::ingress::Figures;
use crate::outcome::Outcome;
use crate::protect::discovery::Finder;
use crate::protect::keys::KeyStore;
use crate::queue::{self, Questions};
use crate::spool::{JournalStore, SpoolError};
use crate::sys::metrics::Page;
use crate::types::Timestamp;

/// How long the dispatcher may take to answer, and still be called alive.
const ALIVE: Duration = Duration::from_secs(5);

/// The rooms that have something to tell.
pub(super) struct Monitor {
    pub(super) ingress: Figures,
    pub(super) store: Arc<JournalStore>,
    pub(super) queue: Questions,
    pub(super) outcome: Arc<Outcome>,
    pub(super) sts: Arc<Cache>,
    pub(super) finder: Arc<Finder>,
    pub(super) keys: Arc<KeyStore>,
    pub(super) observing: Observing,
    pub(super) reloads: Arc<Reloads>,
    pub(super) log: LogControl,
    pub(super) domains: Domains,
    /// When the daemon started.
    pub(super) started: Timestamp,
}

/// Binds the address for metrics, if there is one.
///
/// # Errors
/// [`ServeError::Metrics`].
pub(super) async fn bind(address: Option<SocketAddr>) -> Result<Option<TcpListener>, ServeError> {
    let Some(address) = address else {
        return Ok(None);
    };
    let bound = TcpListener::bind(address).await;
    let listener = bound.map_err(|source| ServeError::Metrics { address, source })?;
    tracing::info!("metrics on {address}");
    Ok(Some(listener))
}

/// Serves until what is given back is dropped.
pub(super) fn serve(
    listener: Option<TcpListener>,
    monitor: Monitor,
) -> Option<AbortOnDropHandle<()>> {
    listener.map(|listener| AbortOnDropHandle::new(tokio::spawn(http::serve(listener, monitor))))
}

impl Answer for Monitor {
    async fn get(&self, path: &str) -> Response {
        match path {
            "/metrics" => Response {
                status: Status::Ok,
                media_type: Page::MEDIA_TYPE,
                body: self.page().await.into_text(),
            },
            "/healthz" => verdict(self.health().await),
            "/readyz" => verdict(self.readiness()),
            _ => Response::text(Status::NotFound, "not found"),
        }
    }
}

impl Monitor {
    async fn page(&self) -> Page {
        let (store, keys) = (Arc::clone(&self.store), Arc::clone(&self.keys));
        let spool = tokio::task::spawn_blocking(move || {
            let mut page = Page::default();
            store.write_figures(&mut page);
            keys.write_figures(&mut page);
            page
        });
        // Without the spool's part only if that panicked, which is logged.
        let mut page = spool.await.unwrap_or_default();
        self.ingress.write(&mut page).await;
        self.outcome.write_figures(&mut page);
        self.sts.write_figures(&mut page);
        self.finder.write_figures(&mut page);
        if let Ok(Some(sites)) = timeout(ALIVE, self.queue.ask()).await {
            queue::write_figures(&sites, &mut page);
        }
        page.gauge(
            "postern_ready",
            "Whether mail is taken now, as /readyz says.",
            f64::from(u8::from(self.readiness().is_ok())),
        );
        self.reloads.write(&mut page);
        self.log.write_figures(&mut page);
        self.domains.write_figures(&mut page);
        page.gauge(
            "postern_observe",
            "Whether methods and levels are only observed: nothing is enforced.",
            f64::from(u8::from(self.observing.is_on())),
        );
        page.gauge(
            "postern_start_timestamp_seconds",
            "When the daemon started, in seconds since 1970.",
            f64::from(u32::try_from(self.started.as_micros() / 1_000_000).unwrap_or(0)),
        );
        page.gauges(
            "postern_build_info",
            "The version that runs.",
            ["version"],
            [([env!("CARGO_PKG_VERSION")], 1.0)],
        );
        page
    }

    async fn health(&self) -> Result<&'static str, &'static str> {
        match timeout(ALIVE, self.queue.ask()).await {
            Ok(Some(_)) => Ok("ok"),
            Ok(None) => Err("the queue has ended"),
            Err(_) => Err("the queue does not answer"),
        }
    }

    fn readiness(&self) -> Result<&'static str, &'static str> {
        if !self.ingress.is_accepting() {
            return Err("a listener takes no connections");
        }
        match self.store.may_intake() {
            Ok(()) => Ok("ready"),
            Err(SpoolError::Full) => Err("the spool is full"),
            Err(SpoolError::Closed) => Err("the spool is closed"),
            Err(_) => Err("the spool can't write"),
        }
    }
}

fn verdict(verdict: Result<&'static str, &'static str>) -> Response {
    match verdict {
        Ok(word) => Response::text(Status::Ok, word),
        Err(word) => Response::text(Status::Unavailable, word),
    }
}
