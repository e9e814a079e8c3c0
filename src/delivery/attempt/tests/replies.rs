//! Replies: which host is next, who waits, who is refused.

use super::*;

async fn two(first: FarSide, recipients: &[&str]) -> (Report, FarSide, FarSide) {
    let ca = Ca::new();
    let second = FarSide::new(ca.tls("mx2.b.example"));
    let world = World::new(ca, &[&first, &second]);
    (world.attempt(recipients).await, first, second)
}

fn first() -> FarSide {
    FarSide::new(Ca::new().tls("mx1.b.example"))
}

#[tokio::test(start_paused = true)]
async fn e4_a_refusing_banner_leads_to_the_next_host() {
    for banner in ["554 no", "421 busy", "450 busy"] {
        let (report, refusing, _) = two(first().says("BANNER", &[banner]), &["r"]).await;
        assert_eq!(fates(&report), ["delivered"], "{banner}");
        assert_eq!(refusing.heard(), ["QUIT"]);
        assert_eq!(
            evidence(&report).remote.as_ref().unwrap().name,
            "mx2.b.example"
        );
    }
    // Refused by all: for good if all of them mean it.
    let no = || FarSide::new(None).says("BANNER", &["554 5.7.1 no"]);
    let report = World::new(Ca::new(), &[&no(), &no()]).attempt(&["r"]).await;
    assert_eq!(fates(&report), ["bounced rejected 5.7.1"]);
    let busy = FarSide::new(None).says("BANNER", &["450 busy"]);
    let report = World::new(Ca::new(), &[&busy, &no()]).attempt(&["r"]).await;
    assert_eq!(fates(&report), ["deferred deferred 4.0.0"]);
}

#[tokio::test(start_paused = true)]
async fn e6_421_sends_the_rest_to_the_next_host() {
    let host = first().says("RCPT", &["550 5.1.1 no", "421 closing"]);
    let (report, _, second) = two(host, &["a", "b"]).await;
    assert_eq!(fates(&report), ["bounced rejected 5.1.1", "delivered"]);
    assert_eq!(second.count("RCPT"), 1);
}

#[tokio::test(start_paused = true)]
async fn e7_each_recipient_by_its_own_reply() {
    let host = first().says("RCPT", &["250 ok", "450 4.2.1 later", "550 5.1.1 never"]);
    let (report, _, second) = two(host, &["a", "b", "c"]).await;
    assert_eq!(
        fates(&report),
        [
            "delivered",
            "deferred deferred 4.2.1",
            "bounced rejected 5.1.1"
        ]
    );
    // A 4xx at RCPT waits: it is no reason to ask another host.
    assert_eq!(second.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn mail_4xx_is_for_the_next_host_and_5xx_is_final() {
    let (report, ..) = two(first().says("MAIL", &["451 later"]), &["a"]).await;
    assert_eq!(fates(&report), ["delivered"]);
    let (report, _, second) = two(first().says("MAIL", &["550 5.7.1 never"]), &["a"]).await;
    assert_eq!(fates(&report), ["bounced rejected 5.7.1"]);
    assert_eq!(second.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_final_dot_speaks_for_the_accepted() {
    for (reply, fate) in [
        ("451 4.3.0 later", "deferred deferred 4.3.0"),
        ("554 5.6.0 never", "bounced rejected 5.6.0"),
        ("421 later", "deferred deferred 4.0.0"),
    ] {
        let host = first()
            .says("DOT", &[reply])
            .says("RCPT", &["250 ok", "550 no"]);
        let (report, _, second) = two(host, &["a", "b"]).await;
        assert_eq!(fates(&report), [fate, "bounced rejected 5.0.0"]);
        assert_eq!(second.connections(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn e8_the_rest_goes_in_a_further_transaction_at_once() {
    let host = first().says(
        "RCPT",
        &["250 ok", "250 ok", "452 4.5.3 enough", "452 enough"],
    );
    let (report, host, second) = two(host, &["a", "b", "c", "d"]).await;
    assert_eq!(fates(&report), ["delivered"; 4]);
    assert_eq!(
        (host.count("MAIL"), host.connections(), host.bodies().len()),
        (2, 1, 2)
    );
    assert!(!host.heard_any("RSET"));
    assert_eq!(second.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn at_most_100_recipients_in_a_transaction() {
    let names: Vec<String> = (0..250).map(|n| format!("r{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (report, host, _) = two(first(), &names).await;
    assert!(fates(&report).iter().all(|fate| fate == "delivered"));
    assert_eq!((host.count("MAIL"), host.count("RCPT")), (3, 250));
}

#[tokio::test(start_paused = true)]
async fn e11_lost_after_the_dot_is_not_sent_elsewhere() {
    for what in ["CLOSE", "STALL"] {
        let (report, _, second) = two(first().says("DOT", &[what]), &["a"]).await;
        assert_eq!(fates(&report), ["deferred outcome-unknown 4.4.2"]);
        assert_eq!(second.connections(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn e12_lost_before_the_dot_goes_to_the_next_host() {
    for verb in ["EHLO", "MAIL", "RCPT", "DATA"] {
        let (report, ..) = two(first().says(verb, &["CLOSE"]), &["a"]).await;
        assert_eq!(fates(&report), ["delivered"], "{verb}");
    }
    let large = vec![Bytes::from(vec![b'x'; 60]); 60_000];
    let host = first().says("EARLY", &["CLOSE"]);
    let (report, _) = large_message(host, large).await;
    assert_eq!(fates(&report), ["delivered"]);
}

/// Sends a large message of these pieces, a second host standing by.
async fn large_message(host: FarSide, pieces: Vec<Bytes>) -> (Report, FarSide) {
    let ca = Ca::new();
    let second = FarSide::new(ca.tls("mx2.b.example"));
    let (deliverer, _) = World::new(ca, &[&host, &second]).deliverer();
    let job = job_of(&["a"], MemoryBody::new(pieces));
    let report = attempt(&deliverer, &job, &mut Lane::default()).await;
    (report, second)
}

#[tokio::test(start_paused = true)]
async fn a_refusal_in_mid_message_is_heard_and_does_not_deadlock() {
    // It says no and reads on, or says no and never reads again.
    for after in [
        vec!["552 5.3.4 too big"],
        vec!["552 5.3.4 too big\r\n", "STALL"],
    ] {
        let host = first().says("EARLY", &after[..1]);
        let host = match after.len() {
            2 => host.says("DOT", &after[1..]),
            _ => host,
        };
        let large = vec![Bytes::from(vec![b'x'; 1000]); 3000];
        let (report, second) = large_message(host, large).await;
        assert_eq!(fates(&report), ["bounced too-large 5.3.4"]);
        assert_eq!(second.connections(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_may_not_be_sent_gets_no_final_dot() {
    let host = first();
    let pieces = vec![
        Bytes::from_static(b"fine\r\n"),
        Bytes::from_static(b"bare\nline"),
    ];
    let (report, second) = large_message(host.clone(), pieces).await;
    assert_eq!(fates(&report), ["deferred body-unreadable 4.3.0"]);
    assert!(host.bodies().is_empty());
    assert_eq!(second.connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn e5_helo_only_hosts_are_unmet() {
    let host = FarSide::new(None).says("EHLO", &["502 what"]);
    let report = World::new(Ca::new(), &[&host]).attempt(&["a"]).await;
    assert_eq!(fates(&report), ["bounced no-starttls 5.7.10"]);
    assert!(host.heard_any("HELO") && !host.heard_any("MAIL"));
}

#[tokio::test(start_paused = true)]
async fn e37_every_address_of_a_host_is_tried() {
    let ca = Ca::new();
    let mx = FarSide::new(ca.tls("mx1.b.example"));
    let mut world = World::new(ca, &[&mx]);
    world.dns = FakeDns::new()
        .mx("b.example", &[(1, "mx1.b.example")])
        .a("mx1.b.example", "2001:db8::1")
        .a("mx1.b.example", "192.0.2.77")
        .a("mx1.b.example", "192.0.2.1");
    let dialled = world.network.dialled.clone();
    assert_eq!(fates(&world.attempt(&["a"]).await), ["delivered"]);
    let dialled: Vec<String> = dialled
        .lock()
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(dialled, ["2001:db8::1", "192.0.2.77", "192.0.2.1"]);
}
