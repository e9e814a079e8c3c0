//! The commands that carry a message: MAIL, RCPT, DATA and the final dot.

use std::io;

use super::seen::Received;
use super::session::{Said, Session, says_yes};
use super::stage::{Act, Stage};
use super::strict;
use crate::wire::unstuff;

/// A transaction under way.
pub(super) struct Mail {
    from: String,
    params: Vec<String>,
    rcpt_to: Vec<String>,
    rcpt_params: Vec<String>,
}

impl Session {
    pub(super) async fn mail(&mut self, rest: &str) -> io::Result<Said> {
        let Some((from, params)) = path_and_params(rest, "FROM:") else {
            self.fault("MAIL without FROM:<...>");
            return self.say("501 5.5.4 Syntax: MAIL FROM:<address>").await;
        };
        if let Some(refusal) = self.refuse_mail(&params) {
            return self.say(&refusal).await;
        }
        let said = self.answer(Stage::Mail, "250 2.1.0 Ok").await?;
        if said == Said::Yes {
            let (rcpt_to, rcpt_params) = (Vec::new(), Vec::new());
            self.mail = Some(Mail {
                from,
                params,
                rcpt_to,
                rcpt_params,
            });
        }
        Ok(said)
    }

    /// What speaks against MAIL here, apart from the script.
    fn refuse_mail(&self, params: &[String]) -> Option<String> {
        let greeted = self.helo.is_some();
        let account = self.shared.knobs().account.is_some();
        if !greeted {
            self.fault("MAIL before EHLO");
            return Some("503 5.5.1 send EHLO first".to_owned());
        }
        if self.mail.is_some() {
            self.fault("MAIL within a transaction");
            return Some("503 5.5.1 nested MAIL command".to_owned());
        }
        if account && self.auth.is_none() {
            return Some("530 5.7.0 Authentication required".to_owned());
        }
        if let Some(unknown) = params
            .iter()
            .find(|p| !self.offers(&strict::extension_of(p)))
        {
            self.fault(&format!("MAIL parameter {unknown} was not offered"));
            return Some("555 5.5.4 parameter not recognized".to_owned());
        }
        let size = params
            .iter()
            .find_map(|p| p.to_ascii_uppercase().strip_prefix("SIZE=")?.parse().ok());
        let too_big = size.is_some_and(|size: usize| size > self.shared.knobs().size_limit);
        too_big.then(|| TOO_BIG.to_owned())
    }

    pub(super) async fn rcpt(&mut self, rest: &str) -> io::Result<Said> {
        let Some((to, params)) = path_and_params(rest, "TO:") else {
            self.fault("RCPT without TO:<...>");
            return self.say("501 5.5.4 Syntax: RCPT TO:<address>").await;
        };
        let Some(mail) = &self.mail else {
            return self.say("503 5.5.1 need MAIL before RCPT").await;
        };
        let so_far = mail.rcpt_to.len();
        let (scripted, full) = {
            let mut knobs = self.shared.knobs();
            (
                knobs.take_rcpt_reply(&to),
                knobs.max_rcpt.is_some_and(|max| so_far >= max),
            )
        };
        let said = match scripted {
            Some(reply) => self.perform(Act::Say(reply), b"").await?,
            None if full => self.say("452 4.5.3 Too many recipients").await?,
            None => self.answer(Stage::Rcpt, "250 2.1.5 Ok").await?,
        };
        if said == Said::Yes
            && let Some(mail) = &mut self.mail
        {
            mail.rcpt_to.push(to);
            mail.rcpt_params.push(params.join(" "));
        }
        Ok(said)
    }

    pub(super) async fn data(&mut self) -> io::Result<Said> {
        match &self.mail {
            None => return self.say("503 5.5.1 need RCPT before DATA").await,
            Some(mail) if mail.rcpt_to.is_empty() => {
                self.mail = None;
                return self.say("554 5.5.1 no valid recipients").await;
            }
            Some(_) => {}
        }
        let said = self
            .answer(Stage::Data, "354 End data with <CR><LF>.<CR><LF>")
            .await?;
        if said != Said::Yes {
            return Ok(said);
        }
        let (cut, limit) = {
            let knobs = self.shared.knobs();
            (knobs.cut_in_data, knobs.size_limit)
        };
        let Some(raw) = self.wire.read_data(cut).await? else {
            return Ok(Said::Gone);
        };
        self.note(".");
        let Some(mail) = self.mail.take() else {
            return Ok(Said::Gone);
        };
        let declared_8bit = mail
            .params
            .iter()
            .any(|p| p.eq_ignore_ascii_case("BODY=8BITMIME"));
        for fault in strict::content_faults(&raw, declared_8bit) {
            self.fault(fault);
        }
        if raw.len() > limit {
            return self.say(TOO_BIG).await;
        }
        self.dot(mail, raw).await
    }

    /// The end of a message. It is kept before the reply goes out, so that a client which has
    /// the reply finds it kept.
    async fn dot(&mut self, mail: Mail, raw: Vec<u8>) -> io::Result<Said> {
        let usual = format!(
            "250 2.0.0 Ok: queued as LAB{}-{}",
            self.number,
            self.taken + 1
        );
        let act = self.decide(Stage::Dot, &usual).await;
        let (takes, answered) = match &act {
            Act::Say(reply) => (says_yes(reply), true),
            Act::TakeAndCut => (true, false),
            Act::Cut => (false, false),
        };
        if takes {
            self.taken += 1;
            let message = Received {
                connection: self.number,
                nth: self.taken,
                peer: self.peer,
                helo: self.helo.clone().unwrap_or_default(),
                mail_from: mail.from,
                mail_params: mail.params,
                rcpt_to: mail.rcpt_to,
                rcpt_params: mail.rcpt_params,
                data: unstuff(&raw).into(),
                raw: raw.into(),
                tls: self.wire.tls(),
                auth: self.auth.clone(),
                answered,
            };
            let discard = self.shared.knobs().discard;
            self.shared.log.write(|seen| seen.take(message, discard));
        }
        self.perform(act, b"").await
    }
}

/// Takes `FROM:<path> A B=C` apart.
fn path_and_params(rest: &str, keyword: &str) -> Option<(String, Vec<String>)> {
    let head = rest.get(..keyword.len())?;
    let path = rest.get(keyword.len()..)?.trim_start().strip_prefix('<')?;
    let (path, params) = path.rsplit_once('>')?;
    let fits = head.eq_ignore_ascii_case(keyword);
    fits.then(|| {
        (
            path.to_owned(),
            params.split_whitespace().map(str::to_owned).collect(),
        )
    })
}

const TOO_BIG: &str = "552 5.3.4 Message size exceeds the limit";
