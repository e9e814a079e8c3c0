//! What an import comes to, in the words that the command line prints.
//!
//! Owns the report and its counting. Holds always: what can't be read is named once a
//! message; what the export's end says it holds, and was neither seen nor named, is
//! counted as missing. Kept by `import`, printed by the service.

use std::collections::BTreeMap;

use crate::types::{Host, QueueId, State};

use super::super::SpoolError;
use super::archive::{ArchiveError, Exported};

/// Why an import stopped.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The export can't be read.
    #[error("{0}")]
    Archive(#[from] ArchiveError),
    /// The spool takes no more. What was taken in is durable.
    #[error(
        "{why}; {taken} messages were taken in and are safe: put that right and import again, which passes over what is there"
    )]
    Spool {
        /// What the spool said.
        why: SpoolError,
        /// Messages taken in until then.
        taken: u64,
    },
}

/// What became of one message of the export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Taken in, or it would be.
    New,
    /// There is one of that id.
    Already,
    /// All its recipients have ended since.
    Ended,
}

/// How recipients ended, by message and address, as far as anybody knows.
pub type Ended = BTreeMap<QueueId, BTreeMap<String, State>>;

/// A message of the export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedMessage {
    /// Its id.
    pub id: QueueId,
    /// What became of it.
    pub taken: Taken,
    /// Open recipients.
    pub open: usize,
    /// Octets.
    pub octets: u64,
}

/// What could not be read in the export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Where, in octets from the start of the file.
    pub offset: Option<u64>,
    /// The message, where that could be read.
    pub id: Option<QueueId>,
    /// Its recipients' domains, where they could be read.
    pub domains: Vec<Host>,
}

/// What came of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// Messages taken in.
    pub messages: u64,
    /// Their open recipients.
    pub recipients: u64,
    /// Their octets.
    pub octets: u64,
    /// Messages that were there.
    pub already: u64,
    /// Messages that had ended since, and so were not taken in.
    pub ended: u64,
    /// What could not be read.
    pub unreadable: Vec<Unreadable>,
    /// What the export says of itself at its end; `None`: the end is missing.
    pub end: Option<Exported>,
    /// Messages of which its end knows, and that are not in it any more, besides
    /// those named.
    pub missing: u64,
}

impl Imported {
    /// Counts a message whose fate is known.
    pub(super) fn count(&mut self, message: &ImportedMessage) {
        match message.taken {
            Taken::New => {
                self.messages += 1;
                self.recipients += message.open as u64;
                self.octets += message.octets;
            }
            Taken::Already => self.already += 1,
            Taken::Ended => self.ended += 1,
        }
    }

    /// Names what can't be read, each message once.
    pub(super) fn name(&mut self, offset: Option<u64>, id: Option<QueueId>, domains: Vec<Host>) {
        let named = &mut self.unreadable;
        let same = named.iter_mut().find(|u| id.is_some() && u.id == id);
        match same {
            Some(same) if !domains.is_empty() => same.domains = domains,
            Some(_) => {}
            None => named.push(Unreadable {
                offset,
                id,
                domains,
            }),
        }
    }

    /// Takes a message's name back.
    pub(super) fn unname(&mut self, id: QueueId) {
        self.unreadable.retain(|u| u.id != Some(id));
    }

    /// Works out what is missing, once all was read.
    pub(super) fn balance(&mut self) {
        let seen = self.messages + self.already + self.ended;
        let named = self.unreadable.iter().filter(|u| u.id.is_some());
        let known = seen + named.count() as u64;
        if let Some(end) = &self.end {
            self.missing = end.messages.saturating_sub(known);
        }
    }

    /// Whether all that the export was to hold could be read.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.unreadable.is_empty() && self.missing == 0 && self.end.is_some()
    }
}
