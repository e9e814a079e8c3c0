//! Postfix as the benchmark runs it: from its unpacked Debian package, on a folder of its own.
//!
//! Its defaults, but for what would set it other limits than Postern has in the same case: as many
//! connections in and out as the case has, kept sessions to the sink, no look at who connects.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use postern_lab::Ca;
use postern_lab::mta::postfix::Postfix;
use postern_lab::mta::server;

use crate::cases::Case;
use crate::message;
use crate::round::Site;

/// Starts it with more lines in its main.cf, and waits until it listens.
pub(crate) fn start(
    ca: &Ca,
    case: &Case,
    listen: SocketAddr,
    sites: &[Site],
    settings: &[String],
) -> Postfix {
    let folder = server::folder("postfix-");
    let mut transport = String::new();
    for (number, site) in sites.iter().enumerate() {
        let domain = message::domain(message::DOMAIN, number as u64);
        let _ = writeln!(transport, "{domain} smtp:[{}]:{}", site.ip(), site.port());
    }
    let table = std::fs::write(folder.path().join("transport"), transport);
    table.expect("the folder takes a file");
    // What comes last in main.cf counts.
    let lines = main_cf(folder.path(), ca, case) + &settings.join("\n") + "\n";
    Postfix::start(folder, listen, &lines, &["smtp", "discard", "tlsproxy"])
}

fn main_cf(dir: &Path, ca: &Ca, case: &Case) -> String {
    let d = dir.display();
    let identity = ca.issue(&[crate::stream::NAME]).write(dir, "smtpd");
    ca.write_pem(dir.join("roots.pem"));
    format!(
        "myhostname = {name}
mynetworks = 127.0.0.0/8
smtpd_client_connection_count_limit = 0
smtpd_relay_restrictions = permit_mynetworks, reject
default_process_limit = {processes}
default_destination_concurrency_limit = {connections}
initial_destination_concurrency = {connections}
transport_maps = texthash:{d}/transport
smtp_connection_cache_destinations = static:all
smtp_connection_cache_on_demand = yes
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_tls_security_level = {tls_in}
smtp_tls_security_level = {tls_out}
smtp_tls_CAfile = {d}/roots.pem
",
        name = crate::stream::NAME,
        processes = case.connections.max(100) + 50,
        connections = case.connections,
        certificate = identity.certificate.display(),
        key = identity.private_key.display(),
        tls_in = if case.tls_in { "encrypt" } else { "none" },
        tls_out = if case.tls_out { "encrypt" } else { "none" },
    )
}
