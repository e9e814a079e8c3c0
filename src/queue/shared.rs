//! What all tasks of the room share: settings and ports, and the marks.
//!
//! Holds always: a message is marked in the store while at least one attempt for
//! it is under way, at whatever host, and the mark is taken away when the last
//! ends, however it ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::delivery::Deliver;
use crate::outcome::Outcome;
use crate::spool::Store;
use crate::sys::{Clock, Entropy};
use crate::types::{QueueId, Timestamp};

use super::{Renewal, Settings};

/// Settings, ports, marks.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) store: Arc<dyn Store>,
    pub(super) deliver: Arc<dyn Deliver>,
    pub(super) outcome: Arc<Outcome>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    marks: Arc<Mutex<HashMap<QueueId, u32>>>,
    /// Grows with each reload.
    pub(super) generation: u64,
}

impl Shared {
    pub(super) fn new(
        settings: Settings,
        store: Arc<dyn Store>,
        deliver: Arc<dyn Deliver>,
        outcome: Arc<Outcome>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self {
            settings,
            store,
            deliver,
            outcome,
            clock,
            entropy,
            marks: Arc::default(),
            generation: 0,
        }
    }

    /// The same with other settings, and the same marks.
    pub(super) fn renewed(&self, renewal: Renewal) -> Self {
        Self {
            settings: renewal.settings,
            store: Arc::clone(&self.store),
            deliver: renewal.deliver,
            outcome: renewal.outcome,
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            marks: Arc::clone(&self.marks),
            generation: self.generation.wrapping_add(1),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// For jitter; a system without randomness gets none.
    pub(super) fn random(&self) -> u32 {
        let mut octets = [0; 4];
        match self.entropy.fill(&mut octets) {
            Ok(()) => u32::from_be_bytes(octets),
            Err(_) => u32::MAX / 2,
        }
    }

    fn marks(&self) -> MutexGuard<'_, HashMap<QueueId, u32>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Marks a message as being attempted, for as long as it lives.
pub(super) struct Mark<'a> {
    shared: &'a Shared,
    id: QueueId,
}

impl<'a> Mark<'a> {
    pub(super) fn new(shared: &'a Shared, id: QueueId) -> Self {
        let mut marks = shared.marks();
        let count = marks.entry(id).or_default();
        *count += 1;
        // Under the lock, so that it can't come behind another attempt's end.
        if *count == 1 {
            shared.store.begin_attempt(id);
        }
        Self { shared, id }
    }
}

impl Drop for Mark<'_> {
    fn drop(&mut self) {
        let mut marks = self.shared.marks();
        match marks.get_mut(&self.id) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                marks.remove(&self.id);
                self.shared.store.end_attempt(self.id);
            }
        }
    }
}
