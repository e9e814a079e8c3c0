//! The journal's records, opened for the fuzz targets.
//!
//! Owns functions that read octets as the journal reads them from the disk, and
//! say what came of it as plain data. Holds always: a fixed key, nothing on any
//! disk. Called by `fuzz/` and `tests/fuzz_corpus.rs` alone.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::sys::DiskFile;
use crate::types::QueueId;

use super::keys::SecretKey;
use super::payload::{
    AcceptHead, CarryHead, FollowHead, RestatementHead, SettlementHead, decode, encode,
};
use super::record::{Draft, HEADER_LEN, Header, Kind};
use super::scan::{Item, Scan};
use super::seal::{Sealer, Section};
use super::segments::Segment;

/// Octets as a header with its checksum put right, written again if they are one.
#[must_use]
pub fn header(octets: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut header: [u8; HEADER_LEN] = octets.get(..HEADER_LEN)?.try_into().ok()?;
    let crc = crc32fast::hash(header.get(..52)?);
    header.get_mut(52..)?.copy_from_slice(&crc.to_be_bytes());
    let again = Header::parse(&header)?.to_octets();
    Some((header.to_vec(), again.to_vec()))
}

/// Octets as each kind of head: those that they are, written, read and written.
#[must_use]
pub fn heads(octets: &[u8]) -> Vec<(Bytes, Bytes)> {
    [
        twice::<AcceptHead>(octets),
        twice::<CarryHead>(octets),
        twice::<SettlementHead>(octets),
        twice::<FollowHead>(octets),
        twice::<RestatementHead>(octets),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn twice<T: Serialize + DeserializeOwned>(octets: &[u8]) -> Option<(Bytes, Bytes)> {
    let once = encode(&decode::<T>(octets).ok()?).ok()?;
    let again = encode(&decode::<T>(&once).ok()?).ok()?;
    Some((once, again))
}

/// A sealed record of this head and body.
#[must_use]
pub fn seal(head: &[u8], body: &[u8]) -> Option<Vec<u8>> {
    let mut record = Vec::new();
    let draft = Draft {
        kind: Kind::Accept,
        id: QueueId::from_octets([3; 12]),
        number: 0,
        salt: [9; 16],
        head: Bytes::copy_from_slice(head),
        body: &[Bytes::copy_from_slice(body)],
    };
    draft.write(&key()?, &mut record).ok()?;
    Some(record)
}

/// Head and body of a sealed record, the checksums believed or not: the seal
/// alone must notice what was changed.
#[must_use]
pub fn open(record: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let header = Header::parse(record.get(..HEADER_LEN)?.try_into().ok()?)?;
    let content = record.get(HEADER_LEN..)?;
    let (head, body) = content.split_at_checked(header.head_len as usize)?;
    let (key, about) = (key()?, header.about());
    let sealer = Sealer::new(&key, &header.salt, &about).ok()?;
    Some((
        header.open_head(&key, head).ok()?,
        sealer.open_all(Section::Body, body).ok()?,
    ))
}

/// Where in a segment of these octets records are found (true) and where damage
/// is, in order; an error is a place where reading stopped.
///
/// # Errors
/// If the reading failed, which it has no reason to.
pub fn scan(octets: Vec<u8>) -> Result<Vec<(Range<u64>, bool)>, String> {
    let key = key().ok_or("no key")?;
    let segment = Segment {
        number: 1,
        file: Box::new(InMemory(octets)),
        key,
    };
    let mut scan = Scan::new(Arc::new(segment), 0, None).map_err(|e| e.to_string())?;
    let mut found = Vec::new();
    while let Some(item) = scan.next().map_err(|e| e.to_string())? {
        found.push(match item {
            Item::Record { offset, header, .. } => (offset..offset + header.record_len(), true),
            Item::Broken { offset, octets, .. } => (offset..offset + octets, false),
        });
    }
    Ok(found)
}

fn key() -> Option<SecretKey> {
    SecretKey::take(vec![7; 32]).ok()
}

/// A file that can only be read.
#[derive(Debug)]
struct InMemory(Vec<u8>);

impl DiskFile for InMemory {
    fn write_all_at(&self, _octets: &[u8], _offset: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn read_exact_at(&self, octets: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let end = start.saturating_add(octets.len());
        let there = self.0.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        octets.copy_from_slice(there);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, _length: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}
