//! Postern for the receivers: relays for loopback, asks of each far side an authenticated host,
//! and of those below `loose.example` any certificate,
//! of those below `opportunistic.example` no more than it can get. Senders live at a scripted server.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use postern_lab::{Ca, Client, Daemon, DnsServer, SmtpServer, free_port, loopback};
use serde_json::Value;

pub(crate) const SENDER: &str = "dr@ward.example";
const LIMIT: Duration = Duration::from_secs(40);
const STEP: Duration = Duration::from_millis(200);

/// A running Postern with its DNS and its senders' server.
pub(crate) struct Gate {
    pub(crate) ca: Ca,
    daemon: Daemon,
    dns: DnsServer,
    home: SmtpServer,
    port: u16,
    relay: SocketAddr,
}

/// Where a receiver is to listen.
pub(crate) struct Place {
    pub(crate) domain: String,
    pub(crate) host: String,
    pub(crate) addr: SocketAddr,
}

impl Gate {
    pub(crate) async fn start() -> Gate {
        let (ca, port, relay) = (Ca::new(), free_port(), (loopback(), free_port()).into());
        let dns = DnsServer::start("127.0.0.1:0".parse().unwrap());
        let home = (loopback(), port).into();
        let identity = ca.issue(&["mx.ward.example"]);
        dns.mx("ward.example", 10, "mx.ward.example")
            .a("mx.ward.example", SocketAddr::ip(&home));
        let home = SmtpServer::builder(home).name("mx.ward.example");
        let mut gate = Gate {
            home: home.identity(identity).start(),
            daemon: Daemon::new(env!("CARGO_BIN_EXE_postern")),
            ca,
            dns,
            port,
            relay,
        };
        gate.ca.write_pem(gate.daemon.dir().join("ca.pem"));
        let identity = gate.ca.issue(&["relay.ward.example"]);
        identity.write(gate.daemon.dir(), "relay");
        let config = gate.config();
        gate.daemon.config(&config).start().await;
        gate
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
[[rule]]
name = "loose"
when = {{ recipient_domain = ".loose.example" }}
methods = ["tls", "bounce"]
tls_level = "encrypted"
[[rule]]
name = "opportunistic"
when = {{ recipient_domain = ".opportunistic.example" }}
methods = ["tls", "cleartext"]
"#,
            self.relay,
            self.dns.addr(),
            self.port
        )
    }

    /// A domain with an MX host on an address of its own.
    pub(crate) fn place(&self, domain: &str) -> Place {
        let (host, addr) = (format!("mx.{domain}"), loopback());
        self.dns.mx(domain, 10, &host).a(&host, addr);
        Place {
            domain: domain.to_owned(),
            host,
            addr: (addr, self.port).into(),
        }
    }

    /// Another domain behind the same host.
    pub(crate) fn also(&self, domain: &str, place: &Place) {
        self.dns.mx(domain, 10, &place.host);
    }

    /// Hands a message in and gives its queue id.
    pub(crate) async fn send(&self, to: &[&str], message: &[u8]) -> Result<String, String> {
        let sent = async {
            let mut client = Client::connect(self.relay).await?;
            client.greet("desk.ward.example").await?;
            let from = match message.is_ascii() {
                true => SENDER.to_owned(),
                false => format!("{SENDER} BODY=8BITMIME"),
            };
            let reply = client.submit(&from, to, message).await?;
            client.quit().await?;
            std::io::Result::Ok(reply.text())
        };
        let reply = sent.await.map_err(|e| format!("submission: {e}"))?;
        match reply.strip_prefix("2.0.0 Ok: queued as ") {
            Some(id) => Ok(id.to_owned()),
            None => Err(format!("submission: {reply}")),
        }
    }

    /// The audit of one recipient, once it is in this state; the last entry is the one of it.
    pub(crate) async fn wait_state(
        &self,
        id: &str,
        recipient: &str,
        state: &str,
    ) -> Result<Vec<Value>, String> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let mut all = self.of(recipient);
            all.retain(|entry| entry["id"] == id);
            if all.last().is_some_and(|last| last["state"] == state) {
                return Ok(all);
            }
            if Instant::now() > deadline {
                let log = self.daemon.log();
                return Err(format!("not {state}, but: {all:#?}\n{log}"));
            }
            tokio::time::sleep(STEP).await;
        }
    }

    /// Waits until a recipient has been put off so many times, and gives the last entry.
    pub(crate) async fn wait_tries(
        &self,
        id: &str,
        recipient: &str,
        tries: usize,
    ) -> Result<Value, String> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let mut all = self.of(recipient);
            all.retain(|entry| entry["id"] == id && entry["state"] == "queued");
            match all.pop() {
                Some(last) if all.len() + 1 >= tries => return Ok(last),
                _ if Instant::now() > deadline => return Err(format!("{tries} tries: {all:#?}")),
                _ => tokio::time::sleep(STEP).await,
            }
        }
    }

    /// The whole audit of a recipient.
    pub(crate) fn of(&self, recipient: &str) -> Vec<Value> {
        let text = self
            .daemon
            .run_ok(&["audit", "list", "--json", "--recipient", recipient]);
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Waits for the report on a recipient, and gives its `Status` and `Diagnostic-Code`.
    pub(crate) async fn report(&self, recipient: &str) -> Result<String, String> {
        let deadline = Instant::now() + LIMIT;
        let about = format!("Final-Recipient: rfc822; {recipient}");
        loop {
            let reports = self.home.messages();
            let texts = reports.iter().map(|report| report.text());
            if let Some(text) = texts.rev().find(|text| text.contains(&about)) {
                let fields = text.lines().skip_while(|line| !line.starts_with(&about));
                let fields = fields.take_while(|line| !line.is_empty());
                let wanted =
                    fields.filter(|line| line.starts_with("Status") || line.starts_with("Diag"));
                return Ok(wanted.collect::<Vec<_>>().join(", "));
            }
            if Instant::now() > deadline {
                return Err(format!("no report about {recipient}"));
            }
            tokio::time::sleep(STEP).await;
        }
    }
}
