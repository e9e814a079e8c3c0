//! The index held against the journal.
//!
//! Owns the comparison and its words. Holds always: the index is opened as a copy,
//! since sled writes to what it opens; an index that a start would not trust is not
//! compared but said to be made anew; what the index knows of a message whose
//! record is damaged (domains, time) is kept for the report. Called by the check.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::sys::{Disk, Entropy};
use crate::types::QueueId;

use super::super::{Due, Settings, rules};
use super::books::Books;
use super::check::{IndexState, UnreadableMessage, broken_at, copy_folder, scratch};
use super::core::get_entry;
use super::entry::{
    BOOKS, COPIES, DUE, Entry, HELD, MESSAGES, due_key, held_key, message_id, parse_copy,
};
use super::index::{Index, IndexError};
use super::locate::locate;
use super::pages::{due_by_host, layout_of, read_copies, read_layout, read_statuses};
use super::payload::decode;
use super::reading::{Live, Reading};
use super::rebuild::is_marked;

/// Pairs read at a time.
const PAGE: usize = 256;

/// What came of it.
#[derive(Default)]
pub(super) struct Against {
    pub(super) state: IndexState,
    /// Whether the index could be read.
    pub(super) is_usable: bool,
    /// Messages that the index lists and whose records are damaged.
    pub(super) lost: Vec<UnreadableMessage>,
}

/// Compares. What goes wrong is told in the state.
pub(super) fn compare(
    settings: &Settings,
    disk: &dyn Disk,
    entropy: &dyn Entropy,
    reading: &Reading,
) -> Against {
    let folder = settings.folder.join("index");
    let (Some(key), false) = (
        &reading.index_key,
        disk.list(&folder).unwrap_or_default().is_empty(),
    ) else {
        return rebuild("there is none, or none that its key opens");
    };
    let copy = match scratch(entropy) {
        Ok(copy) => copy,
        Err(error) => return unknown(&error),
    };
    let result = copy_folder(&folder, &copy).map(|()| {
        let index = Index::open(&copy, Arc::clone(key), entropy).map_err(|e| e.to_string())?;
        let is_marked = is_marked(disk, &folder);
        look(&index, reading, is_marked).map_err(|e| e.to_string())
    });
    // A leftover is the temporary folder's business.
    let _ = std::fs::remove_dir_all(&copy);
    match result {
        Ok(Ok(against)) => against,
        Ok(Err(why)) => rebuild(&format!("it can't be read: {why}")),
        Err(error) => unknown(&error),
    }
}

/// It can't be copied, which says nothing about it.
fn unknown(error: &std::io::Error) -> Against {
    let folder = std::env::temp_dir();
    let folder = folder.display();
    Against {
        state: IndexState {
            state: "unknown",
            why: Some(format!(
                "it can't be copied to {folder} to be looked at: {error}; make room there, or \
                 set TMPDIR to a folder with room for it"
            )),
            ..IndexState::default()
        },
        ..Against::default()
    }
}

fn rebuild(why: &str) -> Against {
    Against {
        state: IndexState {
            state: "rebuild",
            why: Some(why.to_owned()),
            ..IndexState::default()
        },
        ..Against::default()
    }
}

fn look(index: &Index, reading: &Reading, is_marked: bool) -> Result<Against, IndexError> {
    let applied = match index.get(BOOKS)? {
        Some(_) => Books::load(index)?.applied,
        None => return Ok(rebuild("it is empty")),
    };
    let distrust = match reading.vouched {
        _ if is_marked => Some("it had failed while the daemon ran"),
        None => Some("the file checkpoint, which vouches for it, is missing or damaged"),
        Some(vouched) if applied < vouched => Some("it is older than its checkpoint"),
        Some(_) if applied > reading.end => Some("it knows of records that the journal has not"),
        Some(_) => None,
    };
    let mut against = distrust.map_or_else(Against::default, rebuild);
    against.is_usable = true;
    let is_behind = applied < reading.end;
    let listed = list(index, reading, &mut against, is_behind)?;
    if distrust.is_some() {
        against.state.extra.clear();
        return Ok(against);
    }
    if is_behind {
        against.state.state = "behind";
        against.state.why = Some("the last records are not in it yet".to_owned());
        return Ok(against);
    }
    for (id, live) in &reading.messages {
        if !listed.contains(id) || !is_as_it_should(index, reading, *id, live)? {
            against.state.wrong.push(id.to_string());
        }
    }
    strays(index, reading, &mut against)?;
    let differs = !against.state.wrong.is_empty() || !against.state.extra.is_empty();
    against.state.state = if differs { "differs" } else { "well" };
    against.state.why = differs.then(|| "it does not say what the journal says".to_owned());
    Ok(against)
}

/// Goes over what the index lists.
fn list(
    index: &Index,
    reading: &Reading,
    against: &mut Against,
    is_behind: bool,
) -> Result<BTreeSet<QueueId>, IndexError> {
    let mut listed = BTreeSet::new();
    each(index, MESSAGES, |key, value| {
        let id = message_id(key).ok_or(IndexError::Damaged)?;
        let entry: Entry = decode(value)?;
        listed.insert(id);
        if reading.messages.contains_key(&id) {
            return Ok(());
        }
        match broken_at(reading, entry.place.at) {
            Some(place) => {
                let layout = read_layout(|key| index.get(key), id, &entry)?;
                against.lost.push(UnreadableMessage {
                    id: id.to_string(),
                    what: "all",
                    domains: layout.hosts.iter().map(ToString::to_string).collect(),
                    received_at: Some(entry.received_at.to_string()),
                    place,
                });
            }
            None if is_behind => {}
            None => against.state.extra.push(id.to_string()),
        }
        Ok(())
    })?;
    Ok(listed)
}

/// Whether the index says of a message what the journal does.
fn is_as_it_should(
    index: &Index,
    reading: &Reading,
    id: QueueId,
    live: &Live,
) -> Result<bool, IndexError> {
    let Some(entry) = get_entry(index, id)? else {
        return Ok(false);
    };
    let statuses = read_statuses(|key| index.get(key), id, &entry)?;
    if entry.place != live.place || entry.size != live.size || statuses != live.statuses {
        return Ok(false);
    }
    let copies = read_copies(|key| index.get(key), id, &entry)?;
    let expected = live
        .copies
        .iter()
        .map(|(index, (entry, _))| (*index, entry.clone()));
    if entry.copies as usize != live.copies.len() || !expected.eq(copies) {
        return Ok(false);
    }
    for key in keys_of(reading, id, live) {
        if index.get(&key)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The keys that a message must have in the due index and among what is held.
fn keys_of(reading: &Reading, id: QueueId, live: &Live) -> Vec<Vec<u8>> {
    // What can't be located is named elsewhere.
    let Ok(located) = locate(&reading.segments, id, live.place) else {
        return Vec::new();
    };
    let layout = layout_of(&located.message, Vec::new());
    let due = due_by_host(&layout, &live.statuses);
    let due = layout
        .hosts
        .iter()
        .zip(due)
        .filter_map(|(host, when)| Some(due_key(host, Due { when: when?, id })));
    let held = rules::release(&live.statuses).map(|when| held_key(Due { when, id }));
    due.chain(held).collect()
}

/// Entries of the due index, of what is held and of copies that belong to nothing.
fn strays(index: &Index, reading: &Reading, against: &mut Against) -> Result<(), IndexError> {
    let expected: BTreeSet<Vec<u8>> = reading
        .messages
        .iter()
        .flat_map(|(id, live)| keys_of(reading, *id, live))
        .collect();
    let lost = against.lost.iter().map(|lost| lost.id.clone());
    let mut known: BTreeSet<String> = lost.chain(against.state.extra.iter().cloned()).collect();
    for prefix in [DUE, HELD] {
        each(index, prefix, |key, _| {
            let id = key
                .last_chunk::<12>()
                .map(|id| QueueId::from_octets(*id).to_string());
            let id = id.ok_or(IndexError::Damaged)?;
            if !expected.contains(key) && known.insert(id.clone()) {
                against.state.extra.push(id);
            }
            Ok(())
        })?;
    }
    each(index, COPIES, |key, _| {
        let (id, recipient) = parse_copy(key).ok_or(IndexError::Damaged)?;
        let live = reading.messages.get(&id);
        let is_kept = live.is_some_and(|live| live.copies.contains_key(&recipient));
        let name = id.to_string();
        if !is_kept && known.insert(name.clone()) {
            against.state.extra.push(name);
        }
        Ok(())
    })
}

/// Goes over all pairs whose keys start with `prefix`.
fn each(
    index: &Index,
    prefix: &[u8],
    mut with: impl FnMut(&[u8], &[u8]) -> Result<(), IndexError>,
) -> Result<(), IndexError> {
    let mut from = prefix.to_vec();
    loop {
        let pairs = index.scan(prefix, &from, PAGE)?;
        let Some((last, _)) = pairs.last() else {
            return Ok(());
        };
        from = last.clone();
        from.push(0);
        for (key, value) in &pairs {
            with(key, value)?;
        }
    }
}
