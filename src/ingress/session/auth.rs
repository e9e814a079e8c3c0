//! AUTH in the session (RFC 4954 section 4).
//!
//! Holds always: no credential is asked for without TLS, twice, in a transaction
//! or where there are no accounts; `*` ends an exchange. Called by the session.

use super::{Action, Awaited, Phase, Progress, Session, replies};
use crate::ingress::admission::Rights;
use crate::ingress::auth::Verdict;
use crate::ingress::sasl::{Exchange, SaslError, Step};
use crate::wire::{AuthCommand, AuthResponse, LineKind, Reply, Secret};

impl Session {
    pub(super) fn auth(&mut self, command: AuthCommand) {
        if let Err(reply) = self.may_log_in() {
            return self.refuse(&reply);
        }
        let Some(exchange) = Exchange::start(&command.mechanism) else {
            return self.refuse(&replies::unknown_mechanism());
        };
        match command.initial {
            Some(response) => self.respond(exchange, &response),
            None => {
                self.reply(&replies::challenge(exchange.first_challenge()));
                self.phase = Phase::Sasl(exchange);
            }
        }
    }

    fn may_log_in(&self) -> Result<(), Reply> {
        if !self.takes_auth() {
            return Err(replies::no_auth_here());
        }
        if self.secured.is_none() {
            return Err(replies::encryption_required());
        }
        if !self.hello.as_ref().is_some_and(|hello| hello.extended) {
            return Err(replies::bad_sequence("Say EHLO first"));
        }
        if self.login.is_some() {
            return Err(replies::bad_sequence("You are logged in already"));
        }
        if self.transaction.is_some() {
            return Err(replies::bad_sequence("Not during a transaction"));
        }
        Ok(())
    }

    /// Takes the line that answers a 334.
    pub(super) fn take_response(&mut self) -> Progress {
        let line = match self.lines.next(&mut self.input.0, LineKind::AuthResponse) {
            Ok(None) => return Progress::Starved,
            Ok(Some(line)) => AuthResponse::parse(&line).map_err(|error| error.reply()),
            Err(error) => Err(error.reply()),
        };
        // The exchange is over unless the response calls for another challenge.
        let exchange = match std::mem::replace(&mut self.phase, Phase::Command) {
            Phase::Sasl(exchange) => exchange,
            other => {
                self.phase = other;
                return Progress::Made;
            }
        };
        match line {
            Ok(AuthResponse::Cancel) => self.refuse(&replies::cancelled()),
            Ok(AuthResponse::Octets(response)) => self.respond(exchange, &response),
            Err(reply) => self.refuse(&reply),
        }
        Progress::Made
    }

    fn respond(&mut self, mut exchange: Exchange, response: &Secret) {
        match exchange.take(response) {
            Ok(Step::Challenge(text)) => {
                self.reply(&replies::challenge(text));
                self.phase = Phase::Sasl(exchange);
            }
            Ok(Step::Done(login)) => self.ask(Action::Authenticate(login), Awaited::Verdict),
            Err(error @ SaslError::Malformed) => {
                self.refuse(&Reply::new(
                    501,
                    "5.5.2",
                    replies::capital(&error.to_string()),
                ));
            }
            Err(SaslError::OtherIdentity) => self.refuse(&replies::bad_credentials()),
        }
    }

    pub(super) fn logged_in(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Accepted(account) => {
                self.login = Some(Rights::Account(account));
                self.reply(&replies::logged_in());
            }
            Verdict::Refused => self.refuse(&replies::bad_credentials()),
            Verdict::Limited => self.refuse(&replies::auth_later()),
            Verdict::Unavailable => self.reply(&replies::auth_later()),
            Verdict::Crowded(crowded) => self.close_with(&replies::crowded(crowded)),
        }
    }
}
