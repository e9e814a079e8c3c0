//! Far sides whose TLS is odd in time: how they end a connection, what they resume,
//! what they never answer. Over real sockets, against OpenSSL.

// A test may fail by panicking; the path between is no part of the product.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod delivery_support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use delivery_support::*;
use postern::delivery::{Deliver, Lane, RouteSettings, Settings};
use postern::types::{Host, Report, TlsLevel};
use postern_lab::{Dialog, DialogServer, Identity, TlsVersion, free_port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// A session up to where it begins to differ: `AT` is that place.
const SESSION: &str = "S: 220 mx.clinic.example
C: EHLO relay.example
R: 250-mx.clinic.example\\r\\n250 STARTTLS\\r\\n
C: STARTTLS
S: 220 go
TLS
C: EHLO relay.example
S: 250 mx.clinic.example
C: MAIL FROM:<s@a.example>
S: 250 ok
C: RCPT TO:<nurse@clinic.example>
S: 250 ok
C: DATA
S: 354 go
D:
S: 250 taken
";

/// The session up to and with a line, then these steps.
fn session(last: &str, steps: &str) -> Dialog {
    let end = SESSION.rfind(last).unwrap() + last.len();
    Dialog::parse(&format!("{}\n{steps}", &SESSION[..end])).unwrap()
}

/// One attempt against a far side that goes by this script.
async fn against(dialog: Dialog) -> (Report, DialogServer) {
    let world = World::new(|mx, _| mx);
    world.mx.stop();
    let identity = world.ca.issue(&[MX]);
    let server = DialogServer::start(world.mx.addr(), dialog, Some(identity));
    let limit = Duration::from_secs(20);
    let attempt = world.attempt(TlsLevel::Authenticated);
    let report = tokio::time::timeout(limit, attempt).await.unwrap();
    (report, server)
}

#[tokio::test]
async fn e28_a_connection_may_end_in_any_way_once_the_message_is_taken() {
    for steps in ["CUT", "FIN", "NOTIFY", "FIN\nC: QUIT", "NOTIFY\nC: QUIT"] {
        let (report, server) = against(session("S: 250 taken", steps)).await;
        assert_eq!(fate(&report), "delivered", "{steps}");
        assert_eq!(server.data(), [b"Subject: x\r\n\r\n.dot\r\nend\r\n"]);
    }
}

#[tokio::test]
async fn e28_an_end_within_a_reply_is_a_loss() {
    // After the message nobody knows whether it was taken (pitfall E11): no word of
    // delivered, and none of refused.
    for end in ["CUT", "FIN", "NOTIFY"] {
        for part in [
            "",
            "R: 250",
            "R: 250 taken",
            "R: 250 taken\\r",
            "R: 250-taken\\r\\n",
        ] {
            let (report, _) = against(session("D:", &format!("{part}\n{end}"))).await;
            assert_eq!(fate(&report), "deferred outcome-unknown", "{part} {end}");
        }
    }
}

#[tokio::test]
async fn e28_half_closed_before_the_message_is_a_loss() {
    let cases = [
        (
            "C: EHLO relay.example",
            "R: 250-mx.clinic.example\\r\\n250",
            "deferred tls-interrupted",
        ),
        ("S: 250 mx.clinic.example", "", "deferred connection-lost"),
        (
            "C: MAIL FROM:<s@a.example>",
            "R: 250 o",
            "deferred connection-lost",
        ),
        ("C: DATA", "R: 354", "deferred connection-lost"),
        // Its dot may be on its way already.
        ("S: 354 go", "", "deferred "),
    ];
    for (last, part, expected) in cases {
        for end in ["CUT", "FIN", "NOTIFY"] {
            let (report, server) = against(session(last, &format!("{part}\n{end}"))).await;
            let fate = fate(&report);
            assert!(fate.starts_with(expected), "{last} {part} {end}: {fate}");
            assert!(server.data().is_empty());
        }
    }
}

#[tokio::test]
async fn e27_nothing_is_resumed_so_each_certificate_is_looked_at() {
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let world = World::new(|mx, _| mx.tls_versions(version, version).tickets(10));
        let methods = ["tls", "bounce"];
        let deliverer = world.deliverer(world.settings(), TlsLevel::Authenticated, &methods);
        for _ in 0..3 {
            assert_eq!(fate(&attempt(&deliverer, &job()).await), "delivered");
        }
        let messages = world.mx.messages();
        let resumed = messages.iter().filter(|m| m.tls.as_ref().unwrap().resumed);
        assert_eq!((messages.len(), resumed.count()), (3, 0));
        // Somebody else now, with the tickets of the one before.
        world
            .mx
            .change(|mx| mx.identity(Identity::self_signed(&[MX])));
        assert_eq!(
            fate(&attempt(&deliverer, &job()).await),
            "bounced certificate-untrusted"
        );
        assert_eq!(world.mx.count(), 3);
    }
}

/// A path that loses what is larger than a segment, and all that comes behind it.
struct NarrowPath {
    port: u16,
    connections: Arc<AtomicUsize>,
    lost: Arc<Notify>,
}

impl NarrowPath {
    /// From another port of the server's address.
    async fn to(server: SocketAddr) -> NarrowPath {
        let port = free_port();
        let listener = TcpListener::bind((server.ip(), port)).await.unwrap();
        let (connections, lost) = (Arc::default(), Arc::default());
        let path = NarrowPath {
            port,
            connections,
            lost,
        };
        let (connections, lost) = (path.connections.clone(), path.lost.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let server = TcpStream::connect(server).await.unwrap();
                tokio::spawn(carry(client, server, lost.clone()));
            }
        });
        path
    }
}

async fn carry(client: TcpStream, server: TcpStream, lost: Arc<Notify>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    let mut octets = vec![0; 64 * 1024];
    loop {
        match from_client.read(&mut octets).await {
            Ok(n) if n > 1400 => break lost.notify_one(),
            Ok(n) if n > 0 => to_server.write_all(&octets[..n]).await.unwrap(),
            Ok(_) | Err(_) => return,
        }
    }
    // Nobody closes anything.
    std::future::pending::<()>().await;
}

/// The second ClientHello, to a server that asks for a post-quantum key share, is larger
/// than a segment, and the path loses it. A minute later the server is asked with one that fits.
#[tokio::test]
async fn e24_a_client_hello_larger_than_a_segment_stalls_for_a_minute_at_most() {
    let world = World::new(|mx, _| mx);
    let path = NarrowPath::to(world.mx.addr()).await;
    let settings = Settings {
        routes: vec![RouteSettings {
            domain: "*".into(),
            hosts: vec![(Host::parse(MX).unwrap(), path.port)],
            credentials: None,
        }],
        ..world.settings()
    };
    let methods = ["tls", "bounce"];
    let deliverer = world.deliverer(settings, TlsLevel::Authenticated, &methods);
    let job = job();
    let route = deliverer.route(&job.host).await.unwrap();
    let mut lane = Lane::default();
    let attempt = deliverer.attempt(&job, &route, &mut lane);
    tokio::pin!(attempt);
    tokio::select! {
        report = &mut attempt => panic!("nothing was too large: {report:?}"),
        () = path.lost.notified() => {}
    }
    tokio::time::pause();
    tokio::select! {
        report = &mut attempt => panic!("too early: {report:?}"),
        () = tokio::time::advance(Duration::from_secs(59)) => {}
    }
    assert_eq!(path.connections.load(Ordering::SeqCst), 1);
    tokio::time::advance(Duration::from_secs(2)).await;
    tokio::time::resume();
    let report = attempt.await;
    assert_eq!(fate(&report), "delivered");
    assert_eq!(path.connections.load(Ordering::SeqCst), 2);
    let evidence = report.recipients[0].evidence.tls.clone().unwrap();
    assert_eq!(evidence.version, "TLSv1.3");
    assert_ne!(evidence.group, "X25519MLKEM768");
}
