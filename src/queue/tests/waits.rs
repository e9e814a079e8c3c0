//! Retry, expiry, delay notices, clock jumps.

use std::time::Duration;

use super::world::{Act, DAY, HOUR, World};
use crate::types::{Reason, Stage, State};

/// The far side says "later" to this recipient; the site is well.
fn later() -> Act {
    Act::Defer(Reason::Deferred, Stage::Rcpt)
}

/// Nobody answers.
fn down() -> Act {
    Act::Defer(Reason::Unreachable, Stage::Connect)
}

/// The sender's own server always works.
fn away(job: &crate::types::Job, act: Act) -> Act {
    match job.message.is_own_mail() {
        true => Act::Deliver,
        false => act,
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_follow_the_list_until_the_last_at_expiry() {
    let mut world = World::new();
    world.deliver.does(|job| away(job, later()));
    let _queue = world.start();
    let start = crate::sys::Clock::now(&*world.clock);
    let id = world.send(&["a@x.example"]).await;
    world.until_empty(DAY * 6).await;
    let seen = world.deliver.seen();
    let times: Vec<Duration> = seen
        .iter()
        .filter(|seen| seen.id == id)
        .map(|seen| seen.at.since(start))
        .collect();
    let waits: Vec<f64> = times
        .windows(2)
        .map(|w| (w[1] - w[0]).as_secs_f64())
        .collect();
    for (wait, minutes) in waits.iter().zip([5, 10, 20, 40, 60, 120, 240, 240, 240]) {
        let listed = f64::from(minutes * 60);
        assert!(
            (wait - listed).abs() <= listed * 0.1 + 1.0,
            "{wait} for {listed}"
        );
    }
    let last = *times.last().unwrap();
    assert!(
        last >= DAY * 5 && last < DAY * 5 + Duration::from_secs(2),
        "{last:?}"
    );
    let expired = world
        .store
        .events()
        .into_iter()
        .find(|e| e.state == State::Expired);
    assert_eq!(expired.unwrap().id, id);
    assert_eq!(world.store.dsns("could not be delivered").len(), 1);
    let delayed = world.store.dsns("delayed");
    assert_eq!(delayed.len(), 1, "the delay notice is sent once");
    assert!(delayed[0].1.since(start) >= HOUR * 4);
}

#[tokio::test(start_paused = true)]
async fn a_null_sender_is_told_nothing() {
    let mut world = World::new();
    world.deliver.does(|_| later());
    let _queue = world.start();
    world.send_from(None, &["a@x.example"]).await;
    world.until_empty(DAY * 6).await;
    let settlements = world.store.settlements.lock().unwrap();
    assert!(settlements.iter().all(|s| s.messages.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn recipients_have_their_own_fates() {
    let mut world = World::new();
    let first = std::sync::atomic::AtomicBool::new(true);
    world.deliver.does(move |job| {
        if first.swap(false, std::sync::atomic::Ordering::SeqCst) {
            Act::Each(vec![Act::Deliver, later(), Act::Bounce])
        } else {
            away(job, Act::Deliver)
        }
    });
    let _queue = world.start();
    let id = world
        .send(&["a@x.example", "b@x.example", "c@x.example"])
        .await;
    world.until_empty(HOUR).await;
    let seen: Vec<Vec<u32>> = world
        .deliver
        .seen()
        .into_iter()
        .filter(|seen| seen.id == id)
        .map(|seen| seen.recipients)
        .collect();
    assert_eq!(seen, [vec![0, 1, 2], vec![1]]);
    assert_eq!(world.store.dsns("could not be delivered").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_site_that_is_down_is_asked_once_a_backoff() {
    let mut world = World::new();
    world.deliver.does(|job| away(job, down()));
    let queue = world.start();
    for n in 0..100 {
        world.send(&[&format!("a@d{}.x.example", n % 7)]).await;
    }
    world.deliver.leads(|_| Ok("mx.provider.example".into()));
    tokio::time::sleep(Duration::from_secs(240)).await;
    let at_first = world.deliver.seen().len();
    assert!(
        at_first <= 10,
        "{at_first} attempts before the first backoff"
    );
    let stats = queue.questions().stats().await;
    assert_eq!(stats.len(), 1);
    assert_eq!(
        (stats[0].failures, stats[0].active, stats[0].ready),
        (1, 0, 0)
    );
    assert!(stats[0].backoff_until.is_some());
    assert_eq!(
        stats[0].last_error.as_ref().unwrap().reason,
        Reason::Unreachable
    );
    assert_eq!(stats[0].hosts.len(), 7);
    // After 5, 10, 20, 40 and 60 minutes: one attempt each.
    tokio::time::sleep(HOUR * 3).await;
    let probes = world.deliver.seen().len() - at_first;
    assert_eq!(probes, 5);
    world.deliver.does(|_| Act::Deliver);
    world.until_empty(HOUR * 5).await;
    let all = world.deliver.seen();
    let ours = all.iter().filter(|s| s.host != "clinic.example").count();
    assert_eq!(ours, at_first + probes + 100);
}

#[tokio::test(start_paused = true)]
async fn one_success_ends_the_backoff() {
    let mut world = World::new();
    world.deliver.does(|job| away(job, down()));
    let queue = world.start();
    for _ in 0..30 {
        world.send(&["a@x.example"]).await;
    }
    tokio::time::sleep(Duration::from_secs(200)).await;
    world.deliver.does(|_| Act::Deliver);
    // Those attempted come back by their own wait, the others with the backoff.
    world.until_empty(Duration::from_secs(200)).await;
    assert_eq!(
        queue
            .questions()
            .stats()
            .await
            .iter()
            .map(|s| s.failures)
            .max(),
        Some(0)
    );
}

#[tokio::test(start_paused = true)]
async fn e57_delay_and_expiry_act_behind_a_backoff() {
    let mut world = World::new();
    world.deliver.does(|job| away(job, down()));
    world.deliver.leads(|host| Ok(host.to_string()));
    let _queue = world.start();
    let start = crate::sys::Clock::now(&*world.clock);
    for _ in 0..60 {
        world.send(&["a@x.example"]).await;
    }
    world.until_empty(DAY * 5 + HOUR).await;
    let delayed = world.store.dsns("delayed");
    assert_eq!(delayed.len(), 60, "each sender is told of the delay once");
    let slack = Duration::from_secs(15 * 60);
    for (_, at) in &delayed {
        let after = at.since(start);
        assert!(after >= HOUR * 4 && after <= HOUR * 4 + slack, "{after:?}");
    }
    let expired = world.store.dsns("could not be delivered");
    assert_eq!(expired.len(), 60);
    for (_, at) in &expired {
        let after = at.since(start);
        assert!(after >= DAY * 5 && after <= DAY * 5 + slack, "{after:?}");
    }
    let attempts = world
        .deliver
        .seen()
        .iter()
        .filter(|s| s.host == "x.example")
        .count();
    assert!(
        attempts < 100,
        "{attempts} attempts for 200 messages in 5 days"
    );
    // What only waited was not logged as attempted.
    let queued = world
        .store
        .events()
        .iter()
        .filter(|e| e.state == State::Queued)
        .count();
    assert!(
        queued <= attempts,
        "{queued} deferrals for {attempts} attempts"
    );
}

#[tokio::test(start_paused = true)]
async fn a_domain_without_route_waits_or_bounces() {
    let mut world = World::new();
    world.deliver.leads(|host| match host.to_string().as_str() {
        "typo.example" => Err(true),
        "broken.example" => Err(false),
        host => Ok(format!("mx.{host}")),
    });
    let queue = world.start();
    world.send(&["a@typo.example"]).await;
    for _ in 0..20 {
        world.send(&["a@broken.example"]).await;
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.store.dsns("could not be delivered").len(), 1);
    assert_eq!(world.open().await, 20);
    let broken = queue
        .questions()
        .stats()
        .await
        .into_iter()
        .find(|s| s.site == "unrouted:broken.example");
    assert_eq!(broken.unwrap().failures, 1);
    world.deliver.leads(|host| Ok(format!("mx.{host}")));
    world.until_empty(Duration::from_secs(600)).await;
    assert_eq!(
        world
            .deliver
            .seen()
            .iter()
            .filter(|s| s.host == "broken.example")
            .count(),
        20
    );
}

#[tokio::test(start_paused = true)]
async fn e57_a_clock_set_back_delays_nothing() {
    let mut world = World::new();
    world.deliver.does(|job| away(job, later()));
    let _queue = world.start();
    world.send(&["a@x.example"]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    world.clock.jump(-30 * 24 * 3600);
    world.deliver.does(|_| Act::Deliver);
    world.until_empty(Duration::from_secs(600)).await;
    assert_eq!(world.deliver.seen().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn e57_a_clock_set_forward_ends_in_one_more_attempt() {
    let mut world = World::new();
    world.deliver.does(|job| away(job, later()));
    let _queue = world.start();
    let id = world.send(&["a@x.example"]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    world.clock.jump(30 * 24 * 3600);
    world.until_empty(Duration::from_secs(120)).await;
    assert_eq!(
        world.deliver.seen().iter().filter(|s| s.id == id).count(),
        2
    );
    assert_eq!(world.store.dsns("could not be delivered").len(), 1);
}
