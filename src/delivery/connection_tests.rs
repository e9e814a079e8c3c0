//! Far sides that drip, flood and talk nonsense: every wait ends.

use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::super::session::RecipientEnd;
use super::*;
use crate::types::{Achieved, Mailbox, MemoryBody, Required};

fn permit() -> Permit {
    Permit::grant(&Required::nothing(), &Achieved::cleartext()).unwrap()
}

fn transaction(size: u64) -> Transaction {
    Transaction {
        sender: None,
        recipients: vec![Mailbox::parse("r@b.example").unwrap()],
        size,
        eight_bit: false,
    }
}

async fn greet(near: DuplexStream) -> (Connection, Result<(), Failure>) {
    Connection::greet(Box::new(near), "relay.example".into(), Patience::DELIVERY).await
}

#[tokio::test(start_paused = true)]
async fn e15_dripping_octets_win_no_time() {
    let (near, mut far) = tokio::io::duplex(1000);
    tokio::spawn(async move {
        for octet in b"220-hello\r\n".iter().cycle() {
            tokio::time::sleep(Duration::from_secs(50)).await;
            if far.write_all(&[*octet]).await.is_err() {
                return;
            }
        }
    });
    let start = Instant::now();
    let failure = greet(near).await.1.unwrap_err();
    assert_eq!(failure.reason, Reason::TimedOut);
    assert_eq!(start.elapsed().as_secs(), 300);
}

#[tokio::test(start_paused = true)]
async fn a_flood_ends_the_session() {
    let (near, mut far) = tokio::io::duplex(1000);
    tokio::spawn(async move { while far.write_all(b"220-more and more\r\n").await.is_ok() {} });
    let failure = greet(near).await.1.unwrap_err();
    assert_eq!(failure.reason, Reason::ProtocolError);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_without_reading_does_not_block_us() {
    // Commands for a hundred recipients, into a pipe of 64 octets.
    let (near, mut far) = tokio::io::duplex(64);
    tokio::spawn(async move {
        let mut octets = [0; 64];
        let _ = far.write_all(b"220 mx\r\n").await;
        let _ = far.read(&mut octets).await;
        let _ = far.write_all(b"250-mx\r\n250 PIPELINING\r\n").await;
        // The beginning of MAIL; then all answers, before the rest is read.
        let _ = far.read(&mut octets).await;
        let _ = far.write_all(b"250 ok\r\n").await;
        for _ in 0..100 {
            let _ = far.write_all(b"550 no\r\n").await;
        }
        let _ = far.write_all(b"503 no\r\n").await;
        while far.read(&mut octets).await.is_ok_and(|n| n > 0) {}
    });
    let (mut connection, ready) = greet(near).await;
    ready.unwrap();
    let mut many = transaction(0);
    many.recipients = vec![Mailbox::parse("r@b.example").unwrap(); 100];
    let outcome = connection
        .transact(permit(), many, &MemoryBody::new([]))
        .await;
    let refused = |end: &RecipientEnd| matches!(end, RecipientEnd::Refused(Stage::Rcpt, _));
    assert!(outcome.recipients.iter().all(refused));
}

/// Talks as told, reading meanwhile; then stays silent or goes.
async fn talk(far: DuplexStream, replies: Vec<Vec<u8>>, goes: bool) {
    let (mut reader, mut writer) = tokio::io::split(far);
    let reading = async {
        let mut octets = [0; 4096];
        while reader.read(&mut octets).await.is_ok_and(|n| n > 0) {}
    };
    let talking = async {
        for reply in replies {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if writer.write_all(&reply).await.is_err() {
                return;
            }
        }
        if !goes {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = reading => {}
        () = talking => {}
    }
}

fn reply() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => "(250|354|220|221|451|550|421)[ -][a-z0-9. ]{0,12}\r\n".prop_map(String::into_bytes),
        2 => Just(b"250-mx\r\n250-PIPELINING\r\n250 8BITMIME\r\n".to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..100),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn every_conversation_ends(
        replies in proptest::collection::vec(reply(), 0..12),
        goes: bool,
        size in 0usize..200_000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async move {
            let (near, far) = tokio::io::duplex(4096);
            let mut all = vec![b"220 mx\r\n".to_vec()];
            all.extend(replies);
            tokio::spawn(talk(far, all, goes));
            let start = Instant::now();
            let (mut connection, ready) = greet(near).await;
            if ready.is_ok() && connection.is_idle() {
                let body = MemoryBody::new([Bytes::from(vec![b'x'; size])]);
                let outcome = connection.transact(permit(), transaction(size as u64), &body).await;
                assert_eq!(outcome.recipients.len(), 1);
            }
            connection.quit().await;
            assert!(start.elapsed() < timeouts::SETUP + timeouts::transaction(200_000) * 2);
        });
    }
}
