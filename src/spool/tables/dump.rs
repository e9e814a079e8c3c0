//! The dump: all tables in one plain file.
//!
//! Owns its format. Holds always: it is written under a new name, made durable and
//! then renamed, so that one whole dump is there at any moment; the database knows
//! the dump's number first, so one with a lower number has lost something; values
//! lie in it as in the database, sealed. Called by the tables and their opening.
//!
//! ```text
//! 0 magic "PstTable"   8 version   9 CRC-32 of what follows   13 contents
//! ```

use std::io;

use serde::{Deserialize, Serialize};

use crate::sys::table::Pair;
use crate::sys::{Disk, write_new};

use super::database::Database;
use super::open::Place;

const MAGIC: &[u8; 8] = b"PstTable";
const VERSION: u8 = 1;
/// Where the contents begin.
const START: usize = 13;

/// What a dump holds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Dump {
    /// Its number.
    pub(super) epoch: u64,
    /// The database's pairs, as they are.
    pub(super) pairs: Vec<Pair>,
}

/// Writes a dump with a number of its own.
///
/// # Errors
/// What the disk or the database says.
pub(super) fn write(
    place: &Place,
    database: &Database,
    disk: &dyn Disk,
    epoch: u64,
) -> io::Result<()> {
    database.set_epoch(epoch).map_err(io::Error::other)?;
    place.sync_file(disk)?;
    let dump = Dump {
        epoch,
        pairs: database.raw()?,
    };
    let contents = postcard::to_allocvec(&dump).map_err(io::Error::other)?;
    let mut octets = Vec::with_capacity(START + contents.len());
    octets.extend_from_slice(MAGIC);
    octets.push(VERSION);
    octets.extend_from_slice(&crc32fast::hash(&contents).to_be_bytes());
    octets.extend_from_slice(&contents);
    write_new(disk, &place.dump, &octets).map(|_| ())
}

/// Reads the dump; `None`: there is none.
///
/// # Errors
/// What the disk says, or `InvalidData`: it is damaged.
pub(super) fn read(place: &Place, disk: &dyn Disk) -> io::Result<Option<Dump>> {
    let file = match disk.open(&place.dump, false) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let length = usize::try_from(file.len()?).map_err(io::Error::other)?;
    let mut octets = vec![0; length];
    file.read_exact_at(&mut octets, 0)?;
    parse(&octets).map(Some)
}

fn parse(octets: &[u8]) -> io::Result<Dump> {
    let damaged = || io::Error::from(io::ErrorKind::InvalidData);
    let (magic, rest) = octets.split_first_chunk::<8>().ok_or_else(damaged)?;
    let (version, rest) = rest.split_first_chunk::<1>().ok_or_else(damaged)?;
    let (crc, contents) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
    let is_sound =
        magic == MAGIC && *version == [VERSION] && crc32fast::hash(contents).to_be_bytes() == *crc;
    match is_sound {
        true => postcard::from_bytes(contents).map_err(|_| damaged()),
        false => Err(damaged()),
    }
}
