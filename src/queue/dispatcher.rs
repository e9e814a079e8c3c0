//! The one task that holds the queue's state, and its loop.
//!
//! Owns hosts, sites, lanes and timelines; `hosts` and `lanes` hold what is done
//! with them. Holds always: the state is touched by this task alone; every task
//! that it starts reports exactly once, by its value or by its panic; nothing here
//! waits for a disk or a network.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::Instant;

use crate::spool::{Fresh, FreshReceiver};
use crate::types::{Host, QueueId, Site, Timestamp};

use super::attempt::{Work, recover};
use super::event::{Event, Role};
use super::host::{Gate, HostState};
use super::index::Page;
use super::lane::LaneId;
use super::lanes::LaneState;
use super::shared::Shared;
use super::site::SiteState;
use super::timeline::Timeline;
use super::{Question, schedule, suspects};

/// Fresh messages taken from the channel at a time.
const FRESH_BATCH: usize = 256;
/// Between looks for overflow after fresh messages came, in case the channel was
/// full meanwhile.
const OVERFLOW_PAUSE: Duration = Duration::from_secs(1);
/// Between looks at the clock, and between tidying up.
const HEARTBEAT: Duration = Duration::from_secs(60);
/// What attempts under way get when the queue ends.
const DRAIN: Duration = Duration::from_secs(10);
/// How long a message is left alone that can't be read or settled.
const PARKED: Duration = Duration::from_secs(60 * 60);
/// Before the due index is asked again at the start.
const START_PAUSE: Duration = Duration::from_secs(5);

/// All state of the queue.
pub(super) struct Dispatcher {
    pub(super) shared: Arc<Shared>,
    pub(super) hosts: HashMap<Host, HostState>,
    pub(super) sites: HashMap<Site, SiteState>,
    pub(super) lanes: HashMap<LaneId, LaneState>,
    /// Sites that want a lane, each in turn.
    pub(super) line: VecDeque<Site>,
    /// When hosts have entries due.
    pub(super) timeline: Timeline,
    /// When hosts whose entries wait are to be swept.
    pub(super) sweeps: Timeline,
    /// Lanes in the order in which they fell idle.
    pub(super) idle: VecDeque<(Instant, LaneId)>,
    pub(super) routes: Gate,
    pub(super) reads: Gate,
    /// Works in all hosts' ready lists, and the octets they hold.
    pub(super) ready: usize,
    pub(super) held: u64,
    /// Lanes that were told to end and have not.
    pub(super) closing: usize,
    pub(super) last_lane: u64,
    /// What was in flight at an unclean stop; those that are due, and the one
    /// that is being tried.
    pub(super) suspects: HashSet<QueueId>,
    pub(super) alone: VecDeque<Work>,
    pub(super) alone_now: Option<(Host, QueueId)>,
    /// The latest moment up to which a forgotten host's index was read.
    pub(super) forgotten: Timestamp,
    /// When to look for holds that have ended.
    pub(super) lapse_at: Option<Timestamp>,
    pub(super) events: mpsc::Sender<Event>,
    inbox: Option<mpsc::Receiver<Event>>,
    tasks: JoinSet<Event>,
    roles: HashMap<Id, (Role, AbortHandle)>,
    overflow_at: Option<Instant>,
    heartbeat_at: Instant,
}

impl Dispatcher {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        // Each lane has one report under way at most, so none waits for long.
        let (events, inbox) = mpsc::channel(shared.settings.connections.clamp(16, 4096));
        Self {
            shared,
            hosts: HashMap::new(),
            sites: HashMap::new(),
            lanes: HashMap::new(),
            line: VecDeque::new(),
            timeline: Timeline::default(),
            sweeps: Timeline::default(),
            idle: VecDeque::new(),
            routes: Gate::default(),
            reads: Gate::default(),
            ready: 0,
            held: 0,
            closing: 0,
            last_lane: 0,
            suspects: HashSet::new(),
            alone: VecDeque::new(),
            alone_now: None,
            forgotten: Timestamp::from_micros(i64::MIN),
            lapse_at: Some(Timestamp::from_micros(i64::MIN)),
            events,
            inbox: Some(inbox),
            tasks: JoinSet::new(),
            roles: HashMap::new(),
            overflow_at: None,
            heartbeat_at: Instant::now() + HEARTBEAT,
        }
    }

    /// Runs until `shutdown` is true.
    pub(super) async fn run(
        mut self,
        mut fresh: FreshReceiver,
        mut questions: mpsc::Receiver<Question>,
        mut shutdown: watch::Receiver<bool>,
    ) {
        let Some(mut inbox) = self.inbox.take() else {
            return;
        };
        let mut stop = std::pin::pin!(async {
            // An error says that it was dropped, which means the same.
            let _ = shutdown.wait_for(|stop| *stop).await;
        });
        tokio::select! {
            () = &mut stop => return turn_away(questions).await,
            () = self.prepare() => {}
        }
        let mut batch = Vec::with_capacity(FRESH_BATCH);
        let (mut feeding, mut asking) = (true, true);
        loop {
            self.advance();
            let wake = self.next_wake();
            tokio::select! {
                () = &mut stop => break,
                count = fresh.recv_many(&mut batch, FRESH_BATCH), if feeding => {
                    feeding = count > 0;
                    self.take_fresh(&mut batch);
                }
                Some(event) = inbox.recv() => self.handle(event),
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                question = questions.recv(), if asking => match question {
                    Some(question) => self.asked(question),
                    None => asking = false,
                },
                () = tokio::time::sleep_until(wake) => {}
            }
        }
        turn_away(questions).await;
        self.drain(inbox).await;
    }

    /// What must be known before the first attempt.
    async fn prepare(&mut self) {
        self.suspects = self.shared.store.take_suspects().into_iter().collect();
        suspects::raise(&self.shared, &self.suspects).await;
        loop {
            match self.shared.store.due_hosts().await {
                Ok(hosts) => {
                    for (host, when) in hosts {
                        self.hint(&host, when);
                    }
                    return;
                }
                Err(error) => tracing::error!("the due index can't be read: {error}"),
            }
            tokio::time::sleep(START_PAUSE).await;
        }
    }

    fn asked(&mut self, question: Question) {
        match question {
            // Whoever asked may have gone.
            Question::Stats(answer) => drop(answer.send(self.stats())),
            Question::Hand(order, answer) => self.ordered(order, answer),
            Question::Renew(renewal, answer) => {
                self.renew(*renewal);
                let _ = answer.send(());
            }
        }
    }

    fn take_fresh(&mut self, batch: &mut Vec<Fresh>) {
        if !batch.is_empty() {
            let look = || Instant::now() + OVERFLOW_PAUSE;
            self.overflow_at.get_or_insert_with(look);
        }
        for fresh in batch.drain(..) {
            self.fresh(&fresh);
        }
    }

    /// Does what time has brought, and hands out orders.
    fn advance(&mut self) {
        let (now, instant) = (self.shared.now(), Instant::now());
        if self.overflow_at.is_some_and(|at| at <= instant) {
            self.overflow_at = None;
            for host in self.shared.store.take_overflow() {
                self.timeline.lower(&host, now);
            }
        }
        if self.heartbeat_at <= instant {
            self.heartbeat_at = instant + HEARTBEAT;
            self.tidy_up(now, instant);
        }
        while self.has_room() {
            let Some(host) = self.timeline.pop(now) else {
                break;
            };
            self.due(&host);
        }
        while let Some(host) = self.sweeps.pop(now) {
            self.sweep(&host);
        }
        self.look_for_lapsed(now);
        self.next_alone();
        self.close_idle(instant);
        self.dispatch();
    }

    pub(super) fn tidy_up(&mut self, now: Timestamp, instant: Instant) {
        self.overflow_at = Some(instant);
        let latest = now + schedule::longest_wait(&self.shared.settings);
        self.timeline.pull_back(latest, now + HEARTBEAT);
        let latest = now + self.shared.settings.expire.saturating_add(HEARTBEAT);
        self.sweeps.pull_back(latest, now + HEARTBEAT);
        self.forget_hosts(instant);
        self.sites.retain(|_, site| !site.is_idle(now));
    }

    /// When there is something to do without being told.
    fn next_wake(&self) -> Instant {
        let (now, instant) = (self.shared.now(), Instant::now());
        // Without room, an event comes first.
        let due = self.timeline.first().filter(|_| self.has_room());
        let dates = [due, self.sweeps.first(), self.lapse_at];
        let dates = dates
            .into_iter()
            .flatten()
            .map(|when| instant + when.since(now));
        let idle = self.idle.front().map(|(at, _)| *at);
        let instants = [Some(self.heartbeat_at), self.overflow_at, idle];
        dates
            .chain(instants.into_iter().flatten())
            .min()
            .unwrap_or(self.heartbeat_at)
    }

    pub(super) fn spawn(&mut self, role: Role, task: impl Future<Output = Event> + Send + 'static) {
        let handle = self.tasks.spawn(task);
        self.roles.insert(handle.id(), (role, handle));
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Done { id, done, open } => self.lane_done(id, done, open),
            Event::Closed(id) => self.lane_closed(id),
            Event::Routed(host, generation, result) => {
                if generation == self.shared.generation {
                    self.routed(&host, result);
                } else {
                    self.route_again(&host);
                }
            }
            Event::Page(host, page) => self.page_read(&host, page),
            Event::Swept(host, swept) => self.swept(&host, &swept),
            Event::Recovered(done) => self.settled(done.host, done.id, done.rest),
            Event::Unparked(host, id) => {
                let now = self.shared.now();
                self.release(&host, id);
                self.timeline.lower(&host, now);
            }
            Event::Prepared(errand) => self.run_errand(errand),
            Event::Lapsed(errand, next) => {
                self.lapses(next);
                if let Some(errand) = errand {
                    self.run_errand(errand);
                }
            }
            Event::Handled(errand, handled, answer) => self.handled(&errand, handled, answer),
        }
    }

    fn ended(&mut self, ended: Result<(Id, Event), JoinError>) {
        let (id, event) = match ended {
            Ok((id, event)) => (id, Ok(event)),
            Err(error) => (error.id(), Err(error)),
        };
        let Some((role, _)) = self.roles.remove(&id) else {
            return;
        };
        match event {
            Ok(event) => self.handle(event),
            Err(error) if error.is_cancelled() => {}
            Err(error) => {
                // The panic's text may hold content, so it is not logged.
                tracing::error!("a task of the queue panicked: {role:?} ({})", error.id());
                self.panicked(role);
            }
        }
    }

    /// Does what a task owed that has panicked.
    fn panicked(&mut self, role: Role) {
        let now = self.shared.now();
        match role {
            Role::Lane(id) => {
                if let Some(work) = self.lane_lost(id) {
                    let shared = Arc::clone(&self.shared);
                    let role = Role::Recover(work.host.clone(), work.id);
                    self.spawn(role, async move {
                        Event::Recovered(recover(&shared, work).await)
                    });
                }
            }
            Role::Route(host) => self.routed(&host, Err(super::hosts::no_route())),
            Role::Read(host) => {
                let page = Page {
                    due: Vec::new(),
                    until: now,
                    more: false,
                    next: Some(now + HEARTBEAT),
                };
                self.page_read(&host, page);
            }
            Role::Recover(host, id) => self.park(host, id),
            Role::Park(host, id) => self.release(&host, id),
            Role::Prepare => {}
            Role::Lapse => self.lapses(Some(now + HEARTBEAT)),
            Role::Hand(targets) => self.give_back(&targets),
        }
    }

    /// Leaves a message alone for long; it stays taken, but no other suspect waits
    /// for it.
    pub(super) fn park(&mut self, host: Host, id: QueueId) {
        self.alone_now.take_if(|(h, i)| *h == host && *i == id);
        tracing::error!("id={id}: left alone for {PARKED:?}, since it can't be settled");
        self.spawn(Role::Park(host.clone(), id), async move {
            tokio::time::sleep(PARKED).await;
            Event::Unparked(host, id)
        });
    }

    /// Ends: no new attempts, 10 s for those under way. What is cut off stays
    /// queued and due.
    async fn drain(mut self, mut inbox: mpsc::Receiver<Event>) {
        for (role, handle) in self.roles.values() {
            if !matches!(role, Role::Lane(_) | Role::Recover(..) | Role::Hand(_)) {
                handle.abort();
            }
        }
        self.close_all();
        let end = Instant::now() + DRAIN;
        while !self.tasks.is_empty() {
            tokio::select! {
                Some(_) = inbox.recv() => {}
                Some(ended) = self.tasks.join_next_with_id() => {
                    match &ended {
                        Ok((_, Event::Handled(..))) => self.ended(ended),
                        Err(error) if error.is_panic() => self.ended(ended),
                        _ => {}
                    }
                }
                () = tokio::time::sleep_until(end) => {
                    tracing::warn!("{} attempts were cut off", self.tasks.len());
                    break;
                }
            }
        }
        self.tasks.shutdown().await;
    }
}

/// Drops what is asked at the end, so that nobody waits for an answer: a question
/// on its way while the receiver is dropped would stay in the channel.
async fn turn_away(mut questions: mpsc::Receiver<Question>) {
    questions.close();
    while questions.recv().await.is_some() {}
}
