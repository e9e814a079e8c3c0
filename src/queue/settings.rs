//! The queue's part of the configuration.

use std::time::Duration;

/// When attempts are made, and how many at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Waits between attempts; the last one repeats. Also a site's backoff.
    pub retry: Vec<Duration>,
    /// After this long a message is given up.
    pub expire: Duration,
    /// After this long the sender is told once; at or above `expire`: never.
    pub delay_notice: Duration,
    /// Connections to all sites.
    pub connections: usize,
    /// Connections to one site.
    pub connections_per_site: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let minutes = |m: u64| Duration::from_secs(m * 60);
        Self {
            retry: [5, 10, 20, 40, 60, 120, 240].map(minutes).to_vec(),
            expire: minutes(5 * 24 * 60),
            delay_notice: minutes(4 * 60),
            connections: 200,
            connections_per_site: 10,
        }
    }
}
