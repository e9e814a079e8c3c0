//! What a receiver has stored, looked at on its own disk: each file below a folder is a message,
//! its header begins with the envelope (Return-Path, then the recipient).

use std::path::Path;
use std::time::{Duration, Instant};

/// How a receiver keeps line ends.
#[derive(Clone, Copy)]
pub(crate) enum Ends {
    /// As in a maildir.
    Lf,
    /// As they came.
    CrLf,
}

/// A stored message.
pub(crate) struct Stored {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

const LIMIT: Duration = Duration::from_secs(40);

/// Waits until there are so many messages with this `X-Lab-Id`, and gives them.
pub(crate) async fn wait(folder: &Path, id: &str, count: usize) -> Result<Vec<Stored>, String> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let found = find(folder, id);
        if found.len() >= count {
            return Ok(found);
        }
        if Instant::now() > deadline {
            return Err(format!("{} of {count} messages came: {id}", found.len()));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The messages with this `X-Lab-Id` so far.
pub(crate) fn find(folder: &Path, id: &str) -> Vec<Stored> {
    let mut files = Vec::new();
    files_below(folder, &mut files);
    let stored = files.iter().filter_map(|octets| Stored::parse(octets));
    let marker = format!("\nX-Lab-Id: {id}\n");
    stored.filter(|m| m.head.contains(&marker)).collect()
}

fn files_below(folder: &Path, into: &mut Vec<Vec<u8>>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.is_dir() {
            // Where they lie until they are whole.
            true if path.ends_with("tmp") => {}
            true => files_below(&path, into),
            // One that moves on meanwhile is found the next time.
            false => into.extend(std::fs::read(&path)),
        }
    }
}

impl Stored {
    fn parse(octets: &[u8]) -> Option<Stored> {
        // The lines of an envelope end in LF even before a message with CRLF.
        let (at, len) = match memchr::memmem::find(octets, b"\r\n\r\n") {
            Some(at) if !octets[..at].windows(2).any(|two| two == b"\n\n") => (at, 4),
            _ => (memchr::memmem::find(octets, b"\n\n")?, 2),
        };
        let head = String::from_utf8_lossy(&octets[..at]).replace("\r\n", "\n");
        Some(Stored {
            head: head + "\n",
            body: octets[at + len..].to_vec(),
        })
    }

    /// Whether this is its envelope, as the receiver wrote it.
    pub(crate) fn has_envelope(&self, from: &str, to: &str) -> Result<(), String> {
        let mut lines = self.head.lines();
        let mut line = || lines.next().unwrap_or_default().to_lowercase();
        let (path, rcpt) = (line(), line());
        let named = [format!("envelope-to: {to}"), format!("delivered-to: {to}")];
        match path == format!("return-path: <{from}>") && named.contains(&rcpt) {
            true => Ok(()),
            false => Err(format!("the envelope is {path}, {rcpt}")),
        }
    }

    /// The TLS version that the receiver's own trace header names.
    pub(crate) fn tls(&self) -> &'static str {
        let own = self.head.split("relay.ward.example").take(2);
        let own = own
            .collect::<String>()
            .to_lowercase()
            .replace("tlsv", "tls")
            .replace("tls-", "tls");
        match (own.contains("tls1.3"), own.contains("tls1.2")) {
            (true, false) => "TLSv1.3",
            (false, true) => "TLSv1.2",
            _ => "unknown",
        }
    }
}
