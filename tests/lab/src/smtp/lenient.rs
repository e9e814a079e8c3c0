//! The server that smuggling needs: it takes nearly anything for the end of a line, so a dot
//! between nearly anything for the end of a message, and obeys what comes behind.
//!
//! CR alone, LF alone and CRLF end a line, NUL is passed over. Servers like this were in the field
//! until 2024 ("SMTP smuggling"). What Postern sends must be one message here too.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::runtime::{self, Task, on_lab};

/// A running lenient server, in the clear. It ends with its last handle.
#[derive(Clone)]
pub struct LenientServer {
    addr: SocketAddr,
    taken: watch::Receiver<Vec<Taken>>,
    _task: Arc<Task>,
}

/// A message as the lenient server understood it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// What stood in the brackets of MAIL.
    pub mail_from: String,
    /// What stood in the brackets of each RCPT.
    pub rcpt_to: Vec<String>,
    /// The content, unstuffed, each line with CRLF whatever ended it.
    pub data: Vec<u8>,
}

impl LenientServer {
    /// Starts it on this address; port 0 takes a free one.
    pub fn start(addr: SocketAddr) -> LenientServer {
        let _context = runtime::runtime().enter();
        let socket = std::net::TcpListener::bind(addr)
            .unwrap_or_else(|error| panic!("the lenient server on {addr}: {error}"));
        socket
            .set_nonblocking(true)
            .expect("a socket can be made non-blocking");
        let listener = TcpListener::from_std(socket).expect("a socket fits the runtime");
        let addr = listener
            .local_addr()
            .expect("a bound socket has an address");
        let (log, taken) = watch::channel(Vec::new());
        let task = Task::spawn(async move {
            let log = Arc::new(log);
            while let Ok((stream, _)) = listener.accept().await {
                let log = log.clone();
                // A client that breaks off has nothing more to say.
                runtime::spawn(async move { drop(Session::new(stream, log).run().await) });
            }
        });
        LenientServer {
            addr,
            taken,
            _task: Arc::new(task),
        }
    }

    /// Where the server listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The messages so far.
    pub fn messages(&self) -> Vec<Taken> {
        self.taken.borrow().clone()
    }

    /// Waits for `n` messages in all and gives them; panics when the time is up.
    pub async fn wait_messages(&self, n: usize, limit: Duration) -> Vec<Taken> {
        let mut taken = self.taken.clone();
        let wait = async move {
            let all = taken.wait_for(|taken| taken.len() >= n);
            matches!(tokio::time::timeout(limit, all).await, Ok(Ok(_)))
        };
        let came = on_lab(wait).await;
        let messages = self.messages();
        assert!(
            came,
            "after {limit:?} only {} of {n} messages",
            messages.len()
        );
        messages
    }
}

struct Session {
    stream: TcpStream,
    log: Arc<watch::Sender<Vec<Taken>>>,
    line: Vec<u8>,
    /// The last octet was a CR, so that an LF ends no further line.
    is_behind_cr: bool,
    in_data: bool,
    mail: Taken,
}

impl Session {
    fn new(stream: TcpStream, log: Arc<watch::Sender<Vec<Taken>>>) -> Session {
        Session {
            stream,
            log,
            line: Vec::new(),
            is_behind_cr: false,
            in_data: false,
            mail: fresh(),
        }
    }

    async fn run(mut self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        self.say("220 lenient").await?;
        let mut octets = vec![0; 64 * 1024];
        loop {
            let n = self.stream.read(&mut octets).await?;
            if n == 0 {
                return Ok(());
            }
            for octet in octets.get(..n).unwrap_or_default() {
                let (octet, was_cr) = (*octet, self.is_behind_cr);
                self.is_behind_cr = octet == b'\r';
                match octet {
                    0 => self.is_behind_cr = was_cr,
                    b'\n' if was_cr => {}
                    b'\r' | b'\n' => {
                        let line = std::mem::take(&mut self.line);
                        if self.take(&line).await?.is_none() {
                            return Ok(());
                        }
                    }
                    octet => self.line.push(octet),
                }
            }
        }
    }

    /// Takes a line; `None` when that was QUIT.
    async fn take(&mut self, line: &[u8]) -> io::Result<Option<()>> {
        if self.in_data {
            self.take_content(line).await?;
            return Ok(Some(()));
        }
        let line = String::from_utf8_lossy(line).into_owned();
        let path = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        let verb = line.get(..4).unwrap_or(&line).to_ascii_uppercase();
        let reply = match verb.as_str() {
            "QUIT" => {
                self.say("221 bye").await?;
                return Ok(None);
            }
            "EHLO" => "250-lenient\r\n250-PIPELINING\r\n250 8BITMIME",
            "MAIL" => {
                self.mail = fresh();
                self.mail.mail_from = path;
                "250 ok"
            }
            "RCPT" => {
                self.mail.rcpt_to.push(path);
                "250 ok"
            }
            "DATA" => {
                self.in_data = true;
                "354 go"
            }
            // What is left of a message that ended early is no reason to stop.
            _ => "500 what?",
        };
        self.say(reply).await?;
        Ok(Some(()))
    }

    async fn take_content(&mut self, line: &[u8]) -> io::Result<()> {
        if line == b"." {
            self.in_data = false;
            let mail = std::mem::replace(&mut self.mail, fresh());
            self.log.send_modify(|taken| taken.push(mail));
            return self.say("250 taken").await;
        }
        let line = line.strip_prefix(b".").unwrap_or(line);
        self.mail.data.extend_from_slice(line);
        self.mail.data.extend_from_slice(b"\r\n");
        Ok(())
    }

    async fn say(&mut self, reply: &str) -> io::Result<()> {
        self.stream
            .write_all(format!("{reply}\r\n").as_bytes())
            .await
    }
}

fn fresh() -> Taken {
    Taken {
        mail_from: String::new(),
        rcpt_to: Vec::new(),
        data: Vec::new(),
    }
}
