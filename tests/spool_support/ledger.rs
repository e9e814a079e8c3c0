//! What is known of each message of a spool's life, and what must hold of it
//! after a power cut.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use postern::spool::Opened;
use postern::types::{QueueId, RecipientStatus, State};

/// Never: no such moment.
pub const NEVER: usize = usize::MAX;

/// What is known of one message.
#[derive(Clone)]
pub struct Known {
    pub octets: Vec<u8>,
    /// When its acceptance was answered yes.
    pub accepted: usize,
    /// When it was answered no and the spool had recovered.
    pub refused: usize,
    pub recipients: usize,
    pub changes: Vec<Changes>,
}

/// One settlement of it.
#[derive(Clone)]
pub struct Changes {
    pub asked: usize,
    pub answered: usize,
    pub states: Vec<(u32, State)>,
    pub event: QueueId,
    /// The copies that came with it, by recipient.
    pub copies: Vec<(u32, Vec<u8>)>,
    /// Whether they were found there once it was answered: on a full spool they need
    /// not be.
    pub are_kept: bool,
}

#[derive(Clone, Default)]
pub struct Ledger {
    pub messages: BTreeMap<QueueId, Known>,
    /// Events that their sink made durable, with the moment.
    pub synced: Vec<(usize, QueueId)>,
    /// Copies of the index folder, with the moment by which each was taken.
    pub indexes: Vec<(usize, PathBuf)>,
}

/// What the images came to.
#[derive(Default)]
pub struct Told {
    pub opened: usize,
    rebuilt: BTreeMap<String, usize>,
    cut: usize,
    damaged: usize,
    checked: usize,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} images opened, {} messages checked; tails cut: {}, with damage named: {}; \
             rebuilt: {:?}",
            self.opened, self.checked, self.cut, self.damaged, self.rebuilt
        )
    }
}

impl Known {
    /// The message is not there: it must have been settled, or not yet answered.
    pub fn missing(&self, moment: usize, wrong: &mut Vec<String>, id: QueueId) {
        if self.accepted > moment {
            return;
        }
        let asked = self.changes.iter().filter(|c| c.asked <= moment);
        let ended: BTreeSet<u32> = asked
            .flat_map(|c| &c.states)
            .filter(|(_, state)| !state.is_open())
            .map(|(index, _)| *index)
            .collect();
        if ended.len() < self.recipients {
            wrong.push(format!("{id}, accepted at {}, is lost", self.accepted));
        }
    }

    /// It is there: what was settled shows, and what was refused does not come back.
    pub fn present(
        &self,
        moment: usize,
        statuses: &[RecipientStatus],
        wrong: &mut Vec<String>,
        id: QueueId,
    ) {
        if self.refused <= moment {
            wrong.push(format!("{id}, refused, has come back"));
        }
        for changes in self.changes.iter().filter(|c| c.answered <= moment) {
            for (index, state) in changes.states.iter().filter(|(_, s)| !s.is_open()) {
                if statuses[*index as usize].state != *state {
                    wrong.push(format!("{id}, settled at {}, is open", changes.answered));
                }
            }
        }
        if statuses.iter().all(|s| !s.state.is_open()) {
            wrong.push(format!("{id} is listed with nothing open"));
        }
    }
}

impl Known {
    /// A copy is one of those that were asked for, whole; the last one answered is
    /// there unless another was asked for since; none is kept for who has ended.
    pub fn copies(
        &self,
        moment: usize,
        statuses: &[RecipientStatus],
        found: &[(u32, Vec<u8>)],
        wrong: &mut Vec<String>,
        id: QueueId,
    ) {
        for (index, status) in (0u32..).zip(statuses) {
            let there = found.iter().find(|(i, _)| *i == index).map(|(_, o)| o);
            let asked = self.changes.iter().filter(|c| c.asked <= moment);
            let mut may = Vec::new();
            let mut must = false;
            for changes in asked {
                let Some((_, octets)) = changes.copies.iter().find(|(i, _)| *i == index) else {
                    continue;
                };
                if changes.answered <= moment {
                    may.clear();
                    must = changes.are_kept;
                    // A full spool keeps the one before.
                    if !changes.are_kept {
                        return;
                    }
                }
                may.push(octets);
            }
            match there {
                Some(_) if !status.state.is_open() => {
                    wrong.push(format!("{id} keeps a copy for {index}, who has ended"));
                }
                Some(octets) if !may.contains(&octets) => {
                    wrong.push(format!("{id} has another copy for {index}"));
                }
                None if must && status.state.is_open() => {
                    wrong.push(format!("{id} has lost its copy for {index}"));
                }
                _ => {}
            }
        }
    }
}

impl Told {
    pub fn note(&mut self, opened: &Opened, checked: usize) {
        self.opened += 1;
        self.checked += checked;
        self.cut += usize::from(opened.cut.is_some());
        self.damaged += usize::from(!opened.damaged.is_empty());
        let reason = opened
            .rebuilt
            .as_ref()
            .map_or("no".into(), |r| format!("{r:?}"));
        *self.rebuilt.entry(reason).or_default() += 1;
    }
}
