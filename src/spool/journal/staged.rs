//! Jobs whose records wait for their fdatasync, and their answers.
//!
//! Owns what follows once a group is durable, or has failed. Holds always: the
//! queue and the caller hear of a record only after it is durable and in the
//! index. Used by the committer alone.

use std::sync::Arc;

use crate::types::{AuditEvent, Learnt};

use super::super::{Fresh, SpoolError};
use super::core::{Core, refusal};
use super::job::{HeldPart, Reply};
use super::payload::{PartRef, Position};

/// A job whose record is in the buffer.
pub(super) enum Staged {
    /// A message, or a carried one (which the queue knows already).
    Message {
        fresh: Option<Fresh>,
        /// Let go once the message itself pins their segments.
        parts: Vec<HeldPart>,
        reply: Reply<()>,
    },
    Part {
        part: PartRef,
        reply: Reply<HeldPart>,
    },
    Settled {
        at: Position,
        events: Vec<AuditEvent>,
        learnt: Option<Learnt>,
        fresh: Vec<Fresh>,
        /// Of large copies; let go once the settlement pins their segments.
        parts: Vec<HeldPart>,
        reply: Reply<()>,
    },
}

impl Staged {
    /// Hands events to the audit; the record they are in is durable.
    pub(super) fn deliver_events(&mut self, core: &Core) {
        if let Self::Settled {
            at, events, learnt, ..
        } = self
        {
            let mut sink = core.events();
            sink.deliver(*at, events);
            if let Some(learnt) = learnt.take() {
                sink.learn(learnt);
            }
        }
    }

    /// Answers yes, and tells the queue of new messages.
    pub(super) fn succeed(self, core: &Arc<Core>) {
        // Where nobody waits for the answer, it holds all the same.
        match self {
            Self::Message {
                fresh,
                parts,
                reply,
            } => {
                drop(parts);
                fresh.into_iter().for_each(|f| core.fresh.send(f));
                let _ = reply.send(Ok(()));
            }
            Self::Part { part, reply } => {
                let _ = reply.send(Ok(HeldPart::new(core, part)));
            }
            Self::Settled {
                fresh,
                parts,
                reply,
                ..
            } => {
                drop(parts);
                fresh.into_iter().for_each(|f| core.fresh.send(f));
                let _ = reply.send(Ok(()));
            }
        }
    }

    /// Answers no. Where the disk is full, intake says so; settlements are to be
    /// tried again.
    pub(super) fn fail(self, error: &Arc<std::io::Error>) {
        match self {
            Self::Message { reply, .. } => drop(reply.send(Err(refusal(error)))),
            Self::Settled { reply, .. } => {
                drop(reply.send(Err(SpoolError::Sick(Arc::clone(error)))));
            }
            Self::Part { reply, .. } => drop(reply.send(Err(refusal(error)))),
        }
    }
}
