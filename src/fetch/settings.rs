//! The HTTPS part of the configuration (`[network]`).

use std::path::PathBuf;

use ipnet::IpNet;

/// How things are fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The port of all HTTPS servers; 443 but in tests.
    pub port: u16,
    /// PEM files added to the system's roots.
    pub roots: Vec<PathBuf>,
    /// Networks never connected to.
    pub blocked: Vec<IpNet>,
}
