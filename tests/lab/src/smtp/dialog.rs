//! A server that says exactly what a script says, line by line.
//!
//! A script is text, one step a line; empty lines and lines that begin with `#` are left out:
//!
//! ```text
//! S: 220 mx.clinic.example      says a line (CRLF is added)
//! R: 250-a\r\n250\tb\n          says these octets; \r \n \t \\ \xNN
//! C: EHLO *                     expects a line; * stands for anything, case is ignored
//! D:                            expects a DATA section up to its final dot
//! TLS                           shakes hands as the server
//! WAIT 2s                       waits (ms, s)
//! FIN                           ends its side of it, without a close_notify
//! NOTIFY                        ends its side of it, with a close_notify under TLS
//! CUT                           closes the connection
//! ```
//!
//! Every connection plays the script from its beginning; after the last step the server waits for
//! the client to leave. What did not go by the script is kept ([`DialogServer::faults`]).

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openssl::ssl::{Ssl, SslContext};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{matches, tls};
use crate::ca::Identity;
use crate::runtime::{self, Task, on_lab};
use crate::smtp::SmtpBuilder;
use crate::wire::{Side, Wire, unstuff};

/// A parsed script.
#[derive(Clone, Debug, PartialEq)]
pub struct Dialog(Vec<Step>);

/// One line of it, with its number for messages.
#[derive(Clone, Debug, PartialEq)]
struct Step {
    line: usize,
    does: Does,
}

#[derive(Clone, Debug, PartialEq)]
enum Does {
    Say(Vec<u8>),
    Expect(String),
    Data,
    Tls,
    Wait(Duration),
    Fin,
    Notify,
    Cut,
}

/// A running dialog. It ends with its last handle.
#[derive(Clone)]
pub struct DialogServer {
    addr: SocketAddr,
    kept: Arc<Mutex<Kept>>,
    ended: watch::Receiver<usize>,
    _task: Arc<Task>,
}

#[derive(Default)]
struct Kept {
    lines: Vec<String>,
    data: Vec<Vec<u8>>,
    faults: Vec<String>,
}

impl Dialog {
    /// Reads a script; the error names the line.
    pub fn parse(text: &str) -> Result<Dialog, String> {
        let lines = text
            .lines()
            .enumerate()
            .map(|(i, line)| (i + 1, line.trim()));
        let steps = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let parsed = steps.map(|(line, text)| match step(text) {
            Some(does) => Ok(Step { line, does }),
            None => Err(format!("line {line}: not a step: {text}")),
        });
        parsed.collect::<Result<_, _>>().map(Dialog)
    }
}

impl DialogServer {
    /// Plays the script to every client that connects to the address (port 0 takes a free one).
    /// The identity is what `TLS` steps show; without one: self-signed.
    pub fn start(addr: SocketAddr, dialog: Dialog, identity: Option<Identity>) -> DialogServer {
        let _context = runtime::runtime().enter();
        let socket = std::net::TcpListener::bind(addr)
            .unwrap_or_else(|error| panic!("the dialog server on {addr}: {error}"));
        socket
            .set_nonblocking(true)
            .expect("a socket can be made non-blocking");
        let listener = TcpListener::from_std(socket).expect("a socket fits the runtime");
        let addr = listener
            .local_addr()
            .expect("a bound socket has an address");
        let mut knobs = SmtpBuilder::new(addr).knobs;
        knobs.identity = identity;
        let context = tls::context(&knobs).expect("the identity fits");
        let kept = Arc::new(Mutex::new(Kept::default()));
        let (count, ended) = watch::channel(0);
        let task = Task::spawn({
            let kept = kept.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    play(stream, &dialog, &context, &kept).await;
                    count.send_modify(|ended| *ended += 1);
                }
            }
        });
        DialogServer {
            addr,
            kept,
            ended,
            _task: Arc::new(task),
        }
    }

    /// Where the server listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Waits until `n` connections, one after the other, were played to their end, and gives the
    /// faults; not having come so far in time is one of them.
    pub async fn wait_played(&self, n: usize, limit: Duration) -> Vec<String> {
        let mut ended = self.ended.clone();
        let wait = async move {
            let all = ended.wait_for(|ended| *ended >= n);
            matches!(tokio::time::timeout(limit, all).await, Ok(Ok(_)))
        };
        let mut faults = Vec::new();
        if !on_lab(wait).await {
            faults.push(format!(
                "after {limit:?} only {} of {n} were played",
                *self.ended.borrow()
            ));
        }
        faults.extend(self.faults());
        faults
    }

    /// Where clients did not go by the script.
    pub fn faults(&self) -> Vec<String> {
        self.read(|kept| kept.faults.clone())
    }

    /// The lines that clients said, without line ends.
    pub fn lines(&self) -> Vec<String> {
        self.read(|kept| kept.lines.clone())
    }

    /// The contents that `D:` steps took, after removal of dot-stuffing.
    pub fn data(&self) -> Vec<Vec<u8>> {
        self.read(|kept| kept.data.clone())
    }

    fn read<T>(&self, get: impl FnOnce(&Kept) -> T) -> T {
        get(&self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn play(stream: TcpStream, dialog: &Dialog, context: &SslContext, kept: &Mutex<Kept>) {
    let keep = |change: &mut dyn FnMut(&mut Kept)| {
        change(&mut kept.lock().unwrap_or_else(PoisonError::into_inner));
    };
    let mut wire = match Wire::new(stream) {
        Ok(wire) => wire,
        Err(error) => return keep(&mut |kept| kept.faults.push(error.to_string())),
    };
    for step in &dialog.0 {
        if step.does == Does::Cut {
            return;
        }
        match take_step(&mut wire, &step.does, context).await {
            Ok(Heard::Nothing) => {}
            Ok(Heard::Line(line)) => {
                if let Does::Expect(pattern) = &step.does
                    && !matches(pattern, &line)
                {
                    let fault = format!("line {}: expected {pattern:?}, got {line:?}", step.line);
                    keep(&mut |kept| kept.faults.push(fault.clone()));
                }
                keep(&mut |kept| kept.lines.push(line.clone()));
            }
            Ok(Heard::Data(data)) => keep(&mut |kept| kept.data.push(data.clone())),
            Err(error) => {
                let fault = format!("line {}: {error}", step.line);
                return keep(&mut |kept| kept.faults.push(fault.clone()));
            }
        }
    }
    // What a client says after the script is no fault, and how it leaves neither.
    let _ = wire.read_to_end().await;
}

enum Heard {
    Nothing,
    Line(String),
    Data(Vec<u8>),
}

async fn take_step(wire: &mut Wire, does: &Does, context: &SslContext) -> io::Result<Heard> {
    match does {
        Does::Say(octets) => wire.write(octets).await?,
        Does::Expect(_) => {
            let line = wire
                .read_line()
                .await?
                .ok_or(io::ErrorKind::UnexpectedEof)?;
            let text = String::from_utf8_lossy(&line);
            return Ok(Heard::Line(text.trim_end_matches(['\r', '\n']).to_owned()));
        }
        Does::Data => {
            let raw = wire.read_data(None).await?.unwrap_or_default();
            return Ok(Heard::Data(unstuff(&raw)));
        }
        Does::Tls => {
            wire.handshake(Ssl::new(context)?, Side::Server).await?;
        }
        Does::Wait(time) => tokio::time::sleep(*time).await,
        Does::Fin => wire.fin().await?,
        Does::Notify => wire.close().await?,
        Does::Cut => {}
    }
    Ok(Heard::Nothing)
}

fn step(text: &str) -> Option<Does> {
    match text {
        "TLS" => return Some(Does::Tls),
        "FIN" => return Some(Does::Fin),
        "NOTIFY" => return Some(Does::Notify),
        "CUT" => return Some(Does::Cut),
        "D:" => return Some(Does::Data),
        _ => {}
    }
    if let Some(time) = text.strip_prefix("WAIT ") {
        return duration(time.trim()).map(Does::Wait);
    }
    let (kind, rest) = text.split_once(':')?;
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    match kind {
        "S" => Some(Does::Say(format!("{rest}\r\n").into_bytes())),
        "R" => unescape(rest).map(Does::Say),
        "C" => Some(Does::Expect(rest.to_owned())),
        _ => None,
    }
}

fn duration(text: &str) -> Option<Duration> {
    if let Some(number) = text.strip_suffix("ms") {
        return number.parse().ok().map(Duration::from_millis);
    }
    text.strip_suffix('s')?
        .parse()
        .ok()
        .map(Duration::from_secs)
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'\\' {
            out.push(*first);
            continue;
        }
        let (kind, tail) = rest.split_first()?;
        rest = tail;
        out.push(match kind {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'\\' => b'\\',
            b'x' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                rest = &rest[2..];
                u8::from_str_radix(digits, 16).ok()?
            }
            _ => return None,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_read() {
        let script =
            "# a comment\n\nS: 220 hi\nC: EHLO *\nR: 250 \\x41\\\\\\r\\n\nWAIT 20ms\nD:\nTLS\nCUT";
        let dialog = Dialog::parse(script).expect("a good script");
        let does: Vec<Does> = dialog.0.into_iter().map(|step| step.does).collect();
        assert_eq!(does.len(), 7);
        assert_eq!(does[0], Does::Say(b"220 hi\r\n".to_vec()));
        assert_eq!(does[2], Does::Say(b"250 A\\\r\n".to_vec()));
        assert_eq!(does[3], Does::Wait(Duration::from_millis(20)));
    }

    #[test]
    fn a_bad_line_is_named() {
        let error = Dialog::parse("S: 220 hi\nX: what").expect_err("a bad script");
        assert!(error.starts_with("line 2"), "{error}");
        assert!(Dialog::parse("R: \\q").is_err());
        assert!(Dialog::parse("WAIT long").is_err());
    }
}
