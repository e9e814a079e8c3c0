//! A scripted SMTP client: what submits to Postern in a test, politely or not.
//!
//! Everything can be sent octet by octet; replies are read with a limit of 30 s, so that a silent
//! server fails a test instead of hanging it. TLS is OpenSSL's, down to TLS 1.0 if asked.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use openssl::base64::encode_block;
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use openssl::x509::X509;
use tokio::net::{TcpSocket, TcpStream};

use crate::ca::{Ca, Identity};
use crate::smtp::{TlsVersion, show};
use crate::wire::{Side, TlsSeen, Wire, stuff};

/// A connection to a server under test. Methods fail with the I/O error or with "the server took
/// too long"; replies are given back whatever their code.
pub struct Client {
    wire: Wire,
}

/// A whole reply, of one line or many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The code of the last line; 0 if it has none.
    pub code: u16,
    /// The text of each line, without code and line end.
    pub lines: Vec<String>,
}

/// How a client does TLS.
#[derive(Clone, Default)]
pub struct ClientTls {
    roots: Vec<String>,
    identity: Option<Identity>,
    versions: Option<(TlsVersion, TlsVersion)>,
    ciphers: Option<String>,
    groups: Option<String>,
}

impl Reply {
    /// 2xx or 3xx.
    pub fn is_ok(&self) -> bool {
        (200..400).contains(&self.code)
    }

    /// All lines, joined by `\n`.
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }

    /// Whether an EHLO reply has this keyword.
    pub fn offers(&self, keyword: &str) -> bool {
        let words = self
            .lines
            .iter()
            .skip(1)
            .filter_map(|line| line.split(' ').next());
        words
            .into_iter()
            .any(|word| word.eq_ignore_ascii_case(keyword))
    }
}

impl ClientTls {
    /// Takes any certificate.
    pub fn insecure() -> ClientTls {
        ClientTls::default()
    }

    /// Takes only certificates of this authority, for the name asked.
    pub fn trusting(ca: &Ca) -> ClientTls {
        ClientTls {
            roots: vec![ca.pem()],
            ..ClientTls::default()
        }
    }

    /// Shows this certificate when asked for one.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> ClientTls {
        self.identity = Some(identity);
        self
    }

    /// Offers these versions only.
    #[must_use]
    pub fn versions(mut self, min: TlsVersion, max: TlsVersion) -> ClientTls {
        self.versions = Some((min, max));
        self
    }

    /// Offers these ciphers (TLS 1.2 and older), as an OpenSSL cipher string.
    #[must_use]
    pub fn ciphers(mut self, ciphers: &str) -> ClientTls {
        self.ciphers = Some(ciphers.to_owned());
        self
    }

    /// Offers these key exchange groups.
    #[must_use]
    pub fn groups(mut self, groups: &str) -> ClientTls {
        self.groups = Some(groups.to_owned());
        self
    }

    fn ssl(&self, name: &str) -> io::Result<openssl::ssl::Ssl> {
        let mut builder = SslConnector::builder(SslMethod::tls_client())?;
        builder.set_security_level(0);
        for root in &self.roots {
            builder
                .cert_store_mut()
                .add_cert(X509::from_pem(root.as_bytes())?)?;
        }
        if self.roots.is_empty() {
            builder.set_verify(SslVerifyMode::NONE);
        }
        if let Some(identity) = &self.identity {
            show(&mut builder, identity)?;
        }
        if let Some((min, max)) = self.versions {
            builder.set_min_proto_version(Some(min.openssl()))?;
            builder.set_max_proto_version(Some(max.openssl()))?;
        }
        if let Some(ciphers) = &self.ciphers {
            builder.set_cipher_list(ciphers)?;
        }
        if let Some(groups) = &self.groups {
            builder.set_groups_list(groups)?;
        }
        let mut config = builder.build().configure()?;
        config.set_verify_hostname(!self.roots.is_empty());
        Ok(config.into_ssl(name)?)
    }
}

impl Client {
    /// Connects; the banner is not read yet.
    pub async fn connect(addr: SocketAddr) -> io::Result<Client> {
        let stream = limited(TcpStream::connect(addr)).await?;
        Ok(Client {
            wire: Wire::new(stream)?,
        })
    }

    /// Connects from a certain local address: a client of another network.
    pub async fn connect_from(local: SocketAddr, addr: SocketAddr) -> io::Result<Client> {
        let socket = if addr.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        socket.set_reuseaddr(true)?;
        socket.bind(local)?;
        let stream = limited(socket.connect(addr)).await?;
        Ok(Client {
            wire: Wire::new(stream)?,
        })
    }

    /// Connects and shakes hands at once (implicit TLS).
    pub async fn tls_connect(addr: SocketAddr, tls: &ClientTls, name: &str) -> io::Result<Client> {
        let mut client = Client::connect(addr).await?;
        client.handshake(tls, name).await?;
        Ok(client)
    }

    /// Sends octets as they are.
    pub async fn send(&mut self, octets: impl AsRef<[u8]>) -> io::Result<()> {
        self.wire.write(octets.as_ref()).await
    }

    /// Sends chunks with a gap of time between them, each in a segment of its own.
    pub async fn send_slowly<C: AsRef<[u8]>>(
        &mut self,
        chunks: impl IntoIterator<Item = C>,
        gap: Duration,
    ) -> io::Result<()> {
        for (i, chunk) in chunks.into_iter().enumerate() {
            if i > 0 {
                tokio::time::sleep(gap).await;
            }
            self.wire.write(chunk.as_ref()).await?;
        }
        Ok(())
    }

    /// Sends a line (CRLF is added) and reads the reply.
    pub async fn line(&mut self, line: &str) -> io::Result<Reply> {
        self.send(format!("{line}\r\n")).await?;
        self.read_reply().await
    }

    /// Reads one reply, however many lines it has.
    pub async fn read_reply(&mut self) -> io::Result<Reply> {
        let mut lines = Vec::new();
        loop {
            let line = limited(self.wire.read_line())
                .await?
                .ok_or(io::ErrorKind::UnexpectedEof)?;
            let text = String::from_utf8_lossy(&line)
                .trim_end_matches(['\r', '\n'])
                .to_owned();
            let code = text
                .get(..3)
                .and_then(|code| code.parse().ok())
                .unwrap_or(0);
            lines.push(text.get(4..).unwrap_or_default().to_owned());
            if text.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply { code, lines });
            }
        }
    }

    /// Reads to the end of the connection and gives what came before it; a reset is an end too.
    pub async fn read_eof(&mut self) -> io::Result<Vec<u8>> {
        limited(self.wire.read_to_end()).await
    }

    /// Reads the banner and says EHLO; gives the reply to it.
    pub async fn greet(&mut self, name: &str) -> io::Result<Reply> {
        let banner = self.read_reply().await?;
        if !banner.is_ok() {
            return Ok(banner);
        }
        self.line(&format!("EHLO {name}")).await
    }

    /// Says STARTTLS and, after a yes, shakes hands. Gives the reply; EHLO comes next.
    pub async fn starttls(&mut self, tls: &ClientTls, name: &str) -> io::Result<Reply> {
        let reply = self.line("STARTTLS").await?;
        if reply.is_ok() {
            self.handshake(tls, name).await?;
        }
        Ok(reply)
    }

    /// Shakes hands now, whatever was said before.
    pub async fn handshake(&mut self, tls: &ClientTls, name: &str) -> io::Result<()> {
        let stray = limited(self.wire.handshake(tls.ssl(name)?, Side::Client)).await?;
        match stray {
            0 => Ok(()),
            n => Err(io::Error::other(format!(
                "{n} octets of plaintext before the handshake"
            ))),
        }
    }

    /// The facts of the handshake, once there was one. `peer_subject` is the server's name.
    pub fn tls(&self) -> Option<TlsSeen> {
        self.wire.tls()
    }

    /// The server's certificate, DER.
    pub fn peer_certificate(&self) -> Option<Vec<u8>> {
        self.wire.ssl()?.peer_certificate()?.to_der().ok()
    }

    /// AUTH PLAIN with the response in the same line.
    pub async fn auth_plain(&mut self, user: &str, password: &str) -> io::Result<Reply> {
        let response = encode_block(format!("\0{user}\0{password}").as_bytes());
        self.line(&format!("AUTH PLAIN {}", response.replace('\n', "")))
            .await
    }

    /// AUTH LOGIN with its two questions.
    pub async fn auth_login(&mut self, user: &str, password: &str) -> io::Result<Reply> {
        let mut reply = self.line("AUTH LOGIN").await?;
        for answer in [user, password] {
            if reply.code != 334 {
                break;
            }
            let answer = encode_block(answer.as_bytes()).replace('\n', "");
            reply = self.line(&answer).await?;
        }
        Ok(reply)
    }

    /// One whole transaction: MAIL, RCPT for each recipient, DATA, the content (dot-stuffed, with
    /// a CRLF added at its end if there is none). Gives the first refusal, or the reply to the
    /// final dot. Addresses stand without brackets; what follows a space is a parameter:
    /// `"a@b.example SIZE=100"`.
    pub async fn submit(
        &mut self,
        from: &str,
        to: &[&str],
        data: impl AsRef<[u8]>,
    ) -> io::Result<Reply> {
        let reply = self.line(&with_brackets("MAIL FROM:", from)).await?;
        if !reply.is_ok() {
            return Ok(reply);
        }
        for recipient in to {
            let reply = self.line(&with_brackets("RCPT TO:", recipient)).await?;
            if !reply.is_ok() {
                return Ok(reply);
            }
        }
        let reply = self.line("DATA").await?;
        if !reply.is_ok() {
            return Ok(reply);
        }
        self.send(stuff(data.as_ref())).await?;
        self.read_reply().await
    }

    /// QUIT, and the connection's end.
    pub async fn quit(mut self) -> io::Result<Reply> {
        let reply = self.line("QUIT").await?;
        // The server may be faster.
        let _ = self.wire.close().await;
        Ok(reply)
    }
}

fn with_brackets(command: &str, address: &str) -> String {
    match address.split_once(' ') {
        Some((address, params)) => format!("{command}<{address}> {params}"),
        None => format!("{command}<{address}>"),
    }
}

async fn limited<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(LIMIT, work).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the server took too long",
        )),
    }
}

const LIMIT: Duration = Duration::from_secs(30);
