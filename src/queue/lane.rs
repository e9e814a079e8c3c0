//! The task of one connection: takes orders one by one until told to end.
//!
//! Holds always: it never ends by itself, so that no order is sent to a lane that
//! has just gone; every order is answered. Its panic ends it alone, and the
//! dispatcher settles the order it had.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::delivery::Lane;

use super::attempt::{Lead, Work, hang_up, perform};
use super::event::Event;
use super::shared::Shared;

/// The name of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct LaneId(pub(super) u64);

/// What a lane is to attempt.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) work: Work,
    pub(super) lead: Lead,
}

/// Runs a lane until its orders end.
pub(super) async fn run(
    shared: Arc<Shared>,
    id: LaneId,
    mut orders: mpsc::Receiver<Order>,
    events: mpsc::Sender<Event>,
) -> Event {
    let mut lane = Lane::default();
    while let Some(Order { work, lead }) = orders.recv().await {
        let done = perform(&shared, work, &lead, &mut lane).await;
        let open = lane.is_open();
        if events.send(Event::Done { id, done, open }).await.is_err() {
            break;
        }
    }
    hang_up(&shared, lane).await;
    Event::Closed(id)
}
