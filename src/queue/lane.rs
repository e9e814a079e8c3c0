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
pub(super) struct Order {
    /// The settings in force.
    pub(super) shared: Arc<Shared>,
    pub(super) work: Work,
    pub(super) lead: Lead,
}

/// Runs a lane until its orders end. A connection that was opened under other
/// settings is not used again.
pub(super) async fn run(
    mut shared: Arc<Shared>,
    id: LaneId,
    mut orders: mpsc::Receiver<Order>,
    events: mpsc::Sender<Event>,
) -> Event {
    let mut lane = Lane::default();
    while let Some(order) = orders.recv().await {
        let Order { work, lead, .. } = order;
        if shared.generation != order.shared.generation {
            hang_up(&shared, std::mem::take(&mut lane)).await;
            shared = order.shared;
        }
        let done = perform(&shared, work, &lead, &mut lane).await;
        let open = lane.is_open();
        if events.send(Event::Done { id, done, open }).await.is_err() {
            break;
        }
    }
    hang_up(&shared, lane).await;
    Event::Closed(id)
}
