//! The octets of a connection, with and without TLS, within time limits.
//!
//! Holds always: a write or a handshake that takes too long is an error; a
//! connection is closed so that the last reply still arrives. Called by the
//! socket task.

use std::io;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::session::Secured;
use crate::tls::{ClientTrust, suite_word};
use crate::types::Timestamp;

/// A connection.
#[derive(Debug)]
pub(super) enum Transport {
    Plain(TcpStream),
    Secure(Box<TlsStream<TcpStream>>),
}

impl Transport {
    /// Reads what there is; 0 octets are the end, be it told by TLS or not.
    pub(super) async fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let result = match self {
            Self::Plain(stream) => stream.read(into).await,
            Self::Secure(stream) => stream.read(into).await,
        };
        match result {
            // Many clients close without close_notify (RFC 8446 section 6.1).
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            other => other,
        }
    }

    /// Writes all, within [`WRITE_MAX`].
    pub(super) async fn write(&mut self, octets: &Bytes) -> io::Result<()> {
        let writing = async {
            match self {
                Self::Plain(stream) => stream.write_all(octets).await,
                Self::Secure(stream) => {
                    stream.write_all(octets).await?;
                    stream.flush().await
                }
            }
        };
        timeout(WRITE_MAX, writing).await?
    }

    /// Whether octets are here already, before anything was said to the client.
    pub(super) fn has_early_octets(&mut self) -> bool {
        match self {
            Self::Plain(stream) => {
                let mut octet = [MaybeUninit::uninit()];
                // Asks the system itself: tokio would wait for its next event.
                socket2::SockRef::from(&*stream)
                    .peek(&mut octet)
                    .is_ok_and(|n| n > 0)
            }
            Self::Secure(stream) => stream
                .get_mut()
                .1
                .process_new_packets()
                .is_ok_and(|state| state.plaintext_bytes_to_read() > 0),
        }
    }

    /// Waits until the client has gone, without reading: whoever waits long for its
    /// answer to something costly may have stopped waiting. Looks now and then,
    /// first after a while.
    pub(super) async fn gone(&self) {
        let stream = match self {
            Self::Plain(stream) => stream,
            Self::Secure(stream) => stream.get_ref().0,
        };
        loop {
            sleep(GONE_LOOK).await;
            // An error is an end too.
            if stream
                .ready(Interest::READABLE)
                .await
                .is_ok_and(|ready| !ready.is_read_closed())
            {
                continue;
            }
            return;
        }
    }

    /// Says that nothing more comes, and reads what still arrives for a moment:
    /// a close with unread octets would be a reset, which can overtake the last
    /// reply (RFC 1870 section 6, I9).
    pub(super) async fn close(mut self) {
        let closing = async {
            let ended = match &mut self {
                Self::Plain(stream) => stream.shutdown().await,
                Self::Secure(stream) => stream.shutdown().await,
            };
            let mut rest = [0; 4096];
            let mut octets = 0;
            while ended.is_ok() && octets < LINGER_OCTETS {
                match self.read(&mut rest).await {
                    Ok(0) | Err(_) => break,
                    Ok(n) => octets += n,
                }
            }
        };
        // Late or not, the connection is dropped next.
        let _ = timeout(LINGER, closing).await;
    }
}

/// Shakes hands as the server, within [`HANDSHAKE_MAX`].
///
/// # Errors
/// What rustls or the system says.
pub(super) async fn accept_tls(
    stream: TcpStream,
    config: Arc<ServerConfig>,
) -> io::Result<Box<TlsStream<TcpStream>>> {
    let accepting = TlsAcceptor::from(config).accept(stream);
    Ok(Box::new(timeout(HANDSHAKE_MAX, accepting).await??))
}

/// What a finished handshake told, and what the client's certificate is worth.
pub(super) fn secured(
    stream: &TlsStream<TcpStream>,
    trust: Option<&ClientTrust>,
    now: Timestamp,
) -> Secured {
    let connection = stream.get_ref().1;
    let version = match connection.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        // The configuration allows no other.
        _ => "TLSv1.3",
    };
    let cipher = connection
        .negotiated_cipher_suite()
        .map(|suite| suite_word(suite.suite()))
        .filter(|word| !word.is_empty())
        .unwrap_or_else(|| "unknown".to_owned());
    let chain = connection.peer_certificates().unwrap_or_default();
    let names = trust.map(|trust| trust.judge(chain, now));
    if let (Some(Err(refusal)), false) = (&names, chain.is_empty()) {
        tracing::info!("client certificate not taken: reason=\"{refusal}\"");
    }
    Secured {
        version: version.to_owned(),
        cipher,
        names: names.and_then(Result::ok).unwrap_or_default(),
    }
}

/// How long a client may take to accept a reply.
const WRITE_MAX: Duration = Duration::from_secs(60);
/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(60);
/// Between two looks whether the client has gone.
const GONE_LOOK: Duration = Duration::from_millis(250);
/// How long the end of a connection may take ...
const LINGER: Duration = Duration::from_secs(2);
/// ... and what is read in that time at most.
const LINGER_OCTETS: usize = 1 << 20;
