//! The lenient server falls for what it is there for; otherwise it would prove nothing.

use std::time::Duration;

use postern_lab::{Client, FALSE_ENDS, LenientServer};

const LIMIT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn every_false_end_makes_two_messages_here() {
    let server = LenientServer::start("127.0.0.1:0".parse().unwrap());
    for (done, end) in FALSE_ENDS.iter().enumerate() {
        let mut client = Client::connect(server.addr()).await.unwrap();
        client.greet("c.example").await.unwrap();
        for line in ["MAIL FROM:<a@a.example>", "RCPT TO:<b@b.example>", "DATA"] {
            assert!(client.line(line).await.unwrap().is_ok());
        }
        let (attack, ..) = end.attack("ceo@a.example", "victim@b.example");
        client.send(&attack).await.unwrap();
        client.read_eof().await.unwrap();
        let taken = server.wait_messages(2 * done + 2, LIMIT).await;
        let [outer, inner] = &taken[2 * done..] else {
            panic!("{}: {taken:?}", end.name);
        };
        let text = String::from_utf8_lossy(&outer.data);
        assert!(
            text.contains("harmless") && !text.contains("evil"),
            "{}",
            end.name
        );
        assert_eq!(inner.mail_from, "ceo@a.example", "{}", end.name);
        assert_eq!(inner.rcpt_to, ["victim@b.example"], "{}", end.name);
        assert!(inner.data.ends_with(b"\r\nevil\r\n"), "{}", end.name);
    }
}

#[tokio::test]
async fn dots_and_line_ends_are_undone() {
    let server = LenientServer::start("127.0.0.1:0".parse().unwrap());
    let mut client = Client::connect(server.addr()).await.unwrap();
    client.greet("c.example").await.unwrap();
    let reply = client
        .submit("a@a.example", &["b@b.example"], ".\r\n..x\r\n\r\n.\r\n")
        .await;
    assert_eq!(reply.unwrap().code, 250);
    let taken = server.wait_messages(1, LIMIT).await;
    assert_eq!(taken[0].data, b".\r\n..x\r\n\r\n.\r\n");
}
