//! Postfix as the benchmark runs it: from its unpacked Debian package, on a folder of its own.
//!
//! Its defaults, but for what would set it other limits than Postern has in the same case: as many
//! connections in and out as the case has, kept sessions to the sink, no look at who connects.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use postern_lab::Ca;

use crate::cases::Case;
use crate::message;
use crate::round::Site;

const UNPACKED: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/interop/.unpacked/postfix"
);
/// Debian's fixed user and group ids.
const MAIL: u32 = 8;
const LP: u32 = 7;

/// A running Postfix; ended with all its children when dropped.
pub(crate) struct Postfix {
    pub(crate) folder: tempfile::TempDir,
    master: Child,
}

impl Postfix {
    /// The version, as its package names it.
    pub(crate) fn version() -> String {
        let output = Command::new(format!("{UNPACKED}/usr/sbin/postconf"))
            .args(["-d", "-h", "mail_version"])
            .env("LD_LIBRARY_PATH", format!("{UNPACKED}/usr/lib/postfix"))
            .output();
        let output =
            output.unwrap_or_else(|e| panic!("{e}: {UNPACKED} is missing; run tests/run interop"));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Starts it, and waits until it listens.
    pub(crate) fn start(
        ca: &Ca,
        case: &Case,
        listen: SocketAddr,
        sites: &[Site],
        settings: &[String],
    ) -> Postfix {
        let folder = tempfile::Builder::new().prefix("postfix-").tempdir();
        let folder = folder.expect("a temporary folder can be made");
        let dir = folder.path();
        fill(dir, ca, case, listen, sites)
            .unwrap_or_else(|e| panic!("{}: {e}; Postfix needs root", dir.display()));
        append(&dir.join("etc/main.cf"), settings);
        let master = Command::new(format!("{UNPACKED}/usr/lib/postfix/sbin/master"))
            .args(["-c", &dir.join("etc").to_string_lossy(), "-d"])
            .env("LD_LIBRARY_PATH", format!("{UNPACKED}/usr/lib/postfix"))
            .env("MAIL_CONFIG", dir.join("etc"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let master = master.unwrap_or_else(|e| panic!("{e}: run tests/run interop, as root"));
        let postfix = Postfix { folder, master };
        let deadline = Instant::now() + Duration::from_secs(30);
        while std::net::TcpStream::connect(listen).is_err() {
            assert!(Instant::now() < deadline, "{}", postfix.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        postfix
    }

    pub(crate) fn pid(&self) -> u32 {
        self.master.id()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        // With SIGTERM the master ends its children too.
        let _ = Command::new("kill").arg(self.pid().to_string()).status();
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if matches!(self.master.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.master.kill();
        let _ = self.master.wait();
    }
}

/// The folders with their owners, and the configuration.
fn fill(
    dir: &Path,
    ca: &Ca,
    case: &Case,
    listen: SocketAddr,
    sites: &[Site],
) -> std::io::Result<()> {
    std::fs::set_permissions(dir, PermissionsExt::from_mode(0o755))?;
    let make = |path: &str, owner: u32, group: u32, mode: u32| {
        let path = dir.join(path);
        std::fs::create_dir_all(&path)?;
        chown(&path, Some(owner), Some(group))?;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode))
    };
    make("etc", 0, 0, 0o755)?;
    make("queue", 0, 0, 0o755)?;
    make("queue/pid", 0, 0, 0o755)?;
    for name in [
        "active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private",
        "saved", "trace",
    ] {
        make(&format!("queue/{name}"), MAIL, 0, 0o700)?;
    }
    make("queue/maildrop", MAIL, LP, 0o1730)?;
    make("queue/public", MAIL, LP, 0o710)?;
    make("data", MAIL, 0, 0o700)?;
    let mut transport = String::new();
    for (number, site) in sites.iter().enumerate() {
        let domain = message::domain(message::DOMAIN, number as u64);
        let _ = writeln!(transport, "{domain} smtp:[{}]:{}", site.ip(), site.port());
    }
    std::fs::write(dir.join("etc/transport"), transport)?;
    std::fs::write(dir.join("etc/main.cf"), main_cf(dir, ca, case))?;
    std::fs::write(dir.join("etc/master.cf"), master_cf(listen))
}

/// What comes last in main.cf counts.
fn append(main_cf: &Path, settings: &[String]) {
    let text = std::fs::read_to_string(main_cf).expect("main.cf was just written");
    let text = text + &settings.join("\n") + "\n";
    std::fs::write(main_cf, text).expect("main.cf can be written");
}

fn main_cf(dir: &Path, ca: &Ca, case: &Case) -> String {
    let d = dir.display();
    let libraries = format!("LD_LIBRARY_PATH={UNPACKED}/usr/lib/postfix MAIL_CONFIG={d}/etc");
    let identity = ca.issue(&[crate::stream::NAME]).write(dir, "smtpd");
    ca.write_pem(dir.join("roots.pem"));
    format!(
        "compatibility_level = 3.6
queue_directory = {d}/queue
data_directory = {d}/data
command_directory = {UNPACKED}/usr/sbin
daemon_directory = {UNPACKED}/usr/lib/postfix/sbin
shlib_directory = {UNPACKED}/usr/lib/postfix
meta_directory = {UNPACKED}/etc/postfix
mail_owner = mail
setgid_group = lp
default_privs = nobody
myhostname = {name}
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = all
inet_protocols = ipv4
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_relay_restrictions = permit_mynetworks, reject
maillog_file = {d}/log
maillog_file_prefixes = {d}
default_process_limit = {processes}
default_destination_concurrency_limit = {connections}
initial_destination_concurrency = {connections}
transport_maps = texthash:{d}/etc/transport
smtp_connection_cache_destinations = static:all
smtp_connection_cache_on_demand = yes
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_tls_security_level = {tls_in}
smtp_tls_security_level = {tls_out}
smtp_tls_CAfile = {d}/roots.pem
alias_maps =
alias_database =
import_environment = {libraries}
export_environment = {libraries}
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

fn master_cf(listen: SocketAddr) -> String {
    let mut text = format!("{listen} inet n - n - - smtpd\n");
    for (name, wakeup, limit, program) in [
        ("cleanup", "-", "0", "cleanup"),
        ("qmgr", "300", "1", "qmgr"),
        ("rewrite", "-", "-", "trivial-rewrite"),
        ("bounce", "-", "0", "bounce"),
        ("defer", "-", "0", "bounce"),
        ("trace", "-", "0", "bounce"),
        ("proxymap", "-", "-", "proxymap"),
        ("smtp", "-", "-", "smtp"),
        ("error", "-", "-", "error"),
        ("retry", "-", "-", "error"),
        ("discard", "-", "-", "discard"),
        ("anvil", "-", "1", "anvil"),
        ("scache", "-", "1", "scache"),
        ("tlsmgr", "1000?", "1", "tlsmgr"),
        ("tlsproxy", "-", "-", "tlsproxy"),
    ] {
        let public = if matches!(name, "cleanup" | "qmgr") {
            "n"
        } else {
            "-"
        };
        let limit = if name == "tlsproxy" { "0" } else { limit };
        let _ = writeln!(text, "{name} unix {public} - n {wakeup} {limit} {program}");
    }
    text + "postlog unix-dgram n - n - 1 postlogd\n"
}
