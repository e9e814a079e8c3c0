//! What the fault tests share: a far side in memory, the names that lead to it,
//! and a sender's messages that can be told apart.
//!
//! The far side takes mail for every domain, by the local part: `bad` is refused
//! for good, `later` until [`FarSide::relent`], all others are taken. It keeps what
//! it took at the moment it decides to, before it says so: what a message store
//! behind it would have.
#![allow(dead_code, unreachable_pub)]

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postern::dns::{Answer, Families, Mx, Resolver};
use postern::sys::{Dialler, Stream};
use postern::types::{BoxFuture, Domain};
use rustls::ServerConfig;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio_rustls::TlsAcceptor;

/// A message that the far side took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub recipients: Vec<String>,
    pub body: Vec<u8>,
}

/// The far side. Clones are one.
#[derive(Clone)]
pub struct FarSide(Arc<Inner>);

struct Inner {
    tls: Option<Arc<ServerConfig>>,
    taken: Mutex<Vec<Taken>>,
    relents: AtomicBool,
    is_shut: AtomicBool,
    open: AtomicUsize,
    dialled: AtomicUsize,
}

type Wire = BufReader<Box<dyn Stream>>;

impl FarSide {
    pub fn new(tls: Option<ServerConfig>) -> Self {
        Self(Arc::new(Inner {
            tls: tls.map(Arc::new),
            taken: Mutex::default(),
            relents: AtomicBool::new(false),
            is_shut: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            dialled: AtomicUsize::new(0),
        }))
    }

    /// From now on `later` is taken too.
    pub fn relent(&self) {
        self.0.relents.store(true, Ordering::SeqCst);
    }

    /// Takes nothing any more, or takes again.
    pub fn shut(&self, is_shut: bool) {
        self.0.is_shut.store(is_shut, Ordering::SeqCst);
    }

    /// Forgets what it took.
    pub fn forget(&self) {
        self.0.taken.lock().unwrap().clear();
    }

    pub fn taken(&self) -> Vec<Taken> {
        self.0.taken.lock().unwrap().clone()
    }

    /// Connections that are served now.
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::SeqCst)
    }

    /// Connections there were.
    pub fn dialled(&self) -> usize {
        self.0.dialled.load(Ordering::SeqCst)
    }

    async fn serve(self, stream: Box<dyn Stream>) {
        self.0.open.fetch_add(1, Ordering::SeqCst);
        // A connection that ends is no concern of this side.
        let _ = self.talk(stream).await;
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }

    async fn talk(&self, stream: Box<dyn Stream>) -> io::Result<()> {
        let mut wire = BufReader::new(stream);
        let mut recipients = Vec::new();
        let mut is_secured = false;
        say(&mut wire, "220 mx.example ESMTP").await?;
        loop {
            let mut line = String::new();
            if wire.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let line = line.trim_end();
            let verb = line.split([' ', ':']).next().unwrap_or_default();
            match verb {
                "EHLO" => say(&mut wire, &self.ehlo(is_secured)).await?,
                "STARTTLS" => {
                    say(&mut wire, "220 go").await?;
                    let tls = self.0.tls.clone().ok_or(io::ErrorKind::Other)?;
                    let accepted = TlsAcceptor::from(tls).accept(wire).await?;
                    wire = BufReader::new(Box::new(accepted));
                    is_secured = true;
                }
                "MAIL" | "RSET" => {
                    recipients.clear();
                    say(&mut wire, "250 2.0.0 ok").await?;
                }
                "RCPT" => {
                    let reply = self.rcpt(line, &mut recipients);
                    say(&mut wire, reply).await?;
                }
                "DATA" if recipients.is_empty() => say(&mut wire, "554 5.5.1 to whom").await?,
                "DATA" => {
                    say(&mut wire, "354 go").await?;
                    if !self
                        .take(&mut wire, std::mem::take(&mut recipients))
                        .await?
                    {
                        return Ok(());
                    }
                }
                "QUIT" => return say(&mut wire, "221 2.0.0 bye").await,
                _ => say(&mut wire, "502 5.5.1 what").await?,
            }
        }
    }

    fn ehlo(&self, is_secured: bool) -> String {
        let offer = match self.0.tls.is_some() && !is_secured {
            true => "250-STARTTLS\r\n",
            false => "",
        };
        format!("250-mx.example\r\n250-PIPELINING\r\n{offer}250 8BITMIME")
    }

    fn rcpt(&self, line: &str, recipients: &mut Vec<String>) -> &'static str {
        let address = line.split(['<', '>']).nth(1).unwrap_or_default();
        match address.split('@').next() {
            Some("bad") => "550 5.1.1 nobody of that name",
            Some("later") if !self.0.relents.load(Ordering::SeqCst) => "450 4.2.1 later",
            _ => {
                recipients.push(address.to_owned());
                "250 2.1.5 ok"
            }
        }
    }

    /// Reads a message to its dot; `false` if the connection ended before.
    async fn take(&self, wire: &mut Wire, recipients: Vec<String>) -> io::Result<bool> {
        let mut body = Vec::new();
        loop {
            let from = body.len();
            if wire.read_until(b'\n', &mut body).await? == 0 {
                return Ok(false);
            }
            if &body[from..] == b".\r\n" {
                body.truncate(from);
                break;
            }
            if body[from] == b'.' {
                body.remove(from);
            }
        }
        if self.0.is_shut.load(Ordering::SeqCst) {
            return Ok(false);
        }
        let taken = Taken { recipients, body };
        self.0.taken.lock().unwrap().push(taken);
        say(wire, "250 2.0.0 taken").await?;
        Ok(true)
    }
}

async fn say(wire: &mut Wire, reply: &str) -> io::Result<()> {
    wire.write_all(format!("{reply}\r\n").as_bytes()).await?;
    wire.flush().await
}

impl Dialler for FarSide {
    fn dial(
        &self,
        _to: SocketAddr,
        _from: Option<IpAddr>,
    ) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let far = self.clone();
        Box::pin(async move {
            if far.0.is_shut.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            far.0.dialled.fetch_add(1, Ordering::SeqCst);
            let (near, end) = tokio::io::duplex(16 * 1024);
            tokio::spawn(far.serve(Box::new(end)));
            Ok(Box::new(near) as Box<dyn Stream>)
        })
    }
}

/// Every domain has the hosts `mx1.` to `mxN.` of its own, at 192.0.2.1 to N.
pub struct Names(pub u16);

const TTL: Duration = Duration::from_secs(60);

impl Resolver for Names {
    fn mx(&self, domain: &Domain) -> BoxFuture<'_, Answer<Mx>> {
        let host = |n: u16| Mx {
            preference: n,
            exchange: Domain::parse(&format!("mx{n}.{domain}")).ok(),
        };
        let records = (1..=self.0).map(host).collect();
        Box::pin(std::future::ready(Answer::Found { records, ttl: TTL }))
    }

    fn addresses(&self, host: &Domain, _: Families) -> BoxFuture<'_, Answer<IpAddr>> {
        let number = host.as_str().trim_start_matches("mx").split('.').next();
        let number: u8 = number.and_then(|n| n.parse().ok()).unwrap();
        let records = vec![IpAddr::from([192, 0, 2, number])];
        Box::pin(std::future::ready(Answer::Found { records, ttl: TTL }))
    }

    fn txt(&self, _: &Domain) -> BoxFuture<'_, Answer<Vec<u8>>> {
        Box::pin(std::future::ready(Answer::NoDomain))
    }
}

/// A message that can be told from others: its number stands in its head.
pub fn letter(number: usize, octets: usize) -> Vec<u8> {
    let mut letter = format!("X-Number: {number};\r\n\r\n").into_bytes();
    let line = b".a line that begins with a dot and is as long as many others are\r\n";
    while letter.len() < octets {
        letter.extend_from_slice(line);
    }
    letter
}

/// The number of such a message.
pub fn number_of(body: &[u8]) -> Option<usize> {
    let text = body.strip_prefix(b"X-Number: ")?;
    let end = text.iter().position(|octet| *octet == b';')?;
    std::str::from_utf8(&text[..end]).ok()?.parse().ok()
}
