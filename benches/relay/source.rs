//! The load source: so many connections, each of which sends one message after the other.
//!
//! A process with one thread. It does as little as it can for each message: MAIL, RCPT and DATA in
//! one write where the commands may be pipelined, the message in one, and no look at a reply beyond
//! its code. Prints one line of JSON at its end.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

use crate::message;
use crate::options::Load;
use crate::stream::{Stream, connector, server_name};

/// What the source tells when it is done.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Sent {
    /// Messages that got their 250.
    pub(crate) accepted: u64,
    /// Messages that got something else, or whose connection broke.
    pub(crate) refused: u64,
    /// From the first connection to the last 250.
    pub(crate) seconds: f64,
    /// From MAIL to the 250 behind the final dot, in milliseconds: median and 99th part of 100.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// How often a connection is tried at most, how long it may take to be greeted, and the pause
/// before the next try.
const OPENINGS: u32 = 100;
const OPENING_MAX: Duration = Duration::from_secs(2);
const OPENING_PAUSE: Duration = Duration::from_millis(50);
/// How many are opened at once where each is kept: OpenSMTPD listens with a backlog of five, and
/// what the system drops behind that (with SYN cookies) waits for a greeting for ever.
const OPENING_TOGETHER: usize = 4;

/// One process's work: sends, and prints a [`Sent`] as JSON.
pub(crate) fn run(load: &Load) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built");
    let sent = runtime.block_on(send(load.clone()));
    let text = serde_json::to_string(&sent).expect("figures can be JSON");
    writeln!(std::io::stdout(), "{text}").expect("stdout takes a line");
}

struct Shared {
    load: Load,
    next: AtomicU64,
    text: Vec<u8>,
    tls: Option<TlsConnector>,
    opening: Semaphore,
}

async fn send(load: Load) -> Sent {
    let shared = Arc::new(Shared {
        next: AtomicU64::new(load.first),
        text: message::text(load.size),
        tls: load.roots.as_deref().map(connector),
        opening: Semaphore::new(OPENING_TOGETHER),
        load,
    });
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..shared.load.connections {
        tasks.push(tokio::spawn(connection(Arc::clone(&shared))));
    }
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("a connection's task ends well"));
    }
    let seconds = begun.elapsed().as_secs_f64();
    times.sort_unstable();
    let part = |per_cent: usize| match times.len() {
        0 => 0.0,
        n => f64::from(times[(n - 1) * per_cent / 100]) / 1000.0,
    };
    Sent {
        accepted: times.len() as u64,
        refused: shared.load.messages - times.len() as u64,
        seconds,
        p50: part(50),
        p99: part(99),
    }
}

/// Sends until none is left; gives the microseconds of each message that was accepted.
async fn connection(shared: Arc<Shared>) -> Vec<u32> {
    let mut times = Vec::new();
    let end = shared.load.first + shared.load.messages;
    let mut next = shared.next.fetch_add(1, Relaxed);
    while next < end {
        let Some(mut session) = Session::open_at_last(&shared).await else {
            next = shared.next.fetch_add(1, Relaxed);
            continue;
        };
        let mut here = 0;
        while next < end && (shared.load.per_connection == 0 || here < shared.load.per_connection) {
            let begun = Instant::now();
            let accepted = session.message(&shared, next).await;
            next = shared.next.fetch_add(1, Relaxed);
            here += 1;
            match accepted {
                Ok(true) => times.push(begun.elapsed().as_micros().try_into().unwrap_or(u32::MAX)),
                Ok(false) => {}
                Err(_) => break,
            }
        }
        session.end().await;
    }
    times
}

/// An open connection, greeted.
pub(crate) struct Session {
    stream: Box<dyn Stream>,
    input: Vec<u8>,
    commands: Vec<u8>,
    /// The server lets commands be pipelined, and so does the load.
    pipelines: bool,
}

impl Session {
    /// Opens one; a server that has too many at this moment is asked again for a while, as any
    /// client would.
    async fn open_at_last(shared: &Shared) -> Option<Session> {
        let _turn = match shared.load.per_connection {
            0 => shared.opening.acquire().await.ok(),
            _ => None,
        };
        for _ in 0..OPENINGS {
            let opening = Session::open(shared.load.to, shared.tls.as_ref());
            match tokio::time::timeout(OPENING_MAX, opening).await {
                Ok(Ok(session)) => return Some(session),
                _ => tokio::time::sleep(OPENING_PAUSE).await,
            }
        }
        None
    }

    /// Connects and is greeted, with STARTTLS where there is a connector for it.
    pub(crate) async fn open(
        to: SocketAddr,
        tls: Option<&TlsConnector>,
    ) -> std::io::Result<Session> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let mut session = Session {
            stream: Box::new(stream),
            input: Vec::with_capacity(16 << 10),
            commands: Vec::new(),
            pipelines: false,
        };
        session.replies(1).await?;
        session.say(b"EHLO source.bench.example\r\n").await?;
        if let Some(tls) = tls {
            session.say(b"STARTTLS\r\n").await?;
            let stream = tls.connect(server_name(), session.stream).await?;
            session.stream = Box::new(stream);
            session.say(b"EHLO source.bench.example\r\n").await?;
        }
        // The last thing it read is the reply to EHLO.
        let offered = memchr::memmem::find(&session.input, b"PIPELINING").is_some();
        session.pipelines = offered;
        Ok(session)
    }

    async fn say(&mut self, line: &[u8]) -> std::io::Result<bool> {
        self.stream.write_all(line).await?;
        self.replies(1).await
    }

    /// Says goodbye.
    pub(crate) async fn end(mut self) {
        let _ = self.stream.write_all(b"QUIT\r\n").await;
        let _ = self.replies(1).await;
    }

    /// Sends one message of the load; whether it was accepted.
    async fn message(&mut self, shared: &Shared, id: u64) -> std::io::Result<bool> {
        let load = &shared.load;
        let domain = message::domain(&load.domain, id % load.sites);
        let recipients = (0..load.recipients).map(|n| message::recipient(id, n, &domain));
        self.send(recipients, &shared.text, load.lockstep).await
    }

    /// Sends a message; whether it was accepted.
    ///
    /// # Errors
    /// Those of the connection, and a no before the message.
    pub(crate) async fn send(
        &mut self,
        recipients: impl Iterator<Item = String>,
        text: &[u8],
        lockstep: bool,
    ) -> std::io::Result<bool> {
        self.commands.clear();
        self.commands
            .extend_from_slice(b"MAIL FROM:<load@clinic.example>\r\n");
        let mut replies = 2;
        for address in recipients {
            write!(self.commands, "RCPT TO:<{address}>\r\n")?;
            replies += 1;
        }
        self.commands.extend_from_slice(b"DATA\r\n");
        let commands = std::mem::take(&mut self.commands);
        let ready = if self.pipelines && !lockstep {
            self.stream.write_all(&commands).await?;
            self.replies(replies).await?
        } else {
            let mut ready = true;
            for line in commands.split_inclusive(|octet| *octet == b'\n') {
                ready &= self.say(line).await?;
            }
            ready
        };
        self.commands = commands;
        if !ready {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
        self.content(text).await?;
        self.replies(1).await
    }

    /// The message and the final dot, of which the last part goes out in one write.
    async fn content(&mut self, text: &[u8]) -> std::io::Result<()> {
        const TOGETHER: usize = 64 << 10;
        let split = text.len().saturating_sub(TOGETHER);
        let (first, last) = text.split_at(split);
        if !first.is_empty() {
            self.stream.write_all(first).await?;
        }
        self.commands.clear();
        self.commands.extend_from_slice(last);
        self.commands.extend_from_slice(b".\r\n");
        self.stream.write_all(&self.commands).await
    }

    /// Reads so many replies; whether all of them are positive.
    async fn replies(&mut self, mut wanted: usize) -> std::io::Result<bool> {
        let mut positive = true;
        self.input.clear();
        let mut read = 0;
        loop {
            while let Some(end) = memchr::memchr(b'\n', &self.input[read..]) {
                let line = &self.input[read..read + end];
                read += end + 1;
                if line.get(3) != Some(&b'-') {
                    positive &= matches!(line.first(), Some(b'2' | b'3'));
                    wanted -= 1;
                    if wanted == 0 {
                        return Ok(positive);
                    }
                }
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
