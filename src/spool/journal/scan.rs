//! Reading a segment from an offset to its end, past whatever is damaged.
//!
//! Owns the search for the next record behind a bad one. Holds always: every
//! octet of the range is in exactly one item; nothing is skipped in silence; no
//! more is held than one record. Called by recovery, and by compaction.

use std::sync::Arc;

use super::record::{HEADER_LEN, Header, MAGIC};
use super::segments::{Segment, SegmentError};

/// Octets searched at a time.
const WINDOW: u64 = 1 << 20;

/// What was found.
#[derive(Debug)]
pub(super) enum Item {
    /// A record whose checksums are right.
    Record {
        offset: u64,
        header: Header,
        content: Vec<u8>,
    },
    /// Octets that are no sound record; the header if that much was sound.
    Broken {
        offset: u64,
        octets: u64,
        header: Option<Header>,
        /// Whether it may be the torn end of a last write: there is no sound
        /// record behind it, and it is not a whole record with wrong content.
        is_tail: bool,
    },
}

/// A reading of one segment.
pub(super) struct Scan {
    segment: Arc<Segment>,
    offset: u64,
    end: u64,
}

impl Scan {
    /// From `offset` to `end`, or to the end of the file if that is nearer.
    ///
    /// # Errors
    /// [`SegmentError::Io`].
    pub(super) fn new(
        segment: Arc<Segment>,
        offset: u64,
        end: Option<u64>,
    ) -> Result<Self, SegmentError> {
        let length = segment.file.len()?;
        Ok(Self {
            segment,
            offset,
            end: end.map_or(length, |end| end.min(length)),
        })
    }

    /// Where the next item begins.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The segment that is read.
    pub(super) fn segment(&self) -> &Segment {
        &self.segment
    }

    /// The next item; `None` at the end.
    ///
    /// # Errors
    /// [`SegmentError::Io`]: the disk failed, which says nothing of the record.
    pub(super) fn next(&mut self) -> Result<Option<Item>, SegmentError> {
        let offset = self.offset;
        if offset >= self.end {
            return Ok(None);
        }
        let header = self.header_at(offset)?;
        if let Some(header) = header
            .clone()
            .filter(|h| h.record_len() <= self.end - offset)
        {
            let mut content = vec![0; usize::try_from(header.content_len()).unwrap_or(0)];
            self.segment
                .read(&mut content, offset + HEADER_LEN as u64)?;
            let behind = offset + header.record_len();
            self.offset = behind;
            if header.fits(&content) {
                return Ok(Some(Item::Record {
                    offset,
                    header,
                    content,
                }));
            }
            return Ok(Some(Item::Broken {
                offset,
                octets: behind - offset,
                header: Some(header),
                is_tail: false,
            }));
        }
        let next = self.search(offset + 1)?;
        self.offset = next.unwrap_or(self.end);
        Ok(Some(Item::Broken {
            offset,
            octets: self.offset - offset,
            header,
            is_tail: next.is_none(),
        }))
    }

    fn header_at(&self, offset: u64) -> Result<Option<Header>, SegmentError> {
        if self.end - offset < HEADER_LEN as u64 {
            return Ok(None);
        }
        match self.segment.header(offset) {
            Ok(header) => Ok(Some(header)),
            Err(SegmentError::Damaged) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The next offset from `from` on at which a sound header lies.
    fn search(&self, from: u64) -> Result<Option<u64>, SegmentError> {
        let mut start = from;
        while start + HEADER_LEN as u64 <= self.end {
            let length = WINDOW.min(self.end - start);
            let mut window = vec![0; usize::try_from(length).unwrap_or(0)];
            self.segment.read(&mut window, start)?;
            for found in memchr::memmem::find_iter(&window, &MAGIC) {
                let offset = start + found as u64;
                if offset + HEADER_LEN as u64 <= self.end && self.header_at(offset)?.is_some() {
                    return Ok(Some(offset));
                }
            }
            // Windows overlap by what a magic may straddle.
            let step = length.saturating_sub(MAGIC.len() as u64 - 1).max(1);
            start += step;
        }
        Ok(None)
    }
}
