//! What the dispatcher's tasks report, and what they are, should they panic.
//!
//! Holds always: every task reports exactly once, by its value or by its panic.

use std::sync::Arc;

use crate::delivery::{NoRoute, Route};
use crate::types::{Host, QueueId, Timestamp};

use super::attempt::Done;
use super::hand::{Answer, Errand, Handled, Target};
use super::index::{Page, Swept};
use super::lane::LaneId;

/// What a task reports.
#[derive(Debug)]
pub(super) enum Event {
    /// A lane has carried out its order; `open`: it keeps a connection.
    Done {
        /// Which lane.
        id: LaneId,
        /// What came of it.
        done: Done,
        /// Whether it keeps a connection.
        open: bool,
    },
    /// A lane has ended.
    Closed(LaneId),
    /// A route was found, or none, by the settings of that generation.
    Routed(Host, u64, Result<Route, NoRoute>),
    /// Part of the due index was read.
    Page(Host, Page),
    /// A host was swept.
    Swept(Host, Swept),
    /// A message was settled whose lane had panicked.
    Recovered(Done),
    /// A parked message may be looked at again.
    Unparked(Host, QueueId),
    /// An operator's order is ready to be carried out.
    Prepared(Errand),
    /// Holds that have ended, and when to look again.
    Lapsed(Option<Errand>, Option<Timestamp>),
    /// An errand is done.
    Handled(Arc<Errand>, Vec<(QueueId, Handled)>, Option<Answer>),
}

/// What a task does, for when it panics.
#[derive(Debug)]
pub(super) enum Role {
    Lane(LaneId),
    Route(Host),
    /// A page or a sweep.
    Read(Host),
    Recover(Host, QueueId),
    Park(Host, QueueId),
    Prepare,
    Lapse,
    /// Messages are settled by hand.
    Hand(Vec<Target>),
}
