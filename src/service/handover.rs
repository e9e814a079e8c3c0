//! Listening sockets from the service manager (sd_listen_fds(3)).
//!
//! Holds always: they are taken before any thread is there, since taking them
//! changes the environment; what is no listening TCP socket is an error, not
//! passed over: its clients would wait for ever.

use std::io;
use std::net::TcpListener;

use listenfd::ListenFd;
use socket2::SockRef;

/// Takes all that were handed to this process; none is what a start by hand gives.
///
/// # Errors
/// For what is no listening TCP socket.
pub(super) fn take() -> io::Result<Vec<TcpListener>> {
    // Without it, listenfd would take what was meant for a parent's child.
    if std::env::var_os("LISTEN_PID").is_none() {
        return Ok(Vec::new());
    }
    let mut handed = ListenFd::from_env();
    let mut sockets = Vec::new();
    for at in 0..handed.len() {
        let Some(socket) = handed.take_tcp_listener(at)? else {
            continue;
        };
        if !SockRef::from(&socket).is_listener()? {
            let message = "it does not listen";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        sockets.push(socket);
    }
    Ok(sockets)
}
