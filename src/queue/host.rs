//! A recipient host's state, and the gate for tasks that work for hosts.
//!
//! Holds always: a host has one route look-up and one reading of the index under
//! way at most; a gate lets so many of a kind run at once, and nobody is
//! forgotten behind it. Owned by the dispatcher.

use std::collections::{HashSet, VecDeque};

use tokio::time::Instant;

use crate::types::{Host, QueueId, Site, Timestamp};

use super::attempt::{Lead, Work};

/// Tasks of a kind at once.
pub(super) const GATE_MAX: usize = 64;

/// Works for which a host's lists may keep room though they are empty.
const ROOM_KEPT: usize = 16;

/// A recipient host with something to do, or whose route is still good.
#[derive(Debug)]
pub(super) struct HostState {
    /// Where its mail goes, and until when that is known.
    pub(super) lead: Option<(Lead, Instant)>,
    /// The site of the last lead.
    pub(super) site: Option<Site>,
    pub(super) ready: VecDeque<Work>,
    /// Messages that are ready, being attempted or parked.
    pub(super) taken: HashSet<QueueId>,
    /// It stands in its site's turn.
    pub(super) in_turn: bool,
    /// A route look-up is under way or waits for one.
    pub(super) routing: bool,
    /// The index is being read or swept for it, or waits for that.
    pub(super) reading: bool,
    /// The index has due entries that are not taken.
    pub(super) more: bool,
    /// It has entries that wait for its site's backoff to end.
    pub(super) waiting: bool,
    /// It is being swept.
    pub(super) sweeping: bool,
    /// Entries up to this moment have been read from the index.
    pub(super) read_until: Timestamp,
}

impl HostState {
    pub(super) fn new(read_until: Timestamp) -> Self {
        Self {
            lead: None,
            site: None,
            ready: VecDeque::new(),
            taken: HashSet::new(),
            in_turn: false,
            routing: false,
            reading: false,
            more: false,
            waiting: false,
            sweeping: false,
            read_until,
        }
    }

    /// Its lead, if it still holds.
    pub(super) fn lead(&self, now: Instant) -> Option<&Lead> {
        let (lead, until) = self.lead.as_ref()?;
        (*until > now).then_some(lead)
    }

    /// Lets go of room that its lists have and do not need, once they have shrunk to a
    /// quarter: ten thousand hosts may have had a page each.
    pub(super) fn give_back(&mut self) {
        let ready = self.ready.len();
        if self.ready.capacity() > ROOM_KEPT.max(4 * ready) {
            self.ready.shrink_to(2 * ready);
        }
        let taken = self.taken.len();
        if self.taken.capacity() > ROOM_KEPT.max(4 * taken) {
            self.taken.shrink_to(2 * taken);
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        let busy = self.routing || self.reading || self.more || self.waiting;
        !busy && self.ready.is_empty() && self.taken.is_empty()
    }
}

/// Lets so many tasks of a kind run at once; the other hosts wait their turn.
#[derive(Debug, Default)]
pub(super) struct Gate {
    pub(super) running: usize,
    pub(super) waiting: VecDeque<Host>,
}

impl Gate {
    /// Whether a task for `host` may start; if not, it is noted.
    pub(super) fn enter(&mut self, host: &Host) -> bool {
        let free = self.running < GATE_MAX;
        if free {
            self.running += 1;
        } else {
            self.waiting.push_back(host.clone());
        }
        free
    }

    /// A task has ended; the next host to start one for.
    pub(super) fn leave(&mut self) -> Option<Host> {
        let next = self.waiting.pop_front();
        if next.is_none() {
            self.running = self.running.saturating_sub(1);
        }
        next
    }
}
