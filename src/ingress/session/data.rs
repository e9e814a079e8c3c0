//! DATA in the session: pieces to the intake, and the one commit.
//!
//! Holds always: what is refused is read to its final dot before the reply, so
//! that its rest is not taken for commands, but not for ever; a client that
//! vanishes before the dot leaves nothing (I27). Called by the session.

use std::sync::Arc;

use super::{Action, Awaited, Phase, Progress, Session, replies};
use crate::ingress::intake::{HeaderContext, Taken};
use crate::message::Texts;
use crate::spool::{SpoolError, Ticket};
use crate::types::{MessageFacts, Origin, Source, TextCount};
use crate::wire::Reply;

impl Session {
    /// What the header section is made ready with.
    pub(super) fn header_context(&self) -> Option<HeaderContext> {
        let transaction = self.transaction.as_ref()?;
        Some(HeaderContext {
            id: transaction.id?,
            now: self.now,
            hostname: self.rules.hostname.clone(),
            client: self.client,
            client_name: self.hello.as_ref()?.name.clone(),
            protocol: self.protocol(),
            tls: self
                .secured
                .as_ref()
                .map(|s| (s.version.clone(), s.cipher.clone())),
            rights: transaction.rights.clone(),
            sender: transaction.sender.clone(),
            wanted: self.rules.wanted.clone(),
        })
    }

    pub(super) fn take_data(&mut self) -> Progress {
        let Some(incoming) = self.incoming() else {
            self.close_with(&replies::internal());
            return Progress::Made;
        };
        match incoming {
            Taken::Starved => return Progress::Starved,
            Taken::Piece(octets) => self.ask(Action::Body(octets), Awaited::Written),
            Taken::Spoilt => self.actions.push_back(Action::Discard),
            Taken::Endless(reply) => self.close_with(&reply),
            Taken::Refused(reply) => self.end_data(&reply),
            Taken::Whole(facts, texts) => self.whole(facts, texts),
        }
        Progress::Made
    }

    fn incoming(&mut self) -> Option<Taken> {
        let incoming = self.transaction.as_mut()?.incoming.as_mut()?;
        Some(incoming.take(&mut self.input.0))
    }

    pub(super) fn written(&mut self, result: Result<(), SpoolError>) {
        self.phase = Phase::Data;
        let Err(error) = result else {
            return;
        };
        if matches!(error, SpoolError::Closed) {
            return self.close_with(&replies::shutting_down());
        }
        let incoming = self.transaction.as_mut().and_then(|t| t.incoming.as_mut());
        if let Some(incoming) = incoming {
            incoming.give_up(replies::spool(&error));
        }
    }

    /// The message is whole. Where rules count in its text, that is done first, by other
    /// threads: it takes milliseconds, and only where there is such a rule.
    fn whole(&mut self, facts: MessageFacts, texts: Option<Texts>) {
        match texts {
            None => self.commit(facts),
            Some(texts) => {
                self.uncounted = Some(facts);
                self.ask(Action::Count(texts), Awaited::Counted);
            }
        }
    }

    pub(super) fn counted(&mut self, counts: Vec<TextCount>) {
        let Some(mut facts) = self.uncounted.take() else {
            return self.close_with(&replies::internal());
        };
        if let Some(content) = &mut facts.content {
            Arc::make_mut(content).texts = counts;
        }
        self.commit(facts);
    }

    fn commit(&mut self, facts: MessageFacts) {
        let protocol = self.protocol();
        let Some(transaction) = self.transaction.take() else {
            return self.close_with(&replies::internal());
        };
        self.committing = transaction.id;
        let (rights, envelope) = transaction.into_envelope();
        let ticket = Ticket {
            origin: Origin::Submitted(Source {
                principal: rights.principal(),
                listener: self.rules.listener.bind.clone(),
                client: self.client,
                protocol,
            }),
            envelope,
            facts,
        };
        self.ask(Action::Commit(Box::new(ticket)), Awaited::Committed);
    }

    pub(super) fn committed(&mut self, result: Result<(), SpoolError>) {
        match (result, self.committing.take()) {
            (Ok(()), Some(id)) => {
                self.idle_commands = 0;
                self.reply(&replies::queued(id));
            }
            (Err(SpoolError::Closed), _) => self.close_with(&replies::shutting_down()),
            (Err(error), _) => self.reply(&replies::spool(&error)),
            (Ok(()), None) => self.close_with(&replies::internal()),
        }
        // At once: the client counts the seconds (RFC 1047).
        self.flush();
    }

    /// The reply in place of a commit.
    fn end_data(&mut self, reply: &Reply) {
        self.drop_transaction();
        self.phase = Phase::Command;
        if reply.code() >= 500 {
            self.refuse(reply);
        } else {
            self.reply(reply);
        }
    }
}
