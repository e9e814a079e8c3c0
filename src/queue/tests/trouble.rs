//! Panics, a sick store, suspects.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::world::{Act, HOUR, World};
use crate::queue::dispatcher::Dispatcher;
use crate::types::{Host, QueueId, Reason, Stage, State};

#[tokio::test(start_paused = true)]
async fn a_panic_in_an_attempt_is_a_deferral() {
    let mut world = World::new();
    let count = AtomicUsize::new(0);
    world.deliver.does(move |job| {
        let poison = job.host.to_string() == "poison.example";
        match poison && count.fetch_add(1, Ordering::SeqCst) < 2 {
            true => Act::Panic,
            false => Act::Deliver,
        }
    });
    let queue = world.start();
    let id = world.send(&["a@poison.example"]).await;
    world.send(&["a@good.example"]).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(world.open().await, 1, "the other message is delivered");
    let events = world.store.events();
    let event = events.iter().find(|event| event.id == id).unwrap();
    assert_eq!(event.state, State::Queued);
    assert_eq!(event.reason.as_deref(), Some(Reason::Interrupted.as_str()));
    world.until_empty(HOUR).await;
    let attempts: Vec<u32> = world
        .deliver
        .seen()
        .iter()
        .filter(|seen| seen.id == id)
        .flat_map(|seen| seen.attempts.clone())
        .collect();
    assert_eq!(attempts, [0, 1, 2]);
    assert!(
        queue
            .questions()
            .stats()
            .await
            .iter()
            .all(|site| site.active == 0)
    );
    assert!(world.store.marked.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_outcome_waits_for_a_sick_store() {
    let mut world = World::new();
    let queue = world.start();
    *world.store.sick.lock().unwrap() = true;
    for n in 0..5 {
        world.send(&[&format!("a@d{n}.example")]).await;
    }
    tokio::time::sleep(HOUR).await;
    assert_eq!(world.open().await, 5);
    assert_eq!(
        world.deliver.seen().len(),
        5,
        "not attempted again meanwhile"
    );
    assert_eq!(world.store.marked.lock().unwrap().len(), 5);
    *world.store.sick.lock().unwrap() = false;
    world.until_empty(Duration::from_secs(60)).await;
    assert_eq!(world.deliver.seen().len(), 5);
    world.stop();
    queue.join().await;
}

#[tokio::test(start_paused = true)]
async fn suspects_go_last_and_alone() {
    let mut world = World::new();
    *world.deliver.takes.lock().unwrap() = Duration::from_secs(3);
    let mut suspects = HashSet::new();
    for n in 0..4 {
        suspects.insert(world.send(&[&format!("a@d{n}.example")]).await);
    }
    for n in 0..40 {
        world.send(&[&format!("a@d{n}.example")]).await;
    }
    *world.store.suspects.lock().unwrap() = suspects.iter().copied().collect();
    world.forget_fresh();
    let _queue = world.start();
    world.until_empty(HOUR).await;
    let seen = world.deliver.seen();
    assert_eq!(seen.len(), 44);
    let (first, last) = seen.split_at(40);
    assert!(first.iter().all(|s| !suspects.contains(&s.id)));
    assert!(
        last.iter().all(|s| s.attempts == [1]),
        "counted before the attempt"
    );
    for pair in last.windows(2) {
        let between = pair[1].at.since(pair[0].at);
        assert!(between >= Duration::from_secs(3), "two at once");
    }
    let counted = world.store.events().into_iter().filter(|e| {
        suspects.contains(&e.id) && e.reason.as_deref() == Some(Reason::Interrupted.as_str())
    });
    assert_eq!(counted.count(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_suspect_whose_site_is_down_does_not_block_the_others() {
    let mut world = World::new();
    world
        .deliver
        .does(|job| match job.host.to_string().as_str() {
            "down.example" => Act::Defer(Reason::Unreachable, Stage::Connect),
            _ => Act::Deliver,
        });
    let mut suspects = vec![world.send(&["a@down.example"]).await];
    suspects.push(world.send(&["b@down.example"]).await);
    suspects.push(world.send(&["a@up.example"]).await);
    *world.store.suspects.lock().unwrap() = suspects;
    world.forget_fresh();
    let _queue = world.start();
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(world.open().await, 2);
    world.deliver.does(|_| Act::Deliver);
    world.until_empty(HOUR).await;
}

/// A suspect that panics in its attempt and again while that is settled.
#[tokio::test(start_paused = true)]
async fn a_parked_suspect_does_not_block_the_others() {
    let mut dispatcher = Dispatcher::new(World::new().shared());
    let (host, id) = (
        Host::parse("poison.example").unwrap(),
        QueueId::from_octets([7; 12]),
    );
    dispatcher.alone_now = Some((host.clone(), id));
    dispatcher.park(host, id);
    assert_eq!(dispatcher.alone_now, None);
}
