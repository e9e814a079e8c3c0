//! Reading a stored body, chunk by chunk.
//!
//! Owns the reader that follows a body's runs through the journal. Holds always:
//! no more than one chunk is in memory; every chunk has passed its seal before
//! it is given out; a reading that compaction overtakes goes on at the new
//! place. Reads what is in the system's memory where it is asked, the rest in
//! blocking threads. Used by queue, delivery and compaction.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::types::{Body, BodyError, BodyReader, BoxFuture, QueueId};

use super::super::SpoolError;
use super::copies::locate_copy;
use super::core::Core;
use super::locate::Span;
use super::payload::Place;
use super::record::{HEADER_LEN, Header};
use super::seal::{CHUNK, SEALED_CHUNK, Sealer, Section};
use super::segments::{Segment, SegmentError};

/// A body in the journal.
pub(super) struct JournalBody {
    core: Arc<Core>,
    id: QueueId,
    place: Place,
    /// Of which recipient it is a copy, and its name; `None`: it is the message.
    copy: Option<(u32, QueueId)>,
    size: u64,
}

impl JournalBody {
    pub(super) fn new(core: Arc<Core>, id: QueueId, place: Place, size: u64) -> Self {
        Self {
            core,
            id,
            place,
            copy: None,
            size,
        }
    }

    /// The copy of this name that is kept for a recipient. It is looked up when it is
    /// read, and gone when it is kept no more.
    pub(super) fn of_copy(core: Arc<Core>, id: QueueId, copy: (u32, QueueId), size: u64) -> Self {
        Self {
            core,
            id,
            place: Place::default(),
            copy: Some(copy),
            size,
        }
    }

    /// A reader for a thread that may block.
    pub(super) fn cursor(&self) -> Cursor {
        Cursor {
            core: Arc::clone(&self.core),
            id: self.id,
            place: self.place,
            copy: self.copy,
            spans: None,
            span: 0,
            done: 0,
            record: None,
        }
    }
}

impl fmt::Debug for JournalBody {
    /// Content belongs in no log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JournalBody({}, {} octets)", self.id, self.size)
    }
}

impl Body for JournalBody {
    fn size(&self) -> u64 {
        self.size
    }

    fn open(&self) -> Box<dyn BodyReader> {
        Box::new(Reader {
            cursor: Some(self.cursor()),
        })
    }
}

struct Reader {
    /// `None` after an error, or while a read is cut off: nothing more follows.
    cursor: Option<Cursor>,
}

impl BodyReader for Reader {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, BodyError>> {
        Box::pin(async move {
            let mut cursor = self.cursor.take().ok_or(BodyError::Gone)?;
            // What was written just now is in memory still: then it takes less time
            // than handing the work to another thread and waiting for it.
            if let Some(piece) = cursor.next_at_once() {
                self.cursor = Some(cursor);
                return Ok(Some(piece));
            }
            let reading = tokio::task::spawn_blocking(move || {
                let piece = cursor.next();
                (cursor, piece)
            });
            let (cursor, piece) = reading.await.map_err(std::io::Error::other)?;
            if piece.is_ok() {
                self.cursor = Some(cursor);
            }
            piece
        })
    }
}

/// Where a reading stands.
pub(super) struct Cursor {
    core: Arc<Core>,
    id: QueueId,
    place: Place,
    copy: Option<(u32, QueueId)>,
    spans: Option<Vec<Span>>,
    /// Which span, and how many octets of it were given out.
    span: usize,
    done: u64,
    record: Option<Record>,
}

/// The record that the present span lies in.
struct Record {
    span: Span,
    segment: Arc<Segment>,
    header: Header,
    sealer: Sealer,
}

/// Where a chunk is and what is wanted of it.
struct Piece {
    /// Which chunk, and whether it is the last of its section.
    index: u32,
    is_last: bool,
    offset: u64,
    /// Octets of it, sealed.
    length: usize,
    /// Octets before what is wanted, and at most so many of that.
    skip: usize,
    left: usize,
}

impl Cursor {
    /// The next piece; blocks.
    ///
    /// # Errors
    /// [`BodyError`].
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        for _ in 0..3 {
            match self.try_next() {
                Ok(piece) => return Ok(piece),
                Err(SegmentError::Gone) => self.follow()?,
                Err(SegmentError::Io(e)) => return Err(e.into()),
                Err(SegmentError::Damaged) => return Err(self.damaged()),
            }
        }
        Err(BodyError::Gone)
    }

    fn try_next(&mut self) -> Result<Option<Bytes>, SegmentError> {
        loop {
            let Some(span) = self.current()? else {
                return Ok(None);
            };
            if self.done < span.octets {
                let piece = self.read(span)?;
                self.done += piece.len() as u64;
                return Ok(Some(piece));
            }
            self.span += 1;
            self.done -= span.octets;
        }
    }

    fn current(&mut self) -> Result<Option<Span>, SegmentError> {
        if self.spans.is_none() {
            self.spans = Some(match self.copy {
                None => self.core.locate(self.id, self.place)?.spans,
                Some(copy) => self.spans_of(copy)?,
            });
        }
        Ok(self.spans.as_ref().and_then(|s| s.get(self.span)).copied())
    }

    /// Where a copy lies now.
    fn spans_of(&mut self, (recipient, name): (u32, QueueId)) -> Result<Vec<Span>, SegmentError> {
        let entry = self.core.copy(self.id, recipient).map_err(|e| match e {
            SpoolError::Sick(e) => SegmentError::Io(std::io::Error::other(e)),
            _ => SegmentError::Gone,
        })?;
        let entry = entry.filter(|entry| entry.copy == name);
        let entry = entry.ok_or(SegmentError::Gone)?;
        self.place.at = entry.at;
        Ok(locate_copy(&self.core.segments, self.id, &entry)?.spans)
    }

    /// The next piece if it can be had without waiting. Whatever else there is to
    /// say, [`Cursor::next`] says.
    fn next_at_once(&mut self) -> Option<Bytes> {
        let span = *self.spans.as_ref()?.get(self.span)?;
        let record = self.record.as_ref().filter(|r| r.span == span)?;
        let piece = Piece::of(record, self.done).ok()?;
        let mut chunk = vec![0; piece.length];
        let is_read = record.segment.read_at_once(&mut chunk, piece.offset);
        if !is_read.ok()? {
            return None;
        }
        let octets = piece.open(record, chunk).ok()?;
        self.done += octets.len() as u64;
        Some(octets)
    }

    /// Reads what is left of the chunk in which the reading stands.
    fn read(&mut self, span: Span) -> Result<Bytes, SegmentError> {
        let done = self.done;
        let record = self.record(span)?;
        let piece = Piece::of(record, done)?;
        let mut chunk = vec![0; piece.length];
        record.segment.read(&mut chunk, piece.offset)?;
        piece.open(record, chunk)
    }

    fn record(&mut self, span: Span) -> Result<&Record, SegmentError> {
        let record = match self.record.take().filter(|record| record.span == span) {
            Some(record) => record,
            None => self.open_record(span)?,
        };
        Ok(self.record.insert(record))
    }

    fn open_record(&self, span: Span) -> Result<Record, SegmentError> {
        let segment = self.core.segments.get(span.at.segment)?;
        let header = segment.header(span.at.offset)?;
        if header.id != self.id && span.start == 0 && self.place.slot == 0 {
            return Err(SegmentError::Damaged);
        }
        let sealer = Sealer::new(&segment.key, &header.salt, &header.about())?;
        Ok(Record {
            span,
            segment,
            header,
            sealer,
        })
    }

    /// Looks up where compaction has put the message. Its runs may be cut in other
    /// places there, so the reading goes on by how much was given out in all.
    fn follow(&mut self) -> Result<(), BodyError> {
        let before = self.spans.iter().flatten().take(self.span);
        let given: u64 = before.map(|span| span.octets).sum::<u64>() + self.done;
        // Where a copy lies is looked up anew each time.
        if self.copy.is_none() {
            self.place = match self.core.entry(self.id) {
                Ok(Some(entry)) => entry.place,
                Ok(None) => return Err(BodyError::Gone),
                Err(SpoolError::Sick(e)) => return Err(std::io::Error::other(e).into()),
                Err(_) => return Err(BodyError::Gone),
            };
        }
        self.spans = None;
        self.record = None;
        self.span = 0;
        self.done = given;
        Ok(())
    }

    fn damaged(&self) -> BodyError {
        let at = self
            .spans
            .as_ref()
            .and_then(|s| s.get(self.span))
            .map_or(self.place.at, |span| span.at);
        let (segment, offset) = (at.segment, at.offset);
        tracing::error!(id = %self.id, segment, offset, "a stored body is damaged");
        BodyError::Damaged
    }
}

impl Piece {
    /// What is left of the chunk behind `done` octets of the record's span.
    fn of(record: &Record, done: u64) -> Result<Self, SegmentError> {
        let (span, header) = (record.span, &record.header);
        let at = span.start + done;
        let index = at / CHUNK as u64;
        let sealed_at = index * SEALED_CHUNK as u64;
        let section = u64::from(header.body_len);
        let length = section.saturating_sub(sealed_at).min(SEALED_CHUNK as u64);
        let body = span.at.offset + HEADER_LEN as u64 + u64::from(header.head_len);
        Ok(Self {
            index: u32::try_from(index).map_err(|_| SegmentError::Damaged)?,
            is_last: sealed_at + length >= section,
            offset: body + sealed_at,
            length: usize::try_from(length).unwrap_or(0),
            skip: usize::try_from(at % CHUNK as u64).unwrap_or(0),
            left: usize::try_from(span.octets - done).unwrap_or(usize::MAX),
        })
    }

    /// Opens the chunk that was read.
    fn open(&self, record: &Record, mut chunk: Vec<u8>) -> Result<Bytes, SegmentError> {
        let sealer = &record.sealer;
        let opened = sealer.open(Section::Body, self.index, self.is_last, &mut chunk)?;
        let to = opened.min(self.skip.saturating_add(self.left));
        if self.skip >= to {
            return Err(SegmentError::Damaged);
        }
        Ok(Bytes::from(chunk).slice(self.skip..to))
    }
}
