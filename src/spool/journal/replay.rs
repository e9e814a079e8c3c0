//! Reading the journal back into the index.
//!
//! Owns the walk over the segments and what is done with damage. Holds always:
//! what is set aside is copied first, named in the log and in the report; only
//! the end of the last segment, behind everything known to have been durable, is
//! ever taken for a torn write and cut; what an opening reads is durable before the
//! index takes it. Called by the opening and by a rebuild.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::sys::{Disk, write_new};
use crate::types::QueueId;

use super::apply::{self, Written};
use super::books::Books;
use super::events::Events;
use super::index::{Index, IndexError};
use super::payload::{
    AcceptHead, CarryHead, FollowHead, Position, RestatementHead, SettlementHead, decode,
};
use super::record::{Header, Kind};
use super::report::{CutTail, DamagedRecord, Opened};
use super::scan::{Item, Scan};
use super::segments::{SegmentError, Segments};
use super::txn::Txn;

/// Changes gathered before they go to the index. Large, since most messages of
/// an old journal come and go within it and never reach the index at all.
const BATCH: usize = 20_000;
/// Damaged pieces kept in `damaged/` at most.
const ASIDE_MAX: usize = 256;

/// Why a replay stopped.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplayError {
    /// The disk failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The index failed.
    #[error("{0}")]
    Index(#[from] IndexError),
    /// The index holds what the journal has no sound record of.
    #[error("the index is ahead of the journal")]
    Ahead,
}

impl From<ReplayError> for io::Error {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Io(error) => error,
            other => Self::other(other),
        }
    }
}

impl From<SegmentError> for ReplayError {
    fn from(error: SegmentError) -> Self {
        Self::Io(error.into())
    }
}

/// Where to begin.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Start {
    /// With the index.
    pub(super) index: Position,
    /// With the events; not behind the former.
    pub(super) events: Position,
    /// All before this was durable, so damage there is no torn write.
    pub(super) durable: Position,
}

/// A reading of the journal.
pub(super) struct Replay<'a> {
    disk: &'a dyn Disk,
    segments: &'a Segments,
    /// Where damaged pieces go.
    aside: PathBuf,
    /// Octets of all segments' files.
    files: BTreeMap<u32, u64>,
    /// Where segments end, as the ones behind them say.
    ends: BTreeMap<u32, u64>,
    from: Start,
    /// Segments yet to be read.
    queue: VecDeque<u32>,
    scan: Option<Scan>,
    /// Behind the last sound record.
    position: Position,
    pub(super) report: Opened,
}

impl<'a> Replay<'a> {
    /// Looks at all segments' first records.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn new(
        disk: &'a dyn Disk,
        segments: &'a Segments,
        aside: PathBuf,
    ) -> Result<Self, ReplayError> {
        let mut ends = BTreeMap::new();
        let mut files = BTreeMap::new();
        for number in segments.numbers()? {
            files.insert(number, segments.length(number)?);
            if let Some(previous) = follows(segments, number) {
                ends.insert(previous.segment, previous.offset);
            }
        }
        Ok(Self {
            disk,
            segments,
            aside,
            files,
            ends,
            from: Start::default(),
            queue: VecDeque::new(),
            scan: None,
            position: Position::default(),
            report: Opened::default(),
        })
    }

    /// Octets of a segment that count.
    pub(super) fn length(&self, number: u32) -> u64 {
        let length = self.files.get(&number).copied().unwrap_or(0);
        self.ends
            .get(&number)
            .map_or(length, |end| length.min(*end))
    }

    /// Where a segment ends, if the one behind it says so.
    pub(super) fn end_of(&self, number: u32) -> Option<u64> {
        self.ends.get(&number).copied()
    }

    /// Whether the journal goes as far as this.
    pub(super) fn reaches(&self, position: Position) -> bool {
        self.files.contains_key(&position.segment)
            && position.offset <= self.length(position.segment)
    }

    /// Octets that count of every segment.
    pub(super) fn lengths(&self) -> BTreeMap<u32, u64> {
        self.files.keys().map(|n| (*n, self.length(*n))).collect()
    }

    /// The segments whose keys do not open.
    pub(super) fn unreadable(&self) -> BTreeSet<u32> {
        let is_shut = |n: &u32| self.segments.get(*n).is_err();
        self.files.keys().copied().filter(is_shut).collect()
    }

    /// Makes durable what is about to be read, so that the index is never ahead of
    /// the journal: whoever wrote it may have been killed before its fdatasync. Where
    /// a segment is followed by another, its end was durable before that was begun.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn secure(&self, durable: Position) -> io::Result<()> {
        let is_open = |(number, _): &(&u32, &u64)| !self.ends.contains_key(number);
        for (number, length) in self.files.iter().filter(is_open) {
            let end = Position {
                segment: *number,
                offset: *length,
            };
            if end > durable {
                self.segments.secure(durable, end)?;
            }
        }
        Ok(())
    }

    /// Reads from `from` to the end into index, books and events; gives the end.
    ///
    /// # Errors
    /// [`ReplayError`].
    pub(super) fn run(
        &mut self,
        index: &Index,
        books: &mut Books,
        events: &mut Events,
        from: Start,
    ) -> Result<Position, ReplayError> {
        self.from = from;
        self.position = from.index;
        let first = from.index.min(from.events).segment;
        let is_due = |n: &u32| *n >= first;
        self.queue = self.files.keys().copied().filter(is_due).collect();
        loop {
            let mut txn = Txn::new(index, books);
            let is_done = self.fill(&mut txn, events)?;
            let mut finished = txn.finish(self.position)?;
            index.apply(std::mem::take(&mut finished.changes))?;
            finished.post(books);
            if is_done {
                return Ok(self.position);
            }
        }
    }

    /// Takes records until the batch is full; says whether there are no more.
    fn fill(&mut self, txn: &mut Txn<'_>, events: &mut Events) -> Result<bool, ReplayError> {
        while txn.len() < BATCH {
            if self.scan.is_none() && !self.next_segment()? {
                return Ok(true);
            }
            let Some(scan) = &mut self.scan else {
                continue;
            };
            let number = scan.segment().number;
            match scan.next()? {
                None => self.scan = None,
                Some(Item::Record {
                    offset,
                    header,
                    content,
                }) => {
                    let at = Position {
                        segment: number,
                        offset,
                    };
                    let sealed = content.get(..header.head_len as usize).unwrap_or_default();
                    let head = match header.kind {
                        Kind::Part => Ok(Vec::new()),
                        _ => header.open_head(&scan.segment().key, sealed),
                    };
                    self.position = self.position.max(Position {
                        segment: number,
                        offset: scan.offset(),
                    });
                    let taken = match head {
                        Ok(head) => self.take(txn, events, at, &header, &head)?,
                        Err(_) => false,
                    };
                    if !taken {
                        self.hold_against_index(at)?;
                        self.set_aside(at, header.record_len(), Some(header.id))?;
                    }
                }
                Some(Item::Broken {
                    offset,
                    octets,
                    header,
                    is_tail,
                }) => {
                    let at = Position {
                        segment: number,
                        offset,
                    };
                    self.broken(at, octets, header, is_tail)?;
                }
            }
        }
        Ok(false)
    }

    /// Opens the next segment; `false` if there is none.
    fn next_segment(&mut self) -> Result<bool, ReplayError> {
        let Some(number) = self.queue.pop_front() else {
            return Ok(false);
        };
        let start = |from: Position| {
            if from.segment == number {
                from.offset
            } else {
                0
            }
        };
        let from = self.from.index.min(self.from.events);
        let segment = match self.segments.get(number) {
            Ok(segment) => segment,
            Err(SegmentError::Io(e)) => return Err(e.into()),
            Err(_) => {
                let octets = self.length(number);
                self.name(number, 0, octets, None);
                return Ok(true);
            }
        };
        let length = segment.file.len()?;
        if let Some(end) = self.ends.get(&number).filter(|end| **end > length) {
            self.name(number, length, end - length, None);
        }
        let end = self.ends.get(&number).copied();
        self.scan = Some(Scan::new(segment, start(from), end)?);
        Ok(true)
    }

    /// Makes the changes of one record; `false` if its head makes no sense.
    fn take(
        &mut self,
        txn: &mut Txn<'_>,
        events: &mut Events,
        at: Position,
        header: &Header,
        head: &[u8],
    ) -> Result<bool, ReplayError> {
        let is_new = at >= self.from.index;
        let written = Written {
            at,
            octets: header.record_len(),
        };
        match header.kind {
            Kind::Part => return Ok(true),
            Kind::End => return Ok(false),
            Kind::Follow => {
                let previous = decode::<FollowHead>(head).ok().and_then(|f| f.previous);
                if let Some(previous) = previous {
                    let length = self.files.get(&previous.segment).copied();
                    apply::follow(txn, at.segment, previous, length.unwrap_or(0));
                }
                return Ok(true);
            }
            Kind::Accept => match decode::<AcceptHead>(head) {
                Ok(head) if is_new => apply::accept(txn, &head, written)?,
                Ok(_) => {}
                Err(_) => return Ok(false),
            },
            Kind::Carry => match decode::<CarryHead>(head) {
                Ok(head) if is_new => apply::carry(txn, &head, written)?,
                Ok(_) => {}
                Err(_) => return Ok(false),
            },
            Kind::Restatement => match decode::<RestatementHead>(head) {
                Ok(head) if is_new => apply::restate(txn, &head, written)?,
                Ok(_) => {}
                Err(_) => return Ok(false),
            },
            Kind::Settlement => match decode::<SettlementHead>(head) {
                Ok(head) => {
                    if at >= self.from.events {
                        events.deliver(at, &head.events);
                    }
                    if is_new {
                        apply::settle(txn, header.id, &head, written)?;
                    }
                }
                Err(_) => return Ok(false),
            },
        }
        self.report.replayed += u64::from(is_new);
        Ok(true)
    }

    fn broken(
        &mut self,
        at: Position,
        octets: u64,
        header: Option<Header>,
        is_tail: bool,
    ) -> Result<(), ReplayError> {
        self.hold_against_index(at)?;
        let is_last = self.queue.is_empty() && !self.ends.contains_key(&at.segment);
        self.copy_aside(at, octets)?;
        if is_tail && is_last && at >= self.from.durable {
            let (segment, offset) = (at.segment, at.offset);
            tracing::warn!(segment, offset, octets, "the journal's torn end is cut");
            self.segments.forget(segment);
            self.segments.cut(at)?;
            self.report.cut = Some(CutTail {
                segment,
                offset,
                octets,
            });
            self.scan = None;
            return Ok(());
        }
        self.name(at.segment, at.offset, octets, header.map(|h| h.id));
        self.position = self.position.max(Position {
            segment: at.segment,
            offset: at.offset + octets,
        });
        Ok(())
    }

    /// What is no sound record is in no index; one that goes beyond it was not made of
    /// this journal, and is made anew before anything is cut.
    fn hold_against_index(&self, at: Position) -> Result<(), ReplayError> {
        match at < self.from.index {
            true => Err(ReplayError::Ahead),
            false => Ok(()),
        }
    }

    fn set_aside(
        &mut self,
        at: Position,
        octets: u64,
        id: Option<QueueId>,
    ) -> Result<(), ReplayError> {
        self.copy_aside(at, octets)?;
        self.name(at.segment, at.offset, octets, id);
        Ok(())
    }

    /// Says what can't be read.
    fn name(&mut self, segment: u32, offset: u64, octets: u64, id: Option<QueueId>) {
        tracing::error!(segment, offset, octets, ?id, "a stored record is damaged");
        self.report.damaged.push(DamagedRecord {
            segment,
            offset,
            octets,
            id,
        });
    }

    /// Copies octets as they are (sealed) into a file of their own, once.
    fn copy_aside(&self, at: Position, octets: u64) -> Result<(), ReplayError> {
        self.disk.create_folder(&self.aside)?;
        let path = self.aside.join(format!("{:08}-{}", at.segment, at.offset));
        let kept = self.disk.list(&self.aside)?;
        if kept.len() >= ASIDE_MAX || kept.contains(&path) {
            return Ok(());
        }
        let segment = self.segments.get(at.segment)?;
        let mut copy = vec![0; usize::try_from(octets).unwrap_or(0)];
        segment.read(&mut copy, at.offset)?;
        write_new(self.disk, &path, &copy)?;
        // Without its key, which goes with the segment, the copy would be noise.
        let key = self.segments.wrapped_key(at.segment)?;
        write_new(self.disk, &path.with_extension("key"), &key)?;
        Ok(())
    }
}

/// What a segment's first record says of the one before it.
fn follows(segments: &Segments, number: u32) -> Option<Position> {
    let segment: Arc<_> = segments.get(number).ok()?;
    let (header, head) = segment.head(0).ok()?;
    if header.kind != Kind::Follow {
        return None;
    }
    decode::<FollowHead>(&head).ok()?.previous
}
