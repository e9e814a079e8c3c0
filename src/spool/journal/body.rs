//! Reading a stored body, chunk by chunk.
//!
//! Owns the reader that follows a body's runs through the journal. Holds always:
//! no more than one chunk is in memory; every chunk has passed its seal before
//! it is given out; a reading that compaction overtakes goes on at the new
//! place. Reads in blocking threads. Used by queue, delivery and compaction.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::types::{Body, BodyError, BodyReader, BoxFuture, QueueId};

use super::super::SpoolError;
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
    size: u64,
}

impl JournalBody {
    pub(super) fn new(core: Arc<Core>, id: QueueId, place: Place, size: u64) -> Self {
        Self {
            core,
            id,
            place,
            size,
        }
    }

    /// A reader for a thread that may block.
    pub(super) fn cursor(&self) -> Cursor {
        Cursor {
            core: Arc::clone(&self.core),
            id: self.id,
            place: self.place,
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
    spans: Option<Vec<Span>>,
    /// Which span, and how many octets of it were given out.
    span: usize,
    done: u64,
    record: Option<(Span, Arc<Segment>, Header)>,
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
            self.spans = Some(self.core.locate(self.id, self.place)?.spans);
        }
        Ok(self.spans.as_ref().and_then(|s| s.get(self.span)).copied())
    }

    /// Reads what is left of the chunk in which the reading stands.
    fn read(&mut self, span: Span) -> Result<Bytes, SegmentError> {
        let (segment, header) = self.record(span)?;
        let at = span.start + self.done;
        let index = at / CHUNK as u64;
        let sealed_at = index * SEALED_CHUNK as u64;
        let section = u64::from(header.body_len);
        let length = section.saturating_sub(sealed_at).min(SEALED_CHUNK as u64);
        let is_last = sealed_at + length >= section;
        let index = u32::try_from(index).map_err(|_| SegmentError::Damaged)?;
        let mut chunk = vec![0; usize::try_from(length).unwrap_or(0)];
        let offset = span.at.offset + HEADER_LEN as u64 + u64::from(header.head_len) + sealed_at;
        segment.read(&mut chunk, offset)?;
        let about = header.about();
        let opened = Sealer::new(&segment.key, &header.salt, &about)?.open(
            Section::Body,
            index,
            is_last,
            &mut chunk,
        )?;
        let from = usize::try_from(at % CHUNK as u64).unwrap_or(0);
        let left = usize::try_from(span.octets - self.done).unwrap_or(usize::MAX);
        let to = opened.min(from.saturating_add(left));
        if from >= to {
            return Err(SegmentError::Damaged);
        }
        Ok(Bytes::from(chunk).slice(from..to))
    }

    fn record(&mut self, span: Span) -> Result<(Arc<Segment>, Header), SegmentError> {
        if let Some((of, segment, header)) = &self.record
            && *of == span
        {
            return Ok((Arc::clone(segment), header.clone()));
        }
        let segment = self.core.segments.get(span.at.segment)?;
        let header = segment.header(span.at.offset)?;
        if header.id != self.id && span.start == 0 && self.place.slot == 0 {
            return Err(SegmentError::Damaged);
        }
        self.record = Some((span, Arc::clone(&segment), header.clone()));
        Ok((segment, header))
    }

    /// Looks up where compaction has put the message. Its runs may be cut in other
    /// places there, so the reading goes on by how much was given out in all.
    fn follow(&mut self) -> Result<(), BodyError> {
        let before = self.spans.iter().flatten().take(self.span);
        let given: u64 = before.map(|span| span.octets).sum::<u64>() + self.done;
        let place = match self.core.entry(self.id) {
            Ok(Some(entry)) => entry.place,
            Ok(None) => return Err(BodyError::Gone),
            Err(SpoolError::Sick(e)) => return Err(std::io::Error::other(e).into()),
            Err(_) => return Err(BodyError::Gone),
        };
        self.place = place;
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
