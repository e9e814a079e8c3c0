//! A web server for machines on the same host: GET and HEAD, answered from memory.
//!
//! Holds always: connections at once, octets of a request and the time for all
//! of it are bounded; what a client sends beside the path is not looked at;
//! every connection ends with its answer. Used for metrics and health alone, so
//! it is no more than that needs; pages for people get a real server.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Connections at once; others wait in the system's backlog.
const CLIENTS: usize = 16;
/// Octets of a request's head.
const HEAD_MAX: usize = 8 << 10;
/// For the whole of a request and its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// For the client to take leave.
const LINGER: Duration = Duration::from_secs(1);

/// An answer.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: Status,
    pub(super) media_type: &'static str,
    pub(super) body: String,
}

/// The statuses that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    BadRequest,
    NotFound,
    TooLarge,
    Unavailable,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::TooLarge => "431 Request Header Fields Too Large",
            Self::Unavailable => "503 Service Unavailable",
        }
    }
}

impl Response {
    /// A line of text.
    pub(super) fn text(status: Status, body: &str) -> Self {
        Self {
            status,
            media_type: "text/plain; charset=utf-8",
            body: format!("{body}\n"),
        }
    }

    /// With its body, or (to a HEAD) only its length.
    fn octets(&self, with_body: bool) -> String {
        format!(
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
             Connection: close\r\n\r\n{}",
            self.status.line(),
            self.media_type,
            self.body.len(),
            if with_body { self.body.as_str() } else { "" },
        )
    }
}

/// Who answers.
pub(super) trait Answer: Send + Sync + 'static {
    /// The answer to a GET of this path, without its query.
    fn get(&self, path: &str) -> impl Future<Output = Response> + Send;
}

/// Serves until dropped.
pub(super) async fn serve(listener: TcpListener, answers: impl Answer) {
    let (clients, answers) = (Arc::new(Semaphore::new(CLIENTS)), Arc::new(answers));
    loop {
        let Ok(permit) = Arc::clone(&clients).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("metrics: no connection can be accepted: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let answers = Arc::clone(&answers);
        tokio::spawn(async move {
            match timeout(PATIENCE, converse(stream, answers.as_ref())).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!("metrics: {error}"),
                Err(_) => tracing::debug!("metrics: a client was too slow"),
            }
            drop(permit);
        });
    }
}

async fn converse(mut stream: TcpStream, answers: &impl Answer) -> io::Result<()> {
    let mut with_body = true;
    let response = match read_head(&mut stream).await? {
        Head::None => return Ok(()),
        Head::TooLarge => Response::text(Status::TooLarge, "too large"),
        Head::Whole(head) => match path(&head) {
            Ok((method, path)) => {
                with_body = method == "GET";
                answers.get(path).await
            }
            Err(status) => Response::text(status, "no"),
        },
    };
    let octets = response.octets(with_body);
    stream.write_all(octets.as_bytes()).await?;
    stream.shutdown().await?;
    // A close with unread octets would be a reset, which can overtake the answer.
    let mut rest = [0; 1024];
    let leave = async { while matches!(stream.read(&mut rest).await, Ok(1..)) {} };
    let _ = timeout(LINGER, leave).await;
    Ok(())
}

/// What came of reading a request's head.
enum Head {
    Whole(Vec<u8>),
    TooLarge,
    /// The client left.
    None,
}

async fn read_head(stream: &mut TcpStream) -> io::Result<Head> {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while memchr::memmem::find(&head, b"\r\n\r\n").is_none() {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(Head::None);
        }
        head.extend_from_slice(buffer.get(..read).unwrap_or_default());
        if head.len() > HEAD_MAX {
            return Ok(Head::TooLarge);
        }
    }
    Ok(Head::Whole(head))
}

/// Method and path of `GET /path?query HTTP/1.1`; methods but GET and HEAD find
/// nothing.
fn path(head: &[u8]) -> Result<(&str, &str), Status> {
    let line = head.split(|octet| *octet == b'\r').next();
    let line = std::str::from_utf8(line.unwrap_or_default()).map_err(|_| Status::BadRequest)?;
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        [method @ ("GET" | "HEAD"), target, "HTTP/1.1" | "HTTP/1.0"] => {
            let path = target.split_once('?').map_or(target, |(path, _)| path);
            Ok((method, path))
        }
        [_, _, "HTTP/1.1" | "HTTP/1.0"] => Err(Status::NotFound),
        _ => Err(Status::BadRequest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_lines() {
        for (line, found) in [
            ("GET /metrics HTTP/1.1", Ok(("GET", "/metrics"))),
            ("GET /metrics?a=b HTTP/1.0", Ok(("GET", "/metrics"))),
            ("HEAD /healthz HTTP/1.1", Ok(("HEAD", "/healthz"))),
            ("POST /metrics HTTP/1.1", Err(Status::NotFound)),
            ("GET /metrics", Err(Status::BadRequest)),
            ("EHLO a b c", Err(Status::BadRequest)),
            ("", Err(Status::BadRequest)),
        ] {
            assert_eq!(path(format!("{line}\r\n\r\n").as_bytes()), found, "{line}");
        }
    }
}
