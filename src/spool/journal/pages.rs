//! Statuses, layouts and copies, put together from their pages.
//!
//! Owns the reading of what the index cuts into pages, and the small sums over
//! it. Holds always: a missing page of statuses means that all of them are as
//! accepted; a missing page of a layout is damage. Used by readings and by the
//! overlay, each with its own way to get a value.

use crate::types::{Host, Message, QueueId, RecipientStatus, State, Timestamp};

use super::super::rules;
use super::copies::CopyEntry;
use super::entry::{Entry, Layout, LayoutRef, STATUS_PAGE, copy_key, layout_key, status_key};
use super::index::IndexError;
use super::payload::decode;

/// Reads all statuses of a message through `get`.
///
/// # Errors
/// [`IndexError`].
pub(super) fn read_statuses(
    get: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, IndexError>,
    id: QueueId,
    entry: &Entry,
) -> Result<Vec<RecipientStatus>, IndexError> {
    let recipients = entry.recipients as usize;
    if !entry.has_statuses {
        return Ok(vec![entry.fresh_status(); recipients]);
    }
    let mut statuses = Vec::with_capacity(recipients);
    for page in 0..recipients.div_ceil(STATUS_PAGE) {
        match get(&status_key(id, page))? {
            Some(value) => statuses.extend(decode::<Vec<RecipientStatus>>(&value)?),
            None => {
                let end = ((page + 1) * STATUS_PAGE).min(recipients);
                statuses.resize(end, entry.fresh_status());
            }
        }
    }
    Ok(statuses)
}

/// Reads what is kept of copies of a message, by recipient, through `get`.
///
/// # Errors
/// [`IndexError`].
pub(super) fn read_copies(
    get: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, IndexError>,
    id: QueueId,
    entry: &Entry,
) -> Result<Vec<(u32, CopyEntry)>, IndexError> {
    let mut copies = Vec::new();
    for recipient in 0..entry.recipients {
        if copies.len() >= entry.copies as usize {
            break;
        }
        if let Some(value) = get(&copy_key(id, recipient))? {
            copies.push((recipient, decode(&value)?));
        }
    }
    Ok(copies)
}

/// Reads a message's layout through `get`.
///
/// # Errors
/// [`IndexError`].
pub(super) fn read_layout(
    get: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, IndexError>,
    id: QueueId,
    entry: &Entry,
) -> Result<Layout, IndexError> {
    match &entry.layout {
        LayoutRef::Inline(layout) => Ok(layout.clone()),
        LayoutRef::Pages(pages) => {
            let mut octets = Vec::new();
            for page in 0..*pages {
                octets.extend(get(&layout_key(id, page))?.ok_or(IndexError::Damaged)?);
            }
            Ok(decode(&octets)?)
        }
    }
}

/// The hosts of a message and who is where.
pub(super) fn layout_of(message: &Message, extents: Vec<(u32, u64)>) -> Layout {
    let mut hosts: Vec<Host> = Vec::new();
    let mut host_of = vec![0; message.envelope.recipients.len()];
    for (place, (host, recipients)) in (0u32..).zip(message.by_host()) {
        hosts.push(host);
        for recipient in recipients {
            if let Some(host_of) = host_of.get_mut(recipient as usize) {
                *host_of = place;
            }
        }
    }
    Layout {
        hosts,
        host_of,
        extents,
    }
}

/// For each host of a layout, when the first of its recipients is due.
pub(super) fn due_by_host(layout: &Layout, statuses: &[RecipientStatus]) -> Vec<Option<Timestamp>> {
    let mut due = vec![None; layout.hosts.len()];
    for (status, host) in statuses.iter().zip(&layout.host_of) {
        if let (Some(due), Some(when)) = (due.get_mut(*host as usize), rules::earliest([status])) {
            *due = Some(due.map_or(when, |d: Timestamp| d.min(when)));
        }
    }
    due
}

/// Counts an entry's open, dead and held recipients.
pub(super) fn count(entry: &mut Entry, statuses: &[RecipientStatus]) {
    let number = |wanted: &dyn Fn(State) -> bool| {
        u32::try_from(statuses.iter().filter(|s| wanted(s.state)).count()).unwrap_or(u32::MAX)
    };
    entry.open = number(&State::is_open);
    entry.dead = number(&|state| state == State::Dead);
    entry.held = number(&|state| state == State::Held);
}
