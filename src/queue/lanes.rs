//! What the dispatcher does with lanes: who gets one, who keeps one, who ends.
//!
//! Holds always: at most `connections` lanes in all and `connections_per_site` at
//! a site, those that are ending included; sites that want a lane get one in turn,
//! and while any waits, a site with several gives one back, and a site's only lane
//! is given up after a number of jobs.

use std::collections::hash_map::Entry;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::types::{Host, Site};

use super::attempt::{Done, Work};
use super::dispatcher::Dispatcher;
use super::event::Role;
use super::health::Health;
use super::lane::{self, LaneId, Order};

/// How long a connection is kept for the next message.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// Jobs that a site's only lane may do while others wait for one.
const QUANTUM: u32 = 20;

/// A lane, as the dispatcher sees it.
#[derive(Debug)]
pub(super) struct LaneState {
    pub(super) site: Site,
    /// Its orders; `None` once it was told to end.
    orders: Option<mpsc::Sender<Order>>,
    /// What it is doing, to be settled should it panic.
    pub(super) work: Option<Work>,
    jobs: u32,
    /// Since when it waits with an open connection.
    idle_since: Option<Instant>,
    /// It stands in the line of idle lanes.
    in_idle: bool,
}

/// What a site may have next.
enum Offer {
    Idle(LaneId),
    New,
    /// It has as many as it may have.
    Enough,
    /// There are as many as there may be.
    NoSlot,
}

impl Dispatcher {
    /// Puts a host with ready work into its site's turn, and the site in line.
    pub(super) fn put_in_turn(&mut self, name: &Host) {
        let Some(host) = self.hosts.get_mut(name) else {
            return;
        };
        let Some(site) = host.site.clone() else {
            return;
        };
        let Some(state) = self.sites.get_mut(&site) else {
            return;
        };
        if !host.ready.is_empty() && !host.in_turn {
            host.in_turn = true;
            state.turn.push_back(name.clone());
        }
        self.put_in_line(site);
    }

    fn put_in_line(&mut self, site: Site) {
        if let Some(state) = self.sites.get_mut(&site)
            && !state.turn.is_empty()
            && !state.in_line
        {
            state.in_line = true;
            self.line.push_back(site);
        }
    }

    /// Gives lanes to the sites in line, one each in turn.
    pub(super) fn dispatch(&mut self) {
        while let Some(site) = self.line.pop_front() {
            let offer = self.offer(&site);
            if let Offer::NoSlot = offer {
                self.line.push_front(site);
                return self.make_slot();
            }
            if let Some(state) = self.sites.get_mut(&site) {
                state.in_line = false;
            }
            let lane = match offer {
                Offer::Idle(lane) => Some(lane),
                _ => None,
            };
            if matches!(offer, Offer::Idle(_) | Offer::New)
                && let Some(order) = self.next_order(&site)
            {
                let lane = lane.unwrap_or_else(|| self.open_lane(&site));
                self.send(lane, order);
                self.put_in_line(site);
            } else if let Some(lane) = lane {
                self.keep_or_close(lane, true);
            }
        }
    }

    fn offer(&mut self, site: &Site) -> Offer {
        let now = self.shared.now();
        let in_all = self.lanes.len();
        let settings = &self.shared.settings;
        let Some(state) = self.sites.get_mut(site) else {
            return Offer::Enough;
        };
        if state.turn.is_empty() || state.backoff.until(now, settings).is_some() {
            return Offer::Enough;
        }
        if let Some(lane) = state.idle.pop() {
            return Offer::Idle(lane);
        }
        if state.lanes >= state.lanes_max(settings) {
            Offer::Enough
        } else if in_all >= settings.connections.max(1) {
            Offer::NoSlot
        } else {
            Offer::New
        }
    }

    /// The next work of a site's hosts, each in turn.
    fn next_order(&mut self, site: &Site) -> Option<Order> {
        let now = Instant::now();
        loop {
            let name = self.sites.get_mut(site)?.turn.pop_front()?;
            let Some(host) = self.hosts.get_mut(&name) else {
                continue;
            };
            if host.site.as_ref() != Some(site) {
                continue;
            }
            host.in_turn = false;
            let Some(lead) = host.lead(now).cloned() else {
                self.serve(&name);
                continue;
            };
            let Some(work) = host.ready.pop_front() else {
                continue;
            };
            self.ready = self.ready.saturating_sub(1);
            self.held = self.held.saturating_sub(work.octets());
            self.serve(&name);
            let shared = std::sync::Arc::clone(&self.shared);
            return Some(Order { shared, work, lead });
        }
    }

    fn open_lane(&mut self, site: &Site) -> LaneId {
        self.last_lane += 1;
        let id = LaneId(self.last_lane);
        let (orders, receiver) = mpsc::channel(1);
        let lane = LaneState {
            site: site.clone(),
            orders: Some(orders),
            work: None,
            jobs: 0,
            idle_since: None,
            in_idle: false,
        };
        self.lanes.insert(id, lane);
        self.sites.entry(site.clone()).or_default().lanes += 1;
        let task = lane::run(self.shared.clone(), id, receiver, self.events.clone());
        self.spawn(Role::Lane(id), task);
        id
    }

    fn send(&mut self, id: LaneId, order: Order) {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        lane.idle_since = None;
        lane.work = Some(order.work.clone());
        // A lane ends only when told to, and takes an order only after answering
        // the last, so this finds room. A lane that has panicked meanwhile is
        // reported as such, and `work` is settled then.
        if let Some(orders) = &lane.orders {
            let _ = orders.try_send(order);
        }
    }

    /// A lane has carried out its order.
    pub(super) fn lane_done(&mut self, id: LaneId, done: Done, open: bool) {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        lane.work = None;
        lane.jobs = lane.jobs.saturating_add(1);
        let (site, jobs) = (lane.site.clone(), lane.jobs);
        self.note_health(&site, done.health);
        self.settled(done.host, done.id, done.rest);
        if self.must_give_way(&site, jobs) {
            self.close_lane(id);
            return self.put_in_line(site);
        }
        match self.next_order(&site) {
            Some(order) => {
                self.send(id, order);
                self.put_in_line(site);
            }
            None => self.keep_or_close(id, open),
        }
    }

    /// Whether a lane is to end though its site may have work.
    fn must_give_way(&self, site: &Site, jobs: u32) -> bool {
        let Some(state) = self.sites.get(site) else {
            return true;
        };
        let settings = &self.shared.settings;
        let others_wait = !self.line.is_empty() && self.lanes.len() >= settings.connections;
        state.backoff.until(self.shared.now(), settings).is_some()
            || (others_wait && self.may_close() && (state.lanes > 1 || jobs >= QUANTUM))
    }

    /// Whether fewer lanes are ending than sites wait for one.
    fn may_close(&self) -> bool {
        self.closing < self.line.len()
    }

    fn note_health(&mut self, site: &Site, health: Health) {
        let (now, random) = (self.shared.now(), self.shared.random());
        let Some(state) = self.sites.get_mut(site) else {
            return;
        };
        match health {
            Health::Unknown => {}
            Health::Up if state.backoff.failures == 0 => {}
            Health::Up => self.reset_backoff(site),
            Health::Down(failure) => {
                let settings = &self.shared.settings;
                if !state.backoff.fail(now, failure, settings, random) {
                    return;
                }
                let Some(until) = state.backoff.until(now, settings) else {
                    return;
                };
                state.turn.clear();
                let members: Vec<Host> = state.members.iter().cloned().collect();
                for lane in std::mem::take(&mut state.idle) {
                    self.close_lane(lane);
                }
                for host in members {
                    self.set_aside(&host, until);
                }
            }
        }
    }

    /// A site is tried again at once.
    fn reset_backoff(&mut self, site: &Site) {
        let now = self.shared.now();
        if let Some(state) = self.sites.get_mut(site) {
            state.backoff.reset();
            for host in &state.members {
                if self.hosts.get(host).is_some_and(|h| h.waiting) {
                    self.timeline.lower(host, now);
                }
            }
        }
    }

    /// The site of a host is tried again at once, by an operator's wish.
    pub(super) fn reset_backoff_of(&mut self, host: &Host) {
        if let Some(site) = self.hosts.get(host).and_then(|host| host.site.clone()) {
            self.reset_backoff(&site);
        }
    }

    /// Keeps a lane without work for the next, if it has a connection.
    fn keep_or_close(&mut self, id: LaneId, open: bool) {
        if !open {
            return self.close_lane(id);
        }
        let until = Instant::now() + IDLE_MAX;
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        lane.idle_since = Some(Instant::now());
        if !lane.in_idle {
            lane.in_idle = true;
            self.idle.push_back((until, id));
        }
        if let Some(site) = self.sites.get_mut(&lane.site) {
            site.idle.push(id);
        }
    }

    /// Ends lanes that have been idle for long enough.
    pub(super) fn close_idle(&mut self, now: Instant) {
        while let Some((at, id)) = self.idle.front().copied()
            && at <= now
        {
            self.idle.pop_front();
            if self.stands_idle(at, id) {
                self.close_lane(id);
            }
        }
    }

    /// Whether a lane just taken out of the line of idle ones is there rightly. One
    /// that has worked since it came to stand there goes to the end if it is idle
    /// again, and is passed by if it is not, or has been told to end.
    fn stands_idle(&mut self, at: Instant, id: LaneId) -> bool {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return false;
        };
        lane.in_idle = false;
        match lane.idle_since.map(|since| since + IDLE_MAX) {
            Some(until) if until > at => {
                lane.in_idle = true;
                self.idle.push_back((until, id));
                false
            }
            Some(_) => true,
            None => false,
        }
    }

    /// Ends all lanes that are idle.
    pub(super) fn close_all_idle(&mut self) {
        let idle = self.lanes.iter().filter(|(_, l)| l.idle_since.is_some());
        let idle: Vec<LaneId> = idle.map(|(id, _)| *id).collect();
        for id in idle {
            self.close_lane(id);
        }
    }

    /// Ends the lane that has been idle for longest, so that another site can
    /// have one. What it passes by it forgets: else each look would go through all
    /// lanes that were ended in the last seconds.
    fn make_slot(&mut self) {
        if !self.may_close() {
            return;
        }
        while let Some((at, id)) = self.idle.pop_front() {
            if self.stands_idle(at, id) {
                return self.close_lane(id);
            }
        }
    }

    fn close_lane(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        lane.idle_since = None;
        if lane.orders.take().is_some() {
            self.closing += 1;
        }
        if let Some(site) = self.sites.get_mut(&lane.site) {
            site.idle.retain(|other| *other != id);
        }
    }

    /// Tells every lane to end when its attempt has.
    pub(super) fn close_all(&mut self) {
        for lane in self.lanes.values_mut() {
            lane.orders = None;
        }
    }

    /// A lane has ended.
    pub(super) fn lane_closed(&mut self, id: LaneId) {
        if let Entry::Occupied(lane) = self.lanes.entry(id) {
            let lane = lane.remove();
            if lane.orders.is_none() {
                self.closing = self.closing.saturating_sub(1);
            }
            if let Some(site) = self.sites.get_mut(&lane.site) {
                site.lanes = site.lanes.saturating_sub(1);
                site.idle.retain(|other| *other != id);
            }
            self.put_in_line(lane.site);
        }
    }

    /// A lane has panicked; gives what it was doing.
    pub(super) fn lane_lost(&mut self, id: LaneId) -> Option<Work> {
        let work = self.lanes.get_mut(&id).and_then(|lane| lane.work.take());
        self.lane_closed(id);
        work
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::queue::attempt::{Lead, Rest};
    use crate::queue::hosts::no_route;
    use crate::queue::tests::world::World;
    use crate::types::{QueueId, Timestamp};

    fn order() -> Order {
        let work = Work {
            id: QueueId::from_octets([0; 12]),
            host: Host::parse("x.example").unwrap(),
            job: None,
            until: Timestamp::from_micros(0),
        };
        let lead = Lead::None(Arc::new(no_route()));
        let shared = World::new().shared();
        Order { shared, work, lead }
    }

    /// A lane that has just carried out an order and keeps its connection.
    fn kept(dispatcher: &mut Dispatcher, site: &Site) -> LaneId {
        let id = dispatcher.open_lane(site);
        dispatcher.send(id, order());
        done(dispatcher, id);
        id
    }

    fn done(dispatcher: &mut Dispatcher, id: LaneId) {
        let Work {
            id: message, host, ..
        } = order().work;
        let done = Done {
            host,
            id: message,
            rest: Rest::Until(None),
            health: Health::Up,
        };
        dispatcher.lane_done(id, done, true);
    }

    fn is_open(dispatcher: &Dispatcher, id: LaneId) -> bool {
        dispatcher
            .lanes
            .get(&id)
            .is_some_and(|lane| lane.orders.is_some())
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_kept_for_five_seconds_after_its_last_use() {
        let mut dispatcher = Dispatcher::new(World::new().shared());
        let site = Site::new(["mx.x.example"]);
        let id = kept(&mut dispatcher, &site);
        tokio::time::advance(Duration::from_secs(4)).await;
        dispatcher.close_idle(Instant::now());
        assert!(is_open(&dispatcher, id));
        // Used again: the time counts anew.
        assert_eq!(dispatcher.sites[&site].idle, [id]);
        dispatcher.sites.get_mut(&site).unwrap().idle.clear();
        dispatcher.send(id, order());
        done(&mut dispatcher, id);
        tokio::time::advance(Duration::from_secs(4)).await;
        dispatcher.close_idle(Instant::now());
        assert!(is_open(&dispatcher, id));
        tokio::time::advance(Duration::from_secs(2)).await;
        dispatcher.close_idle(Instant::now());
        assert!(!is_open(&dispatcher, id));
        assert!(dispatcher.sites[&site].idle.is_empty());
        assert!(dispatcher.idle.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_lane_is_offered_before_a_new_one() {
        let mut dispatcher = Dispatcher::new(World::new().shared());
        let site = Site::new(["mx.x.example"]);
        let id = kept(&mut dispatcher, &site);
        let turn = Host::parse("x.example").unwrap();
        dispatcher
            .sites
            .get_mut(&site)
            .unwrap()
            .turn
            .push_back(turn);
        assert!(matches!(dispatcher.offer(&site), Offer::Idle(lane) if lane == id));
        assert!(matches!(dispatcher.offer(&site), Offer::New));
    }

    #[tokio::test(start_paused = true)]
    async fn a_site_in_line_takes_the_place_of_an_idle_lane() {
        let mut world = World::new();
        world.settings.connections = 1;
        let mut dispatcher = Dispatcher::new(world.shared());
        let id = kept(&mut dispatcher, &Site::new(["mx.idle.example"]));
        let site = Site::new(["mx.busy.example"]);
        let state = dispatcher.sites.entry(site.clone()).or_default();
        state.turn.push_back(Host::parse("busy.example").unwrap());
        dispatcher.put_in_line(site.clone());
        dispatcher.dispatch();
        assert!(!is_open(&dispatcher, id));
        assert_eq!(dispatcher.line, [site]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_lane_idle_for_longest_gives_way_and_the_ended_are_forgotten() {
        let mut world = World::new();
        world.settings.connections = 3;
        let mut dispatcher = Dispatcher::new(world.shared());
        let mut sites = Vec::new();
        for name in ["mx.a.example", "mx.b.example", "mx.c.example"] {
            let site = Site::new([name]);
            sites.push((kept(&mut dispatcher, &site), site));
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        // The first has worked since: the second is the oldest now.
        dispatcher.send(sites[0].0, order());
        dispatcher.sites.get_mut(&sites[0].1).unwrap().idle.clear();
        done(&mut dispatcher, sites[0].0);
        for name in ["busy.example", "busier.example"] {
            let site = Site::new([name]);
            let state = dispatcher.sites.entry(site.clone()).or_default();
            state.turn.push_back(Host::parse(name).unwrap());
            dispatcher.put_in_line(site);
        }
        let open = |dispatcher: &Dispatcher| [0, 1, 2].map(|n| is_open(dispatcher, sites[n].0));
        dispatcher.dispatch();
        assert_eq!(open(&dispatcher), [true, false, true]);
        dispatcher.dispatch();
        assert_eq!(open(&dispatcher), [true, false, false]);
        dispatcher.dispatch();
        assert_eq!(open(&dispatcher), [true, false, false]);
        assert_eq!(dispatcher.idle.len(), 1, "{:?}", dispatcher.idle);
    }
}
