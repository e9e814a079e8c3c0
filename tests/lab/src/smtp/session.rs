//! One client's session with a scripted server: commands, replies, TLS. What carries a message is
//! in `transaction.rs`, AUTH in `auth.rs`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::knobs::{BrokenHandshake, StartTls};
use super::server::Shared;
use super::stage::{Act, Stage};
use super::strict;
use super::transaction::Mail;
use crate::wire::{Side, Wire};

/// The state of a session.
pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) wire: Wire,
    pub(super) peer: SocketAddr,
    /// The connection's number, from 1.
    pub(super) number: usize,
    pub(super) helo: Option<String>,
    /// The keywords of the last EHLO reply; empty after HELO.
    pub(super) offered: Vec<String>,
    pub(super) auth: Option<String>,
    pub(super) mail: Option<Mail>,
    /// Messages taken so far.
    pub(super) taken: usize,
}

/// How an answer was meant.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Said {
    /// 2xx or 3xx.
    Yes,
    /// Anything else.
    No,
    /// The connection is to be closed: cut, or a 421.
    Gone,
}

impl Session {
    /// Speaks until the client leaves or the script cuts.
    pub(super) async fn run(mut self) -> io::Result<()> {
        if self.shared.knobs().implicit_tls && !self.shake_hands().await? {
            return Ok(());
        }
        let banner = format!("220 {} ESMTP lab", self.shared.knobs().name);
        let mut said = self.answer(Stage::Banner, &banner).await?;
        while said != Said::Gone {
            let Some(line) = self.wire.read_line().await? else {
                return Ok(());
            };
            self.judge_line(&line);
            let text = String::from_utf8_lossy(&line)
                .trim_end_matches(['\r', '\n'])
                .to_owned();
            self.note(&text);
            said = self.command(&text).await?;
        }
        Ok(())
    }

    async fn command(&mut self, line: &str) -> io::Result<Said> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => self.ehlo(rest).await,
            "HELO" => self.helo(rest).await,
            "STARTTLS" => self.starttls().await,
            "AUTH" => self.authenticate(rest).await,
            "MAIL" => self.mail(rest).await,
            "RCPT" => self.rcpt(rest).await,
            "DATA" => self.data().await,
            "RSET" => {
                self.mail = None;
                self.answer(Stage::Rset, "250 2.0.0 Ok").await
            }
            "NOOP" => self.answer(Stage::Noop, "250 2.0.0 Ok").await,
            "QUIT" => {
                self.answer(Stage::Quit, "221 2.0.0 Bye").await?;
                // The client may have gone already.
                let _ = self.wire.close().await;
                Ok(Said::Gone)
            }
            _ => self.say("500 5.5.2 command not recognized").await,
        }
    }

    async fn ehlo(&mut self, name: &str) -> io::Result<Said> {
        let keywords = self.keywords();
        let mut lines = vec![self.shared.knobs().name.clone()];
        lines.extend(keywords.iter().cloned());
        let last = lines.len() - 1;
        let reply = lines.iter().enumerate().map(|(i, line)| {
            let dash = if i == last { ' ' } else { '-' };
            format!("250{dash}{line}\n")
        });
        let reply: String = reply.collect();
        let said = self.answer(Stage::Ehlo, &reply).await?;
        if said == Said::Yes {
            self.offered = keywords;
            self.helo = Some(name.to_owned());
            self.mail = None;
        }
        Ok(said)
    }

    async fn helo(&mut self, name: &str) -> io::Result<Said> {
        let usual = format!("250 {}", self.shared.knobs().name);
        let said = self.answer(Stage::Helo, &usual).await?;
        if said == Said::Yes {
            self.offered.clear();
            self.helo = Some(name.to_owned());
            self.mail = None;
        }
        Ok(said)
    }

    /// What the reply to EHLO offers at this moment.
    fn keywords(&self) -> Vec<String> {
        let knobs = self.shared.knobs();
        let mut keywords = vec![format!("SIZE {}", knobs.size_limit)];
        keywords.push("ENHANCEDSTATUSCODES".to_owned());
        keywords.extend(knobs.pipelining.then(|| "PIPELINING".to_owned()));
        keywords.extend(knobs.eightbit.then(|| "8BITMIME".to_owned()));
        keywords.extend(knobs.extensions.iter().cloned());
        match knobs.starttls {
            _ if self.wire.is_tls() || knobs.implicit_tls => {}
            StartTls::Offered => keywords.push("STARTTLS".to_owned()),
            StartTls::Masked => keywords.push("XXXXXXXX".to_owned()),
            StartTls::Hidden => {}
        }
        if knobs.account.is_some() && self.wire.is_tls() {
            keywords.push("AUTH PLAIN LOGIN".to_owned());
        }
        keywords
    }

    async fn starttls(&mut self) -> io::Result<Said> {
        let (known, injected) = {
            let knobs = self.shared.knobs();
            let hidden = knobs.starttls != StartTls::Offered || knobs.implicit_tls;
            (!hidden, knobs.after_starttls.clone())
        };
        if !known {
            return self.say("502 5.5.1 command not implemented").await;
        }
        if self.wire.is_tls() {
            return self.say("503 5.5.1 TLS is active already").await;
        }
        let act = self
            .decide(Stage::StartTls, "220 2.0.0 Ready to start TLS")
            .await;
        let said = self.perform(act, &injected).await?;
        if said == Said::Yes && !self.shake_hands().await? {
            return Ok(Said::Gone);
        }
        Ok(said)
    }

    /// The handshake, or what the knobs make of it; false if there was none.
    async fn shake_hands(&mut self) -> io::Result<bool> {
        let broken = self.shared.knobs().handshake.clone();
        match broken {
            None => {}
            Some(BrokenHandshake::Close) => return Ok(false),
            Some(BrokenHandshake::Garbage(octets)) => {
                self.wire.write(&octets).await?;
                return Ok(false);
            }
            Some(BrokenHandshake::Stall) => {
                self.wire.read_to_end().await?;
                return Ok(false);
            }
        }
        let intolerance = self.shared.knobs().intolerance;
        if let Some(intolerance) = intolerance
            && !intolerance.tolerates(&mut self.wire).await?
        {
            return Ok(false);
        }
        let ssl = self.shared.ssl()?;
        if self.wire.handshake(ssl, Side::Server).await? > 0 {
            self.fault("plaintext behind STARTTLS");
        }
        // RFC 3207 4.2: everything learnt before is forgotten.
        self.helo = None;
        self.offered.clear();
        self.mail = None;
        Ok(true)
    }

    /// Answers at a stage: as scripted, else the usual.
    pub(super) async fn answer(&mut self, stage: Stage, usual: &str) -> io::Result<Said> {
        let act = self.decide(stage, usual).await;
        self.perform(act, b"").await
    }

    /// Says something that no script can change.
    pub(super) async fn say(&mut self, reply: &str) -> io::Result<Said> {
        self.perform(Act::Say(super::stage::wire_form(reply)), b"")
            .await
    }

    /// Waits as long as the script says, then finds what is to be done.
    pub(super) async fn decide(&self, stage: Stage, usual: &str) -> Act {
        let delay = self.shared.knobs().script.delay_of(stage);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let scripted = self.shared.knobs().script.take(stage);
        scripted.unwrap_or_else(|| Act::Say(super::stage::wire_form(usual)))
    }

    pub(super) async fn perform(&mut self, act: Act, behind: &[u8]) -> io::Result<Said> {
        let Act::Say(mut reply) = act else {
            return Ok(Said::Gone);
        };
        let said = match says_yes(&reply) {
            true => Said::Yes,
            false if reply.starts_with(b"421") => Said::Gone,
            false => Said::No,
        };
        reply.extend_from_slice(behind);
        let slow = self.shared.knobs().slow;
        if slow.is_zero() {
            self.wire.write(&reply).await?;
        } else {
            self.wire.write_slowly(&reply, slow).await?;
        }
        Ok(said)
    }

    pub(super) fn offers(&self, keyword: &str) -> bool {
        self.offered
            .iter()
            .any(|line| line.split(' ').next() == Some(keyword))
    }

    fn judge_line(&self, line: &[u8]) {
        let unread = !self.wire.unread().is_empty();
        for fault in strict::line_faults(line, unread, self.offers("PIPELINING")) {
            self.fault(fault);
        }
    }

    /// Writes a line into the log of commands, unless this is a load test.
    pub(super) fn note(&self, line: &str) {
        let secured = if self.wire.is_tls() { "tls" } else { "plain" };
        let line = format!("#{} {secured} {line}", self.number);
        let keep = !self.shared.knobs().discard;
        self.shared
            .log
            .write(|seen| seen.commands.extend(keep.then_some(line)));
    }

    /// Notes that the client broke the protocol.
    pub(super) fn fault(&self, what: &str) {
        let line = format!("#{} {what}", self.number);
        self.shared.log.write(|seen| seen.violations.push(line));
    }
}

/// 2xx or 3xx.
pub(super) fn says_yes(reply: &[u8]) -> bool {
    matches!(reply.first(), Some(b'2' | b'3'))
}
