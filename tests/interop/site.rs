//! Postern, and a mail server that hands its mail over to it, set up with the lines that
//! `docs/smarthost.md` has for its way in.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use postern_lab::{Client, Identity, free_port, loopback};
use tempfile::TempDir;

use crate::exim::{self, Exim};
use crate::house::{House, LIMIT, PASSWORD};
use crate::opensmtpd::{Build, OpenSmtpd};
use crate::page;
use crate::postfix::{Postfix, Setup};
use crate::server;
use crate::table::Table;

/// The name of the server that hands over.
const NAME: &str = "mta.ward.example";

/// A mail server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mta {
    Postfix,
    Exim,
    OpenSmtpd(Build),
}

impl Mta {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mta::Postfix => "postfix",
            Mta::Exim => "exim",
            Mta::OpenSmtpd(_) => "opensmtpd",
        }
    }

    pub(crate) fn version(self) -> String {
        match self {
            Mta::Postfix => Postfix::version(),
            Mta::Exim => Exim::version(),
            Mta::OpenSmtpd(Build::Shipped) => OpenSmtpd::version(),
            Mta::OpenSmtpd(_) => OpenSmtpd::version() + " mended",
        }
    }

    /// Whether this machine lets it run; if not, the table says why.
    pub(crate) fn may_run(self) -> bool {
        let reason = match self {
            Mta::Postfix => None,
            Mta::Exim | Mta::OpenSmtpd(_) => server::may_unshare(),
        };
        if let Some(why) = &reason {
            Table::not_run(self.name(), &self.version(), why);
        }
        reason.is_none()
    }
}

/// A mail server that runs; ended when dropped.
pub(crate) enum Running {
    Postfix((Postfix, TempDir)),
    Exim(Exim),
    OpenSmtpd(OpenSmtpd),
}

impl Running {
    /// The log so far.
    pub(crate) fn log(&self) -> String {
        match self {
            Running::Postfix((postfix, _)) => postfix.log(),
            Running::Exim(exim) => exim.log(),
            Running::OpenSmtpd(smtpd) => smtpd.log(),
        }
    }

    /// Waits until the log says this.
    pub(crate) async fn logs(&self, text: &str) -> Result<String, String> {
        let deadline = Instant::now() + LIMIT;
        while !self.log().contains(text) {
            if Instant::now() > deadline {
                return Err(format!("the log doesn't say {text:?}:\n{}", self.log()));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(format!("its log says {text:?}"))
    }

    /// How often it says that it has verified the relay; the error is the log, if it says once
    /// that it has not.
    pub(crate) fn verified(&self) -> Result<String, String> {
        let log = self.log();
        let (any, good) = match self {
            Running::Postfix(_) => ("TLS connection established to", ": Verified TLS "),
            Running::Exim(_) => (" R=smarthost ", " CV=yes "),
            Running::OpenSmtpd(_) => (" mta server-cert-check ", "\"success\""),
        };
        let lines: Vec<_> = log.lines().filter(|line| line.contains(any)).collect();
        match !lines.is_empty() && lines.iter().all(|line| line.contains(good)) {
            true => Ok(format!("{} lines of its log say so", lines.len())),
            false => Err(log),
        }
    }
}

/// Where Debian has all roots.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// How a server comes in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Submission,
    Submissions,
    Network,
    Certificate,
    Both,
}

impl Way {
    pub(crate) const ALL: [Way; 5] = [
        Way::Submission,
        Way::Submissions,
        Way::Network,
        Way::Certificate,
        Way::Both,
    ];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Way::Submission => "STARTTLS + AUTH",
            Way::Submissions => "implicit TLS + AUTH",
            Way::Network => "relay by network",
            Way::Certificate => "relay by certificate",
            Way::Both => "relay by both",
        }
    }

    /// What the trace field says of it (RFC 3848).
    pub(crate) fn protocol(self) -> &'static str {
        match self {
            Way::Submission | Way::Submissions => "ESMTPSA",
            Way::Network | Way::Certificate | Way::Both => "ESMTPS",
        }
    }

    /// The block of the page that a server needs for it.
    fn block(self) -> &'static str {
        match self {
            Way::Submission => "submission",
            Way::Submissions => "submissions",
            Way::Network => "network",
            Way::Certificate | Way::Both => "certificate",
        }
    }
}

/// Postern with the page's listeners, and a place for a server that hands over to it.
pub(crate) struct Site {
    pub(crate) house: House,
    /// Where the server is.
    pub(crate) mta: SocketAddr,
    own: IpAddr,
    ports: [u16; 5],
    client: Identity,
}

impl Site {
    /// With further tables in Postern's configuration.
    pub(crate) async fn start(tables: &str) -> Site {
        let (own, mta) = (loopback(), SocketAddr::from((loopback(), free_port())));
        let ports: [u16; 5] = std::array::from_fn(|_| free_port());
        let listener = |(name, port)| {
            let replacements = [
                ("[::]:587", format!("{own}:{}", ports[0])),
                ("[::]:465", format!("{own}:{}", ports[1])),
                ("192.0.2.10:25", format!("{own}:{port}")),
                ("192.0.2.20", mta.ip().to_string()),
                ("clients.pem", "ca.pem".to_owned()),
            ];
            page::block(name, &replacements)
        };
        let names = ["accounts", "network", "certificate", "both"];
        let listeners: String = names.into_iter().zip(&ports[1..]).map(listener).collect();
        let house = House::with(own, &(listeners + tables)).await;
        Site {
            client: house.ca.rsa(2048).issue_client(NAME),
            house,
            mta,
            own,
            ports,
        }
    }

    /// The account of the page.
    pub(crate) fn add_account(&self) {
        let senders = ["@ward.example", "@mta.ward.example"];
        self.house.add_account("mta", &senders);
    }

    /// The address of the listener for a way.
    pub(crate) fn listener(&self, way: Way) -> SocketAddr {
        (self.own, self.ports[way as usize]).into()
    }

    /// A block of the page with this site's addresses and ports, and with paths in a folder.
    fn block(&self, name: &str, way: Way, dir: &Path) -> String {
        let (at, dir) = (self.listener(way), dir.display());
        let port = match way {
            Way::Submission => 587,
            Way::Submissions => 465,
            Way::Network | Way::Certificate | Way::Both => 25,
        };
        let (relay, its) = ("relay.clinic.example", at.port());
        page::block(
            name,
            &[
                ("PASSWORD", PASSWORD.to_owned()),
                (CERTIFICATES, format!("{dir}/ca.pem")),
                ("/etc/postfix/", format!("{dir}/")),
                ("/etc/exim4/", format!("{dir}/")),
                ("/etc/smtpd/", format!("{dir}/")),
                ("/etc/smtpd.secrets", format!("{dir}/smtpd.secrets")),
                (&format!("[{relay}]:{port}"), format!("[{}]:{its}", at.ip())),
                (&format!("{relay}:{port}"), format!("{relay}:{its}")),
                (&format!("port = {port}"), format!("port = {its}")),
            ],
        )
    }

    /// What a server needs in its folder: the authority, its own certificate, and where the relay
    /// is.
    fn write_files(&self, dir: &Path) {
        self.house.ca.write_pem(dir.join("ca.pem"));
        self.client.write(dir, "mta");
        let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        let hosts = format!(
            "127.0.0.1 localhost\n{} relay.ward.example\n{} {NAME} {own}\n",
            self.own,
            self.mta.ip()
        );
        std::fs::write(dir.join("hosts"), hosts).unwrap();
    }

    /// A server that hands over to the listener of a way, with what the page says of this way or
    /// of another one.
    pub(crate) fn run(&self, mta: Mta, to: Way, by: Way) -> Running {
        let folder = server::folder(mta.name());
        self.write_files(folder.path());
        match mta {
            Mta::Postfix => Running::Postfix(self.postfix(folder, to, by)),
            Mta::Exim => Running::Exim(self.exim(folder, to, by)),
            Mta::OpenSmtpd(build) => Running::OpenSmtpd(self.opensmtpd(folder, build, to, by)),
        }
    }

    /// The relay is no name that Postfix could look up, and Postfix knows no certificates for
    /// addresses; and nobody wants to wait minutes for a retry.
    fn postfix(&self, folder: TempDir, to: Way, by: Way) -> (Postfix, TempDir) {
        let block = |name: &str| self.block(&format!("postfix {name}"), to, folder.path());
        std::fs::write(folder.path().join("sasl_passwd"), block("sasl_passwd")).unwrap();
        let lines = format!(
            "{}
smtp_tls_secure_cert_match = relay.ward.example
smtp_tls_loglevel = 1
smtp_bind_address = {}
mynetworks = 127.0.0.0/8
minimal_backoff_time = 1s
maximal_backoff_time = 1s
queue_run_delay = 1s
",
            block(by.block()),
            self.mta.ip()
        );
        let setup = Setup {
            host: NAME,
            ip: self.mta.ip(),
            port: self.mta.port(),
            domain: "",
            tls: "none",
            smarthost: Some(&lines),
            lines: "",
        };
        (Postfix::start(&self.house.ca, &setup), folder)
    }

    fn exim(&self, folder: TempDir, to: Way, by: Way) -> Exim {
        let block = |name: &str| self.block(&format!("exim {name}"), to, folder.path());
        let config = format!(
            "{}domainlist local_domains =
acl_smtp_rcpt = accept
begin routers
{}
begin transports
{}  interface = {}
begin retry
* * F,1h,1s
begin authenticators
{}",
            exim::main_section(folder.path(), NAME, self.mta),
            block("router"),
            block(by.block()),
            self.mta.ip(),
            block("authenticator"),
        );
        Exim::start(folder, &config, self.mta)
    }

    fn opensmtpd(&self, folder: TempDir, build: Build, to: Way, by: Way) -> OpenSmtpd {
        let dir = folder.path();
        let block = |name: &str| self.block(&format!("opensmtpd {name}"), to, dir);
        std::fs::write(dir.join("smtpd.secrets"), block("secrets")).unwrap();
        let page = block(by.block()).replace("\nmatch", &format!(" src {}\nmatch", self.mta.ip()));
        let config = format!(
            "listen on {} port {}\n{page}",
            self.mta.ip(),
            self.mta.port()
        );
        OpenSmtpd::start(folder, build, &config, self.mta)
    }

    /// Gives the server a message to send.
    pub(crate) async fn inject(&self, from: &str, to: &[&str], message: &[u8]) {
        let mut client = Client::connect(self.mta).await.unwrap();
        client.greet("desk.ward.example").await.unwrap();
        let reply = client.submit(from, to, message).await.unwrap();
        assert_eq!(reply.code, 250, "{reply:?}");
        client.quit().await.unwrap();
    }
}
