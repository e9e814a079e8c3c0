//! OpenSMTPD as the benchmark runs it: from its unpacked Debian package, on a folder of its own.
//!
//! Its defaults, but for what would set it other limits than Postern has in the same case: as many
//! connections to a site as the case has, and as many messages in a connection as come.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use postern_lab::Ca;
use postern_lab::mta::opensmtpd::{Build, OpenSmtpd};
use postern_lab::mta::server;

use crate::cases::Case;
use crate::message;
use crate::round::Site;

/// Why it can't do a case, if it can't.
pub(crate) fn cannot(case: &Case) -> Option<&'static str> {
    case.tls_in
        .then_some("fails at each handshake as a server, as Debian builds it")
}

/// Starts it, and waits until it listens.
pub(crate) fn start(ca: &Ca, case: &Case, listen: SocketAddr, sites: &[Site]) -> OpenSmtpd {
    let folder = server::folder("opensmtpd-");
    let dir = folder.path();
    let files = ca.issue(&[crate::stream::NAME]).write(dir, "smtpd");
    let private = std::fs::set_permissions(files.private_key, PermissionsExt::from_mode(0o600));
    private.expect("the key's mode can be set");
    ca.write_pem(dir.join("ca.pem"));
    let config = config(case, listen, sites);
    OpenSmtpd::start(folder, Build::Shipped, &config, listen)
}

fn config(case: &Case, listen: SocketAddr, sites: &[Site]) -> String {
    let (ip, port) = (listen.ip(), listen.port());
    let mut text = format!(
        "smtp limit max-mails 1000000000
mta limit max-conn-per-host {n}
mta limit max-conn-per-route {n}
mta limit max-conn-per-source {all}
mta limit max-conn-per-connector {all}
mta limit max-conn-per-relay {n}
listen on {ip} port {port} hostname {name}
",
        n = case.connections,
        all = case.connections.max(200),
        name = crate::stream::NAME,
    );
    // The sink's certificate has not the name of an address; Postfix does not look either.
    let (how, verify) = match case.tls_out {
        true => ("smtp+tls", "tls no-verify"),
        false => ("smtp+notls", ""),
    };
    for (number, site) in sites.iter().enumerate() {
        let domain = message::domain(message::DOMAIN, number as u64);
        let _ = writeln!(
            text,
            "action \"to-{number}\" relay host \"{how}://{site}\" {verify}\n\
             match from any for domain \"{domain}\" action \"to-{number}\""
        );
    }
    text
}
