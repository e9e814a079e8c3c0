//! The dialog server against the lab's client.

use postern_lab::{Client, ClientTls, Dialog, DialogServer};

use crate::{SOON, anywhere};

fn start(script: &str) -> DialogServer {
    DialogServer::start(anywhere(), Dialog::parse(script).expect("a script"), None)
}

#[tokio::test]
async fn a_script_is_played_to_its_end() {
    let server = start(
        "S: 220 odd\nC: EHLO *\nR: 250-odd\\r\\n250 STARTTLS\\r\\n\nC: STARTTLS\nS: 220 go\nTLS\n\
         C: EHLO *\nS: 250 odd\nC: MAIL FROM:<*\nS: 250 ok\nC: RCPT *\nWAIT 10ms\nS: 250 ok\n\
         C: DATA\nS: 354 go\nD:\nS: 250 taken\nCUT",
    );
    let mut client = Client::connect(server.addr()).await.expect("connected");
    assert!(
        client
            .greet("relay")
            .await
            .expect("a reply")
            .offers("STARTTLS")
    );
    client
        .starttls(&ClientTls::insecure(), "odd")
        .await
        .expect("TLS");
    client.line("EHLO relay").await.expect("a reply");
    let reply = client
        .submit("a@x.example", &["b@y.example"], "..x")
        .await
        .expect("a reply");
    assert_eq!(reply.lines, ["taken"]);
    client.read_eof().await.expect("an end");
    assert_eq!(server.wait_played(1, SOON).await, Vec::<String>::new());
    assert_eq!(server.data(), [b"..x\r\n"]);
    assert_eq!(server.lines()[1], "STARTTLS");
}

#[tokio::test]
async fn what_does_not_go_by_the_script_is_kept() {
    let server = start("S: 220 odd\nC: EHLO *\nS: 250 odd\nC: QUIT");
    let mut client = Client::connect(server.addr()).await.expect("connected");
    client.read_reply().await.expect("a banner");
    client.line("HELO x").await.expect("a reply");
    drop(client);
    let faults = server.wait_played(1, SOON).await;
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(
        faults[0].starts_with("line 2: expected \"EHLO *\", got \"HELO x\""),
        "{faults:?}"
    );
    assert!(faults[1].starts_with("line 4"), "{faults:?}");
}
