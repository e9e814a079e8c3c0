//! What there is to see of the queue at work, for the operator's dashboard.
//!
//! Holds always: figures over all sites, never one a site, since sites are as
//! many as the world has. Written when `service` asks.

use crate::sys::metrics::Page;

use super::SiteStats;

/// Writes the figures that follow from all sites' stats.
pub fn write_figures(sites: &[SiteStats], page: &mut Page) {
    let sum = |of: fn(&SiteStats) -> usize| figure(sites.iter().map(of).sum());
    page.gauge(
        "postern_delivery_connections",
        "Connections to other servers, in use or kept for the next message.",
        sum(|site| site.connections),
    );
    page.gauge(
        "postern_delivery_attempts_active",
        "Attempts under way.",
        sum(|site| site.active),
    );
    page.gauge(
        "postern_queue_ready_jobs",
        "Jobs that are due and wait for a connection.",
        sum(|site| site.ready),
    );
    page.gauge(
        "postern_sites",
        "Sites that had work lately.",
        figure(sites.len()),
    );
    let down = sites.iter().filter(|site| site.backoff_until.is_some());
    page.gauge(
        "postern_sites_backing_off",
        "Sites that are left alone for a while after failures.",
        figure(down.count()),
    );
}

fn figure(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
