//! What the index holds, and under which keys.
//!
//! Owns the shape of keys and values. Holds always: keys hold ids, hosts, times
//! and numbers only; values stay under 4 KiB whatever the message: what could be
//! longer is cut into pages.
//!
//! | key | value |
//! | --- | --- |
//! | `b` | the books' totals, and the place in the journal up to which all is in the index |
//! | `c` id recipient | a protected copy that is kept: [`super::copies::CopyEntry`] |
//! | `d` host 0 time id | nothing: the due index |
//! | `h` time id | nothing: when what is held is released |
//! | `g` segment | octets of live messages in it |
//! | `l` id page | a long [`Layout`]'s pages |
//! | `m` id | [`Entry`] |
//! | `p` segment older | nothing: the first must outlive the second |
//! | `s` id page | statuses of [`STATUS_PAGE`] recipients; no page: all as accepted |

use serde::{Deserialize, Serialize};

use crate::types::{Host, QueueId, RecipientStatus, Timestamp};

use super::super::Due;
use super::payload::Place;

/// Recipients' statuses in one value: each has a reply of 512 octets at most.
pub(super) const STATUS_PAGE: usize = 6;
/// Octets of a layout in one value.
pub(super) const LAYOUT_PAGE: usize = 3072;

/// A message in the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) place: Place,
    /// Octets of the message.
    pub(super) size: u64,
    pub(super) received_at: Timestamp,
    pub(super) recipients: u32,
    /// Recipients in an open state.
    pub(super) open: u32,
    /// Recipients in state `dead`.
    pub(super) dead: u32,
    /// Recipients in state `held`.
    pub(super) held: u32,
    /// Recipients of whom a protected copy is kept.
    pub(super) copies: u32,
    /// Whether any page of statuses is there; without, all are as accepted.
    pub(super) has_statuses: bool,
    pub(super) layout: LayoutRef,
}

/// Where an entry's layout is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum LayoutRef {
    /// Here.
    Inline(Layout),
    /// In so many pages.
    Pages(u32),
}

/// What a settlement must know of a message without reading the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Layout {
    /// The distinct hosts.
    pub(super) hosts: Vec<Host>,
    /// For each recipient, its host's place in `hosts`.
    pub(super) host_of: Vec<u32>,
    /// Octets of the message in each segment.
    pub(super) extents: Vec<(u32, u64)>,
}

/// What is counted, besides what keys of their own count.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Totals {
    /// Messages with an open recipient.
    pub(super) messages: u64,
    /// Open recipients.
    pub(super) recipients: u64,
    /// Octets of messages with an open recipient.
    pub(super) octets: u64,
    /// Recipients in state `dead`.
    pub(super) dead: u64,
    /// Recipients in state `held`.
    pub(super) held: u64,
}

impl Entry {
    /// A fresh status, as all recipients had it at acceptance.
    pub(super) fn fresh_status(&self) -> RecipientStatus {
        RecipientStatus::queued(self.received_at)
    }
}

pub(super) const BOOKS: &[u8] = b"b";
pub(super) const MESSAGES: &[u8] = b"m";
pub(super) const DUE: &[u8] = b"d";
pub(super) const HELD: &[u8] = b"h";
pub(super) const COPIES: &[u8] = b"c";
pub(super) const LIVE: &[u8] = b"g";
pub(super) const PINS: &[u8] = b"p";

pub(super) fn message_key(id: QueueId) -> Vec<u8> {
    [MESSAGES, &id.to_octets()].concat()
}

/// The id in a message key.
pub(super) fn message_id(key: &[u8]) -> Option<QueueId> {
    key.get(1..)?.try_into().ok().map(QueueId::from_octets)
}

/// Octets of an id.
const ID_LEN: usize = 12;

/// The octets of the message's id in a key of any kind that has one.
pub(super) fn id_in(key: &[u8]) -> Option<&[u8]> {
    match key.first()? {
        b'm' => key.get(1..),
        b'c' | b'l' | b's' => key.get(1..=ID_LEN),
        b'd' | b'h' => key.get(key.len().checked_sub(ID_LEN)?..),
        _ => None,
    }
}

pub(super) fn layout_key(id: QueueId, page: u32) -> Vec<u8> {
    [b"l".as_slice(), &id.to_octets(), &page.to_be_bytes()].concat()
}

pub(super) fn status_key(id: QueueId, page: usize) -> Vec<u8> {
    let page = u32::try_from(page).unwrap_or(u32::MAX);
    [b"s".as_slice(), &id.to_octets(), &page.to_be_bytes()].concat()
}

pub(super) fn copy_key(id: QueueId, recipient: u32) -> Vec<u8> {
    [COPIES, &id.to_octets(), &recipient.to_be_bytes()].concat()
}

/// The message and the recipient of a copy's key.
pub(super) fn parse_copy(key: &[u8]) -> Option<(QueueId, u32)> {
    let id = key.get(1..13)?.try_into().ok().map(QueueId::from_octets)?;
    Some((id, number_in(key, 13)?))
}

pub(super) fn live_key(segment: u32) -> Vec<u8> {
    [LIVE, &segment.to_be_bytes()].concat()
}

pub(super) fn pin_key(segment: u32, older: u32) -> Vec<u8> {
    [PINS, &segment.to_be_bytes(), &older.to_be_bytes()].concat()
}

/// The big-endian number at an offset of a key.
pub(super) fn number_in(key: &[u8], at: usize) -> Option<u32> {
    key.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

/// All entries of a host start with this. No host holds a zero octet.
pub(super) fn host_prefix(host: &Host) -> Vec<u8> {
    [DUE, host.to_string().as_bytes(), &[0]].concat()
}

pub(super) fn due_key(host: &Host, due: Due) -> Vec<u8> {
    let mut key = host_prefix(host);
    put_moment(&mut key, due);
    key
}

pub(super) fn held_key(due: Due) -> Vec<u8> {
    let mut key = HELD.to_vec();
    put_moment(&mut key, due);
    key
}

/// The entry of a key of what is held.
pub(super) fn parse_held(key: &[u8]) -> Option<Due> {
    moment(key.strip_prefix(HELD)?)
}

fn put_moment(key: &mut Vec<u8>, due: Due) {
    key.extend_from_slice(&sortable(due.when).to_be_bytes());
    key.extend_from_slice(&due.id.to_octets());
}

fn moment(octets: &[u8]) -> Option<Due> {
    let (when, id) = octets.split_first_chunk::<8>()?;
    Some(Due {
        when: unsortable(u64::from_be_bytes(*when)),
        id: QueueId::from_octets(id.try_into().ok()?),
    })
}

/// The host and the entry of a key of the due index.
pub(super) fn parse_due(key: &[u8]) -> Option<(Host, Due)> {
    let rest = key.strip_prefix(DUE)?;
    let end = memchr::memchr(0, rest)?;
    let host = Host::parse(std::str::from_utf8(rest.get(..end)?).ok()?).ok()?;
    Some((host, moment(rest.get(end + 1..)?)?))
}

/// Times before 1970 sort before later ones.
fn sortable(at: Timestamp) -> u64 {
    at.as_micros().cast_unsigned() ^ (1 << 63)
}

fn unsortable(value: u64) -> Timestamp {
    Timestamp::from_micros((value ^ (1 << 63)).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_a_message_has_its_id() {
        let id = QueueId::from_octets([7; 12]);
        let due = Due {
            when: Timestamp::from_micros(5),
            id,
        };
        let keys = [
            message_key(id),
            layout_key(id, 3),
            status_key(id, 2),
            copy_key(id, 1),
            due_key(&Host::parse("a.example").unwrap(), due),
            held_key(due),
        ];
        for key in keys {
            assert_eq!(id_in(&key), Some([7; 12].as_slice()), "{key:?}");
        }
        for key in [BOOKS.to_vec(), live_key(7), pin_key(7, 6)] {
            assert_eq!(id_in(&key), None);
        }
    }

    #[test]
    fn due_keys_sort_by_host_time_and_id() {
        let id = |n| QueueId::from_octets([n; 12]);
        let host = |text| Host::parse(text).unwrap();
        let at = Timestamp::from_micros;
        let order = [
            (
                "[192.0.2.1]",
                Due {
                    when: at(5),
                    id: id(1),
                },
            ),
            (
                "a.example",
                Due {
                    when: at(-5),
                    id: id(9),
                },
            ),
            (
                "a.example",
                Due {
                    when: at(5),
                    id: id(1),
                },
            ),
            (
                "a.example",
                Due {
                    when: at(5),
                    id: id(2),
                },
            ),
            (
                "a.example",
                Due {
                    when: at(6),
                    id: id(0),
                },
            ),
            (
                "a.example.net",
                Due {
                    when: at(0),
                    id: id(0),
                },
            ),
        ];
        let keys: Vec<_> = order.iter().map(|(h, d)| due_key(&host(h), *d)).collect();
        assert!(keys.is_sorted());
        for ((h, due), key) in order.iter().zip(&keys) {
            assert_eq!(parse_due(key), Some((host(h), *due)));
        }
    }
}
