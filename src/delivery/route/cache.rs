//! Routes kept for their time.
//!
//! Holds always: no more than [`MAX`] routes; none older than its `ttl`, by a
//! clock that does not jump. Called by `route`.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::super::Route;
use crate::types::Domain;

/// Routes kept at most.
const MAX: usize = 10_000;

/// Routes by domain, with their ends.
#[derive(Default)]
pub(super) struct Cache(Mutex<HashMap<Domain, (Instant, Route)>>);

impl Cache {
    /// The route, its `ttl` what is left of it.
    pub(super) fn get(&self, domain: &Domain) -> Option<Route> {
        let routes = self.lock();
        let (end, route) = routes.get(domain)?;
        let ttl = end.checked_duration_since(Instant::now())?;
        (!ttl.is_zero()).then(|| Route {
            ttl,
            ..route.clone()
        })
    }

    pub(super) fn put(&self, domain: &Domain, route: &Route) {
        let now = Instant::now();
        let mut routes = self.lock();
        if routes.len() >= MAX {
            routes.retain(|_, (end, _)| *end > now);
        }
        // Still full of living ones: what comes is simply asked for each time.
        if routes.len() < MAX {
            routes.insert(domain.clone(), (now + route.ttl, route.clone()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Domain, (Instant, Route)>> {
        // The map is whole even if a holder panicked: entries go in at once.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
