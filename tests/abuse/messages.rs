//! Messages that are too much: too large, of too many fields, too deep, of too long lines.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use postern_lab::{Client, loopback};

use crate::scene::{STOLEN, Scene, login, size};
use crate::world::{SENDER, SOON, letter};

const TO: &str = "p@clinic.example";

async fn in_data(to: SocketAddr) -> Result<Client, String> {
    let mut client = login(STOLEN, to, loopback()).await?;
    let mail = format!("MAIL FROM:<{SENDER}>");
    for line in [mail.as_str(), "RCPT TO:<p@clinic.example>", "DATA"] {
        let reply = client.line(line).await.map_err(|e| e.to_string())?;
        if !reply.is_ok() {
            return Err(format!("{line}: {reply:?}"));
        }
    }
    Ok(client)
}

/// 5 GB, declared: refused before an octet of it is sent. Undeclared: read on for a while, then
/// cut; again and again, by four at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_five_gigabytes() {
    let top = size("limits.message_size = \"4MiB\"\n", "");
    let mut scene = Scene::start("5 GB, undeclared, 4 at once, again and again", top).await;
    let to = scene.world.submission;
    let mut client = login(STOLEN, to, loopback()).await.unwrap();
    let mail = format!("MAIL FROM:<{SENDER}> SIZE=5368709120");
    let reply = client.line(&mail).await.unwrap();
    assert_eq!(
        (reply.code, &reply.text()[..5]),
        (552, "5.3.4"),
        "{reply:?}"
    );
    for _ in 0..4 {
        scene.attack(async move {
            loop {
                let _ = endless(to).await;
            }
        });
    }
    let figures = scene
        .go_on(size(Duration::from_secs(1), Duration::from_secs(30)))
        .await;
    figures.assert_served(Duration::from_secs(10));
    figures.assert_memory(150);
    assert!(figures.peaks.disk < 2 << 30, "{}", figures.peaks.disk);
    scene.end().await;
}

/// Sends until it is cut off, and gives how much that was.
async fn endless(to: SocketAddr) -> Result<u64, String> {
    let mut client = in_data(to).await?;
    let head = format!("From: {SENDER}\r\nSubject: large\r\n\r\n");
    client.send(head).await.map_err(|e| e.to_string())?;
    let block = "0123456789 0123456789 0123456789 0123456789 0123456789 01234\r\n".repeat(1024);
    let mut sent = 0;
    while sent < 5 << 30 {
        if client.send(&block).await.is_err() {
            break;
        }
        sent += block.len() as u64;
    }
    Ok(sent)
}

/// What an oversize message of an honest client gets is 552, and no reset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_message_is_cut_at_four_times_the_limit() {
    let scene = Scene::start("", "limits.message_size = \"2MiB\"\n").await;
    let sent = endless(scene.world.submission).await.unwrap();
    // What is in the system's buffers counts as sent.
    assert!(((8 << 20)..(24 << 20)).contains(&sent), "{sent}");
    scene.end().await;
}

/// Many fields, in the header's limit and far beyond it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_fields() {
    let mut scene = Scene::start("100,000 header fields, and 40,000 that fit, 4 at once", "").await;
    let to = scene.world.submission;
    let head = format!("From: {SENDER}\r\n");
    let (too_many, fitting) = (
        format!("{head}{}\r\nbody\r\n", "X: y\r\n".repeat(100_000)),
        format!("{head}{}\r\nbody\r\n", "X: y\r\n".repeat(40_000)),
    );
    let begun = Instant::now();
    let reply = send(to, &too_many).await.unwrap();
    assert!((500..600).contains(&reply.code), "{reply:?}");
    let refused = begun.elapsed();
    let begun = Instant::now();
    let reply = send(to, &fitting).await.unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
    eprintln!(
        "100,000 fields: {refused:.2?} to 5xx; 40,000: {:.2?} to 250",
        begun.elapsed()
    );
    for n in 0..4 {
        let text = if n % 2 == 0 {
            too_many.clone()
        } else {
            fitting.clone()
        };
        scene.attack(async move {
            loop {
                let _ = send(to, &text).await;
            }
        });
    }
    let figures = scene
        .go_on(size(Duration::from_secs(1), Duration::from_secs(20)))
        .await;
    figures.assert_served(Duration::from_secs(5));
    figures.assert_memory(150);
    scene.end().await;
}

/// MIME parts in parts: nothing here goes into them, and they arrive as they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mime_nested_ten_thousand_deep() {
    let mut scene = Scene::start("MIME nested 10,000 deep, 4 at once", "").await;
    let to = scene.world.submission;
    let mut text = format!("From: {SENDER}\r\nMIME-Version: 1.0\r\n");
    for n in 0..10_000 {
        text += &format!("Content-Type: multipart/mixed; boundary=\"b{n}\"\r\n\r\n--b{n}\r\n");
    }
    text += "Content-Type: text/plain\r\n\r\nthe end\r\n";
    let reply = send(to, &text).await.unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
    arrives_whole(&scene, &text).await;
    for _ in 0..4 {
        let text = text.clone();
        scene.attack(async move {
            loop {
                let _ = send(to, &text).await;
            }
        });
    }
    let figures = scene
        .go_on(size(Duration::from_secs(1), Duration::from_secs(20)))
        .await;
    figures.assert_served(Duration::from_secs(5));
    figures.assert_memory(150);
    scene.end().await;
}

/// Long lines, of messages and of commands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_65535_octets() {
    let mut scene = Scene::start("lines of 65,535 octets, in messages and as commands", "").await;
    let to = scene.world.submission;
    let long = format!("{}\r\n", "x".repeat(65_535));
    let text = letter(TO, "long", long.repeat(16));
    let reply = send(to, &text).await.unwrap();
    assert_eq!(reply.code, 250, "{reply:?}");
    arrives_whole(&scene, std::str::from_utf8(&text).unwrap()).await;
    let longer = format!("{}\r\n", "x".repeat(65_537));
    let reply = send(to, &letter(TO, "longer", longer)).await.unwrap();
    assert_eq!(reply.code, 550, "{reply:?}");
    for n in 0..8 {
        let (text, long) = (text.clone(), long.clone());
        scene.attack(async move {
            loop {
                let _ = match n % 2 {
                    0 => send(to, &text).await.map(|_| ()),
                    _ => lines(to, &long).await,
                };
            }
        });
    }
    let figures = scene
        .go_on(size(Duration::from_secs(1), Duration::from_secs(20)))
        .await;
    figures.assert_served(Duration::from_secs(5));
    figures.assert_memory(150);
    scene.end().await;
}

async fn lines(to: SocketAddr, line: &str) -> Result<(), String> {
    let mut client = login(STOLEN, to, loopback()).await?;
    loop {
        client.send(line).await.map_err(|e| e.to_string())?;
        let reply = client.read_reply().await.map_err(|e| e.to_string())?;
        assert!(matches!(reply.code, 500 | 421), "{reply:?}");
        if reply.code == 421 {
            return Ok(());
        }
    }
}

async fn send(to: SocketAddr, text: impl AsRef<[u8]>) -> Result<postern_lab::Reply, String> {
    let mut client = login(STOLEN, to, loopback()).await?;
    let reply = client.submit(SENDER, &[TO], text).await;
    reply.map_err(|e| e.to_string())
}

/// The honest message of before is there too.
async fn arrives_whole(scene: &Scene, text: &str) {
    let body = text.split_once("\r\n\r\n").unwrap().1;
    let arrived = scene.world.far.wait_messages(2, SOON).await;
    assert!(arrived.iter().any(|m| m.data.ends_with(body.as_bytes())));
}
