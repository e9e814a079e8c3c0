//! Exim as the benchmark runs it: from its unpacked Debian package, on a folder of its own.
//!
//! Its defaults, but for what would set it other limits than Postern has in the same case: as many
//! connections as the case has, each with as many messages as come, every one of them delivered at
//! once (by default Exim leaves those behind the tenth of a connection to a queue runner).

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use postern_lab::Ca;
use postern_lab::mta::exim::{Exim, main_section};
use postern_lab::mta::server;

use crate::cases::Case;
use crate::message;
use crate::round::Site;

/// Starts it, and waits until it listens.
pub(crate) fn start(ca: &Ca, case: &Case, listen: SocketAddr, sites: &[Site]) -> Exim {
    let folder = server::folder("exim-");
    let dir = folder.path();
    ca.issue(&[crate::stream::NAME]).write(dir, "smtpd");
    ca.write_pem(dir.join("roots.pem"));
    let mut routes = String::new();
    for (number, site) in sites.iter().enumerate() {
        let domain = message::domain(message::DOMAIN, number as u64);
        let _ = writeln!(routes, "{domain}: {}", site.ip());
    }
    std::fs::write(dir.join("routes"), routes).expect("the folder takes a file");
    let port = sites.first().map_or(25, SocketAddr::port);
    let config = config(dir, case, listen, port);
    Exim::start(folder, &config, listen)
}

fn config(dir: &Path, case: &Case, listen: SocketAddr, port: u16) -> String {
    format!(
        "{main}smtp_accept_max = {connections}
smtp_accept_max_per_connection = 0
smtp_accept_queue_per_connection = 0
smtp_connect_backlog = {connections}
tls_advertise_hosts = {tls_in}
tls_certificate = {d}/smtpd.pem
tls_privatekey = {d}/smtpd.key
acl_smtp_rcpt = rcpt
begin acl
rcpt:
  accept hosts = 127.0.0.0/8
begin routers
sites:
  driver = manualroute
  route_data = ${{lookup{{$domain}}lsearch{{{d}/routes}}}}
  self = send
  transport = out
begin transports
out:
  driver = smtp
  port = {port}
  hosts_require_tls = {tls_out}
  hosts_avoid_tls = {tls_not_out}
  tls_verify_certificates = {d}/roots.pem
begin retry
* * F,5d,5m
",
        main = main_section(dir, crate::stream::NAME, listen),
        connections = case.connections * 2 + 50,
        tls_in = if case.tls_in { "*" } else { "" },
        tls_out = if case.tls_out { "*" } else { "" },
        tls_not_out = if case.tls_out { "" } else { "*" },
        d = dir.display(),
    )
}
