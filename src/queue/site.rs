//! A site's state: its hosts with work, its lanes, its backoff.
//!
//! Holds always: a backoff grows by the retry list with each failure of an attempt
//! begun after the last backoff ended, so ten lanes that fail at once count once;
//! one success resets it; until then one lane at a time finds out.

use std::collections::{HashSet, VecDeque};

use crate::types::{Failure, Host, Timestamp};

use super::Settings;
use super::lane::LaneId;
use super::schedule;

/// One destination.
#[derive(Debug, Default)]
pub(super) struct SiteState {
    /// Hosts whose route leads here.
    pub(super) members: HashSet<Host>,
    /// Members with ready work, each in turn.
    pub(super) turn: VecDeque<Host>,
    /// Lane tasks, those that are ending included.
    pub(super) lanes: usize,
    /// Lanes without an order; the last one used is the first used again.
    pub(super) idle: Vec<LaneId>,
    /// Whether it stands in the line of sites that want a lane.
    pub(super) in_line: bool,
    pub(super) backoff: Backoff,
}

impl SiteState {
    /// How many lanes it may have now.
    pub(super) fn lanes_max(&self, settings: &Settings) -> usize {
        match self.backoff.failures {
            0 => settings.connections_per_site.max(1),
            _ => 1,
        }
    }

    /// Whether nothing would be lost by forgetting it.
    pub(super) fn is_idle(&self, now: Timestamp) -> bool {
        self.lanes == 0 && self.members.is_empty() && self.backoff.ended(now)
    }
}

/// Consecutive failures of a site, and until when it is left alone.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    pub(super) failures: u32,
    until: Option<Timestamp>,
    /// The last failure, for listings and for what waits behind it.
    pub(super) last: Option<(Timestamp, Failure)>,
}

impl Backoff {
    /// Until when the site is left alone, if it is.
    pub(super) fn until(&self, now: Timestamp, settings: &Settings) -> Option<Timestamp> {
        // One that ends later than any can was written before the clock was set
        // back (E57).
        let latest = now + schedule::longest_wait(settings);
        self.until.filter(|until| *until > now && *until <= latest)
    }

    fn ended(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    /// A failure; true if it starts a backoff.
    pub(super) fn fail(
        &mut self,
        now: Timestamp,
        failure: Failure,
        settings: &Settings,
        random: u32,
    ) -> bool {
        self.last = Some((now, failure));
        if self.until(now, settings).is_some() {
            return false;
        }
        self.failures = self.failures.saturating_add(1);
        let wait = schedule::retry_wait(settings, self.failures);
        self.until = Some(now + schedule::jittered(wait, random));
        true
    }

    /// A success.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
        self.until = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::fixture::failure;
    use std::time::Duration;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(1_000_000_000_000_000) + Duration::from_secs(seconds)
    }

    #[test]
    fn failures_at_once_count_once_and_success_resets() {
        let settings = Settings::default();
        let mut backoff = Backoff::default();
        assert!(backoff.fail(at(0), failure(), &settings, 0));
        assert!(!backoff.fail(at(1), failure(), &settings, 0));
        assert_eq!(backoff.until(at(1), &settings), Some(at(270)));
        assert_eq!(backoff.until(at(270), &settings), None);
        assert!(backoff.fail(at(270), failure(), &settings, 0));
        assert_eq!(backoff.until(at(271), &settings), Some(at(270 + 540)));
        backoff.reset();
        assert_eq!(backoff.until(at(271), &settings), None);
        assert!(backoff.fail(at(300), failure(), &settings, 0));
        assert_eq!(backoff.until(at(301), &settings), Some(at(570)));
    }

    #[test]
    fn e57_a_backoff_from_another_clock_is_none() {
        let settings = Settings::default();
        let mut backoff = Backoff::default();
        backoff.fail(at(1_000_000), failure(), &settings, 0);
        assert_eq!(backoff.until(at(0), &settings), None);
    }
}
