//! Moving live messages out of segments that hold little else.
//!
//! Owns the moving; which segment is `choice`'s. Holds always: a message moves
//! with the statuses it has when the new record is written, by the committer,
//! who alone changes them; it is sealed anew under the new segment's key; only a
//! few are under way at a time, so that intake is not held up; what the segment
//! says of older ones is restated last. Called by the keeper.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::types::{BodyError, Message, QueueId};

use super::super::SpoolError;
use super::body::{Cursor, JournalBody};
use super::copies::{CopyEntry, NewCopy, locate_copy};
use super::core::Core;
use super::intake::PART;
use super::job::{Content, HeldPart, Job, Reply, octets_of};
use super::locate::Located;
use super::pages::{read_copies, read_layout};
use super::payload::{Place, SettlementHead, decode};
use super::record::Kind;
use super::restate::Facts;
use super::scan::{Item, Scan};
use super::segments::SegmentError;

/// Messages moved in one step.
const STEP: usize = 32;
/// Messages tried again in one segment at most.
const AGAIN: usize = 1000;
/// Octets moved in one step.
const STEP_OCTETS: u64 = 4 << 20;

/// A segment being emptied.
pub(super) struct Compaction {
    segment: u32,
    queue: VecDeque<QueueId>,
    facts: Facts,
    /// Messages that may yet be tried again, since a copy came while they were moved.
    again: usize,
    is_stuck: bool,
}

impl Compaction {
    /// Finds out who may live in the segment.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn begin(core: &Core, number: u32) -> Result<Self, SegmentError> {
        let segment = core.segments.get(number)?;
        let mut queue = VecDeque::new();
        let mut facts = Facts::new(core, number);
        if core.books().live_in(number) == 0 {
            facts.read_dead(&core.segments, &segment)?;
            return Ok(Self::of(number, queue, facts));
        }
        let mut scan = Scan::new(Arc::clone(&segment), 0, None)?;
        while let Some(item) = scan.next()? {
            let Item::Record {
                header, content, ..
            } = item
            else {
                facts.read_damage();
                continue;
            };
            let sealed = content.get(..header.head_len as usize).unwrap_or_default();
            facts.read(&core.segments, &segment.key, &header, sealed);
            match header.kind {
                Kind::Settlement => {}
                Kind::Follow | Kind::Restatement => continue,
                _ => {
                    queue.push_back(header.id);
                    continue;
                }
            }
            // Copies go by the name of the message.
            if let Ok(head) = header.open_head(&segment.key, sealed)
                && let Ok(head) = decode::<SettlementHead>(&head)
            {
                if !head.copies.is_empty() {
                    queue.push_back(header.id);
                }
                queue.extend(head.messages.iter().map(|new| new.message.id));
            }
        }
        // Parts of one message need not lie together.
        let mut seen = std::collections::HashSet::new();
        queue.retain(|id| seen.insert(*id));
        Ok(Self::of(number, queue, facts))
    }

    fn of(segment: u32, queue: VecDeque<QueueId>, facts: Facts) -> Self {
        Self {
            segment,
            queue,
            facts,
            again: AGAIN,
            is_stuck: false,
        }
    }

    /// Which segment.
    pub(super) fn segment(&self) -> u32 {
        self.segment
    }

    /// Whether a message could not be moved, or something not restated.
    pub(super) fn is_stuck(&self) -> bool {
        self.is_stuck || self.facts.is_bound()
    }

    /// Moves a few messages, or restates something; says whether there is more to do.
    ///
    /// # Errors
    /// Why the moving had to stop for now.
    pub(super) fn step(&mut self, core: &Arc<Core>, jobs: &mpsc::Sender<Job>) -> io::Result<bool> {
        if self.queue.is_empty() {
            // Whom the reading did not find, another one will not find either.
            self.is_stuck |= core.books().live_in(self.segment) > 0;
            return match self.is_stuck {
                true => Ok(false),
                false => self.facts.step(core, jobs),
            };
        }
        let mut answers = Vec::new();
        let mut octets = 0;
        while answers.len() < STEP && octets < STEP_OCTETS {
            let Some(id) = self.queue.pop_front() else {
                break;
            };
            match self.carry(core, jobs, id) {
                Ok(None) => {}
                Ok(Some((size, answer))) => {
                    octets += size;
                    answers.push((id, answer));
                }
                Err(BodyError::Io(e)) => return Err(e),
                Err(_) => self.is_stuck = true,
            }
        }
        for (id, answer) in answers {
            match answer.blocking_recv() {
                Ok(Ok(())) => {}
                // Settled, or moved, meanwhile, which the next look tells; or it has got
                // a copy.
                Ok(Err(SpoolError::Unknown)) if self.again > 0 => {
                    self.again -= 1;
                    self.queue.push_back(id);
                }
                Ok(Err(SpoolError::Unknown)) => {}
                Ok(Err(error)) => return Err(io::Error::other(error)),
                Err(_) => return Err(io::Error::other("the committer has ended")),
            }
        }
        Ok(true)
    }

    #[allow(clippy::type_complexity)]
    fn carry(
        &self,
        core: &Arc<Core>,
        jobs: &mpsc::Sender<Job>,
        id: QueueId,
    ) -> Result<Option<(u64, oneshot::Receiver<Result<(), SpoolError>>)>, BodyError> {
        let Some((place, size, copies)) = self.lives_here(core, id)? else {
            return Ok(None);
        };
        let Located { message, .. } = core.locate(id, place).map_err(|e| match e {
            SegmentError::Io(e) => BodyError::Io(e),
            _ => BodyError::Damaged,
        })?;
        let mut cursor = JournalBody::new(Arc::clone(core), id, place, size).cursor();
        let mut room = PART as u64;
        let content = lift(jobs, id, &mut cursor, size, &mut room)?;
        let copies = self.copies(core, jobs, id, copies, &mut room)?;
        let size = size + octets_of(&copies) as u64;
        let (reply, answer) = oneshot::channel();
        send(
            jobs,
            Job::Carry {
                message: Message::clone(&message),
                from: place,
                content,
                copies,
                reply,
            },
        )?;
        Ok(Some((size, answer)))
    }

    /// The copies of a message: those that lie in this segment are lifted out of it,
    /// others stay, and so do those that can't be read, for somebody to mend.
    fn copies(
        &self,
        core: &Arc<Core>,
        jobs: &mpsc::Sender<Job>,
        id: QueueId,
        copies: Vec<(u32, CopyEntry)>,
        room: &mut u64,
    ) -> Result<Vec<NewCopy>, BodyError> {
        let mut moved = Vec::with_capacity(copies.len());
        for (recipient, entry) in copies {
            let head = locate_copy(&core.segments, id, &entry).map_err(|e| match e {
                SegmentError::Io(e) => BodyError::Io(e),
                _ => BodyError::Damaged,
            })?;
            let is_here = head.spans.iter().any(|s| s.at.segment == self.segment);
            let size = head.size();
            let name = (recipient, entry.copy);
            let content = match is_here {
                false => None,
                true => {
                    let body = JournalBody::of_copy(Arc::clone(core), id, name, size);
                    match lift(jobs, id, &mut body.cursor(), size, room) {
                        Ok(content) => Some(content),
                        Err(BodyError::Io(e)) => return Err(BodyError::Io(e)),
                        Err(_) => None,
                    }
                }
            };
            moved.push(NewCopy { head, content });
        }
        Ok(moved)
    }

    /// Where a message lies, its size and its copies, if any of it is in this segment.
    #[allow(clippy::type_complexity)]
    fn lives_here(
        &self,
        core: &Core,
        id: QueueId,
    ) -> Result<Option<(Place, u64, Vec<(u32, CopyEntry)>)>, BodyError> {
        let found = core.read(|index| {
            let Some(entry) = super::core::get_entry(index, id)? else {
                return Ok(None);
            };
            let layout = read_layout(|key| index.get(key), id, &entry)?;
            let copies = read_copies(|key| index.get(key), id, &entry)?;
            let is_here = layout.extents.iter().any(|(s, _)| *s == self.segment)
                || copies.iter().any(|(_, copy)| copy.is_in(self.segment));
            Ok(is_here.then_some((entry.place, entry.size, copies)))
        });
        found.map_err(|e| BodyError::Io(io::Error::other(e)))
    }
}

/// Reads what is small for the record that is to come, as long as that has room; writes
/// what is large in parts.
fn lift(
    jobs: &mpsc::Sender<Job>,
    id: QueueId,
    cursor: &mut Cursor,
    size: u64,
    room: &mut u64,
) -> Result<Content, BodyError> {
    match room.checked_sub(size) {
        Some(rest) => {
            *room = rest;
            Ok(Content::Inline(read(cursor, PART)?))
        }
        None => Ok(Content::Parts(move_parts(jobs, id, cursor)?)),
    }
}

/// Writes a large body anew, part by part, cut as it was.
fn move_parts(
    jobs: &mpsc::Sender<Job>,
    id: QueueId,
    cursor: &mut Cursor,
) -> Result<Vec<HeldPart>, BodyError> {
    let mut parts = Vec::new();
    loop {
        let pieces = read(cursor, PART)?;
        if pieces.is_empty() {
            return Ok(parts);
        }
        let (reply, answer): (Reply<HeldPart>, _) = oneshot::channel();
        send(
            jobs,
            Job::Part {
                id,
                number: u32::try_from(parts.len()).unwrap_or(u32::MAX),
                pieces,
                is_carried: true,
                reply,
            },
        )?;
        let part = answer
            .blocking_recv()
            .map_err(io::Error::other)?
            .map_err(io::Error::other)?;
        parts.push(part);
    }
}

/// Reads up to `limit` octets; pieces never straddle it, since parts are whole
/// multiples of chunks.
fn read(cursor: &mut Cursor, limit: usize) -> Result<Vec<Bytes>, BodyError> {
    let mut pieces = Vec::new();
    let mut octets = 0;
    while octets < limit {
        let Some(piece) = cursor.next()? else {
            break;
        };
        octets += piece.len();
        pieces.push(piece);
    }
    Ok(pieces)
}

fn send(jobs: &mpsc::Sender<Job>, job: Job) -> io::Result<()> {
    jobs.blocking_send(job)
        .map_err(|_| io::Error::other("the committer has ended"))
}
