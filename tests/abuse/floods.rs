//! Floods: of recipients, logins, commands, connections.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use postern_lab::{Client, ClientTls, loopback};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::loris::dial;
use crate::scene::{STOLEN, Scene, login, size, submit_as};
use crate::world::{RELAY, SENDER};

fn span() -> Duration {
    size(Duration::from_secs(1), Duration::from_secs(20))
}

/// RCPT without end: new ones, and one again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_recipients() {
    let mut scene = Scene::start("RCPT without end, 20 sessions", "").await;
    let to = scene.world.submission;
    for n in 0..20 {
        scene.attack(async move {
            loop {
                let _ = recipients(to, n % 2 == 0).await;
            }
        });
    }
    let figures = scene.go_on(span()).await;
    figures.assert_served(Duration::from_secs(5));
    figures.assert_memory(100);
    scene.end().await;
}

async fn recipients(to: SocketAddr, new: bool) -> Result<(), String> {
    let told = |e: std::io::Error| e.to_string();
    let mut client = login(STOLEN, to, loopback()).await?;
    let mail = format!("MAIL FROM:<{SENDER}>");
    client.line(&mail).await.map_err(told)?;
    for batch in 0.. {
        let name = |n: i32| if new { batch * 100 + n } else { 0 };
        let lines = (0..100).map(|n| format!("RCPT TO:<u{}@clinic.example>\r\n", name(n)));
        client.send(lines.collect::<String>()).await.map_err(told)?;
        for _ in 0..100 {
            let reply = client.read_reply().await.map_err(told)?;
            assert!(matches!(reply.code, 250 | 452 | 421), "{reply:?}");
        }
    }
    Ok(())
}

/// Wrong passwords, each from an address that was never seen before, and nobody waits for the
/// answer: the cheapest way to have a hash computed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_logins() {
    let many = size(20, 200);
    let name = format!("wrong passwords, {many} at once, each from a new address");
    let mut scene = Scene::start(&name, "").await;
    let (to, submission) = (scene.world.submissions, scene.world.submission);
    for name in ["desk", "lab", "new"] {
        scene.world.add_account(name, "@ward.example");
    }
    // A client that was here before the flood.
    let known = loopback();
    submit_as("desk", submission, known).await.unwrap();
    for _ in 0..many {
        scene.attack(async move {
            loop {
                let _ = guess(to).await;
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Its password is hashed: this account was not here before.
    let first = submit_as("lab", submission, known).await.unwrap();
    let unknown = submit_as("new", submission, loopback()).await.unwrap();
    eprintln!("logins that need a hash: known client {first:.2?}, unknown client {unknown:.2?}");
    assert!(first < Duration::from_secs(3), "{first:?}");
    assert!(unknown < Duration::from_secs(20), "{unknown:?}");
    let figures = scene.go_on(span()).await;
    figures.assert_served(Duration::from_secs(5));
    figures.assert_memory(150);
    scene.end().await;
}

async fn guess(to: SocketAddr) -> std::io::Result<()> {
    let tls = ClientTls::insecure();
    let mut client = Client::connect_from((loopback(), 0).into(), to).await?;
    client.handshake(&tls, RELAY).await?;
    client.greet("guess.example").await?;
    let login = "AUTH PLAIN AHdhcmQAd3Jvbmc=\r\n";
    client.send(login).await?;
    // Long enough for it to be read.
    tokio::time::sleep(Duration::from_millis(200)).await;
    Ok(())
}

/// Commands, and nobody reads the replies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_commands() {
    let many = size(50, 500);
    let name = format!("pipelined commands, replies never read, {many} connections");
    let mut scene = Scene::start(&name, "").await;
    let to = scene.world.submission;
    let line = size("", "EHLO flood.example\r\n");
    for n in 0..many {
        scene.attack(async move {
            let lines = match n % 3 {
                0 => "NOOP\r\n".repeat(1000),
                1 => format!("{line}HELP\r\nVRFY x\r\nRSET\r\n").repeat(300),
                _ => "\u{fc}\r\n\r\nX\r\n".repeat(1000),
            };
            loop {
                let Ok(mut stream) = dial(to, loopback()).await else {
                    continue;
                };
                // The greeting alone is read: who talks before it is sent away at once.
                let mut greeting = [0; 64];
                let _ = stream.read(&mut greeting).await;
                while stream.write_all(lines.as_bytes()).await.is_ok() {}
            }
        });
    }
    let figures = scene.go_on(span()).await;
    figures.assert_served(Duration::from_secs(5));
    figures.assert_memory(150);
    scene.end().await;
}

/// Connections that come and go, in good order or by a reset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_connections() {
    let mut scene = Scene::start("connections that come and go at once", "").await;
    let to = scene.world.submission;
    let count = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    for n in 0..20 {
        let count = std::sync::Arc::clone(&count);
        scene.attack(async move {
            loop {
                let Ok(stream) = dial(to, loopback()).await else {
                    continue;
                };
                count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if n % 2 == 0 {
                    let _ = stream.set_zero_linger();
                }
            }
        });
    }
    let begun = Instant::now();
    let figures = scene.go_on(span()).await;
    let made = count.load(std::sync::atomic::Ordering::Relaxed);
    eprintln!(
        "{:.0} connections/s",
        made as f64 / begun.elapsed().as_secs_f64()
    );
    figures.assert_served(Duration::from_secs(5));
    figures.assert_memory(100);
    scene.end().await;
}

/// Clients that say they are done and never go: their half is closed, ours must follow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_closes() {
    let many = size(100, 1000);
    let name = format!("half-closed connections, {many} at a time");
    let mut scene = Scene::start(&name, "").await;
    let to = scene.world.submission;
    for n in 0..many {
        scene.attack(async move {
            loop {
                let Ok(mut stream) = dial(to, loopback()).await else {
                    continue;
                };
                let said: &[u8] = match n % 3 {
                    0 => b"",
                    1 => b"EHLO half.example\r\n",
                    _ => b"EHLO half.example\r\nSTARTTLS\r\n",
                };
                let mut heard = [0; 512];
                let _ = stream.read(&mut heard).await;
                let _ = stream.write_all(said).await;
                let _ = stream.shutdown().await;
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
        });
    }
    let figures = scene.go_on(span()).await;
    figures.assert_served(Duration::from_secs(5));
    figures.assert_memory(100);
    scene.end().await;
}
