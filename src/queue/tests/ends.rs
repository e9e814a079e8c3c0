//! Shutdown.

use std::time::Duration;

use super::world::World;

#[tokio::test(start_paused = true)]
async fn attempts_under_way_get_ten_seconds() {
    let mut world = World::new();
    world.settings.connections_per_site = 1;
    *world.deliver.takes.lock().unwrap() = Duration::from_secs(8);
    let queue = world.start();
    world.send(&["a@x.example"]).await;
    world.send(&["b@x.example"]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.stop();
    let asked = tokio::time::Instant::now();
    queue.join().await;
    assert!(
        asked.elapsed() < Duration::from_secs(8),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(world.deliver.seen().len(), 1, "no new attempt is begun");
    assert_eq!(world.open().await, 1, "what was under way is settled");
    assert!(world.store.marked.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_takes_longer_is_cut_off_and_stays_queued() {
    let mut world = World::new();
    *world.deliver.takes.lock().unwrap() = Duration::from_secs(600);
    let queue = world.start();
    world.send(&["a@x.example"]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.stop();
    let asked = tokio::time::Instant::now();
    queue.join().await;
    assert_eq!(asked.elapsed().as_secs(), 10);
    assert_eq!(world.open().await, 1);
    assert!(
        world.store.marked.lock().unwrap().is_empty(),
        "a clean stop leaves no suspect"
    );
}

#[tokio::test(start_paused = true)]
async fn an_idle_queue_ends_at_once() {
    let mut world = World::new();
    let queue = world.start();
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.stop();
    let asked = tokio::time::Instant::now();
    queue.join().await;
    assert!(asked.elapsed() < Duration::from_millis(10));
}
