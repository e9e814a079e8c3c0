//! What the dispatcher does with operators' orders: takes the messages, has them
//! settled, gives them back.
//!
//! Holds always: what is being attempted, swept or left alone is not taken, and
//! its operator is told; what only waits for a lane is taken out of its line.
//! Whatever is given back, its hosts look at the index again.

use std::collections::HashMap;
use std::sync::Arc;

use crate::types::{Action, Host, QueueId, Timestamp};

use super::dispatcher::Dispatcher;
use super::event::{Event, Role};
use super::hand::{self, Answer, Errand, Handled, Order, Target};

impl Dispatcher {
    /// Takes an order in.
    pub(super) fn ordered(&mut self, order: Order, answer: Answer) {
        let shared = Arc::clone(&self.shared);
        self.spawn(Role::Prepare, async move {
            Event::Prepared(hand::prepare(shared, order, answer).await)
        });
    }

    /// Looks for holds that have ended.
    pub(super) fn look_for_lapsed(&mut self, now: Timestamp) {
        if self.lapse_at.is_none_or(|at| at > now) {
            return;
        }
        self.lapse_at = None;
        let shared = Arc::clone(&self.shared);
        self.spawn(Role::Lapse, async move {
            let (errand, next) = hand::lapsed(&shared).await;
            Event::Lapsed(errand, next)
        });
    }

    /// Notes when to look for holds that have ended.
    pub(super) fn lapses(&mut self, at: Option<Timestamp>) {
        self.lapse_at = [self.lapse_at, at].into_iter().flatten().min();
    }

    /// Takes an errand's messages, and has those settled that could be taken.
    pub(super) fn run_errand(&mut self, mut errand: Errand) {
        let targets = std::mem::take(&mut errand.targets);
        for target in targets {
            if target
                .hosts
                .iter()
                .all(|host| self.is_free(host, target.id))
            {
                for host in &target.hosts {
                    self.claim(host, target.id);
                }
                errand.targets.push(target);
            } else {
                errand.known.push((target.id, Handled::Busy));
            }
        }
        let answer = errand.answer.take();
        let claimed = errand.targets.clone();
        let (shared, errand) = (Arc::clone(&self.shared), Arc::new(errand));
        self.spawn(Role::Hand(claimed), async move {
            let mut handled = hand::carry_out(shared, Arc::clone(&errand)).await;
            handled.extend(errand.known.iter().cloned());
            Event::Handled(errand, handled, answer)
        });
    }

    /// An errand is done.
    pub(super) fn handled(
        &mut self,
        errand: &Errand,
        handled: Vec<(QueueId, Handled)>,
        answer: Option<Answer>,
    ) {
        let done: HashMap<QueueId, &Handled> = handled.iter().map(|(id, h)| (*id, h)).collect();
        let resets =
            !errand.lapsed && matches!(errand.hand.action, Action::Release | Action::Retry);
        for target in &errand.targets {
            if resets && matches!(done.get(&target.id), Some(Handled::Done(_))) {
                for host in &target.hosts {
                    self.reset_backoff_of(host);
                }
            }
        }
        self.give_back(&errand.targets);
        self.lapses(errand.hand.until);
        if let Some(answer) = answer {
            // Whoever asked may have gone.
            let _ = answer.send(handled);
        }
    }

    /// Gives back what an errand took.
    pub(super) fn give_back(&mut self, targets: &[Target]) {
        let now = self.shared.now();
        for target in targets {
            for host in &target.hosts {
                self.release(host, target.id);
                self.timeline.lower(host, now);
            }
        }
    }

    /// Whether a message may be taken at a host by hand.
    fn is_free(&self, name: &Host, id: QueueId) -> bool {
        let Some(host) = self.hosts.get(name) else {
            return true;
        };
        let waits = || {
            host.ready.iter().any(|work| work.id == id)
                || self.alone.iter().any(|w| w.id == id && w.host == *name)
        };
        !host.sweeping && (!host.taken.contains(&id) || waits())
    }

    /// Takes a message at a host, out of the line it may stand in.
    fn claim(&mut self, name: &Host, id: QueueId) {
        let now = self.shared.now();
        self.alone
            .retain(|work| work.id != id || work.host != *name);
        if self
            .alone_now
            .as_ref()
            .is_some_and(|(h, i)| h == name && *i == id)
        {
            self.alone_now = None;
        }
        let host = self.host(name);
        // It may still stand in the channel of fresh messages: from there it must
        // not be attempted as it was.
        host.read_until = host.read_until.max(now);
        host.taken.insert(id);
        let place = host.ready.iter().position(|work| work.id == id);
        if let Some(work) = place.and_then(|place| host.ready.remove(place)) {
            self.ready = self.ready.saturating_sub(1);
            self.held = self.held.saturating_sub(work.octets());
        }
    }
}
