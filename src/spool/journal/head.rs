//! The segment that is written to.
//!
//! Owns the head's durable end and the buffer of what comes next. Holds always:
//! one write and one fdatasync a group; after an error in either, this file is
//! never written again, and the next segment's first record says where it ends.
//! Used by the committer alone.

use std::io;
use std::sync::Arc;

use crate::types::QueueId;

use super::core::Core;
use super::keys::KeyError;
use super::payload::{FollowHead, Position, encode};
use super::record::{Draft, Kind};
use super::scan::{Item, Scan};
use super::segments::Segment;

/// The head.
pub(super) struct Head {
    segment: Arc<Segment>,
    /// All before it is durable.
    end: u64,
    buffer: Vec<u8>,
    /// The number of the next segment; grows with every try.
    next: u32,
    /// Where the segment before it ends, until that is in the index.
    previous: Option<Position>,
}

/// No segment ends before this, its first record.
const FOLLOW_MAX: u64 = 1024;
/// Buffers larger than this are given back after use.
const BUFFER_KEPT: usize = 16 << 20;

impl Head {
    /// Begins a segment, durably, which says where the one before it ends.
    ///
    /// # Errors
    /// What the disk says.
    pub(super) fn begin(core: &Core, number: u32, previous: Option<Position>) -> io::Result<Self> {
        let segment = core
            .segments
            .create(number, &*core.entropy)
            .map_err(io::Error::from)?;
        let mut head = Self {
            segment,
            end: 0,
            buffer: Vec::new(),
            next: number.saturating_add(1),
            previous,
        };
        let follow = encode(&FollowHead { previous }).map_err(io::Error::other)?;
        let mut salt = [0; 16];
        core.entropy.fill(&mut salt).map_err(io::Error::other)?;
        let draft = Draft {
            kind: Kind::Follow,
            id: QueueId::from_octets([0; 12]),
            number: 0,
            salt,
            head: follow,
            body: &[],
        };
        head.add(&draft).map_err(io::Error::other)?;
        head.write()?;
        Ok(head)
    }

    /// Which segment.
    pub(super) fn number(&self) -> u32 {
        self.segment.number
    }

    /// Where the segment before it ends, once.
    pub(super) fn take_previous(&mut self) -> Option<Position> {
        self.previous.take()
    }

    /// Octets of it that are durable.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// The durable end.
    pub(super) fn position(&self) -> Position {
        Position {
            segment: self.segment.number,
            offset: self.end,
        }
    }

    /// Where the next record will begin.
    pub(super) fn next_position(&self) -> Position {
        Position {
            segment: self.segment.number,
            offset: self.end + self.buffer.len() as u64,
        }
    }

    /// Whether so many octets more are too many for a segment of `size`. What is
    /// larger than a segment has one of its own.
    pub(super) fn is_full(&self, octets: u64, size: u64) -> bool {
        self.end > size.min(FOLLOW_MAX) && self.end + octets > size
    }

    /// Seals a record behind what is already in the buffer; gives its length.
    ///
    /// # Errors
    /// [`KeyError`]; the buffer is then as before.
    pub(super) fn add(&mut self, draft: &Draft<'_>) -> Result<u64, KeyError> {
        draft.write(&self.segment.key, &mut self.buffer)
    }

    /// Forgets what is in the buffer.
    pub(super) fn discard(&mut self) {
        self.buffer.clear();
    }

    /// Writes the buffer and makes it durable.
    ///
    /// # Errors
    /// What the disk says; then the caller must [`Head::replace`] this head.
    pub(super) fn write(&mut self) -> io::Result<()> {
        self.segment.file.write_all_at(&self.buffer, self.end)?;
        self.segment.file.sync_data()?;
        self.end += self.buffer.len() as u64;
        self.buffer.clear();
        if self.buffer.capacity() > BUFFER_KEPT {
            self.buffer = Vec::new();
        }
        Ok(())
    }

    /// Goes on in a new segment.
    ///
    /// # Errors
    /// What the disk says; this head is then as before.
    pub(super) fn roll(&mut self, core: &Core) -> io::Result<()> {
        let number = self.next;
        // A number is never tried twice: of a failed try, files may be left.
        self.next = number.saturating_add(1);
        match Self::begin(core, number, Some(self.position())) {
            Ok(head) => {
                *self = head;
                Ok(())
            }
            Err(error) => {
                // As far as that can be done; the next opening tidies up too.
                let _ = core.segments.remove(number);
                Err(error)
            }
        }
    }

    /// Goes on in a new segment after this one failed: cuts it at its last
    /// durable octet and reads it back.
    ///
    /// # Errors
    /// What the disk says; this head is then as before.
    pub(super) fn replace(&mut self, core: &Core) -> io::Result<()> {
        self.discard();
        let at = self.position();
        core.segments.forget(at.segment);
        // Should the cut not hold, the new segment's first record makes it.
        if let Err(error) = core.segments.cut(at) {
            tracing::warn!(%error, segment = at.segment, "a failed segment could not be cut");
        }
        read_back(core, at)?;
        self.roll(core)
    }
}

/// Reads a segment from disk up to its end; what is damaged is named.
///
/// # Errors
/// What the disk says.
pub(super) fn read_back(core: &Core, end: Position) -> io::Result<()> {
    let segment = core.segments.get(end.segment).map_err(io::Error::from)?;
    let mut scan = Scan::new(segment, 0, Some(end.offset)).map_err(io::Error::from)?;
    while let Some(item) = scan.next().map_err(io::Error::from)? {
        if let Item::Broken { offset, header, .. } = item {
            let id = header.map(|h| h.id);
            tracing::error!(
                ?id,
                segment = end.segment,
                offset,
                "a stored record is damaged"
            );
        }
    }
    Ok(())
}
