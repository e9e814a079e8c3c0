//! A message as a rule wants it to go out: with an edited header section.
//!
//! Owns the reading of that section and the body with another one in its place. Holds
//! always: behind the header section each octet is the stored one; what can't be read
//! whole is not sent. Called by the attempt, once a group of recipients.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::delivery::failure;
use crate::message::{HeaderCollector, edit_header};
use crate::types::{
    Body, BodyError, BodyReader, BoxFuture, Failure, HeaderEdits, Job, Reason, Stage,
};

/// The job with these edits made; `None`: there are none.
///
/// # Errors
/// A [`Failure`] to wait for: the header section can't be read.
pub(super) async fn edited(job: &Job, edits: &HeaderEdits) -> Result<Option<Job>, Failure> {
    if edits.is_empty() {
        return Ok(None);
    }
    let unreadable = || failure::ours(Reason::BodyUnreadable, Stage::Message);
    let header = read_header(job.body.as_ref()).await;
    let header = header.ok_or_else(unreadable)?;
    let body = EditedBody {
        header: Bytes::from(edit_header(&header, edits)),
        skip: header.len() as u64,
        stored: Arc::clone(&job.body),
    };
    Ok(Some(Job {
        body: Arc::new(body),
        ..job.clone()
    }))
}

async fn read_header(body: &dyn Body) -> Option<Bytes> {
    let mut collector = HeaderCollector::new();
    let mut reader = body.open();
    while let Some(piece) = reader.next().await.ok()? {
        if let Some(collected) = collector.push(&piece).ok()? {
            return Some(collected.header);
        }
    }
    Some(collector.finish())
}

/// A stored body with another header section.
struct EditedBody {
    header: Bytes,
    /// Octets of the stored one.
    skip: u64,
    stored: Arc<dyn Body>,
}

impl fmt::Debug for EditedBody {
    /// Tells the size alone: content belongs in no log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EditedBody({} octets)", self.size())
    }
}

impl Body for EditedBody {
    fn size(&self) -> u64 {
        let behind = self.stored.size().saturating_sub(self.skip);
        behind.saturating_add(self.header.len() as u64)
    }

    fn open(&self) -> Box<dyn BodyReader> {
        Box::new(EditedReader {
            header: Some(self.header.clone()).filter(|header| !header.is_empty()),
            skip: self.skip,
            stored: self.stored.open(),
        })
    }
}

struct EditedReader {
    header: Option<Bytes>,
    skip: u64,
    stored: Box<dyn BodyReader>,
}

impl BodyReader for EditedReader {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, BodyError>> {
        Box::pin(async move {
            if let Some(header) = self.header.take() {
                return Ok(Some(header));
            }
            while let Some(mut piece) = self.stored.next().await? {
                let passed = self.skip.min(piece.len() as u64);
                self.skip -= passed;
                let behind = piece.split_off(usize::try_from(passed).unwrap_or(usize::MAX));
                if !behind.is_empty() {
                    return Ok(Some(behind));
                }
            }
            Ok(None)
        })
    }
}
