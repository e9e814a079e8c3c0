//! A TCP connection that may become a TLS one, with a read buffer: what the lab's SMTP servers,
//! dialogs and client stand on.
//!
//! Lines and whole DATA sections are found by searching whole buffers, never octet by octet, so
//! that a debug build takes 20 MiB in a fraction of a second.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use memchr::{memchr, memmem};
use openssl::ssl::{NameType, Ssl, SslRef};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

/// A connection with its unread input.
pub(crate) struct Wire {
    stream: Stream,
    input: Vec<u8>,
    /// Where the unread part of `input` begins.
    at: usize,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<SslStream<TcpStream>>),
    /// Only while a handshake is under way, and after one that failed.
    Gone,
}

/// Which side of a handshake to play.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Client,
    Server,
}

/// What a TLS handshake came to, as the lab saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSeen {
    /// `"TLSv1.2"`, `"TLSv1.3"`, …
    pub version: String,
    /// The cipher suite in OpenSSL's spelling, `"ECDHE-ECDSA-AES256-GCM-SHA384"`.
    pub cipher: String,
    /// The server name the client asked for.
    pub sni: Option<String>,
    /// Whether an earlier session went on, without a certificate shown anew.
    pub resumed: bool,
    /// Common name of the other side's certificate, if it showed one.
    pub peer_subject: Option<String>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Wire> {
        stream.set_nodelay(true)?;
        Ok(Wire {
            stream: Stream::Plain(stream),
            input: Vec::new(),
            at: 0,
        })
    }

    /// Shakes hands. Plaintext that was read ahead is thrown away and its length given back: it
    /// must not count as something said under TLS.
    pub(crate) async fn handshake(&mut self, ssl: Ssl, side: Side) -> io::Result<usize> {
        let Stream::Plain(plain) = std::mem::replace(&mut self.stream, Stream::Gone) else {
            return Err(io::Error::other("TLS within TLS"));
        };
        let stray = self.unread().len();
        self.input.clear();
        self.at = 0;
        let mut stream = SslStream::new(ssl, plain)?;
        match side {
            Side::Client => Pin::new(&mut stream).connect().await,
            Side::Server => Pin::new(&mut stream).accept().await,
        }
        .map_err(io::Error::other)?;
        self.stream = Stream::Tls(Box::new(stream));
        Ok(stray)
    }

    /// The facts of the handshake, once there was one.
    pub(crate) fn tls(&self) -> Option<TlsSeen> {
        let ssl = self.ssl()?;
        Some(TlsSeen {
            version: ssl.version_str().to_owned(),
            cipher: ssl
                .current_cipher()
                .map(|c| c.name().to_owned())
                .unwrap_or_default(),
            sni: ssl.servername(NameType::HOST_NAME).map(str::to_owned),
            resumed: ssl.session_reused(),
            peer_subject: ssl
                .peer_certificate()
                .map(|certificate| common_name(&certificate)),
        })
    }

    pub(crate) fn ssl(&self) -> Option<&SslRef> {
        match &self.stream {
            Stream::Tls(stream) => Some(stream.ssl()),
            Stream::Plain(_) | Stream::Gone => None,
        }
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.ssl().is_some()
    }

    /// What has been received and not yet been read.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.input[self.at..]
    }

    /// The next line with its line end, or `None` at the end of the stream.
    pub(crate) async fn read_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut searched = 0;
        loop {
            if let Some(found) = memchr(b'\n', &self.unread()[searched..]) {
                let end = self.at + searched + found + 1;
                let line = self.input[self.at..end].to_vec();
                self.at = end;
                return Ok(Some(line));
            }
            searched = self.unread().len();
            if searched > MAX_LINE {
                return Err(io::Error::other("a line over 1 MiB"));
            }
            if self.fill().await? == 0 {
                return match searched {
                    0 => Ok(None),
                    _ => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }

    /// Reads a DATA section up to and including its final dot. With a `limit` it stops once so
    /// many octets have come, and gives `None`.
    pub(crate) async fn read_data(&mut self, limit: Option<usize>) -> io::Result<Option<Vec<u8>>> {
        let mut raw = Vec::new();
        loop {
            let from = raw.len();
            raw.extend_from_slice(self.unread());
            self.input.clear();
            self.at = 0;
            if limit.is_some_and(|limit| raw.len() >= limit) {
                return Ok(None);
            }
            if let Some(end) = end_of_data(&raw, from) {
                self.input = raw.split_off(end);
                return Ok(Some(raw));
            }
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads to the end of the stream; a reset counts as an end.
    pub(crate) async fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.fill().await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
                Err(error) => return Err(error),
            }
        }
        let rest = self.unread().to_vec();
        self.at = self.input.len();
        Ok(rest)
    }

    pub(crate) async fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(octets).await,
            Stream::Tls(stream) => stream.write_all(octets).await,
            Stream::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Writes octet by octet with a pause behind each.
    pub(crate) async fn write_slowly(&mut self, octets: &[u8], pause: Duration) -> io::Result<()> {
        for octet in octets {
            self.write(&[*octet]).await?;
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    /// Ends the connection in good order: close_notify under TLS, then FIN.
    pub(crate) async fn close(&mut self) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.shutdown().await,
            Stream::Tls(stream) => stream.shutdown().await,
            Stream::Gone => Ok(()),
        }
    }

    /// Ends what is written and goes on reading: FIN alone, without a close_notify under TLS.
    pub(crate) async fn fin(&mut self) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.shutdown().await,
            Stream::Tls(stream) => stream.get_mut().shutdown().await,
            Stream::Gone => Ok(()),
        }
    }

    /// The next TLS record, or what there is of it, left unread.
    pub(crate) async fn peek_record(&mut self) -> io::Result<Vec<u8>> {
        let Stream::Plain(stream) = &self.stream else {
            return Err(io::Error::other("not in the clear"));
        };
        let mut octets = vec![0; CHUNK];
        loop {
            let n = stream.peek(&mut octets).await?;
            let length = match octets.get(3..5) {
                Some([high, low]) => 5 + usize::from(*high) * 256 + usize::from(*low),
                _ => 5,
            };
            if n == 0 || n >= length.max(6) {
                octets.truncate(n);
                return Ok(octets);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Takes in what has come; 0 at the end of the stream.
    async fn fill(&mut self) -> io::Result<usize> {
        if self.at > 0 {
            self.input.drain(..self.at);
            self.at = 0;
        }
        self.input.reserve(CHUNK);
        match &mut self.stream {
            Stream::Plain(stream) => stream.read_buf(&mut self.input).await,
            Stream::Tls(stream) => stream.read_buf(&mut self.input).await,
            Stream::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// Removes the dot-stuffing of a DATA section (RFC 5321 4.5.2) and its final dot.
pub(crate) fn unstuff(raw: &[u8]) -> Vec<u8> {
    let content = raw.strip_suffix(b".\r\n").unwrap_or(raw);
    let mut out = Vec::with_capacity(content.len());
    let mut from = usize::from(content.starts_with(b"."));
    for found in memmem::find_iter(content, b"\r\n.") {
        let dot = found + 2;
        out.extend_from_slice(&content[from..dot]);
        from = dot + 1;
    }
    out.extend_from_slice(&content[from..]);
    out
}

/// Adds dot-stuffing and the final dot; a missing CRLF at the end is added too.
pub(crate) fn stuff(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + data.len() / 50 + 5);
    if data.starts_with(b".") {
        out.push(b'.');
    }
    let mut from = 0;
    for found in memmem::find_iter(data, b"\r\n.") {
        out.extend_from_slice(&data[from..found + 2]);
        out.push(b'.');
        from = found + 2;
    }
    out.extend_from_slice(&data[from..]);
    if !data.is_empty() && !data.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

/// Where the octet behind the final dot's line is, looking only where it can have become whole
/// since `from`.
fn end_of_data(raw: &[u8], from: usize) -> Option<usize> {
    if raw.starts_with(b".\r\n") {
        return Some(3);
    }
    let start = from.saturating_sub(4);
    memmem::find(&raw[start..], b"\r\n.\r\n").map(|found| start + found + 5)
}

fn common_name(certificate: &openssl::x509::X509) -> String {
    let mut names = certificate
        .subject_name()
        .entries_by_nid(openssl::nid::Nid::COMMONNAME);
    names
        .next()
        .and_then(|entry| entry.data().to_string().ok())
        .unwrap_or_default()
}

const CHUNK: usize = 64 * 1024;
const MAX_LINE: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_stuffing_goes_there_and_back() {
        for data in [
            "",
            ".\r\n",
            "a\r\n.b\r\n..\r\n",
            ".first\r\n",
            "x\r\n.\r\ny\r\n",
            "a\n.b\r\n",
        ] {
            let raw = stuff(data.as_bytes());
            assert_eq!(end_of_data(&raw, 0), Some(raw.len()), "{data:?}");
            assert_eq!(unstuff(&raw), data.as_bytes(), "{data:?}");
        }
        assert_eq!(stuff(b"no end"), b"no end\r\n.\r\n");
    }

    #[test]
    fn the_end_is_found_across_chunks() {
        let raw = b"ab\r\n.\r\nrest";
        for from in 0..7 {
            assert_eq!(end_of_data(&raw[..7], from), Some(7));
        }
        assert_eq!(end_of_data(b"ab\n.\n", 0), None);
        assert_eq!(end_of_data(b"ab\r\n.\n", 0), None);
    }
}
