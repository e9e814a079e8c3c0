//! `[tls]`, `[[listener]]`, `[accounts]` and `[limits]`.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use super::reader::Section;
use super::{Common, word};
use crate::ingress::{Limits, Listener, ListenerKind, Settings, TlsFiles};
use crate::types::units::parse_size;
use crate::types::{Domain, Wanted};

pub(super) fn read(top: &Section<'_, '_, '_>, common: &Common) -> Settings {
    let tls = read_tls(top);
    let mut listeners: Vec<Listener> = Vec::new();
    for section in top.sections("listener") {
        let Some(listener) = read_listener(&section) else {
            continue;
        };
        if listeners
            .iter()
            .any(|l| l.address == listener.address && l.address.port() != 0)
        {
            section.fault(
                section.line(),
                format_args!("two listeners bind {}", listener.address),
            );
        }
        listeners.push(listener);
    }
    if !top.has("listener") {
        listeners.push(default_listener());
    }
    let accounts = top.section("accounts");
    let accounts_file = accounts.path("file");
    accounts.finish();
    Settings {
        hostname: common.hostname.clone(),
        postmaster: common.postmaster.clone(),
        listeners,
        tls,
        self_signed_folder: common.data_dir.join("tls"),
        accounts: accounts_file.unwrap_or_else(|| common.data_dir.join("accounts.toml")),
        limits: read_limits(top),
        wanted: Wanted::default(),
        log_addresses: common.log_addresses,
    }
}

/// Without any `[[listener]]`: submission on port 587, where nobody gets in
/// before `postern account add`.
fn default_listener() -> Listener {
    Listener {
        bind: "[::]:587".to_owned(),
        address: SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 587),
        kind: ListenerKind::Submission,
        tls_required: true,
        networks: Vec::new(),
        certificates: Vec::new(),
        require_both: false,
        client_roots: Vec::new(),
        sender_domains: Vec::new(),
        refuse_without_tls: false,
    }
}

fn read_tls(top: &Section<'_, '_, '_>) -> Option<TlsFiles> {
    let section = top.section("tls");
    let certificate = section.path("certificate");
    let private_key = section.path("private_key");
    section.finish();
    match (certificate, private_key) {
        (Some(certificate), Some(private_key)) => Some(TlsFiles {
            certificate,
            private_key,
        }),
        (None, None) => None,
        (certificate, _) => {
            let missing = if certificate.is_some() {
                "private_key"
            } else {
                "certificate"
            };
            section.fault(section.line(), format_args!("tls.{missing} is missing"));
            None
        }
    }
}

fn read_listener(section: &Section<'_, '_, '_>) -> Option<Listener> {
    let bind = section.text("bind");
    let address = section.parsed("bind", |text| {
        text.parse::<SocketAddr>()
            .map_err(|_| "must be an address and a port, e.g. \"[::]:587\"")
    });
    if bind.is_none() && !section.has("bind") {
        section.fault(section.line(), "listener.bind is missing");
    }
    let kind = section.parsed("kind", |text| {
        word(
            text,
            &[
                ("submission", ListenerKind::Submission),
                ("submissions", ListenerKind::Submissions),
                ("relay", ListenerKind::Relay),
            ],
        )
    });
    if kind.is_none() && !section.has("kind") {
        section.fault(
            section.line(),
            "listener.kind is missing (submission, submissions or relay)",
        );
    }
    let tls_required = section.parsed("tls", |text| {
        word(text, &[("required", true), ("optional", false)])
    });
    let require_both = section.parsed("require", |text| {
        word(text, &[("either", false), ("both", true)])
    });
    let listener = Listener {
        bind: bind?.value,
        address: address?,
        kind: kind?,
        tls_required: tls_required.unwrap_or(kind? != ListenerKind::Relay),
        networks: section.list("networks", parse_network).unwrap_or_default(),
        certificates: section
            .list("certificates", parse_certificate_name)
            .unwrap_or_default(),
        require_both: require_both.unwrap_or(false),
        client_roots: section.paths("client_roots").unwrap_or_default(),
        sender_domains: section
            .list("sender_domains", Domain::parse)
            .unwrap_or_default(),
        refuse_without_tls: section.flag("refuse_without_tls").unwrap_or(false),
    };
    check_kind(section, &listener);
    section.finish();
    Some(listener)
}

/// What belongs to which kind, and what a relay can't do without.
fn check_kind(section: &Section<'_, '_, '_>, listener: &Listener) {
    let line = section.line();
    if listener.kind != ListenerKind::Relay {
        for key in [
            "networks",
            "certificates",
            "require",
            "client_roots",
            "sender_domains",
        ] {
            if section.has(key) {
                section.fault(
                    line,
                    format_args!(
                        "listener.{key} is for kind = \"relay\" alone: here accounts decide"
                    ),
                );
            }
        }
        if !listener.tls_required {
            section.fault(
                line,
                "listener.tls = \"optional\" is for kind = \"relay\" alone: passwords need TLS",
            );
        }
        return;
    }
    if listener.networks.is_empty() && listener.certificates.is_empty() {
        section.fault(
            line,
            "a relay listener needs networks or certificates: who may relay here?",
        );
    }
    if listener.sender_domains.is_empty() {
        section.fault(
            line,
            "a relay listener needs sender_domains: for whom may it send?",
        );
    }
    if listener.require_both && (listener.networks.is_empty() || listener.certificates.is_empty()) {
        section.fault(line, "require = \"both\" needs networks and certificates");
    }
    if let Some(wide) = listener.networks.iter().find(|net| is_too_wide(net)) {
        section.fault(
            line,
            format_args!(
                "the network {wide} is so wide that this would be an open relay; \
                 name the networks that may relay"
            ),
        );
    }
}

/// Wider than any network that is one organisation's: the widest are 10.0.0.0/8
/// and fc00::/7. IPv4 can be written as IPv6 too (`::ffff:0:0/96` is all of it).
fn is_too_wide(net: &IpNet) -> bool {
    match net {
        IpNet::V4(v4) => v4.prefix_len() < 8,
        IpNet::V6(v6) => {
            let mapped = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0);
            v6.prefix_len() < 7 || (v6.prefix_len() < 96 + 8 && v6.contains(&mapped))
        }
    }
}

/// A network, or an address as a network of one.
pub(super) fn parse_network(text: &str) -> Result<IpNet, &'static str> {
    let net = text.parse::<IpNet>();
    let net = net.or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    net.map(|net| net.trunc())
        .map_err(|_| "must be a network such as \"192.0.2.0/24\" or an address")
}

/// A DNS name, exact or `*.domain` (one label, RFC 9525 section 6.3).
fn parse_certificate_name(text: &str) -> Result<String, &'static str> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    match Domain::parse(name) {
        Ok(domain) if name.contains('.') => Ok(text.replace(name, domain.as_str())),
        _ => Err("must be a certificate's DNS name, or \"*.\" and a domain"),
    }
}

fn read_limits(top: &Section<'_, '_, '_>) -> Limits {
    let section = top.section("limits");
    let default = Limits::default();
    let message_size = section.parsed("message_size", |text| match parse_size(text) {
        Ok(size) if (64 << 10..=2 << 30).contains(&size) => Ok(size),
        Ok(_) => Err("must be from 64KiB to 2GiB".to_owned()),
        Err(e) => Err(e.to_string()),
    });
    let limits = Limits {
        message_size: message_size.unwrap_or(default.message_size),
        // RFC 5321 section 4.5.3.1.8: 100 at least. At most as many as one
        // settlement can hold with all their evidence (some 5 KiB each): one that
        // can't be stored would be made again, and delivered again, without end.
        recipients: section
            .number("recipients", 100..=5_000)
            .unwrap_or(default.recipients),
        connections: section
            .number("connections", 1..=100_000)
            .unwrap_or(default.connections),
        connections_per_client: section
            .number("connections_per_client", 1..=100_000)
            .unwrap_or(default.connections_per_client),
    };
    section.finish();
    limits
}

/// For lists of plain words.
pub(super) fn any_text(text: &str) -> Result<String, Infallible> {
    Ok(text.to_owned())
}
