//! The delivery part of the configuration.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use crate::types::{Domain, Host};

/// How hosts are found and reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What EHLO says.
    pub hostname: Domain,
    /// The port MX hosts listen on.
    pub port: u16,
    /// Local addresses to send from; empty: the system's choice.
    pub sources: Vec<IpAddr>,
    /// Which address family comes first.
    pub prefer: Prefer,
    /// Networks never connected to; routes are exempt.
    pub blocked: Vec<IpNet>,
    /// The listeners' addresses, by which an MX set is recognised as leading here.
    pub own_addresses: Vec<SocketAddr>,
    /// `[[route]]` in order; the first match decides.
    pub routes: Vec<RouteSettings>,
    /// PEM files added to the system's roots, to verify MX hosts.
    pub roots: Vec<PathBuf>,
}

/// Which address family is tried first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prefer {
    /// IPv6, then IPv4.
    #[default]
    Ipv6,
    /// IPv4, then IPv6.
    Ipv4,
    /// IPv4 alone.
    Ipv4Only,
}

/// One `[[route]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSettings {
    /// Exact, `.example` for subdomains, `*` for all.
    pub domain: String,
    /// Hosts in order of preference.
    pub hosts: Vec<(Host, u16)>,
    /// AUTH, at `authenticated` alone.
    pub credentials: Option<Credentials>,
}

/// What a route logs in with; the password itself is never held here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user name.
    pub username: String,
    /// The file whose first line is the password, read at each use.
    pub password_file: PathBuf,
}

/// The default of `[network] blocked`: loopback, private, link-local,
/// unspecified, and what translates to them.
pub const BLOCKED: [&str; 13] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "::/128",
    "::1/128",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "fc00::/7",
    "fe80::/10",
];
