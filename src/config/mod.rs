//! The configuration file: parsed once, into each room's own settings.
//!
//! Owns the file's grammar (design section 4.2) and its defaults, and knows of
//! the rooms only their `Settings`. Holds always: an unknown key, a wrong value
//! and a combination that can't work are errors; all are told at once, with file
//! and line; nothing is silently ignored. Called by `cli` before anything else.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest;
use toml::de::DeTable;

use crate::delivery;
use crate::dns;
use crate::fetch;
use crate::ingress;
use crate::outcome;
use crate::policy;
use crate::protect;
use crate::queue;
use crate::spool;
use crate::types::units::parse_duration;
use crate::types::{Domain, Mailbox};

mod fault;
mod keys;
mod listener;
mod protection;
mod reader;
mod routing;
mod rule;
mod seeing;

pub use fault::{Fault, Faults};
pub use reader::Named;
use reader::{Reader, Section};
pub use seeing::{LogFormat, LogSettings};

const DAY: Duration = Duration::from_secs(86_400);
/// Where the file lies unless `--config` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/postern/postern.toml";

/// A whole configuration, valid in itself. What it names (certificates, keys,
/// accounts) has not been looked at: that is `postern check`'s and `serve`'s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file it came from.
    pub path: PathBuf,
    /// SHA-256 of the file, first 16 hex digits: how evidence names it.
    pub hash: String,
    /// This relay's own name.
    pub hostname: Domain,
    /// Everything that must survive lies below.
    pub data_dir: PathBuf,
    /// The control socket.
    pub control: PathBuf,
    /// Whether logs may hold full addresses and remote texts.
    pub log_addresses: bool,
    /// How logs are written.
    pub log: LogSettings,
    /// Where metrics are served, if they are.
    pub metrics: Option<std::net::SocketAddr>,
    /// Listeners, accounts, limits.
    pub ingress: ingress::Settings,
    /// The spool.
    pub spool: spool::Settings,
    /// Whom to ask.
    pub dns: dns::Settings,
    /// How HTTPS is spoken.
    pub fetch: fetch::Settings,
    /// How hosts are found and reached.
    pub delivery: delivery::Settings,
    /// When attempts are made.
    pub queue: queue::Settings,
    /// Who is told.
    pub outcome: outcome::Settings,
    /// Rules and what holds without them.
    pub policy: policy::Settings,
    /// How content is protected, and by whose keys.
    pub protect: protect::Settings,
    /// How recipients' keys are found.
    pub keys: protect::discovery::Settings,
    /// The files named above, with the lines that name them: for `check`.
    pub named: Vec<Named>,
}

/// Reads a configuration file.
///
/// # Errors
/// Every fault in it.
pub fn load(path: &Path) -> Result<Config, Faults> {
    let text = std::fs::read_to_string(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Faults::of_file(
            path,
            "no such file (name yours with --config, or start from conf/postern.toml)",
        ),
        _ => Faults::of_file(path, format_args!("can't be read: {e}")),
    })?;
    parse(&text, path).map(|(config, _)| config)
}

/// Reads a configuration from text, as if it lay at `path`. Gives with it the
/// names of all keys that were asked for, `section.key`.
///
/// # Errors
/// Every fault in it.
pub fn parse(text: &str, path: &Path) -> Result<(Config, BTreeSet<String>), Faults> {
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let reader = Reader::new(text, folder);
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        reader.syntax(&errors);
        let (faults, _) = reader.finish();
        let path = path.to_owned();
        return Err(Faults { path, faults });
    }
    let mut config = read(&Section::top(&reader, table.get_ref()), text, path);
    if let Some(config) = &mut config {
        config.named = reader.named();
    }
    let (faults, known) = reader.finish();
    match config {
        Some(config) if faults.is_empty() => Ok((config, known)),
        _ => Err(Faults {
            path: path.to_owned(),
            faults,
        }),
    }
}

/// What several sections need to know of the top.
struct Common {
    hostname: Domain,
    postmaster: Option<Mailbox>,
    data_dir: PathBuf,
    log_addresses: bool,
}

fn read(top: &Section<'_, '_, '_>, text: &str, path: &Path) -> Option<Config> {
    let hostname = top.parsed("hostname", parse_hostname);
    let named = top.has("hostname");
    let hostname = hostname.or_else(|| machine_name().filter(|_| !named));
    if hostname.is_none() && !named {
        top.fault(
            0,
            "hostname is missing, and the machine has no full name to use instead",
        );
    }
    let common = Common {
        hostname: hostname.or_else(|| Domain::parse("localhost").ok())?,
        postmaster: top.parsed("postmaster", Mailbox::parse),
        data_dir: top
            .path("data_dir")
            .unwrap_or_else(|| PathBuf::from("/var/lib/postern")),
        log_addresses: top.flag("log_addresses").unwrap_or(false),
    };
    let control = top
        .path("control")
        .unwrap_or_else(|| common.data_dir.join("control.sock"));
    let mut ingress = listener::read(top, &common);
    let protect = protection::read(top);
    let policy = rule::read(top, &protect);
    ingress.wanted = policy.wanted();
    let spool = read_spool(top, &common, ingress.limits.message_size);
    let (delivery, fetch, queue) = routing::read(top, &common, &ingress.listeners);
    let outcome = outcome::Settings {
        hostname: common.hostname.clone(),
        postmaster: common.postmaster.clone(),
        audit_folder: common.data_dir.join("audit"),
        audit_key: common.data_dir.join("keys/audit"),
        audit_keep: read_audit(top),
        log_addresses: common.log_addresses,
        expire: queue.expire,
    };
    let config = Config {
        path: path.to_owned(),
        hash: hash(text),
        hostname: common.hostname,
        data_dir: common.data_dir,
        control,
        log_addresses: common.log_addresses,
        log: seeing::read_log(top),
        metrics: seeing::read_metrics(top),
        ingress,
        spool,
        dns: read_dns(top),
        fetch,
        delivery,
        queue,
        outcome,
        policy,
        protect,
        keys: keys::read(top),
        named: Vec::new(),
    };
    top.finish();
    Some(config)
}

fn read_spool(top: &Section<'_, '_, '_>, common: &Common, message_size: u64) -> spool::Settings {
    let section = top.section("spool");
    let max_size = section.parsed("max_size", crate::types::units::parse_size);
    let settings = spool::Settings {
        folder: common.data_dir.join("spool"),
        master_key: read_master_key(&section)
            .unwrap_or_else(|| common.data_dir.join("keys/master").into()),
        max_size: max_size.unwrap_or(20 << 30),
        message_size,
    };
    if settings.max_size < settings.message_size.saturating_mul(4).max(256 << 20) {
        section.fault(
            section.line(),
            "spool.max_size is too small: it must be 256MiB or more, and 4 times limits.message_size",
        );
    }
    section.finish();
    settings
}

/// A path, or `credential:NAME`: a file in the folder that the service manager
/// names, `$CREDENTIALS_DIRECTORY`. Outside of the service, where that is not
/// set, it is the place where systemd keeps it while the service runs.
fn read_master_key(section: &Section<'_, '_, '_>) -> Option<spool::MasterKey> {
    let text = section.text("master_key")?;
    let Some(name) = text.value.strip_prefix("credential:") else {
        return section.path("master_key").map(spool::MasterKey::File);
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(fits) {
        section.fault(
            text.line,
            format_args!("spool.master_key: \"{name}\" is no name of a credential (letters, digits, dots, hyphens, underscores)"),
        );
        return None;
    }
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY")
        .unwrap_or_else(|| "/run/credentials/postern.service".into());
    let path = PathBuf::from(folder).join(name);
    Some(spool::MasterKey::Credential(path))
}

fn read_dns(top: &Section<'_, '_, '_>) -> dns::Settings {
    let section = top.section("dns");
    let servers = section.list("servers", |text| {
        let with_port = text.parse::<std::net::SocketAddr>();
        with_port.or_else(|_| text.parse().map(|ip| std::net::SocketAddr::new(ip, 53)))
    });
    section.parsed("dnssec", |text| match text {
        "off" => Ok(()),
        _ => Err("only \"off\" is built yet"),
    });
    section.finish();
    dns::Settings {
        servers: servers.unwrap_or_default(),
    }
}

/// How long the audit is kept.
fn read_audit(top: &Section<'_, '_, '_>) -> Duration {
    let section = top.section("audit");
    let keep = section.parsed("keep", |text| match parse_duration(text) {
        Ok(keep) if keep < DAY => Err("must be a day or more".to_owned()),
        other => other.map_err(|e| e.to_string()),
    });
    section.finish();
    keep.unwrap_or(400 * DAY)
}

/// A name fit for EHLO: RFC 5321 section 2.3.5 wants letters, digits and hyphens.
fn parse_hostname(text: &str) -> Result<Domain, String> {
    let domain = Domain::parse(text).map_err(|e| e.to_string())?;
    if domain.as_str().contains('_') {
        return Err("an underscore is not allowed in a host name".to_owned());
    }
    Ok(domain)
}

fn machine_name() -> Option<Domain> {
    let name = nix::unistd::gethostname().ok()?;
    parse_hostname(name.to_str()?).ok()
}

fn hash(text: &str) -> String {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    let octets = digest.as_ref().iter().take(8);
    octets.map(|octet| format!("{octet:02x}")).collect()
}

/// Joins words for a message: `a, b or c`.
fn or_list(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [head @ .., last] => format!("{} or {last}", head.join(", ")),
    }
}

/// One of a few words.
fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, impl fmt::Display + use<T>> {
    let found = words.iter().find(|(word, _)| *word == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!("must be {}", or_list(&known))
    })
}
