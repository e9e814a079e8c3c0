//! The sink: takes mail and keeps nothing but count.
//!
//! A process with one thread for mail and one that answers on stdout, with a line of JSON, each
//! line that comes on stdin. It knows each message by the number in its recipients' addresses, so
//! that it can tell what came twice.

use std::collections::HashSet;
use std::io::{BufRead as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::message::{self, Fate};
use crate::options::Setup;
use crate::stream::{Stream, acceptor};

/// Said on its stdin: from now on nothing is deferred.
pub(crate) const TAKE_ALL: &str = "take all";

/// What the sink has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Taken {
    /// Transactions that ended in 250.
    pub(crate) messages: u64,
    /// Copies: recipients of those, each counted once.
    pub(crate) copies: u64,
    /// Copies that had come before.
    pub(crate) again: u64,
    /// Connections.
    pub(crate) connections: u64,
}

/// What it has counted.
#[derive(Default)]
pub(crate) struct Count {
    pub(crate) taken: Taken,
    /// The copies: message number times recipients, plus the recipient's.
    pub(crate) seen: HashSet<u64>,
    /// In a soak: messages that were deferred once, ...
    deferred: HashSet<u64>,
    /// ... that reports to the sender name, ...
    pub(crate) told: HashSet<u64>,
    /// ... and copies with fewer octets than were sent.
    pub(crate) short: u64,
}

/// A sink at work.
pub(crate) struct Shared {
    setup: Setup,
    deferred: AtomicU64,
    tls: Option<TlsAcceptor>,
    count: Mutex<Count>,
}

impl Shared {
    /// One that is not listening yet.
    pub(crate) fn new(setup: &Setup) -> Shared {
        let tls = setup.certificate.as_ref().zip(setup.key.as_ref());
        Shared {
            setup: setup.clone(),
            deferred: setup.deferred.into(),
            tls: tls.map(|(certificate, key)| acceptor(certificate, key)),
            count: Mutex::default(),
        }
    }

    /// What it has counted.
    pub(crate) fn count(&self) -> std::sync::MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Count {
    /// Whether the soak defers this message now: the first time, if at all.
    fn is_deferred(&mut self, id: u64) -> bool {
        message::fate(id) == Fate::Deferred && self.deferred.insert(id)
    }
}

/// One process's work, until stdin ends.
pub(crate) fn run(setup: &Setup) {
    let shared = Arc::new(Shared::new(setup));
    let told = Arc::clone(&shared);
    std::thread::spawn(move || answer(&told));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built");
    runtime.block_on(listen(shared));
}

fn answer(shared: &Shared) {
    for line in std::io::stdin().lock().lines() {
        if line.is_ok_and(|line| line == TAKE_ALL) {
            shared.deferred.store(0, Relaxed);
        }
        let taken = shared.count().taken;
        let text = serde_json::to_string(&taken).expect("figures can be JSON");
        if writeln!(std::io::stdout(), "{text}").is_err() {
            break;
        }
    }
    std::process::exit(0);
}

/// Takes mail for ever.
pub(crate) async fn listen(shared: Arc<Shared>) {
    let listener = TcpListener::bind(shared.setup.bind).await;
    let listener = listener.expect("the sink's port is free");
    while let Ok((stream, _)) = listener.accept().await {
        shared.count().taken.connections += 1;
        tokio::spawn(serve(stream, Arc::clone(&shared)));
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    // A peer that goes away is no matter here.
    let _ = stream.set_nodelay(true);
    let mut session = Session::new(Box::new(stream));
    if session
        .say(b"220 sink.bench.example ESMTP\r\n")
        .await
        .is_err()
    {
        return;
    }
    let _ = session.run(&shared).await;
}

/// What a command leads to besides its reply.
#[derive(PartialEq, Eq)]
enum Next {
    Command,
    Content,
    Tls,
    End,
}

struct Session {
    stream: Box<dyn Stream>,
    input: Vec<u8>,
    replies: Vec<u8>,
    /// Message and recipient numbers of this transaction.
    recipients: Vec<(u64, u64)>,
    /// It is a report to the sender.
    is_report: bool,
    secured: bool,
}

impl Session {
    fn new(stream: Box<dyn Stream>) -> Session {
        Session {
            stream,
            input: Vec::with_capacity(64 << 10),
            replies: Vec::new(),
            recipients: Vec::new(),
            is_report: false,
            secured: false,
        }
    }

    async fn say(&mut self, line: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(line).await
    }

    async fn run(mut self, shared: &Shared) -> std::io::Result<()> {
        loop {
            let mut read = 0;
            let mut next = Next::Command;
            while next == Next::Command {
                let Some(end) = memchr::memchr(b'\n', &self.input[read..]) else {
                    break;
                };
                let line = self.input[read..read + end].to_vec();
                read += end + 1;
                next = self.command(&line, shared);
            }
            self.input.drain(..read);
            self.flush(shared).await?;
            match next {
                Next::Command => self.fill().await?,
                Next::Content => self.content(shared).await?,
                Next::Tls => self = self.shake_hands(shared).await?,
                Next::End => return Ok(()),
            }
        }
    }

    async fn fill(&mut self) -> std::io::Result<()> {
        match self.stream.read_buf(&mut self.input).await? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    async fn flush(&mut self, shared: &Shared) -> std::io::Result<()> {
        if self.replies.is_empty() {
            return Ok(());
        }
        if shared.setup.delay > 0 {
            tokio::time::sleep(Duration::from_millis(shared.setup.delay)).await;
        }
        self.stream.write_all(&self.replies).await?;
        self.replies.clear();
        Ok(())
    }

    fn command(&mut self, line: &[u8], shared: &Shared) -> Next {
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        let (reply, next): (&[u8], Next) = match verb.as_slice() {
            b"EHLO" if shared.tls.is_some() && !self.secured => (OFFERS_TLS, Next::Command),
            b"EHLO" => (OFFERS, Next::Command),
            b"STAR" => (b"220 2.0.0 go ahead\r\n", Next::Tls),
            b"MAIL" | b"RSET" => {
                self.recipients.clear();
                self.is_report = false;
                (b"250 2.0.0 ok\r\n", Next::Command)
            }
            b"RCPT" => (self.rcpt(line, shared), Next::Command),
            b"DATA" if self.recipients.is_empty() && !self.is_report => {
                (b"503 5.5.1 nobody\r\n", Next::Command)
            }
            b"DATA" => (b"354 go ahead\r\n", Next::Content),
            b"QUIT" => (b"221 2.0.0 bye\r\n", Next::End),
            _ => (b"500 5.5.1 what\r\n", Next::Command),
        };
        self.replies.extend_from_slice(reply);
        next
    }

    fn rcpt(&mut self, line: &[u8], shared: &Shared) -> &'static [u8] {
        match message::numbers(line) {
            Some((id, _)) if message::is_deferred(id, shared.deferred.load(Relaxed)) => LATER,
            Some((id, _)) if shared.setup.soak && shared.count().is_deferred(id) => LATER,
            Some((id, _)) if shared.setup.soak && message::fate(id) == Fate::Refused => {
                b"550 5.1.1 no\r\n"
            }
            Some(numbers) => {
                self.recipients.push(numbers);
                b"250 2.1.5 ok\r\n"
            }
            None if shared.setup.soak => {
                self.is_report = true;
                b"250 2.1.5 ok\r\n"
            }
            None => b"550 5.1.1 who\r\n",
        }
    }

    /// Passes over the message and counts it.
    async fn content(&mut self, shared: &Shared) -> std::io::Result<()> {
        const END: &[u8] = b"\r\n.\r\n";
        let (mut octets, mut kept) = (0, Vec::new());
        let end = loop {
            if let Some(at) = memchr::memmem::find(&self.input, END) {
                break at + END.len();
            }
            // The end may be split; what can't be a part of it is let go.
            let keep = self.input.len().min(END.len() - 1);
            octets += self.pass_by(self.input.len() - keep, &mut kept);
            self.fill().await?;
        };
        octets += self.pass_by(end, &mut kept);
        let mut count = shared.count();
        count.taken.messages += 1;
        count.told.extend(message::named(&kept));
        for (id, n) in self.recipients.drain(..) {
            let sent = || message::SIZES[message::size_of(id)].0;
            if shared.setup.soak && octets < sent() {
                count.short += 1;
            }
            if count.seen.insert(id * shared.setup.recipients + n) {
                count.taken.copies += 1;
            } else {
                count.taken.again += 1;
            }
        }
        drop(count);
        self.replies.extend_from_slice(b"250 2.0.0 taken\r\n");
        Ok(())
    }

    /// Lets so many octets go, and keeps them where it is a report.
    fn pass_by(&mut self, octets: usize, kept: &mut Vec<u8>) -> usize {
        let gone = self.input.drain(..octets);
        if self.is_report {
            kept.extend(gone);
        }
        octets
    }

    async fn shake_hands(self, shared: &Shared) -> std::io::Result<Session> {
        let tls = shared.tls.as_ref().expect("STARTTLS comes with an offer");
        let stream = tls.accept(self.stream).await?;
        let mut session = Session::new(Box::new(stream));
        session.secured = true;
        Ok(session)
    }
}

const LATER: &[u8] = b"451 4.2.0 later\r\n";
const OFFERS: &[u8] =
    b"250-sink.bench.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n";
const OFFERS_TLS: &[u8] = b"250-sink.bench.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-STARTTLS\r\n250 ENHANCEDSTATUSCODES\r\n";
