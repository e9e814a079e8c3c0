//! `[network]`, `[delivery]`, `[trust]` and `[[route]]`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::listener::parse_network;
use super::reader::Section;
use super::{Common, word};
use crate::delivery::{self, BLOCKED, Credentials, Prefer, RouteSettings};
use crate::fetch;
use crate::ingress::Listener;
use crate::queue;
use crate::types::units::parse_duration;
use crate::types::{Domain, Host};

pub(super) fn read(
    top: &Section<'_, '_, '_>,
    common: &Common,
    listeners: &[Listener],
) -> (delivery::Settings, fetch::Settings, queue::Settings) {
    let fetch = read_network(top);
    let section = top.section("delivery");
    let queue = read_queue(&section);
    let port = section.number("port", 1..=65_535).unwrap_or(25);
    let sources = section.list("sources", |text| {
        text.parse::<IpAddr>()
            .map_err(|_| "must be an address of this machine")
    });
    let prefer = section.parsed("prefer", |text| {
        word(
            text,
            &[
                ("ipv6", Prefer::Ipv6),
                ("ipv4", Prefer::Ipv4),
                ("ipv4-only", Prefer::Ipv4Only),
            ],
        )
    });
    section.finish();
    let delivery = delivery::Settings {
        hostname: common.hostname.clone(),
        port: u16::try_from(port).unwrap_or(25),
        sources: sources.unwrap_or_default(),
        prefer: prefer.unwrap_or_default(),
        blocked: fetch.blocked.clone(),
        own_addresses: listeners.iter().map(|l| l.address).collect(),
        routes: top
            .sections("route")
            .iter()
            .filter_map(read_route)
            .collect(),
        roots: read_trust(top),
    };
    (delivery, fetch, queue)
}

fn read_queue(section: &Section<'_, '_, '_>) -> queue::Settings {
    let default = queue::Settings::default();
    let retry = section.list("retry", |text| match parse_duration(text) {
        Ok(Duration::ZERO) => Err("must be longer than nothing".to_owned()),
        Ok(wait) => Ok(wait),
        Err(e) => Err(e.to_string()),
    });
    if retry.as_ref().is_some_and(Vec::is_empty) {
        section.fault(section.line(), "delivery.retry must name one wait at least");
    }
    let expire = section.parsed("expire", parse_duration);
    let delay_notice = section.parsed("delay_notice", parse_duration);
    let connections = section.number("connections", 1..=10_000);
    let per_site = section.number("connections_per_site", 1..=1_000);
    queue::Settings {
        retry: retry.filter(|r| !r.is_empty()).unwrap_or(default.retry),
        expire: expire.unwrap_or(default.expire),
        delay_notice: delay_notice.unwrap_or(default.delay_notice),
        connections: connections.unwrap_or(default.connections),
        connections_per_site: per_site.unwrap_or(default.connections_per_site),
    }
}

/// What holds for mail and HTTPS alike, and for HTTPS alone.
fn read_network(top: &Section<'_, '_, '_>) -> fetch::Settings {
    let section = top.section("network");
    let blocked = section.list("blocked", parse_network);
    let port = section.number("https_port", 1..=65_535).unwrap_or(443);
    let roots = section.paths("https_roots");
    section.finish();
    fetch::Settings {
        port: u16::try_from(port).unwrap_or(443),
        roots: roots.unwrap_or_default(),
        blocked: blocked
            .unwrap_or_else(|| BLOCKED.iter().filter_map(|net| net.parse().ok()).collect()),
    }
}

fn read_trust(top: &Section<'_, '_, '_>) -> Vec<std::path::PathBuf> {
    let section = top.section("trust");
    let roots = section.paths("roots");
    section.finish();
    roots.unwrap_or_default()
}

fn read_route(section: &Section<'_, '_, '_>) -> Option<RouteSettings> {
    let domain = section.parsed("domain", parse_domain_pattern);
    let hosts = section.list("hosts", parse_hop);
    for key in ["domain", "hosts"] {
        if !section.has(key) {
            section.fault(section.line(), format_args!("route.{key} is missing"));
        }
    }
    let username = section.text("username");
    let password_file = section.path("password_file");
    let credentials = match (username, password_file) {
        (Some(username), Some(password_file)) => Some(Credentials {
            username: username.value,
            password_file,
        }),
        (None, None) => None,
        _ => {
            section.fault(
                section.line(),
                "route.username and route.password_file need one another",
            );
            None
        }
    };
    section.finish();
    let hosts = hosts?;
    if hosts.is_empty() {
        section.fault(section.line(), "route.hosts names no host");
    }
    Some(RouteSettings {
        domain: domain?,
        hosts,
        credentials,
    })
}

/// Exact, `.example` for subdomains, `*` for all; normalised.
pub(super) fn parse_domain_pattern(text: &str) -> Result<String, &'static str> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    let (dot, name) = match text.strip_prefix('.') {
        Some(name) => (".", name),
        None => ("", text),
    };
    Domain::parse(name)
        .map(|domain| format!("{dot}{domain}"))
        .map_err(|_| "must be a domain, \".\" and a domain for its subdomains, or \"*\"")
}

/// `host:port`, `host`, `192.0.2.1:25`, `[2001:db8::1]:25`.
fn parse_hop(text: &str) -> Result<(Host, u16), &'static str> {
    const WRONG: &str = "must be a host and a port, e.g. \"mail.partner.example:25\"";
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok((Host::Literal(address.ip()), address.port()));
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok((Host::Literal(ip), 25));
    }
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().map_err(|_| WRONG)?),
        None => (text, 25),
    };
    let domain = Domain::parse(name).map_err(|_| WRONG)?;
    if port == 0 {
        return Err(WRONG);
    }
    Ok((Host::Domain(domain), port))
}
