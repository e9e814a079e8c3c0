//! Postern with Postfixes around it.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use postern_lab::{Ca, Daemon, DnsServer, free_port, loopback};

use crate::bodies::Body;
use crate::postfix::{Postfix, Setup};

pub(crate) const SENDER: &str = "dr@ward.example";
pub(crate) const TO: &str = "p@clinic.example";
pub(crate) const USER: &str = "ward";
pub(crate) const PASSWORD: &str = "correct-horse-battery";
/// Long enough for a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Postern, and a Postfix that takes mail for clinic.example, ward.example and
/// other.example.
pub(crate) struct House {
    pub(crate) daemon: Daemon,
    pub(crate) postfix: Postfix,
    pub(crate) dns: DnsServer,
    pub(crate) ca: Ca,
    pub(crate) port: u16,
    pub(crate) submission: SocketAddr,
    pub(crate) submissions: SocketAddr,
    /// A relay listener for the whole of loopback, where TLS is optional.
    pub(crate) relay: SocketAddr,
}

impl House {
    pub(crate) async fn start() -> House {
        House::with(loopback(), "").await
    }

    /// One whose Postern is at this address and has further tables in its configuration.
    pub(crate) async fn with(own: IpAddr, tables: &str) -> House {
        let (ca, port, dns) = (
            Ca::new(),
            free_port(),
            DnsServer::start("127.0.0.1:0".parse().unwrap()),
        );
        let far = loopback();
        for domain in ["clinic.example", "ward.example", "other.example"] {
            dns.mx(domain, 10, "mx.clinic.example");
        }
        dns.a("mx.clinic.example", far);
        let setup = Setup {
            host: "mx.clinic.example",
            ip: far,
            port,
            domain: "clinic.example, ward.example, other.example",
            tls: "may",
            smarthost: None,
            lines: "",
        };
        let mut house = House {
            postfix: Postfix::start(&ca, &setup),
            daemon: Daemon::new(env!("CARGO_BIN_EXE_postern")),
            submission: (own, free_port()).into(),
            submissions: (own, free_port()).into(),
            relay: (own, free_port()).into(),
            dns,
            ca,
            port,
        };
        house.ca.write_pem(house.roots());
        // The address is also the common name: s-nail doesn't look for one anywhere else.
        let identity = house
            .ca
            .issue(&[&own.to_string(), "relay.ward.example", "localhost"]);
        identity.write(house.daemon.dir(), "relay");
        let config = house.config() + tables;
        house.daemon.config(&config).start().await;
        house.add_account(USER, &["@ward.example"]);
        house
    }

    /// Adds an account, with the one password.
    pub(crate) fn add_account(&self, name: &str, senders: &[&str]) {
        let mut add = vec!["account", "add", name, "--password-stdin"];
        add.extend(senders.iter().flat_map(|sender| ["--sender", sender]));
        let output = self.daemon.run_with_stdin(&add, format!("{PASSWORD}\n"));
        assert!(output.status.success(), "{output:?}");
    }

    /// The file with the authority's root.
    pub(crate) fn roots(&self) -> std::path::PathBuf {
        self.daemon.dir().join("ca.pem")
    }

    fn config(&self) -> String {
        format!(
            r#"hostname = "relay.ward.example"
data_dir = "data"
[tls]
certificate = "relay.pem"
private_key = "relay.key"
[[listener]]
bind = "{}"
kind = "submission"
[[listener]]
bind = "{}"
kind = "submissions"
[[listener]]
bind = "{}"
kind = "relay"
networks = ["127.0.0.0/8"]
sender_domains = ["ward.example"]
[dns]
servers = ["{}"]
[network]
blocked = []
[delivery]
port = {}
retry = ["1s"]
prefer = "ipv4-only"
[trust]
roots = ["ca.pem"]
[security]
tls_level = "authenticated"
"#,
            self.submission,
            self.submissions,
            self.relay,
            self.dns.addr(),
            self.port
        )
    }

    /// Waits for the message with this id in the maildir, and compares its body octet for octet.
    pub(crate) fn arrives(&self, body: &Body, id: &str) -> Result<String, String> {
        let message = self
            .postfix
            .wait_message(&format!("\nX-Lab-Id: {id}\n"), LIMIT)?;
        arrived(&message, body)
    }

    /// What the log of Postfix has to say: only TLS 1.3, and no transaction without it.
    pub(crate) fn only_tls_1_3(&self) -> Result<String, String> {
        let log = self.postfix.log();
        let handshakes = log
            .lines()
            .filter(|l| l.contains("TLS connection established"));
        let (good, bad): (Vec<_>, Vec<_>) =
            handshakes.partition(|l| l.contains("TLSv1.3 with cipher TLS_AES_256_GCM_SHA384"));
        let ends = log
            .lines()
            .filter(|l| l.contains(": disconnect from ") && l.contains(" mail="));
        let clear: Vec<_> = ends.filter(|l| !l.contains(" starttls=1 ")).collect();
        match bad.is_empty() && clear.is_empty() && !good.is_empty() {
            true => Ok(format!("{} connections, each TLSv1.3", good.len())),
            false => Err(format!("{bad:?} {clear:?}\n{log}")),
        }
    }

    /// Waits until Postern's queue is empty.
    pub(crate) async fn settled(&self) {
        let deadline = Instant::now() + LIMIT;
        while self.daemon.run_ok(&["queue", "list", "--json"]).trim() != "[]" {
            assert!(Instant::now() < deadline, "{}", self.daemon.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// What can be said of a message with this body, as it lies in the maildir.
pub(crate) fn arrived(message: &[u8], body: &Body) -> Result<String, String> {
    let end = memchr::memmem::find(message, b"\n\n").ok_or("no end of the header")?;
    let (head, got) = (
        String::from_utf8_lossy(&message[..end]),
        &message[end + 2..],
    );
    let expected = body.in_maildir();
    if got != expected {
        let at = got
            .iter()
            .zip(&expected)
            .take_while(|(a, b)| a == b)
            .count();
        return Err(format!(
            "{} octets arrived for {}, the first other one is {at}",
            got.len(),
            expected.len()
        ));
    }
    // smtpd_tls_received_header.
    match head.contains("using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384") {
        true => Ok(format!("octet for octet, {} octets, TLSv1.3", got.len())),
        false => Err(format!("Postfix says no TLS 1.3:\n{head}")),
    }
}
