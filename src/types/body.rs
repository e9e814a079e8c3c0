//! The octets of a message, read piece by piece.
//!
//! Owns the trait through which delivery and outcome read what the spool holds,
//! so that neither knows where the octets lie. Holds always: the octets are the
//! message as it goes out, header and body, with CRLF line ends and no dot
//! stuffing; every reading gives the same octets. Implemented by the spool's
//! engines and, for what is in memory, here.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

/// A future behind a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a stored message could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The disk failed; trying again later may help.
    #[error("the message could not be read: {0}")]
    Io(#[from] std::io::Error),
    /// What was read is not what was written: it failed its seal or checksum.
    #[error("the stored message is damaged")]
    Damaged,
    /// It is no longer there.
    #[error("the stored message is gone")]
    Gone,
}

/// A message's octets, which can be read any number of times.
pub trait Body: Send + Sync + fmt::Debug {
    /// Octets in all.
    fn size(&self) -> u64;

    /// Starts reading at the first octet.
    fn open(&self) -> Box<dyn BodyReader>;
}

/// One reading of a body from its start to its end.
pub trait BodyReader: Send {
    /// The next piece (never empty, 64 KiB or so), or `None` at the end.
    ///
    /// # Errors
    /// [`BodyError`]; what was read before is sound, and nothing more follows.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, BodyError>>;
}

/// A body held in memory.
#[derive(Clone)]
pub struct MemoryBody {
    pieces: Vec<Bytes>,
}

impl MemoryBody {
    /// Takes the octets in one piece or many; empty pieces are dropped.
    pub fn new(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        Self {
            pieces: pieces.into_iter().filter(|p| !p.is_empty()).collect(),
        }
    }
}

impl fmt::Debug for MemoryBody {
    /// Tells the size alone: content belongs in no log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryBody({} octets)", self.size())
    }
}

impl Body for MemoryBody {
    fn size(&self) -> u64 {
        self.pieces.iter().map(|p| p.len() as u64).sum()
    }

    fn open(&self) -> Box<dyn BodyReader> {
        Box::new(MemoryReader {
            pieces: self.pieces.clone().into_iter(),
        })
    }
}

struct MemoryReader {
    pieces: std::vec::IntoIter<Bytes>,
}

impl BodyReader for MemoryReader {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, BodyError>> {
        let piece = self.pieces.next();
        Box::pin(std::future::ready(Ok(piece)))
    }
}
