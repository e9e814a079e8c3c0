//! What a segment says of messages in older ones, said again in a newer one.
//!
//! A segment of which nothing lives must stay as long as the records that it says
//! something about: were it gone, a rebuild would bring settled messages back. Owns
//! what is to be said again so that it need not stay. Holds always: of a message that
//! is listed its statuses are restated as they are when that is written, by the
//! committer, who alone changes them; where a segment does not tell which older one it
//! speaks of, it stays. Called by compaction.

use std::collections::BTreeSet;
use std::io;

use tokio::sync::{mpsc, oneshot};

use crate::types::QueueId;

use super::core::{Core, get_entry};
use super::job::Job;
use super::payload::{FollowHead, RestatementHead, decode};
use super::record::{Header, Kind};
use super::segments::Segment;

/// Statuses, and messages without any, restated in one step at most.
const STEP: usize = 4096;

/// What is to be restated of one segment.
pub(super) struct Facts {
    segment: u32,
    /// The segments that it must outlive as long as nothing is restated.
    older: BTreeSet<u32>,
    /// Messages, and the segments of their records.
    facts: BTreeSet<(QueueId, u32)>,
    /// It says something that can't be restated.
    is_bound: bool,
}

impl Facts {
    /// Nothing as yet.
    pub(super) fn new(core: &Core, segment: u32) -> Self {
        let books = core.books();
        let older = books.pins.get(&segment).into_iter().flatten();
        Self {
            segment,
            older: older
                .filter(|older| books.lengths.contains_key(older))
                .copied()
                .collect(),
            facts: BTreeSet::new(),
            is_bound: false,
        }
    }

    /// Takes in a record of the segment.
    pub(super) fn read(&mut self, core: &Core, segment: &Segment, header: &Header, sealed: &[u8]) {
        if self.older.is_empty() {
            return;
        }
        match header.kind {
            Kind::Settlement | Kind::Carry if header.number == 0 => self.is_bound = true,
            Kind::Settlement | Kind::Carry => self.note(header.id, header.number),
            Kind::Restatement => {
                let head = header.open_head(&segment.key, sealed).ok();
                let head = head.and_then(|head| decode::<RestatementHead>(&head).ok());
                for fact in head.into_iter().flat_map(|head| head.facts) {
                    self.note(fact.id, fact.home);
                }
            }
            Kind::Follow => {
                let head = header.open_head(&segment.key, sealed).ok();
                let previous = head.and_then(|head| decode::<FollowHead>(&head).ok()?.previous);
                // Behind its end lies what was refused: nothing but this record says so.
                self.is_bound |= previous.is_some_and(|previous| {
                    let length = core.segments.length(previous.segment);
                    self.older.contains(&previous.segment)
                        && length.is_ok_and(|length| length > previous.offset)
                });
            }
            Kind::Accept | Kind::Part | Kind::End => {}
        }
    }

    fn note(&mut self, id: QueueId, home: u32) {
        if self.older.contains(&home) {
            self.facts.insert((id, home));
        }
    }

    /// Whether the segment has to stay.
    pub(super) fn is_bound(&self) -> bool {
        self.is_bound
    }

    /// Restates some; says whether there are more. After the last the segment says
    /// nothing that it is needed for.
    ///
    /// # Errors
    /// Why it had to stop for now.
    pub(super) fn step(&mut self, core: &Core, jobs: &mpsc::Sender<Job>) -> io::Result<bool> {
        if self.is_bound || self.older.is_empty() {
            return Ok(false);
        }
        let (mut facts, mut weight) = (Vec::new(), 0);
        while weight < STEP
            && let Some((id, home)) = self.facts.pop_first()
        {
            let entry = core.read(|index| get_entry(index, id));
            let entry = entry.map_err(io::Error::other)?;
            weight += 1 + entry.map_or(0, |entry| entry.recipients as usize);
            facts.push((id, home));
        }
        let is_last = self.facts.is_empty();
        let (reply, answer) = oneshot::channel();
        let job = Job::Restate {
            facts,
            gives_up: is_last.then_some(self.segment),
            reply,
        };
        let ended = |_| io::Error::other("the committer has ended");
        jobs.blocking_send(job).map_err(|_| ended(()))?;
        let answer = answer.blocking_recv().map_err(|_| ended(()))?;
        answer.map_err(io::Error::other)?;
        Ok(!is_last)
    }
}
