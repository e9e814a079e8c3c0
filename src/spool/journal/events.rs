//! Audit events on their way from the journal to their sink.
//!
//! Owns the sink and from where it is owed events. Holds always: events reach it
//! in the journal's order; after a failure they are read again from the journal,
//! so nothing gathers in memory. Fed by the committer, synced by the keeper.

use std::io;

use crate::types::{AuditEvent, Learnt};

use super::super::EventSink;
use super::payload::Position;

/// The sink and its debts.
pub(super) struct Events {
    sink: Box<dyn EventSink>,
    /// The first record whose events the sink did not take.
    owed: Option<Position>,
    /// Up to where the sink has made them durable.
    synced: Position,
}

impl Events {
    pub(super) fn new(sink: Box<dyn EventSink>) -> Self {
        Self {
            sink,
            owed: None,
            synced: Position::default(),
        }
    }

    /// Lets the sink look at what it has; the journal is locked.
    pub(super) fn begin(&mut self) {
        if let Err(error) = self.sink.begin() {
            tracing::error!(%error, "the audit can't be looked at");
        }
    }

    /// Hands over the events of the record at `at`, unless earlier ones are owed.
    pub(super) fn deliver(&mut self, at: Position, events: &[AuditEvent]) {
        if self.owed.is_some() || events.is_empty() {
            return;
        }
        // Stays so should the sink panic.
        self.owed = Some(at);
        match self.sink.append(events) {
            Ok(()) => self.owed = None,
            Err(error) => {
                tracing::error!(%error, "the audit did not take events; they stay in the journal");
            }
        }
    }

    /// Lets the sink take in what did not come from the journal.
    pub(super) fn tend(&mut self) {
        if let Err(error) = self.sink.tend() {
            tracing::error!(%error, "the audit could not be written; tried again");
        }
    }

    /// Hands over what was learnt.
    pub(super) fn learn(&mut self, learnt: Learnt) {
        self.sink.learn(learnt);
    }

    /// From where events are owed.
    pub(super) fn owed(&self) -> Option<Position> {
        self.owed
    }

    /// The caller is about to hand over again what was owed.
    pub(super) fn forgive(&mut self) {
        self.owed = None;
    }

    /// Notes from where events are owed.
    pub(super) fn owe(&mut self, from: Position) {
        self.owed = Some(from);
    }

    /// Makes what was handed over durable, all of it from before `up_to`.
    ///
    /// # Errors
    /// What the sink says; then everything since the last success is owed.
    pub(super) fn sync(&mut self, up_to: Position) -> io::Result<()> {
        self.sink
            .sync()
            .inspect(|()| self.synced = up_to)
            .inspect_err(|_| self.owed = Some(self.synced))
    }

    /// Notes up to where events were durable when the journal was opened.
    pub(super) fn start_at(&mut self, synced: Position) {
        self.synced = synced;
    }
}
