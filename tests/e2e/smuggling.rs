//! SMTP smuggling: no octets that a client sends become two messages, at our door or behind us.
//!
//! False ends of a message are tried in TCP segments and TLS records cut at every octet. What is
//! legal at our door goes on to a strict server and to one that takes nearly anything for an end.

use std::net::SocketAddr;
use std::time::Duration;

use postern_lab::{Client, FALSE_ENDS, FalseEnd, LenientServer, loopback};

use crate::world::{ACCOUNT, PASSWORD, Plan, RELAY, SENDER, SOON, World, letter};

const VICTIM: &str = "victim@clinic.example";
const TO: [&str; 2] = ["p@clinic.example", "p@lenient.example"];
/// Long enough for the daemon to have read a segment before the next one comes.
const PAUSE: Duration = Duration::from_millis(2);
const GOOD: &str = "nothing hidden here\r\n";

/// A world with a second domain, whose server is lenient and has no TLS.
async fn world() -> (World, LenientServer) {
    let plan = Plan {
        security: r#"methods = ["tls", "cleartext"]"#,
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    let ip = loopback();
    let lenient = LenientServer::start((ip, world.port).into());
    let host = "mx.lenient.example";
    world.dns.mx("lenient.example", 10, host).a(host, ip);
    (world, lenient)
}

/// Up to the 354, for both recipients.
async fn up_to_data(client: &mut Client) {
    let mail = format!("MAIL FROM:<{SENDER}>");
    let rcpt = TO.map(|to| format!("RCPT TO:<{to}>"));
    for line in [&mail, &rcpt[0], &rcpt[1]] {
        let reply = client.line(line).await.unwrap();
        assert_eq!(reply.code, 250, "{line}: {reply:?}");
    }
    assert_eq!(client.line("DATA").await.unwrap().code, 354);
}

async fn relay(addr: SocketAddr) -> Client {
    let mut client = Client::connect(addr).await.unwrap();
    client.greet("printer.ward.example").await.unwrap();
    client
}

/// The attack in these pieces gets one refusal, and then the QUIT its answer: what
/// was smuggled is never obeyed.
async fn is_refused_once(mut client: Client, end: &FalseEnd, pieces: Vec<&[u8]>) {
    up_to_data(&mut client).await;
    let many = pieces.len() > 3;
    // Octet by octet the daemon may lag behind: what counts is that no octet waits for another.
    let pause = if many { PAUSE / 8 } else { PAUSE };
    client.send_slowly(pieces, pause).await.unwrap();
    let heard = client.read_eof().await.unwrap();
    let heard = String::from_utf8(heard).unwrap();
    let codes: Vec<_> = heard.lines().map(|line| &line[..9]).collect();
    assert!(
        matches!(codes[..], ["550 5.5.2" | "550 5.6.0", "221 2.0.0"]),
        "{}: {heard}",
        end.name
    );
}

/// A good message, behind which anything smuggled would have come too, is all that arrives.
async fn only_a_good_one_arrives(world: &World, lenient: &LenientServer) {
    let mut client = relay(world.relay).await;
    let reply = client
        .submit(SENDER, &TO, letter(TO[0], "good", GOOD))
        .await;
    assert_eq!(reply.unwrap().code, 250);
    world.wait_empty_queue(SOON).await;
    let far = world.far.messages();
    let behind = lenient.messages();
    assert_eq!((far.len(), behind.len()), (1, 1), "{far:?} {behind:?}");
    assert!(far[0].data.ends_with(GOOD.as_bytes()));
    assert_eq!(world.home.count(), 0);
}

#[tokio::test]
async fn no_false_end_ends_a_message_in_any_segments() {
    let (world, lenient) = world().await;
    for end in FALSE_ENDS {
        let (octets, false_end, true_end) = end.attack(SENDER, VICTIM);
        let single = octets.chunks(1).collect();
        is_refused_once(relay(world.relay).await, end, single).await;
        let behind = false_end + end.octets.len();
        for cut in (false_end..=behind).chain(true_end..true_end + 5) {
            let (before, after) = octets.split_at(cut);
            is_refused_once(relay(world.relay).await, end, vec![before, after]).await;
        }
        // The dot or its line end alone in a segment.
        let (head, rest) = octets.split_at(false_end);
        let (middle, tail) = rest.split_at(end.octets.len());
        is_refused_once(relay(world.relay).await, end, vec![head, middle, tail]).await;
    }
    only_a_good_one_arrives(&world, &lenient).await;
}

#[tokio::test]
async fn no_false_end_ends_a_message_in_any_tls_records() {
    let (world, lenient) = world().await;
    let kinds = [world.submission, world.submissions];
    for (nth, end) in FALSE_ENDS.iter().enumerate() {
        let (octets, false_end, _) = end.attack(SENDER, VICTIM);
        let addr = kinds[nth % 2];
        is_refused_once(
            logged_in(&world, addr).await,
            end,
            octets.chunks(1).collect(),
        )
        .await;
        let middle = false_end + end.octets.len() / 2;
        let (before, after) = octets.split_at(middle);
        is_refused_once(logged_in(&world, addr).await, end, vec![before, after]).await;
    }
    only_a_good_one_arrives(&world, &lenient).await;
}

async fn logged_in(world: &World, addr: SocketAddr) -> Client {
    let mut client = match addr == world.submission {
        true => world.starttls(addr, &world.client_tls()).await,
        false => {
            let mut client = Client::tls_connect(addr, &world.client_tls(), RELAY)
                .await
                .unwrap();
            client.greet("desk.ward.example").await.unwrap();
            client
        }
    };
    let reply = client.auth_plain(ACCOUNT, PASSWORD).await.unwrap();
    assert_eq!(reply.code, 235, "{reply:?}");
    client
}

/// What is legal at our door and would be an end, or an envelope, if a dot were lost behind it:
/// each with its name, without dot stuffing, which the client adds.
fn dangerous() -> Vec<(&'static str, Vec<u8>)> {
    let smuggled = format!(
        "MAIL FROM:<{SENDER}>\r\nRCPT TO:<{VICTIM}>\r\nDATA\r\nSubject: smuggled\r\n\r\nevil\r\n"
    );
    let text = |text: &str| letter(TO[0], "legal", text.replace("SMUGGLED", &smuggled));
    let dots: String = (0..20_000).map(|n| &"....\r\n"[3 - n % 4..]).collect();
    // Lines of 64 octets, and one that makes it `n` in all.
    let boundary = |n: usize| {
        let lines = format!("{}\r\n", "a".repeat(62)).repeat(n / 64);
        format!("{lines}{}\r\n.\r\nSMUGGLED.\r\n", "b".repeat(n % 64))
    };
    let mut all = vec![
        ("a lone dot", text(".\r\nSMUGGLED.\r\n")),
        ("lone dots only", text(".\r\n.\r\n.\r\n")),
        ("two dots", text("..\r\nSMUGGLED..\r\n")),
        ("dots before words", text(".x\r\n..y\r\n. \r\n.\t\r\n")),
        ("20,000 lines of dots", text(&dots)),
        (
            "a dot first in the message",
            [b".\r\n".as_slice(), &text("SMUGGLED")].concat(),
        ),
        ("a dot in the header", dotted_header(&smuggled)),
        (
            "a header alone",
            format!("From: {SENDER}\r\nSubject: .\r\n\t.\r\n").into_bytes(),
        ),
        ("no header", b"\r\n.\r\nMAIL FROM:<>\r\n".to_vec()),
    ];
    // The dot on the edges of what may be a buffer.
    for size in [4096, 8192, 16_384, 65_536] {
        for less in 0..4 {
            all.push(("a dot at an edge", text(&boundary(size - 150 - less))));
        }
    }
    all
}

fn dotted_header(smuggled: &str) -> Vec<u8> {
    format!("From: {SENDER}\r\nX-Dots: a\r\n .\r\n ..\r\nSubject: x\r\n\r\n.\r\n{smuggled}")
        .into_bytes()
}

/// What a relay listener takes arrives with a Received field before it and no other octet changed.
#[tokio::test]
async fn what_is_legal_arrives_as_one_message_unchanged() {
    let (world, lenient) = world().await;
    let cases = dangerous();
    for (nth, (name, message)) in cases.iter().enumerate() {
        let mut client = relay(world.relay).await;
        let reply = client.submit(SENDER, &TO, message).await.unwrap();
        assert_eq!(reply.code, 250, "{name}: {reply:?}");
        client.quit().await.unwrap();
        let far = world.far.wait_messages(nth + 1, SOON).await;
        let behind = lenient.wait_messages(nth + 1, SOON).await;
        let (far, behind) = (&far[nth], &behind[nth]);
        for data in [&far.data[..], &behind.data[..]] {
            let (added, kept) = data.split_at(data.len() - message.len());
            assert!(kept == message, "{name}: not the same octets");
            assert!(added.starts_with(b"Received: from "), "{name}");
            let lines = added.split_inclusive(|octet| *octet == b'\n');
            for line in lines.skip(1) {
                // An empty line only where what came begins with its body.
                let is_field = line.starts_with(b"\t") && line.ends_with(b"\r\n");
                let is_seam = line == b"\r\n" && message.starts_with(b".");
                assert!(is_field || is_seam, "{name}: {line:?}");
            }
        }
        assert_eq!(far.mail_from, SENDER);
        assert_eq!(behind.mail_from, SENDER);
        assert_eq!(far.rcpt_to, [TO[0]]);
        assert_eq!(behind.rcpt_to, [TO[1]]);
    }
    world.wait_empty_queue(SOON).await;
    assert_eq!(world.far.count(), cases.len());
    assert_eq!(lenient.messages().len(), cases.len());
    assert_eq!(world.far.violations(), Vec::<String>::new());
}

/// What Postern itself changes (a Bcc that goes, fields that are added) leaves no seam: the header
/// stays a header, and the body is the same.
#[tokio::test]
async fn what_is_changed_leaves_no_seam() {
    let (world, lenient) = world().await;
    let from = format!("From: {SENDER}\r\n");
    let headers = [
        format!("{from}Bcc: a@x.example,\r\n .\r\n\tb@y.example\r\n"),
        format!("Bcc: a@x.example\r\n{from}Bcc:\r\n .\r\n"),
        format!("{from}X: 1\r\n .\r\nBcc: a@x.example\r\n ..\r\n .\r\nY: 2\r\n"),
        format!("bCC: .\r\n{from}"),
        from.clone(),
    ];
    let body = "\r\n.\r\nMAIL FROM:<ceo@ward.example>\r\n..\r\nevil\r\n.\r\n";
    for (nth, header) in headers.iter().enumerate() {
        let mut client = logged_in(&world, world.submission).await;
        let message = format!("{header}{body}");
        let reply = client.submit(SENDER, &TO, &message).await.unwrap();
        assert_eq!(reply.code, 250, "{header:?}: {reply:?}");
        let far = world.far.wait_messages(nth + 1, SOON).await;
        let behind = lenient.wait_messages(nth + 1, SOON).await;
        for data in [&far[nth].data[..], &behind[nth].data[..]] {
            let text = String::from_utf8(data.to_vec()).unwrap();
            let (head, rest) = text.split_once("\r\n\r\n").unwrap();
            assert_eq!(rest, &body[2..], "{header:?}");
            assert!(!head.to_lowercase().contains("bcc:"), "{head}");
            for line in head.lines().skip(1) {
                let is_field = line.starts_with([' ', '\t']) || line.contains(": ");
                assert!(is_field, "{header:?}: {line:?}");
            }
        }
    }
    world.wait_empty_queue(SOON).await;
    assert_eq!(world.far.count(), headers.len());
    assert_eq!(lenient.messages().len(), headers.len());
}
