//! The relay listener: trusted by network or by client certificate, for its own sender domains,
//! and an open relay to nobody.

use std::net::SocketAddr;

use postern_lab::{Ca, Client, ClientTls, Identity, Reply, free_port, loopback};

use crate::world::{Plan, RELAY, SENDER, SOON, World, letter};

const TO: &str = "p@clinic.example";

/// A world with one more listener.
async fn with_listener(lines: &str, clients: &Ca) -> (World, SocketAddr) {
    let addr: SocketAddr = (loopback(), free_port()).into();
    let plan = Plan {
        tables: format!(
            "[[listener]]\nbind = \"{addr}\"\nkind = \"relay\"\nsender_domains = [\"ward.example\"]\n{lines}\n"
        ),
        ..Plan::default()
    };
    let mut world = World::new(&plan);
    clients.write_pem(world.daemon.dir().join("clients.pem"));
    world.daemon.start().await;
    (world, addr)
}

/// The first refusal from the banner on, or the reply to the final dot.
async fn attempt(mut client: Client, from: &str, data: impl AsRef<[u8]>) -> Reply {
    let reply = client.greet("printer.ward.example").await.unwrap();
    if !reply.is_ok() {
        return reply;
    }
    client.submit(from, &[TO], data).await.unwrap()
}

fn forbidden(reply: &Reply, what: &str) {
    assert!((500..600).contains(&reply.code), "{what}: {reply:?}");
}

async fn from(peer: &str, addr: SocketAddr) -> Client {
    let local = SocketAddr::new(peer.parse().unwrap(), 0);
    Client::connect_from(local, addr).await.unwrap()
}

#[tokio::test]
async fn by_network() {
    let (world, addr) = with_listener("networks = [\"127.77.0.0/16\"]", &Ca::new()).await;
    let hello = || letter(TO, "hello", "hi\r\n");
    forbidden(
        &attempt(from("127.78.0.9", addr).await, SENDER, hello()).await,
        "a stranger",
    );
    let peer = || from("127.77.0.9", addr);
    forbidden(
        &attempt(peer().await, "dr@other.example", hello()).await,
        "a foreign sender",
    );
    forbidden(
        &attempt(peer().await, "dr@sub.ward.example", hello()).await,
        "a subdomain",
    );
    let foreign = format!("From: x@other.example\r\nTo: {TO}\r\n\r\nhi\r\n");
    forbidden(
        &attempt(peer().await, "", &foreign).await,
        "<> with a foreign From field",
    );
    assert_eq!(world.far.connections(), 0);
    assert!(world.queue().is_empty());
    for sender in [SENDER, ""] {
        let reply = attempt(peer().await, sender, hello()).await;
        assert_eq!(reply.code, 250, "{sender}: {reply:?}");
    }
    let arrived = world.far.wait_messages(2, SOON).await;
    for message in &arrived {
        let received = message.header("Received").unwrap();
        assert!(received.contains("127.77.0.9"), "{received}");
        assert!(received.contains("with ESMTP"), "{received}");
        // RFC 6409 section 8 is for submission; a relay adds its trace and no more.
        assert_eq!(
            (message.header("Date"), message.header("Message-ID")),
            (None, None)
        );
    }
}

#[tokio::test]
async fn no_auth_is_offered_to_strangers_or_peers() {
    let (world, addr) = with_listener("networks = [\"127.77.0.0/16\"]", &Ca::new()).await;
    let mut client = from("127.77.0.9", addr).await;
    let ehlo = client.greet("printer.ward.example").await.unwrap();
    assert!(ehlo.offers("STARTTLS") && !ehlo.offers("AUTH"), "{ehlo:?}");
    client.starttls(&world.client_tls(), RELAY).await.unwrap();
    let ehlo = client.line("EHLO printer.ward.example").await.unwrap();
    assert!(!ehlo.offers("AUTH") && !ehlo.offers("STARTTLS"), "{ehlo:?}");
    let reply = client
        .submit(SENDER, &[TO], letter(TO, "hello", "hi\r\n"))
        .await
        .unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
    let arrived = world.far.wait_messages(1, SOON).await;
    let received = arrived[0].header("Received").unwrap();
    assert!(received.contains("with ESMTPS"), "{received}");
}

const CERTIFICATES: &str = "tls = \"required\"\ncertificates = [\"*.printers.example\"]\n\
    client_roots = [\"clients.pem\"]";

/// STARTTLS with this certificate, then the attempt; an alert counts as a refusal.
async fn shown(world: &World, client: Client, identity: Option<Identity>) -> Result<Reply, String> {
    let mut client = client;
    let mut tls = ClientTls::trusting(&world.ca);
    if let Some(identity) = identity {
        tls = tls.identity(identity);
    }
    let work = async {
        let reply = client.greet("p1.printers.example").await?;
        if !reply.is_ok() {
            return Ok(reply);
        }
        client.starttls(&tls, RELAY).await?;
        client.line("EHLO p1.printers.example").await?;
        client
            .submit(SENDER, &[TO], letter(TO, "hello", "hi\r\n"))
            .await
    };
    work.await
        .map_err(|error: std::io::Error| error.to_string())
}

/// What a client may show, and each is refused.
fn bad_certificates(clients: &Ca) -> Vec<(&'static str, Option<Identity>)> {
    let name = "p1.printers.example";
    vec![
        ("no certificate", None),
        (
            "another name",
            Some(clients.issue_client("p1.other.example")),
        ),
        (
            "the domain of a star",
            Some(clients.issue_client("printers.example")),
        ),
        (
            "another domain that ends alike",
            Some(clients.issue_client("p1.xprinters.example")),
        ),
        ("another authority", Some(Ca::new().issue_client(name))),
        ("its own authority", Some(Identity::self_signed(&[name]))),
        ("expired", Some(clients.issue_expired(&[name]))),
    ]
}

#[tokio::test]
async fn by_client_certificate() {
    let clients = Ca::new();
    let (world, addr) = with_listener(CERTIFICATES, &clients).await;
    let connect = || async { Client::connect(addr).await.unwrap() };
    let plain = attempt(connect().await, SENDER, letter(TO, "hello", "hi\r\n")).await;
    assert_eq!(plain.code, 530, "{plain:?}");
    for (what, identity) in bad_certificates(&clients) {
        if let Ok(reply) = shown(&world, connect().await, identity).await {
            forbidden(&reply, what);
        }
    }
    assert_eq!(world.far.connections(), 0);
    assert!(world.queue().is_empty());
    // Certificates for servers are accepted too.
    for identity in [
        clients.issue_client("p1.printers.example"),
        clients.issue(&["p2.printers.example"]),
    ] {
        let reply = shown(&world, connect().await, Some(identity)).await;
        assert_eq!(reply.unwrap().code, 250);
    }
    world.far.wait_messages(2, SOON).await;
}

#[tokio::test]
async fn by_both() {
    let clients = Ca::new();
    let lines = format!("{CERTIFICATES}\nnetworks = [\"127.77.0.0/16\"]\nrequire = \"both\"");
    let (world, addr) = with_listener(&lines, &clients).await;
    let good = || Some(clients.issue_client("p1.printers.example"));
    for (peer, identity) in [("127.78.0.9", good()), ("127.77.0.9", None)] {
        if let Ok(reply) = shown(&world, from(peer, addr).await, identity).await {
            forbidden(&reply, peer);
        }
    }
    let reply = shown(&world, from("127.77.0.9", addr).await, good())
        .await
        .unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
    let arrived = world.far.wait_messages(1, SOON).await;
    assert_eq!(arrived.len(), 1);
}
