//! The ingress's log lines. Alone in its process: tracing decides once for all
//! threads which lines are of interest.

mod ingress_support;

use ingress_support::*;

const MESSAGE: &str = "From: a@clinic.example\r\nSubject: secret\r\n\r\n..dot\r\n.\r\n";

#[tokio::test]
async fn logs_tell_what_happened_and_nothing_secret() {
    let (log, _guard) = Log::start();
    let server = Server::start(|_| ()).await;
    let mut client = server.connect(SUBMISSIONS).await;
    client.expect("EHLO me", "250").await;
    // "\0scanner\0wrongword" and "\0passw0rd\0wrongword".
    client
        .expect("AUTH PLAIN AHNjYW5uZXIAd3Jvbmd3b3Jk", "535")
        .await;
    client
        .expect("AUTH PLAIN AHBhc3N3MHJkAHdyb25nd29yZA==", "535")
        .await;
    client.expect(LOGIN, "235").await;
    client
        .expect("MAIL FROM:<a@elsewhere.example>", "553")
        .await;
    client.send("FOO\r\nFOO\r\nFOO\r\n").await;
    for _ in 0..3 {
        assert!(client.reply().await.starts_with("500 "));
    }
    client.envelope().await;
    client.send(MESSAGE).await;
    let id = client
        .reply()
        .await
        .trim()
        .rsplit(' ')
        .next()
        .unwrap()
        .to_owned();

    let text = log.text();
    for wanted in [
        "auth failed: client=127.0.0.1 account=scanner reason=\"wrong password\"".to_owned(),
        "auth failed: client=127.0.0.1 account=unknown reason=\"no such account\"".to_owned(),
        format!("id={id} from_domain=clinic.example client=127.0.0.1 listener="),
        "principal=account:scanner proto=ESMTPSA size=".to_owned(),
        "nrcpt=1 status=accepted".to_owned(),
        "status=refused reply=\"553 5.7.1\"\n".to_owned(),
        "status=refused reply=\"500 5.5.2\" times=3\n".to_owned(),
    ] {
        assert!(text.contains(&wanted), "{wanted}\n{text}");
    }
    for secret in [
        "wrongword",
        "d3Jvbmd3b3Jk",
        "passw0rd",
        "Subject",
        "..dot",
        "a@clinic",
        "b@x",
    ] {
        assert!(!text.contains(secret), "{secret}\n{text}");
    }
}
