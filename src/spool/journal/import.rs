//! Taking in what an export holds.
//!
//! Owns the way from an export's records into the journal. Holds always: ids,
//! recipients' states and times are kept; a message whose id is there already is
//! left as it is, so that to import twice does no harm; a recipient of whom the
//! caller knows how it ended after the export is not opened again; a message counts
//! as taken in once it is durable; what can't be read is named, and the rest taken. No
//! more than a few messages of 1 MiB are in memory. What it comes to is told by
//! `import_report`. Called by the service, in a thread that may block.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::sys::Disk;
use crate::types::{QueueId, State, Timestamp};

use super::super::{Settings, SpoolError};
use super::archive::{Archive, ArchiveError, ArchiveHead, Found};
use super::copies::NewCopy;
use super::core::get_entry;
use super::import_report::{Ended, ImportError, Imported, ImportedMessage, Taken};
use super::job::{Content, HeldPart, Job};
use super::reading::Reading;
use super::report::OpenError;
use super::store::JournalStore;

/// Messages on their way to the committer at once.
const UNDER_WAY: usize = 32;
/// Octets on their way to the committer at once, roughly.
const OCTETS_UNDER_WAY: u64 = 16 << 20;

/// The messages of an export, and when the oldest was accepted.
///
/// # Errors
/// [`ArchiveError::File`]: the disk failed.
pub fn messages_of(
    archive: &mut Archive,
) -> Result<(BTreeSet<QueueId>, Option<Timestamp>), ArchiveError> {
    let (mut ids, mut oldest) = (BTreeSet::new(), None::<Timestamp>);
    while let Some(found) = archive.next()? {
        if let Found::Message { head, .. } = found {
            ids.insert(head.message.id);
            let at = head.message.received_at;
            oldest = Some(oldest.map_or(at, |oldest| oldest.min(at)));
        }
    }
    Ok((ids, oldest))
}

/// Where messages go.
enum Target<'a> {
    Spool(&'a JournalStore),
    /// Nowhere: these are there.
    Nowhere(BTreeSet<QueueId>),
}

/// What has come of the message whose parts are being read.
struct Parts {
    id: QueueId,
    held: Vec<HeldPart>,
    count: u32,
    octets: u64,
    is_whole: bool,
    is_there: bool,
}

struct UnderWay {
    message: ImportedMessage,
    answer: oneshot::Receiver<Result<(), SpoolError>>,
}

/// An import under way.
struct Import<'a> {
    target: Target<'a>,
    ended: &'a Ended,
    told: &'a mut dyn FnMut(&ImportedMessage),
    parts: Option<Parts>,
    under_way: VecDeque<UnderWay>,
    octets_under_way: u64,
    report: Imported,
}

impl JournalStore {
    /// Takes in what an export holds; `told` hears of each message when it is
    /// durable. Blocks.
    ///
    /// # Errors
    /// [`ImportError`].
    pub fn import(
        &self,
        archive: &mut Archive,
        ended: &Ended,
        told: &mut dyn FnMut(&ImportedMessage),
    ) -> Result<Imported, ImportError> {
        Import::new(Target::Spool(self), ended, told).run(archive)
    }
}

/// Says what an import would do, and changes nothing. Blocks.
///
/// # Errors
/// [`ImportError`]; that the spool can't be read comes as text.
pub fn rehearse(
    settings: &Settings,
    disk: Arc<dyn Disk>,
    archive: &mut Archive,
    ended: &Ended,
    told: &mut dyn FnMut(&ImportedMessage),
) -> Result<Result<Imported, ImportError>, OpenError> {
    let has_spool = disk.list(&settings.folder.join("seg")).is_ok();
    let there = match has_spool {
        true => Reading::open(settings, disk, false)?
            .messages
            .into_keys()
            .collect(),
        false => BTreeSet::new(),
    };
    Ok(Import::new(Target::Nowhere(there), ended, told).run(archive))
}

impl<'a> Import<'a> {
    fn new(
        target: Target<'a>,
        ended: &'a Ended,
        told: &'a mut dyn FnMut(&ImportedMessage),
    ) -> Self {
        Self {
            target,
            ended,
            told,
            parts: None,
            under_way: VecDeque::new(),
            octets_under_way: 0,
            report: Imported::default(),
        }
    }

    fn run(mut self, archive: &mut Archive) -> Result<Imported, ImportError> {
        let result = self.take_all(archive);
        // What is under way arrives, whatever stopped us.
        let rest = self.wait_for(0);
        if let Err(why) = result.and(rest.map_err(Stopped::Spool)) {
            return Err(match why {
                Stopped::Archive(e) => e.into(),
                Stopped::Spool(why) => ImportError::Spool {
                    why,
                    taken: self.report.messages,
                },
            });
        }
        self.report.balance();
        Ok(self.report)
    }

    fn take_all(&mut self, archive: &mut Archive) -> Result<(), Stopped> {
        while let Some(found) = archive.next()? {
            match found {
                Found::Part { id, number, octets } => self.part(id, number, octets)?,
                Found::Message { head, body } => self.message(*head, body)?,
                Found::Damaged { offset, id, .. } => self.report.name(Some(offset), id, Vec::new()),
                Found::End(end) => self.report.end = Some(end),
            }
        }
        Ok(())
    }

    fn part(&mut self, id: QueueId, number: u32, octets: Bytes) -> Result<(), SpoolError> {
        if number == 0 || self.parts.as_ref().is_none_or(|parts| parts.id != id) {
            self.parts = Some(Parts {
                id,
                held: Vec::new(),
                count: 0,
                octets: 0,
                is_whole: true,
                is_there: self.is_there(id)?,
            });
        }
        let Some(parts) = &mut self.parts else {
            return Ok(());
        };
        parts.is_whole &= parts.count == number;
        parts.count = parts.count.saturating_add(1);
        parts.octets = parts.octets.saturating_add(octets.len() as u64);
        if let Target::Spool(store) = self.target
            && parts.is_whole
            && !parts.is_there
        {
            let (reply, answer) = oneshot::channel();
            send(
                store,
                Job::Part {
                    id,
                    number,
                    pieces: vec![octets],
                    is_carried: false,
                    reply,
                },
            )?;
            let part = answer.blocking_recv().map_err(|_| SpoolError::Closed)??;
            parts.held.push(part);
        }
        Ok(())
    }

    fn message(&mut self, mut head: ArchiveHead, body: Bytes) -> Result<(), SpoolError> {
        let id = head.message.id;
        let parts = self.parts.take().filter(|parts| parts.id == id);
        let is_whole = is_whole(&head, parts.as_ref());
        if !is_whole {
            let hosts = head.message.by_host().into_iter().map(|(host, _)| host);
            self.report.name(None, Some(id), hosts.collect());
            return Ok(());
        }
        // Damage in what a second try has replaced is none.
        self.report.unname(id);
        let is_listed = self.end(&mut head);
        let mut message = ImportedMessage {
            id,
            taken: Taken::New,
            open: head.statuses.iter().filter(|s| s.state.is_open()).count(),
            octets: head.octets,
        };
        if self.is_there(id)? {
            message.taken = Taken::Already;
        } else if !is_listed {
            message.taken = Taken::Ended;
        }
        if message.taken != Taken::New {
            self.note(&message);
            return Ok(());
        }
        let mut parts = parts
            .map(|parts| parts.held)
            .unwrap_or_default()
            .into_iter();
        let mut take = |count: u32| Content::Parts(parts.by_ref().take(count as usize).collect());
        let content = match head.parts {
            0 => Content::Inline(vec![body]),
            count => take(count),
        };
        let copies = head.copies.drain(..).map(|copy| NewCopy {
            head: copy.head,
            content: Some(take(copy.parts)),
        });
        let copies = copies.collect();
        self.write(head, content, copies, message)
    }

    /// Sends a message on its way to the committer.
    fn write(
        &mut self,
        head: ArchiveHead,
        content: Content,
        copies: Vec<NewCopy>,
        message: ImportedMessage,
    ) -> Result<(), SpoolError> {
        let Target::Spool(store) = self.target else {
            self.note(&message);
            return Ok(());
        };
        let (reply, answer) = oneshot::channel();
        send(
            store,
            Job::Import {
                message: head.message,
                statuses: head.statuses,
                content,
                copies,
                reply,
            },
        )?;
        self.octets_under_way += message.octets;
        self.under_way.push_back(UnderWay { message, answer });
        self.wait_for(UNDER_WAY)
    }

    /// Ends the recipients that have ended since; says whether there is anything
    /// left to be listed.
    fn end(&self, head: &mut ArchiveHead) -> bool {
        let recipients = head.message.envelope.recipients.iter();
        for (mailbox, status) in recipients.zip(&mut head.statuses) {
            let how = self.ended.get(&head.message.id);
            if let Some(state) = how.and_then(|how| how.get(&mailbox.to_string()))
                && status.state.may_become(*state)
            {
                status.state = *state;
                status.next_attempt = None;
            }
        }
        let is_listed = |state: State| state.is_open() || state == State::Dead;
        head.statuses.iter().any(|s| is_listed(s.state))
    }

    /// Waits until so few are under way.
    fn wait_for(&mut self, few: usize) -> Result<(), SpoolError> {
        let mut first_error = Ok(());
        while self.under_way.len() > few || (few > 0 && self.octets_under_way > OCTETS_UNDER_WAY) {
            let Some(mut next) = self.under_way.pop_front() else {
                break;
            };
            self.octets_under_way = self.octets_under_way.saturating_sub(next.message.octets);
            match next.answer.blocking_recv() {
                Ok(Ok(())) => self.note(&next.message),
                Ok(Err(SpoolError::Unknown)) => {
                    next.message.taken = Taken::Already;
                    self.note(&next.message);
                }
                Ok(Err(error)) => first_error = first_error.and(Err(error)),
                Err(_) => first_error = first_error.and(Err(SpoolError::Closed)),
            }
        }
        first_error
    }

    fn is_there(&self, id: QueueId) -> Result<bool, SpoolError> {
        match &self.target {
            Target::Nowhere(there) => Ok(there.contains(&id)),
            Target::Spool(store) => store
                .core()
                .read(|index| Ok(get_entry(index, id)?.is_some())),
        }
    }

    fn note(&mut self, message: &ImportedMessage) {
        self.report.count(message);
        (self.told)(message);
    }
}

/// Whether all parts that a message's record counts went before it.
fn is_whole(head: &ArchiveHead, parts: Option<&Parts>) -> bool {
    let own = match head.parts {
        0 => 0,
        _ => head.octets,
    };
    let copies = head.copies.iter();
    let (count, octets) = copies.fold((u64::from(head.parts), own), |(count, octets), copy| {
        let octets = octets.saturating_add(copy.octets);
        (count + u64::from(copy.parts), octets)
    });
    match parts {
        None => count == 0,
        Some(parts) => {
            count == 0
                || (parts.is_whole && u64::from(parts.count) == count && parts.octets == octets)
        }
    }
}

/// What stops an import.
enum Stopped {
    Archive(ArchiveError),
    Spool(SpoolError),
}

impl From<ArchiveError> for Stopped {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error)
    }
}

impl From<SpoolError> for Stopped {
    fn from(error: SpoolError) -> Self {
        Self::Spool(error)
    }
}

fn send(store: &JournalStore, job: Job) -> Result<(), SpoolError> {
    store
        .jobs()
        .blocking_send(job)
        .map_err(|_| SpoolError::Closed)
}
