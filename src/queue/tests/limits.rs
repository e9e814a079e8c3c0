//! Memory first, concurrency, fairness, many messages, many hosts.

use std::collections::HashSet;
use std::time::Duration;

use super::world::{HOUR, World};

#[tokio::test(start_paused = true)]
async fn a_fresh_message_goes_out_from_memory() {
    let mut world = World::new();
    let _queue = world.start();
    for n in 0..10 {
        world
            .send(&[&format!("a@d{n}.example"), "b@both.example"])
            .await;
    }
    world.until_empty(Duration::from_secs(10)).await;
    assert_eq!(world.deliver.seen().len(), 20);
    assert_eq!(*world.store.loads.lock().unwrap(), 0);
    assert!(world.store.marked.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_burst_beyond_the_channel_is_delivered_exactly_once() {
    let mut world = World::new();
    let _queue = world.start();
    let mut sent = HashSet::new();
    for n in 0..5000 {
        // No pause, so that the channel runs full.
        sent.insert(world.send(&[&format!("a@d{}.example", n % 3)]).await);
        if n % 700 == 0 {
            tokio::task::yield_now().await;
        }
    }
    world.until_empty(HOUR).await;
    let seen = world.deliver.seen();
    assert_eq!(seen.len(), 5000);
    assert_eq!(seen.iter().map(|s| s.id).collect::<HashSet<_>>(), sent);
    assert!(
        *world.store.loads.lock().unwrap() > 0,
        "the channel never ran full"
    );
    assert!(world.store.marked.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_was_queued_before_the_start_is_found() {
    let mut world = World::new();
    for n in 0..3000 {
        world.send(&[&format!("a@d{}.example", n % 3)]).await;
    }
    world.forget_fresh();
    let _queue = world.start();
    world.until_empty(HOUR).await;
    assert_eq!(world.deliver.seen().len(), 3000);
}

/// The due index can be read before the channel: then the message has been
/// delivered when it comes out of the channel.
#[tokio::test(start_paused = true)]
async fn a_message_seen_in_the_index_first_is_not_sent_again_from_memory() {
    let mut world = World::new();
    for _ in 0..50 {
        world.send(&["a@x.example"]).await;
    }
    let (channel, held) = world.hold_fresh();
    assert_eq!(held.len(), 50);
    let _queue = world.start();
    for fresh in held {
        tokio::time::sleep(Duration::from_millis(3)).await;
        channel.send(fresh).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.open().await, 0);
    assert_eq!(world.deliver.seen().len(), 50);
}

#[tokio::test(start_paused = true)]
async fn connections_are_limited_by_site_and_in_all() {
    let mut world = World::new();
    world.settings.connections = 8;
    world.settings.connections_per_site = 3;
    world.deliver.leads(|host| {
        let name = host.to_string();
        // 40 domains at 4 sites.
        Ok(format!("mx{}.example", name.len() % 4))
    });
    let _queue = world.start();
    for n in 0..400 {
        let domain = "d".repeat(1 + n % 40);
        world.send(&[&format!("a@{domain}.example")]).await;
    }
    world.until_empty(HOUR).await;
    assert_eq!(world.deliver.seen().len(), 400);
    assert_eq!(*world.deliver.most.lock().unwrap(), (3, 8));
}

#[tokio::test(start_paused = true)]
async fn a_large_site_does_not_starve_the_others() {
    let mut world = World::new();
    world.settings.connections = 4;
    world.settings.connections_per_site = 4;
    *world.deliver.takes.lock().unwrap() = Duration::from_secs(1);
    let _queue = world.start();
    for _ in 0..800 {
        world.send(&["a@large.example"]).await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    for n in 0..20 {
        world.send(&[&format!("a@small{n}.example")]).await;
    }
    world.until_empty(HOUR).await;
    let seen = world.deliver.seen();
    let last_small = seen
        .iter()
        .rposition(|s| s.host.starts_with("small"))
        .unwrap();
    assert!(
        last_small < 200,
        "a small site was served as number {last_small}"
    );
}

#[tokio::test(start_paused = true)]
async fn more_busy_sites_than_connections_take_turns() {
    let mut world = World::new();
    world.settings.connections = 2;
    *world.deliver.takes.lock().unwrap() = Duration::from_secs(1);
    let _queue = world.start();
    for n in 0..600 {
        world.send(&[&format!("a@d{}.example", n % 6)]).await;
    }
    world.until_empty(HOUR).await;
    let seen = world.deliver.seen();
    for n in 0..6 {
        let name = format!("d{n}.example");
        let first = seen.iter().position(|s| s.host == name).unwrap();
        assert!(first < 150, "{name} was first served as number {first}");
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_hosts() {
    let mut world = World::new();
    for n in 0..5_000 {
        world.send(&[&format!("a@old{n}.example")]).await;
    }
    world.forget_fresh();
    let _queue = world.start();
    for n in 0..5_000 {
        world.send(&[&format!("a@new{n}.example")]).await;
        if n % 500 == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    world.until_empty(HOUR).await;
    assert_eq!(world.deliver.seen().len(), 10_000);
    let most = world.deliver.most.lock().unwrap().1;
    assert!(most <= 200, "{most} connections");
}
