//! The ingress over real sockets: what the session's own tests can't show.

// Test code, though clippy knows only #[test] functions as such.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod ingress_support;

use std::time::Duration;

use ingress_support::*;
use postern::ingress::accounts;
use postern::sys::SystemEntropy;
use postern_lab::{cases, lines, unescape};
use rcgen::ExtendedKeyUsagePurpose;
use tokio::time::{Instant, sleep};

const MESSAGE: &str = "From: a@clinic.example\r\nSubject: secret\r\n\r\n..dot\r\n.\r\n";

#[tokio::test]
async fn starttls_auth_and_a_message() {
    let server = Server::start(|_| ()).await;
    let mut client = server.logged_in().await;
    client.envelope().await;
    client.send(MESSAGE).await;
    let reply = client.reply().await;
    assert!(reply.starts_with("250 2.0.0 Ok: queued as "), "{reply}");
    client.expect("QUIT", "221").await;
    assert!(client.is_closed().await);

    let messages = server.messages().await;
    assert_eq!(messages[0].0, ["b@x.example"]);
    let text = String::from_utf8(messages[0].1.clone()).unwrap();
    let id = reply.trim().rsplit(' ').next().unwrap();
    assert!(text.contains("with ESMTPSA") && text.contains(id), "{text}");
    assert!(text.contains("(TLSv1.3 TLS_"), "{text}");
    assert!(
        text.ends_with("\r\nSubject: secret\r\n\r\n.dot\r\n"),
        "{text}"
    );
}

#[tokio::test]
async fn implicit_tls_and_auth_login() {
    let server = Server::start(|_| ()).await;
    let mut client = server.connect(SUBMISSIONS).await;
    let ehlo = client.say("EHLO me").await;
    assert!(ehlo.contains("AUTH PLAIN LOGIN") && !ehlo.contains("STARTTLS"));
    client.expect("AUTH LOGIN", "334").await;
    client.expect("c2Nhbm5lcg==", "334").await;
    client.expect("c2VjcmV0", "235").await;
    client.envelope().await;
    client.send(MESSAGE).await;
    assert!(client.reply().await.starts_with("250 "));
}

#[tokio::test]
async fn a_relay_by_network() {
    let server = Server::start(|_| ()).await;
    let mut client = server.connect(RELAY).await;
    client.expect("EHLO me", "250").await;
    client
        .expect("MAIL FROM:<a@evil.example>", "553 5.7.1")
        .await;
    client.envelope().await;
    client.send(MESSAGE).await;
    assert!(client.reply().await.starts_with("250 "));

    let closed = Server::start(|s| s.listeners[RELAY].networks.clear()).await;
    let mut client = closed.connect(RELAY).await;
    client.expect("EHLO me", "250").await;
    client
        .expect("MAIL FROM:<a@clinic.example>", "550 5.7.1")
        .await;
}

#[tokio::test]
async fn a_relay_by_client_certificate() {
    let server = Server::start(|settings| {
        settings.listeners[RELAY].networks.clear();
        settings.listeners[RELAY].certificates = vec!["*.outlook.example".into()];
    })
    .await;
    let server_auth = Some(ExtendedKeyUsagePurpose::ServerAuth);
    let peer = server.ca.issue("mail.outlook.example", server_auth.clone());
    let misnamed = server.ca.issue("mail.evil.example", server_auth.clone());
    let stranger = Ca::new().issue("mail.outlook.example", server_auth);
    for (pair, wanted) in [
        (Some(&peer), "250 "),
        (Some(&misnamed), "550 5.7.1 "),
        (Some(&stranger), "550 5.7.1 "),
        (None, "550 5.7.1 "),
    ] {
        let mut client = server.connect(RELAY).await;
        client.expect("EHLO me", "250").await;
        client.expect("STARTTLS", "220").await;
        let mut client = client.shake_hands(&server.ca, pair).await;
        client.expect("EHLO me", "250").await;
        client.expect("MAIL FROM:<a@clinic.example>", wanted).await;
    }
}

#[tokio::test]
async fn twenty_mebibytes_arrive_octet_for_octet() {
    let server = Server::start(|_| ()).await;
    let mut client = server.logged_in().await;
    client.envelope().await;
    let header = "From: a@clinic.example\r\nDate: x\r\nMessage-ID: <a@b>\r\n\r\n";
    let mut body = Vec::new();
    for n in 0..300_000u32 {
        body.extend_from_slice(format!("{n:067}\u{fc}\r\n").as_bytes());
    }
    assert!(body.len() > 20 << 20);
    client.send(header).await;
    client.send(&body).await;
    client.send(".\r\n").await;
    let reply = client.reply().await;
    assert!(reply.starts_with("250 "), "{reply}");
    let messages = server.messages().await;
    let octets = &messages[0].1;
    let tail = [header.as_bytes(), &body].concat();
    assert!(octets.ends_with(&tail));
}

#[tokio::test]
async fn i3_what_follows_starttls_in_the_clear_is_never_obeyed() {
    let server = Server::start(|_| ()).await;
    let mut client = server.connect(SUBMISSION).await;
    client.expect("EHLO me", "250").await;
    client
        .send("STARTTLS\r\nMAIL FROM:<a@clinic.example>\r\n")
        .await;
    assert!(client.reply().await.starts_with("554 "));
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn early_talk_is_refused() {
    let mut server = Server::bound(|_| ());
    let mut client = server.dial(SUBMISSION).await;
    client.send("EHLO me\r\n").await;
    server.serve();
    assert!(client.reply().await.starts_with("554 "));
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn connections_are_limited() {
    let server = Server::start(|settings| {
        settings.limits.connections = 3;
        settings.limits.connections_per_client = 2;
    })
    .await;
    let first = server.connect(SUBMISSION).await;
    let _second = server.connect(RELAY).await;
    let mut third = server.dial(SUBMISSION).await;
    let reply = third.reply().await;
    assert!(
        reply.starts_with("421 4.7.0 Too many connections from"),
        "{reply}"
    );
    assert!(third.is_closed().await);
    let mut tls = server.dial(SUBMISSIONS).await;
    assert!(tls.is_closed().await);
    drop(first);
    eventually(async || server.dial(RELAY).await.reply().await.starts_with("220")).await;
}

/// Whoever sits there without logging in makes room for whoever comes.
#[tokio::test(start_paused = true)]
async fn silent_connections_keep_nobody_out() {
    let server = Server::start(|settings| {
        settings.limits.connections = 6;
        settings.limits.connections_per_client = 6;
        settings.listeners[RELAY].networks.clear();
    })
    .await;
    let mut greeted = server.connect(SUBMISSION).await;
    let mut in_tls = server.dial(SUBMISSIONS).await;
    let mut stranger = server.connect(RELAY).await;
    let mut starting = server.connect(SUBMISSION).await;
    starting.expect("EHLO me", "250").await;
    starting.expect("STARTTLS", "220").await;
    let _others = [server.dial(RELAY).await, server.dial(RELAY).await];
    assert!(server.dial(RELAY).await.reply().await.starts_with("421 "));
    sleep(Duration::from_secs(2)).await;
    let mut kept = Vec::new();
    for _ in 0..3 {
        kept.push(server.logged_in().await);
    }
    assert!(greeted.reply().await.starts_with("421 4.7.0 Too many "));
    assert!(greeted.is_closed().await && in_tls.is_closed().await);
    assert!(stranger.reply().await.starts_with("421 4.7.0 "));
    server.connect(SUBMISSION).await;
    assert!(starting.is_closed().await, "in the middle of the handshake");
    for client in &mut kept {
        client.envelope().await;
        client.send(MESSAGE).await;
        assert!(client.reply().await.starts_with("250 "));
    }
}

#[tokio::test(start_paused = true)]
async fn a_listed_network_and_a_login_have_what_is_kept_for_them() {
    let server = Server::start(|settings| settings.limits.connections = 10).await;
    let mut strangers = Vec::new();
    for _ in 0..9 {
        strangers.push(server.connect(SUBMISSION).await);
    }
    let mut crowded = server.dial(SUBMISSION).await;
    assert!(crowded.reply().await.starts_with("421 4.7.0 "));
    let mut listed = server.connect(RELAY).await;
    listed.expect("EHLO me", "250").await;
    listed.envelope().await;
    listed.send(MESSAGE).await;
    assert!(listed.reply().await.starts_with("250 "));
    // Nobody had to go for it; for the next one somebody has.
    strangers[0].expect("NOOP", "250").await;
    let _second = server.connect(RELAY).await;
    assert!(strangers[0].reply().await.starts_with("421 4.7.0 "));
    strangers[1].expect("NOOP", "250").await;
}

/// A stolen password must not keep everybody else out.
#[tokio::test(start_paused = true)]
async fn an_account_has_half_of_the_connections() {
    let server = Server::start(|settings| settings.limits.connections = 6).await;
    let mut kept = Vec::new();
    for _ in 0..3 {
        kept.push(server.logged_in().await);
    }
    let mut fourth = server.connect(SUBMISSIONS).await;
    fourth.expect("EHLO me", "250").await;
    let reply = fourth.say(LOGIN).await;
    assert!(
        reply.starts_with("421 4.7.0 Too many connections of this account"),
        "{reply}"
    );
    assert!(fourth.is_closed().await);
    drop(kept.pop());
    eventually(async || {
        let mut client = server.connect(SUBMISSIONS).await;
        client.expect("EHLO me", "250").await;
        client.say(LOGIN).await.starts_with("235 ")
    })
    .await;
}

/// Nobody waits for the answer any more: neither the place nor the turn is kept.
#[tokio::test]
async fn a_login_whose_client_has_gone_is_given_up() {
    let server = Server::start(|settings| settings.limits.connections_per_client = 2).await;
    let mut client = server.connect(SUBMISSIONS).await;
    client.expect("EHLO me", "250").await;
    // Three failures: their replies would be held back for 7 s.
    for _ in 0..3 {
        client.send("AUTH PLAIN AHNjYW5uZXIAd3Jvbmc=\r\n").await;
    }
    drop(client);
    let begun = Instant::now();
    let mut others = vec![server.connect(SUBMISSION).await];
    eventually(async || {
        let mut other = server.dial(SUBMISSION).await;
        let let_in = other.reply().await.starts_with("220");
        others.push(other);
        let_in
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(3));
}

/// `tests/dialogs/ingress-clock`: dialogs in which time passes.
#[tokio::test(start_paused = true)]
async fn i26_every_slow_dialog_goes_as_its_file_says() {
    for (name, text) in cases("ingress-clock", 5) {
        println!("{name}");
        play(&text).await;
    }
}

async fn play(text: &str) {
    let server = Server::start(|_| ()).await;
    let begun = Instant::now();
    let mut client = None;
    for (word, rest) in lines(text) {
        let listener = match rest {
            "submission" => SUBMISSION,
            _ => RELAY,
        };
        if word == "listener" {
            client = Some(server.connect(listener).await);
            continue;
        }
        let client = client.as_mut().expect("a listener first");
        match word {
            "C:" => client.send(unescape(rest) + "\r\n").await,
            "C*" => drip(client, rest).await,
            "S:" => {
                let reply = client.reply().await;
                assert!(reply.starts_with(rest), "expected {rest}, heard {reply}");
            }
            "=>" => expect(rest, &server, client, begun).await,
            other => panic!("\"{other}\" begins no line of a dialog"),
        }
    }
}

/// `TIMES SECONDS OCTETS`: so often, with so long a pause behind each.
async fn drip(client: &mut Client, line: &str) {
    let mut words = line.splitn(3, ' ');
    let mut number = || words.next().unwrap().parse().unwrap();
    let (times, pause): (u64, u64) = (number(), number());
    let octets = unescape(words.next().unwrap());
    for _ in 0..times {
        client.send(&octets).await;
        sleep(Duration::from_secs(pause)).await;
    }
}

async fn expect(what: &str, server: &Server, client: &mut Client, begun: Instant) {
    let (word, rest) = what.split_once(' ').unwrap();
    let seconds = || Duration::from_secs(rest.parse().unwrap());
    let holds = match word {
        "closed" => client.is_closed().await.to_string() == rest,
        "after" => begun.elapsed() >= seconds(),
        "before" => begun.elapsed() < seconds(),
        "messages" => server.messages().await.len().to_string() == rest,
        other => panic!("\"{other}\" can't be expected"),
    };
    assert!(holds, "{what}, after {:?}", begun.elapsed());
}

#[tokio::test]
async fn i27_a_client_that_vanishes() {
    let server = Server::start(|_| ()).await;
    let before_the_dot = &MESSAGE[..MESSAGE.len() - 3];
    let mut client = server.connect(RELAY).await;
    client.expect("EHLO me", "250").await;
    client.envelope().await;
    client.send(before_the_dot).await;
    drop(client);

    let mut client = server.connect(RELAY).await;
    client.expect("EHLO me", "250").await;
    client.envelope().await;
    client.send(MESSAGE).await;
    drop(client);
    eventually(async || server.messages().await.len() == 1).await;
    server.shutdown.send_replace(true);
    let mut server = server;
    server.ingress.take().unwrap().join().await;
    assert_eq!(server.messages().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_idle_sessions_at_once_and_lets_others_finish() {
    let mut server = Server::start(|_| ()).await;
    let mut idle = server.connect(SUBMISSION).await;
    let mut silent_tls = server.dial(SUBMISSIONS).await;
    let mut busy = server.connect(RELAY).await;
    busy.expect("EHLO me", "250").await;
    busy.envelope().await;
    let mut stuck = server.connect(RELAY).await;
    stuck.expect("EHLO me", "250").await;
    stuck.envelope().await;

    let asked = Instant::now();
    server.shutdown.send_replace(true);
    assert!(idle.reply().await.starts_with("421 4.3.2 "));
    assert!(silent_tls.is_closed().await);
    busy.send(MESSAGE).await;
    assert!(busy.reply().await.starts_with("250 "));
    assert!(busy.reply().await.starts_with("421 4.3.2 "));
    assert!(asked.elapsed() < Duration::from_secs(10));
    assert!(stuck.reply().await.starts_with("421 4.3.2 "));
    assert!(asked.elapsed() >= Duration::from_secs(10));
    drop((idle, silent_tls, busy, stuck));
    server.ingress.take().unwrap().join().await;
    assert!(asked.elapsed() < Duration::from_secs(15));
    assert_eq!(server.messages().await.len(), 1);
}

#[tokio::test]
async fn accounts_are_effective_without_a_restart() {
    let server = Server::start(|_| ()).await;
    let senders = ["@clinic.example".to_owned()];
    let path = server.path("accounts.toml");
    accounts::add(&path, "new", "word", &senders, &SystemEntropy::default()).unwrap();
    let mut client = server.connect(SUBMISSIONS).await;
    client.expect("EHLO me", "250").await;
    client.expect("AUTH PLAIN AG5ldwB3b3Jk", "235").await;
    accounts::remove(&path, "new").unwrap();
    let mut client = server.connect(SUBMISSIONS).await;
    client.expect("EHLO me", "250").await;
    client.expect("AUTH PLAIN AG5ldwB3b3Jk", "535").await;
}

#[tokio::test]
async fn a_new_certificate_is_served_without_a_restart() {
    let mut server = Server::start(|_| ()).await;
    server.connect(SUBMISSIONS).await;
    server.ca = Ca::new();
    let pair = server.ca.issue("relay.example", None);
    write_pair(&pair, server.path("cert.pem"), server.path("key.pem"));
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(5)).await;
    tokio::time::resume();
    server.connect(SUBMISSIONS).await;
}

#[tokio::test]
async fn without_files_a_self_signed_certificate_is_made() {
    let server = Server::start(|settings| settings.tls = None).await;
    let mut client = server.connect(SUBMISSION).await;
    assert!(client.say("EHLO me").await.contains("STARTTLS"));
    assert!(server.path("tls").join("self-signed.pem").exists());
}

#[tokio::test]
async fn a_reload_changes_new_sessions() {
    let server = Server::start(|_| ()).await;
    let ingress = server.ingress.as_ref().unwrap();
    let mut settings = server.settings.clone();
    settings.limits.message_size = 1234;
    ingress.reload(&settings).unwrap();
    let mut client = server.connect(SUBMISSION).await;
    assert!(client.say("EHLO me").await.contains("SIZE 1234\r\n"));
    settings.listeners.pop();
    assert!(ingress.reload(&settings).is_err());
}

/// `postern account remove` takes effect without a restart, for a connection that
/// is logged in too.
#[tokio::test]
async fn a_removed_account_stops_sending_on_its_open_connection() {
    let server = Server::start(|_| ()).await;
    let mut client = server.logged_in().await;
    client.envelope().await;
    client.send(MESSAGE).await;
    assert!(client.reply().await.starts_with("250 "));
    accounts::remove(&server.path("accounts.toml"), "scanner").unwrap();
    sleep(Duration::from_millis(1100)).await;
    client
        .expect("MAIL FROM:<a@clinic.example>", "421 4.7.0 ")
        .await;
    assert!(client.is_closed().await);
}
