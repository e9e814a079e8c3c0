//! The servers' SMTP knobs, and what the servers keep.

use std::time::{Duration, Instant};

use postern_lab::{Client, ClientTls, SmtpServer, Stage};

use crate::{SOON, anywhere, pair};

#[tokio::test]
async fn a_message_is_kept_with_all_that_was_said() {
    let (server, mut client, reply) =
        pair(|b| b.name("mx.y.example").extension("REQUIRETLS")).await;
    assert_eq!(reply.lines[0], "mx.y.example");
    for keyword in ["PIPELINING", "8BITMIME", "STARTTLS", "SIZE", "REQUIRETLS"] {
        assert!(reply.offers(keyword), "{keyword} in {reply:?}");
    }
    client
        .starttls(&ClientTls::insecure(), "mx.y.example")
        .await
        .expect("TLS");
    client.line("EHLO relay.example").await.expect("a reply");
    let data = "Subject: long\r\n line\r\nX-Lab-Id: 7\r\n\r\n.dot\r\n..\r\nend\r\n";
    let reply = client.submit(
        "a@x.example SIZE=99 REQUIRETLS",
        &["b@y.example", "c@y.example"],
        data,
    );
    assert_eq!(reply.await.expect("a reply").code, 250);
    let reply = client
        .submit("", &["b@y.example"], "second")
        .await
        .expect("a reply");
    assert!(reply.text().contains("queued as"), "{reply:?}");
    let got = server.wait_messages(2, SOON).await;
    assert_eq!(
        (got[0].mail_from.as_str(), got[1].mail_from.as_str()),
        ("a@x.example", "")
    );
    assert_eq!(got[0].mail_params, ["SIZE=99", "REQUIRETLS"]);
    assert_eq!(got[0].rcpt_to, ["b@y.example", "c@y.example"]);
    assert_eq!(got[0].text(), data);
    assert_eq!(got[0].header("subject").as_deref(), Some("long line"));
    assert_eq!(got[0].body(), b".dot\r\n..\r\nend\r\n");
    assert_eq!((got[0].connection, got[0].nth, got[1].nth), (1, 1, 2));
    assert_eq!(&got[1].raw[..], b"second\r\n.\r\n");
    assert_eq!(server.received_ids(), ["7"]);
    let commands = server.commands();
    assert_eq!(
        commands[..2],
        ["#1 plain EHLO relay.example", "#1 plain STARTTLS"]
    );
    assert!(
        commands.contains(&"#1 tls RCPT TO:<c@y.example>".to_owned()),
        "{commands:?}"
    );
    assert_eq!(server.violations(), Vec::<String>::new());
    assert_eq!(client.quit().await.expect("a reply").code, 221);
}

#[tokio::test]
async fn scripted_replies_at_every_stage() {
    for (stage, line) in [
        (Stage::Ehlo, "EHLO x"),
        (Stage::Helo, "HELO x"),
        (Stage::StartTls, "STARTTLS"),
        (Stage::Mail, "MAIL FROM:<a@x.example>"),
        (Stage::Rset, "RSET"),
        (Stage::Noop, "NOOP"),
        (Stage::Quit, "QUIT"),
    ] {
        let (server, mut client, _) = pair(|b| b).await;
        server.change(|b| b.reply_times(stage, 1, "450-4.0.0 first\n450 4.0.0 second"));
        let reply = client.line(line).await.expect("a reply");
        assert_eq!((reply.code, reply.lines.len()), (450, 2), "{stage:?}");
    }
    let (server, mut client, _) = pair(|b| b).await;
    for (stage, code) in [(Stage::Rcpt, 550), (Stage::Data, 451), (Stage::Dot, 554)] {
        server.change(|b| b.clear().reply(stage, &format!("{code} no")));
        let reply = client
            .submit("a@x.example", &["b@y.example"], "x")
            .await
            .expect("a reply");
        assert_eq!(reply.code, code);
        client.line("RSET").await.expect("a reply");
    }
    assert_eq!(server.count(), 0);
    let (_server, _client, banner) = pair(|b| b.reply(Stage::Banner, "554 go away")).await;
    assert_eq!(banner.code, 554);
}

#[tokio::test]
async fn replies_by_recipient_and_too_many() {
    let (server, mut client, _) = pair(|b| {
        b.max_rcpt(2)
            .rcpt_reply("bad*@*", "550 5.1.1 no")
            .rcpt_reply_times("grey@*", 1, "450 later")
    })
    .await;
    client
        .line("MAIL FROM:<a@x.example>")
        .await
        .expect("a reply");
    let mut codes = Vec::new();
    for name in ["bad.one", "grey", "grey", "good", "third"] {
        let reply = client
            .line(&format!("RCPT TO:<{name}@y.example>"))
            .await
            .expect("a reply");
        codes.push(reply.code);
    }
    assert_eq!(codes, [550, 450, 250, 250, 452]);
    assert_eq!(client.line("DATA").await.expect("a reply").code, 354);
    client.send("x\r\n.\r\n").await.expect("sent");
    assert!(client.read_reply().await.expect("a reply").is_ok());
    assert_eq!(
        server.messages()[0].rcpt_to,
        ["grey@y.example", "good@y.example"]
    );
}

#[tokio::test]
async fn cuts() {
    for stage in [
        Stage::Ehlo,
        Stage::Mail,
        Stage::Rcpt,
        Stage::Data,
        Stage::Dot,
    ] {
        let (server, mut client, _) = pair(|b| b).await;
        server.change(|b| b.cut_times(stage, 1));
        let mut cut = client.line("EHLO again").await.is_err();
        cut |= client
            .submit("a@x.example", &["b@y.example"], "x")
            .await
            .is_err();
        assert!(cut, "{stage:?}");
        assert_eq!(server.count(), 0);
    }
    let (server, mut client, _) = pair(|b| b.cut_after_dot_times(1)).await;
    assert!(
        client
            .submit("a@x.example", &["b@y.example"], "x")
            .await
            .is_err()
    );
    assert!(!server.wait_messages(1, SOON).await[0].answered);
    let (server, mut client, _) = pair(|b| b.cut_in_data_after(5000)).await;
    let long = "line\r\n".repeat(100_000);
    assert!(
        client
            .submit("a@x.example", &["b@y.example"], long)
            .await
            .is_err()
    );
    assert_eq!(server.count(), 0);
    let (_server, mut client, _) = pair(|b| b.reply(Stage::Mail, "421 4.3.2 bye")).await;
    assert_eq!(
        client.line("MAIL FROM:<>").await.expect("a reply").code,
        421
    );
    assert_eq!(client.read_eof().await.expect("an end"), b"");
}

#[tokio::test]
async fn starttls_hidden_and_masked_and_extensions_left_out() {
    let (_server, mut client, reply) =
        pair(|b| b.no_starttls().no_8bitmime().no_pipelining().size_limit(50)).await;
    assert!(!reply.offers("STARTTLS") && !reply.offers("8BITMIME") && !reply.offers("PIPELINING"));
    assert_eq!(client.line("STARTTLS").await.expect("a reply").code, 502);
    assert_eq!(
        client
            .line("MAIL FROM:<a@x.example> SIZE=51")
            .await
            .expect("a reply")
            .code,
        552
    );
    let reply = client
        .submit("a@x.example", &["b@y.example"], "x".repeat(60))
        .await;
    assert_eq!(reply.expect("a reply").code, 552);
    let (_server, mut client, reply) = pair(|b| b.starttls_masked()).await;
    assert!(
        reply.offers("XXXXXXXX") && !reply.offers("STARTTLS"),
        "{reply:?}"
    );
    assert_eq!(client.line("STARTTLS").await.expect("a reply").code, 502);
    let (_server, mut client, reply) = pair(|b| b.reject_ehlo_once()).await;
    assert_eq!(reply.code, 500);
    assert!(client.line("EHLO x").await.expect("a reply").offers("SIZE"));
    let (_server, mut client, reply) = pair(|b| b.helo_only()).await;
    assert_eq!(
        (
            reply.code,
            client.line("HELO x").await.expect("a reply").code
        ),
        (500, 250)
    );
    assert!(
        client
            .submit("a@x.example", &["b@y.example"], "x")
            .await
            .expect("a reply")
            .is_ok()
    );
}

#[tokio::test]
async fn auth_is_required_under_tls() {
    let (server, mut client, reply) = pair(|b| b.auth("relay", "secret")).await;
    assert!(!reply.offers("AUTH"));
    assert_eq!(
        client
            .auth_plain("relay", "secret")
            .await
            .expect("a reply")
            .code,
        538
    );
    client
        .starttls(&ClientTls::insecure(), "mx.example")
        .await
        .expect("TLS");
    assert!(client.line("EHLO x").await.expect("a reply").offers("AUTH"));
    assert_eq!(
        client
            .line("MAIL FROM:<a@x.example>")
            .await
            .expect("a reply")
            .code,
        530
    );
    assert_eq!(
        client
            .auth_plain("relay", "wrong")
            .await
            .expect("a reply")
            .code,
        535
    );
    assert_eq!(
        client
            .auth_login("relay", "secret")
            .await
            .expect("a reply")
            .code,
        235
    );
    assert_eq!(
        client
            .auth_plain("relay", "secret")
            .await
            .expect("a reply")
            .code,
        235
    );
    client
        .submit("a@x.example", &["b@y.example"], "x")
        .await
        .expect("a reply");
    assert_eq!(server.messages()[0].auth.as_deref(), Some("relay"));
    assert_eq!(server.violations(), ["#1 AUTH in cleartext"]);
}

#[tokio::test]
async fn slowness_delays_and_raw_octets() {
    let start = Instant::now();
    let slow = Duration::from_millis(2);
    let (_server, mut client, _) = pair(|b| b.slow(slow).delay(Stage::Noop, SOON / 100)).await;
    assert!(start.elapsed() > slow * 50);
    let start = Instant::now();
    client.line("NOOP").await.expect("a reply");
    assert!(start.elapsed() >= SOON / 100);
    let (_server, mut client, _) = pair(|b| b.raw_reply(Stage::Noop, b"250-a\n250")).await;
    client.send("NOOP\r\nQUIT\r\n").await.expect("sent");
    let all = String::from_utf8(client.read_eof().await.expect("an end")).expect("text");
    assert_eq!(all, "250-a\n250221 2.0.0 Bye\r\n");
}

#[tokio::test]
async fn violations_are_noted() {
    let (server, mut client, _) = pair(|b| b.no_pipelining().no_8bitmime()).await;
    client
        .send("MAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\n")
        .await
        .expect("sent");
    client.read_reply().await.expect("a reply");
    client.read_reply().await.expect("a reply");
    client.line("DATA").await.expect("a reply");
    client.send("ä\nb\r\n.\r\n").await.expect("sent");
    client.read_reply().await.expect("a reply");
    client
        .line("MAIL FROM:<a@x.example> BODY=8BITMIME")
        .await
        .expect("a reply");
    client.send("STARTTLS\r\nNOOP\r\n").await.expect("sent");
    client.read_reply().await.expect("a reply");
    let tls = ClientTls::insecure();
    client
        .handshake(&tls, "mx.example")
        .await
        .expect("a handshake");
    client
        .line("MAIL FROM:<a@x.example>")
        .await
        .expect("a reply");
    let expected = [
        "#1 pipelining where it was not offered",
        "#1 8-bit content without BODY=8BITMIME",
        "#1 a bare LF in the content",
        "#1 MAIL parameter BODY=8BITMIME was not offered",
        "#1 pipelining where it was not offered",
        "#1 plaintext behind STARTTLS",
        "#1 MAIL before EHLO",
    ];
    assert_eq!(server.violations(), expected);
}

#[tokio::test]
async fn a_stopped_server_frees_its_address_and_ends_its_connections() {
    let (server, mut client, _) = pair(|b| b).await;
    let addr = server.addr();
    server.stop();
    assert!(client.line("NOOP").await.is_err());
    assert!(Client::connect(addr).await.is_err());
    let again = SmtpServer::builder(addr).start();
    assert!(Client::connect(addr).await.is_ok());
    again.wait_connections(1, SOON).await;
}

#[tokio::test]
async fn a_client_may_come_from_another_address_and_in_pieces() {
    let server = SmtpServer::builder(anywhere()).start();
    let local = "127.9.8.7:0".parse().expect("an address");
    let mut client = Client::connect_from(local, server.addr())
        .await
        .expect("connected");
    client.read_reply().await.expect("a banner");
    let pieces = ["EH", "LO re", "lay\r", "\n"];
    client
        .send_slowly(pieces, Duration::from_millis(5))
        .await
        .expect("sent");
    assert!(client.read_reply().await.expect("a reply").is_ok());
    client
        .submit("a@x.example", &["b@y.example"], "x")
        .await
        .expect("a reply");
    assert_eq!(server.messages()[0].peer.ip().to_string(), "127.9.8.7");
    server.wait_command("#1 plain EHLO relay", SOON).await;
}

#[tokio::test]
#[should_panic(expected = "for 1 messages in vain")]
async fn waiting_in_vain_fails_the_test() {
    let server = SmtpServer::builder(anywhere()).start();
    server.wait_messages(1, Duration::from_millis(20)).await;
}
