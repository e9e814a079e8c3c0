//! Postern as the benchmark runs it: one listener, one way out, everything else as it comes.

use std::net::SocketAddr;
use std::path::Path;

use postern_lab::{Ca, Daemon};

use crate::cases::Case;
use crate::message;
use crate::round::Site;

/// What its configuration says besides what is always the same.
pub(crate) struct Setting<'a> {
    pub(crate) listen: SocketAddr,
    pub(crate) tls_in: bool,
    pub(crate) methods: &'a str,
    /// Lines of `[delivery]`.
    pub(crate) delivery: String,
    /// Further sections.
    pub(crate) rest: String,
}

/// Writes its configuration into a folder of its own.
pub(crate) fn set_up(binary: &Path, ca: &Ca, setting: &Setting<'_>) -> Daemon {
    let mut daemon = Daemon::new(binary);
    let identity = ca
        .issue(&[crate::stream::NAME])
        .write(daemon.dir(), "relay");
    ca.write_pem(daemon.dir().join("roots.pem"));
    daemon.config(&format!(
        "hostname = \"{name}\"
data_dir = \"data\"

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
{delivery}

[trust]
roots = [\"roots.pem\"]

[security]
methods = [{methods}]
{rest}",
        name = crate::stream::NAME,
        certificate = identity.certificate.display(),
        key = identity.private_key.display(),
        listen = setting.listen,
        tls = if setting.tls_in {
            "required"
        } else {
            "optional"
        },
        delivery = setting.delivery,
        methods = setting.methods,
        rest = setting.rest,
    ));
    daemon
}

/// A route to a site.
pub(crate) fn route(domain: &str, site: Site) -> String {
    format!("\n[[route]]\ndomain = \"{domain}\"\nhosts = [\"{site}\"]\n")
}

/// Starts it for a case, and waits until it is ready.
pub(crate) fn start(
    binary: &Path,
    ca: &Ca,
    case: &Case,
    listen: SocketAddr,
    sites: &[Site],
) -> Daemon {
    let mut routes = String::new();
    for (number, site) in sites.iter().enumerate() {
        let domain = message::domain(message::DOMAIN, number as u64);
        routes += &route(&domain, *site);
    }
    let setting = Setting {
        listen,
        tls_in: case.tls_in,
        methods: if case.tls_out {
            "\"tls\""
        } else {
            "\"tls\", \"cleartext\""
        },
        delivery: format!("connections_per_site = {}", case.connections),
        rest: routes,
    };
    let mut daemon = set_up(binary, ca, &setting);
    start_again(&mut daemon);
    daemon
}

/// Starts a daemon that does not run, and waits until it is ready.
pub(crate) fn start_again(daemon: &mut Daemon) {
    runtime().block_on(daemon.start());
}

/// Stops a daemon in good order.
pub(crate) fn stop(daemon: &mut Daemon) {
    let status = runtime().block_on(daemon.terminate());
    assert!(status.success(), "the daemon ended with {status}");
}

fn runtime() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime can be built")
}
