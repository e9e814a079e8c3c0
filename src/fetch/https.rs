//! The real thing: hyper's HTTP/1.1 client over rustls, by our own resolver.
//!
//! Owns the steps resolve, pin, connect, handshake, judge, ask, read. Holds always:
//! the request is written only over a connection whose certificate was judged good
//! for the host's name; one request a connection. A `reqwest` would bring a
//! resolver, redirects, proxies and pools of its own, all to be switched off again;
//! here they don't exist.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::{Fetch, FetchError, Request, Settings};
use crate::dns::{Answer, Families, Resolver};
use crate::sys::{Clock, Dialler, Stream, is_blocked};
use crate::tls::{ClientTls, Profile, RootsError};
use crate::types::{BoxFuture, Host};

/// Addresses of one host tried.
const ADDRESSES_MAX: usize = 4;
/// For one address, to connect.
const CONNECT: Duration = Duration::from_secs(10);
/// Header fields of an answer.
const HEADERS_MAX: usize = 64;
/// Octets of an answer's head, and of hyper's buffer.
const HEAD_MAX: usize = 16 * 1024;

/// Fetches over the real network.
pub struct HttpsFetcher {
    settings: Settings,
    resolver: Arc<dyn Resolver>,
    dialler: Arc<dyn Dialler>,
    tls: ClientTls,
}

impl std::fmt::Debug for HttpsFetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HttpsFetcher({:?})", self.settings)
    }
}

impl HttpsFetcher {
    /// Loads the roots.
    ///
    /// # Errors
    /// [`RootsError`] for `[network] https_roots`.
    pub fn new(
        settings: Settings,
        resolver: Arc<dyn Resolver>,
        dialler: Arc<dyn Dialler>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, RootsError> {
        Ok(Self {
            tls: ClientTls::load(&settings.roots, clock)?,
            settings,
            resolver,
            dialler,
        })
    }

    async fn fetch(&self, request: &Request) -> Result<Vec<u8>, FetchError> {
        let stream = self.connect(request).await?;
        let (mut sender, connection) = http1::Builder::new()
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| FetchError::Protocol)?;
        // It ends with this function, whatever the far side does.
        let _driving = AbortOnDropHandle::new(tokio::spawn(async move {
            let _ = connection.await;
        }));
        let head = hyper::Request::get(request.path.as_str())
            .header(HOST, request.host.as_str())
            .header(ACCEPT, request.media_type.unwrap_or("*/*"))
            .header(USER_AGENT, concat!("postern/", env!("CARGO_PKG_VERSION")))
            .header(CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|_| FetchError::Protocol)?;
        let answer = sender.send_request(head).await;
        let answer = answer.map_err(|_| FetchError::Protocol)?;
        judge(&answer, request.media_type)?;
        read(answer, request.octets).await
    }

    /// The first address that can be reached, with a certificate that is good.
    async fn connect(&self, request: &Request) -> Result<Box<dyn Stream>, FetchError> {
        let mut last = FetchError::Unreachable;
        for ip in self.addresses(request).await? {
            let address = SocketAddr::new(ip, self.settings.port);
            let stream = match timeout(CONNECT, self.dialler.dial(address, None)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(_)) => continue,
                Err(_) => {
                    last = FetchError::TimedOut;
                    continue;
                }
            };
            return self.secure(stream, request).await;
        }
        Err(last)
    }

    async fn secure(
        &self,
        stream: Box<dyn Stream>,
        request: &Request,
    ) -> Result<Box<dyn Stream>, FetchError> {
        let host = Host::Domain(request.host.clone());
        let secured = self.tls.handshake(stream, &host, Profile::Full).await;
        let secured = secured.map_err(|_| FetchError::Handshake)?;
        // The handshake lets any certificate through: what it is worth is asked here.
        match secured.proof.verdict.identity() {
            Ok(()) => Ok(secured.stream),
            Err(reason) => Err(FetchError::Certificate(reason)),
        }
    }

    /// Its addresses outside of blocked networks, at least one.
    async fn addresses(&self, request: &Request) -> Result<Vec<IpAddr>, FetchError> {
        let answer = self.resolver.addresses(&request.host, Families::Both).await;
        let found = match answer {
            Answer::Found { records, .. } => records,
            Answer::NoData | Answer::NoDomain => return Err(FetchError::NoHost),
            Answer::Failed(_) => return Err(FetchError::Dns),
        };
        let open = found
            .into_iter()
            .map(|ip| ip.to_canonical())
            .filter(|ip| !is_blocked(*ip, &self.settings.blocked));
        // IPv4 and IPv6 by turns, so that a machine with one of them gets there.
        let (v6, v4): (Vec<IpAddr>, Vec<IpAddr>) = open.partition(IpAddr::is_ipv6);
        let longer = v6.len().max(v4.len());
        let turns = (0..longer).flat_map(|turn| [v6.get(turn), v4.get(turn)]);
        let ordered: Vec<IpAddr> = turns.flatten().copied().take(ADDRESSES_MAX).collect();
        match ordered.is_empty() {
            true => Err(FetchError::Blocked),
            false => Ok(ordered),
        }
    }
}

impl Fetch for HttpsFetcher {
    fn get(&self, request: Request) -> BoxFuture<'_, Result<Vec<u8>, FetchError>> {
        Box::pin(async move {
            let fetching = self.fetch(&request);
            let ended = timeout(request.time, fetching).await;
            ended.unwrap_or(Err(FetchError::TimedOut))
        })
    }
}

/// 200 and the right media type, or what else.
fn judge(answer: &Response<Incoming>, media_type: Option<&str>) -> Result<(), FetchError> {
    let status = answer.status();
    if status.is_redirection() {
        return Err(FetchError::Redirect(status.as_u16()));
    }
    if status != StatusCode::OK {
        return Err(FetchError::Status(status.as_u16()));
    }
    let Some(media_type) = media_type else {
        return Ok(());
    };
    let value = answer.headers().get(CONTENT_TYPE);
    let value = value.and_then(|value| value.to_str().ok());
    match value.is_some_and(|value| is_of_type(value, media_type)) {
        true => Ok(()),
        false => Err(FetchError::MediaType),
    }
}

/// Whether a `Content-Type` names this media type, with whatever parameters.
fn is_of_type(value: &str, media_type: &str) -> bool {
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(media_type)
}

async fn read(answer: Response<Incoming>, octets: usize) -> Result<Vec<u8>, FetchError> {
    let body = Limited::new(answer.into_body(), octets).collect().await;
    match body {
        Ok(body) => Ok(body.to_bytes().into()),
        Err(error) if error.is::<LengthLimitError>() => Err(FetchError::TooLarge),
        Err(_) => Err(FetchError::Protocol),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e44_the_media_type_with_or_without_parameters() {
        for good in [
            "text/plain",
            "TEXT/Plain",
            "text/plain; charset=utf-8",
            "text/plain;x=y",
        ] {
            assert!(is_of_type(good, "text/plain"), "{good}");
        }
        for bad in ["text/html", "", "text", "text/plainer", "a; text/plain"] {
            assert!(!is_of_type(bad, "text/plain"), "{bad}");
        }
    }
}
