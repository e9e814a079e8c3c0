//! Postern as the benchmark runs it: one listener, one way out, everything else as it comes.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use postern_lab::{Ca, Daemon};

use crate::cases::Case;
use crate::message;
use crate::round::Site;

/// Starts it, and waits until it is ready.
pub(crate) fn start(
    binary: &Path,
    ca: &Ca,
    case: &Case,
    listen: SocketAddr,
    sites: &[Site],
) -> Daemon {
    let mut daemon = Daemon::new(binary);
    let identity = ca
        .issue(&[crate::stream::NAME])
        .write(daemon.dir(), "relay");
    ca.write_pem(daemon.dir().join("roots.pem"));
    let mut text = format!(
        "hostname = \"{name}\"
data_dir = \"data\"

[log]
level = \"{level}\"

[tls]
certificate = \"{certificate}\"
private_key = \"{key}\"

[[listener]]
bind = \"{listen}\"
kind = \"relay\"
tls = \"{tls}\"
networks = [\"127.0.0.0/8\"]
sender_domains = [\"clinic.example\"]

[limits]
connections_per_client = 500

[delivery]
connections_per_site = {connections}

[trust]
roots = [\"roots.pem\"]

[security]
methods = [{methods}]
",
        name = crate::stream::NAME,
        level = "info",
        certificate = identity.certificate.display(),
        key = identity.private_key.display(),
        tls = if case.tls_in { "required" } else { "optional" },
        connections = case.connections,
        methods = if case.tls_out {
            "\"tls\""
        } else {
            "\"tls\", \"cleartext\""
        },
    );
    for (number, site) in sites.iter().enumerate() {
        let domain = message::domain(number as u64);
        let _ = write!(
            text,
            "\n[[route]]\ndomain = \"{domain}\"\nhosts = [\"{site}\"]\n"
        );
    }
    daemon.config(&text);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime can be built");
    runtime.block_on(daemon.start());
    daemon
}
