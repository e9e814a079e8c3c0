//! What the dispatcher does with hosts: fresh messages, due entries, routes,
//! waiting.
//!
//! Holds always: a message is `taken` at a host from the moment it is in the ready
//! list until it is settled; a host whose site is in backoff has nothing in
//! memory, only hints of when to look again; a fresh message is attempted from
//! memory only if no page of the index can have held it, so none is attempted
//! twice.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::delivery::{NoRoute, Route};
use crate::spool::Fresh;
use crate::types::{Failure, Host, Job, JobRecipient, QueueId, Reason, Site, Stage, Timestamp};

use super::attempt::{Lead, Rest, Work};
use super::dispatcher::{Dispatcher, Event, Role};
use super::index::{self, Page, Swept};
use super::schedule;
use super::shared::Shared;

/// Works that a host may have ready.
const HOST_READY_MAX: usize = 1000;
/// Works that all hosts may have ready.
const READY_MAX: usize = 100_000;
/// Octets of fresh messages that are kept in memory; beyond, they are loaded
/// again when their turn comes.
const HELD_MAX: u64 = 64 * 1024 * 1024;
/// Entries read from the index at a time, and how few ready ones ask for more.
const PAGE: usize = 128;
const READY_LOW: usize = 32;
/// Route look-ups and index reads at once.
const GATE_MAX: usize = 64;
/// The most that a route look-up may take.
const ROUTE_MAX: Duration = Duration::from_secs(60);
/// Bounds of a route's time to live: 0 must not mean a look-up a message.
const TTL: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(3600));
/// How long "no route" holds.
const NO_ROUTE_TTL: Duration = Duration::from_secs(30);
/// Between sweeps of a host at least, and before the first.
const SWEEP_PAUSE: Duration = Duration::from_secs(5 * 60);
/// When a host is looked at again that found no room.
const ROOM_PAUSE: Duration = Duration::from_secs(1);

/// A recipient host with something to do, or whose route is still good.
#[derive(Debug)]
pub(super) struct HostState {
    /// Where its mail goes, and until when that is known.
    lead: Option<(Lead, Instant)>,
    /// The site of the last lead.
    pub(super) site: Option<Site>,
    pub(super) ready: VecDeque<Work>,
    /// Messages that are ready, being attempted or parked.
    taken: HashSet<QueueId>,
    /// It stands in its site's turn.
    pub(super) in_turn: bool,
    /// A route look-up is under way or waits for one.
    routing: bool,
    /// The index is being read or swept for it, or waits for that.
    reading: bool,
    /// The index has due entries that are not taken.
    more: bool,
    /// It has entries that wait for its site's backoff to end.
    waiting: bool,
    /// Entries up to this moment have been read from the index.
    read_until: Timestamp,
}

impl HostState {
    fn new(read_until: Timestamp) -> Self {
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
            read_until,
        }
    }

    /// Its lead, if it still holds.
    pub(super) fn lead(&self, now: Instant) -> Option<&Lead> {
        let (lead, until) = self.lead.as_ref()?;
        (*until > now).then_some(lead)
    }

    fn is_idle(&self) -> bool {
        let busy = self.routing || self.reading || self.more || self.waiting;
        !busy && self.ready.is_empty() && self.taken.is_empty()
    }
}

/// Lets so many tasks of a kind run at once; the other hosts wait their turn.
#[derive(Debug, Default)]
pub(super) struct Gate {
    running: usize,
    waiting: VecDeque<Host>,
}

impl Gate {
    /// Whether a task for `host` may start; if not, it is noted.
    fn enter(&mut self, host: &Host) -> bool {
        let free = self.running < GATE_MAX;
        if free {
            self.running += 1;
        } else {
            self.waiting.push_back(host.clone());
        }
        free
    }

    /// A task has ended; the next host to start one for.
    fn leave(&mut self) -> Option<Host> {
        let next = self.waiting.pop_front();
        if next.is_none() {
            self.running = self.running.saturating_sub(1);
        }
        next
    }
}

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

    fn host(&mut self, host: &Host) -> &mut HostState {
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
            if full || host.reading || host.waiting || host.ready.len() >= HOST_READY_MAX {
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
    fn make_ready(&mut self, work: Work) {
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
        if host.ready.is_empty() && !host.more {
            return;
        }
        host.more = false;
        host.waiting = true;
        for work in host.ready.drain(..) {
            host.taken.remove(&work.id);
            self.ready -= 1;
            self.held = self.held.saturating_sub(work.octets());
            if self
                .alone_now
                .as_ref()
                .is_some_and(|(h, id)| h == name && *id == work.id)
            {
                self.alone_now = None;
            }
        }
        self.timeline.lower(name, until);
        let first = self.shared.now() + SWEEP_PAUSE;
        self.sweeps.lower(name, first);
    }

    fn look_up(&mut self, host: Host) {
        let shared = Arc::clone(&self.shared);
        self.spawn(Role::Route(host.clone()), async move {
            let found = tokio::time::timeout(ROUTE_MAX, shared.deliver.route(&host)).await;
            Event::Routed(host, found.unwrap_or_else(|_| Err(no_route())))
        });
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

    fn read(&mut self, host: Host) {
        let taken = self.hosts.get(&host).map_or(0, |h| h.taken.len());
        let limit = taken + PAGE;
        let shared = Arc::clone(&self.shared);
        self.spawn(Role::Read(host.clone()), async move {
            let page = index::page(&shared, &host, limit).await;
            Event::Page(host, page)
        });
    }

    fn read_ended(&mut self, name: &Host) {
        if let Some(next) = self.reads.leave() {
            self.read(next);
        }
        self.host(name).reading = false;
    }

    /// Part of the index was read.
    pub(super) fn page_read(&mut self, name: &Host, page: Page) {
        self.read_ended(name);
        let now = self.shared.now();
        let host = self.host(name);
        host.more = page.more;
        host.read_until = host.read_until.max(page.until.min(now));
        for due in page.due {
            let work = Work {
                id: due.id,
                host: name.clone(),
                job: None,
                until: page.until,
            };
            let is_suspect = self.suspects.contains(&due.id);
            if self.host(name).taken.contains(&due.id) {
                continue;
            }
            if is_suspect {
                self.host(name).taken.insert(due.id);
                self.alone.push_back(work);
            } else {
                self.make_ready(work);
            }
        }
        if let Some(next) = page.next {
            self.hint(name, next);
        }
        if page.more {
            // A site that can't keep up is swept like one in backoff (E57).
            self.sweeps.lower(name, now + SWEEP_PAUSE);
        }
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

    /// Sweeps a host if its entries still wait.
    pub(super) fn sweep(&mut self, name: &Host) {
        let now = self.shared.now();
        let Some(host) = self.hosts.get_mut(name) else {
            return;
        };
        if !host.waiting && !host.more {
            return;
        }
        if host.reading || self.reads.running >= GATE_MAX {
            self.sweeps.lower(name, now + ROOM_PAUSE);
            return;
        }
        host.reading = true;
        self.reads.running += 1;
        let (taken, site) = (host.taken.clone(), host.site.as_ref());
        let last = site.and_then(|site| self.sites.get(site)?.backoff.last.as_ref());
        let why = last.map_or_else(congested, |(_, failure)| failure.clone());
        let shared: Arc<Shared> = Arc::clone(&self.shared);
        let host = name.clone();
        self.spawn(Role::Read(host.clone()), async move {
            let swept = index::sweep(&shared, &host, &taken, &why).await;
            Event::Swept(host, swept)
        });
    }

    /// A sweep has ended.
    pub(super) fn swept(&mut self, name: &Host, swept: &Swept) {
        self.read_ended(name);
        let soon = self.shared.now() + SWEEP_PAUSE;
        if let Some(look) = swept.look {
            self.sweeps.lower(name, look.max(soon));
        }
        if let Some(next) = swept.next {
            self.hint(name, next);
        }
        self.serve(name);
    }

    /// A message's outcome at a host is in the store.
    pub(super) fn settled(&mut self, host: Host, id: QueueId, rest: Rest) {
        if self
            .alone_now
            .as_ref()
            .is_some_and(|(h, i)| *h == host && *i == id)
        {
            self.alone_now = None;
        }
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
        }
    }

    /// Forgets hosts without work whose route has lapsed.
    pub(super) fn forget_hosts(&mut self, now: Instant) {
        let (sites, forgotten) = (&mut self.sites, &mut self.forgotten);
        self.hosts.retain(|name, host| {
            let keep = !host.is_idle() || host.lead(now).is_some();
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

/// Why messages wait at a site that takes mail more slowly than it comes in.
fn congested() -> Failure {
    Failure {
        reason: Reason::Deferred,
        stage: Stage::Connect,
        status: "4.4.5".to_owned(),
        reply: None,
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
        })
    });
    Job {
        message: Arc::clone(&fresh.message),
        body: Arc::clone(&fresh.body),
        host: host.clone(),
        recipients: recipients.collect(),
    }
}
