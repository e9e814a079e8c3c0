//! Operators' orders: holds, releases, endings, and that none races an attempt.

use std::collections::BTreeMap;
use std::time::Duration;

use super::world::{Act, DAY, HOUR, World};
use crate::queue::{Handled, Order, QueueHandle};
use crate::sys::Clock;
use crate::types::{Action, Domain, Hand, QueueId, Reason, Stage, State, Timestamp};

fn order(action: Action, ids: &[QueueId]) -> Order {
    Order {
        hand: Hand {
            action,
            until: None,
            reason: Some("a test".into()),
            actor: Some("uid=7(ann)".into()),
        },
        domain: None,
        ids: ids.to_vec(),
    }
}

async fn give(queue: &QueueHandle, order: Order) -> BTreeMap<QueueId, Handled> {
    let handled = queue.questions().hand(order).await.unwrap();
    handled.into_iter().collect()
}

fn down() -> Act {
    Act::Defer(Reason::Unreachable, Stage::Connect)
}

fn until(world: &World, wait: Duration) -> Option<Timestamp> {
    Some(world.clock.now() + wait)
}

async fn states(world: &World, id: QueueId) -> Vec<State> {
    let stored = crate::spool::Store::load(&*world.store, id).await.unwrap();
    stored.recipients.iter().map(|r| r.state).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_held_is_not_tried_and_does_not_expire() {
    let mut world = World::new();
    world.deliver.does(|_| down());
    let queue = world.start();
    let id = world.send(&["a@x.example"]).await;
    tokio::time::sleep(HOUR).await;
    let handled = give(&queue, order(Action::Hold, &[id])).await;
    assert_eq!(handled[&id], Handled::Done(1));
    let tried = world.deliver.seen().len();
    tokio::time::sleep(30 * DAY).await;
    assert_eq!(world.deliver.seen().len(), tried);
    assert_eq!(states(&world, id).await, [State::Held]);
    assert!(world.store.dsns("not be").is_empty());
    let retried = give(&queue, order(Action::Retry, &[id])).await;
    assert_eq!(retried[&id], Handled::Nothing, "a hold is a hold");
    world.deliver.does(|_| Act::Deliver);
    let released = give(&queue, order(Action::Release, &[id])).await;
    assert_eq!(released[&id], Handled::Done(1));
    world.until_empty(Duration::from_secs(5)).await;
    let events = world.store.events();
    let by_hand: Vec<_> = events.iter().filter(|e| e.actor.is_some()).collect();
    let notes: Vec<_> = by_hand.iter().filter_map(|e| e.note.as_deref()).collect();
    assert_eq!(notes, ["hold: a test", "release: a test"]);
    assert!(
        by_hand
            .iter()
            .all(|e| e.id == id && e.actor.as_deref() == Some("uid=7(ann)"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_hold_ends_at_its_time() {
    let mut world = World::new();
    let queue = world.start();
    world.deliver.does(|_| down());
    let ids = [
        world.send(&["a@x.example", "b@y.example"]).await,
        world.send(&["a@x.example"]).await,
    ];
    tokio::time::sleep(Duration::from_secs(60)).await;
    for (id, days) in ids.iter().zip([3, 20]) {
        let mut hold = order(Action::Hold, &[*id]);
        hold.hand.until = until(&world, days * DAY);
        assert!(matches!(give(&queue, hold).await[id], Handled::Done(_)));
    }
    world.deliver.does(|_| Act::Deliver);
    let start = world.clock.now();
    tokio::time::sleep(21 * DAY).await;
    assert_eq!(world.open().await, 0);
    let mut delivered = BTreeMap::new();
    for seen in world.deliver.seen().iter().filter(|seen| seen.at > start) {
        delivered.insert(seen.id, seen.at.since(start));
    }
    for (id, days) in ids.iter().zip([3, 20]) {
        let late = delivered[id].checked_sub(days * DAY).unwrap();
        assert!(late < Duration::from_secs(90), "{late:?}");
    }
    let by_itself = world.store.events();
    let by_itself = by_itself
        .iter()
        .filter(|e| e.note.is_some() && e.actor.is_none());
    assert_eq!(by_itself.count(), 3, "the audit tells of each hold's end");
}

#[tokio::test(start_paused = true)]
async fn what_waits_in_the_channel_is_held_before_it_is_tried() {
    let mut world = World::new();
    // From now on the test is the channel.
    let (channel, _) = world.hold_fresh();
    let queue = world.start();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let id = world.send(&["a@x.example"]).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    let held = give(&queue, order(Action::Hold, &[id])).await;
    assert_eq!(held[&id], Handled::Done(1));
    let stored = crate::spool::Store::load(&*world.store, id).await.unwrap();
    let fresh = crate::spool::Fresh {
        message: stored.message,
        body: stored.body,
    };
    channel.send(fresh).await.unwrap();
    tokio::time::sleep(DAY).await;
    assert!(world.deliver.seen().is_empty());
    assert_eq!(states(&world, id).await, [State::Held]);
}

#[tokio::test(start_paused = true)]
async fn a_message_under_way_is_busy_and_one_in_line_is_not() {
    let mut world = World::new();
    world.settings.connections = 1;
    *world.deliver.takes.lock().unwrap() = Duration::from_secs(30);
    let queue = world.start();
    let first = world.send(&["a@x.example"]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let second = world.send(&["b@x.example"]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let handled = give(&queue, order(Action::Remove, &[first, second])).await;
    assert_eq!(handled[&first], Handled::Busy);
    assert_eq!(handled[&second], Handled::Done(1));
    tokio::time::sleep(HOUR).await;
    let seen: Vec<QueueId> = world.deliver.seen().iter().map(|seen| seen.id).collect();
    assert_eq!(seen, [first], "what was removed is never tried");
    let events = world.store.events();
    let of = |id| events.iter().filter(move |e| e.id == id);
    assert_eq!(of(first).next_back().unwrap().state, State::Delivered);
    assert_eq!(of(second).next_back().unwrap().state, State::Removed);
    let gone = give(&queue, order(Action::Remove, &[first, second])).await;
    assert!(gone.values().all(|handled| *handled == Handled::Unknown));
}

#[tokio::test(start_paused = true)]
async fn a_retry_resets_the_backoff_of_the_site_for_all_who_wait_there() {
    let mut world = World::new();
    world.deliver.leads(|_| Ok("mx.shared.example".into()));
    world.deliver.does(|_| down());
    let queue = world.start();
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(world.send(&[&format!("a@d{n}.example")]).await);
    }
    tokio::time::sleep(3 * HOUR).await;
    let sites = queue.questions().stats().await;
    assert!(sites[0].backoff_until.is_some(), "{sites:?}");
    world.deliver.does(|_| Act::Deliver);
    let mut tried = 0;
    for id in &ids {
        match give(&queue, order(Action::Retry, &[*id])).await[id] {
            Handled::Done(1) => tried += 1,
            Handled::Unknown | Handled::Busy => {}
            ref other => panic!("{other:?}"),
        }
    }
    assert!(tried > 0);
    world.until_empty(Duration::from_secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn a_domain_is_bounced_and_the_others_are_left() {
    let mut world = World::new();
    world.deliver.does(|job| match job.message.is_own_mail() {
        true => Act::Deliver,
        false => down(),
    });
    let queue = world.start();
    let id = world
        .send(&["a@x.example", "b@y.example", "c@x.example"])
        .await;
    tokio::time::sleep(HOUR).await;
    let mut bounce = order(Action::Bounce, &[id]);
    bounce.domain = Some(Domain::parse("x.example").unwrap());
    assert_eq!(give(&queue, bounce).await[&id], Handled::Done(2));
    let left = [State::Bounced, State::Queued, State::Bounced];
    assert_eq!(states(&world, id).await, left);
    assert_eq!(world.store.dsns("not be").len(), 1, "one report for both");
    let events = world.store.events();
    let bounced: Vec<_> = events
        .iter()
        .filter(|e| e.state == State::Bounced)
        .collect();
    assert!(
        bounced
            .iter()
            .all(|e| e.actor.is_some() && e.reason.as_deref() == Some("operator"))
    );
    assert_eq!(bounced.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn thousands_are_held_while_mail_goes_on() {
    let mut world = World::new();
    let asleep = |job: &crate::types::Job| job.host.to_string() == "asleep.example";
    world
        .deliver
        .does(move |job| if asleep(job) { down() } else { Act::Deliver });
    let queue = world.start();
    let mut ids = Vec::new();
    for _ in 0..3000 {
        ids.push(world.send(&["a@asleep.example"]).await);
    }
    tokio::time::sleep(HOUR).await;
    let mut held = 0;
    for page in ids.chunks(500) {
        world.send(&["b@awake.example"]).await;
        for _ in 0..20 {
            let handled = give(&queue, order(Action::Hold, page)).await;
            let busy = handled.values().filter(|h| **h == Handled::Busy).count();
            if busy == 0 {
                held += handled.len();
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    assert_eq!(held, 3000);
    tokio::time::sleep(6 * DAY).await;
    let stats = crate::spool::Store::stats(&*world.store).await.unwrap();
    assert_eq!((stats.recipients, stats.held), (3000, 3000));
    assert!(world.store.dsns("not be").is_empty());
}
