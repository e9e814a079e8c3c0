//! A Postfix, run from the folder into which tests/run has unpacked it.
//!
//! The caller gives the lines of `main.cf` that say what it does, and names the services of
//! `master.cf` that it needs besides those that every one needs. Its master runs directly, in the
//! foreground, as root; its queue, its log and what the caller lets it store are in its folder.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;

use super::server::{self, owned_folder};

const PACKAGE: &str = "postfix";
/// Debian's fixed user and group ids.
const MAIL: u32 = 8;
const LP: u32 = 7;

/// Runs the master in a session of its own, whose processes it ends with itself, and ends it when
/// told to. It can't be told by the kernel that its caller has gone (it changes its user, which
/// undoes PR_SET_PDEATHSIG), but the shell can.
const UNTIL_TERM: &str = "setsid \"$@\" & trap \"kill $!\" TERM; wait $!; wait $!";

/// A running Postfix with its folder; ended with all its children when dropped.
pub struct Postfix {
    folder: TempDir,
    master: Child,
}

impl Postfix {
    /// The version, as its package names it.
    pub fn version() -> String {
        let unpacked = server::unpacked(PACKAGE);
        let output = Command::new(unpacked.join("usr/sbin/postconf"))
            .args(["-d", "-h", "mail_version"])
            .env("LD_LIBRARY_PATH", unpacked.join("usr/lib/postfix"))
            .output();
        let output = output.unwrap_or_else(|e| {
            panic!(
                "{e}: {} is missing; run tests/run interop",
                unpacked.display()
            )
        });
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Starts one with these lines in its `main.cf` and these services besides smtpd and the
    /// inner ones, and waits until it listens. `all` as an address means every one.
    pub fn start(folder: TempDir, listens: SocketAddr, lines: &str, services: &[&str]) -> Postfix {
        let dir = folder.path();
        make_folders(dir);
        let main_cf_file = dir.join("etc/main.cf");
        std::fs::write(&main_cf_file, main_cf(dir) + lines).unwrap();
        // Postfix waits while somebody may still be writing it.
        let file = std::fs::File::options().append(true).open(main_cf_file);
        let long_ago = SystemTime::now() - Duration::from_secs(60);
        file.unwrap().set_modified(long_ago).unwrap();
        std::fs::write(dir.join("etc/master.cf"), master_cf(listens, services)).unwrap();
        let unpacked = server::unpacked(PACKAGE);
        let master = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "--", "sh", "-c", UNTIL_TERM, "sh"])
            .arg(unpacked.join("usr/lib/postfix/sbin/master"))
            .args(["-c", &dir.join("etc").to_string_lossy(), "-d"])
            .env("LD_LIBRARY_PATH", unpacked.join("usr/lib/postfix"))
            .env("MAIL_CONFIG", dir.join("etc"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let master = master.unwrap_or_else(|e| panic!("{e}: run tests/run interop, as root"));
        let mut postfix = Postfix { folder, master };
        postfix.wait_listening(listens);
        postfix
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// The first of its processes: all others descend from it.
    pub fn pid(&self) -> u32 {
        self.master.id()
    }

    /// The log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir().join("log")).unwrap_or_default()
    }

    fn wait_listening(&mut self, addr: SocketAddr) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while std::net::TcpStream::connect(addr).is_err() {
            let ended = self.master.try_wait().unwrap();
            let late = Instant::now() > deadline;
            assert!(
                ended.is_none() && !late,
                "Postfix did not come up ({ended:?}); it needs root\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
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

fn make_folders(dir: &Path) {
    for name in ["etc", "queue", "queue/pid"] {
        owned_folder(dir, name, (0, 0), 0o755);
    }
    for name in [
        "active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private",
        "saved", "trace",
    ] {
        owned_folder(dir, &format!("queue/{name}"), (MAIL, 0), 0o700);
    }
    owned_folder(dir, "queue/maildrop", (MAIL, LP), 0o1730);
    owned_folder(dir, "queue/public", (MAIL, LP), 0o710);
    owned_folder(dir, "data", (MAIL, 0), 0o700);
}

/// What every one needs.
fn main_cf(dir: &Path) -> String {
    let (d, unpacked) = (dir.display(), server::unpacked(PACKAGE));
    let u = unpacked.display();
    let libraries = format!("LD_LIBRARY_PATH={u}/usr/lib/postfix MAIL_CONFIG={d}/etc");
    format!(
        "compatibility_level = 3.6
queue_directory = {d}/queue
data_directory = {d}/data
command_directory = {u}/usr/sbin
daemon_directory = {u}/usr/lib/postfix/sbin
shlib_directory = {u}/usr/lib/postfix
meta_directory = {u}/etc/postfix
mail_owner = mail
setgid_group = lp
default_privs = nobody
mydestination =
inet_interfaces = all
inet_protocols = ipv4
smtpd_peername_lookup = no
maillog_file = {d}/log
maillog_file_prefixes = {d}
alias_maps =
alias_database =
import_environment = {libraries}
export_environment = {libraries}
"
    )
}

fn master_cf(listens: SocketAddr, services: &[&str]) -> String {
    let mut text = format!("{listens} inet n - n - - smtpd\n");
    for (name, wakeup, limit, program) in [
        ("cleanup", "-", "0", "cleanup"),
        ("qmgr", "300", "1", "qmgr"),
        ("rewrite", "-", "-", "trivial-rewrite"),
        ("bounce", "-", "0", "bounce"),
        ("defer", "-", "0", "bounce"),
        ("trace", "-", "0", "bounce"),
        ("proxymap", "-", "-", "proxymap"),
        ("error", "-", "-", "error"),
        ("retry", "-", "-", "error"),
        ("anvil", "-", "1", "anvil"),
        ("scache", "-", "1", "scache"),
        ("tlsmgr", "1000?", "1", "tlsmgr"),
    ] {
        let public = if matches!(name, "cleanup" | "qmgr") {
            "n"
        } else {
            "-"
        };
        let _ = writeln!(text, "{name} unix {public} - n {wakeup} {limit} {program}");
    }
    for name in services {
        // Only `virtual` writes as another user, and must therefore be privileged.
        let unprivileged = if *name == "virtual" { "n" } else { "-" };
        let limit = if *name == "tlsproxy" { "0" } else { "-" };
        let _ = writeln!(text, "{name} unix - {unprivileged} n - {limit} {name}");
    }
    text + "postlog unix-dgram n - n - 1 postlogd\n"
}
