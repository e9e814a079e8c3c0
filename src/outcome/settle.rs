//! From a report and the queue's decisions to the one Settlement.
//!
//! Holds always: statuses, DSNs, notices and audit events of an attempt stand in
//! one Settlement; recipients that fail in the same way share one DSN; for a null
//! sender there is none (RFC 5321 section 4.5.5, RFC 3464 section 2). Called by the
//! queue's lanes after each attempt, and by its sweep for messages that wait.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;

use crate::sys::metrics::Page;
use crate::sys::{Clock, Entropy};
use crate::types::{
    AuditEvent, Body, BodyType, Envelope, Failure, Fate, Job, JobRecipient, Mailbox, Message,
    MessageFacts, Method, NewMessage, Origin, OwnMailKind, QueueId, RecipientChange,
    RecipientReport, RecipientStatus, RemoteReply, Report, Settlement, State, Timestamp, Waiver,
};

use super::dsn::{self, Dsn, Kind};
use super::meters::Meters;
use super::{Decision, Settings, Verdict, line, notice};

/// Octets of an original's header that are looked at for a DSN.
const HEADER_MAX: usize = 256 * 1024;
/// Octets of a status' last reply (see [`RecipientStatus::last_reply`]).
const REPLY_MAX: usize = 512;

/// The outcome room.
pub struct Outcome {
    settings: Settings,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// Stands in for randomness in names, should the system have none.
    counter: AtomicU32,
    /// Shared with the one that a reload puts in its place: figures go on.
    pub(super) meters: Arc<Meters>,
}

/// One recipient of a settlement: who, what came of it, what follows.
pub(super) struct Case<'a> {
    pub(super) recipient: &'a JobRecipient,
    pub(super) report: &'a RecipientReport,
    pub(super) decision: Decision,
    pub(super) state: State,
}

impl Case<'_> {
    /// Why it was not delivered, if it wasn't.
    pub(super) fn failure(&self) -> Option<&Failure> {
        match &self.report.fate {
            Fate::Delivered(_) => None,
            Fate::Deferred(failure)
            | Fate::Bounced(failure)
            | Fate::Dropped(failure)
            | Fate::Held(failure) => Some(failure),
        }
    }

    /// What the far side said, if it said something.
    pub(super) fn reply(&self) -> Option<&RemoteReply> {
        match &self.report.fate {
            Fate::Delivered(reply) => Some(reply),
            _ => self.failure().and_then(|failure| failure.reply.as_ref()),
        }
    }

    /// Whether an attempt was made; a recipient can also have waited behind its
    /// site's backoff.
    pub(super) fn was_attempted(&self) -> bool {
        self.decision.attempts > self.recipient.attempts
    }

    /// The DSN that it calls for.
    fn dsn(&self) -> Option<Kind> {
        match self.decision.verdict {
            Verdict::Bounced => Some(Kind::Failed),
            Verdict::Expired => Some(Kind::Expired),
            Verdict::Waits {
                tell_delay: true, ..
            } => Some(Kind::Delayed),
            Verdict::Waits { .. } | Verdict::Delivered | Verdict::Dropped | Verdict::Held => None,
        }
    }

    fn status(&self) -> RecipientStatus {
        let (next_attempt, told_now) = match self.decision.verdict {
            Verdict::Waits { next, tell_delay } => (Some(next), tell_delay),
            _ => (None, false),
        };
        let said = self.report.note.as_ref();
        let note = said.filter(|_| self.state == State::Held);
        let last = match (self.reply(), note, self.failure()) {
            (Some(reply), ..) => reply.to_string(),
            (None, Some(note), _) => note.clone(),
            (None, None, Some(failure)) => failure.reason.to_string(),
            (None, None, None) => String::new(),
        };
        RecipientStatus {
            state: self.state,
            attempts: self.decision.attempts,
            next_attempt,
            delay_told: self.recipient.delay_told || told_now,
            released: self.recipient.released,
            method: self.report.method,
            last_reply: Some(clip(last, REPLY_MAX)),
        }
    }
}

impl Outcome {
    /// Brings the room its settings and ports.
    #[must_use]
    pub fn new(settings: Settings, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            settings,
            clock,
            entropy,
            counter: AtomicU32::new(0),
            meters: Arc::default(),
        }
    }

    /// The room by new settings, for a reload; its figures go on.
    #[must_use]
    pub fn renewed(&self, settings: Settings) -> Self {
        Self {
            settings,
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            counter: AtomicU32::new(0),
            meters: Arc::clone(&self.meters),
        }
    }

    /// What follows from an attempt, and the log line of each recipient.
    ///
    /// `report.recipients` and `decisions` stand in the order of
    /// `job.recipients`, one each. Reads the header of the original where a DSN is
    /// to be written; a DSN is written without it if it can't be read.
    pub async fn settle(&self, job: &Job, report: &Report, decisions: &[Decision]) -> Settlement {
        let cases = cases(job, report, decisions);
        let now = self.clock.now();
        for case in cases.iter().filter(|case| is_news(case)) {
            let line = line::line(case, report, self.settings.log_addresses);
            tracing::info!("{line}");
            self.meters.note(case, &job.message, now);
        }
        if let Some(waiver) = &report.waiver {
            let (id, domain) = (job.message.id, &waiver.domain);
            let (owner, until) = (&waiver.owner, waiver.until);
            tracing::warn!("exception used: domain={domain} by={owner} until={until} id={id}");
        }
        Settlement {
            id: job.message.id,
            changes: cases
                .iter()
                .map(|case| RecipientChange {
                    index: case.recipient.index,
                    status: case.status(),
                })
                .collect(),
            messages: self.messages(job, report, &cases, now).await,
            copies: cases
                .iter()
                .filter(|case| case.state.is_open())
                .filter_map(|case| case.report.copy.clone())
                .collect(),
            events: cases
                .iter()
                .filter(|case| is_news(case))
                .map(|case| self.event(job, case, report, now))
                .collect(),
            learnt: report.learnt.clone(),
        }
    }

    /// Writes what there is to see of outcomes.
    pub fn write_figures(&self, page: &mut Page) {
        self.meters.write(page);
    }

    /// The DSNs, or the notice about a DSN that is dead.
    async fn messages(
        &self,
        job: &Job,
        report: &Report,
        cases: &[Case<'_>],
        now: Timestamp,
    ) -> Vec<NewMessage> {
        let Some(sender) = &job.message.envelope.sender else {
            return self.dead_notice(job, cases, now).into_iter().collect();
        };
        let mut messages = Vec::new();
        let mut header = None;
        for kind in [Kind::Failed, Kind::Expired, Kind::Delayed] {
            let concerned: Vec<&Case<'_>> =
                cases.iter().filter(|c| c.dsn() == Some(kind)).collect();
            if concerned.is_empty() {
                continue;
            }
            if header.is_none() {
                header = Some(read_header(job.body.as_ref()).await);
            }
            let dsn = Dsn {
                id: self.name(now),
                settings: &self.settings,
                kind,
                original: &job.message,
                sender,
                cases: &concerned,
                attempted_at: report.at,
                header: header.as_deref().unwrap_or_default(),
                boundary: format!("={}", self.name(now)),
                now,
            };
            let octets = dsn.compose();
            let about = job.message.id;
            messages.push(self.own_mail(dsn.id, OwnMailKind::Dsn { about }, sender, octets));
        }
        messages
    }

    /// Tells the postmaster of a DSN that found no way; a notice that found none
    /// is not noticed again.
    fn dead_notice(&self, job: &Job, cases: &[Case<'_>], now: Timestamp) -> Option<NewMessage> {
        let Origin::Own(OwnMailKind::Dsn { about: original }) = job.message.origin else {
            return None;
        };
        let dead: Vec<&Case<'_>> = cases.iter().filter(|c| c.state == State::Dead).collect();
        // The DSN went to the sender, so its host is the sender's domain.
        let sender = &dead.first()?.recipient.mailbox;
        let postmaster = match &self.settings.postmaster {
            Some(postmaster) => postmaster.clone(),
            None => Mailbox::new("postmaster", sender.host().clone()).ok()?,
        };
        let id = self.name(now);
        let about = job.message.id;
        let text = notice::compose(&notice::Notice {
            id,
            settings: &self.settings,
            postmaster: &postmaster,
            dsn: about,
            original,
            dead: &dead,
            now,
        });
        let kind = OwnMailKind::DeadNotice { about };
        Some(self.own_mail(id, kind, &postmaster, text))
    }

    fn event(&self, job: &Job, case: &Case<'_>, report: &Report, now: Timestamp) -> AuditEvent {
        let sender = job.message.envelope.sender.as_ref();
        let (actor, note) = match &job.message.origin {
            Origin::Test { by } => (Some(by.clone()), Some("test".to_owned())),
            Origin::Submitted(_) | Origin::Own(_) => (None, None),
        };
        let waiver = report.waiver.as_ref();
        let waived = waiver.filter(|_| case.report.method == Some(Method::Cleartext));
        let notes = [note, waived.map(Waiver::note), case.report.note.clone()];
        let notes: Vec<String> = notes.into_iter().flatten().collect();
        let note = (!notes.is_empty()).then(|| notes.join("; "));
        AuditEvent {
            event: self.name(now),
            id: job.message.id,
            time: now,
            sender: sender.map(Mailbox::to_string).unwrap_or_default(),
            recipient: case.recipient.mailbox.to_string(),
            state: case.state,
            method: case.report.method,
            reason: case.failure().map(|failure| failure.reason.to_string()),
            reply: case.reply().map(RemoteReply::to_string),
            evidence: case.report.evidence.clone(),
            actor,
            note,
        }
    }

    /// A message of our own; `id` is also in its Message-ID.
    fn own_mail(&self, id: QueueId, kind: OwnMailKind, to: &Mailbox, text: Vec<u8>) -> NewMessage {
        self.meters.note_own_mail(&kind);
        NewMessage {
            message: Message {
                id,
                received_at: self.clock.now(),
                origin: Origin::Own(kind),
                envelope: Envelope {
                    sender: None,
                    recipients: vec![to.clone()],
                    body: BodyType::SevenBit,
                },
                facts: MessageFacts {
                    size: text.len() as u64,
                    eight_bit: false,
                    message_id: Some(dsn::message_id(&self.settings, id)),
                    content: None,
                },
            },
            octets: Bytes::from(text),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A name for a message or an event. It has to be unique, not secret, so that
    /// a system without randomness loses no outcome.
    pub(super) fn name(&self, now: Timestamp) -> QueueId {
        let mut random = [0; 4];
        if self.entropy.fill(&mut random).is_err() {
            random = self.counter.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        }
        QueueId::new(now, random)
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcome")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

fn cases<'a>(job: &'a Job, report: &'a Report, decisions: &[Decision]) -> Vec<Case<'a>> {
    let own = job.message.is_own_mail();
    job.recipients
        .iter()
        .zip(&report.recipients)
        .zip(decisions)
        .map(|((recipient, report), decision)| Case {
            recipient,
            report,
            decision: *decision,
            state: state(decision.verdict, own),
        })
        .collect()
}

/// Own mail that fails is `dead`: nobody was told, so it stays listed. A null
/// sender's message from outside fails like any other, without a DSN: others'
/// automatic answers to addresses that don't exist are not worth a list (E55).
fn state(verdict: Verdict, own: bool) -> State {
    match verdict {
        Verdict::Delivered => State::Delivered,
        Verdict::Dropped => State::Dropped,
        Verdict::Held => State::Held,
        Verdict::Waits { .. } => State::Queued,
        Verdict::Bounced | Verdict::Expired if own => State::Dead,
        Verdict::Bounced => State::Bounced,
        Verdict::Expired => State::Expired,
    }
}

/// Whether log and audit tell of it: an attempt, a hold, or an ending.
fn is_news(case: &Case<'_>) -> bool {
    case.was_attempted() || case.state != State::Queued
}

/// The original's header section, or what of it can be read.
async fn read_header(body: &dyn Body) -> Vec<u8> {
    let mut header = Vec::new();
    let mut reader = body.open();
    while header.len() < HEADER_MAX {
        match reader.next().await {
            Ok(Some(piece)) => {
                // The end of the header may lie across two pieces.
                let from = header.len().saturating_sub(3);
                header.extend_from_slice(&piece);
                if let Some(end) = find_end(&header, from) {
                    header.truncate(end);
                    return header;
                }
            }
            Ok(None) => return header,
            Err(error) => {
                tracing::warn!("a DSN goes without the original's header: {error}");
                return Vec::new();
            }
        }
    }
    header.truncate(HEADER_MAX);
    header
}

/// Where the header section ends: behind the line before the empty one.
fn find_end(octets: &[u8], from: usize) -> Option<usize> {
    if octets.starts_with(b"\r\n") {
        return Some(0);
    }
    let tail = octets.get(from..)?;
    memchr::memmem::find(tail, b"\r\n\r\n").map(|at| from + at + 2)
}

pub(super) fn clip(mut text: String, max: usize) -> String {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
