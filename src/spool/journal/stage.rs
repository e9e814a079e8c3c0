//! From a job to a record and the index changes it makes.
//!
//! Owns the making of each record of a group. Holds always: a job that is refused
//! leaves neither record nor index change; the jobs of a group see each other's
//! effects. Used by the committer alone.

use std::sync::Arc;

use bytes::Bytes;

use crate::sys::Entropy;
use crate::types::{AuditEvent, Body, MemoryBody, Message, QueueId, RecipientStatus, Settlement};

use super::super::{Fresh, SpoolError};
use super::apply::{self, Written};
use super::body::JournalBody;
use super::copies::{NewCopy, tell_full};
use super::core::Core;
use super::head::Head;
use super::index::IndexError;
use super::job::{Content, HeldPart, Job, Reply, octets, octets_of};
use super::laid::{Laid, settlement_head, split};
use super::payload::{
    AcceptHead, CarryHead, Fact, Headed, PartRef, Place, Position, RestatementHead, encode,
};
use super::record::{Draft, Kind};
use super::staged::Staged;
use super::txn::{Finished, Txn};

/// Bodies up to this size go to the queue from memory; larger ones are read
/// back, so that the queue's channel holds no more than 64 MiB.
const FRESH_MAX: usize = 64 * 1024;

/// Statuses, and messages without any, in one restatement: a damaged one takes them all
/// along.
const RESTATED_MAX: usize = 1024;

/// A group in the making.
pub(super) struct Stage<'a> {
    core: &'a Arc<Core>,
    head: &'a mut Head,
    txn: Txn<'a>,
    /// Octets that intake may still take.
    room: u64,
    staged: Vec<Staged>,
    failed: Option<IndexError>,
}

/// A record to be made.
struct Plan<'p> {
    kind: Kind,
    id: QueueId,
    number: u32,
    head: Bytes,
    body: &'p [Bytes],
}

impl<'a> Stage<'a> {
    pub(super) fn new(core: &'a Arc<Core>, head: &'a mut Head, txn: Txn<'a>, room: u64) -> Self {
        Self {
            core,
            head,
            txn,
            room,
            staged: Vec::new(),
            failed: None,
        }
    }

    /// Notes that the head goes on from where another segment ends.
    pub(super) fn follow(&mut self, previous: Position) {
        let length = self.core.segments.length(previous.segment);
        // If nothing is known of it, the more may be in it.
        let length = length.unwrap_or(u64::MAX);
        apply::follow(&mut self.txn, self.head.number(), previous, length);
    }

    /// Adds a job, or answers it.
    pub(super) fn add(&mut self, job: Job) {
        match job {
            Job::Accept {
                message,
                content,
                reply,
            } => {
                let result = self.accept(&message, content);
                self.note(result, reply, |(fresh, parts), reply| Staged::Message {
                    fresh: Some(fresh),
                    parts,
                    reply,
                });
            }
            Job::Part {
                id,
                number,
                pieces,
                is_carried,
                reply,
            } => {
                let room = match is_carried {
                    true => Ok(()),
                    false => self.take_room(octets(&pieces)),
                };
                let room = room.map_err(Refused::from);
                let result = room.and_then(|()| self.part(id, number, &pieces));
                self.note(result, reply, |part, reply| Staged::Part { part, reply });
            }
            Job::Settle {
                mut settlement,
                copies,
                reply,
            } => {
                let learnt = settlement.learnt.take();
                let result = self.settle(settlement, copies);
                self.note(result, reply, |settled, reply| Staged::Settled {
                    at: settled.at,
                    events: settled.events,
                    learnt,
                    fresh: settled.fresh,
                    parts: settled.parts,
                    reply,
                });
            }
            Job::Carry {
                message,
                from,
                content,
                copies,
                reply,
            } => {
                let result = self.carry(message, from, content, copies);
                self.note(result, reply, |parts, reply| Staged::Message {
                    fresh: None,
                    parts,
                    reply,
                });
            }
            Job::Import {
                message,
                statuses,
                content,
                copies,
                reply,
            } => {
                let result = self.import(message, statuses, content, copies);
                self.note(result, reply, |parts, reply| Staged::Message {
                    fresh: None,
                    parts,
                    reply,
                });
            }
            Job::Restate {
                facts,
                gives_up,
                reply,
            } => {
                let result = self.restate(facts, gives_up);
                self.note(result, reply, |(), reply| Staged::Message {
                    fresh: None,
                    parts: Vec::new(),
                    reply,
                });
            }
            // The committer has taken these out.
            Job::Wake { reply } | Job::Close { reply } => drop(reply.send(())),
        }
    }

    /// The staged jobs and the index changes they make.
    ///
    /// # Errors
    /// What the index said to any of them, with the jobs: none may be written.
    pub(super) fn finish(self) -> Result<(Vec<Staged>, Finished), (Vec<Staged>, IndexError)> {
        if let Some(error) = self.failed {
            return Err((self.staged, error));
        }
        match self.txn.finish(self.head.next_position()) {
            Ok(finished) => Ok((self.staged, finished)),
            Err(error) => Err((self.staged, error)),
        }
    }

    fn note<D, T>(
        &mut self,
        result: Result<D, Refused>,
        reply: Reply<T>,
        staged: impl FnOnce(D, Reply<T>) -> Staged,
    ) {
        match result {
            Ok(done) => self.staged.push(staged(done, reply)),
            Err(Refused::Answer(error)) => drop(reply.send(Err(error))),
            Err(Refused::Index(error)) => {
                drop(reply.send(Err(sick("the index failed"))));
                self.failed.get_or_insert(error);
            }
        }
    }

    fn accept(
        &mut self,
        message: &Arc<Message>,
        content: Content,
    ) -> Result<(Fresh, Vec<HeldPart>), Refused> {
        if self.txn.entry(message.id)?.is_some() {
            // A clock set back and four octets alike. To say yes would lose it:
            // a record of a message that is there already does nothing.
            return Err(sick("the message's id is taken").into());
        }
        self.take_room(content.octets())?;
        let (plan, pieces, parts) = split(content);
        let size = plan.size();
        let head = AcceptHead {
            message: Message::clone(message),
            body: plan,
        };
        let written = self.write(Plan {
            kind: Kind::Accept,
            id: message.id,
            number: 0,
            head: head.to_octets().map_err(IndexError::from)?,
            body: &pieces,
        })?;
        apply::accept(&mut self.txn, &head, written)?;
        let place = Place {
            at: written.at,
            slot: 0,
        };
        let body = self.body(message.id, place, size, pieces);
        let fresh = Fresh {
            message: Arc::clone(message),
            body,
        };
        Ok((fresh, parts))
    }

    fn part(&mut self, id: QueueId, number: u32, pieces: &[Bytes]) -> Result<PartRef, Refused> {
        let octets = octets(pieces);
        let written = self.write(Plan {
            kind: Kind::Part,
            id,
            number,
            head: Bytes::new(),
            body: pieces,
        })?;
        Ok(PartRef {
            at: written.at,
            octets: u32::try_from(octets).map_err(|_| sick("the part is too long"))?,
        })
    }

    fn settle(&mut self, settlement: Settlement, copies: Vec<NewCopy>) -> Result<Settled, Refused> {
        let id = settlement.id;
        let entry = self.txn.entry(id)?.ok_or(SpoolError::Unknown)?;
        if !apply::may_settle(&entry, &settlement.changes) {
            return Err(SpoolError::Unknown.into());
        }
        let copies = self.with_room(id, copies);
        let (mut head, bodies) = settlement_head(settlement, self.core.ids.now());
        let mut body = Laid::behind(self.head.next_position(), bodies.clone());
        head.copies = body.copies(copies);
        let written = self.write(Plan {
            kind: Kind::Settlement,
            id,
            number: entry.place.at.segment,
            head: encode(&head).map_err(IndexError::from)?,
            body: &body.pieces,
        })?;
        let is_new = head
            .messages
            .iter()
            .map(|new| Ok(self.txn.entry(new.message.id)?.is_none()))
            .collect::<Result<Vec<_>, IndexError>>()?;
        apply::settle(&mut self.txn, id, &head, written)?;
        let fresh = (1u32..)
            .zip(head.messages)
            .zip(bodies)
            .zip(is_new)
            .filter_map(|(((slot, new), octets), is_new)| {
                let at = written.at;
                let id = new.message.id;
                let body = self.body(id, Place { at, slot }, new.octets, vec![octets]);
                let message = Arc::new(new.message);
                is_new.then_some(Fresh { message, body })
            })
            .collect();
        Ok(Settled {
            at: written.at,
            events: head.events,
            fresh,
            parts: body.parts,
        })
    }

    /// The copies for which there is room; those in parts have taken theirs.
    fn with_room(&mut self, id: QueueId, copies: Vec<NewCopy>) -> Vec<NewCopy> {
        let mut kept = Vec::with_capacity(copies.len());
        for copy in copies {
            let octets = octets_of(std::slice::from_ref(&copy));
            match self.take_room(octets) {
                Err(_) if octets > 0 => tell_full(id),
                _ => kept.push(copy),
            }
        }
        kept
    }

    fn carry(
        &mut self,
        message: Message,
        from: Place,
        content: Content,
        mut copies: Vec<NewCopy>,
    ) -> Result<Vec<HeldPart>, Refused> {
        let id = message.id;
        let entry = self.txn.entry(id)?.filter(|e| e.place == from);
        let entry = entry.ok_or(SpoolError::Unknown)?;
        let statuses = self.txn.statuses(id, &entry)?;
        let current = self.txn.copies(id, &entry)?;
        let is_there = |name: QueueId| current.iter().any(|(_, copy)| copy.copy == name);
        copies.retain(|copy| is_there(copy.head.copy));
        if copies.len() < current.len() {
            return Err(SpoolError::Unknown.into());
        }
        self.write_carry(message, from.at.segment, statuses, content, copies)
    }

    /// An import is a message moved from another journal.
    fn import(
        &mut self,
        message: Message,
        statuses: Vec<RecipientStatus>,
        content: Content,
        copies: Vec<NewCopy>,
    ) -> Result<Vec<HeldPart>, Refused> {
        if self.txn.entry(message.id)?.is_some() {
            return Err(SpoolError::Unknown.into());
        }
        self.take_room(content.octets() + octets_of(&copies))?;
        // It was in no other segment before.
        let home = self.head.number();
        self.write_carry(message, home, statuses, content, copies)
    }

    fn write_carry(
        &mut self,
        message: Message,
        home: u32,
        statuses: Vec<RecipientStatus>,
        content: Content,
        copies: Vec<NewCopy>,
    ) -> Result<Vec<HeldPart>, Refused> {
        let id = message.id;
        let (body, pieces, mut parts) = split(content);
        let mut laid = Laid::behind(self.head.next_position(), pieces);
        let copies = laid.copies(copies);
        parts.append(&mut laid.parts);
        let head = CarryHead {
            message,
            statuses,
            body,
            copies,
        };
        let written = self.write(Plan {
            kind: Kind::Carry,
            id,
            number: home,
            head: head.to_octets().map_err(IndexError::from)?,
            body: &laid.pieces,
        })?;
        apply::carry(&mut self.txn, &head, written)?;
        Ok(parts)
    }

    /// Says again what a segment says of messages in older ones. Should it be refused
    /// half-way, what was restated is true all the same.
    fn restate(
        &mut self,
        facts: Vec<(QueueId, u32)>,
        gives_up: Option<u32>,
    ) -> Result<(), Refused> {
        let (mut said, mut recipients) = (Vec::new(), 0);
        for (id, home) in facts {
            // Of one that lives elsewhere by now the record in `home` counts no more; how
            // it stands is said where it lives.
            let entry = self.txn.entry(id)?;
            let entry = entry.filter(|entry| entry.place.at.segment == home);
            let statuses = match entry {
                None => None,
                Some(entry) => Some(self.txn.statuses(id, &entry)?),
            };
            recipients += 1 + statuses.as_ref().map_or(0, Vec::len);
            said.push(Fact { id, home, statuses });
            if recipients >= RESTATED_MAX {
                self.write_restatement(std::mem::take(&mut said))?;
                recipients = 0;
            }
        }
        if !said.is_empty() {
            self.write_restatement(said)?;
        }
        if let Some(segment) = gives_up {
            self.txn.unpin(segment);
        }
        Ok(())
    }

    fn write_restatement(&mut self, facts: Vec<Fact>) -> Result<(), Refused> {
        let head = RestatementHead { facts };
        let written = self.write(Plan {
            kind: Kind::Restatement,
            id: QueueId::from_octets([0; 12]),
            number: 0,
            head: encode(&head).map_err(IndexError::from)?,
            body: &[],
        })?;
        apply::restate(&mut self.txn, &head, written)?;
        Ok(())
    }

    fn take_room(&mut self, octets: usize) -> Result<(), SpoolError> {
        match self.room.checked_sub(octets as u64) {
            Some(room) if room > 0 => {
                self.room = room;
                Ok(())
            }
            _ => Err(SpoolError::Full),
        }
    }

    fn write(&mut self, plan: Plan<'_>) -> Result<Written, Refused> {
        let mut salt = [0; 16];
        fill(&*self.core.entropy, &mut salt)?;
        let at = self.head.next_position();
        let draft = Draft {
            kind: plan.kind,
            id: plan.id,
            number: plan.number,
            salt,
            head: plan.head,
            body: plan.body,
        };
        let octets = self
            .head
            .add(&draft)
            .map_err(|_| sick("the record is too long"))?;
        Ok(Written { at, octets })
    }

    fn body(&self, id: QueueId, place: Place, size: u64, pieces: Vec<Bytes>) -> Arc<dyn Body> {
        let held = octets(&pieces);
        if held as u64 == size && held <= FRESH_MAX {
            return Arc::new(MemoryBody::new(pieces));
        }
        Arc::new(JournalBody::new(Arc::clone(self.core), id, place, size))
    }
}

/// What has come of a settlement.
struct Settled {
    at: Position,
    events: Vec<AuditEvent>,
    fresh: Vec<Fresh>,
    parts: Vec<HeldPart>,
}

/// Why a job has no record.
enum Refused {
    /// For this reason of its own.
    Answer(SpoolError),
    /// The index failed, and so the whole group does.
    Index(IndexError),
}

impl From<SpoolError> for Refused {
    fn from(error: SpoolError) -> Self {
        Self::Answer(error)
    }
}

impl From<IndexError> for Refused {
    fn from(error: IndexError) -> Self {
        Self::Index(error)
    }
}

fn fill(entropy: &dyn Entropy, salt: &mut [u8; 16]) -> Result<(), SpoolError> {
    entropy
        .fill(salt)
        .map_err(|e| SpoolError::Sick(Arc::new(std::io::Error::other(e))))
}

fn sick(why: &'static str) -> SpoolError {
    SpoolError::Sick(Arc::new(std::io::Error::other(why)))
}
