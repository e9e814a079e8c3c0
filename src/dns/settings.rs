//! The DNS part of the configuration.

use std::net::SocketAddr;

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Servers; empty: those of /etc/resolv.conf.
    pub servers: Vec<SocketAddr>,
}
