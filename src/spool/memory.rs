//! A store that keeps nothing beyond its own life: for tests.
//!
//! Owns messages, statuses and the due index in one locked table. Holds always:
//! it obeys the same contract test as the journal, except that nothing survives
//! a crash. Used by other rooms' tests and by benchmarks without a disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::sys::{Clock, Entropy};
use crate::types::{
    AuditEvent, Body, BoxFuture, Host, KeptCopy, MemoryBody, Message, QueueId, RecipientChange,
    RecipientStatus, Settlement, State, StoredCopy, Timestamp,
};

use super::fresh::FreshSender;
use super::rules::{self, IdMaker};
use super::{
    Due, EventSink, Filter, Fresh, FreshReceiver, Intake, SpoolError, Stats, Store, Stored, Survey,
    Ticket,
};

/// The engine in memory. Clones share one store.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

struct Shared {
    ids: IdMaker,
    fresh: FreshSender,
    table: Mutex<Table>,
    events: Mutex<Box<dyn EventSink>>,
}

#[derive(Default)]
struct Table {
    messages: BTreeMap<QueueId, Stored>,
    due: BTreeSet<(Host, Due)>,
    closed: bool,
}

/// Takes events nowhere.
struct NoEvents;

impl EventSink for NoEvents {
    fn append(&mut self, _: &[AuditEvent]) -> std::io::Result<()> {
        Ok(())
    }
    fn sync(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MemoryStore {
    /// An empty store that forgets audit events, and the receiver of its fresh
    /// messages.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> (Self, FreshReceiver) {
        Self::with_events(clock, entropy, Box::new(NoEvents))
    }

    /// An empty store that hands audit events to `events`; the sink's errors are
    /// ignored, since nothing could be handed over again.
    #[must_use]
    pub fn with_events(
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        events: Box<dyn EventSink>,
    ) -> (Self, FreshReceiver) {
        let (fresh, receiver) = FreshSender::new();
        let shared = Shared {
            ids: IdMaker::new(clock, entropy),
            fresh,
            table: Mutex::default(),
            events: Mutex::new(events),
        };
        let store = Self {
            shared: Arc::new(shared),
        };
        (store, receiver)
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The table, unless the store is closed.
    fn opened(&self) -> Result<MutexGuard<'_, Table>, SpoolError> {
        let table = self.table();
        if table.closed {
            return Err(SpoolError::Closed);
        }
        Ok(table)
    }

    fn accept(
        &self,
        id: QueueId,
        pieces: Vec<Bytes>,
        ticket: Ticket,
    ) -> Result<Arc<Message>, SpoolError> {
        let message = Arc::new(rules::message(id, self.ids.now(), ticket));
        let body = Arc::new(MemoryBody::new(pieces));
        let mut table = self.opened()?;
        table.insert(Arc::clone(&message), body.clone());
        // Under the lock, so that the queue hears of messages in the table's order.
        self.fresh.send(Fresh {
            message: Arc::clone(&message),
            body,
        });
        Ok(message)
    }

    fn settle(&self, settlement: Settlement) -> Result<(), SpoolError> {
        let now = self.ids.now();
        let mut table = self.opened()?;
        table.change(settlement.id, settlement.changes, settlement.copies, now)?;
        for new in settlement.messages {
            let message = Arc::new(new.message);
            let body = Arc::new(MemoryBody::new([new.octets]));
            if table.messages.contains_key(&message.id) {
                continue;
            }
            table.insert(Arc::clone(&message), body.clone());
            self.fresh.send(Fresh { message, body });
        }
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = events.append(&settlement.events);
        if let Some(learnt) = settlement.learnt {
            events.learn(learnt);
        }
        Ok(())
    }
}

impl Table {
    fn insert(&mut self, message: Arc<Message>, body: Arc<dyn Body>) {
        let status = RecipientStatus::queued(message.received_at);
        let stored = Stored {
            recipients: vec![status; message.envelope.recipients.len()],
            message,
            body,
            copies: Vec::new(),
        };
        self.due.extend(due_entries(&stored));
        self.messages.insert(stored.message.id, stored);
    }

    fn change(
        &mut self,
        id: QueueId,
        changes: Vec<RecipientChange>,
        copies: Vec<KeptCopy>,
        now: Timestamp,
    ) -> Result<(), SpoolError> {
        let stored = self.messages.get(&id).ok_or(SpoolError::Unknown)?;
        let is_known = |c: &RecipientChange| (c.index as usize) < stored.recipients.len();
        let count = |wanted: fn(State) -> bool| {
            stored.recipients.iter().filter(|r| wanted(r.state)).count()
        };
        let (open, dead) = (count(State::is_open), count(|s| s == State::Dead));
        if !rules::may_settle(open, dead, &changes) || !changes.iter().all(is_known) {
            return Err(SpoolError::Unknown);
        }
        let mut stored = stored.clone();
        for entry in due_entries(&stored) {
            self.due.remove(&entry);
        }
        for change in changes {
            let change = rules::tidy(change, now);
            if let Some(status) = stored.recipients.get_mut(change.index as usize)
                && status.state.may_become(change.status.state)
            {
                *status = change.status;
            }
        }
        for copy in copies {
            stored.copies.retain(|(index, _)| *index != copy.index);
            stored.copies.push((copy.index, stored_copy(copy)));
        }
        let is_open = |index: &u32| {
            let status = stored.recipients.get(*index as usize);
            status.is_some_and(|status| status.state.is_open())
        };
        stored.copies.retain(|(index, _)| is_open(index));
        stored.copies.sort_by_key(|(index, _)| *index);
        self.due.extend(due_entries(&stored));
        if stored.recipients.iter().any(is_listed) {
            self.messages.insert(id, stored);
        } else {
            self.messages.remove(&id);
        }
        Ok(())
    }

    fn due_hosts(&self) -> Vec<(Host, Timestamp)> {
        let mut hosts: Vec<(Host, Timestamp)> = Vec::new();
        for (host, due) in &self.due {
            if hosts.last().is_none_or(|(last, _)| last != host) {
                hosts.push((host.clone(), due.when));
            }
        }
        hosts
    }

    fn due(&self, host: &Host, after: Option<Due>, until: Timestamp, limit: usize) -> Vec<Due> {
        let earliest = Due {
            when: Timestamp::from_micros(i64::MIN),
            id: QueueId::from_octets([0; 12]),
        };
        self.due
            .range((host.clone(), after.unwrap_or(earliest))..)
            .take_while(|(h, due)| h == host && due.when <= until)
            .map(|(_, due)| *due)
            .filter(|due| Some(*due) != after)
            .take(limit)
            .collect()
    }

    fn held(&self, until: Timestamp, limit: usize) -> Vec<Due> {
        let release = |stored: &Stored| {
            let when = rules::release(&stored.recipients)?;
            let id = stored.message.id;
            (when <= until).then_some(Due { when, id })
        };
        let mut held: Vec<Due> = self.messages.values().filter_map(release).collect();
        held.sort();
        held.truncate(limit);
        held
    }

    fn survey(&self, moments: &[Timestamp]) -> Survey {
        let mut survey = Survey {
            by_age: vec![0; moments.len() + 1],
            by_host: Vec::new(),
        };
        for stored in self.messages.values() {
            if stored.recipients.iter().any(|r| r.state.is_open()) {
                rules::count_age(&mut survey.by_age, moments, stored.message.received_at);
            }
        }
        for (host, _) in &self.due {
            match survey.by_host.last_mut() {
                Some((last, count)) if last == host => *count += 1,
                _ => survey.by_host.push((host.clone(), 1)),
            }
        }
        survey
    }

    fn list(&self, filter: &Filter, after: Option<QueueId>, limit: usize) -> Vec<Stored> {
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        self.messages
            .range((from, std::ops::Bound::Unbounded))
            .map(|(_, stored)| stored)
            .filter(|s| filter.matches(&s.message, &s.recipients))
            .take(limit)
            .cloned()
            .collect()
    }

    fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        for stored in self.messages.values() {
            let count = |wanted: fn(State) -> bool| {
                stored.recipients.iter().filter(|r| wanted(r.state)).count() as u64
            };
            let open = count(State::is_open);
            stats.recipients += open;
            stats.dead += count(|s| s == State::Dead);
            stats.held += count(|s| s == State::Held);
            if open > 0 {
                stats.messages += 1;
                stats.octets += stored.body.size();
                let at = stored.message.received_at;
                stats.oldest = Some(stats.oldest.map_or(at, |o| o.min(at)));
            }
        }
        stats
    }
}

fn stored_copy(copy: KeptCopy) -> StoredCopy {
    StoredCopy {
        method: copy.method,
        proof: copy.proof,
        body: Arc::new(MemoryBody::new([copy.octets])),
    }
}

/// Whether this recipient keeps its message in the lists.
fn is_listed(status: &RecipientStatus) -> bool {
    status.state.is_open() || status.state == State::Dead
}

/// The due index's entries of a message: one for each host with a queued recipient.
fn due_entries(stored: &Stored) -> Vec<(Host, Due)> {
    let id = stored.message.id;
    let hosts = stored.message.by_host();
    hosts
        .into_iter()
        .filter_map(|(host, places)| {
            let statuses = places
                .iter()
                .filter_map(|i| stored.recipients.get(*i as usize));
            rules::earliest(statuses).map(|when| (host, Due { when, id }))
        })
        .collect()
}

struct MemoryIntake {
    shared: Arc<Shared>,
    id: QueueId,
    pieces: Vec<Bytes>,
}

impl Intake for MemoryIntake {
    fn id(&self) -> QueueId {
        self.id
    }

    fn write(&mut self, octets: Bytes) -> BoxFuture<'_, Result<(), SpoolError>> {
        self.pieces.push(octets);
        let result = self.shared.opened().map(|_| ());
        Box::pin(std::future::ready(result))
    }

    fn commit(
        self: Box<Self>,
        ticket: Ticket,
    ) -> BoxFuture<'static, Result<Arc<Message>, SpoolError>> {
        let result = self.shared.accept(self.id, self.pieces, ticket);
        Box::pin(std::future::ready(result))
    }
}

impl Store for MemoryStore {
    fn intake(&self) -> Result<Box<dyn Intake>, SpoolError> {
        drop(self.shared.opened()?);
        Ok(Box::new(MemoryIntake {
            shared: Arc::clone(&self.shared),
            id: self.shared.ids.next()?,
            pieces: Vec::new(),
        }))
    }

    fn settle(&self, settlement: Settlement) -> BoxFuture<'_, Result<(), SpoolError>> {
        let result = self.shared.settle(settlement);
        Box::pin(std::future::ready(result))
    }

    fn load(&self, id: QueueId) -> BoxFuture<'_, Result<Stored, SpoolError>> {
        let result = self
            .shared
            .opened()
            .and_then(|t| t.messages.get(&id).cloned().ok_or(SpoolError::Unknown));
        Box::pin(std::future::ready(result))
    }

    fn due_hosts(&self) -> BoxFuture<'_, Result<Vec<(Host, Timestamp)>, SpoolError>> {
        let result = self.shared.opened().map(|t| t.due_hosts());
        Box::pin(std::future::ready(result))
    }

    fn due(
        &self,
        host: &Host,
        after: Option<Due>,
        until: Timestamp,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Due>, SpoolError>> {
        let result = self
            .shared
            .opened()
            .map(|t| t.due(host, after, until, limit));
        Box::pin(std::future::ready(result))
    }

    fn held(&self, until: Timestamp, limit: usize) -> BoxFuture<'_, Result<Vec<Due>, SpoolError>> {
        let result = self.shared.opened().map(|t| t.held(until, limit));
        Box::pin(std::future::ready(result))
    }

    fn take_overflow(&self) -> Vec<Host> {
        self.shared.fresh.take_overflow()
    }

    fn list(
        &self,
        filter: &Filter,
        after: Option<QueueId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Stored>, SpoolError>> {
        let result = self.shared.opened().map(|t| t.list(filter, after, limit));
        Box::pin(std::future::ready(result))
    }

    fn stats(&self) -> BoxFuture<'_, Result<Stats, SpoolError>> {
        let result = self.shared.opened().map(|t| t.stats());
        Box::pin(std::future::ready(result))
    }

    fn survey(&self, moments: Vec<Timestamp>) -> BoxFuture<'_, Result<Survey, SpoolError>> {
        let result = self.shared.opened().map(|t| t.survey(&moments));
        Box::pin(std::future::ready(result))
    }

    fn begin_attempt(&self, _: QueueId) {}
    fn end_attempt(&self, _: QueueId) {}
    fn take_suspects(&self) -> Vec<QueueId> {
        Vec::new()
    }
    fn close(&self) -> BoxFuture<'_, ()> {
        self.shared.table().closed = true;
        Box::pin(std::future::ready(()))
    }
}
