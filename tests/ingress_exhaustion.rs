//! Running out of file descriptors slows the listeners down and never stops
//! them. Alone in its process, whose limit it lowers.

// Test code, though clippy knows only #[test] functions as such.
#![allow(clippy::unwrap_used)]

mod ingress_support;

use ingress_support::*;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use postern::sys::{Dialler, TcpDialler};

#[tokio::test]
async fn accepting_goes_on_after_emfile() {
    let (log, _guard) = Log::start();
    let server = Server::start(|_| ()).await;
    server.connect(RELAY).await;
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, open + 9, hard).unwrap();

    // Each costs one descriptor here and one at the server's side, until the
    // last ones wait in the backlog.
    let mut clients = Vec::new();
    while let Ok(stream) = TcpDialler.dial(server.addresses[RELAY], None).await {
        clients.push(stream);
    }
    assert!(clients.len() > 4, "{}", clients.len());
    eventually(async || log.text().contains("no connection can be accepted")).await;
    drop(clients);
    setrlimit(Resource::RLIMIT_NOFILE, open + 50, hard).unwrap();
    let mut client = server.connect(RELAY).await;
    client.expect("QUIT", "221").await;
}
