//! The two clocks, in whole attempts (the table is in `tally_tests`).

use std::time::Duration;

use super::*;
use crate::types::Reason;

/// A job of this age in minutes, whose recipients have had so many attempts.
fn aged(minutes: i64, recipients: &[(&str, u32)]) -> Job {
    let names: Vec<&str> = recipients.iter().map(|(name, _)| *name).collect();
    let mut job = job(&names);
    let mut message = (*job.message).clone();
    let now = SystemClock.now().as_micros();
    message.received_at = Timestamp::from_micros(now - minutes * 60_000_000);
    job.message = Arc::new(message);
    for (recipient, (_, attempts)) in job.recipients.iter_mut().zip(recipients) {
        recipient.attempts = *attempts;
    }
    job
}

/// `mx1` is this host, and `mx2` never answers.
fn half_dead(ca: Ca, mx: &FarSide) -> World {
    let mut world = World::new(ca, &[mx]);
    world.dns = FakeDns::new()
        .mx("b.example", &[(1, "mx1.b.example"), (2, "mx2.b.example")])
        .a("mx1.b.example", "192.0.2.1")
        .a("mx2.b.example", "192.0.2.99");
    world
}

#[tokio::test(start_paused = true)]
async fn patience_runs_out_and_the_evidence_says_so() {
    let ca = Ca::new();
    let mx = FarSide::new(ca.tls("other.example"));
    let world = half_dead(ca, &mx).level(TlsLevel::Authenticated);
    let (deliverer, _) = world.deliverer();
    let mut lane = Lane::default();
    // Too early: it waits for what does not answer, until the clock's end.
    let report = attempt(&deliverer, &aged(14, &[("r", 2)]), &mut lane).await;
    assert_eq!(fates(&report), ["deferred unreachable 4.4.1"]);
    let waiting = report.recipients[0].waiting;
    assert_eq!(waiting.until, Some(Duration::from_secs(15 * 60)));
    assert!(waiting.answered);
    // Who was tried before is given up, who wasn't is not.
    let job = aged(15, &[("old", 3), ("new", 0)]);
    let report = attempt(&deliverer, &job, &mut lane).await;
    let ends = [
        "bounced certificate-name 5.7.5",
        "deferred unreachable 4.4.1",
    ];
    assert_eq!(fates(&report), ends);
    assert_eq!(
        evidence(&report).passed_over,
        [
            (Method::Tls, Reason::CertificateName),
            (Method::Tls, Reason::PatienceOver)
        ]
    );
    assert!(!mx.heard_any("MAIL"));
}

#[tokio::test(start_paused = true)]
async fn cleartext_has_its_turn_by_definite_answers_alone() {
    let mx = FarSide::new(None);
    let world = half_dead(Ca::new(), &mx).methods(&["tls", "cleartext"]);
    let (deliverer, _) = world.deliverer();
    let job = aged(60 * 24 * 3, &[("r", 9)]);
    let report = attempt(&deliverer, &job, &mut Lane::default()).await;
    assert_eq!(fates(&report), ["deferred unreachable 4.4.1"]);
    assert!(!mx.heard_any("MAIL"));
}

#[tokio::test(start_paused = true)]
async fn fallback_waits_for_its_time() {
    let mx = FarSide::new(None);
    let mut world = World::new(Ca::new(), &[&mx]).methods(&["tls", "cleartext"]);
    let hour = Duration::from_secs(3600);
    world.policy.default.fallback_after = hour;
    let (deliverer, _) = world.deliverer();
    let mut lane = Lane::default();
    let report = attempt(&deliverer, &aged(59, &[("r", 4)]), &mut lane).await;
    // A temporary code, since nothing is over yet.
    assert_eq!(fates(&report), ["deferred no-starttls 4.7.10"]);
    assert_eq!(report.recipients[0].waiting.until, Some(hour));
    assert!(!mx.heard_any("MAIL"));
    // No attempt before is needed: the refusal is definite.
    let report = attempt(&deliverer, &aged(60, &[("r", 0)]), &mut lane).await;
    assert_eq!(fates(&report), ["delivered"]);
    assert_eq!(
        evidence(&report).passed_over,
        [(Method::Tls, Reason::NoStarttls)]
    );
}
