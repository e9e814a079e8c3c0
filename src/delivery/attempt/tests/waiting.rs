//! Time limits, by a paused clock (RFC 5321 section 4.5.3.2).

use std::time::Duration;

use tokio::time::Instant;

use super::*;

/// How long an attempt with one host takes, and what comes of it.
async fn timed(host: FarSide) -> (Duration, String) {
    let world = World::new(Ca::new(), &[&host]).methods(&["tls", "cleartext"]);
    let (deliverer, _) = world.deliverer();
    let start = Instant::now();
    let report = attempt(&deliverer, &job(&["a"]), &mut Lane::default()).await;
    (start.elapsed(), fates(&report).remove(0))
}

fn about(time: Duration, minutes: u64) -> bool {
    let expected = Duration::from_secs(minutes * 60);
    // QUIT on the way out, and another connection's few steps.
    time >= expected && time < expected + Duration::from_secs(30)
}

#[tokio::test(start_paused = true)]
async fn e15_every_stage_has_its_limit() {
    for (verb, minutes, fate) in [
        ("BANNER", 5, "deferred timed-out 4.4.2"),
        ("EHLO", 5, "deferred timed-out 4.4.2"),
        ("MAIL", 5, "deferred timed-out 4.4.2"),
        ("RCPT", 5, "deferred timed-out 4.4.2"),
        ("DATA", 2, "deferred timed-out 4.4.2"),
        ("DOT", 10, "deferred outcome-unknown 4.4.2"),
    ] {
        let (time, result) = timed(FarSide::new(None).says(verb, &["STALL"])).await;
        assert_eq!(result, fate, "{verb}");
        assert!(about(time, minutes), "{verb}: {time:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stalled_handshake_ends() {
    let ca = Ca::new();
    let host = FarSide::new(ca.tls("mx1.b.example")).says("SHAKE", &["STALL", "STALL"]);
    let (time, result) = timed(host).await;
    assert_eq!(result, "deferred tls-interrupted 4.7.5");
    assert!(about(time, 2), "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_address_ends() {
    let mut world = World::new(Ca::new(), &[]);
    world.dns = FakeDns::new().a("b.example", "192.0.2.1");
    world.network.silent.push("192.0.2.1".parse().unwrap());
    let start = Instant::now();
    let report = world.attempt(&["a"]).await;
    assert_eq!(fates(&report), ["deferred timed-out 4.4.1"]);
    assert!(start.elapsed() < Duration::from_secs(31));
}

#[tokio::test(start_paused = true)]
async fn a_stalled_reader_ends_the_message() {
    let host = FarSide::new(None).says("EARLY", &["STALL"]);
    let world = World::new(Ca::new(), &[&host]).methods(&["tls", "cleartext"]);
    let (deliverer, _) = world.deliverer();
    let job = job_of(
        &["a"],
        MemoryBody::new(vec![Bytes::from(vec![b'x'; 1000]); 1000]),
    );
    let start = Instant::now();
    let report = attempt(&deliverer, &job, &mut Lane::default()).await;
    assert_eq!(fates(&report), ["deferred timed-out 4.4.2"]);
    assert!(about(start.elapsed(), 3), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn many_tarpits_end_together() {
    let tarpits: Vec<FarSide> = (0..9)
        .map(|_| FarSide::new(None).says("BANNER", &["STALL"]))
        .collect();
    let hosts: Vec<&FarSide> = tarpits.iter().collect();
    let start = Instant::now();
    let report = World::new(Ca::new(), &hosts).attempt(&["a"]).await;
    assert_eq!(fates(&report), ["deferred unreachable 4.4.1"]);
    assert!(about(start.elapsed(), 30), "{:?}", start.elapsed());
}

/// A server that takes one recipient a transaction, and time for each: what is
/// not reached in an attempt's time waits, and what is reached is not forgotten.
#[tokio::test(start_paused = true)]
async fn one_recipient_at_a_time_ends_with_the_attempts_time() {
    let names: Vec<String> = (0..100).map(|n| format!("r{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut replies = Vec::new();
    for left in (1..=names.len()).rev() {
        replies.push("250 ok");
        replies.extend(vec!["452 4.5.3 one at a time"; left - 1]);
    }
    let ca = Ca::new();
    let host = FarSide::new(ca.tls("mx1.b.example"))
        .says("RCPT", &replies)
        .says("DOT", &["SLOW"; 100]);
    let world = World::new(ca, &[&host]);
    let start = Instant::now();
    let report = world.attempt(&names).await;
    assert!(about(start.elapsed(), 30) || about(start.elapsed(), 31));
    let delivered = fates(&report).iter().filter(|f| *f == "delivered").count();
    assert_eq!(delivered, host.bodies().len());
    assert!((25..40).contains(&delivered), "{delivered}");
    let deferred = |f: &&String| *f == "deferred deferred 4.5.3";
    assert_eq!(
        fates(&report).iter().filter(deferred).count(),
        100 - delivered
    );
}
