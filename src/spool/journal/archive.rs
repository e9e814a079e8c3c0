//! The export's file: a header in the clear, and records as the journal has them.
//!
//! Owns the octets of the header and what the records of an export say. Holds
//! always: an export is sealed as the spool is, under a key of its own that lies
//! in the header, wrapped by the master key; parts come before the message they
//! belong to; the last record counts what came before it, so that a cut is
//! noticed; what can't be read is named and what follows is read all the same.
//! Written by `export`, read by `import`.
//!
//! ```text
//!  0 magic "PstExprt"   8 version   9 zero (3)
//! 12 wrapped key (40)  52 CRC-32 of octets 0 to 51     56 records
//! ```

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::sys::{Disk, Entropy};
use crate::types::{Message, QueueId, RecipientStatus};

use super::copies::CopyHead;
use super::keys::{KeyError, SecretKey, WRAPPED_LEN};
use super::payload::{Headed, decode, encode};
use super::record::{Draft, Header, Kind};
use super::scan::{Item, Scan};
use super::seal::{Sealer, Section};
use super::segments::{Segment, SegmentError};
use super::unlock::read_key;

/// Octets of the header.
const START: usize = 56;
const MAGIC: [u8; 8] = *b"PstExprt";
const VERSION: u8 = 2;
/// Ids of damaged messages in the last record at most.
const NAMED_MAX: usize = 10_000;

/// Why an export can't be read at all.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file can't be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The export.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is something else.
    #[error("{} is no export of a spool (`postern spool export` writes them)", .0.display())]
    NotExport(PathBuf),
    /// It was written by a later or an earlier Postern.
    #[error("{} is an export of version {}: a Postern as that which wrote it has to read it", .0.display(), .1)]
    Version(PathBuf, u8),
    /// Its first octets, which hold its key, are damaged.
    #[error("the first octets of {} are damaged, and its key with them: nothing of it can be read; take another export", .0.display())]
    Start(PathBuf),
    /// It was sealed under another master key.
    #[error(
        "the master key {} does not open {}: give the key of the host that wrote it with --key \
         (after `spool rotate-key` there, it may be the older one)",
        key.display(), path.display()
    )]
    WrongKey {
        /// The export.
        path: PathBuf,
        /// The key that was tried.
        key: PathBuf,
    },
    /// There is no key.
    #[error(
        "the master key {} is missing: put there, or give with --key, the key of the host that \
         wrote the export",
        .0.display()
    )]
    MissingKey(PathBuf),
    /// The key can't be read.
    #[error("{0}")]
    Key(#[from] super::report::OpenError),
}

/// The head of a message's record. Without parts, the body is in the record.
#[derive(Serialize, Deserialize)]
pub(super) struct ArchiveHead {
    pub(super) message: Message,
    pub(super) statuses: Vec<RecipientStatus>,
    pub(super) octets: u64,
    pub(super) parts: u32,
    /// Their parts come behind the message's own.
    pub(super) copies: Vec<ArchiveCopy>,
}

/// A protected copy that is kept of the message.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct ArchiveCopy {
    pub(super) head: CopyHead,
    pub(super) octets: u64,
    pub(super) parts: u32,
}

/// What an export holds, counted; its last record says the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exported {
    /// Messages.
    pub messages: u64,
    /// Their open recipients.
    pub recipients: u64,
    /// Octets of the messages.
    pub octets: u64,
    /// Listed messages that could not be read, and so are not in it; 10,000 at most.
    pub damaged: Vec<QueueId>,
}

impl Exported {
    pub(super) fn name_damaged(&mut self, id: QueueId) {
        if self.damaged.len() < NAMED_MAX {
            self.damaged.push(id);
        }
    }
}

/// Makes the header and the records of one export.
pub(super) struct Writer {
    key: SecretKey,
    entropy: Arc<dyn Entropy>,
}

impl Writer {
    /// A writer with a new key, and the header.
    ///
    /// # Errors
    /// If the system gives no randomness.
    pub(super) fn new(master: &SecretKey, entropy: Arc<dyn Entropy>) -> io::Result<(Self, Bytes)> {
        let key = SecretKey::generate(&*entropy).map_err(io::Error::other)?;
        let wrapped = key.wrap(master).map_err(io::Error::other)?;
        let mut start = Vec::with_capacity(START);
        start.extend_from_slice(&MAGIC);
        start.extend_from_slice(&[VERSION, 0, 0, 0]);
        start.extend_from_slice(&wrapped);
        start.extend_from_slice(&crc32fast::hash(&start).to_be_bytes());
        Ok((Self { key, entropy }, start.into()))
    }

    /// A run of a body.
    pub(super) fn part(&self, id: QueueId, number: u32, octets: Bytes) -> io::Result<Bytes> {
        self.record(Kind::Part, id, number, Bytes::new(), octets)
    }

    /// A message, with its body unless that went before in parts.
    pub(super) fn message(&self, head: &ArchiveHead, body: Bytes) -> io::Result<Bytes> {
        let id = head.message.id;
        let head = head.to_octets().map_err(io::Error::other)?;
        self.record(Kind::Carry, id, 0, head, body)
    }

    /// The last record.
    pub(super) fn end(&self, tally: &Exported) -> io::Result<Bytes> {
        let head = encode(tally).map_err(io::Error::other)?;
        let id = QueueId::from_octets([0; 12]);
        self.record(Kind::End, id, 0, head, Bytes::new())
    }

    fn record(
        &self,
        kind: Kind,
        id: QueueId,
        number: u32,
        head: Bytes,
        body: Bytes,
    ) -> io::Result<Bytes> {
        let mut salt = [0; 16];
        self.entropy.fill(&mut salt).map_err(io::Error::other)?;
        let draft = Draft {
            kind,
            id,
            number,
            salt,
            head,
            body: &[body],
        };
        let mut out = Vec::new();
        draft.write(&self.key, &mut out).map_err(io::Error::other)?;
        Ok(out.into())
    }
}

/// What is found in an export, in order.
pub(super) enum Found {
    Part {
        id: QueueId,
        number: u32,
        octets: Bytes,
    },
    Message {
        head: Box<ArchiveHead>,
        body: Bytes,
    },
    /// Octets that are no sound record; the message if that much was sound.
    Damaged {
        offset: u64,
        id: Option<QueueId>,
    },
    End(Exported),
}

/// An open export.
pub struct Archive {
    path: PathBuf,
    scan: Scan,
}

impl Archive {
    /// Opens an export with the master key in the file `key`.
    ///
    /// # Errors
    /// [`ArchiveError`], which says what to do.
    pub fn open(disk: &dyn Disk, path: &Path, key: &Path) -> Result<Self, ArchiveError> {
        let failed = |source| ArchiveError::File {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        let mut start = Vec::with_capacity(START);
        (&file)
            .take(START as u64)
            .read_to_end(&mut start)
            .map_err(failed)?;
        let wrapped = parse_start(path, &start)?;
        let Some(master) = read_key(disk, key)? else {
            return Err(ArchiveError::MissingKey(key.to_owned()));
        };
        let own = SecretKey::unwrap(wrapped, &master).map_err(|_| ArchiveError::WrongKey {
            path: path.to_owned(),
            key: key.to_owned(),
        })?;
        let segment = Segment {
            number: 0,
            file: Box::new(file),
            key: own,
        };
        let scan = Scan::new(Arc::new(segment), START as u64, None)
            .map_err(|e| failed(io::Error::from(e)))?;
        Ok(Self {
            path: path.to_owned(),
            scan,
        })
    }

    /// The next of it; `None` at the end of the file.
    ///
    /// # Errors
    /// [`ArchiveError::File`]: the disk failed.
    pub(super) fn next(&mut self) -> Result<Option<Found>, ArchiveError> {
        match self.scan.next() {
            Ok(None) => Ok(None),
            Ok(Some(Item::Record {
                offset,
                header,
                content,
            })) => {
                let found = open(&self.scan.segment().key, &header, &content);
                Ok(Some(found.unwrap_or(Found::Damaged {
                    offset,
                    id: named(&header),
                })))
            }
            Ok(Some(Item::Broken { offset, header, .. })) => Ok(Some(Found::Damaged {
                offset,
                id: header.as_ref().and_then(named),
            })),
            // The file became shorter while it was read: its end is missing.
            Err(SegmentError::Damaged | SegmentError::Gone) => Ok(None),
            Err(SegmentError::Io(source)) => Err(ArchiveError::File {
                path: self.path.clone(),
                source,
            }),
        }
    }
}

/// The wrapped key of a header.
fn parse_start<'s>(path: &Path, start: &'s [u8]) -> Result<&'s [u8], ArchiveError> {
    // An export cut within its magic is still one.
    let magic = start.get(..MAGIC.len()).unwrap_or(start);
    if start.is_empty() || !MAGIC.starts_with(magic) {
        return Err(ArchiveError::NotExport(path.to_owned()));
    }
    let damaged = || ArchiveError::Start(path.to_owned());
    let (about, crc) = start.split_last_chunk::<4>().ok_or_else(damaged)?;
    if start.len() != START || crc32fast::hash(about).to_be_bytes() != *crc {
        return Err(damaged());
    }
    match start.get(MAGIC.len()) {
        Some(&VERSION) => start
            .get(START - 4 - WRAPPED_LEN..START - 4)
            .ok_or_else(damaged),
        other => Err(ArchiveError::Version(
            path.to_owned(),
            other.copied().unwrap_or(0),
        )),
    }
}

/// The message a record belongs to.
fn named(header: &Header) -> Option<QueueId> {
    (header.kind != Kind::End).then_some(header.id)
}

/// A record's content; `Err` if it is not what was written, or makes no sense.
fn open(key: &SecretKey, header: &Header, content: &[u8]) -> Result<Found, KeyError> {
    let (head, body) = content
        .split_at_checked(header.head_len as usize)
        .ok_or(KeyError)?;
    let about = header.about();
    let sealer = Sealer::new(key, &header.salt, &about)?;
    let head = sealer.open_all(Section::Head, head)?;
    let body = Bytes::from(sealer.open_all(Section::Body, body)?);
    match header.kind {
        Kind::Part => Ok(Found::Part {
            id: header.id,
            number: header.number,
            octets: body,
        }),
        Kind::Carry => {
            let head = ArchiveHead::from_octets(&head).map_err(|_| KeyError)?;
            let is_whole = head.message.id == header.id
                && head.statuses.len() == head.message.envelope.recipients.len()
                && (head.parts > 0 || head.octets == body.len() as u64);
            if !is_whole {
                return Err(KeyError);
            }
            let head = Box::new(head);
            Ok(Found::Message { head, body })
        }
        Kind::End => Ok(Found::End(decode(&head).map_err(|_| KeyError)?)),
        Kind::Accept | Kind::Settlement | Kind::Follow | Kind::Restatement => Err(KeyError),
    }
}
