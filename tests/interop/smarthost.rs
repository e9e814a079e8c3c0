//! Mail servers that hand their mail to Postern, their smarthost, in each of the ways that
//! `docs/smarthost.md` shows, with the lines that stand there.

use std::net::{IpAddr, SocketAddr};

use postern_lab::{Client, IdentityFiles, free_port, loopback};

use crate::bodies::{self, Body};
use crate::house::{House, LIMIT, PASSWORD, SENDER, TO, arrived};
use crate::page;
use crate::postfix::{Postfix, Setup};
use crate::table::Table;

/// The name of the server that hands over.
const NAME: &str = "mta.ward.example";
/// Another recipient than `TO`, in the same envelope.
const ALSO: &str = "q@clinic.example";

/// A mail server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mta {
    Postfix,
}

impl Mta {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Mta::Postfix => "postfix",
        }
    }

    pub(crate) fn version(self) -> String {
        match self {
            Mta::Postfix => Postfix::version(),
        }
    }
}

/// A mail server that runs; ended when dropped.
pub(crate) enum Running {
    Postfix(Postfix),
}

impl Running {
    /// The log so far.
    pub(crate) fn log(&self) -> String {
        match self {
            Running::Postfix(postfix) => postfix.log(),
        }
    }

    /// How many connections to the relay it has verified; the error is the log, if one was not.
    fn verified(&self) -> Result<String, String> {
        let log = self.log();
        let (one, any) = match self {
            Running::Postfix(_) => (
                "Verified TLS connection established",
                "TLS connection established",
            ),
        };
        match log.matches(one).count() {
            n if n > 0 && n == log.matches(any).count() => Ok(format!("in {n} connections")),
            _ => Err(log),
        }
    }
}

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
    const ALL: [Way; 5] = [
        Way::Submission,
        Way::Submissions,
        Way::Network,
        Way::Certificate,
        Way::Both,
    ];

    fn label(self) -> &'static str {
        match self {
            Way::Submission => "STARTTLS + AUTH",
            Way::Submissions => "implicit TLS + AUTH",
            Way::Network => "relay by network",
            Way::Certificate => "relay by certificate",
            Way::Both => "relay by both",
        }
    }

    /// What the trace field says of it (RFC 3848).
    fn protocol(self) -> &'static str {
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
    client: IdentityFiles,
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
        let identity = house.ca.issue_client(NAME);
        Site {
            client: identity.write(house.daemon.dir(), "mta"),
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

    /// A block of the page with this site's addresses, ports and paths.
    pub(crate) fn block(&self, name: &str, way: Way) -> String {
        let at = self.listener(way);
        let path = |path: &std::path::Path| path.display().to_string();
        let mut replacements = vec![
            ("PASSWORD", PASSWORD.to_owned()),
            (
                "/etc/ssl/certs/ca-certificates.crt",
                path(&self.house.roots()),
            ),
            ("/etc/postfix/sasl_passwd", path(&self.passwords())),
            ("/etc/postfix/mta.pem", path(&self.client.certificate)),
            ("/etc/postfix/mta.key", path(&self.client.private_key)),
        ];
        let port = match way {
            Way::Submission => "587",
            Way::Submissions => "465",
            Way::Network | Way::Certificate | Way::Both => "25",
        };
        let bracketed = format!("[relay.clinic.example]:{port}");
        replacements.push((&bracketed, format!("[{}]:{}", at.ip(), at.port())));
        let plain = format!("relay.clinic.example:{port}");
        replacements.push((&plain, at.to_string()));
        page::block(name, &replacements)
    }

    fn passwords(&self) -> std::path::PathBuf {
        self.house.daemon.dir().join("passwords")
    }

    /// A server that hands over to the listener of a way, with what the page says of this way or
    /// of another one.
    pub(crate) fn run(&self, mta: Mta, to: Way, by: Way) -> Running {
        let name = format!("{} {}", mta.name(), by.block());
        let page = self.block(&name, to);
        match mta {
            Mta::Postfix => Running::Postfix(self.postfix(&page, to)),
        }
    }

    /// The relay is no name that Postfix could look up, and Postfix knows no certificates for
    /// addresses; and nobody wants to wait minutes for a retry.
    fn postfix(&self, page: &str, to: Way) -> Postfix {
        let passwords = self.block("postfix sasl_passwd", to);
        std::fs::write(self.passwords(), passwords).unwrap();
        let ip = self.mta.ip();
        let lines = format!(
            "{page}
smtp_tls_secure_cert_match = relay.ward.example
smtp_tls_loglevel = 1
smtp_bind_address = {ip}
mynetworks = 127.0.0.0/8
minimal_backoff_time = 1s
maximal_backoff_time = 1s
queue_run_delay = 1s
"
        );
        let setup = Setup {
            host: NAME,
            ip,
            port: self.mta.port(),
            domain: "",
            tls: "none",
            smarthost: Some(&lines),
        };
        Postfix::start(&self.house.ca, &setup)
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

/// All bodies, each way.
async fn each_way(mta: Mta) {
    let (site, mut table) = (Site::start("").await, Table::default());
    site.add_account();
    let (name, version) = (mta.name(), mta.version());
    for way in Way::ALL {
        let running = site.run(mta, way, way);
        for (case, result) in site.all_bodies(name, way).await {
            table.row(name, &version, &case, result);
        }
        let case = format!("{}: it verifies the relay", way.label());
        table.row(name, &version, &case, running.verified());
    }
    table.judge();
}

#[tokio::test]
async fn postfix() {
    each_way(Mta::Postfix).await;
}

impl Site {
    /// Sends all bodies, then looks at each where it arrives.
    async fn all_bodies(&self, mta: &str, way: Way) -> Vec<(String, Result<String, String>)> {
        let bodies = match way {
            Way::Submission => bodies::all(),
            _ => bodies::small(),
        };
        let id = |n: usize| format!("{mta}-{}-{n}", way.label()).replace([' ', '+'], "");
        for (n, body) in bodies.iter().enumerate() {
            let message = body.message(SENDER, TO, &id(n));
            self.inject(SENDER, &[TO, ALSO], &message).await;
        }
        let look = |(n, body): (usize, &Body)| {
            let case = format!("{}: {}", way.label(), body.name);
            (case, self.arrives(way, body, &id(n)))
        };
        bodies.iter().enumerate().map(look).collect()
    }

    /// Body, envelope, and how Postern says it came in, for each recipient.
    fn arrives(&self, way: Way, body: &Body, id: &str) -> Result<String, String> {
        let id = format!("\nX-Lab-Id: {id}\n");
        let mut result = Err("no recipient".to_owned());
        for to in [TO, ALSO] {
            let to = format!("\nDelivered-To: {to}\n");
            let message = self.house.postfix.wait_message_with(&[&id, &to], LIMIT)?;
            let head = String::from_utf8_lossy(&message[..message.len().min(4096)]);
            if !head.starts_with(&format!("Return-Path: <{SENDER}>\n")) {
                return Err(format!("another envelope sender:\n{head}"));
            }
            let words: Vec<&str> = head.split_whitespace().collect();
            let by = format!("by relay.ward.example with {} id", way.protocol());
            if !words.join(" ").contains(&by) {
                return Err(format!("not {by:?}:\n{head}"));
            }
            result = arrived(&message, body);
            result.as_ref().map_err(Clone::clone)?;
        }
        result
    }
}
