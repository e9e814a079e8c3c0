//! One batch of index changes in the making.
//!
//! Owns the overlay through which the records of one group commit see each
//! other's effects before any of them is durable. Holds always: dropped, it has
//! changed nothing; finished, all its changes enter the index at once, figures and
//! place included. Called by the committer and, with the same records read back,
//! by recovery.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::types::{Message, QueueId, RecipientStatus};

use super::super::{Due, rules};
use super::books::Books;
use super::copies::{CopyEntry, is_wanted};
use super::entry::{
    self, Entry, LAYOUT_PAGE, Layout, LayoutRef, STATUS_PAGE, Totals, copy_key, layout_key,
    message_key, status_key,
};
use super::index::{Change, Index, IndexError};
use super::pages::{count, due_by_host, layout_of, read_copies, read_layout, read_statuses};
use super::payload::{Place, Position, decode, encode};

/// The overlay.
pub(super) struct Txn<'a> {
    index: &'a Index,
    books: &'a Books,
    totals: Totals,
    live: BTreeMap<u32, u64>,
    pins: BTreeSet<(u32, u32)>,
    unpinned: BTreeSet<u32>,
    values: HashMap<Vec<u8>, Option<Vec<u8>>>,
}

/// A finished batch.
pub(super) struct Finished {
    totals: Totals,
    applied: Position,
    live: BTreeMap<u32, u64>,
    pins: BTreeSet<(u32, u32)>,
    unpinned: BTreeSet<u32>,
    /// The index's changes.
    pub(super) changes: Vec<Change>,
}

/// A message to be entered.
pub(super) struct NewEntry<'m> {
    pub(super) message: &'m Message,
    pub(super) place: Place,
    pub(super) size: u64,
    /// Octets in each segment.
    pub(super) extents: Vec<(u32, u64)>,
    /// `None`: all as accepted.
    pub(super) statuses: Option<&'m [RecipientStatus]>,
    /// Copies that are kept, by recipient; those of who is no more open are left out.
    pub(super) copies: Vec<(u32, CopyEntry)>,
}

impl<'a> Txn<'a> {
    pub(super) fn new(index: &'a Index, books: &'a Books) -> Self {
        Self {
            index,
            books,
            totals: books.totals.clone(),
            live: BTreeMap::new(),
            pins: BTreeSet::new(),
            unpinned: BTreeSet::new(),
            values: HashMap::new(),
        }
    }

    /// How much has gathered, in changes.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Makes one batch of it, which says that all before `applied` is in.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(super) fn finish(self, applied: Position) -> Result<Finished, IndexError> {
        let mut changes: Vec<Change> = self.values.into_iter().collect();
        for (segment, live) in &self.live {
            changes.push((entry::live_key(*segment), Some(encode(live)?.into())));
        }
        for (segment, older) in &self.pins {
            changes.push((entry::pin_key(*segment, *older), Some(Vec::new())));
        }
        for segment in &self.unpinned {
            let pins = self.books.pins.get(segment).into_iter().flatten();
            changes.extend(pins.map(|older| (entry::pin_key(*segment, *older), None)));
        }
        let totals = Books::encode_totals(&self.totals, applied)?;
        changes.push((entry::BOOKS.to_vec(), Some(totals)));
        Ok(Finished {
            totals: self.totals,
            applied,
            live: self.live,
            pins: self.pins,
            unpinned: self.unpinned,
            changes,
        })
    }

    /// A message's entry.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(super) fn entry(&self, id: QueueId) -> Result<Option<Entry>, IndexError> {
        Ok(match self.get(&message_key(id))? {
            None => None,
            Some(value) => Some(decode(&value)?),
        })
    }

    /// All statuses of a message.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(super) fn statuses(
        &self,
        id: QueueId,
        entry: &Entry,
    ) -> Result<Vec<RecipientStatus>, IndexError> {
        read_statuses(|key| self.get(key), id, entry)
    }

    /// What is kept of copies of a message, by recipient.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(super) fn copies(
        &self,
        id: QueueId,
        entry: &Entry,
    ) -> Result<Vec<(u32, CopyEntry)>, IndexError> {
        read_copies(|key| self.get(key), id, entry)
    }

    /// A message's layout.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(super) fn layout(&self, id: QueueId, entry: &Entry) -> Result<Layout, IndexError> {
        read_layout(|key| self.get(key), id, entry)
    }

    /// Enters a message.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(super) fn insert(&mut self, new: NewEntry<'_>) -> Result<(), IndexError> {
        let message = new.message;
        let id = message.id;
        let layout = layout_of(message, new.extents);
        for (segment, octets) in &layout.extents {
            self.add_live(*segment, *octets);
        }
        let mut entry = Entry {
            place: new.place,
            size: new.size,
            received_at: message.received_at,
            recipients: u32::try_from(message.envelope.recipients.len()).unwrap_or(u32::MAX),
            open: 0,
            dead: 0,
            held: 0,
            copies: 0,
            has_statuses: new.statuses.is_some(),
            layout: LayoutRef::Pages(0),
        };
        let fresh;
        let statuses = match new.statuses {
            Some(statuses) => {
                self.put_statuses(id, statuses, |_| true)?;
                statuses
            }
            None => {
                fresh = vec![entry.fresh_status(); layout.host_of.len()];
                &fresh
            }
        };
        self.put_due(id, &layout, &[], statuses);
        count(&mut entry, statuses);
        self.add_totals(&entry);
        self.keep_copies(id, &mut entry, statuses, new.copies)?;
        entry.layout = self.put_layout(id, layout)?;
        self.put(message_key(id), Some(encode(&entry)?.into()));
        Ok(())
    }

    /// Takes a message out, whatever its state.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(super) fn remove(&mut self, id: QueueId, entry: &Entry) -> Result<(), IndexError> {
        let layout = self.layout(id, entry)?;
        let statuses = self.statuses(id, entry)?;
        self.put_due(id, &layout, &statuses, &[]);
        self.sub_totals(entry);
        self.take_out(id, entry, &layout)
    }

    /// Gives a message new statuses and copies; with none left that is listed, it goes,
    /// and with each that is no more open, the copy kept for it.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(super) fn update(
        &mut self,
        id: QueueId,
        mut entry: Entry,
        after: &[RecipientStatus],
        copies: Vec<(u32, CopyEntry)>,
    ) -> Result<(), IndexError> {
        let layout = self.layout(id, &entry)?;
        let before = self.statuses(id, &entry)?;
        self.put_due(id, &layout, &before, after);
        self.sub_totals(&entry);
        count(&mut entry, after);
        if entry.open == 0 && entry.dead == 0 {
            return self.take_out(id, &entry, &layout);
        }
        self.add_totals(&entry);
        self.keep_copies(id, &mut entry, after, copies)?;
        let differs = |page: usize| {
            let page = page * STATUS_PAGE..(page + 1) * STATUS_PAGE;
            page.into_iter().any(|i| before.get(i) != after.get(i))
        };
        self.put_statuses(id, after, differs)?;
        entry.has_statuses = true;
        self.put(message_key(id), Some(encode(&entry)?.into()));
        Ok(())
    }

    /// Notes that `segment` says something about a record in `older`.
    pub(super) fn pin(&mut self, segment: u32, older: u32) {
        let is_known = self
            .books
            .pins
            .get(&segment)
            .is_some_and(|pins| pins.contains(&older));
        if segment != older && !is_known {
            self.pins.insert((segment, older));
        }
    }

    /// Notes that what an older segment than the head says is said elsewhere too.
    pub(super) fn unpin(&mut self, segment: u32) {
        self.unpinned.insert(segment);
    }

    /// Enters new copies in place of older ones, and lets go of those that nobody
    /// wants any more.
    fn keep_copies(
        &mut self,
        id: QueueId,
        entry: &mut Entry,
        statuses: &[RecipientStatus],
        new: Vec<(u32, CopyEntry)>,
    ) -> Result<(), IndexError> {
        let mut kept = match entry.copies {
            0 => Vec::new(),
            _ => self.copies(id, entry)?,
        };
        let replaced = |index: u32| new.iter().any(|(new, _)| *new == index);
        kept.retain(|(index, copy)| {
            let stays = is_wanted(statuses, *index) && !replaced(*index);
            if !stays {
                self.drop_copy(id, *index, copy);
            }
            stays
        });
        let mut count = kept.len();
        for (index, copy) in new {
            if !is_wanted(statuses, index) {
                continue;
            }
            for (segment, octets) in &copy.extents {
                self.add_live(*segment, *octets);
            }
            self.put(copy_key(id, index), Some(encode(&copy)?.into()));
            count += 1;
        }
        entry.copies = u32::try_from(count).unwrap_or(u32::MAX);
        Ok(())
    }

    fn drop_copy(&mut self, id: QueueId, index: u32, copy: &CopyEntry) {
        for (segment, octets) in &copy.extents {
            self.sub_live(*segment, *octets);
        }
        self.put(copy_key(id, index), None);
    }

    fn take_out(&mut self, id: QueueId, entry: &Entry, layout: &Layout) -> Result<(), IndexError> {
        for (index, copy) in self.copies(id, entry)? {
            self.drop_copy(id, index, &copy);
        }
        for (segment, octets) in &layout.extents {
            self.sub_live(*segment, *octets);
        }
        if let LayoutRef::Pages(pages) = entry.layout {
            for page in 0..pages {
                self.put(layout_key(id, page), None);
            }
        }
        if entry.has_statuses {
            for page in 0..(entry.recipients as usize).div_ceil(STATUS_PAGE) {
                self.put(status_key(id, page), None);
            }
        }
        self.put(message_key(id), None);
        Ok(())
    }

    fn put_statuses(
        &mut self,
        id: QueueId,
        statuses: &[RecipientStatus],
        is_wanted: impl Fn(usize) -> bool,
    ) -> Result<(), IndexError> {
        for (page, chunk) in statuses.chunks(STATUS_PAGE).enumerate() {
            if is_wanted(page) {
                self.put(status_key(id, page), Some(encode(&chunk)?.into()));
            }
        }
        Ok(())
    }

    fn put_layout(&mut self, id: QueueId, layout: Layout) -> Result<LayoutRef, IndexError> {
        let octets = encode(&layout)?;
        if octets.len() <= LAYOUT_PAGE {
            return Ok(LayoutRef::Inline(layout));
        }
        let mut pages = 0;
        for chunk in octets.chunks(LAYOUT_PAGE) {
            self.put(layout_key(id, pages), Some(chunk.to_vec()));
            pages += 1;
        }
        Ok(LayoutRef::Pages(pages))
    }

    /// Moves a message's entries, in the due index and among what is held, from
    /// what `before` says to what `after` does.
    fn put_due(
        &mut self,
        id: QueueId,
        layout: &Layout,
        before: &[RecipientStatus],
        after: &[RecipientStatus],
    ) {
        let (old, new) = (rules::release(before), rules::release(after));
        if old != new {
            if let Some(when) = old {
                self.put(entry::held_key(Due { when, id }), None);
            }
            if let Some(when) = new {
                self.put(entry::held_key(Due { when, id }), Some(Vec::new()));
            }
        }
        let old = due_by_host(layout, before);
        let new = due_by_host(layout, after);
        for ((host, old), new) in layout.hosts.iter().zip(old).zip(new) {
            if old == new {
                continue;
            }
            if let Some(when) = old {
                self.put(entry::due_key(host, Due { when, id }), None);
            }
            if let Some(when) = new {
                self.put(entry::due_key(host, Due { when, id }), Some(Vec::new()));
            }
        }
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        match self.values.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.index.get(key),
        }
    }

    fn put(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.values.insert(key, value);
    }

    fn live_mut(&mut self, segment: u32) -> &mut u64 {
        let before = self.books.live_in(segment);
        self.live.entry(segment).or_insert(before)
    }

    fn add_live(&mut self, segment: u32, octets: u64) {
        let live = self.live_mut(segment);
        *live = live.saturating_add(octets);
    }

    fn sub_live(&mut self, segment: u32, octets: u64) {
        let live = self.live_mut(segment);
        *live = live.saturating_sub(octets);
    }

    fn add_totals(&mut self, entry: &Entry) {
        if entry.open > 0 {
            self.totals.messages += 1;
            self.totals.octets += entry.size;
        }
        self.totals.recipients += u64::from(entry.open);
        self.totals.dead += u64::from(entry.dead);
        self.totals.held += u64::from(entry.held);
    }

    fn sub_totals(&mut self, entry: &Entry) {
        let less = |total: &mut u64, by: u64| *total = total.saturating_sub(by);
        if entry.open > 0 {
            less(&mut self.totals.messages, 1);
            less(&mut self.totals.octets, entry.size);
        }
        less(&mut self.totals.recipients, u64::from(entry.open));
        less(&mut self.totals.dead, u64::from(entry.dead));
        less(&mut self.totals.held, u64::from(entry.held));
    }
}

impl Finished {
    /// Brings the figures in memory to what the batch says.
    pub(super) fn post(self, books: &mut Books) {
        books.totals = self.totals;
        books.applied = self.applied;
        for (segment, live) in self.live {
            books.live.insert(segment, live);
        }
        for (segment, older) in self.pins {
            books.pins.entry(segment).or_default().insert(older);
        }
        for segment in self.unpinned {
            books.pins.remove(&segment);
        }
    }
}
