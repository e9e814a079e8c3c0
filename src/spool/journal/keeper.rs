//! The keeper: checkpoints, removal, compaction, twice a second.
//!
//! Owns the checkpoint file and the compaction under way. Holds always: before
//! the checkpoint moves, the events before it are durable with their sink and
//! the index is on disk (sled's flush, then an fdatasync of its file, since
//! sled's flush is none); a segment is removed only behind a durable checkpoint
//! that knows it has nothing left to say. Runs in a thread of its own.

use std::io;
use std::sync::{Arc, PoisonError};

use tokio::sync::{mpsc, oneshot};

use super::checkpoint::{self, Checkpoint};
use super::choice::choose;
use super::compact::Compaction;
use super::core::Core;
use super::head::read_back;
use super::index::IndexError;
use super::job::Job;
use super::payload::{Position, SettlementHead, decode};
use super::record::Kind;
use super::scan::{Item, Scan};
use super::segments::SegmentError;
use super::shrink::Shrink;

/// The keeper's state.
pub(super) struct Keeper {
    core: Arc<Core>,
    /// Weak, so that the committer ends when nobody else is left.
    jobs: mpsc::WeakSender<Job>,
    checkpoint: Checkpoint,
    compaction: Option<Compaction>,
    /// Segments that compaction could not empty: a message in them is damaged.
    stuck: Vec<u32>,
    /// Segments not read since the opening, which trusted the index for them.
    unread: Vec<u32>,
    shrink: Shrink,
    /// Octets of the index's file when it was last flushed.
    index_length: u64,
}

impl Keeper {
    pub(super) fn new(
        core: Arc<Core>,
        jobs: mpsc::WeakSender<Job>,
        checkpoint: Checkpoint,
    ) -> Self {
        let unread = core.books().lengths.keys().copied().collect();
        Self {
            unread,
            core,
            jobs,
            checkpoint,
            compaction: None,
            stuck: Vec::new(),
            shrink: Shrink::default(),
            index_length: 0,
        }
    }

    /// One round; says whether there is more to do at once. Blocks.
    pub(super) fn round(&mut self) -> bool {
        self.wake_committer();
        self.core.events().tend();
        if let Err(error) = self.move_checkpoint() {
            tracing::error!(%error, "the spool's checkpoint could not be moved");
        }
        if let Err(error) = self.remove_free() {
            tracing::error!(%error, "a finished segment could not be removed");
        }
        self.scrub();
        let is_well = self.core.health().sick.is_none();
        let shrinks = is_well && self.shrink.step(&self.core, self.index_length);
        is_well && (self.compact() || shrinks)
    }

    /// The last checkpoint and the mark of a clean stop. Blocks.
    ///
    /// # Errors
    /// What the disk says; then the next opening looks closer.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.core.events().tend();
        self.move_checkpoint()?;
        // The segments removed since then are changes too, and no record tells them.
        if !self.core.health().needs_rebuild {
            self.flush_index()?;
        }
        let at = self.core.books().applied;
        if at != self.checkpoint.position() {
            return Ok(());
        }
        let path = self.core.settings.folder.join("clean");
        checkpoint::mark_clean(&*self.core.disk, &path, at)
    }

    fn wake_committer(&self) {
        let Some(jobs) = self.jobs.upgrade() else {
            return;
        };
        let (reply, answer) = oneshot::channel();
        if jobs.blocking_send(Job::Wake { reply }).is_ok() {
            drop(jobs);
            // An error says that the committer has ended: nothing to wait for.
            let _ = answer.blocking_recv();
        }
    }

    fn move_checkpoint(&mut self) -> io::Result<()> {
        let target = self.core.books().applied;
        if self.core.health().needs_rebuild {
            return Ok(());
        }
        if target == self.checkpoint.position() && self.core.events().owed().is_none() {
            return Ok(());
        }
        self.settle_events(target)?;
        self.flush_index()?;
        self.checkpoint.write(target)
    }

    /// Hands over what is owed to the sink and makes it durable there.
    fn settle_events(&self, up_to: Position) -> io::Result<()> {
        let mut events = self.core.events();
        if let Some(owed) = events.owed() {
            events.forgive();
            self.deliver_again(&mut events, owed)?;
        }
        if events.owed().is_some() {
            return Err(io::Error::other("the audit does not take events"));
        }
        events.sync(up_to)
    }

    fn deliver_again(&self, events: &mut super::events::Events, from: Position) -> io::Result<()> {
        let result = self.read_events(from, |at, head| events.deliver(at, &head.events));
        if result.is_err() {
            events.owe(from);
        }
        result
    }

    /// Reads settlements from a place on. Damage was named when it was found.
    fn read_events(
        &self,
        from: Position,
        mut take: impl FnMut(Position, SettlementHead),
    ) -> io::Result<()> {
        let to = self.core.books().applied;
        let numbers = self.core.segments.numbers()?;
        for number in numbers
            .into_iter()
            .filter(|n| (from.segment..=to.segment).contains(n))
        {
            let start = if number == from.segment {
                from.offset
            } else {
                0
            };
            let end = (number == to.segment).then_some(to.offset);
            let segment = match self.core.segments.get(number) {
                Ok(segment) => segment,
                Err(SegmentError::Io(e)) => return Err(e),
                Err(_) => continue,
            };
            let mut scan = Scan::new(Arc::clone(&segment), start, end)?;
            while let Some(item) = scan.next()? {
                let Item::Record {
                    offset,
                    header,
                    content,
                } = item
                else {
                    continue;
                };
                if header.kind != Kind::Settlement {
                    continue;
                }
                let sealed = content.get(..header.head_len as usize).unwrap_or_default();
                if let Ok(head) = header.open_head(&segment.key, sealed)
                    && let Ok(head) = decode(&head)
                {
                    let segment = number;
                    take(Position { segment, offset }, head);
                }
            }
        }
        Ok(())
    }

    /// Makes all that is in the index durable.
    fn flush_index(&mut self) -> io::Result<()> {
        match self.try_flush_index() {
            Ok(length) => {
                self.index_length = length;
                Ok(())
            }
            Err(error) => {
                // What a failed flush has lost is not to be guessed at.
                let lost = IndexError::Sled(sled::Error::Io(io::Error::from(error.kind())));
                self.core.index_failed(lost);
                Err(error)
            }
        }
    }

    /// Gives the octets of the index's file.
    fn try_flush_index(&self) -> io::Result<u64> {
        let guard = self
            .core
            .index
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let index = guard
            .as_ref()
            .ok_or_else(|| io::Error::other("the index is closed"))?;
        let flusher = index.flusher();
        drop(guard);
        flusher.flush().map_err(io::Error::other)?;
        // sled has its own handle on this file; durability goes by the file.
        let db = self.core.index_folder().join("db");
        let file = self.core.disk.open(&db, false)?;
        file.sync_data()?;
        file.len()
    }

    /// Removes every segment that has nothing left to say.
    fn remove_free(&mut self) -> io::Result<()> {
        let checkpoint = self.checkpoint.position();
        loop {
            let Some(number) = self.core.books().free(checkpoint) else {
                return Ok(());
            };
            self.core.segments.remove(number)?;
            let keys = self.core.books().forget(number);
            let changes = keys.into_iter().map(|key| (key, None)).collect();
            let guard = self
                .core
                .index
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            let result = guard.as_ref().map_or(Ok(()), |index| index.apply(changes));
            drop(guard);
            if let Err(error) = result {
                self.core.index_failed(error);
            }
        }
    }

    /// Reads one segment of before the opening, so that damage is named soon and
    /// not when its message is due. One a round, to leave the disk to others.
    fn scrub(&mut self) {
        let Some(number) = self.unread.pop() else {
            return;
        };
        let Some(length) = self.core.books().lengths.get(&number).copied() else {
            return;
        };
        let end = Position {
            segment: number,
            offset: length,
        };
        if let Err(error) = read_back(&self.core, end) {
            tracing::warn!(%error, segment = number, "a segment could not be read");
        }
    }

    /// Moves some live messages; says whether there are more.
    fn compact(&mut self) -> bool {
        let Some(jobs) = self.jobs.upgrade() else {
            return false;
        };
        if self.compaction.is_none() {
            self.compaction = self.choose();
        }
        let Some(compaction) = &mut self.compaction else {
            return false;
        };
        match compaction.step(&self.core, &jobs) {
            Ok(true) => return true,
            Ok(false) => {
                if compaction.is_stuck() {
                    self.stuck.push(compaction.segment());
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a segment could not be compacted yet");
            }
        }
        self.compaction = None;
        false
    }

    fn choose(&self) -> Option<Compaction> {
        let number = {
            let books = self.core.books();
            choose(
                &books,
                self.core.segment_size(),
                self.checkpoint.position(),
                &self.stuck,
            )?
        };
        match Compaction::begin(&self.core, number) {
            Ok(compaction) => Some(compaction),
            Err(error) => {
                tracing::warn!(%error, segment = number, "a segment could not be read");
                None
            }
        }
    }
}
