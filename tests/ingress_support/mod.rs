//! A served ingress over loopback, and clients for it.

// Each test file uses its own part of this.
#![allow(dead_code, unused_imports)]
// Test code, though clippy knows only #[test] functions as such.
#![allow(clippy::unwrap_used, clippy::panic)]

mod log;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use postern::ingress::{
    Ingress, Limits, Listener, ListenerKind, Ports, Settings, Sockets, TlsFiles, accounts,
};
use postern::spool::{Filter, FreshReceiver, MemoryStore, Store};
use postern::sys::{Dialler, Stream, SystemClock, SystemEntropy, TcpDialler};
use postern::types::Domain;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

pub(crate) use log::Log;

/// The listeners of every [`Server`], in this order.
pub(crate) const SUBMISSION: usize = 0;
pub(crate) const SUBMISSIONS: usize = 1;
pub(crate) const RELAY: usize = 2;

/// `AUTH PLAIN` of scanner with "secret".
pub(crate) const LOGIN: &str = "AUTH PLAIN AHNjYW5uZXIAc2VjcmV0";

/// A little CA.
pub(crate) struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "A little CA");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its own certificate.
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// Certificate and key for a name, as PEM.
    pub(crate) fn issue(&self, name: &str, usage: Option<rcgen::ExtendedKeyUsagePurpose>) -> Pair {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages.extend(usage);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Pair { certificate, key }
    }
}

pub(crate) struct Pair {
    pub(crate) certificate: rcgen::Certificate,
    pub(crate) key: KeyPair,
}

pub(crate) struct Server {
    pub(crate) ingress: Option<Ingress>,
    pub(crate) store: MemoryStore,
    /// Kept open, as the queue would.
    _fresh: FreshReceiver,
    pub(crate) settings: Settings,
    pub(crate) ca: Ca,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) shutdown: watch::Sender<bool>,
    pub(crate) addresses: Vec<std::net::SocketAddr>,
    sockets: Option<Sockets>,
}

fn listener(kind: ListenerKind) -> Listener {
    let relay = kind == ListenerKind::Relay;
    Listener {
        bind: format!("127.0.0.1:{kind:?}"),
        address: "127.0.0.1:0".parse().unwrap(),
        kind,
        tls_required: !relay,
        networks: if relay {
            vec!["127.0.0.0/8".parse().unwrap()]
        } else {
            vec![]
        },
        certificates: vec![],
        require_both: false,
        client_roots: vec![],
        sender_domains: vec![Domain::parse("clinic.example").unwrap()],
        refuse_without_tls: false,
    }
}

impl Server {
    pub(crate) async fn start(change: impl FnOnce(&mut Settings)) -> Self {
        let mut server = Self::bound(change);
        server.serve();
        server
    }

    /// Bound, not serving yet.
    pub(crate) fn bound(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = Ca::new();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("ca.pem"), ca.0.pem()).unwrap();
        write_pair(
            &ca.issue("relay.example", None),
            path("cert.pem"),
            path("key.pem"),
        );
        let senders = ["@clinic.example".to_owned()];
        let entropy = SystemEntropy::default();
        accounts::add(
            &path("accounts.toml"),
            "scanner",
            "secret",
            &senders,
            &entropy,
        )
        .unwrap();
        let mut settings = Settings {
            hostname: Domain::parse("relay.example").unwrap(),
            postmaster: None,
            listeners: [
                ListenerKind::Submission,
                ListenerKind::Submissions,
                ListenerKind::Relay,
            ]
            .map(listener)
            .into(),
            tls: Some(TlsFiles {
                certificate: path("cert.pem"),
                private_key: path("key.pem"),
            }),
            self_signed_folder: path("tls"),
            accounts: path("accounts.toml"),
            limits: Limits::default(),
            wanted: postern::types::Wanted::default(),
            log_addresses: false,
        };
        settings.listeners[RELAY].client_roots = vec![path("ca.pem")];
        change(&mut settings);
        let sockets = Sockets::bind(&settings.listeners, Vec::new()).unwrap();
        let (store, fresh) =
            MemoryStore::new(Arc::new(SystemClock), Arc::new(SystemEntropy::default()));
        Self {
            addresses: sockets.local_addresses(),
            ingress: None,
            store,
            _fresh: fresh,
            settings,
            ca,
            folder,
            shutdown: watch::channel(false).0,
            sockets: Some(sockets),
        }
    }

    pub(crate) fn serve(&mut self) {
        let ports = Ports {
            store: Arc::new(self.store.clone()),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy::default()),
            foresight: Arc::new(postern::types::NoForesight),
        };
        let sockets = self.sockets.take().unwrap();
        let asked = self.shutdown.subscribe();
        self.ingress = Some(Ingress::serve(sockets, &self.settings, ports, asked).unwrap());
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Connects, without waiting for anything.
    pub(crate) async fn dial(&self, listener: usize) -> Client {
        let stream = TcpDialler
            .dial(self.addresses[listener], None)
            .await
            .unwrap();
        Client::over(stream)
    }

    /// Connects and reads the greeting.
    pub(crate) async fn connect(&self, listener: usize) -> Client {
        let mut client = self.dial(listener).await;
        if listener == SUBMISSIONS {
            client = client.shake_hands(&self.ca, None).await;
        }
        assert!(client.reply().await.starts_with("220 relay.example "));
        client
    }

    /// Connects to the submission listener and logs in.
    pub(crate) async fn logged_in(&self) -> Client {
        let mut client = self.connect(SUBMISSION).await;
        client.expect("EHLO me", "250").await;
        client.expect("STARTTLS", "220").await;
        let mut client = client.shake_hands(&self.ca, None).await;
        client.expect("EHLO me", "250").await;
        client.expect(LOGIN, "235").await;
        client
    }

    /// The messages in the store: recipients and octets.
    pub(crate) async fn messages(&self) -> Vec<(Vec<String>, Vec<u8>)> {
        let stored = self
            .store
            .list(&Filter::default(), None, 100)
            .await
            .unwrap();
        let mut messages = Vec::new();
        for stored in stored {
            let mut octets = Vec::new();
            let mut reader = stored.body.open();
            while let Some(piece) = reader.next().await.unwrap() {
                octets.extend_from_slice(&piece);
            }
            let recipients = &stored.message.envelope.recipients;
            messages.push((recipients.iter().map(ToString::to_string).collect(), octets));
        }
        messages
    }
}

pub(crate) fn write_pair(pair: &Pair, certificate: PathBuf, key: PathBuf) {
    std::fs::write(certificate, pair.certificate.pem()).unwrap();
    std::fs::write(key, pair.key.serialize_pem()).unwrap();
}

pub(crate) struct Client {
    stream: Box<dyn Stream>,
    seen: Vec<u8>,
}

impl Client {
    fn over(stream: Box<dyn Stream>) -> Self {
        Self {
            stream,
            seen: Vec::new(),
        }
    }

    /// Becomes a TLS client that trusts the CA and may present a certificate.
    pub(crate) async fn shake_hands(self, ca: &Ca, own: Option<&Pair>) -> Self {
        assert!(self.seen.is_empty());
        let mut roots = RootCertStore::empty();
        roots.add(ca.0.der().clone()).unwrap();
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let key = PrivatePkcs8KeyDer::from(pair.key.serialize_der());
                let chain: Vec<CertificateDer<'static>> = vec![pair.certificate.der().clone()];
                builder
                    .with_client_auth_cert(chain, PrivateKeyDer::Pkcs8(key))
                    .unwrap()
            }
        };
        let name = ServerName::try_from("relay.example").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        Self::over(Box::new(
            connector.connect(name, self.stream).await.unwrap(),
        ))
    }

    pub(crate) async fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.stream.write_all(octets.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Sends a command and gives the reply to it.
    pub(crate) async fn say(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n")).await;
        self.reply().await
    }

    pub(crate) async fn expect(&mut self, line: &str, start: &str) {
        let reply = self.say(line).await;
        assert!(reply.starts_with(start), "{line}: {reply}");
    }

    /// Sends commands up to and with DATA.
    pub(crate) async fn envelope(&mut self) {
        self.expect("MAIL FROM:<a@clinic.example>", "250").await;
        self.expect("RCPT TO:<b@x.example>", "250").await;
        self.expect("DATA", "354").await;
    }

    /// The next reply with all its lines; empty at the end of the connection.
    pub(crate) async fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let Some(line) = self.line().await else {
                return reply;
            };
            reply.push_str(&line);
            if line.as_bytes().get(3) == Some(&b' ') {
                return reply;
            }
        }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.seen.iter().position(|b| *b == b'\n') {
                let line = self.seen.drain(..=at).collect();
                return Some(String::from_utf8(line).unwrap());
            }
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece).await {
                Ok(0) | Err(_) => return None,
                Ok(n) => self.seen.extend_from_slice(&piece[..n]),
            }
        }
    }

    pub(crate) async fn is_closed(&mut self) -> bool {
        self.reply().await.is_empty()
    }
}

/// Waits until something is so; fails after a while (of tokio's time).
pub(crate) async fn eventually(mut what: impl AsyncFnMut() -> bool) {
    for _ in 0..2000 {
        if what().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never came to be");
}
