//! Writing what is open into an export, record by record.
//!
//! Owns the walk over the listed messages. Holds always: it is pulled, a record
//! at a time, so whoever reads slowly holds up nobody and no more than one record
//! is in memory; nothing in the spool is changed; what can't be read is named in
//! the last record. A message that was open when the export began is in it, or
//! what came of it is: whoever ends meanwhile may leave a report, which is fetched
//! by a second, shorter walk over what is new. The same code serves a running
//! spool and one that nobody has open. Called by the service.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::sys::{Disk, Entropy};
use crate::types::{Message, QueueId, RecipientStatus};

use super::super::{Settings, SpoolError};
use super::archive::{ArchiveCopy, ArchiveHead, Exported, Writer};
use super::copies::CopyHead;
use super::core::Core;
use super::locate::{Span, locate, read_span};
use super::query;
use super::reading::Reading;
use super::report::OpenError;
use super::segments::{SegmentError, Segments};
use super::store::JournalStore;

/// Times a message is looked up again when compaction overtakes its reading.
const TRIES: u32 = 3;

/// An export under way.
pub struct Export {
    source: Source,
    writer: Writer,
    start: Option<Bytes>,
    walk: Walk,
    current: Option<Current>,
    tally: Exported,
    is_done: bool,
}

/// Where the messages are.
enum Source {
    /// In a spool that goes on working.
    Live(Arc<Core>),
    /// In one that nobody has open.
    Still(Box<Reading>),
}

/// Which messages are still to come.
struct Walk {
    ids: VecDeque<QueueId>,
    after: Option<QueueId>,
    /// The last of this walk; `None`: there is nothing.
    until: Option<QueueId>,
    is_second: bool,
}

/// The message being written.
struct Current {
    message: Message,
    statuses: Vec<RecipientStatus>,
    size: u64,
    spans: Vec<Span>,
    copies: Vec<CopyHead>,
    /// Spans written as parts: the message's, if it has more than one, and the copies'.
    done: usize,
    tries: u32,
}

impl JournalStore {
    /// Begins an export of the running spool.
    ///
    /// # Errors
    /// As [`super::super::Store::list`].
    pub fn export(&self) -> Result<Export, SpoolError> {
        let core = Arc::clone(self.core());
        let until = query::last_id(&core)?;
        let (writer, start) = Writer::new(core.segments.master(), Arc::clone(&core.entropy))
            .map_err(|e| SpoolError::Sick(Arc::new(e)))?;
        Ok(Export::new(Source::Live(core), writer, start, until))
    }
}

impl Export {
    /// Begins an export of a spool that nobody has open, without changing it.
    ///
    /// # Errors
    /// [`OpenError`]; [`OpenError::Locked`] while a daemon runs.
    pub fn open(
        settings: &Settings,
        disk: Arc<dyn Disk>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, OpenError> {
        let reading = Reading::open(settings, disk, false)?;
        let until = reading.messages.keys().next_back().copied();
        let (writer, start) =
            Writer::new(reading.segments.master(), entropy).map_err(|source| {
                OpenError::Folder {
                    path: settings.folder.clone(),
                    source,
                }
            })?;
        let source = Source::Still(Box::new(reading));
        Ok(Self::new(source, writer, start, until))
    }

    fn new(source: Source, writer: Writer, start: Bytes, until: Option<QueueId>) -> Self {
        Self {
            source,
            writer,
            start: Some(start),
            walk: Walk {
                ids: VecDeque::new(),
                after: None,
                until,
                is_second: false,
            },
            current: None,
            tally: Exported::default(),
            is_done: false,
        }
    }

    /// What has been written so far.
    #[must_use]
    pub fn tally(&self) -> &Exported {
        &self.tally
    }

    /// The next octets of the file, little more than 1 MiB at most; `None` behind
    /// the last. Blocks.
    ///
    /// # Errors
    /// [`SpoolError`]: the index or the system failed, and the export is useless.
    pub fn next_piece(&mut self) -> Result<Option<Bytes>, SpoolError> {
        if let Some(start) = self.start.take() {
            return Ok(Some(start));
        }
        loop {
            if let Some(current) = self.current.take() {
                if let Some(record) = self.write(current)? {
                    return Ok(Some(record));
                }
                continue;
            }
            if let Some(id) = self.next_id()? {
                self.current = self.find(id, 0)?;
                continue;
            }
            if std::mem::replace(&mut self.is_done, true) {
                return Ok(None);
            }
            return self.writer.end(&self.tally).map(Some).map_err(sick);
        }
    }

    fn next_id(&mut self) -> Result<Option<QueueId>, SpoolError> {
        loop {
            let next = self.walk.ids.pop_front();
            if let Some(id) = next.filter(|id| Some(*id) <= self.walk.until) {
                self.walk.after = Some(id);
                return Ok(Some(id));
            }
            let is_behind = next.is_some() || self.walk.after >= self.walk.until;
            if !is_behind {
                self.walk.ids = self.source.ids(self.walk.after)?;
                if !self.walk.ids.is_empty() {
                    continue;
                }
            }
            if std::mem::replace(&mut self.walk.is_second, true) {
                return Ok(None);
            }
            self.walk.ids.clear();
            self.walk.until = self.source.last_id()?;
        }
    }

    /// Looks a message up; `None` if there is nothing to write, or it can't be read.
    fn find(&mut self, id: QueueId, tries: u32) -> Result<Option<Current>, SpoolError> {
        match self.source.find(id) {
            Ok(current) => Ok(Some(Current { tries, ..current })),
            Err(SpoolError::Unknown) => Ok(None),
            Err(SpoolError::Damaged) => {
                self.tally.name_damaged(id);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The next record of a message; `None` if it was given up, or begins anew.
    fn write(&mut self, mut current: Current) -> Result<Option<Bytes>, SpoolError> {
        let id = current.message.id;
        let part = current.parts().nth(current.done);
        let span = part.or_else(|| current.inline());
        let octets = match span {
            None => Ok(Vec::new()),
            Some(span) => read_span(self.source.segments(), id, span),
        };
        match octets {
            Ok(octets) if part.is_none() => self.finish(&current, octets.into()).map(Some),
            Ok(octets) => {
                let number = u32::try_from(current.done).unwrap_or(u32::MAX);
                current.done += 1;
                self.current = Some(current);
                let record = self.writer.part(id, number, octets.into());
                record.map(Some).map_err(sick)
            }
            Err(SegmentError::Gone) if current.tries < TRIES => {
                // A part with number 0 makes the reader forget those before.
                self.current = self.find(id, current.tries + 1)?;
                Ok(None)
            }
            Err(error) => {
                tracing::error!(%id, %error, "a message can't be exported");
                self.tally.name_damaged(id);
                Ok(None)
            }
        }
    }

    fn finish(&mut self, current: &Current, body: Bytes) -> Result<Bytes, SpoolError> {
        let count = |spans: &[Span]| u32::try_from(spans.len()).unwrap_or(u32::MAX);
        let copies = current.copies.iter().map(|head| ArchiveCopy {
            octets: head.size(),
            parts: count(&head.spans),
            head: CopyHead {
                // They are places in a journal that this is not.
                spans: Vec::new(),
                ..head.clone()
            },
        });
        let open = current.statuses.iter().filter(|s| s.state.is_open());
        self.tally.messages += 1;
        self.tally.recipients += open.count() as u64;
        self.tally.octets += current.size;
        let head = ArchiveHead {
            message: current.message.clone(),
            statuses: current.statuses.clone(),
            octets: current.size,
            parts: match current.inline() {
                Some(_) => 0,
                None => count(&current.spans),
            },
            copies: copies.collect(),
        };
        self.writer.message(&head, body).map_err(sick)
    }
}

impl Current {
    /// The one run of the message that rides in its own record.
    fn inline(&self) -> Option<Span> {
        match self.spans.as_slice() {
            [span] => Some(*span),
            _ => None,
        }
    }

    /// What goes before that record.
    fn parts(&self) -> impl Iterator<Item = Span> {
        let own = match self.inline() {
            Some(_) => [].iter(),
            None => self.spans.iter(),
        };
        let copies = self.copies.iter().flat_map(|copy| &copy.spans);
        own.chain(copies).copied()
    }
}

impl Source {
    fn segments(&self) -> &Segments {
        match self {
            Self::Live(core) => &core.segments,
            Self::Still(reading) => &reading.segments,
        }
    }

    fn ids(&self, after: Option<QueueId>) -> Result<VecDeque<QueueId>, SpoolError> {
        match self {
            Self::Live(core) => Ok(query::ids(core, after)?.into()),
            Self::Still(reading) => Ok(reading
                .messages
                .keys()
                .copied()
                .filter(|id| Some(*id) > after)
                .collect()),
        }
    }

    fn last_id(&self) -> Result<Option<QueueId>, SpoolError> {
        match self {
            Self::Live(core) => query::last_id(core),
            Self::Still(reading) => Ok(reading.messages.keys().next_back().copied()),
        }
    }

    fn find(&self, id: QueueId) -> Result<Current, SpoolError> {
        match self {
            Self::Live(core) => {
                let found = core.find(id)?;
                Ok(Current {
                    message: found.message,
                    statuses: found.statuses,
                    size: found.size,
                    spans: found.spans,
                    copies: found.copies.into_iter().map(|(_, head)| head).collect(),
                    done: 0,
                    tries: 0,
                })
            }
            Self::Still(reading) => {
                let live = reading.messages.get(&id).ok_or(SpoolError::Unknown)?;
                let located =
                    locate(&reading.segments, id, live.place).map_err(|_| SpoolError::Damaged)?;
                Ok(Current {
                    message: located.message,
                    statuses: live.statuses.clone(),
                    size: live.size,
                    spans: located.spans,
                    copies: live.copies.values().map(|(_, head)| head.clone()).collect(),
                    done: 0,
                    tries: 0,
                })
            }
        }
    }
}

fn sick(error: io::Error) -> SpoolError {
    SpoolError::Sick(Arc::new(error))
}
