//! When each host's next entry of the due index falls due.
//!
//! A hint, one a host: it may be too early (then asking the index finds nothing
//! and brings the next), never too late. Holds always: both maps name the same
//! hosts, so that ten thousand hosts cost one look at the first. Owned by the
//! dispatcher.

use std::collections::{BTreeSet, HashMap};

use crate::types::{Host, Timestamp};

/// The earliest hint of each host.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    order: BTreeSet<(Timestamp, Host)>,
    when: HashMap<Host, Timestamp>,
}

impl Timeline {
    /// Notes that `host` is due at `when`, unless it is due earlier.
    pub(super) fn lower(&mut self, host: &Host, when: Timestamp) {
        match self.when.get(host) {
            Some(known) if *known <= when => return,
            Some(known) => {
                self.order.remove(&(*known, host.clone()));
            }
            None => {}
        }
        self.when.insert(host.clone(), when);
        self.order.insert((when, host.clone()));
    }

    /// Takes the first host that is due at `now`.
    pub(super) fn pop(&mut self, now: Timestamp) -> Option<Host> {
        if self.first()? > now {
            return None;
        }
        let (_, host) = self.order.pop_first()?;
        self.when.remove(&host);
        Some(host)
    }

    /// When the first host is due.
    pub(super) fn first(&self) -> Option<Timestamp> {
        self.order.first().map(|(when, _)| *when)
    }

    /// Brings what lies behind `latest` to `to`: hints from before the clock was
    /// set back (E57).
    pub(super) fn pull_back(&mut self, latest: Timestamp, to: Timestamp) {
        while let Some((when, host)) = self.order.last().cloned()
            && when > latest
        {
            self.lower(&host, to.min(latest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn host(name: &str) -> Host {
        Host::parse(name).unwrap()
    }

    #[test]
    fn the_earliest_of_each_host_counts() {
        let mut timeline = Timeline::default();
        timeline.lower(&host("a.example"), at(9));
        timeline.lower(&host("b.example"), at(5));
        timeline.lower(&host("a.example"), at(3));
        timeline.lower(&host("a.example"), at(7));
        assert_eq!(timeline.first(), Some(at(3)));
        assert_eq!(timeline.pop(at(2)), None);
        assert_eq!(timeline.pop(at(4)), Some(host("a.example")));
        assert_eq!(timeline.pop(at(4)), None);
        assert_eq!(timeline.pop(at(5)), Some(host("b.example")));
        assert_eq!(timeline.first(), None);
    }

    #[test]
    fn e57_hints_from_another_clock_are_pulled_back() {
        let mut timeline = Timeline::default();
        timeline.lower(&host("a.example"), at(1_000_000));
        timeline.lower(&host("b.example"), at(50));
        timeline.pull_back(at(100), at(60));
        assert_eq!(timeline.pop(at(60)), Some(host("b.example")));
        assert_eq!(timeline.pop(at(60)), Some(host("a.example")));
    }
}
