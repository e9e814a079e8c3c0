//! Slow-loris clients: a connection each, an octet now and then, from addresses of their own.
//! Whoever is cut off comes back, each in its own time: all that came at once would come back at
//! once, and a wave of more than half of all connections in a second is more than the limits
//! promise to outlast (docs/design.md 3.5): strangers find no room for 2 s behind it, which is why
//! a scene waits so long behind the first one.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use postern_lab::loopback;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::scene::{STOLEN, Scene, login, size, starttls};
use crate::world::SENDER;

/// Between two octets, and before coming back.
const PACE: Duration = Duration::from_secs(3);

#[derive(Clone, Copy)]
enum Phase {
    /// On the plain connection, in place of a whole EHLO.
    Greeting,
    /// In the ClientHello of implicit TLS.
    Handshake,
    /// Under TLS, in place of AUTH.
    Command,
    /// Logged in, in a message.
    Data,
}

async fn loris(phase: Phase, to: SocketAddr, from: IpAddr) {
    loop {
        // Until it is cut off, whatever the reason.
        let _ = once(phase, to, from).await;
        tokio::time::sleep(PACE + spread(from)).await;
    }
}

/// Up to [`PACE`], by the address.
fn spread(from: IpAddr) -> Duration {
    let IpAddr::V4(v4) = from else {
        return Duration::ZERO;
    };
    PACE * u32::from(v4.octets()[3]) / 256
}

async fn once(phase: Phase, to: SocketAddr, from: IpAddr) -> Result<(), String> {
    let octets: &[u8] = match phase {
        Phase::Greeting => {
            let mut stream = dial(to, from).await?;
            // Who talks before the greeting is sent away at once.
            stream.read(&mut [0; 512]).await.map_err(told)?;
            return drip(stream, b"EHLO slow.example").await;
        }
        // A record of 512 octets, and the beginning of a ClientHello.
        Phase::Handshake => return drip(dial(to, from).await?, b"\x16\x03\x01\x02\x00\x01").await,
        Phase::Command | Phase::Data => b"AUTH PLAIN of one who has time",
    };
    let mut client = match phase {
        Phase::Data => login(STOLEN, to, from).await?,
        _ => starttls(to, from).await?,
    };
    if let Phase::Data = phase {
        let envelope = format!("MAIL FROM:<{SENDER}>");
        for line in [&envelope, "RCPT TO:<p@clinic.example>", "DATA"] {
            client.line(line).await.map_err(told)?;
        }
    }
    for octet in octets.iter().cycle() {
        client.send([*octet]).await.map_err(told)?;
        tokio::time::sleep(PACE).await;
    }
    Ok(())
}

pub(crate) async fn dial(to: SocketAddr, from: IpAddr) -> Result<TcpStream, String> {
    let socket = TcpSocket::new_v4().map_err(told)?;
    socket.bind((from, 0).into()).map_err(told)?;
    socket.connect(to).await.map_err(told)
}

/// Says an octet at a time, and looks whether it is still heard.
async fn drip(mut stream: TcpStream, octets: &[u8]) -> Result<(), String> {
    let mut heard = [0; 512];
    for octet in octets.iter().cycle() {
        stream.write_all(&[*octet]).await.map_err(told)?;
        if let Ok(read) = tokio::time::timeout(PACE, stream.read(&mut heard)).await {
            match read.map_err(told)? {
                0 => return Ok(()),
                _ => tokio::time::sleep(PACE).await,
            }
        }
    }
    Ok(())
}

fn told(error: std::io::Error) -> String {
    error.to_string()
}

async fn scene(name: &str, phase: Phase) {
    let many = size(150, 1000);
    let mut scene = Scene::start(name, size("limits.connections = 100\n", "")).await;
    let to = match phase {
        Phase::Handshake => scene.world.submissions,
        _ => scene.world.submission,
    };
    for n in 0..many {
        scene.attack(loris(phase, to, loopback()));
        if n % 20 == 0 {
            // Faster than they can shake hands would be an attack on ourselves.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    // A stranger is safe for 2 s, so that long the first ones have all the room.
    tokio::time::sleep(Duration::from_millis(size(2200, 5000))).await;
    let figures = scene
        .go_on(size(Duration::from_secs(1), Duration::from_secs(20)))
        .await;
    figures.assert_served(Duration::from_secs(5));
    figures.assert_memory(size(50, 150));
    // Half of all connections is what the stolen password is good for.
    let held = match phase {
        Phase::Data => size(50, 500),
        _ => size(90, 900),
    };
    assert!(figures.peaks.files > held, "the attack took place");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_loris_before_the_greeting_is_answered() {
    scene("slow-loris, no command is ever whole", Phase::Greeting).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_loris_in_the_handshake() {
    scene("slow-loris, no handshake is ever whole", Phase::Handshake).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_loris_under_tls() {
    scene("slow-loris under TLS, AUTH is never whole", Phase::Command).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_loris_with_a_stolen_password() {
    scene("slow-loris logged in, messages without end", Phase::Data).await;
}
