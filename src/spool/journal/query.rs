//! The questions the index answers.
//!
//! Owns the walks over due entries and messages. Holds always: the index is
//! locked for a page at a time, so that a long listing does not hold up the
//! committer; the cost of `due_hosts` goes by hosts, since it seeks from one
//! host to the next. All of them block. Called by the store.

use std::sync::Arc;

use crate::types::{Host, QueueId, Timestamp};

use super::super::{Due, Filter, SpoolError, Stats, Survey, rules};
use super::core::{Core, Found};
use super::entry::{
    DUE, Entry, HELD, MESSAGES, due_key, host_prefix, message_id, message_key, parse_due,
    parse_held,
};
use super::index::IndexError;
use super::payload::decode;

/// Entries read from the index at a time.
const PAGE: usize = 256;

/// The hosts with a due entry, each with its earliest.
///
/// # Errors
/// As [`Core::read`].
pub(super) fn due_hosts(core: &Core) -> Result<Vec<(Host, Timestamp)>, SpoolError> {
    let mut hosts = Vec::new();
    let mut from = DUE.to_vec();
    while let Some(key) = core.read(|index| index.seek(DUE, &from))? {
        let (host, due) = parse_due(&key).ok_or_else(|| core.index_failed(IndexError::Damaged))?;
        // Behind all of this host: its prefix ends in a 0, so 1 is next.
        from = host_prefix(&host);
        from.pop();
        from.push(1);
        hosts.push((host, due.when));
    }
    Ok(hosts)
}

/// A host's due entries.
///
/// # Errors
/// As [`Core::read`].
pub(super) fn due(
    core: &Core,
    host: &Host,
    after: Option<Due>,
    until: Timestamp,
    limit: usize,
) -> Result<Vec<Due>, SpoolError> {
    let prefix = host_prefix(host);
    let mut from = match after {
        Some(after) => behind(due_key(host, after)),
        None => prefix.clone(),
    };
    let mut found = Vec::new();
    while found.len() < limit {
        let page = PAGE.min(limit - found.len());
        let pairs = core.read(|index| index.scan(&prefix, &from, page))?;
        let is_last = pairs.len() < page;
        for (key, _) in pairs {
            let (_, due) = parse_due(&key).ok_or_else(|| core.index_failed(IndexError::Damaged))?;
            if due.when > until {
                return Ok(found);
            }
            found.push(due);
            from = behind(key);
        }
        if is_last {
            break;
        }
    }
    Ok(found)
}

/// What is held until a moment up to `until`.
///
/// # Errors
/// As [`Core::read`].
pub(super) fn held(core: &Core, until: Timestamp, limit: usize) -> Result<Vec<Due>, SpoolError> {
    let pairs = core.read(|index| index.scan(HELD, HELD, limit))?;
    let mut found = Vec::with_capacity(pairs.len());
    for (key, _) in pairs {
        let due = parse_held(&key).ok_or_else(|| core.index_failed(IndexError::Damaged))?;
        if due.when > until {
            break;
        }
        found.push(due);
    }
    Ok(found)
}

/// The messages a filter lets through. What can't be read is named in the log
/// and left out.
///
/// # Errors
/// As [`Core::read`].
pub(super) fn list(
    core: &Arc<Core>,
    filter: &Filter,
    after: Option<QueueId>,
    limit: usize,
) -> Result<Vec<Found>, SpoolError> {
    let mut from = after.map_or(MESSAGES.to_vec(), |id| behind(message_key(id)));
    let mut listed = Vec::new();
    loop {
        let pairs = core.read(|index| index.scan(MESSAGES, &from, PAGE))?;
        let is_last = pairs.len() < PAGE;
        for (key, _) in pairs {
            if listed.len() >= limit {
                return Ok(listed);
            }
            let id = message_id(&key).ok_or_else(|| core.index_failed(IndexError::Damaged))?;
            match core.find(id) {
                Ok(found) if filter.matches(&found.message, &found.statuses) => listed.push(found),
                // Settled meanwhile, or named as damaged where it was found so.
                Ok(_) | Err(SpoolError::Unknown | SpoolError::Damaged) => {}
                Err(error) => return Err(error),
            }
            from = behind(key);
        }
        if is_last {
            return Ok(listed);
        }
    }
}

/// The ids of listed messages in order, from behind `after`, at most [`PAGE`].
///
/// # Errors
/// As [`Core::read`].
pub(super) fn ids(core: &Core, after: Option<QueueId>) -> Result<Vec<QueueId>, SpoolError> {
    let from = after.map_or(MESSAGES.to_vec(), |id| behind(message_key(id)));
    let pairs = core.read(|index| index.scan(MESSAGES, &from, PAGE))?;
    let ids = pairs.iter().map(|(key, _)| message_id(key));
    ids.collect::<Option<_>>()
        .ok_or_else(|| core.index_failed(IndexError::Damaged))
}

/// The last listed message's id.
///
/// # Errors
/// As [`Core::read`].
pub(super) fn last_id(core: &Core) -> Result<Option<QueueId>, SpoolError> {
    let last = core.read(|index| index.last(MESSAGES))?;
    Ok(last.and_then(|key| message_id(&key)))
}

/// The counts.
///
/// # Errors
/// As [`Core::read`].
pub(super) fn stats(core: &Core) -> Result<Stats, SpoolError> {
    let (totals, disk) = {
        let books = core.books();
        (books.totals.clone(), books.disk())
    };
    Ok(Stats {
        messages: totals.messages,
        recipients: totals.recipients,
        octets: totals.octets,
        dead: totals.dead,
        held: totals.held,
        oldest: oldest(core)?,
        disk,
    })
}

/// Counts what waits, a page at a time.
///
/// # Errors
/// As [`Core::read`].
pub(super) fn survey(core: &Core, moments: &[Timestamp]) -> Result<Survey, SpoolError> {
    let mut survey = Survey {
        by_age: vec![0; moments.len() + 1],
        by_host: Vec::new(),
    };
    each(core, MESSAGES, |_, value| {
        let entry: Entry = decode(value)?;
        if entry.open > 0 {
            rules::count_age(&mut survey.by_age, moments, entry.received_at);
        }
        Ok(())
    })?;
    each(core, DUE, |key, _| {
        let (host, _) = parse_due(key).ok_or(IndexError::Damaged)?;
        match survey.by_host.last_mut() {
            Some((last, count)) if *last == host => *count += 1,
            _ => survey.by_host.push((host, 1)),
        }
        Ok(())
    })?;
    Ok(survey)
}

/// Goes over all pairs whose keys start with `prefix`.
fn each(
    core: &Core,
    prefix: &[u8],
    mut with: impl FnMut(&[u8], &[u8]) -> Result<(), IndexError>,
) -> Result<(), SpoolError> {
    let mut from = prefix.to_vec();
    loop {
        let pairs = core.read(|index| index.scan(prefix, &from, PAGE))?;
        let Some((last, _)) = pairs.last() else {
            return Ok(());
        };
        from = behind(last.clone());
        for (key, value) in &pairs {
            with(key, value).map_err(|e| core.index_failed(e))?;
        }
    }
}

/// When the first message with something open was accepted.
fn oldest(core: &Core) -> Result<Option<Timestamp>, SpoolError> {
    let mut from = MESSAGES.to_vec();
    loop {
        let pairs = core.read(|index| index.scan(MESSAGES, &from, PAGE))?;
        let Some((last, _)) = pairs.last() else {
            return Ok(None);
        };
        from = behind(last.clone());
        for (_, value) in pairs {
            let entry: Entry =
                decode(&value).map_err(|e| core.index_failed(IndexError::from(e)))?;
            if entry.open > 0 {
                return Ok(Some(entry.received_at));
            }
        }
    }
}

/// The first key behind this one.
fn behind(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}
