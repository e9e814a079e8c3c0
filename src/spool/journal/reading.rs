//! Reading a spool that nobody has open, without changing anything.
//!
//! Owns the walk over all records that a check and an export of a stopped spool
//! make, and what it comes to: which messages are listed, in which state, and
//! which octets are no sound record. Holds always: no file is written or made,
//! the daemon is kept out meanwhile; the state of messages is worked out by
//! itself, not by the code that keeps the index, so that one can be held against
//! the other. Needs memory by the number of listed messages.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::sys::Disk;
use crate::types::{QueueId, RecipientChange, RecipientStatus};

use super::super::Settings;
use super::checkpoint::Checkpoint;
use super::copies::{CopyEntry, CopyHead, entries, is_wanted};
use super::keys::{KeyError, SecretKey, WRAPPED_LEN};
use super::locate::{Span, spans};
use super::payload::{
    AcceptHead, CarryHead, Headed, Place, Position, RestatementHead, SettlementHead, decode,
};
use super::record::{Header, Kind};
use super::rekey;
use super::replay::Replay;
use super::report::{CutTail, OpenError};
use super::scan::{Item, Scan};
use super::seal::{Sealer, Section};
use super::segments::{Segment, SegmentError, Segments};
use super::unlock::{lock_as_it_is, present_key};

/// What the journal says.
pub(super) struct Reading {
    pub(super) segments: Segments,
    /// `None`: it does not open, so the index will be made anew.
    pub(super) index_key: Option<Arc<SecretKey>>,
    /// The listed messages.
    pub(super) messages: BTreeMap<QueueId, Live>,
    /// Behind the last sound record.
    pub(super) end: Position,
    /// Up to where the index was said to be durable.
    pub(super) vouched: Option<Position>,
    /// Octets that are no sound record.
    pub(super) broken: Vec<Broken>,
    pub(super) torn: Option<CutTail>,
    pub(super) numbers: Vec<u32>,
    pub(super) records: u64,
    pub(super) octets: u64,
    _lock: Option<File>,
}

/// A listed message.
pub(super) struct Live {
    pub(super) place: Place,
    pub(super) size: u64,
    pub(super) statuses: Vec<RecipientStatus>,
    pub(super) spans: Vec<Span>,
    /// Copies that are kept, by recipient.
    pub(super) copies: BTreeMap<u32, (CopyEntry, CopyHead)>,
}

impl Live {
    /// Takes in what a record's head says of copies, and lets go of those that nobody
    /// wants any more.
    fn keep(&mut self, heads: Vec<CopyHead>, at: Position) {
        let entries = entries(&heads, at);
        for ((index, entry), head) in entries.into_iter().zip(heads) {
            self.copies.insert(index, (entry, head));
        }
        let statuses = &self.statuses;
        self.copies.retain(|index, _| is_wanted(statuses, *index));
    }
}

/// A damaged place.
pub(super) struct Broken {
    pub(super) at: Position,
    pub(super) octets: u64,
    pub(super) header: Option<Header>,
}

impl Broken {
    pub(super) fn holds(&self, at: Position) -> bool {
        let end = self.at.offset.saturating_add(self.octets);
        at.segment == self.at.segment && at.offset >= self.at.offset && at.offset < end
    }
}

impl Reading {
    /// Reads the journal through; with `is_thorough` every body too.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(super) fn open(
        settings: &Settings,
        disk: Arc<dyn Disk>,
        is_thorough: bool,
    ) -> Result<Self, OpenError> {
        let folder = &settings.folder;
        let failed = |source| OpenError::Folder {
            path: folder.clone(),
            source,
        };
        let lock = lock_as_it_is(folder)?;
        let path = settings.master_key.path();
        let seg = folder.join("seg");
        disk.list(&seg).map_err(failed)?;
        let master = present_key(&*disk, &settings.master_key)?;
        let index_key = disk
            .read(&folder.join("index.key"), WRAPPED_LEN)
            .ok()
            .and_then(|wrapped| SecretKey::unwrap(&wrapped, &master).ok())
            .map(Arc::new);
        let mut segments = Segments::new(Arc::clone(&disk), seg, master);
        let lent = rekey::lend(&*disk, folder, &mut segments).map(Arc::new);
        let index_key = index_key.or(lent);
        let numbers = segments.numbers().map_err(failed)?;
        if numbers.iter().all(|n| segments.get(*n).is_err())
            && index_key.is_none()
            && !numbers.is_empty()
        {
            return Err(OpenError::WrongKey(path.to_owned()));
        }
        let (_, vouched) = Checkpoint::open(Arc::clone(&disk), folder.join("checkpoint"));
        let mut reading = Self {
            segments,
            index_key,
            messages: BTreeMap::new(),
            end: Position::default(),
            vouched,
            broken: Vec::new(),
            torn: None,
            numbers,
            records: 0,
            octets: 0,
            _lock: lock,
        };
        reading.walk(&*disk, is_thorough).map_err(failed)?;
        Ok(reading)
    }

    fn walk(&mut self, disk: &dyn Disk, is_thorough: bool) -> io::Result<()> {
        // For where segments end; it is not run, so it writes nothing.
        let replay = Replay::new(disk, &self.segments, PathBuf::new())?;
        let ends: Vec<_> = self
            .numbers
            .iter()
            .map(|n| (*n, replay.end_of(*n), replay.length(*n)))
            .collect();
        drop(replay);
        for (number, end, length) in ends {
            let segment = match self.segments.get(number) {
                Ok(segment) => segment,
                Err(SegmentError::Io(e)) => return Err(e),
                // One that was never used is tidied up at the next start.
                Err(_) if length == 0 => continue,
                Err(_) => {
                    self.break_at(number, 0, length, None);
                    continue;
                }
            };
            let file = segment.file.len()?;
            self.segment(segment, end, is_thorough)?;
            if let Some(end) = end.filter(|end| *end > file) {
                self.break_at(number, file, end - file, None);
            }
        }
        Ok(())
    }

    fn segment(
        &mut self,
        segment: Arc<Segment>,
        end: Option<u64>,
        is_thorough: bool,
    ) -> io::Result<()> {
        let number = segment.number;
        let is_last = end.is_none() && self.numbers.last() == Some(&number);
        let mut scan = Scan::new(Arc::clone(&segment), 0, end).map_err(io::Error::from)?;
        while let Some(item) = scan.next().map_err(io::Error::from)? {
            let place = |offset| Position {
                segment: number,
                offset,
            };
            let behind = place(scan.offset());
            match item {
                Item::Record {
                    offset,
                    header,
                    content,
                } => {
                    self.octets += header.record_len();
                    let at = place(offset);
                    match self.record(&segment.key, at, &header, &content, is_thorough) {
                        Ok(()) => self.records += 1,
                        Err(KeyError) => {
                            self.break_at(number, offset, header.record_len(), Some(header));
                        }
                    }
                    self.end = behind;
                }
                Item::Broken {
                    offset,
                    octets,
                    is_tail: true,
                    ..
                } if is_last && place(offset) >= self.vouched.unwrap_or_default() => {
                    self.torn = Some(CutTail {
                        segment: number,
                        offset,
                        octets,
                    });
                }
                Item::Broken {
                    offset,
                    octets,
                    header,
                    ..
                } => {
                    self.break_at(number, offset, octets, header);
                    self.end = behind;
                }
            }
        }
        Ok(())
    }

    fn break_at(&mut self, segment: u32, offset: u64, octets: u64, header: Option<Header>) {
        let at = Position { segment, offset };
        self.broken.push(Broken { at, octets, header });
    }

    /// Takes in what a record says; an error if it is not what was written.
    fn record(
        &mut self,
        key: &SecretKey,
        at: Position,
        header: &Header,
        content: &[u8],
        is_thorough: bool,
    ) -> Result<(), KeyError> {
        let (head, body) = content
            .split_at_checked(header.head_len as usize)
            .ok_or(KeyError)?;
        if is_thorough {
            let about = header.about();
            Sealer::new(key, &header.salt, &about)?.open_all(Section::Body, body)?;
        }
        if header.kind == Kind::Part && !is_thorough {
            return Ok(());
        }
        let head = header.open_head(key, head)?;
        match header.kind {
            Kind::Part | Kind::Follow => {}
            Kind::End => return Err(KeyError),
            Kind::Accept => {
                let head = AcceptHead::from_octets(&head).map_err(|_| KeyError)?;
                let now = head.message.received_at;
                let recipients = head.message.envelope.recipients.len();
                self.messages
                    .entry(head.message.id)
                    .or_insert_with(|| Live {
                        place: Place { at, slot: 0 },
                        size: head.body.size(),
                        statuses: vec![RecipientStatus::queued(now); recipients],
                        spans: spans(at, head.body),
                        copies: BTreeMap::new(),
                    });
            }
            Kind::Carry => {
                let head = CarryHead::from_octets(&head).map_err(|_| KeyError)?;
                let mut live = Live {
                    place: Place { at, slot: 0 },
                    size: head.body.size(),
                    statuses: head.statuses,
                    spans: spans(at, head.body),
                    copies: BTreeMap::new(),
                };
                live.keep(head.copies, at);
                self.messages.insert(head.message.id, live);
            }
            Kind::Settlement => {
                let head: SettlementHead = decode(&head).map_err(|_| KeyError)?;
                self.settle(header.id, at, head);
            }
            Kind::Restatement => {
                let head: RestatementHead = decode(&head).map_err(|_| KeyError)?;
                self.restate(head);
            }
        }
        Ok(())
    }

    fn restate(&mut self, head: RestatementHead) {
        for fact in head.facts {
            let live = self.messages.get_mut(&fact.id);
            let live = live.filter(|live| live.place.at.segment == fact.home);
            match (fact.statuses, live) {
                (Some(statuses), Some(live)) => {
                    live.statuses = statuses;
                    let statuses = &live.statuses;
                    live.copies.retain(|index, _| is_wanted(statuses, *index));
                }
                (None, Some(_)) => drop(self.messages.remove(&fact.id)),
                (_, None) => {}
            }
        }
    }

    fn settle(&mut self, id: QueueId, at: Position, head: SettlementHead) {
        if let Some(live) = self.messages.get_mut(&id) {
            change(&mut live.statuses, head.changes);
            live.keep(head.copies, at);
            let is_listed =
                |s: &RecipientStatus| s.state.is_open() || s.state == crate::types::State::Dead;
            if !live.statuses.iter().any(is_listed) {
                self.messages.remove(&id);
            }
        }
        let mut start = 0u64;
        for (slot, new) in (1u32..).zip(head.messages) {
            let recipients = new.message.envelope.recipients.len();
            let span = Span {
                at,
                start,
                octets: new.octets,
            };
            start = start.saturating_add(new.octets);
            self.messages.entry(new.message.id).or_insert_with(|| Live {
                place: Place { at, slot },
                size: new.octets,
                statuses: vec![RecipientStatus::queued(new.message.received_at); recipients],
                spans: vec![span],
                copies: BTreeMap::new(),
            });
        }
    }
}

fn change(statuses: &mut [RecipientStatus], changes: Vec<RecipientChange>) {
    for change in changes {
        if let Some(status) = statuses.get_mut(change.index as usize)
            && status.state.may_become(change.status.state)
        {
            *status = change.status;
        }
    }
}
