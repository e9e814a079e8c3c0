//! Looking a stopped spool over, and what a repair would do.
//!
//! Owns the report. Holds always: a check changes nothing on disk (a copy of the
//! index, sealed as it is, lies in the system's folder for temporary files
//! meanwhile); every record of every segment is read to the last octet of its
//! body; a message that can't be read any more is named, with its recipients'
//! domains where index or journal know them. Called by the service.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::sys::{Disk, Entropy};
use crate::types::Message;

use super::super::Settings;
use super::compare::{self, Against};
use super::locate::{Span, locate};
use super::payload::Position;
use super::reading::{Broken, Live, Reading};
use super::rebuild::move_aside;
use super::record::{HEADER_LEN, Header, Kind};
use super::report::OpenError;
use super::seal::plain_len;
use super::segments::SegmentError;
use super::unlock::lock;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Whether there is no damage.
    pub is_well: bool,
    /// Segments.
    pub segments: u64,
    /// Sound records.
    pub records: u64,
    /// Octets of sound records.
    pub octets: u64,
    /// Messages that are listed: with an open or a dead recipient.
    pub messages: u64,
    /// Their open recipients.
    pub recipients: u64,
    /// Listed messages that can't be read to their end.
    pub unreadable: Vec<UnreadableMessage>,
    /// Octets of the journal that are no sound record.
    pub damaged: Vec<DamagedPlace>,
    /// The torn end of a last write, never acknowledged: the next start cuts it.
    pub torn: Option<Place>,
    /// The index, held against the journal.
    pub index: IndexState,
}

/// A place in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The segment's number, as in its file name.
    pub segment: u32,
    /// Octets from its start.
    pub offset: u64,
    /// How many octets.
    pub octets: u64,
}

/// Octets that are no sound record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DamagedPlace {
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// The message, where the record's header could be read.
    pub id: Option<String>,
    /// What it was: `message`, `part of a body`, `settlement`, `segment`, `unknown`.
    pub what: &'static str,
}

/// A message that can't be read any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnreadableMessage {
    /// Its id.
    pub id: String,
    /// What of it: `body`; `all`, envelope included; `maybe all`, where without a
    /// sound index it can't be told whether it had been delivered before.
    pub what: &'static str,
    /// Its recipients' domains, where they could be read.
    pub domains: Vec<String>,
    /// When it was accepted, where that could be read: RFC 3339.
    pub received_at: Option<String>,
    /// Where the damage is.
    #[serde(flatten)]
    pub place: Place,
}

/// How the index stands against the journal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct IndexState {
    /// `well`; `behind`, which the next start makes good; `rebuild`: the next start
    /// makes it anew by itself; `differs`: only a repair does; `unknown`: there was no
    /// room to look at it.
    pub state: &'static str,
    /// Why it is not `well`.
    pub why: Option<String>,
    /// Listed messages that it does not know, or not as they are.
    pub wrong: Vec<String>,
    /// Messages it lists and the journal does not.
    pub extra: Vec<String>,
}

/// Looks the spool over without changing anything. Blocks, for as long as it takes
/// to read all of it.
///
/// # Errors
/// [`OpenError`]; [`OpenError::Locked`] while a daemon runs.
pub fn check(
    settings: &Settings,
    disk: Arc<dyn Disk>,
    entropy: &dyn Entropy,
) -> Result<Checked, OpenError> {
    let reading = Reading::open(settings, Arc::clone(&disk), true)?;
    let against = compare::compare(settings, &*disk, entropy, &reading);
    let mut unreadable: BTreeMap<String, UnreadableMessage> = BTreeMap::new();
    for (id, live) in &reading.messages {
        if let Some(found) = unreadable_body(&reading, live, *id) {
            unreadable.insert(found.id.clone(), found);
        }
    }
    for lost in against
        .lost
        .iter()
        .cloned()
        .chain(maybe(&reading, &against))
    {
        unreadable.entry(lost.id.clone()).or_insert(lost);
    }
    let open = reading
        .messages
        .values()
        .flat_map(|live| &live.statuses)
        .filter(|s| s.state.is_open());
    let damaged: Vec<_> = reading.broken.iter().map(damaged_place).collect();
    let unreadable: Vec<_> = unreadable.into_values().collect();
    let index_is_well = matches!(against.state.state, "well" | "behind");
    Ok(Checked {
        is_well: damaged.is_empty() && unreadable.is_empty() && index_is_well,
        segments: reading.numbers.len() as u64,
        records: reading.records,
        octets: reading.octets,
        messages: reading.messages.len() as u64,
        recipients: open.count() as u64,
        unreadable,
        damaged,
        torn: reading.torn.as_ref().map(|cut| Place {
            segment: cut.segment,
            offset: cut.offset,
            octets: cut.octets,
        }),
        index: against.state,
    })
}

/// Takes the index away, so that the next opening makes it anew from the journal
/// and sets aside what is damaged.
///
/// # Errors
/// [`OpenError`]; [`OpenError::Locked`] while a daemon runs.
pub fn discard_index(settings: &Settings, disk: &dyn Disk) -> Result<(), OpenError> {
    let failed = |source| OpenError::Folder {
        path: settings.folder.clone(),
        source,
    };
    disk.list(&settings.folder).map_err(failed)?;
    let _lock = lock(&settings.folder)?;
    move_aside(disk, &settings.folder.join("index")).map_err(failed)
}

/// Whether a body or a copy can't be read, going by the records that were found sound.
fn unreadable_body(
    reading: &Reading,
    live: &Live,
    id: crate::types::QueueId,
) -> Option<UnreadableMessage> {
    let is_bad = |span: &&Span| {
        let is_broken = reading.broken.iter().any(|b| b.holds(span.at));
        is_broken || !holds_span(reading, span.at, span.start.saturating_add(span.octets))
    };
    let of_copies = live.copies.values().flat_map(|(_, head)| &head.spans);
    let bad = live.spans.iter().find(is_bad).map(|span| (span, "body"));
    let (bad, what) = bad.or_else(|| Some((of_copies.into_iter().find(is_bad)?, "copy")))?;
    let message = locate(&reading.segments, id, live.place).ok();
    let place = broken_at(reading, bad.at).unwrap_or(Place {
        segment: bad.at.segment,
        offset: bad.at.offset,
        octets: 0,
    });
    Some(UnreadableMessage {
        id: id.to_string(),
        what,
        domains: message
            .as_ref()
            .map(|l| domains(&l.message))
            .unwrap_or_default(),
        received_at: message.map(|l| l.message.received_at.to_string()),
        place,
    })
}

/// Whether there is a record whose body is at least so long.
fn holds_span(reading: &Reading, at: Position, octets: u64) -> bool {
    let header = |at: Position| -> Result<u64, SegmentError> {
        let segment = reading.segments.get(at.segment)?;
        let header = segment.header(at.offset)?;
        let end = at.offset + HEADER_LEN as u64 + header.content_len();
        let is_there = end <= segment.file.len()?;
        Ok(plain_len(header.body_len.into())
            .filter(|_| is_there)
            .unwrap_or(0))
    };
    header(at).is_ok_and(|there| there >= octets)
}

/// Messages whose record is damaged, where no index can tell whether they are
/// listed still.
fn maybe(reading: &Reading, against: &Against) -> Vec<UnreadableMessage> {
    if against.is_usable {
        return Vec::new();
    }
    let records = reading.broken.iter().filter_map(|broken| {
        let header = broken.header.as_ref()?;
        let is_message = matches!(header.kind, Kind::Accept | Kind::Carry);
        let is_listed = reading.messages.contains_key(&header.id);
        (is_message && !is_listed).then(|| UnreadableMessage {
            id: header.id.to_string(),
            what: "maybe all",
            domains: Vec::new(),
            received_at: None,
            place: place_of(broken),
        })
    });
    records.collect()
}

fn damaged_place(broken: &Broken) -> DamagedPlace {
    let what = match &broken.header {
        Some(header) => match header.kind {
            Kind::Accept | Kind::Carry => "message",
            Kind::Part => "part of a body",
            Kind::Settlement => "settlement",
            Kind::Restatement => "settlements said again",
            Kind::Follow | Kind::End => "unknown",
        },
        None if broken.at.offset == 0 => "segment",
        None => "unknown",
    };
    let names_one = |h: &&Header| !matches!(h.kind, Kind::Follow | Kind::Restatement);
    let id = broken.header.as_ref().filter(names_one);
    DamagedPlace {
        place: place_of(broken),
        id: id.map(|header| header.id.to_string()),
        what,
    }
}

/// The damaged place that holds a position.
pub(super) fn broken_at(reading: &Reading, at: Position) -> Option<Place> {
    let broken = reading.broken.iter().find(|b| b.holds(at))?;
    Some(place_of(broken))
}

fn place_of(broken: &Broken) -> Place {
    Place {
        segment: broken.at.segment,
        offset: broken.at.offset,
        octets: broken.octets,
    }
}

fn domains(message: &Message) -> Vec<String> {
    let hosts = message.by_host().into_iter();
    hosts.map(|(host, _)| host.to_string()).collect()
}

/// The folder in which a copy of the index may lie for a while.
pub(in crate::spool) fn scratch(entropy: &dyn Entropy) -> std::io::Result<PathBuf> {
    let mut name = [0; 8];
    entropy.fill(&mut name).map_err(std::io::Error::other)?;
    let name = u64::from_be_bytes(name);
    let path = std::env::temp_dir().join(format!("postern-check-{name:016x}"));
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(&path)?;
    Ok(path)
}

/// Copies a folder of plain files and folders.
pub(in crate::spool) fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir(&target)?;
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
