//! The listening sockets and their accept loops.
//!
//! Holds always: `[::]` takes IPv4 too; running out of file descriptors slows
//! the loop and never ends it; a client over a limit gets a 421 and costs no
//! more than that, and not a log line each. Called by `start`.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use nix::errno::Errno;
use socket2::{Domain as Family, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use super::admission::is_listed;
use super::front::{Front, StartError};
use super::limits::{Crowded, Standing};
use super::settings::{Listener, ListenerKind};
use super::shutdown::Shutdown;
use super::socket;
use super::transport::Transport;
use crate::wire::Reply;

/// The bound sockets of all listeners, in the order of the settings. They listen
/// already; binding needs privileges, serving doesn't.
#[derive(Debug)]
pub struct Sockets(pub(super) Vec<std::net::TcpListener>);

impl Sockets {
    /// Takes for each listener the socket that was handed over for its address,
    /// and binds the others. A socket that outlives the process keeps clients
    /// waiting while it restarts, where they would be refused.
    ///
    /// # Errors
    /// [`StartError::Bind`]; [`StartError::Unasked`] for a socket too many.
    pub fn bind(
        listeners: &[Listener],
        mut handed: Vec<std::net::TcpListener>,
    ) -> Result<Self, StartError> {
        let sockets = listeners.iter().map(|listener| {
            let made = match take(&mut handed, listener.address) {
                Some(socket) => socket.set_nonblocking(true).map(|()| socket),
                None => bind(listener.address),
            };
            made.map_err(|cause| StartError::Bind {
                bind: listener.bind.clone(),
                cause,
            })
        });
        let sockets = sockets.collect::<Result<_, _>>().map(Self)?;
        let address = handed.first().and_then(|socket| socket.local_addr().ok());
        match address {
            Some(address) => Err(StartError::Unasked { address }),
            None => Ok(sockets),
        }
    }

    /// The addresses bound, with the port that the system chose for port 0.
    #[must_use]
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        let address = |s: &std::net::TcpListener| s.local_addr().ok();
        self.0.iter().filter_map(address).collect()
    }
}

/// The socket among `handed` for an address, if there is one.
fn take(
    handed: &mut Vec<std::net::TcpListener>,
    address: SocketAddr,
) -> Option<std::net::TcpListener> {
    let fits = |s: &std::net::TcpListener| s.local_addr().is_ok_and(|local| local == address);
    handed
        .iter()
        .position(fits)
        .map(|at| handed.swap_remove(at))
}

/// Where the system has no IPv6, `[::]` is taken for `0.0.0.0`.
fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    match bind_exactly(address) {
        Err(error) if address.is_ipv6() && is_without_family(&error) => {
            match address.ip().is_unspecified() {
                true => bind_exactly((Ipv4Addr::UNSPECIFIED, address.port()).into()),
                false => Err(error),
            }
        }
        result => result,
    }
}

fn is_without_family(error: &io::Error) -> bool {
    error.raw_os_error().map(Errno::from_raw) == Some(Errno::EAFNOSUPPORT)
}

fn bind_exactly(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Family::for_address(address),
        Type::STREAM.cloexec().nonblocking(),
        Some(Protocol::TCP),
    )?;
    if let SocketAddr::V6(v6) = address {
        socket.set_only_v6(*v6.ip() != Ipv6Addr::UNSPECIFIED)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// One listener at work.
pub(super) struct Accepting {
    pub(super) listener: TcpListener,
    /// Replaced by a reload.
    pub(super) front: Arc<RwLock<Arc<Front>>>,
    pub(super) tasks: TaskTracker,
    pub(super) shutdown: Shutdown,
}

impl Accepting {
    /// Accepts until the shutdown.
    pub(super) async fn run(mut self) {
        let mut exhausted = false;
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.shutdown.asked() => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    exhausted = false;
                    self.take(stream, peer);
                }
                // Gone before it was taken: the next one may be there already.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if !std::mem::replace(&mut exhausted, is_exhaustion(&error)) {
                        tracing::warn!("no connection can be accepted: {error}");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn take(&self, stream: TcpStream, peer: SocketAddr) {
        let front = {
            let front = self.front.read().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(&front)
        };
        let limits = front.rules.limits;
        let client = peer.ip().to_canonical();
        let standing = match is_listed(&front.rules.listener, client) {
            true => Standing::Listed,
            false => Standing::Stranger,
        };
        match front.common.connections.admit(client, standing, &limits) {
            Ok(slot) => {
                front.common.meters.connected(front.rules.listener.kind);
                let shutdown = self.shutdown.of_connection(slot.displaced());
                self.tasks
                    .spawn(socket::serve(stream, client, front, shutdown, slot));
            }
            Err(crowded) => {
                front.common.meters.turned_away(crowded);
                if let Some(untold) = front.common.refusals_told.tell() {
                    tracing::info!(
                        "connection refused: client={client} reason=\"{crowded}\" untold={untold}"
                    );
                }
                self.refuse(stream, crowded, &front);
            }
        }
    }

    /// Says why, in a task of which there are only a few: in a flood of
    /// connections the others are just closed.
    fn refuse(&self, stream: TcpStream, crowded: Crowded, front: &Front) {
        // A TLS client could not read it.
        if front.rules.listener.kind == ListenerKind::Submissions {
            return;
        }
        let Some(permit) = front.common.connections.farewell() else {
            return;
        };
        self.tasks.spawn(async move {
            let reply = Reply::new(421, "4.7.0", crowded.to_string());
            let mut transport = Transport::Plain(stream);
            if transport.write(&reply.to_bytes()).await.is_ok() {
                transport.close().await;
            }
            drop(permit);
        });
    }
}

/// Whether the process or the system has too few of something to accept.
fn is_exhaustion(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)
    )
}

/// Connections the system holds until they are accepted.
const BACKLOG: i32 = 1024;
/// How long to wait after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unspecified_ipv6_address_takes_ipv4_too() {
        let listener = bind("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = Socket::new(Family::IPV4, Type::STREAM, None).unwrap();
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        client.connect(&to.into()).unwrap();
    }

    fn listener(address: SocketAddr) -> Listener {
        Listener {
            bind: address.to_string(),
            address,
            kind: ListenerKind::Submission,
            tls_required: true,
            networks: Vec::new(),
            certificates: Vec::new(),
            require_both: false,
            client_roots: Vec::new(),
            sender_domains: Vec::new(),
            refuse_without_tls: false,
        }
    }

    /// In whatever order they come, and beside listeners that are bound here.
    #[test]
    fn sockets_handed_over_are_taken_by_their_address() {
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let handed = [bind(local).unwrap(), bind(local).unwrap()];
        let [first, second] = handed.each_ref().map(|s| s.local_addr().unwrap());
        let listeners = [second, local, first].map(listener);
        let sockets = Sockets::bind(&listeners, handed.into()).unwrap();
        let bound = sockets.local_addresses();
        assert_eq!((bound[0], bound[2]), (second, first));
        assert!(bound[1] != first && bound[1] != second);
    }

    #[test]
    fn a_socket_too_many_is_told() {
        let handed = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = handed.local_addr().unwrap();
        let error = Sockets::bind(&[], vec![handed]).unwrap_err();
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }

    #[test]
    fn exhaustion_is_known() {
        assert!(is_exhaustion(&Errno::EMFILE.into()));
        assert!(!is_exhaustion(&Errno::ECONNABORTED.into()));
    }
}
