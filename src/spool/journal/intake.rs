//! Writing a message in.
//!
//! Owns what has come of a message until its commit. Holds always: no more than
//! 1 MiB of it is in memory; what is larger goes to the committer part by part,
//! and the writer waits for each; dropped, nothing of it is left but part
//! records that no message names. Called by ingress through the contract.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::types::{BoxFuture, Message, QueueId};

use super::super::{Intake, SpoolError, Ticket, rules};
use super::core::Core;
use super::job::{Content, HeldPart, Job, Reply};

/// Octets up to which a body rides in its accept record, and octets of a part.
pub(super) const PART: usize = 1 << 20;
/// Pieces shorter than this are joined, so that a message that comes octet by
/// octet takes no more memory than its length.
const PIECE: usize = 4096;

/// A message on its way in.
pub(super) struct JournalIntake {
    core: Arc<Core>,
    jobs: mpsc::Sender<Job>,
    id: QueueId,
    pieces: Pieces,
    parts: Vec<HeldPart>,
    /// A part was lost, or its writing was cut off: there is nothing to commit.
    is_broken: bool,
}

/// What is held in memory.
#[derive(Default)]
struct Pieces {
    pieces: Vec<Bytes>,
    small: Vec<u8>,
    octets: usize,
}

impl Pieces {
    fn push(&mut self, octets: Bytes) {
        self.octets += octets.len();
        if octets.len() < PIECE {
            self.small.extend_from_slice(&octets);
            if self.small.len() >= PIECE {
                self.settle_small();
            }
        } else {
            self.settle_small();
            self.pieces.push(octets);
        }
    }

    fn settle_small(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push(std::mem::take(&mut self.small).into());
        }
    }

    fn take(&mut self) -> Vec<Bytes> {
        self.settle_small();
        self.octets = 0;
        std::mem::take(&mut self.pieces)
    }
}

impl JournalIntake {
    pub(super) fn new(core: Arc<Core>, jobs: mpsc::Sender<Job>, id: QueueId) -> Self {
        Self {
            core,
            jobs,
            id,
            pieces: Pieces::default(),
            parts: Vec::new(),
            is_broken: false,
        }
    }

    async fn take(&mut self, mut octets: Bytes) -> Result<(), SpoolError> {
        self.core.may_intake()?;
        while self.pieces.octets + octets.len() > PART {
            let fits = octets.split_to((PART - self.pieces.octets).min(octets.len()));
            self.pieces.push(fits);
            self.write_part().await?;
        }
        self.pieces.push(octets);
        Ok(())
    }

    async fn write_part(&mut self) -> Result<(), SpoolError> {
        let pieces = self.pieces.take();
        let number = u32::try_from(self.parts.len()).unwrap_or(u32::MAX);
        let part = ask(&self.jobs, |reply| Job::Part {
            id: self.id,
            number,
            pieces,
            is_carried: false,
            reply,
        })
        .await?;
        self.parts.push(part);
        Ok(())
    }

    async fn finish(mut self: Box<Self>, ticket: Ticket) -> Result<Arc<Message>, SpoolError> {
        if self.is_broken {
            // The disk was at fault then; ask anew what stands in the way now.
            self.core.may_intake()?;
            let lost = std::io::Error::other("a part of the message was not written");
            return Err(SpoolError::Sick(Arc::new(lost)));
        }
        let content = if self.parts.is_empty() {
            Content::Inline(self.pieces.take())
        } else {
            // On the disk before the record that names it: else a power cut could leave
            // a message that was never answered with a hole in its body.
            if self.pieces.octets > 0 {
                self.write_part().await?;
            }
            Content::Parts(std::mem::take(&mut self.parts))
        };
        let message = Arc::new(rules::message(self.id, self.core.ids.now(), ticket));
        ask(&self.jobs, |reply| Job::Accept {
            message: Arc::clone(&message),
            content,
            reply,
        })
        .await?;
        Ok(message)
    }
}

impl Intake for JournalIntake {
    fn id(&self) -> QueueId {
        self.id
    }

    fn write(&mut self, octets: Bytes) -> BoxFuture<'_, Result<(), SpoolError>> {
        Box::pin(async move {
            // Stays so if this future is dropped half-way: a hole is no message.
            if std::mem::replace(&mut self.is_broken, true) {
                return Err(SpoolError::Closed);
            }
            self.take(octets).await?;
            self.is_broken = false;
            Ok(())
        })
    }

    fn commit(
        self: Box<Self>,
        ticket: Ticket,
    ) -> BoxFuture<'static, Result<Arc<Message>, SpoolError>> {
        Box::pin(self.finish(ticket))
    }
}

/// Sends a job and waits for its answer.
///
/// # Errors
/// The job's, or [`SpoolError::Closed`].
pub(super) async fn ask<T>(
    jobs: &mpsc::Sender<Job>,
    job: impl FnOnce(Reply<T>) -> Job,
) -> Result<T, SpoolError> {
    let (reply, answer) = oneshot::channel();
    jobs.send(job(reply))
        .await
        .map_err(|_| SpoolError::Closed)?;
    answer.await.map_err(|_| SpoolError::Closed)?
}
