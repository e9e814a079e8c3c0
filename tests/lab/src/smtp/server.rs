//! The running server: its socket, its sessions, and what a test asks of it.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openssl::ssl::{Ssl, SslContext};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::knobs::{Knobs, SmtpBuilder};
use super::seen::{Log, Received, Seen};
use super::session::Session;
use super::tls;
use crate::runtime::{self, Task};
use crate::wire::Wire;

/// A scripted SMTP server. Clones are handles to the same server; it ends, with all its
/// connections, at [`SmtpServer::stop`] or with the last handle.
#[derive(Clone)]
pub struct SmtpServer {
    addr: SocketAddr,
    shared: Arc<Shared>,
    task: Arc<Mutex<Option<Task>>>,
}

/// What all sessions of a server share.
pub(super) struct Shared {
    knobs: Mutex<Knobs>,
    /// Made from the knobs when first needed; forgotten when they change.
    context: Mutex<Option<SslContext>>,
    pub(super) log: Arc<Log>,
    /// Told when the server is to stop.
    stop: Notify,
}

impl SmtpServer {
    /// A server on this address with nothing bent; port 0 takes a free one.
    pub fn builder(addr: SocketAddr) -> SmtpBuilder {
        SmtpBuilder::new(addr)
    }

    pub(super) fn start(builder: SmtpBuilder) -> SmtpServer {
        let _context = runtime::runtime().enter();
        let socket = std::net::TcpListener::bind(builder.addr)
            .unwrap_or_else(|error| panic!("the SMTP server on {}: {error}", builder.addr));
        socket
            .set_nonblocking(true)
            .expect("a socket can be made non-blocking");
        let listener = TcpListener::from_std(socket).expect("a socket fits the runtime");
        let addr = listener
            .local_addr()
            .expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            knobs: Mutex::new(builder.knobs),
            context: Mutex::new(None),
            log: Arc::default(),
            stop: Notify::new(),
        });
        let task = Task::spawn(serve(listener, shared.clone()));
        SmtpServer {
            addr,
            shared,
            task: Arc::new(Mutex::new(Some(task))),
        }
    }

    /// Where the server listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Turns knobs while the server runs: at once for scripted replies and what EHLO offers, from
    /// the next handshake on for TLS. `server.change(|knobs| knobs.clear().no_starttls())`.
    pub fn change(&self, turn: impl FnOnce(SmtpBuilder) -> SmtpBuilder) {
        let mut knobs = self.shared.knobs();
        let changed = turn(SmtpBuilder {
            addr: self.addr,
            knobs: knobs.clone(),
        });
        *knobs = changed.knobs;
        *lock(&self.shared.context) = None;
    }

    /// Closes the socket and every connection; both are closed, and the address free, on return.
    pub fn stop(&self) {
        if let Some(task) = lock(&self.task).take() {
            self.shared.stop.notify_one();
            task.ended();
        }
    }

    /// The messages taken so far, in order. Empty with [`SmtpBuilder::discard`].
    pub fn messages(&self) -> Vec<Received> {
        self.shared.log.read(|seen| seen.messages.clone())
    }

    /// How many messages were taken.
    pub fn count(&self) -> usize {
        self.shared.log.read(|seen| seen.count)
    }

    /// How many octets of content they had together.
    pub fn octets(&self) -> u64 {
        self.shared.log.read(|seen| seen.octets)
    }

    /// A hash over the contents of all messages that does not depend on their order.
    pub fn hash(&self) -> u128 {
        self.shared.log.read(|seen| seen.hash)
    }

    /// The values of the `X-Lab-Id:` headers, one for each message taken that had one, in order;
    /// a message that came twice is there twice.
    pub fn received_ids(&self) -> Vec<String> {
        self.shared.log.read(|seen| seen.ids.clone())
    }

    /// Every command line, as `#CONNECTION plain|tls LINE`; a lone `.` is the end of a content.
    pub fn commands(&self) -> Vec<String> {
        self.shared.log.read(|seen| seen.commands.clone())
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.shared.log.read(|seen| seen.connections)
    }

    /// How many are open now.
    pub fn open_connections(&self) -> usize {
        self.shared.log.read(|seen| seen.open)
    }

    /// The most that were open at once.
    pub fn peak_connections(&self) -> usize {
        self.shared.log.read(|seen| seen.peak)
    }

    /// How connections ended that did not end well: failed handshakes, resets, lost clients.
    pub fn errors(&self) -> Vec<String> {
        self.shared.log.read(|seen| seen.errors.clone())
    }

    /// Where clients broke the protocol, such as `#1 pipelining where it was not offered`. A test
    /// of good behaviour asserts that this is empty.
    pub fn violations(&self) -> Vec<String> {
        self.shared.log.read(|seen| seen.violations.clone())
    }

    /// Waits until at least `n` messages were taken and gives them all; panics when the time is
    /// up, saying what was seen instead.
    pub async fn wait_messages(&self, n: usize, limit: Duration) -> Vec<Received> {
        self.wait(&format!("{n} messages"), limit, move |seen| seen.count >= n)
            .await;
        self.messages()
    }

    /// Waits until at least `n` messages were taken; also for servers that discard.
    pub async fn wait_count(&self, n: usize, limit: Duration) -> usize {
        self.wait(&format!("{n} messages"), limit, move |seen| seen.count >= n)
            .await;
        self.count()
    }

    /// Waits until at least `n` connections were accepted.
    pub async fn wait_connections(&self, n: usize, limit: Duration) {
        self.wait(&format!("{n} connections"), limit, move |seen| {
            seen.connections >= n
        })
        .await;
    }

    /// Waits until a command line matches the pattern (`*` for any run of characters), such as
    /// `"#2 tls MAIL*"`.
    pub async fn wait_command(&self, pattern: &str, limit: Duration) {
        let wanted = pattern.to_owned();
        let there = move |seen: &Seen| seen.commands.iter().any(|c| super::matches(&wanted, c));
        self.wait(&format!("the command {pattern}"), limit, there)
            .await;
    }

    async fn wait(
        &self,
        what: &str,
        limit: Duration,
        done: impl Fn(&Seen) -> bool + Send + 'static,
    ) {
        if !self.shared.log.wait(limit, done).await {
            let name = self.shared.knobs().name.clone();
            let seen = self.shared.log.read(|seen| {
                let last = seen.commands.len().saturating_sub(20);
                format!(
                    "{} messages, {} connections\nlast commands: {:#?}\nerrors: {:#?}",
                    seen.count,
                    seen.connections,
                    &seen.commands[last..],
                    seen.errors
                )
            });
            panic!(
                "{name} on {} waited {limit:?} for {what} in vain; seen: {seen}",
                self.addr
            );
        }
    }
}

impl Shared {
    /// The knobs as they are now. Don't hold the guard across an await.
    pub(super) fn knobs(&self) -> MutexGuard<'_, Knobs> {
        lock(&self.knobs)
    }

    /// The TLS state for a new handshake.
    pub(super) fn ssl(&self) -> io::Result<Ssl> {
        let knobs = self.knobs();
        let mut cached = lock(&self.context);
        let context = match cached.take() {
            Some(context) => context,
            None => tls::context(&knobs)
                .map_err(|error| io::Error::other(format!("the TLS knobs don't fit: {error}")))?,
        };
        Ok(tls::session(cached.insert(context))?)
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let number = shared.log.write(|seen| {
                        seen.connections += 1;
                        seen.open += 1;
                        seen.peak = seen.peak.max(seen.open);
                        seen.connections
                    });
                    sessions.spawn(attend(stream, peer, number, shared.clone()));
                }
                Err(_) => tokio::time::sleep(runtime::ACCEPT_REST).await,
            },
            Some(ended) = sessions.join_next() => {
                if let Err(error) = ended && error.is_panic() {
                    std::panic::resume_unwind(error.into_panic());
                }
            }
            () = shared.stop.notified() => return sessions.shutdown().await,
        }
    }
}

/// One connection from its start to its end.
async fn attend(stream: TcpStream, peer: SocketAddr, number: usize, shared: Arc<Shared>) {
    let result = match Wire::new(stream) {
        Ok(wire) => {
            let session = Session {
                shared: shared.clone(),
                wire,
                peer,
                number,
                helo: None,
                offered: Vec::new(),
                auth: None,
                mail: None,
                taken: 0,
            };
            session.run().await
        }
        Err(error) => Err(error),
    };
    shared.log.write(|seen| {
        seen.open -= 1;
        seen.errors
            .extend(result.err().map(|error| format!("#{number} {error}")));
    });
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
