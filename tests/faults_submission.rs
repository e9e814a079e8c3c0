//! A client's connection breaks at each step of a good submission: before the dot
//! has come nothing is kept, after it the message is ours, and the session ends in
//! time with nothing left over.
//!
//! A submission is watched once on each kind of listener; then it is broken in each
//! of its turns (greeting, EHLO, STARTTLS, each flight of the handshake, AUTH and its
//! challenge, each command, the body, the reply to the dot, QUIT), at several octets:
//! it ends, it falls silent, it drips. The clock is paused. `POSTERN_FAULTS=full` breaks at more octets.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod ingress_support;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ingress_support::{Ca, RELAY, SUBMISSION, SUBMISSIONS, Server};
use postern::spool::Store;
use postern::sys::metrics::Page;
use postern::sys::{Break, Dialler, FaultyDialler, LinkFault, Stream, TcpDialler, Way};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

/// More than lies in the pipes' buffers on the way.
const OCTETS: usize = 120_000;
/// How long a client that says nothing more is waited for, and a little.
const IDLE: Duration = Duration::from_secs(303);
/// With all that a message dripping in has earned.
const SLOW: Duration = Duration::from_secs(20 * 60);

fn message() -> Vec<u8> {
    let mut message = b"From: a@clinic.example\r\nTo: b@x.example\r\n\r\n".to_vec();
    while message.len() < OCTETS {
        message.extend_from_slice(b"a line like many others, of no special length\r\n");
    }
    message.extend_from_slice(b".\r\n");
    message
}

/// A client that gives up where its connection does.
struct Client(Box<dyn Stream>);

impl Client {
    async fn say(&mut self, octets: &[u8]) -> io::Result<String> {
        self.0.write_all(octets).await?;
        self.0.flush().await?;
        self.reply().await
    }

    async fn reply(&mut self) -> io::Result<String> {
        let mut reply = Vec::new();
        loop {
            let from = reply.len();
            while !reply[from..].ends_with(b"\r\n") {
                reply.push(self.0.read_u8().await?);
            }
            if reply.get(from + 3) == Some(&b' ') {
                return String::from_utf8(reply).map_err(io::Error::other);
            }
        }
    }

    async fn secure(self, ca: &Ca) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(ca.der()).map_err(io::Error::other)?;
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("relay.example").map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, self.0);
        Ok(Self(Box::new(stream.await?)))
    }
}

/// One submission; `told` once the 250 to the dot was heard.
async fn submit(
    server: &Server,
    listener: usize,
    to: &FaultyDialler,
    told: &mut bool,
) -> io::Result<()> {
    let mut client = Client(to.dial(server.addresses[listener], None).await?);
    if listener == SUBMISSIONS {
        client = client.secure(&server.ca).await?;
    }
    client.reply().await?;
    client.say(b"EHLO me\r\n").await?;
    if listener == SUBMISSION {
        client.say(b"STARTTLS\r\n").await?;
        client = client.secure(&server.ca).await?;
        client.say(b"EHLO me\r\n").await?;
    }
    if listener != RELAY {
        client.say(b"AUTH PLAIN\r\n").await?;
        let reply = client.say(b"AHNjYW5uZXIAc2VjcmV0\r\n").await?;
        assert!(reply.starts_with("235 "), "{reply}");
    }
    client.say(b"MAIL FROM:<a@clinic.example>\r\n").await?;
    client.say(b"RCPT TO:<b@x.example>\r\n").await?;
    let go = client.say(b"DATA\r\n").await?;
    assert!(go.starts_with("354 "), "{go}");
    let reply = client.say(&message()).await?;
    // Where it came too slowly, it hears so instead.
    *told = reply.starts_with("250 ");
    client.say(b"QUIT\r\n").await?;
    Ok(())
}

/// Sessions that the server has.
async fn sessions(server: &Server) -> bool {
    let mut page = Page::default();
    let ingress = server.ingress.as_ref().unwrap();
    ingress.figures().write(&mut page).await;
    !page.into_text().contains("postern_ingress_connections 0\n")
}

/// One break; what is wrong with what came of it.
async fn play(server: &Server, listener: usize, body: usize, planned: Break) -> Option<String> {
    let dialler = FaultyDialler::new(Arc::new(TcpDialler));
    dialler.plan(Some(planned));
    let before = server.store.stats().await.unwrap().messages;
    let mut told = false;
    let is_silent = planned.fault == LinkFault::Vanish;
    let limit = match planned.fault {
        LinkFault::Vanish => IDLE,
        LinkFault::Drip => SLOW,
        _ => Duration::from_secs(3),
    };
    let start = Instant::now();
    let client = submit(server, listener, &dialler, &mut told);
    let ended = tokio::select! {
        ended = timeout(limit + Duration::from_secs(60), client) => ended.is_ok(),
        // A client that is stuck keeps its end open for longer than the server does.
        () = gone(server), if is_silent => false,
    };
    if ended {
        gone(server).await;
    }
    let took = start.elapsed();
    let kept = server.store.stats().await.unwrap().messages - before;
    let expected = match (planned.fault, planned.turn > body) {
        // Whether it came in time is the client's to hear.
        (LinkFault::Drip, _) => u64::from(told),
        (_, is_after) => u64::from(is_after),
    };
    match () {
        () if kept != expected => Some(format!("{kept} kept, told: {told}")),
        () if took > limit => Some(format!("the session took {took:?}")),
        () if dialler.open() > 0 => Some("a connection is left".to_owned()),
        () => None,
    }
}

/// Until the server has no session any more, after it had one.
async fn gone(server: &Server) {
    sleep(Duration::from_millis(500)).await;
    while sessions(server).await {
        sleep(Duration::from_millis(500)).await;
    }
}

fn octets_of(length: usize) -> Vec<usize> {
    let mut octets = vec![0, length / 2, length - 1];
    if std::env::var("POSTERN_FAULTS").is_ok_and(|word| word == "full") {
        octets.push(1);
        octets.extend((0..12).map(|n| length * n / 12));
    }
    octets.retain(|at| *at < length);
    octets.sort_unstable();
    octets.dedup();
    octets
}

async fn break_everywhere(listener: usize) {
    let mut server = Server::start(|_| ()).await;
    let dialler = FaultyDialler::new(Arc::new(TcpDialler));
    let mut told = false;
    submit(&server, listener, &dialler, &mut told)
        .await
        .unwrap();
    assert!(told);
    gone(&server).await;
    let talk = dialler.turns().swap_remove(0);
    let body = (0..talk.len()).max_by_key(|turn| talk[*turn].1).unwrap();
    assert_eq!(talk[body].0, Way::Out);
    let tasks = Handle::current().metrics().num_alive_tasks();
    let (mut cases, mut wrong) = (0, Vec::new());
    for (turn, (_, length)) in talk.iter().enumerate() {
        for octets in octets_of(*length) {
            for fault in [LinkFault::Reset, LinkFault::Vanish, LinkFault::Drip] {
                let planned = Break {
                    connection: 0,
                    turn,
                    octets,
                    fault,
                };
                cases += 1;
                if let Some(why) = play(&server, listener, body, planned).await {
                    wrong.push(format!("{planned:?}: {why}"));
                }
            }
        }
    }
    eprintln!("{cases} breaks");
    assert!(wrong.is_empty(), "{talk:?} {wrong:#?}");
    assert_eq!(Handle::current().metrics().num_alive_tasks(), tasks);
    // An honest client is served as before, and what was kept is whole.
    submit(&server, listener, &dialler, &mut told)
        .await
        .unwrap();
    assert!(told);
    for (_, octets) in server.messages().await {
        assert!(octets.ends_with(&message()[..message().len() - 3]));
    }
    server.shutdown.send_replace(true);
    server.ingress.take().unwrap().join().await;
}

#[tokio::test(start_paused = true)]
async fn i27_a_relay_in_the_clear_breaks_at_each_step() {
    break_everywhere(RELAY).await;
}

#[tokio::test(start_paused = true)]
async fn i27_a_submission_by_starttls_breaks_at_each_step() {
    break_everywhere(SUBMISSION).await;
}

#[tokio::test(start_paused = true)]
async fn i27_a_submission_over_tls_breaks_at_each_step() {
    break_everywhere(SUBMISSIONS).await;
}
