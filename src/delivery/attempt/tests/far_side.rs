//! An in-memory far side: hosts that answer as scripted, and a network of them.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio_rustls::TlsAcceptor;

use crate::sys::{Dialler, Stream};
use crate::types::BoxFuture;

/// A host. Replies may be scripted by verb (`BANNER`, `EHLO`, ..., `DOT`,
/// `SHAKE`); `CLOSE` ends the connection, `STALL` says nothing for ever, `SLOW`
/// says the usual after a minute.
#[derive(Clone)]
pub(super) struct FarSide(Arc<Inner>);

struct Inner {
    tls: Option<Arc<ServerConfig>>,
    keywords: Vec<String>,
    script: Mutex<HashMap<String, VecDeque<String>>>,
    heard: Mutex<Vec<String>>,
    bodies: Mutex<Vec<Vec<u8>>>,
    connections: AtomicUsize,
}

impl FarSide {
    pub(super) fn new(tls: Option<ServerConfig>) -> Self {
        Self::offering(tls, &["PIPELINING", "SIZE 100000000", "8BITMIME"])
    }

    pub(super) fn offering(tls: Option<ServerConfig>, keywords: &[&str]) -> Self {
        Self(Arc::new(Inner {
            tls: tls.map(Arc::new),
            keywords: keywords.iter().map(|k| (*k).to_owned()).collect(),
            script: Mutex::default(),
            heard: Mutex::default(),
            bodies: Mutex::default(),
            connections: AtomicUsize::new(0),
        }))
    }

    /// The next replies to `verb`; the usual one after them.
    pub(super) fn says(self, verb: &str, replies: &[&str]) -> Self {
        let replies = replies.iter().map(|reply| (*reply).to_owned());
        self.0
            .script
            .lock()
            .unwrap()
            .entry(verb.to_owned())
            .or_default()
            .extend(replies);
        self
    }

    /// All command lines so far, and `+TLS` for each handshake.
    pub(super) fn heard(&self) -> Vec<String> {
        self.0.heard.lock().unwrap().clone()
    }

    pub(super) fn heard_any(&self, verb: &str) -> bool {
        self.heard().iter().any(|line| line.starts_with(verb))
    }

    pub(super) fn count(&self, verb: &str) -> usize {
        let heard = self.heard();
        heard.iter().filter(|line| line.starts_with(verb)).count()
    }

    pub(super) fn bodies(&self) -> Vec<Vec<u8>> {
        self.0.bodies.lock().unwrap().clone()
    }

    pub(super) fn connections(&self) -> usize {
        self.0.connections.load(Ordering::SeqCst)
    }

    fn hear(&self, line: &str) {
        self.0.heard.lock().unwrap().push(line.to_owned());
    }

    fn reply(&self, verb: &str, usual: &str) -> String {
        let mut script = self.0.script.lock().unwrap();
        let scripted = script.get_mut(verb).and_then(VecDeque::pop_front);
        scripted.unwrap_or_else(|| usual.to_owned())
    }

    fn ehlo(&self, secured: bool) -> String {
        let mut text = String::from("250-mx\r\n");
        for keyword in &self.0.keywords {
            text.push_str(&format!("250-{keyword}\r\n"));
        }
        if self.0.tls.is_some() && !secured {
            text.push_str("250-STARTTLS\r\n");
        }
        text + "250 ENHANCEDSTATUSCODES"
    }

    async fn serve(self, stream: Box<dyn Stream>) -> io::Result<()> {
        self.0.connections.fetch_add(1, Ordering::SeqCst);
        let mut stream = BufReader::new(stream);
        let mut secured = false;
        self.answer(&mut stream, "BANNER", "220 mx ESMTP").await?;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let line = line.trim_end();
            self.hear(line);
            let verb = line.split([' ', ':']).next().unwrap_or_default();
            let usual = match verb {
                "EHLO" => self.ehlo(secured),
                "STARTTLS" => "220 go".into(),
                "DATA" => "354 go".into(),
                "QUIT" => "221 bye".into(),
                _ => "250 2.0.0 ok".into(),
            };
            let said = self.answer(&mut stream, verb, &usual).await?;
            match verb {
                "STARTTLS" if said.starts_with('2') => {
                    // Not before the ClientHello: that would be an injection.
                    stream.fill_buf().await?;
                    self.answer(&mut stream, "SHAKE", "").await?;
                    let config = self.0.tls.clone().ok_or(io::ErrorKind::Other)?;
                    let accepted = TlsAcceptor::from(config).accept(stream).await?;
                    self.hear("+TLS");
                    stream = BufReader::new(Box::new(accepted));
                    secured = true;
                }
                "DATA" if said.starts_with('3') => self.take_message(&mut stream).await?,
                "QUIT" => return Ok(()),
                _ => {}
            }
        }
    }

    async fn take_message(&self, stream: &mut BufReader<Box<dyn Stream>>) -> io::Result<()> {
        let mut early = [0; 1000];
        if stream.read(&mut early[..3]).await? < 3 {
            return Ok(());
        }
        let mut body = early[..3].to_vec();
        self.answer(stream, "EARLY", "").await?;
        while body != b".\r\n" && !body.ends_with(b"\r\n.\r\n") {
            if stream.read_until(b'\n', &mut body).await? == 0 {
                return Ok(());
            }
        }
        self.0.bodies.lock().unwrap().push(body);
        self.answer(stream, "DOT", "250 2.0.0 taken").await?;
        Ok(())
    }

    /// Says what is scripted, or the usual.
    async fn answer(
        &self,
        stream: &mut BufReader<Box<dyn Stream>>,
        verb: &str,
        usual: &str,
    ) -> io::Result<String> {
        let reply = self.reply(verb, usual);
        match reply.as_str() {
            "CLOSE" => Err(io::ErrorKind::ConnectionReset.into()),
            "STALL" => std::future::pending().await,
            "" => Ok(reply),
            "SLOW" => {
                tokio::time::sleep(std::time::Duration::from_secs(60)).await;
                stream.write_all(usual.as_bytes()).await?;
                stream.write_all(b"\r\n").await?;
                stream.flush().await?;
                Ok(reply)
            }
            octets if octets.starts_with('\u{15}') => {
                stream.write_all(octets.as_bytes()).await?;
                Ok(reply)
            }
            _ => {
                stream.write_all(reply.as_bytes()).await?;
                stream.write_all(b"\r\n").await?;
                stream.flush().await?;
                Ok(reply)
            }
        }
    }
}

/// Hosts by address; all others refuse.
#[derive(Default)]
pub(super) struct Network {
    hosts: HashMap<IpAddr, FarSide>,
    /// Addresses that never answer.
    pub(super) silent: Vec<IpAddr>,
    /// Whom we dialled.
    pub(super) dialled: Arc<Mutex<Vec<IpAddr>>>,
}

impl Network {
    pub(super) fn host(mut self, ip: &str, host: &FarSide) -> Self {
        self.hosts.insert(ip.parse().unwrap(), host.clone());
        self
    }
}

impl Dialler for Network {
    fn dial(
        &self,
        to: SocketAddr,
        _from: Option<IpAddr>,
    ) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        self.dialled.lock().unwrap().push(to.ip());
        if self.silent.contains(&to.ip()) {
            return Box::pin(std::future::pending());
        }
        let Some(host) = self.hosts.get(&to.ip()).cloned() else {
            return Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) });
        };
        Box::pin(async move {
            let (near, far) = tokio::io::duplex(16 * 1024);
            tokio::spawn(host.serve(Box::new(far)));
            Ok(Box::new(near) as Box<dyn Stream>)
        })
    }
}
