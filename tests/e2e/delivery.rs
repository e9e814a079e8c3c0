//! Delivery to servers that are as they should be, or nearly: what arrives is what was handed in.

use postern_lab::{Received, Stage};
use serde_json::Value;

use crate::world::{Plan, SENDER, SOON, World, letter, queue_id};

const TO: &str = "p@clinic.example";

/// Name and body; what a body lacks at its end is what SMTP can't say.
fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let line = |n: usize| format!("{n:07} .,:;<>\"\\ {}\r\n", "abcdefghij".repeat(6));
    let large: String = (0..20 * 1024 * 1024 / 79).map(line).collect();
    vec![
        ("empty", Vec::new()),
        ("one empty line", b"\r\n".to_vec()),
        ("dots", b".\r\n..\r\n.x\r\n...\r\n\r\n.\r\n".to_vec()),
        ("only a dot", b".".to_vec()),
        ("no final line end", b"the end".to_vec()),
        (
            "looks like a header",
            b"Subject: no\r\n\r\nFrom: x\r\n".to_vec(),
        ),
        ("blanks at the ends", b"a \r\nb\t\r\n \r\n\r\n\r\n".to_vec()),
        ("utf-8", "Grüße, 你好, naïve\r\n.ß\r\n".as_bytes().to_vec()),
        (
            "not even utf-8",
            (1u8..=255).filter(|o| !b"\r\n".contains(o)).collect(),
        ),
        (
            "the longest line",
            [&[b'x'; 998][..], b"\r\n.", &[b'y'; 997][..], b"\r\n"].concat(),
        ),
        ("twenty mebibytes", large.into_bytes()),
    ]
}

fn on_the_wire(body: &[u8]) -> Vec<u8> {
    let end: &[u8] = if body.is_empty() || body.ends_with(b"\r\n") {
        b""
    } else {
        b"\r\n"
    };
    [body, end].concat()
}

fn with_subject<'a>(all: &'a [Received], subject: &str) -> &'a Received {
    let found = all
        .iter()
        .find(|r| r.header("Subject").as_deref() == Some(subject));
    found.unwrap_or_else(|| panic!("no message {subject:?}"))
}

#[tokio::test]
async fn bodies_arrive_octet_for_octet() {
    let world = World::start(&Plan::default()).await;
    let mut client = world.client().await;
    for (name, body) in bodies() {
        let from = if body.is_ascii() {
            SENDER.to_owned()
        } else {
            format!("{SENDER} BODY=8BITMIME")
        };
        let reply = client
            .submit(&from, &[TO], letter(TO, name, &body))
            .await
            .unwrap();
        queue_id(&reply);
    }
    let arrived = world.far.wait_messages(bodies().len(), SOON).await;
    for (name, body) in bodies() {
        let message = with_subject(&arrived, name);
        assert!(
            message.body() == on_the_wire(&body),
            "{name}: {} octets for {}",
            message.body().len(),
            body.len()
        );
        assert_eq!(message.tls.as_ref().unwrap().version, "TLSv1.3", "{name}");
        let eight = message.mail_params.iter().any(|p| p == "BODY=8BITMIME");
        assert!(
            eight || message.data.is_ascii(),
            "{name}: {:?}",
            message.mail_params
        );
    }
    assert_eq!(world.far.violations(), Vec::<String>::new());
}

/// Lines over 998 octets are taken and passed on as they are; breaking them would be worse.
#[tokio::test]
async fn long_lines_stay_whole() {
    let world = World::start(&Plan::default()).await;
    let body = format!(
        "{}\r\nshort\r\n.{}\r\n",
        "x".repeat(60_000),
        "y".repeat(5_000)
    );
    world.send(&[TO], letter(TO, "long", &body)).await;
    let arrived = world.far.wait_messages(1, SOON).await;
    assert!(arrived[0].body() == body.as_bytes());
    for violation in world.far.violations() {
        assert!(
            violation.contains("a content line over 1000 octets"),
            "{violation}"
        );
    }
}

#[tokio::test]
async fn connections_are_kept_for_further_messages() {
    let plan = Plan {
        delivery: "connections_per_site = 2",
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    let mut client = world.client().await;
    for n in 0..20 {
        let reply = client
            .submit(SENDER, &[TO], letter(TO, &n.to_string(), "hi\r\n"))
            .await
            .unwrap();
        queue_id(&reply);
    }
    let arrived = world.far.wait_messages(20, SOON).await;
    assert_eq!(arrived.len(), 20);
    assert!(
        world.far.peak_connections() <= 2,
        "{}",
        world.far.peak_connections()
    );
    let again = arrived.iter().filter(|message| message.nth > 1).count();
    assert!(
        again >= 10,
        "only {again} of 20 came over a connection already there"
    );
    assert_eq!(world.far.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn recipients_are_split_by_site_and_a_bcc_does_not_show() {
    let world = World::start(&Plan::default()).await;
    let (blue, red) = (
        world.mx("blue.example", |b| b),
        world.mx("red.example", |b| b),
    );
    let data = format!(
        "From: {SENDER}\r\nTo: a@blue.example, c@red.example\r\nBcc: secret@red.example\r\nSubject: all\r\n\r\nhi\r\n"
    );
    let to = [
        "a@blue.example",
        "b@blue.example",
        "c@red.example",
        "secret@red.example",
        TO,
    ];
    let id = world.send(&to, data).await;
    for (server, expected) in [(&blue, &to[..2]), (&red, &to[2..4]), (&world.far, &to[4..])] {
        let arrived = server.wait_messages(1, SOON).await;
        assert_eq!(arrived[0].rcpt_to, expected);
        assert_eq!(arrived[0].header("Bcc"), None);
        assert_eq!(server.violations(), Vec::<String>::new());
    }
    world.wait_empty_queue(SOON).await;
    for recipient in to {
        let entry = world.wait_audit(&id, recipient, "delivered").await;
        assert_eq!(entry["tls"]["version"], "TLSv1.3", "{entry}");
    }
    assert_eq!((blue.count(), red.count(), world.far.count()), (1, 1, 1));
}

#[tokio::test]
async fn greylisting_is_waited_out() {
    let world = World::start(&Plan {
        retry: r#"["1s", "1s"]"#,
        ..Plan::default()
    })
    .await;
    world
        .far
        .change(|k| k.rcpt_reply_times("*", 1, "451 4.7.1 Greylisted, come again"));
    let id = world.send(&[TO], letter(TO, "grey", "hi\r\n")).await;
    let entry = world.wait_audit(&id, TO, "queued").await;
    assert!(entry.to_string().contains("Greylisted"), "{entry}");
    world.far.wait_messages(1, SOON).await;
    world.wait_audit(&id, TO, "delivered").await;
    assert_eq!(world.home.count(), 0, "nobody is told of a short wait");
    assert_eq!(world.far.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn the_same_octets_again_after_a_lost_reply() {
    let world = World::start(&Plan::default()).await;
    world.far.change(|k| k.cut_after_dot_times(1));
    let id = world.send(&[TO], letter(TO, "twice", "hi\r\n")).await;
    let arrived = world.far.wait_messages(2, SOON).await;
    world.wait_audit(&id, TO, "delivered").await;
    assert_eq!(
        arrived[0].data, arrived[1].data,
        "RFC 1047: the same octets"
    );
    assert!(!arrived[0].answered && arrived[1].answered);
}

#[tokio::test]
async fn a_site_that_hangs_does_not_hold_up_others() {
    let world = World::start(&Plan::default()).await;
    let slow = world.mx("slow.example", |b| {
        b.delay(Stage::Banner, std::time::Duration::from_secs(60))
    });
    world
        .send(
            &["a@slow.example"],
            letter("a@slow.example", "slow", "hi\r\n"),
        )
        .await;
    slow.wait_connections(1, SOON).await;
    let fast = world.send(&[TO], letter(TO, "fast", "hi\r\n")).await;
    world.far.wait_messages(1, SOON).await;
    // Taken there is not yet settled here.
    world.wait_audit(&fast, TO, "delivered").await;
    let queue = world.queue();
    assert_eq!(queue.len(), 1, "{queue:?}");
    let recipients: Vec<&Value> = queue[0]["recipients"].as_array().unwrap().iter().collect();
    assert_eq!(recipients[0]["address"], "a@slow.example");
    assert_eq!(slow.count(), 0);
}

/// RFC 5321 section 5.1: a dead host of lower preference number is passed over.
#[tokio::test]
async fn the_next_mx_is_tried() {
    let world = World::start(&Plan::default()).await;
    let dead = postern_lab::loopback();
    world
        .dns
        .mx("clinic.example", 5, "dead.clinic.example")
        .a("dead.clinic.example", dead);
    world.send(&[TO], letter(TO, "next", "hi\r\n")).await;
    world.far.wait_messages(1, SOON).await;
}
