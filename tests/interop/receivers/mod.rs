//! Receivers: each takes mail from a running Postern over STARTTLS and is looked at on its own
//! disk. Here are the cases, the same for all; beside it one file a receiver, which says how that
//! one is set up for them. The cases of a receiver run at the same time, against servers of
//! their own, behind one Postern.

mod aiosmtpd;
mod chasquid;
mod exim;
mod haraka;
mod opensmtpd;
mod postfix;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::bodies::{self, Body};
use crate::gate::{Gate, Place, SENDER};
use crate::mailbox::{self, Ends, Stored};
use crate::table::Table;

/// A server that is set up for one case.
#[derive(Clone, Copy)]
struct Peer<'a> {
    gate: &'a Gate,
    place: &'a Place,
    /// Where it stores.
    mail: &'a Path,
    ends: Ends,
    /// The TLS version that both sides must name.
    tls: &'static str,
}

/// A running server of whatever kind, for one case.
struct Case<S> {
    place: Place,
    mail: PathBuf,
    ends: Ends,
    /// Runs as long as this lives.
    server: S,
}

impl<S> Case<S> {
    /// As the cases see it, with TLS 1.3.
    fn peer<'a>(&'a self, gate: &'a Gate) -> Peer<'a> {
        Peer {
            gate,
            place: &self.place,
            mail: &self.mail,
            ends: self.ends,
            tls: "TLSv1.3",
        }
    }
}

/// What to write in the table.
type Said = Result<String, String>;

/// A short body, for the cases that are not about content.
fn note() -> Body {
    Body {
        name: "note",
        octets: b"hello\r\n".to_vec(),
    }
}

impl Peer<'_> {
    /// The same server, when TLS 1.2 is what both sides must name.
    fn over_tls_1_2(mut self) -> Self {
        self.tls = "TLSv1.2";
        self
    }

    fn rcpt(&self) -> String {
        format!("p@{}", self.place.domain)
    }

    /// Every body arrives octet for octet, under the right envelope.
    async fn all_bodies(self, name: &str, version: &str, table: &mut Table) {
        for body in bodies::receivable() {
            let result = self.takes(&body).await;
            let case = format!("receives over {}: {}", self.tls, body.name);
            table.row(name, version, &case, result);
        }
    }

    /// One message arrives as it was sent, and both sides name the same TLS version.
    async fn takes(self, body: &Body) -> Said {
        self.takes_for(body, &self.rcpt()).await
    }

    async fn takes_for(self, body: &Body, rcpt: &str) -> Said {
        let lab_id = format!("{rcpt} {}", body.name).replace([' ', '@'], "-");
        let message = body.message(SENDER, rcpt, &lab_id);
        let id = self.gate.send(&[rcpt], &message).await?;
        let audit = self.gate.wait_state(&id, rcpt, "delivered").await?;
        let stored = self.the_only_one(&lab_id).await?;
        self.compare(&stored, body)?;
        stored.has_envelope(SENDER, rcpt)?;
        let evidence = &audit.last().ok_or("no audit")?["tls"]["version"];
        match *evidence == self.tls && stored.tls() == self.tls {
            true => Ok(format!(
                "octet for octet, {} octets, {}",
                stored.body.len(),
                self.tls
            )),
            false => Err(format!("{evidence} by the audit; stored:\n{}", stored.head)),
        }
    }

    async fn the_only_one(self, lab_id: &str) -> Result<Stored, String> {
        let mut stored = mailbox::wait(self.mail, lab_id, 1).await?;
        match (stored.pop(), stored.len()) {
            (Some(one), 0) => Ok(one),
            (_, more) => Err(format!("{} copies of {lab_id}", more + 1)),
        }
    }

    fn compare(&self, stored: &Stored, body: &Body) -> Result<(), String> {
        let expected = match self.ends {
            Ends::Lf => body.in_maildir(),
            Ends::CrLf => body.on_the_wire(),
        };
        if stored.body == expected {
            return Ok(());
        }
        let pairs = stored.body.iter().zip(&expected);
        Err(format!(
            "{} octets arrived for {}, the first other one is {}",
            stored.body.len(),
            expected.len(),
            pairs.take_while(|(a, b)| a == b).count()
        ))
    }

    /// The same server, whose certificate nobody vouches for, serves another domain too: where any
    /// certificate will do it gets the mail, where an authenticated host is asked for it does not.
    async fn self_signed(self, strict: &str) -> Said {
        self.gate.also(strict, self.place);
        let rcpt = format!("p@{strict}");
        let message = note().message(SENDER, &rcpt, &rcpt);
        let id = self.gate.send(&[&rcpt], &message).await?;
        self.takes(&note()).await?;
        let audit = self.gate.wait_state(&id, &rcpt, "bounced").await?;
        let last = audit.last().ok_or("no audit")?;
        match mailbox::find(self.mail, &rcpt).len() {
            0 => Ok(format!(
                "encrypted: delivered; authenticated: {}",
                last["reason"].as_str().unwrap_or_default()
            )),
            n => Err(format!("{n} messages arrived at the strict domain")),
        }
    }

    /// Put off at first, taken later.
    async fn greylisted(self) -> Said {
        let done = self.takes(&note()).await?;
        let audit = self.gate.of(&self.rcpt());
        let replies = audit.iter().filter(|entry| entry["state"] == "queued");
        let replies = replies.filter_map(|entry| entry["reply"].as_str());
        match replies.into_iter().find(|reply| reply.starts_with('4')) {
            Some(reply) => Ok(format!("{}, then {done}", &reply[..3])),
            None => Err(format!("not put off: {audit:#?}")),
        }
    }

    /// A message larger than the server takes comes back, with what the report must say.
    async fn too_large(self, octets: usize, says: &[&str]) -> Said {
        let rcpt = self.rcpt();
        let line = format!("{}\r\n", "0123456789".repeat(7));
        let large = Body {
            name: "too large",
            octets: line.repeat(octets / line.len()).into(),
        };
        let id = self
            .gate
            .send(&[&rcpt], &large.message(SENDER, &rcpt, "too-large"))
            .await?;
        self.gate.wait_state(&id, &rcpt, "bounced").await?;
        let report = self.gate.report(&rcpt).await?;
        if !says.iter().all(|word| report.contains(word)) {
            return Err(format!("{says:?} are not all in: {report}"));
        }
        self.takes(&note()).await?;
        Ok(format!("bounced, {report}; a small one is taken"))
    }

    /// Three recipients at a server that takes one a transaction: each gets a copy, at once.
    async fn one_by_one(self) -> Said {
        let domain = &self.place.domain;
        let all: Vec<String> = (1..=3).map(|n| format!("p{n}@{domain}")).collect();
        let names: Vec<&str> = all.iter().map(String::as_str).collect();
        let message = note().message(SENDER, "undisclosed:;", "one-by-one");
        let id = self.gate.send(&names, &message).await?;
        for rcpt in &all {
            let audit = self.gate.wait_state(&id, rcpt, "delivered").await?;
            if audit.len() != 1 {
                return Err(format!("more than one attempt: {audit:#?}"));
            }
        }
        let stored = mailbox::wait(self.mail, "one-by-one", 3).await?;
        for rcpt in &all {
            let own = stored
                .iter()
                .filter(|m| m.has_envelope(SENDER, rcpt).is_ok());
            if own.count() != 1 || stored.len() != 3 {
                let heads: Vec<_> = stored.iter().map(|m| &m.head).collect();
                return Err(format!("{rcpt} did not get one copy: {heads:#?}"));
            }
        }
        Ok("3 recipients, 3 transactions, 3 copies".to_owned())
    }

    /// A server whose handshakes all fail by its own fault, which is no refusal: the mail waits,
    /// and no rule lets it go in clear.
    async fn fails_in_the_handshake(self, opportunistic: &str) -> Said {
        self.gate.also(opportunistic, self.place);
        let rcpts = [self.rcpt(), format!("p@{opportunistic}")];
        let mut reasons = Vec::new();
        for rcpt in &rcpts {
            let message = note().message(SENDER, rcpt, rcpt);
            let id = self.gate.send(&[rcpt], &message).await?;
            let entry = self.gate.wait_tries(&id, rcpt, 2).await?;
            reasons.push(entry["reason"].to_string());
        }
        let arrived = rcpts.iter().map(|rcpt| mailbox::find(self.mail, rcpt));
        match arrived.flatten().count() == 0 && reasons == ["\"tls-interrupted\""; 2] {
            true => Ok("waits (tls-interrupted), never in clear".to_owned()),
            false => Err(format!("something went, or other reasons: {reasons:?}")),
        }
    }

    /// Slow replies put nobody off.
    async fn tarpitted(self, at_least: Duration) -> Said {
        let begun = Instant::now();
        let done = self.takes(&note()).await?;
        match begun.elapsed() >= at_least {
            true => Ok(format!("{done}, after {} s", begun.elapsed().as_secs())),
            false => Err(format!("it took only {:?}", begun.elapsed())),
        }
    }
}
