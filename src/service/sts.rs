//! MTA-STS with the real ports.
//!
//! Holds always: the cache lives as long as the daemon; a reload changes whom it
//! asks, not what it knows. The command `explain` has a cache of its own, which
//! begins with what the running daemon keeps of the domain, so that it explains what
//! the daemon would do.

use std::sync::Arc;

use super::ServeError;
use crate::assurance::sts::{Cache, Held, Sources};
use crate::config::Config;
use crate::dns::DnsResolver;
use crate::fetch::HttpsFetcher;
use crate::sys::{MemoryTable, SystemClock, Table, TcpDialler};
use crate::types::Domain;

/// A cache over `table`.
///
/// # Errors
/// What the configuration names and can't be used.
pub(super) fn cache(config: &Config, table: Arc<dyn Table>) -> Result<Arc<Cache>, ServeError> {
    let cache = Cache::new(sources(config)?, table, Arc::new(SystemClock));
    Ok(Arc::new(cache))
}

/// A cache that begins with what a daemon keeps of a domain, in its words.
///
/// # Errors
/// As [`cache`].
pub(super) fn cache_knowing(
    config: &Config,
    domain: Option<&Domain>,
    kept: Option<&str>,
) -> Result<Arc<Cache>, ServeError> {
    let table = MemoryTable::default();
    if let Some((domain, kept)) = domain.zip(kept) {
        // A table in memory can't fail.
        let _ = table.put(domain.as_str().as_bytes(), kept.as_bytes());
    }
    cache(config, Arc::new(table))
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
