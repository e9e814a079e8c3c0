//! Tests of the lab itself, in one program because each costs a link against OpenSSL.

mod daemon;
mod dialog;
mod dns;
mod lenient;
mod load;
mod smtp;
mod tls;

use std::net::SocketAddr;
use std::time::Duration;

use postern_lab::{Client, Reply, SmtpBuilder, SmtpServer};

/// Any free port on loopback.
pub fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// How long a test waits before it fails.
pub const SOON: Duration = Duration::from_secs(20);

/// A server bent by `turn`, and a client that has been greeted (whatever the reply was).
pub async fn pair(turn: impl FnOnce(SmtpBuilder) -> SmtpBuilder) -> (SmtpServer, Client, Reply) {
    let server = turn(SmtpServer::builder(anywhere())).start();
    let mut client = Client::connect(server.addr())
        .await
        .expect("the server is there");
    let reply = client.greet("relay.example").await.expect("a reply");
    (server, client, reply)
}
