//! What each command does (RFC 5321 section 4.1).
//!
//! Holds always: every command gets one reply, or asks for one action whose
//! answer gives the reply. Called by the session's loop.

use super::transaction::Transaction;
use super::{Action, Awaited, Hello, Phase, Session, replies};
use crate::ingress::admission::{Rights, relay_principal};
use crate::ingress::intake::Incoming;
use crate::ingress::settings::ListenerKind;
use crate::spool::SpoolError;
use crate::types::{AddressError, Host, Mailbox, QueueId};
use crate::wire::{Command, CommandError, MailCommand, Offer, RcptPath, Reply};

/// The mechanisms on offer.
const MECHANISMS: [&str; 2] = ["PLAIN", "LOGIN"];

impl Session {
    pub(super) fn obey(&mut self, command: Command) {
        use Command::{Ehlo, Helo, Help, Noop, Rset, Vrfy};
        let leads_nowhere = matches!(command, Ehlo(_) | Helo(_) | Rset | Noop | Vrfy | Help);
        if leads_nowhere && !self.count_idle() {
            return;
        }
        match command {
            Command::Ehlo(name) => self.ehlo(name),
            Command::Helo(name) => self.helo(name),
            Command::Mail(mail) => self.mail(mail),
            Command::Rcpt(path) => self.rcpt(path),
            Command::Data => self.data(),
            Command::Rset => {
                self.drop_transaction();
                self.reply(&replies::ok());
            }
            Command::Noop => self.reply(&replies::ok()),
            Command::Vrfy => self.reply(&replies::cannot_verify()),
            Command::Help => self.reply(&replies::help()),
            Command::Quit => self.close_with(&replies::bye()),
            Command::StartTls => self.start_tls(),
            Command::Auth(auth) => self.auth(auth),
        }
    }

    /// Also ends a transaction, as RSET does (section 4.1.4, I21).
    fn ehlo(&mut self, name: String) {
        self.drop_transaction();
        let offers_auth = self.takes_auth() && self.secured.is_some() && self.login.is_none();
        let offer = Offer {
            size: self.rules.limits.message_size,
            starttls: self.secured.is_none(),
            auth: if offers_auth { &MECHANISMS } else { &[] },
        };
        let reply = offer.ehlo_reply(self.rules.hostname.as_str());
        self.reply(&reply);
        self.hello = Some(Hello {
            name,
            extended: true,
        });
    }

    fn helo(&mut self, name: String) {
        self.drop_transaction();
        self.reply(&Reply::plain(250, self.rules.hostname.to_string()));
        self.hello = Some(Hello {
            name,
            extended: false,
        });
    }

    /// Whether AUTH has a place on this listener.
    pub(super) fn takes_auth(&self) -> bool {
        self.rules.listener.kind != ListenerKind::Relay
    }

    fn start_tls(&mut self) {
        if self.secured.is_some() {
            return self.refuse(&replies::bad_sequence("TLS is up already"));
        }
        if !self.input.0.is_empty() {
            // Whoever put octets behind STARTTLS wanted them taken for octets
            // under TLS (RFC 3207 section 4.2, CVE-2011-0411).
            return self.close_with(&replies::data_behind_starttls());
        }
        self.drop_transaction();
        self.reply(&replies::go_ahead());
        self.ask(Action::StartTls, Awaited::Secured);
    }

    fn mail(&mut self, mail: MailCommand) {
        match self.may_send(&mail) {
            Ok(rights) => {
                self.transaction = Some(Transaction::new(rights, mail.sender, mail.body));
                // Asked now, so that a full disk is told before the octets come.
                self.ask(Action::Open, Awaited::Opened);
            }
            Err(reply) => self.refuse(&reply),
        }
    }

    /// All that MAIL must pass, in the order a client can mend it.
    fn may_send(&self, mail: &MailCommand) -> Result<Rights, Reply> {
        if self.hello.is_none() {
            return Err(replies::bad_sequence("Say EHLO first"));
        }
        if self.transaction.is_some() {
            return Err(replies::bad_sequence("A transaction is open already"));
        }
        if self.rules.listener.tls_required && self.secured.is_none() {
            return Err(replies::starttls_first());
        }
        let rights = match (&self.login, self.takes_auth()) {
            (Some(rights), _) => rights.clone(),
            (None, true) => return Err(replies::authentication_required()),
            (None, false) => self.peer()?,
        };
        let limit = self.rules.limits.message_size;
        if mail.size.is_some_and(|size| limit > 0 && size > limit) {
            return Err(replies::too_large(limit));
        }
        rights
            .check_sender(mail.sender.as_ref())
            .map_err(|refusal| refusal.reply_to_mail())?;
        Ok(rights)
    }

    /// What this client may do without an account.
    fn peer(&self) -> Result<Rights, Reply> {
        let names = self.secured.as_ref().map_or(&[][..], |s| &s.names);
        let principal = relay_principal(&self.rules.listener, self.client, names)
            .map_err(|refusal| refusal.reply())?;
        Ok(Rights::Peer {
            principal,
            domains: self.rules.sender_domains.clone(),
        })
    }

    pub(super) fn opened(&mut self, result: Result<QueueId, SpoolError>) {
        match (result, &mut self.transaction) {
            (Ok(id), Some(transaction)) => {
                transaction.id = Some(id);
                self.reply(&replies::sender_ok());
            }
            (Err(SpoolError::Closed), _) => self.close_with(&replies::shutting_down()),
            (Err(error), _) => {
                self.transaction = None;
                self.reply(&replies::spool(&error));
            }
            (Ok(_), None) => self.close_with(&replies::internal()),
        }
    }

    fn rcpt(&mut self, path: RcptPath) {
        let max = self.rules.limits.recipients;
        let Some(transaction) = &mut self.transaction else {
            return self.refuse(&replies::bad_sequence("Say MAIL first"));
        };
        if transaction.is_flood(max) {
            return self.close_with(&replies::too_many_errors());
        }
        let recipient = match path {
            RcptPath::Mailbox(mailbox) => Ok(mailbox),
            RcptPath::Postmaster => match (&self.rules.postmaster, &transaction.sender) {
                (Some(postmaster), _) => Ok(postmaster.clone()),
                (None, Some(sender)) => postmaster_at(sender.host().clone()),
                (None, None) => postmaster_at(Host::Domain(self.rules.hostname.clone())),
            },
        };
        if let Ok(mailbox) = &recipient
            && transaction.is_foreseen(mailbox, &self.rules)
        {
            transaction.refused_any = true;
            return self.refuse(&replies::no_tls_there());
        }
        match recipient.map(|mailbox| transaction.add(mailbox, max)) {
            Ok(Ok(())) => self.reply(&replies::recipient_ok()),
            // Not the client's error: it may send the rest separately (I10).
            Ok(Err(_)) => self.reply(&replies::too_many_recipients()),
            Err(error) => {
                transaction.refused_any = true;
                self.refuse(&CommandError::Recipient(error).reply());
            }
        }
    }

    fn data(&mut self) {
        let context = self.header_context();
        match (&mut self.transaction, context) {
            (Some(transaction), Some(context)) if transaction.has_recipients() => {
                transaction.incoming = Some(Incoming::new(self.rules.limits.message_size, context));
                self.reply(&replies::send_data());
                self.phase = Phase::Data;
            }
            (Some(transaction), _) if transaction.refused_any => {
                self.refuse(&replies::no_valid_recipients());
            }
            (Some(_), _) => self.refuse(&replies::bad_sequence("Say RCPT first")),
            (None, _) => self.refuse(&replies::bad_sequence("Say MAIL first")),
        }
    }
}

/// RFC 5321 section 4.5.1.
fn postmaster_at(host: Host) -> Result<Mailbox, AddressError> {
    Mailbox::new("postmaster", host)
}
