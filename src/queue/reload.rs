//! New settings for a running queue.
//!
//! Holds always: an attempt under way ends by the settings it began with; every
//! one that begins later goes by the new ones, over connections of its own and by
//! routes looked up anew, so that nothing which the old configuration trusted
//! outlives it.

use std::sync::Arc;

use crate::delivery::Deliver;
use crate::outcome::Outcome;

use super::Settings;
use super::dispatcher::Dispatcher;

/// What a reload of the configuration replaces.
pub struct Renewal {
    /// When and how many.
    pub settings: Settings,
    /// Who makes attempts.
    pub deliver: Arc<dyn Deliver>,
    /// What follows from them.
    pub outcome: Arc<Outcome>,
}

impl std::fmt::Debug for Renewal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Renewal({:?})", self.settings)
    }
}

impl Dispatcher {
    /// Goes by new settings from now on.
    pub(super) fn renew(&mut self, renewal: Renewal) {
        self.shared = Arc::new(self.shared.renewed(renewal));
        for host in self.hosts.values_mut() {
            host.lead = None;
        }
        let now = tokio::time::Instant::now();
        self.close_all_idle();
        // Waits may have become shorter: hints further ahead are not.
        self.tidy_up(self.shared.now(), now);
    }
}
