//! What the dispatcher does with hosts: fresh messages, due entries, routes,
//! waiting.
//!
//! Holds always: a message is `taken` at a host from the moment it is in the ready
//! list until it is settled; a host whose site is in backoff has nothing in
//! memory, only hints of when to look again; a fresh message is attempted from
//! memory only if no page of the index can have held it, so none is attempted
//! twice.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::delivery::{NoRoute, Route};
use crate::spool::Fresh;
use crate::types::{Failure, Host, Job, JobRecipient, QueueId, Reason, Site, Stage, Timestamp};

use super::attempt::{Lead, Rest, Work};
use super::dispatcher::Dispatcher;
use super::event::{Event, Role};
use super::host::{GATE_MAX, HostState};
use super::schedule;
use super::waiting::SWEEP_PAUSE;

/// Works that a host may have ready.
const HOST_READY_MAX: usize = 1000;
/// Works that all hosts may have ready.
const READY_MAX: usize = 100_000;
/// Hosts whose routes are kept though they have no work.
const HOSTS_KEPT: usize = 20_000;
/// Octets of fresh messages that are kept in memory; beyond, they are loaded
/// again when their turn comes.
const HELD_MAX: u64 = 64 * 1024 * 1024;
/// How few ready works make a host ask the index for more.
const READY_LOW: usize = 32;
/// The most that a route look-up may take.
const ROUTE_MAX: Duration = Duration::from_secs(60);
/// Bounds of a route's time to live: 0 must not mean a look-up a message.
const TTL: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(3600));
/// How long "no route" holds.
const NO_ROUTE_TTL: Duration = Duration::from_secs(30);
/// When a host is looked at again that found no room.
pub(super) const ROOM_PAUSE: Duration = Duration::from_secs(1);

/// What stands for a look-up that came to no end.
pub(super) fn no_route() -> NoRoute {
    NoRoute {
        permanent: false,
        failure: Failure {
            reason: Reason::DnsFailed,
            stage: Stage::Route,
            status: "4.4.3".to_owned(),
            reply: None,
        },
    }
}

impl Dispatcher {
    /// Notes when a host is due. A hint further ahead than any wait comes from
    /// before the clock was set back (E57).
    pub(super) fn hint(&mut self, host: &Host, when: Timestamp) {
        let now = self.shared.now();
        let latest = now + schedule::longest_wait(&self.shared.settings);
        let when = if when > latest {
            now + Duration::from_secs(60)
        } else {
            when
        };
        self.timeline.lower(host, when);
    }

    /// Whether another due host may be taken up.
    pub(super) fn has_room(&self) -> bool {
        let queued = self.routes.waiting.len() + self.reads.waiting.len();
        queued < 4 * GATE_MAX && self.ready < READY_MAX
    }

    pub(super) fn host(&mut self, host: &Host) -> &mut HostState {
        let forgotten = self.forgotten;
        self.hosts
            .entry(host.clone())
            .or_insert_with(|| HostState::new(forgotten))
    }

    /// Until when a host's site is left alone, if it is.
    fn backoff(&self, host: &Host) -> Option<Timestamp> {
        let site = self.hosts.get(host)?.site.as_ref()?;
        let backoff = &self.sites.get(site)?.backoff;
        backoff.until(self.shared.now(), &self.shared.settings)
    }

    /// Takes a message that was accepted just now.
    pub(super) fn fresh(&mut self, fresh: &Fresh) {
        for (name, recipients) in fresh.message.by_host() {
            let id = fresh.message.id;
            let held = self.held;
            let full = self.ready >= READY_MAX;
            let host = self.host(&name);
            if host.taken.contains(&id) {
                continue;
            }
            if full || host.sweeping || host.waiting || host.ready.len() >= HOST_READY_MAX {
                // A backoff that is over by now shows itself when the hint is due.
                let now = self.shared.now();
                let when = self.backoff(&name).unwrap_or(now);
                self.hint(&name, when);
                continue;
            }
            // What a page of the index can have held may have been delivered since.
            let unseen = fresh.message.received_at > host.read_until;
            let job = (unseen && held < HELD_MAX).then(|| Arc::new(job(fresh, &name, &recipients)));
            let work = Work {
                id,
                host: name.clone(),
                job,
                until: fresh.message.received_at,
            };
            self.make_ready(work);
            self.serve(&name);
        }
    }

    /// Puts a work into its host's ready list.
    pub(super) fn make_ready(&mut self, work: Work) {
        self.ready += 1;
        self.held += work.octets();
        let host = self.host(&work.host);
        host.taken.insert(work.id);
        host.ready.push_back(work);
    }

    /// A host has entries due in the index.
    pub(super) fn due(&mut self, name: &Host) {
        let host = self.host(name);
        host.more = true;
        host.waiting = false;
        self.serve(name);
    }

    /// Brings a host's work nearer to a lane: finds its route, reads its index,
    /// puts it into its site's turn, or sets it aside while the site is in backoff.
    pub(super) fn serve(&mut self, name: &Host) {
        let low_on_room = self.ready >= READY_MAX;
        let Some(host) = self.hosts.get_mut(name) else {
            return;
        };
        if host.ready.is_empty() && !host.more {
            return;
        }
        if host.lead(Instant::now()).is_none() {
            if !host.routing {
                host.routing = true;
                if self.routes.enter(name) {
                    self.look_up(name.clone());
                }
            }
            return;
        }
        if let Some(until) = self.backoff(name) {
            return self.set_aside(name, until);
        }
        let now = self.shared.now();
        let Some(host) = self.hosts.get_mut(name) else {
            return;
        };
        if host.more && !host.reading && host.ready.len() < READY_LOW {
            if low_on_room {
                host.more = false;
                self.timeline.lower(name, now + ROOM_PAUSE);
            } else {
                host.reading = true;
                if self.reads.enter(name) {
                    self.read(name.clone());
                }
            }
        }
        self.put_in_turn(name);
    }

    /// Drops a host's ready works, which are all in the index, until its site's
    /// backoff ends.
    pub(super) fn set_aside(&mut self, name: &Host, until: Timestamp) {
        let Some(host) = self.hosts.get_mut(name) else {
            return;
        };
        host.in_turn = false;
        if host.ready.is_empty() && !host.more {
            return;
        }
        host.more = false;
        host.waiting = true;
        // Taken out whole, with its room: ten thousand hosts may wait.
        for work in std::mem::take(&mut host.ready) {
            host.taken.remove(&work.id);
            self.ready = self.ready.saturating_sub(1);
            self.held = self.held.saturating_sub(work.octets());
            if self
                .alone_now
                .as_ref()
                .is_some_and(|(h, id)| h == name && *id == work.id)
            {
                self.alone_now = None;
            }
        }
        host.taken.shrink_to_fit();
        self.timeline.lower(name, until);
        let first = self.shared.now() + SWEEP_PAUSE;
        self.sweeps.lower(name, first);
    }

    fn look_up(&mut self, host: Host) {
        let shared = Arc::clone(&self.shared);
        self.spawn(Role::Route(host.clone()), async move {
            let found = tokio::time::timeout(ROUTE_MAX, shared.deliver.route(&host)).await;
            let found = found.unwrap_or_else(|_| Err(no_route()));
            Event::Routed(host, shared.generation, found)
        });
    }

    /// A route was looked up by settings that are in force no more.
    pub(super) fn route_again(&mut self, name: &Host) {
        if let Some(next) = self.routes.leave() {
            self.look_up(next);
        }
        self.host(name).routing = false;
        self.serve(name);
    }

    /// A route look-up has ended.
    pub(super) fn routed(&mut self, name: &Host, found: Result<Route, NoRoute>) {
        if let Some(next) = self.routes.leave() {
            self.look_up(next);
        }
        let (lead, site, ttl) = match found {
            Ok(route) => {
                let (site, ttl) = (route.site.clone(), route.ttl.clamp(TTL.0, TTL.1));
                (Lead::Route(Arc::new(route)), site, ttl)
            }
            Err(why) => {
                // A destination of its own, so that a domain without a route has
                // a backoff too.
                let site = Site::new([format!("unrouted:{name}").as_str()]);
                (Lead::None(Arc::new(why)), site, NO_ROUTE_TTL)
            }
        };
        let host = self.host(name);
        host.routing = false;
        host.lead = Some((lead, Instant::now() + ttl));
        if host.site.as_ref() != Some(&site) {
            let before = host.site.replace(site.clone());
            // It may stand in the old site's turn; there it is passed by.
            host.in_turn = false;
            if let Some(before) = before.and_then(|site| self.sites.get_mut(&site)) {
                before.members.remove(name);
            }
        }
        let site = self.sites.entry(site).or_default();
        site.members.insert(name.clone());
        self.serve(name);
    }

    /// Sends off the next suspect if none is under way.
    pub(super) fn next_alone(&mut self) {
        if self.alone_now.is_some() {
            return;
        }
        if let Some(work) = self.alone.pop_front() {
            let host = work.host.clone();
            self.alone_now = Some((host.clone(), work.id));
            self.make_ready(work);
            self.serve(&host);
        }
    }

    /// A message's outcome at a host is in the store.
    pub(super) fn settled(&mut self, host: Host, id: QueueId, rest: Rest) {
        self.alone_now.take_if(|(h, i)| *h == host && *i == id);
        match rest {
            Rest::Park => self.park(host, id),
            Rest::Until(next) => {
                self.release(&host, id);
                if let Some(next) = next {
                    self.hint(&host, next);
                }
            }
        }
    }

    /// A message may be taken again at a host.
    pub(super) fn release(&mut self, host: &Host, id: QueueId) {
        if let Some(host) = self.hosts.get_mut(host) {
            host.taken.remove(&id);
            host.give_back();
        }
    }

    /// Forgets hosts without work whose route has lapsed, or all without work if
    /// there are many.
    pub(super) fn forget_hosts(&mut self, now: Instant) {
        let crowded = self.hosts.len() > HOSTS_KEPT;
        let (sites, forgotten) = (&mut self.sites, &mut self.forgotten);
        self.hosts.retain(|name, host| {
            let keep = !host.is_idle() || (host.lead(now).is_some() && !crowded);
            if !keep {
                *forgotten = (*forgotten).max(host.read_until);
                if let Some(site) = host.site.as_ref().and_then(|site| sites.get_mut(site)) {
                    site.members.remove(name);
                }
            }
            keep
        });
    }
}

/// A fresh message's job at one host.
fn job(fresh: &Fresh, host: &Host, recipients: &[u32]) -> Job {
    let mailboxes = &fresh.message.envelope.recipients;
    let recipients = recipients.iter().filter_map(|index| {
        let mailbox = mailboxes.get(usize::try_from(*index).ok()?)?;
        Some(JobRecipient {
            index: *index,
            mailbox: mailbox.clone(),
            attempts: 0,
            delay_told: false,
            copy: None,
            released: false,
        })
    });
    Job {
        message: Arc::clone(&fresh.message),
        body: Arc::clone(&fresh.body),
        host: host.clone(),
        recipients: recipients.collect(),
    }
}
