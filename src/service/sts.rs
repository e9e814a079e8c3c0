//! MTA-STS with the real ports.
//!
//! Holds always: the cache lives as long as the daemon; a reload changes whom it
//! asks, not what it knows. The command `explain` has a cache of its own, which
//! begins with what the daemon keeps of the domain, so that it explains what the
//! daemon would do.

use std::sync::Arc;

use super::{ServeError, tables};
use crate::assurance::sts::{Cache, Held, Sources};
use crate::config::Config;
use crate::dns::DnsResolver;
use crate::fetch::HttpsFetcher;
use crate::sys::{MemoryTable, SystemClock, Table, TcpDialler};
use crate::types::Domain;

/// The table in which the cache keeps policies.
pub(super) const TABLE: &str = "sts";

/// The daemon's cache, over its table.
///
/// # Errors
/// What the configuration names and can't be used.
pub(super) async fn open(config: &Config, table: Arc<dyn Table>) -> Result<Arc<Cache>, ServeError> {
    let sources = sources(config)?;
    let reading = tokio::task::spawn_blocking(move || over(sources, table));
    reading
        .await
        .map_err(|e| ServeError::Runtime(std::io::Error::other(e)))
}

/// A cache that begins with what the daemon keeps of a domain: `kept`, in a running
/// daemon's words; without one, what its tables hold. And whether either is known.
///
/// # Errors
/// What the configuration names and can't be used.
pub(super) fn cache_knowing(
    config: &Config,
    domain: Option<&Domain>,
    kept: Option<Option<&str>>,
) -> Result<(Arc<Cache>, bool), ServeError> {
    let mut table: Arc<dyn Table> = Arc::new(MemoryTable::default());
    let mut known = kept.is_some();
    match (domain, kept) {
        (Some(domain), Some(Some(kept))) => {
            // A table in memory can't fail.
            let _ = table.put(domain.as_str().as_bytes(), kept.as_bytes());
        }
        (_, Some(_)) => {}
        (_, None) => {
            if let Ok(copy) = tables::copy(config) {
                table = copy.table(TABLE);
                known = true;
            }
        }
    }
    Ok((over(sources(config)?, table), known))
}

fn over(sources: Sources, table: Arc<dyn Table>) -> Arc<Cache> {
    Arc::new(Cache::new(sources, table, Arc::new(SystemClock)))
}

/// Whom to ask, by the configuration.
///
/// # Errors
/// What the configuration names and can't be used.
pub(super) fn sources(config: &Config) -> Result<Sources, ServeError> {
    let resolver = Arc::new(DnsResolver::new(&config.dns)?);
    let fetch = HttpsFetcher::new(
        config.fetch.clone(),
        resolver.clone(),
        Arc::new(TcpDialler),
        Arc::new(SystemClock),
    )?;
    Ok(Sources {
        resolver,
        fetch: Arc::new(fetch),
    })
}

/// What is kept of a domain, for another process to begin with.
pub(super) fn kept(cache: &Cache, domain: &Domain) -> Option<String> {
    let held: Arc<Held> = cache.peek(domain)?;
    serde_json::to_string(&*held).ok()
}
