//! An HTTPS server for what a domain publishes beside DNS: MTA-STS policies, keys.
//!
//! One server speaks for any number of hosts, told apart by the name that the client asks for
//! (`Host`). What it answers, and by what certificate, can be changed while it runs; what it was
//! asked is kept. It reads one request a connection and knows nothing of HTTP that a policy fetch
//! does not need.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openssl::ssl::{Ssl, SslContextBuilder, SslMethod};
use tokio::net::{TcpListener, TcpStream};

use crate::ca::Identity;
use crate::runtime::{self, ACCEPT_REST, Task};
use crate::smtp::show;
use crate::wire::{Side, Wire};

/// What the server says to one request.
#[derive(Clone, Debug)]
pub struct Page {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Before the first octet.
    wait: Duration,
    /// Behind each octet of the body.
    drip: Duration,
    /// Whether the length is told; without, the end of the connection is that of the body.
    sized: bool,
    /// Octets of the body that are sent before the connection is cut; `None`: all.
    cut: Option<usize>,
}

impl Page {
    /// 200 with this text, as `text/plain`.
    pub fn text(body: &str) -> Page {
        Page {
            status: 200,
            headers: vec![("Content-Type".into(), "text/plain".into())],
            body: body.as_bytes().to_vec(),
            wait: Duration::ZERO,
            drip: Duration::ZERO,
            sized: true,
            cut: None,
        }
    }

    /// 200 with these octets, as a key directory has them.
    pub fn octets(body: &[u8]) -> Page {
        Page {
            body: body.to_vec(),
            ..Page::text("").media_type("application/octet-stream")
        }
    }

    /// An MTA-STS policy (RFC 8461 section 3.2).
    pub fn policy(mode: &str, mx: &[&str], max_age: u64) -> Page {
        let mx: String = mx.iter().map(|host| format!("mx: {host}\r\n")).collect();
        let text = format!("version: STSv1\r\nmode: {mode}\r\n{mx}max_age: {max_age}\r\n");
        Page::text(&text)
    }

    /// With another status.
    pub fn status(mut self, status: u16) -> Page {
        self.status = status;
        self
    }

    /// With another media type.
    pub fn media_type(self, media_type: &str) -> Page {
        self.header("Content-Type", media_type)
    }

    /// With this header field, instead of the one of this name.
    pub fn header(mut self, name: &str, value: &str) -> Page {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Without this header field.
    pub fn without(mut self, name: &str) -> Page {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    /// 301 to another address.
    pub fn redirect(self, to: &str) -> Page {
        self.status(301).header("Location", to)
    }

    /// Padded with blank lines to so many octets.
    pub fn padded(mut self, octets: usize) -> Page {
        while self.body.len() < octets {
            self.body.extend_from_slice(b"x: y\r\n");
        }
        self
    }

    /// Without a `Content-Length`.
    pub fn unsized_body(mut self) -> Page {
        self.sized = false;
        self
    }

    /// Nothing for so long, then the answer.
    pub fn late(mut self, wait: Duration) -> Page {
        self.wait = wait;
        self
    }

    /// The body octet by octet, with a pause behind each.
    pub fn dripping(mut self, pause: Duration) -> Page {
        self.drip = pause;
        self
    }

    /// The connection is cut in the body.
    pub fn cut_at(mut self, octets: usize) -> Page {
        self.cut = Some(octets);
        self
    }
}

/// What a client asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `Host`.
    pub host: String,
    /// The server name in its ClientHello.
    pub sni: Option<String>,
    /// The path.
    pub path: String,
}

struct State {
    identity: Identity,
    /// By `host/path`.
    pages: HashMap<String, Page>,
    asked: Vec<Asked>,
    connections: usize,
}

/// A running HTTPS server; it ends when dropped.
pub struct HttpsServer {
    addr: SocketAddr,
    state: Arc<Mutex<State>>,
    _task: Task,
}

/// Where MTA-STS policies lie.
pub const POLICY_PATH: &str = "/.well-known/mta-sts.txt";

impl HttpsServer {
    /// Starts one. Port 0 takes a free one.
    pub fn start(addr: SocketAddr, identity: Identity) -> HttpsServer {
        let _context = runtime::runtime().enter();
        let listener = std::net::TcpListener::bind(addr)
            .and_then(|listener| {
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener)
            })
            .expect("the HTTPS server's address can be bound");
        let addr = listener
            .local_addr()
            .expect("a bound socket has an address");
        let state = Arc::new(Mutex::new(State {
            identity,
            pages: HashMap::new(),
            asked: Vec::new(),
            connections: 0,
        }));
        let task = Task::spawn(accept(listener, state.clone()));
        HttpsServer {
            addr,
            state,
            _task: task,
        }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Shows another certificate from now on.
    pub fn identity(&self, identity: Identity) -> &Self {
        self.state().identity = identity;
        self
    }

    /// Serves `page` at `path` of `host` from now on.
    pub fn serve(&self, host: &str, path: &str, page: Page) -> &Self {
        self.state().pages.insert(format!("{host}{path}"), page);
        self
    }

    /// Serves an MTA-STS policy of `domain` from now on.
    pub fn policy(&self, domain: &str, page: Page) -> &Self {
        self.serve(&format!("mta-sts.{domain}"), POLICY_PATH, page)
    }

    /// Knows nothing of `domain` any more: 404.
    pub fn no_policy(&self, domain: &str) -> &Self {
        let key = format!("mta-sts.{domain}{POLICY_PATH}");
        self.state().pages.remove(&key);
        self
    }

    /// What was asked, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.state().asked.clone()
    }

    /// How many connections came, with or without a handshake.
    pub fn connections(&self) -> usize {
        self.state().connections
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let state = state.clone();
                runtime::spawn(async move {
                    // A client that goes away is none of the lab's business.
                    let _ = answer(stream, &state).await;
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_REST).await,
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let ssl = {
        let mut state = lock(state);
        state.connections += 1;
        let mut context = SslContextBuilder::new(SslMethod::tls_server())?;
        show(&mut context, &state.identity)?;
        Ssl::new(&context.build())?
    };
    let mut wire = Wire::new(stream)?;
    wire.handshake(ssl, Side::Server).await?;
    let Some(asked) = read_request(&mut wire).await? else {
        return Ok(());
    };
    let page = {
        let mut state = lock(state);
        state.asked.push(asked.clone());
        let key = format!("{}{}", asked.host, asked.path);
        let page = state.pages.get(&key).cloned();
        page.unwrap_or_else(|| Page::text("not here").status(404))
    };
    tokio::time::sleep(page.wait).await;
    send(&mut wire, &page).await?;
    wire.close().await
}

async fn read_request(wire: &mut Wire) -> io::Result<Option<Asked>> {
    let mut path = None;
    let mut host = String::new();
    while let Some(line) = wire.read_line().await? {
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        if line.is_empty() {
            let sni = wire.tls().and_then(|tls| tls.sni);
            return Ok(path.map(|path| Asked { host, sni, path }));
        }
        match (&path, line.split_once(": ")) {
            (None, _) => path = line.split(' ').nth(1).map(str::to_owned),
            (Some(_), Some((name, value))) if name.eq_ignore_ascii_case("host") => {
                host = value.to_ascii_lowercase();
            }
            _ => {}
        }
    }
    Ok(None)
}

async fn send(wire: &mut Wire, page: &Page) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Lab\r\nConnection: close\r\n", page.status);
    for (name, value) in &page.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if page.sized {
        head += &format!("Content-Length: {}\r\n", page.body.len());
    }
    wire.write(format!("{head}\r\n").as_bytes()).await?;
    let body = &page.body[..page.cut.unwrap_or(page.body.len()).min(page.body.len())];
    match page.drip {
        Duration::ZERO => wire.write(body).await,
        pause => wire.write_slowly(body, pause).await,
    }
}
