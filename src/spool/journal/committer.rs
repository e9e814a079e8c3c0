//! The one thread that writes the journal: group commit.
//!
//! Owns the head segment. Holds always: what has gathered is written at once,
//! made durable by one fdatasync, entered in the index, and only then answered;
//! so a reading right after an answer sees it. (Entering is work in memory: the
//! index writes to its database with the checkpoint.) After a failed write nothing
//! is written to that segment again: intake stands still until a new one has been
//! begun, which names the last durable octet of the old one, so that nothing behind
//! it, never acknowledged, can come back. (Only a crash before that new segment
//! exists leaves such a record to be found, as a duplicate at worst.)

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use tokio::sync::mpsc;

use super::super::SpoolError;
use super::core::{Core, refusal};
use super::head::Head;
use super::index::IndexError;
use super::job::Job;
use super::rebuild;
use super::stage::Stage;
use super::staged::Staged;
use super::txn::{Finished, Txn};

/// Jobs in one group at most.
const GROUP_JOBS: usize = 512;
/// Octets in one group, after which no more are taken.
const GROUP_OCTETS: usize = 8 << 20;
/// Octets of a head segment that are worth a new one once nothing in it lives any more.
const SPENT: u64 = 4 << 20;

/// The thread's state.
pub(super) struct Committer {
    core: Arc<Core>,
    jobs: mpsc::Receiver<Job>,
    head: Head,
    /// The head failed and must not be written again.
    must_replace: bool,
}

impl Committer {
    pub(super) fn new(core: Arc<Core>, jobs: mpsc::Receiver<Job>, head: Head) -> Self {
        Self {
            core,
            jobs,
            head,
            must_replace: false,
        }
    }

    /// Notes the head that was begun at the opening.
    pub(super) fn start(&mut self) {
        self.enter_follow();
        self.see_room();
    }

    /// Works until asked to close, or until nobody is left to ask anything.
    pub(super) fn run(mut self) {
        while let Some(first) = self.jobs.blocking_recv() {
            let group = self.gather(first);
            let mut closers = Vec::new();
            let mut wakers = Vec::new();
            let mut work = Vec::with_capacity(group.len());
            for job in group {
                match job {
                    Job::Close { reply } => closers.push(reply),
                    Job::Wake { reply } => wakers.push(reply),
                    other => work.push(other),
                }
            }
            if !work.is_empty() {
                self.survive(|me| me.commit(work));
            }
            if !wakers.is_empty() {
                self.survive(Self::look_after);
            }
            // Nobody waits for these answers any more if sending fails.
            for waker in wakers {
                let _ = waker.send(());
            }
            if !closers.is_empty() {
                self.turn_away();
                for closer in closers {
                    let _ = closer.send(());
                }
                return;
            }
        }
    }

    /// Takes no more jobs, and drops those already on their way, so that all who
    /// ask hear [`SpoolError::Closed`]. Dropping the receiver alone would not do: a
    /// job sent at that very moment stays in the channel for as long as anybody has
    /// a sender, and whoever asked waits for ever.
    fn turn_away(&mut self) {
        self.jobs.close();
        while self.jobs.blocking_recv().is_some() {}
    }

    /// Does something that may panic: a port, the database, a mistake here. The
    /// callers then hear [`SpoolError::Closed`]; what was written is in doubt, and
    /// so is the index, so both are made anew before anything else is.
    fn survive(&mut self, with: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| with(self))).is_ok() {
            return;
        }
        self.fall_sick(io::Error::other("the spool's own thread panicked"));
        self.core.index_failed(IndexError::Panicked);
    }

    fn gather(&mut self, first: Job) -> Vec<Job> {
        let mut weight = first.weight();
        let mut group = vec![first];
        while group.len() < GROUP_JOBS && weight < GROUP_OCTETS {
            match self.jobs.try_recv() {
                Ok(job) => {
                    weight += job.weight();
                    group.push(job);
                }
                Err(_) => break,
            }
        }
        group
    }

    fn commit(&mut self, group: Vec<Job>) {
        let sick = self.core.health().sick.clone();
        if let Some(error) = sick {
            return group.into_iter().for_each(|job| refuse(job, &error));
        }
        let weight = group.iter().map(Job::weight).sum::<usize>() as u64;
        if self.head.is_full(weight, self.core.segment_size())
            && let Err(error) = self.roll()
        {
            let error = self.fall_sick(error);
            return group.into_iter().for_each(|job| refuse(job, &error));
        }
        let room = self.core.room();
        let (mut staged, finished) = match self.stage(group, room) {
            Ok(stage) => stage,
            Err((staged, error)) => {
                self.head.discard();
                self.core.index_failed(error);
                let error = Arc::new(io::Error::other("the index failed"));
                return staged.into_iter().for_each(|s| s.fail(&error));
            }
        };
        if staged.is_empty() {
            return;
        }
        let (begun, end) = (Instant::now(), self.head.end());
        if let Err(error) = self.head.write() {
            let error = self.fall_sick(error);
            return staged.into_iter().for_each(|s| s.fail(&error));
        }
        self.core.meters.flushed(begun.elapsed(), staged.len());
        self.enter(finished, &mut staged);
        let core = Arc::clone(&self.core);
        staged.into_iter().for_each(|s| s.succeed(&core));
        // Asking the system once a group is enough.
        let written = self.head.end() - end;
        self.core.health().is_full = room <= written;
    }

    /// Seals the group behind the head's end and works out what it changes.
    fn stage(
        &mut self,
        group: Vec<Job>,
        room: u64,
    ) -> Result<(Vec<Staged>, Finished), (Vec<Staged>, IndexError)> {
        let previous = self.head.take_previous();
        let guard = self
            .core
            .index
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(index) = guard.as_ref() else {
            group
                .into_iter()
                .for_each(|job| refuse(job, &Arc::new(io::ErrorKind::NotFound.into())));
            return Err((Vec::new(), IndexError::Damaged));
        };
        let books = self.core.books().clone();
        let mut stage = Stage::new(&self.core, &mut self.head, Txn::new(index, &books), room);
        if let Some(previous) = previous {
            stage.follow(previous);
        }
        for job in group {
            stage.add(job);
        }
        let result = stage.finish();
        drop(guard);
        result
    }

    /// Enters in index and books what is durable in the journal. Where the index
    /// fails the answer is still yes: the journal has it, and the index will be
    /// made anew from it.
    fn enter(&mut self, mut finished: Finished, staged: &mut [Staged]) {
        let changes = std::mem::take(&mut finished.changes);
        let guard = self
            .core
            .index
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let applied = match guard.as_ref() {
            Some(index) => index.apply(changes),
            None => Err(IndexError::Damaged),
        };
        drop(guard);
        for staged in staged {
            staged.deliver_events(&self.core);
        }
        if let Err(error) = applied {
            self.core.index_failed(error);
            return;
        }
        let mut books = self.core.books();
        finished.post(&mut books);
        books.lengths.insert(self.head.number(), self.head.end());
    }

    /// Goes on in a new segment.
    fn roll(&mut self) -> io::Result<()> {
        self.head.roll(&self.core)?;
        self.enter_follow();
        Ok(())
    }

    /// Notes in index and books that the journal goes on in the new segment.
    fn enter_follow(&mut self) {
        match self.stage(Vec::new(), 0) {
            Ok((_, finished)) => self.enter(finished, &mut []),
            Err((_, error)) => {
                self.head.discard();
                self.core.index_failed(error);
            }
        }
    }

    fn fall_sick(&mut self, error: io::Error) -> Arc<io::Error> {
        tracing::error!(%error, "the spool can't write; nothing is accepted until it can");
        let error = Arc::new(error);
        self.head.discard();
        self.must_replace = true;
        self.core.health().sick = Some(Arc::clone(&error));
        error
    }

    /// Heals what can be healed. Called twice a second.
    fn look_after(&mut self) {
        let (is_sick, needs_rebuild) = {
            let health = self.core.health();
            (health.sick.is_some(), health.needs_rebuild)
        };
        if is_sick && let Err(error) = self.heal(needs_rebuild) {
            tracing::warn!(%error, "the spool still can't write");
            self.core.health().sick = Some(Arc::new(error));
        }
        self.leave_spent();
        self.see_room();
    }

    /// Goes on in a new segment where nothing waits at all: the old one, full or not, then
    /// goes with the next checkpoint, so that an empty spool takes next to no room.
    fn leave_spent(&mut self) {
        let is_spent = {
            let books = self.core.books();
            books.live_octets() == 0 && books.pending.is_empty()
        };
        let is_well = self.core.health().sick.is_none();
        if is_well
            && is_spent
            && self.head.end() > SPENT
            && let Err(error) = self.roll()
        {
            self.fall_sick(error);
        }
    }

    /// Checks the old head on disk, begins a new one, rebuilds the index if it
    /// failed.
    fn heal(&mut self, needs_rebuild: bool) -> io::Result<()> {
        if self.must_replace {
            self.head.replace(&self.core)?;
            self.must_replace = false;
        }
        if needs_rebuild {
            rebuild::rebuild(&self.core, self.head.position())?;
        }
        {
            let mut health = self.core.health();
            health.sick = None;
            health.needs_rebuild = false;
        }
        self.enter_follow();
        tracing::info!("the spool can write again");
        Ok(())
    }

    fn see_room(&self) {
        let is_full = self.core.room() == 0;
        self.core.health().is_full = is_full;
    }
}

/// Answers a job that is not even tried.
fn refuse(job: Job, error: &Arc<io::Error>) {
    let sick = SpoolError::Sick(Arc::clone(error));
    // Where nobody waits for the answer, none is needed.
    match job {
        Job::Accept { reply, .. } => drop(reply.send(Err(refusal(error)))),
        Job::Part { reply, .. } => drop(reply.send(Err(refusal(error)))),
        Job::Import { reply, .. } => drop(reply.send(Err(refusal(error)))),
        Job::Settle { reply, .. } | Job::Carry { reply, .. } | Job::Restate { reply, .. } => {
            drop(reply.send(Err(sick)));
        }
        Job::Wake { reply } | Job::Close { reply } => drop(reply.send(())),
    }
}
