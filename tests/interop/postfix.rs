//! A Postfix, run from the folder into which tests/run has unpacked it.
//!
//! Debian's mail servers exclude one another as packages, so it is not installed: its master runs
//! directly, in the foreground, on a temporary folder, as root. Mail for its domains goes to
//! maildirs; nothing goes out, but from one that has a smarthost.

use std::io::Read as _;
use std::net::IpAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use postern_lab::{Ca, Identity, IdentityFiles};

const UNPACKED: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/interop/.unpacked/postfix"
);
/// Debian's fixed user and group ids.
const MAIL: u32 = 8;
const LP: u32 = 7;
const NOBODY: u32 = 65_534;

/// Runs the master in a session of its own, whose processes it ends with itself, and ends it when
/// told to. It can't be told by the kernel that the test has gone (it changes its user, which
/// undoes PR_SET_PDEATHSIG), but the shell can.
const UNTIL_TERM: &str = "setsid \"$@\" & trap \"kill $!\" TERM; wait $!; wait $!";

/// A running Postfix with its folder; killed with all its children when dropped.
pub(crate) struct Postfix {
    folder: tempfile::TempDir,
    master: Child,
}

/// What is to be run.
pub(crate) struct Setup<'a> {
    pub(crate) host: &'a str,
    pub(crate) ip: IpAddr,
    pub(crate) port: u16,
    pub(crate) domain: &'a str,
    /// `smtpd_tls_security_level`: may, encrypt or none.
    pub(crate) tls: &'a str,
    /// For one that sends what it gets to a smarthost: lines of its `main.cf`.
    pub(crate) smarthost: Option<&'a str>,
    /// More lines of its `main.cf`; the last word on a setting counts.
    pub(crate) lines: &'a str,
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

    /// Starts one and waits until it listens.
    pub(crate) fn start(ca: &Ca, setup: &Setup) -> Postfix {
        Self::start_as(&ca.issue(&[setup.host]), setup)
    }

    /// Starts one with this certificate and waits until it listens.
    pub(crate) fn start_as(identity: &Identity, setup: &Setup) -> Postfix {
        let folder = tempfile::Builder::new()
            .prefix("postfix-")
            .tempdir()
            .unwrap();
        let dir = folder.path();
        std::fs::set_permissions(dir, PermissionsExt::from_mode(0o755)).unwrap();
        make_folders(dir);
        let files = identity.write(dir, "smtpd");
        let main_cf_file = dir.join("etc/main.cf");
        std::fs::write(&main_cf_file, main_cf(dir, setup, &files)).unwrap();
        // Postfix waits while somebody may still be writing it.
        let file = std::fs::File::options().append(true).open(main_cf_file);
        let long_ago = SystemTime::now() - Duration::from_secs(60);
        file.unwrap().set_modified(long_ago).unwrap();
        std::fs::write(dir.join("etc/master.cf"), master_cf(setup)).unwrap();
        let master = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "--", "sh", "-c", UNTIL_TERM, "sh"])
            .arg(format!("{UNPACKED}/usr/lib/postfix/sbin/master"))
            .args(["-c", &dir.join("etc").to_string_lossy(), "-d"])
            .env("LD_LIBRARY_PATH", format!("{UNPACKED}/usr/lib/postfix"))
            .env("MAIL_CONFIG", dir.join("etc"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let master = master.unwrap_or_else(|e| panic!("{e}: run tests/run interop, as root"));
        let mut postfix = Postfix { folder, master };
        postfix.wait_listening(setup);
        postfix
    }

    /// The log so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The folder below which it stores mail.
    pub(crate) fn mail(&self) -> PathBuf {
        self.folder.path().join("mail")
    }

    /// Waits for a message in the maildir that contains the text, and gives it.
    pub(crate) fn wait_message(&self, text: &str, limit: Duration) -> Result<Vec<u8>, String> {
        self.wait_message_with(&[text], limit)
    }

    /// Waits for one that contains all these texts, near its beginning.
    pub(crate) fn wait_message_with(
        &self,
        texts: &[&str],
        limit: Duration,
    ) -> Result<Vec<u8>, String> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(file) = self.maildir().find(|file| begins_with(file, texts)) {
                return std::fs::read(file).map_err(|e| e.to_string());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(format!(
            "no message with {texts:?} in {limit:?}; the log of Postfix:\n{}",
            self.log()
        ))
    }

    /// What is in the maildir.
    pub(crate) fn messages(&self) -> Vec<Vec<u8>> {
        self.maildir()
            .filter_map(|file| std::fs::read(file).ok())
            .collect()
    }

    fn maildir(&self) -> impl Iterator<Item = PathBuf> {
        let entries = std::fs::read_dir(self.folder.path().join("mail/inbox/new"));
        let entries = entries.into_iter().flatten().flatten();
        entries.map(|entry| entry.path())
    }

    fn wait_listening(&mut self, setup: &Setup) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while std::net::TcpStream::connect((setup.ip, setup.port)).is_err() {
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
        let _ = Command::new("kill")
            .arg(self.master.id().to_string())
            .status();
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

/// Whether the first 16 KiB of a file contain all these texts.
fn begins_with(file: &Path, texts: &[&str]) -> bool {
    let mut begin = Vec::new();
    let read = std::fs::File::open(file).and_then(|f| f.take(16 << 10).read_to_end(&mut begin));
    let contains = |text: &&str| memchr::memmem::find(&begin, text.as_bytes()).is_some();
    read.is_ok() && texts.iter().all(contains)
}

fn make_folders(dir: &Path) {
    let make = |path: &str, owner: u32, group: u32, mode: u32| -> PathBuf {
        let path = dir.join(path);
        std::fs::create_dir_all(&path).unwrap();
        chown(&path, Some(owner), Some(group))
            .unwrap_or_else(|e| panic!("{e}: Postfix needs root"));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        path
    };
    make("etc", 0, 0, 0o755);
    make("queue", 0, 0, 0o755);
    make("queue/pid", 0, 0, 0o755);
    for name in [
        "active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private",
        "saved", "trace",
    ] {
        make(&format!("queue/{name}"), MAIL, 0, 0o700);
    }
    make("queue/maildrop", MAIL, LP, 0o1730);
    make("queue/public", MAIL, LP, 0o710);
    make("data", MAIL, 0, 0o700);
    make("mail", NOBODY, NOBODY, 0o700);
}

fn main_cf(dir: &Path, setup: &Setup, tls: &IdentityFiles) -> String {
    let Setup { host, domain, .. } = setup;
    let d = dir.display();
    let libraries = format!("LD_LIBRARY_PATH={UNPACKED}/usr/lib/postfix MAIL_CONFIG={d}/etc");
    let (certificate, key) = (tls.certificate.display(), tls.private_key.display());
    let restrictions = match setup.smarthost {
        Some(_) => "permit_mynetworks, reject",
        None => "reject_unauth_destination",
    };
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
myhostname = {host}
mydestination =
inet_interfaces = all
inet_protocols = ipv4
smtpd_peername_lookup = no
maillog_file = {d}/log
maillog_file_prefixes = {d}
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {d}/mail
virtual_mailbox_maps = static:inbox/
virtual_uid_maps = static:{NOBODY}
virtual_gid_maps = static:{NOBODY}
virtual_mailbox_limit = 0
mailbox_size_limit = 0
message_size_limit = 60000000
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_tls_security_level = {}
smtpd_tls_loglevel = 1
smtpd_tls_received_header = yes
smtpd_relay_restrictions = {restrictions}
alias_maps =
alias_database =
import_environment = {libraries}
export_environment = {libraries}
{}
{}",
        setup.tls,
        setup.smarthost.unwrap_or_default(),
        setup.lines
    )
}

fn master_cf(setup: &Setup) -> String {
    let mut text = format!("{}:{} inet n - n - - smtpd\n", setup.ip, setup.port);
    for (name, wakeup, limit, program) in [
        ("cleanup", "-", "0", "cleanup"),
        ("qmgr", "300", "1", "qmgr"),
        ("rewrite", "-", "-", "trivial-rewrite"),
        ("bounce", "-", "0", "bounce"),
        ("defer", "-", "0", "bounce"),
        ("trace", "-", "0", "bounce"),
        ("proxymap", "-", "-", "proxymap"),
        ("virtual", "-", "-", "virtual"),
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
        // Only `virtual` writes as another user, and must therefore be privileged.
        let unprivileged = if name == "virtual" { "n" } else { "-" };
        text += &format!("{name} unix {public} {unprivileged} n {wakeup} {limit} {program}\n");
    }
    if setup.smarthost.is_some() {
        text += "smtp unix - - n - - smtp\n";
    }
    text + "postlog unix-dgram n - n - 1 postlogd\n"
}

/// The runner itself, without Postern: what goes in lies in the maildir.
#[tokio::test]
async fn the_runner_works() {
    let (ca, ip, port) = (Ca::new(), postern_lab::loopback(), postern_lab::free_port());
    let setup = Setup {
        host: "mx.own.example",
        ip,
        port,
        domain: "own.example",
        tls: "may",
        smarthost: None,
        lines: "",
    };
    let postfix = Postfix::start(&ca, &setup);
    let mut client = postern_lab::Client::connect((ip, port).into())
        .await
        .unwrap();
    client.greet("test.example").await.unwrap();
    client
        .starttls(&postern_lab::ClientTls::trusting(&ca), "mx.own.example")
        .await
        .unwrap();
    client.line("EHLO test.example").await.unwrap();
    let reply = client
        .submit(
            "a@x.example",
            &["b@own.example"],
            "X-Lab-Id: 7\r\n\r\nhi\r\n",
        )
        .await
        .unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
    client.quit().await.unwrap();
    let message = postfix
        .wait_message("\nX-Lab-Id: 7\n", Duration::from_secs(20))
        .unwrap();
    assert!(message.ends_with(b"\n\nhi\n"));
    assert!(postfix.log().contains("TLSv1.3"), "{}", postfix.log());
}
