//! Large and many messages: the lab must not be what a benchmark measures.

use std::time::{Duration, Instant};

use postern_lab::{Client, ClientTls};

use crate::{SOON, pair};

#[tokio::test]
async fn twenty_mebibytes_under_tls() {
    let (server, mut client, _) = pair(|b| b).await;
    client
        .starttls(&ClientTls::insecure(), "mx.example")
        .await
        .expect("TLS");
    client.line("EHLO relay").await.expect("a reply");
    let line = format!(".{}\r\n", "x".repeat(75));
    let data = line.repeat(20 * 1024 * 1024 / line.len());
    let start = Instant::now();
    client
        .submit("a@x.example", &["b@y.example"], &data)
        .await
        .expect("a reply");
    let took = start.elapsed();
    assert_eq!(&server.messages()[0].data[..], data.as_bytes());
    assert_eq!(server.octets(), data.len() as u64);
    assert!(took < Duration::from_secs(10), "{took:?}");
    eprintln!("20 MiB in {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_small_messages_are_counted() {
    let (server, _client, _) = pair(|b| b.discard()).await;
    let start = Instant::now();
    let mut tasks = Vec::new();
    for worker in 0..8 {
        let addr = server.addr();
        tasks.push(tokio::spawn(async move {
            let mut client = Client::connect(addr).await.expect("connected");
            client.greet("relay").await.expect("a reply");
            for n in 0..500 {
                let data = format!("X-Lab-Id: {worker}-{n}\r\n\r\nhello\r\n");
                client
                    .submit("a@x.example", &["b@y.example"], data)
                    .await
                    .expect("a reply");
            }
        }));
    }
    for task in tasks {
        task.await.expect("a worker");
    }
    assert_eq!(server.wait_count(4000, SOON).await, 4000);
    let mut ids = server.received_ids();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4000);
    assert!(server.messages().is_empty() && server.commands().is_empty());
    assert_eq!(server.peak_connections(), 9);
    assert_ne!(server.hash(), 0);
    eprintln!("4000 messages in {:?}", start.elapsed());
}
