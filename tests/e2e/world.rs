//! A daemon with a world around it: DNS, an authority, the sender's own mail server, an MX host
//! that anybody would be glad of, an account to submit with.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use postern_lab::{
    Ca, Client, ClientTls, Daemon, DnsServer, Reply, SmtpBuilder, SmtpServer, free_port, loopback,
};
use serde_json::Value;

/// How long things may take that should take a moment; the machine may be busy.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// Between two looks at what nothing announces.
const STEP: Duration = Duration::from_millis(50);
/// The account that [`World::start`] adds, and its password.
pub(crate) const ACCOUNT: &str = "ward";
pub(crate) const PASSWORD: &str = "correct horse battery staple";
/// The sender of most messages; its domain's reports arrive at [`World::home`].
pub(crate) const SENDER: &str = "dr@ward.example";
/// The relay's name, in its certificate too.
pub(crate) const RELAY: &str = "relay.ward.example";

/// What a test wants to be different.
pub(crate) struct Plan {
    /// `retry` as TOML.
    pub(crate) retry: &'static str,
    pub(crate) expire: &'static str,
    pub(crate) delay_notice: &'static str,
    /// Further lines of `[delivery]`.
    pub(crate) delivery: &'static str,
    /// Lines of `[security]`.
    pub(crate) security: &'static str,
    /// Top-level keys, dotted ones too (`limits.recipients = 100`).
    pub(crate) top: String,
    /// Whole tables: rules, routes, listeners.
    pub(crate) tables: String,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            retry: r#"["1s"]"#,
            expire: "1h",
            delay_notice: "1h",
            delivery: "",
            security: "",
            top: String::new(),
            tables: String::new(),
        }
    }
}

pub(crate) struct World {
    pub(crate) daemon: Daemon,
    pub(crate) dns: DnsServer,
    /// Trusted by the daemon; issued its certificate too.
    pub(crate) ca: Ca,
    /// The port of all MX hosts.
    pub(crate) port: u16,
    /// The port of all HTTPS servers.
    pub(crate) https: u16,
    /// The MX host of ward.example, where senders are.
    pub(crate) home: SmtpServer,
    /// The MX host of clinic.example.
    pub(crate) far: SmtpServer,
    pub(crate) submission: SocketAddr,
    pub(crate) submissions: SocketAddr,
    /// A relay listener for 127.0.0.1 alone, where TLS is optional.
    pub(crate) relay: SocketAddr,
}

impl World {
    /// Everything but a running daemon.
    pub(crate) fn new(plan: &Plan) -> World {
        World::with_binary(plan, env!("CARGO_BIN_EXE_postern"))
    }

    pub(crate) fn with_binary(plan: &Plan, binary: &str) -> World {
        let (ca, port) = (Ca::new(), free_port());
        let dns = DnsServer::start("127.0.0.1:0".parse().unwrap());
        let own = loopback();
        let mut world = World {
            daemon: Daemon::new(binary),
            home: mx(&dns, &ca, port, "ward.example", |b| b),
            far: mx(&dns, &ca, port, "clinic.example", |b| b),
            submission: (own, free_port()).into(),
            submissions: (own, free_port()).into(),
            relay: (own, free_port()).into(),
            dns,
            ca,
            port,
            https: free_port(),
        };
        world.ca.write_pem(world.daemon.dir().join("ca.pem"));
        let identity = world.ca.issue(&[RELAY, &own.to_string()]);
        identity.write(world.daemon.dir(), "relay");
        let text = world.config(plan);
        world.daemon.config(&text);
        world
    }

    /// Starts the daemon and then, while it runs, adds the account.
    pub(crate) async fn start(plan: &Plan) -> World {
        let mut world = World::new(plan);
        world.daemon.start().await;
        world.add_account(ACCOUNT, "@ward.example");
        world
    }

    pub(crate) fn add_account(&self, name: &str, sender: &str) {
        let add = [
            "account",
            "add",
            name,
            "--password-stdin",
            "--sender",
            sender,
        ];
        let output = self.daemon.run_with_stdin(&add, format!("{PASSWORD}\n"));
        assert!(output.status.success(), "{output:?}");
        assert!(!String::from_utf8_lossy(&output.stdout).contains(PASSWORD));
    }

    /// The configuration for a plan; tests that change it write it anew.
    pub(crate) fn config(&self, plan: &Plan) -> String {
        let Plan {
            retry,
            expire,
            delay_notice,
            delivery,
            security,
            top,
            tables,
        } = plan;
        let (dns, port, https) = (self.dns.addr(), self.port, self.https);
        let (submission, submissions, relay) = (self.submission, self.submissions, self.relay);
        format!(
            r#"hostname = "{RELAY}"
data_dir = "data"
{top}
[tls]
certificate = "relay.pem"
private_key = "relay.key"
[[listener]]
bind = "{submission}"
kind = "submission"
[[listener]]
bind = "{submissions}"
kind = "submissions"
[[listener]]
bind = "{relay}"
kind = "relay"
networks = ["127.0.0.1/32"]
sender_domains = ["ward.example"]
[dns]
servers = ["{dns}"]
[network]
blocked = []
https_port = {https}
https_roots = ["ca.pem"]
[delivery]
port = {port}
retry = {retry}
expire = "{expire}"
delay_notice = "{delay_notice}"
prefer = "ipv4-only"
{delivery}
[trust]
roots = ["ca.pem"]
[security]
{security}
{tables}
"#
        )
    }

    /// Another domain with an MX host of its own, modern but for what is turned.
    pub(crate) fn mx(
        &self,
        domain: &str,
        turn: impl FnOnce(SmtpBuilder) -> SmtpBuilder,
    ) -> SmtpServer {
        mx(&self.dns, &self.ca, self.port, domain, turn)
    }

    pub(crate) fn client_tls(&self) -> ClientTls {
        ClientTls::trusting(&self.ca)
    }

    /// A client that has done STARTTLS and AUTH.
    pub(crate) async fn client(&self) -> Client {
        let mut client = self.starttls(self.submission, &self.client_tls()).await;
        let reply = client.auth_plain(ACCOUNT, PASSWORD).await.unwrap();
        assert_eq!(reply.code, 235, "{reply:?}");
        client
    }

    /// A client that has done STARTTLS and said EHLO again.
    pub(crate) async fn starttls(&self, addr: SocketAddr, tls: &ClientTls) -> Client {
        let mut client = Client::connect(addr).await.unwrap();
        client.greet("desk.ward.example").await.unwrap();
        client.starttls(tls, RELAY).await.unwrap();
        client.line("EHLO desk.ward.example").await.unwrap();
        client
    }

    /// Submits over STARTTLS and AUTH and gives the queue id.
    pub(crate) async fn send(&self, to: &[&str], data: impl AsRef<[u8]>) -> String {
        let mut client = self.client().await;
        let reply = client.submit(SENDER, to, data).await.unwrap();
        client.quit().await.unwrap();
        queue_id(&reply)
    }

    /// A subcommand's JSON.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let text = self.daemon.run_ok(args);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{args:?}: {e}\n{text}"))
    }

    /// `queue list --json`.
    pub(crate) fn queue(&self) -> Vec<Value> {
        self.json(&["queue", "list", "--json"])
            .as_array()
            .unwrap()
            .clone()
    }

    /// Waits until nothing is open.
    pub(crate) async fn wait_empty_queue(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        while !self.queue().is_empty() {
            let late = Instant::now() > deadline;
            assert!(
                !late,
                "after {limit:?} still open: {:#?}\n{}",
                self.queue(),
                self.daemon.log()
            );
            tokio::time::sleep(STEP).await;
        }
    }

    /// Waits for an entry of the audit that a recipient came into this state, and gives the last
    /// one. `queued` is meant as a deferral, with its reason, not as the acceptance.
    pub(crate) async fn wait_audit(&self, id: &str, recipient: &str, state: &str) -> Value {
        let mut found = None;
        let fits = |e: &&Value| {
            let deferral = state != "queued" || e["reason"].is_string();
            e["id"] == id && e["recipient"] == recipient && e["state"] == state && deferral
        };
        wait(SOON, &format!("{recipient} {state} in the audit"), || {
            let all = self.json(&["audit", "list", "--json"]);
            found = all.as_array().unwrap().iter().rfind(fits).cloned();
            found.is_some()
        })
        .await;
        found.unwrap()
    }
}

/// Waits for a condition that nothing announces; panics when the time is up.
pub(crate) async fn wait(limit: Duration, what: &str, mut there: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !there() {
        assert!(
            Instant::now() < deadline,
            "waited {limit:?} for {what} in vain"
        );
        tokio::time::sleep(STEP).await;
    }
}

/// The id in `250 2.0.0 Ok: queued as ID`; panics at any other reply.
pub(crate) fn queue_id(reply: &Reply) -> String {
    assert_eq!(reply.code, 250, "{reply:?}");
    let text = reply.text();
    let id = text.strip_prefix("2.0.0 Ok: queued as ");
    id.unwrap_or_else(|| panic!("no queue id in {text:?}"))
        .to_owned()
}

/// A message with the headers that a simple client writes.
pub(crate) fn letter(to: &str, subject: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let head = format!("From: {SENDER}\r\nTo: {to}\r\nSubject: {subject}\r\n\r\n");
    [head.as_bytes(), body.as_ref()].concat()
}

fn mx(
    dns: &DnsServer,
    ca: &Ca,
    port: u16,
    domain: &str,
    turn: impl FnOnce(SmtpBuilder) -> SmtpBuilder,
) -> SmtpServer {
    let (host, ip) = (format!("mx.{domain}"), loopback());
    dns.mx(domain, 10, &host).a(&host, ip);
    let builder = SmtpServer::builder((ip, port).into());
    turn(builder.name(&host).identity(ca.issue(&[&host]))).start()
}
