//! Submission with an account: every way in, and what is refused on each.

use postern_lab::{Client, Reply};

use crate::world::{ACCOUNT, PASSWORD, Plan, RELAY, SENDER, SOON, World, letter, queue_id};

const TO: &str = "p@clinic.example";

#[tokio::test]
async fn starttls_and_implicit_tls_with_plain_and_login() {
    let world = World::start(&Plan::default()).await;
    let mut ids = Vec::new();
    for (implicit, login) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut client = way_in(&world, implicit).await;
        let ehlo = client.line("EHLO desk.ward.example").await.unwrap();
        assert!(ehlo.text().contains("AUTH PLAIN LOGIN"), "{ehlo:?}");
        for keyword in ["PIPELINING", "SIZE", "8BITMIME", "ENHANCEDSTATUSCODES"] {
            assert!(ehlo.offers(keyword), "{keyword} is not in {ehlo:?}");
        }
        assert!(!ehlo.offers("STARTTLS"), "{ehlo:?}");
        let reply = match login {
            false => client.auth_plain(ACCOUNT, PASSWORD).await.unwrap(),
            true => client.auth_login(ACCOUNT, PASSWORD).await.unwrap(),
        };
        assert_eq!(reply.code, 235, "{reply:?}");
        let reply = client
            .submit(SENDER, &[TO], letter(TO, "hello", "hi\r\n"))
            .await
            .unwrap();
        ids.push(queue_id(&reply));
        assert_eq!(client.quit().await.unwrap().code, 221);
    }
    let arrived = world.far.wait_messages(4, SOON).await;
    for id in &ids {
        let trace =
            |r: &&postern_lab::Received| r.header("Received").unwrap().contains(id.as_str());
        let message = arrived
            .iter()
            .find(trace)
            .expect("each id is in a Received field");
        let received = message.header("Received").unwrap();
        assert!(received.contains(&format!("by {RELAY}")), "{received}");
        assert!(received.contains("with ESMTPSA"), "{received}");
        assert!(message.header("Date").is_some() && message.header("Message-ID").is_some());
        assert_eq!(
            (message.mail_from.as_str(), &message.rcpt_to[..]),
            (SENDER, &[TO.to_owned()][..])
        );
        assert_eq!(message.tls.as_ref().unwrap().version, "TLSv1.3");
    }
    assert_eq!(world.far.violations(), Vec::<String>::new());
}

/// A connection under TLS, EHLO to come.
async fn way_in(world: &World, implicit: bool) -> Client {
    let tls = world.client_tls();
    if !implicit {
        return world.starttls(world.submission, &tls).await;
    }
    let mut client = Client::tls_connect(world.submissions, &tls, RELAY)
        .await
        .unwrap();
    assert_eq!(client.read_reply().await.unwrap().code, 220);
    client
}

#[tokio::test]
async fn nothing_without_tls_and_a_password() {
    let world = World::start(&Plan::default()).await;
    let mut client = Client::connect(world.submission).await.unwrap();
    let ehlo = client.greet("desk.ward.example").await.unwrap();
    assert!(ehlo.offers("STARTTLS") && !ehlo.offers("AUTH"), "{ehlo:?}");
    refused(
        &client.auth_plain(ACCOUNT, PASSWORD).await.unwrap(),
        "AUTH in the clear",
    );
    refused(
        &client.line(&format!("MAIL FROM:<{SENDER}>")).await.unwrap(),
        "MAIL in the clear",
    );
    for implicit in [false, true] {
        let mut client = way_in(&world, implicit).await;
        client.line("EHLO desk.ward.example").await.unwrap();
        let reply = client
            .submit(SENDER, &[TO], letter(TO, "hello", "hi\r\n"))
            .await
            .unwrap();
        assert_eq!(reply.code, 530, "{reply:?}");
    }
    assert!(world.queue().is_empty());
    assert_eq!(world.far.connections(), 0);
}

#[tokio::test]
async fn wrong_passwords_are_refused_and_logged_without_them() {
    let world = World::start(&Plan::default()).await;
    let wrong = "Tr0ub4dor-and-3";
    for (name, password) in [(ACCOUNT, wrong), ("nobody", PASSWORD)] {
        let mut client = way_in(&world, false).await;
        client.line("EHLO desk.ward.example").await.unwrap();
        let reply = client.auth_plain(name, password).await.unwrap();
        assert_eq!(reply.code, 535, "{reply:?}");
        refused(
            &client.line(&format!("MAIL FROM:<{SENDER}>")).await.unwrap(),
            "MAIL after a wrong password",
        );
    }
    let log = world.daemon.log();
    let line = |l: &&str| l.contains("127.0.0.1") && l.to_lowercase().contains("auth");
    assert!(
        log.lines().filter(line).count() >= 2,
        "two lines for fail2ban:\n{log}"
    );
    assert!(!log.contains(wrong) && !log.contains(PASSWORD), "{log}");
    // The right one still works.
    world.client().await.quit().await.unwrap();
}

#[tokio::test]
async fn accounts_come_and_go_while_the_daemon_runs() {
    let world = World::start(&Plan::default()).await;
    world.client().await.quit().await.unwrap();
    let listed = world.daemon.run_ok(&["account", "list"]);
    assert!(
        listed.contains(ACCOUNT) && listed.contains("@ward.example"),
        "{listed}"
    );
    assert!(!listed.contains("argon2"), "{listed}");
    let printed =
        world
            .daemon
            .run_ok(&["account", "add", "second", "--sender", "two@ward.example"]);
    world.daemon.run_ok(&["account", "remove", ACCOUNT]);
    // The password was verified a moment ago; that must not outlive the account.
    let mut client = way_in(&world, false).await;
    client.line("EHLO desk.ward.example").await.unwrap();
    let reply = client.auth_plain(ACCOUNT, PASSWORD).await.unwrap();
    assert_eq!(reply.code, 535, "{reply:?}");
    let listed = world.daemon.run_ok(&["account", "list"]);
    let names: Vec<&str> = listed
        .lines()
        .filter_map(|l| l.split_whitespace().next())
        .collect();
    assert_eq!(names, ["second"], "{listed}");
    // The generated password is printed, and it is one of the words.
    let mut worked = 0;
    for word in printed.split_whitespace().filter(|word| word.len() >= 12) {
        let mut client = way_in(&world, true).await;
        client.line("EHLO desk.ward.example").await.unwrap();
        let reply = client
            .auth_plain("second", word.trim_matches('"'))
            .await
            .unwrap();
        worked += usize::from(reply.code == 235);
    }
    assert_eq!(worked, 1, "{printed}");
}

#[tokio::test]
async fn an_account_sends_only_as_itself() {
    let world = World::start(&Plan::default()).await;
    world.add_account("one", "one@ward.example");
    let mut client = world.client().await;
    let other = client
        .submit("dr@other.example", &[TO], letter(TO, "no", "no\r\n"))
        .await
        .unwrap();
    refused(&other, "MAIL FROM of another domain");
    client.line("RSET").await.unwrap();
    let forged =
        format!("From: Boss <boss@other.example>\r\nTo: {TO}\r\nSubject: no\r\n\r\nno\r\n");
    let reply = client.submit(SENDER, &[TO], forged).await.unwrap();
    refused(&reply, "a From field of another domain");
    let two = format!("From: {SENDER}\r\nFrom: boss@other.example\r\nTo: {TO}\r\n\r\nno\r\n");
    refused(
        &client.submit(SENDER, &[TO], two).await.unwrap(),
        "two From fields",
    );
    client.quit().await.unwrap();
    let mut client = way_in(&world, false).await;
    client.line("EHLO desk.ward.example").await.unwrap();
    assert_eq!(client.auth_plain("one", PASSWORD).await.unwrap().code, 235);
    refused(
        &client
            .submit(SENDER, &[TO], letter(TO, "no", "no\r\n"))
            .await
            .unwrap(),
        "another address",
    );
    client.line("RSET").await.unwrap();
    let mine = format!("From: One <ONE@ward.example>\r\nTo: {TO}\r\nSubject: yes\r\n\r\nyes\r\n");
    queue_id(
        &client
            .submit("one@ward.example", &[TO], mine)
            .await
            .unwrap(),
    );
    let arrived = world.far.wait_messages(1, SOON).await;
    world.wait_empty_queue(SOON).await;
    assert_eq!((arrived.len(), world.far.count()), (1, 1));
    assert_eq!(arrived[0].body(), b"yes\r\n");
    assert_eq!(
        world.home.count(),
        0,
        "a refusal in the session needs no report"
    );
}

#[tokio::test]
async fn the_limits_have_their_replies() {
    let plan = Plan {
        top: "limits.message_size = \"64KiB\"\nlimits.recipients = 100".to_owned(),
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    let mut client = world.client().await;
    let reply = client
        .line(&format!("MAIL FROM:<{SENDER}> SIZE=70000"))
        .await
        .unwrap();
    assert_eq!(reply.code, 552, "{reply:?}");
    let reply = client
        .submit(SENDER, &[TO], letter(TO, "big", "x\r\n".repeat(30_000)))
        .await
        .unwrap();
    assert_eq!(reply.code, 552, "{reply:?}");
    let reply = client.line(&format!("MAIL FROM:<{SENDER}>")).await.unwrap();
    assert!(reply.is_ok(), "{reply:?}");
    let mut codes = Vec::new();
    for n in 0..101 {
        codes.push(
            client
                .line(&format!("RCPT TO:<p{n}@clinic.example>"))
                .await
                .unwrap()
                .code,
        );
    }
    assert!(codes[..100].iter().all(|code| *code == 250), "{codes:?}");
    assert_eq!(codes[100], 452, "RFC 5321 4.5.3.1.10");
    assert!(world.queue().is_empty());
}

fn refused(reply: &Reply, what: &str) {
    assert!((500..600).contains(&reply.code), "{what}: {reply:?}");
}
