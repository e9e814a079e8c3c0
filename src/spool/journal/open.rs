//! Opening a spool: keys, recovery, threads.
//!
//! Owns the order of steps, from the lock on the folder to the two threads.
//! Holds always: nothing is written before the lock is held and the keys fit;
//! the index is trusted only as far as its checkpoint vouches for it; a new
//! segment is begun, so that no file whose end is in doubt is written again.
//! Called by the service, once.

use std::io;
use std::sync::{Arc, Mutex, RwLock};

use tokio::sync::mpsc;

use crate::sys::{Clock, Disk, Entropy};
use crate::types::QueueId;

use super::super::fresh::FreshSender;
use super::super::rules::IdMaker;
use super::super::{EventSink, FreshReceiver, Settings};
use super::books::Books;
use super::checkpoint::{Checkpoint, take_clean_mark};
use super::committer::Committer;
use super::core::{Core, Health, get_entry};
use super::events::Events;
use super::head::Head;
use super::index::Index;
use super::keeper::Keeper;
use super::keys::SecretKey;
use super::meters::Meters;
use super::payload::Position;
use super::rebuild::{self, Rebuilt, move_aside};
use super::replay::{Replay, ReplayError, Start};
use super::report::{OpenError, Opened, RebuildReason};
use super::segments::Segments;
use super::shrink;
use super::slots::Slots;
use super::store::JournalStore;
use super::unlock::{lock, make_folder, tidy};

/// Jobs that may wait; with bodies of 1 MiB at most, a bound on memory too.
const JOBS: usize = 1024;

/// The ports and settings of an opening.
pub(super) struct Opening {
    pub(super) settings: Settings,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) entropy: Arc<dyn Entropy>,
}

/// What recovery came to.
struct Recovered {
    index: Index,
    books: Books,
    end: Position,
    report: Opened,
}

impl JournalStore {
    /// Opens the spool, or makes an empty one, and recovers what there is. Blocks
    /// for as long as that takes.
    ///
    /// # Errors
    /// [`OpenError`], which says what to do.
    pub fn open(
        settings: Settings,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        events: Box<dyn EventSink>,
    ) -> Result<(Arc<Self>, FreshReceiver, Opened), OpenError> {
        let opening = Opening {
            settings,
            disk,
            entropy,
        };
        opening.run(clock, events)
    }
}

impl Opening {
    fn run(
        self,
        clock: Arc<dyn Clock>,
        events: Box<dyn EventSink>,
    ) -> Result<(Arc<JournalStore>, FreshReceiver, Opened), OpenError> {
        let folder = self.settings.folder.clone();
        let seg = folder.join("seg");
        self.folder(|disk| make_folder(disk, &seg))?;
        let lock = lock(&folder)?;
        let segments = self.segments(&seg)?;
        let index_key = self.keys(&segments)?;
        self.folder(|disk| tidy(disk, &segments))?;
        self.folder(|_| shrink::tidy(&folder.join("index")))?;
        let clean = self.folder(|disk| take_clean_mark(disk, &folder.join("clean")))?;
        let (slots, marked) = self.folder(|disk| Slots::open(disk, &folder.join("inflight")))?;
        let (checkpoint, vouched) =
            Checkpoint::open(Arc::clone(&self.disk), folder.join("checkpoint"));
        let mut events = Events::new(events);
        events.begin();
        let mut recovered = self.recover(&segments, &index_key, &mut events, vouched)?;
        recovered.report.was_clean = clean.is_some();
        let suspects = match clean {
            Some(_) => Vec::new(),
            None => still_open(&recovered.index, marked),
        };
        let (fresh, receiver) = FreshSender::new();
        let core = Core {
            segments,
            index_key,
            index: RwLock::new(Some(recovered.index)),
            books: Mutex::new(recovered.books),
            events: Mutex::new(events),
            ids: IdMaker::new(clock, Arc::clone(&self.entropy)),
            fresh,
            slots,
            health: Mutex::new(Health::default()),
            meters: Meters::default(),
            lock: Mutex::new(Some(lock)),
            settings: self.settings,
            disk: self.disk,
            entropy: self.entropy,
        };
        let store =
            start(Arc::new(core), checkpoint, recovered.end, suspects).map_err(|source| {
                OpenError::Folder {
                    path: folder,
                    source,
                }
            })?;
        Ok((store, receiver, recovered.report))
    }

    /// Does something in the spool's folder.
    pub(super) fn folder<T>(
        &self,
        with: impl FnOnce(&dyn Disk) -> io::Result<T>,
    ) -> Result<T, OpenError> {
        with(&*self.disk).map_err(|source| self.bad_folder(source))
    }

    pub(super) fn bad_folder(&self, source: io::Error) -> OpenError {
        OpenError::Folder {
            path: self.settings.folder.clone(),
            source,
        }
    }

    /// Brings index and journal together.
    fn recover(
        &self,
        segments: &Segments,
        key: &Arc<SecretKey>,
        events: &mut Events,
        vouched: Option<Position>,
    ) -> Result<Recovered, OpenError> {
        let durable = vouched.unwrap_or_default();
        let mut replay = self.replay(segments)?;
        self.folder(|_| replay.secure(durable))?;
        let reason = match self.trust(&replay, key, vouched) {
            Ok((index, mut books)) => {
                let start = Start {
                    index: books.applied,
                    events: durable,
                    durable,
                };
                events.start_at(durable);
                match replay.run(&index, &mut books, events, start) {
                    Ok(end) => {
                        return Ok(self.recovered(index, books, end, replay));
                    }
                    Err(ReplayError::Io(e)) => return Err(self.bad_folder(e)),
                    Err(ReplayError::Index(e)) => RebuildReason::Unreadable(e.to_string()),
                    Err(ReplayError::Ahead) => RebuildReason::AheadOfJournal,
                }
            }
            Err(reason) => reason,
        };
        let index_folder = self.settings.folder.join("index");
        self.folder(|disk| move_aside(disk, &index_folder))?;
        let mut replay = self.replay(segments)?;
        events.start_at(Position::default());
        let entropy = &*self.entropy;
        let built = rebuild::build(
            &mut replay,
            &index_folder,
            Arc::clone(key),
            entropy,
            events,
            durable,
        );
        let Rebuilt { index, books, end } = built.map_err(|e| match e {
            ReplayError::Io(e) => self.bad_folder(e),
            other => OpenError::Index {
                path: self.settings.folder.clone(),
                reason: other.to_string(),
            },
        })?;
        // A spool that never was has nothing to rebuild.
        if end != Position::default() || vouched.is_some() {
            tracing::warn!(?reason, "the spool's index was rebuilt from the journal");
            replay.report.rebuilt = Some(reason);
        }
        Ok(self.recovered(index, books, end, replay))
    }

    fn replay<'r>(&'r self, segments: &'r Segments) -> Result<Replay<'r>, OpenError> {
        let aside = self.settings.folder.join("damaged");
        Replay::new(&*self.disk, segments, aside).map_err(|e| self.bad_folder(e.into()))
    }

    fn recovered(
        &self,
        index: Index,
        mut books: Books,
        end: Position,
        replay: Replay<'_>,
    ) -> Recovered {
        books.lengths = replay.lengths();
        books.unreadable = replay.unreadable();
        Recovered {
            index,
            books,
            end,
            report: replay.report,
        }
    }

    /// The index as it is, if nothing speaks against it.
    fn trust(
        &self,
        replay: &Replay<'_>,
        key: &Arc<SecretKey>,
        vouched: Option<Position>,
    ) -> Result<(Index, Books), RebuildReason> {
        let folder = self.settings.folder.join("index");
        let listed = self.disk.list(&folder).unwrap_or_default();
        if listed.is_empty() {
            return Err(RebuildReason::Missing);
        }
        if rebuild::is_marked(&*self.disk, &folder) {
            return Err(RebuildReason::Failed);
        }
        let vouched = vouched.ok_or(RebuildReason::NoCheckpoint)?;
        let unreadable = |e: super::index::IndexError| RebuildReason::Unreadable(e.to_string());
        let index = Index::open(&folder, Arc::clone(key), &*self.entropy).map_err(unreadable)?;
        if index
            .get(super::entry::BOOKS)
            .map_err(unreadable)?
            .is_none()
        {
            return Err(RebuildReason::Missing);
        }
        let books = Books::load(&index).map_err(unreadable)?;
        if books.applied < vouched {
            return Err(RebuildReason::WentBack);
        }
        if !replay.reaches(books.applied) {
            return Err(RebuildReason::AheadOfJournal);
        }
        Ok((index, books))
    }
}

/// The marked messages that have something open.
fn still_open(index: &Index, marked: Vec<QueueId>) -> Vec<QueueId> {
    marked
        .into_iter()
        .filter(|id| matches!(get_entry(index, *id), Ok(Some(entry)) if entry.open > 0))
        .collect()
}

/// Begins a segment and starts the threads.
fn start(
    core: Arc<Core>,
    checkpoint: Checkpoint,
    end: Position,
    suspects: Vec<QueueId>,
) -> io::Result<Arc<JournalStore>> {
    let last = core.books().lengths.keys().next_back().copied();
    let previous = (end != Position::default()).then_some(end);
    let head = Head::begin(&core, last.map_or(1, |n| n.saturating_add(1)), previous)?;
    let (jobs, receiver) = mpsc::channel(JOBS);
    let mut committer = Committer::new(Arc::clone(&core), receiver, head);
    committer.start();
    let keeper = Keeper::new(Arc::clone(&core), jobs.downgrade(), checkpoint);
    JournalStore::start(core, jobs, committer, keeper, suspects)
}
