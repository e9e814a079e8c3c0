//! A message on its way in, without I/O.
//!
//! Owns what happens between the octets of DATA and those handed to the spool:
//! dots, the size limit, the header section's fix-ups and the From check. Holds
//! always: nothing is handed out before the header section is whole, checked and
//! made ready; once refused, nothing more is handed out, and what is still read
//! is bounded; what is held is bounded by the header section's limit. Called by
//! the session.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::admission::Rights;
use super::replies::{self, capital};
use crate::message::{
    self, HeaderCollector, HeaderFault, Kind, Notes, Prepared, Texts, TlsWords, TraceContext,
};
use crate::types::{Domain, Mailbox, MessageFacts, Protocol, QueueId, Timestamp, Wanted};
use crate::wire::{DataDecoder, DataFacts, Refused, Reply};

/// What the header section is checked against and made ready with.
#[derive(Debug, Clone)]
pub struct HeaderContext {
    /// The message's name.
    pub id: QueueId,
    /// The time for Received and Date.
    pub now: Timestamp,
    /// Our name.
    pub hostname: Domain,
    /// The client's address.
    pub client: IpAddr,
    /// What EHLO or HELO said.
    pub client_name: String,
    /// The protocol word.
    pub protocol: Protocol,
    /// TLS version and cipher.
    pub tls: Option<(String, String)>,
    /// What the principal may send as.
    pub rights: Rights,
    /// MAIL FROM.
    pub sender: Option<Mailbox>,
    /// What is noted of the content.
    pub wanted: Arc<Wanted>,
}

/// What came of the octets so far.
#[derive(Debug)]
pub(super) enum Taken {
    /// Needs more.
    Starved,
    /// These go to the spool next.
    Piece(Bytes),
    /// The message will be refused; what was handed out can be dropped.
    Spoilt,
    /// It was refused at its final dot, for this reply.
    Refused(Reply),
    /// It was refused, and its end does not come: close.
    Endless(Reply),
    /// It is whole, and handed out; in this text rules want something counted.
    Whole(MessageFacts, Option<Texts>),
}

/// Where the message stands.
#[derive(Debug)]
enum Stage {
    /// Its header section is gathered.
    Header(HeaderCollector),
    /// Its body is handed on.
    Body,
    /// It is read to its end, which is then refused.
    Drain(Drain),
}

/// A refused message on its way to its final dot.
#[derive(Debug)]
struct Drain {
    /// What is said there.
    reply: Reply,
    /// Octets passed over.
    octets: u64,
    /// Whether [`Taken::Spoilt`] was said.
    told: bool,
}

/// A message being read.
pub(super) struct Incoming {
    context: Box<HeaderContext>,
    limit: u64,
    decoder: DataDecoder,
    decoded: BytesMut,
    stage: Stage,
    end: Option<DataFacts>,
    handed_out: u64,
    message_id: Option<String>,
    notes: Option<Notes>,
}

impl std::fmt::Debug for Incoming {
    /// Leaves the content out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Incoming({})", self.context.id)
    }
}

impl Incoming {
    /// Expects a message of at most `limit` octets; 0: no limit.
    pub(super) fn new(limit: u64, context: HeaderContext) -> Self {
        let limit = if limit == 0 { u64::MAX } else { limit };
        Self {
            context: Box::new(context),
            limit,
            decoder: DataDecoder::new(limit),
            decoded: BytesMut::new(),
            stage: Stage::Header(HeaderCollector::new()),
            end: None,
            handed_out: 0,
            message_id: None,
            notes: None,
        }
    }

    /// Takes what arrived, up to the final dot. To be called until it says
    /// [`Taken::Starved`] or the message is over.
    pub(super) fn take(&mut self, input: &mut BytesMut) -> Taken {
        let before = input.len();
        if let Some(taken) = self.decode(input) {
            return taken;
        }
        let read = before.saturating_sub(input.len()) as u64;
        match &self.stage {
            Stage::Header(_) => self.take_header(),
            Stage::Body => self.take_body(),
            Stage::Drain(_) => self.drain(read),
        }
    }

    /// Reads on without handing out, to the final dot or a bound.
    fn drain(&mut self, read: u64) -> Taken {
        let Stage::Drain(drain) = &mut self.stage else {
            return Taken::Starved;
        };
        if self.end.is_some() {
            return Taken::Refused(drain.reply.clone());
        }
        if !std::mem::replace(&mut drain.told, true) {
            return Taken::Spoilt;
        }
        drain.octets = drain.octets.saturating_add(read);
        if drain.octets > self.limit.saturating_mul(DRAIN_FACTOR).max(DRAIN_MIN) {
            return Taken::Endless(drain.reply.clone());
        }
        Taken::Starved
    }

    /// Gathers the header section, then checks it and makes it ready.
    fn take_header(&mut self) -> Taken {
        let Stage::Header(collector) = &mut self.stage else {
            return Taken::Starved;
        };
        let header = match collector.push(&self.decoded.split()) {
            Err(error) => return self.refuse(fault(error.into())),
            Ok(Some(collected)) => {
                self.decoded = BytesMut::from(collected.rest);
                collected.header
            }
            // The message ended before an empty line: it is all header.
            Ok(None) if self.end.is_some() => std::mem::take(collector).finish(),
            Ok(None) => return Taken::Starved,
        };
        match self.context.prepare(&header) {
            Ok(prepared) => {
                self.message_id = prepared.message_id;
                self.notes = Some(Notes::new(&header, &self.context.wanted));
                self.stage = Stage::Body;
                self.hand_out(prepared.header)
            }
            Err(reply) => self.refuse(reply),
        }
    }

    fn take_body(&mut self) -> Taken {
        if self.decoded.len() >= PIECE || (self.end.is_some() && !self.decoded.is_empty()) {
            let length = self.decoded.len().min(PIECE);
            let piece = self.decoded.split_to(length).freeze();
            if let Some(notes) = &mut self.notes {
                notes.push(&piece);
            }
            return self.hand_out(piece);
        }
        match self.end {
            Some(facts) => {
                let (content, texts) = self.notes.take().map(Notes::finish).unzip();
                let facts = MessageFacts {
                    size: self.handed_out,
                    // What we add is ASCII.
                    eight_bit: facts.eight_bit,
                    message_id: self.message_id.take(),
                    content: content.map(Arc::new),
                };
                Taken::Whole(facts, texts.flatten())
            }
            None => Taken::Starved,
        }
    }

    fn hand_out(&mut self, octets: Bytes) -> Taken {
        self.handed_out = self.handed_out.saturating_add(octets.len() as u64);
        Taken::Piece(octets)
    }

    fn refuse(&mut self, reply: Reply) -> Taken {
        self.give_up(reply);
        self.drain(0)
    }

    /// The spool failed: the rest is read and `reply` given.
    pub(super) fn give_up(&mut self, reply: Reply) {
        if !matches!(self.stage, Stage::Drain(_)) {
            self.decoded = BytesMut::new();
            self.notes = None;
            self.stage = Stage::Drain(Drain {
                reply,
                octets: 0,
                told: false,
            });
        }
    }

    /// Runs the decoder; tells if the message is over by it.
    fn decode(&mut self, input: &mut BytesMut) -> Option<Taken> {
        if self.end.is_some() {
            return None;
        }
        let result = self.decoder.decode(input, &mut self.decoded);
        if let Stage::Drain(drain) = &self.stage {
            self.decoded.clear();
            // What is wrong with the octets themselves is told before all else, so
            // that the reply does not hang on how they were cut.
            return result.map(|end| match end {
                Ok(_) => Taken::Refused(drain.reply.clone()),
                Err(refused) => Taken::Refused(self.refusal(refused)),
            });
        }
        match result {
            Some(Ok(facts)) => self.end = Some(facts),
            Some(Err(refused)) => return Some(Taken::Refused(self.refusal(refused))),
            None => {
                if let Some(refused) = self.decoder.refused() {
                    self.give_up(self.refusal(refused));
                }
            }
        }
        None
    }

    fn refusal(&self, refused: Refused) -> Reply {
        match refused {
            Refused::TooLarge => replies::too_large(self.limit),
            other => other.reply(),
        }
    }
}

impl HeaderContext {
    /// Fix-ups, trace field and the From check.
    fn prepare(&self, header: &[u8]) -> Result<Prepared, Reply> {
        let kind = match self.rights.is_account() {
            true => Kind::Submission,
            false => Kind::Relay,
        };
        let trace = TraceContext {
            hostname: &self.hostname,
            helo: &self.client_name,
            client: self.client,
            protocol: self.protocol,
            tls: self
                .tls
                .as_ref()
                .map(|(version, cipher)| TlsWords { version, cipher }),
            id: self.id,
            at: self.now,
        };
        let prepared = message::prepare(header, kind, &trace).map_err(fault)?;
        self.rights
            .check_from(self.sender.as_ref(), &prepared.from)
            .map_err(|refusal| refusal.reply_to_data())?;
        Ok(prepared)
    }
}

fn fault(fault: HeaderFault) -> Reply {
    let (code, enhanced) = fault.codes();
    Reply::new(code, enhanced, capital(&fault.to_string()))
}

/// Octets handed out at once.
const PIECE: usize = 64 * 1024;
/// A refused message is read on up to this many times the size limit ...
const DRAIN_FACTOR: u64 = 4;
/// ... but at least so far.
const DRAIN_MIN: u64 = 1 << 20;
