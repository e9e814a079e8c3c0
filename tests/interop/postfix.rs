//! A Postfix that stores what it gets. Mail for its domains goes to maildirs; nothing goes out,
//! but from one that has a smarthost.

use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use postern_lab::mta::{postfix, server};
use postern_lab::{Ca, Identity, IdentityFiles};

/// Debian's fixed user and group id.
const NOBODY: u32 = 65_534;

/// A running Postfix with its folder; killed with all its children when dropped.
pub(crate) struct Postfix(postfix::Postfix);

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
        postfix::Postfix::version()
    }

    /// Starts one and waits until it listens.
    pub(crate) fn start(ca: &Ca, setup: &Setup) -> Postfix {
        Self::start_as(&ca.issue(&[setup.host]), setup)
    }

    /// Starts one with this certificate and waits until it listens.
    pub(crate) fn start_as(identity: &Identity, setup: &Setup) -> Postfix {
        let folder = server::folder("postfix-");
        server::subfolder(folder.path(), "mail", NOBODY, 0o700);
        let files = identity.write(folder.path(), "smtpd");
        let lines = main_cf(folder.path(), setup, &files);
        let services: &[&str] = match setup.smarthost {
            Some(_) => &["virtual", "smtp"],
            None => &["virtual"],
        };
        let listens = (setup.ip, setup.port).into();
        Postfix(postfix::Postfix::start(folder, listens, &lines, services))
    }

    /// The log so far.
    pub(crate) fn log(&self) -> String {
        self.0.log()
    }

    /// The folder below which it stores mail.
    pub(crate) fn mail(&self) -> PathBuf {
        self.0.dir().join("mail")
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
        let entries = std::fs::read_dir(self.0.dir().join("mail/inbox/new"));
        let entries = entries.into_iter().flatten().flatten();
        entries.map(|entry| entry.path())
    }
}

/// Whether the first 16 KiB of a file contain all these texts.
fn begins_with(file: &Path, texts: &[&str]) -> bool {
    let mut begin = Vec::new();
    let read = std::fs::File::open(file).and_then(|f| f.take(16 << 10).read_to_end(&mut begin));
    let contains = |text: &&str| memchr::memmem::find(&begin, text.as_bytes()).is_some();
    read.is_ok() && texts.iter().all(contains)
}

fn main_cf(dir: &Path, setup: &Setup, tls: &IdentityFiles) -> String {
    let Setup { host, domain, .. } = setup;
    let d = dir.display();
    let (certificate, key) = (tls.certificate.display(), tls.private_key.display());
    let restrictions = match setup.smarthost {
        Some(_) => "permit_mynetworks, reject",
        None => "reject_unauth_destination",
    };
    format!(
        "myhostname = {host}
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
{}
{}
",
        setup.tls,
        setup.smarthost.unwrap_or_default(),
        setup.lines
    )
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
