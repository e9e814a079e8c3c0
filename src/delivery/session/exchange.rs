//! One mail transaction: MAIL, RCPT, DATA, the message, the final dot.
//!
//! Owns the order of commands and the matching of replies to them (RFC 5321
//! section 3.3, RFC 2920). Holds always: replies are matched in the order of the
//! commands; each recipient ends with exactly one [`RecipientEnd`]; an answer
//! once given is not changed by what comes later, except that acceptance at RCPT
//! waits for the final dot. Called by `session` alone.

use std::collections::VecDeque;

use bytes::BytesMut;

use super::super::failure;
use crate::types::{Failure, Mailbox, Reason, RemoteReply, Stage};
use crate::wire::{Extensions, FarReply};

/// What is to be sent.
#[derive(Clone)]
pub(crate) struct Transaction {
    /// The reverse-path; `None` is `<>`.
    pub(crate) sender: Option<Mailbox>,
    /// The forward-paths, at least one.
    pub(crate) recipients: Vec<Mailbox>,
    /// The message's octets, not dot-stuffed.
    pub(crate) size: u64,
    /// Whether any of them is over 127.
    pub(crate) eight_bit: bool,
}

impl Transaction {
    /// What comes of it when it can't even begin.
    pub(crate) fn broken(&self, failure: Failure) -> Outcome {
        Outcome {
            recipients: vec![RecipientEnd::Broken(failure); self.recipients.len()],
            reusable: false,
        }
    }
}

/// How a recipient's part of the transaction ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RecipientEnd {
    /// The final dot was answered with this 2xx.
    Delivered(RemoteReply),
    /// A 4xx or 5xx at this stage.
    Refused(Stage, RemoteReply),
    /// Too many recipients at once: others of this transaction were accepted, so
    /// this one may go in a further one (RFC 5321 section 4.5.3.1.10).
    TooMany(RemoteReply),
    /// Nothing was sent: the far side can't take such a message.
    Unsuitable(Reason),
    /// The session broke before an answer.
    Broken(Failure),
}

/// A transaction that is over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// One for each recipient, in the transaction's order.
    pub(crate) recipients: Vec<RecipientEnd>,
    /// Whether the session can go on.
    pub(crate) reusable: bool,
}

/// What a reply leads to.
pub(super) enum Progress {
    /// More replies are awaited.
    Waiting,
    /// 354: the message is wanted.
    SendMessage,
    /// It is over; `dirty` if the far side still has a transaction open.
    Finished { outcome: Outcome, dirty: bool },
}

/// The command whose reply comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Reset,
    Mail,
    Rcpt(usize),
    Data,
    /// The message is being sent: no reply is due yet.
    Message,
    FinalDot,
    /// The dot alone, after a 354 for nobody.
    LoneDot,
}

/// How a recipient stands.
enum Standing {
    /// RCPT not answered yet.
    Open,
    /// RCPT answered with 2xx.
    Accepted,
    Ended(RecipientEnd),
}

/// A transaction under way.
pub(super) struct Exchange {
    recipients: Vec<Mailbox>,
    standing: Vec<Standing>,
    awaited: VecDeque<Awaited>,
    /// Commands not sent yet, where the far side wants them one by one.
    unsent: VecDeque<Awaited>,
    mail: String,
    /// MAIL was accepted, and no DATA has ended the transaction since.
    dirty: bool,
}

impl Exchange {
    /// Writes the first commands: all of them with PIPELINING (RFC 2920 section
    /// 3.1), else one.
    ///
    /// # Errors
    /// An [`Outcome`] if the far side can't take this message at all: too large
    /// (RFC 1870 section 6) or 8-bit (RFC 6152 section 3).
    pub(super) fn begin(
        transaction: Transaction,
        offers: &Extensions,
        reset: bool,
        output: &mut BytesMut,
    ) -> Result<Self, Outcome> {
        if let Some(reason) = unsuitable(&transaction, offers) {
            let end = RecipientEnd::Unsuitable(reason);
            return Err(Outcome {
                recipients: vec![end; transaction.recipients.len()],
                reusable: true,
            });
        }
        let rcpts = (0..transaction.recipients.len()).map(Awaited::Rcpt);
        let mut exchange = Self {
            standing: rcpts.clone().map(|_| Standing::Open).collect(),
            awaited: VecDeque::new(),
            unsent: reset
                .then_some(Awaited::Reset)
                .into_iter()
                .chain([Awaited::Mail])
                .chain(rcpts)
                .chain([Awaited::Data])
                .collect(),
            mail: mail_line(&transaction, offers),
            recipients: transaction.recipients,
            dirty: false,
        };
        exchange.send_next(output);
        while offers.pipelining && !exchange.unsent.is_empty() {
            exchange.send_next(output);
        }
        Ok(exchange)
    }

    /// Where this is.
    pub(super) fn stage(&self) -> Stage {
        match self.awaited.front() {
            None | Some(Awaited::Reset | Awaited::Mail) => Stage::Mail,
            Some(Awaited::Rcpt(_)) => Stage::Rcpt,
            Some(Awaited::Data) => Stage::Data,
            Some(Awaited::Message) => Stage::Message,
            Some(Awaited::FinalDot | Awaited::LoneDot) => Stage::FinalDot,
        }
    }

    /// The final dot is on its way.
    pub(super) fn message_sent(&mut self) {
        if let Some(front @ Awaited::Message) = self.awaited.front_mut() {
            *front = Awaited::FinalDot;
        }
    }

    /// It did not leave.
    pub(super) fn message_cut(&mut self) {
        if let Some(front @ Awaited::FinalDot) = self.awaited.front_mut() {
            *front = Awaited::Message;
        }
    }

    fn send_next(&mut self, output: &mut BytesMut) {
        let Some(command) = self.unsent.pop_front() else {
            return;
        };
        match command {
            Awaited::Reset => output.extend_from_slice(b"RSET\r\n"),
            Awaited::Mail => output.extend_from_slice(self.mail.as_bytes()),
            Awaited::Rcpt(at) => {
                if let Some(mailbox) = self.recipients.get(at) {
                    output.extend_from_slice(format!("RCPT TO:<{mailbox}>\r\n").as_bytes());
                }
            }
            Awaited::Data => output.extend_from_slice(b"DATA\r\n"),
            // Not commands.
            Awaited::Message | Awaited::FinalDot | Awaited::LoneDot => return,
        }
        self.awaited.push_back(command);
    }

    /// Takes the next reply.
    pub(super) fn on_reply(&mut self, reply: &FarReply, output: &mut BytesMut) -> Progress {
        let stage = self.stage();
        let Some(awaited) = self.awaited.pop_front() else {
            return self.broken(failure::ours(Reason::ProtocolError, stage));
        };
        // The far side closes: the rest is for the next host (RFC 5321 section
        // 3.8, pitfall E6). After the dot a 421 is an answer like another.
        if reply.code() == 421 && !matches!(awaited, Awaited::FinalDot | Awaited::LoneDot) {
            return self.broken(failure::said(stage, reply.to_remote()));
        }
        match awaited {
            Awaited::Reset => {}
            Awaited::Mail => self.on_mail(reply),
            Awaited::Rcpt(at) => self.on_rcpt(at, reply),
            Awaited::Data => return self.on_data(reply, output),
            Awaited::Message => return self.on_early(reply),
            Awaited::FinalDot => return self.on_final_dot(reply),
            Awaited::LoneDot => self.dirty = false,
        }
        self.go_on(output)
    }

    fn on_mail(&mut self, reply: &FarReply) {
        self.dirty = reply.is_positive();
        if !reply.is_positive() {
            self.end_all(|_| true, &refusal(Stage::Mail, reply));
            self.unsent.clear();
        }
    }

    fn on_rcpt(&mut self, at: usize, reply: &FarReply) {
        let others = self.accepted();
        // Behind a refused MAIL nothing counts, not even a yes.
        let Some(standing @ Standing::Open) = self.standing.get_mut(at) else {
            return;
        };
        *standing = match reply.code() {
            _ if reply.is_positive() => Standing::Accepted,
            _ if others && is_count(reply) => {
                Standing::Ended(RecipientEnd::TooMany(reply.to_remote()))
            }
            _ => Standing::Ended(refusal(Stage::Rcpt, reply)),
        };
    }

    fn on_data(&mut self, reply: &FarReply, output: &mut BytesMut) -> Progress {
        match (reply.is_intermediate(), self.accepted()) {
            (true, true) => {
                self.awaited.push_back(Awaited::Message);
                return Progress::SendMessage;
            }
            // RFC 2920 section 3.1: a 354 for nobody is answered with the dot.
            (true, false) => {
                output.extend_from_slice(b".\r\n");
                self.awaited.push_back(Awaited::LoneDot);
            }
            (false, _) if reply.is_positive() => {
                return self.broken(failure::ours(Reason::ProtocolError, Stage::Data));
            }
            (false, _) => self.end_open(&refusal(Stage::Data, reply)),
        }
        self.go_on(output)
    }

    /// A reply in the middle of the message: a refusal stands, and the session
    /// can't be brought back into step.
    fn on_early(&mut self, reply: &FarReply) -> Progress {
        match reply.is_temporary() || reply.is_permanent() {
            true => {
                self.end_open(&refusal(Stage::Message, reply));
                self.finish(false)
            }
            false => self.broken(failure::ours(Reason::ProtocolError, Stage::Message)),
        }
    }

    fn on_final_dot(&mut self, reply: &FarReply) -> Progress {
        self.dirty = false;
        if reply.is_intermediate() {
            return self.broken(failure::ours(Reason::OutcomeUnknown, Stage::FinalDot));
        }
        let end = match reply.is_positive() {
            true => RecipientEnd::Delivered(reply.to_remote()),
            false => refusal(Stage::FinalDot, reply),
        };
        self.end_open(&end);
        self.finish(reply.code() != 421)
    }

    /// The next command, or the end if none is left and none is awaited.
    fn go_on(&mut self, output: &mut BytesMut) -> Progress {
        let for_nobody = !self
            .standing
            .iter()
            .any(|s| !matches!(s, Standing::Ended(_)));
        if for_nobody {
            self.unsent.clear();
        }
        if self.awaited.is_empty() {
            self.send_next(output);
        }
        match self.awaited.is_empty() {
            true => self.finish(true),
            false => Progress::Waiting,
        }
    }

    /// The connection is gone.
    pub(super) fn lost(mut self, reason: Reason) -> Outcome {
        let stage = self.stage();
        let reason = match self.awaited.front() {
            Some(Awaited::FinalDot) => Reason::OutcomeUnknown,
            _ => reason,
        };
        self.end_open(&RecipientEnd::Broken(failure::ours(reason, stage)));
        self.outcome(false)
    }

    fn broken(&mut self, failure: Failure) -> Progress {
        self.end_open(&RecipientEnd::Broken(failure));
        self.finish(false)
    }

    fn finish(&mut self, reusable: bool) -> Progress {
        Progress::Finished {
            outcome: self.outcome(reusable),
            dirty: self.dirty,
        }
    }

    fn outcome(&mut self, reusable: bool) -> Outcome {
        let stage = self.stage();
        let standing = std::mem::take(&mut self.standing);
        let ends = standing.into_iter().map(|standing| match standing {
            Standing::Ended(end) => end,
            Standing::Open | Standing::Accepted => {
                RecipientEnd::Broken(failure::ours(Reason::ProtocolError, stage))
            }
        });
        Outcome {
            recipients: ends.collect(),
            reusable,
        }
    }

    fn accepted(&self) -> bool {
        let mut standing = self.standing.iter();
        standing.any(|standing| matches!(standing, Standing::Accepted))
    }

    fn end_open(&mut self, end: &RecipientEnd) {
        self.end_all(|standing| !matches!(standing, Standing::Ended(_)), end);
    }

    fn end_all(&mut self, which: impl Fn(&Standing) -> bool, end: &RecipientEnd) {
        for standing in self.standing.iter_mut().filter(|standing| which(standing)) {
            *standing = Standing::Ended(end.clone());
        }
    }
}

/// A negative reply; one that is neither 4xx nor 5xx where a yes was due makes
/// no sense.
fn refusal(stage: Stage, reply: &FarReply) -> RecipientEnd {
    match reply.is_temporary() || reply.is_permanent() {
        true => RecipientEnd::Refused(stage, reply.to_remote()),
        false => RecipientEnd::Broken(failure::ours(Reason::ProtocolError, stage)),
    }
}

/// Whether a refusal at RCPT speaks of the number of recipients (X.5.3, RFC 3463
/// section 3.6), with whatever temporary code (OpenSMTPD says 451), or is a 452 or
/// 552 that leaves it open, rather than of the mailbox.
fn is_count(reply: &FarReply) -> bool {
    let by_code = matches!(reply.code(), 452 | 552);
    match reply.enhanced() {
        Some(enhanced) => enhanced.ends_with(".5.3") && (by_code || reply.is_temporary()),
        None => by_code,
    }
}

fn unsuitable(transaction: &Transaction, offers: &Extensions) -> Option<Reason> {
    if offers
        .size_limit
        .is_some_and(|limit| transaction.size > limit)
    {
        return Some(Reason::TooLarge);
    }
    (transaction.eight_bit && !offers.eight_bit_mime).then_some(Reason::EightBit)
}

fn mail_line(transaction: &Transaction, offers: &Extensions) -> String {
    let mut line = match &transaction.sender {
        Some(sender) => format!("MAIL FROM:<{sender}>"),
        None => "MAIL FROM:<>".to_owned(),
    };
    if offers.size {
        line.push_str(&format!(" SIZE={}", transaction.size));
    }
    if transaction.eight_bit {
        line.push_str(" BODY=8BITMIME");
    }
    line.push_str("\r\n");
    line
}
