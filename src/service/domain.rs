//! `postern domain`: what is remembered of domains, shown and changed.
//!
//! Owns the form in which it is shown. Holds always: only the running daemon changes
//! something, so that nothing is changed behind its back; an exception names who
//! made it, why and until when, and is told in the log when it is made, taken back
//! and lapsed, and so is the audit. Asked through `control`; a stopped daemon's memory is read from its
//! files.

use std::path::PathBuf;
use std::sync::Arc;

use super::answers::Answers;
use super::explain::{Case, probe_with};
use super::sink::Happened;
use super::tables;
use crate::assurance::{DomainRecord, Exceptions, HostRecord, Remembers, TlsMemory};
use crate::config::Config;
use crate::control::{
    Answer, DomainOrder, DomainView, ExceptionView, HostView, SeenCertificate, parse_moment,
};
use crate::sys::{Clock, Disk, RealDisk, SystemClock};
use crate::types::{Domain, DomainChange, Host, Mailbox, Remembered, Timestamp, Waiver};

/// The memory's table.
pub(super) const TABLE: &str = "tls-memory";

impl Answers {
    /// Answers for `postern domain`.
    pub(super) async fn domain(&self, order: DomainOrder, actor: &str) -> Result<Answer, String> {
        let memory = &self.domains.memory;
        let now = self.clock.now();
        let one = |domain: &Domain| {
            let domains = vec![view(memory, domain, now)];
            Ok(Answer::Domains { domains })
        };
        match order {
            DomainOrder::List => Ok(Answer::Domains {
                domains: views(memory, now),
            }),
            DomainOrder::Show { domain } => one(&parse(&domain)?),
            DomainOrder::Probe { domain } => self.probe_domain(&parse(&domain)?).await,
            DomainOrder::Allow {
                domain,
                until,
                reason,
            } => {
                let domain = parse(&domain)?;
                self.allow(&domain, &until, reason, actor).await?;
                one(&domain)
            }
            DomainOrder::Forget { domain } => {
                let domain = parse(&domain)?;
                self.forget(&domain, actor).await?;
                one(&domain)
            }
        }
    }

    async fn allow(
        &self,
        domain: &Domain,
        until: &str,
        reason: String,
        actor: &str,
    ) -> Result<(), String> {
        let made = self.clock.now();
        let waiver = Waiver {
            domain: domain.clone(),
            owner: actor.to_owned(),
            reason: reason.trim().to_owned(),
            made,
            until: parse_moment(until, made)?,
        };
        let (until, words) = (waiver.until, exception_words(&waiver));
        let memory = Arc::clone(&self.domains.memory);
        let adding = tokio::task::spawn_blocking(move || memory.exceptions().add(waiver));
        let added = adding.await.map_err(|e| e.to_string())?;
        added.map_err(|e| e.to_string())?;
        tracing::warn!("exception made: domain={domain} by={actor} until={until}");
        let change = DomainChange::ExceptionMade;
        self.tell_audit(domain, change, words, actor).await
    }

    /// Tells the audit what somebody did about a domain.
    async fn tell_audit(
        &self,
        domain: &Domain,
        change: DomainChange,
        what: String,
        actor: &str,
    ) -> Result<(), String> {
        let happened = Happened {
            time: self.clock.now(),
            domain,
            host: None,
            change,
            what,
            actor: Some(actor),
        };
        self.domains.audit.tell_for_good(happened).await
    }

    async fn forget(&self, domain: &Domain, actor: &str) -> Result<(), String> {
        let memory = Arc::clone(&self.domains.memory);
        let (concerned, now) = (domain.clone(), self.clock.now());
        let forgetting = tokio::task::spawn_blocking(move || {
            let exception = memory.exceptions().get(&concerned, now);
            let had_exception = memory.exceptions().remove(&concerned)?;
            let exception = had_exception.then(|| exception.as_ref().map(exception_words));
            Ok::<_, crate::assurance::ExceptionError>((memory.forget(&concerned), exception))
        });
        let done = forgetting.await.map_err(|e| e.to_string())?;
        match done.map_err(|e| e.to_string())? {
            (false, None) => Err(format!("nothing is remembered of {domain}")),
            (known, exception) => {
                let mut told = Ok(());
                if known {
                    tracing::warn!("domain forgotten: domain={domain} by={actor}");
                    let what = "what was remembered of it".to_owned();
                    let change = DomainChange::Forgotten;
                    told = self.tell_audit(domain, change, what, actor).await;
                }
                if let Some(words) = exception {
                    tracing::warn!("exception taken back: domain={domain} by={actor}");
                    let what = words.unwrap_or_default();
                    let change = DomainChange::ExceptionTakenBack;
                    told = told.and(self.tell_audit(domain, change, what, actor).await);
                }
                told
            }
        }
    }

    async fn probe_domain(&self, domain: &Domain) -> Result<Answer, String> {
        let case = case(domain)?;
        let deliverer = self.domains.deliverer();
        let (story, learnt) = probe_with(&deliverer, &case, true).await?;
        if let Some(learnt) = learnt {
            self.domains.learn(&learnt);
        }
        Ok(Answer::Probed {
            story: serde_json::to_value(&story).map_err(|e| e.to_string())?,
            text: story.to_string(),
            delivered: story.would_be_delivered().unwrap_or(false),
            domain: Box::new(view(&self.domains.memory, domain, self.clock.now())),
        })
    }
}

/// An exception as the audit tells it.
pub(super) fn exception_words(waiver: &Waiver) -> String {
    let (owner, until, reason) = (&waiver.owner, waiver.until, &waiver.reason);
    format!("cleartext until {until}, by {owner}: {reason}")
}

/// The message by which a domain is probed: one to its postmaster, from nobody.
pub(super) fn case(domain: &Domain) -> Result<Case, String> {
    let host = Host::Domain(domain.clone());
    Ok(Case {
        recipient: Mailbox::new("postmaster", host).map_err(|e| e.to_string())?,
        sender: None,
        account: None,
        listener: None,
        content: None,
    })
}

fn parse(text: &str) -> Result<Domain, String> {
    Domain::parse(text.trim()).map_err(|e| format!("\"{}\" is {e}", text.escape_debug()))
}

/// What a stopped daemon remembers: of one domain, or of all.
///
/// # Errors
/// Why it can't be read.
pub fn remembered(config: &Config, domain: Option<&Domain>) -> Result<Vec<DomainView>, String> {
    let memory = stopped(config)?;
    let now = SystemClock.now();
    Ok(match domain {
        Some(domain) => vec![view(&memory, domain, now)],
        None => views(&memory, now),
    })
}

/// A stopped daemon's memory, to look at.
fn stopped(config: &Config) -> Result<TlsMemory, String> {
    let tables = tables::copy(config).map_err(|e| e.to_string())?;
    let exceptions = exceptions(config)?;
    Ok(TlsMemory::open(tables.table(TABLE), exceptions))
}

/// The exceptions' file.
pub(super) fn exceptions(config: &Config) -> Result<Exceptions, String> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    Exceptions::open(disk, exceptions_file(config)).map_err(|e| e.to_string())
}

/// Where they are.
pub(super) fn exceptions_file(config: &Config) -> PathBuf {
    config.data_dir.join("exceptions.toml")
}

/// What a daemon said of a domain, for an attempt that is only explained.
pub(super) struct AsTold(pub(super) Remembered);

impl Remembers for AsTold {
    fn regard(&self, _: &Domain, _: Timestamp) -> Remembered {
        self.0.clone()
    }
}

impl AsTold {
    /// From what was shown of the domain.
    pub(super) fn of(domain: &Domain, view: &DomainView) -> Self {
        let waiver = view.exception.as_ref().map(|exception| Waiver {
            domain: domain.clone(),
            owner: exception.owner.clone(),
            reason: exception.reason.clone(),
            made: exception.made.parse().unwrap_or_default(),
            until: exception.until.parse().unwrap_or_default(),
        });
        Self(match (view.state == "encrypted", waiver) {
            (false, _) => Remembered::Nothing,
            (true, None) => Remembered::Encrypted,
            (true, Some(waiver)) => Remembered::Waived(waiver),
        })
    }
}

fn views(memory: &TlsMemory, now: Timestamp) -> Vec<DomainView> {
    let mut domains: Vec<Domain> = memory.all().into_iter().map(|(d, _)| d).collect();
    for waiver in memory.exceptions().all(now) {
        if memory.get(&waiver.domain).is_none() {
            domains.push(waiver.domain);
        }
    }
    domains.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    domains.iter().map(|d| view(memory, d, now)).collect()
}

fn view(memory: &TlsMemory, domain: &Domain, now: Timestamp) -> DomainView {
    let exception = memory.exceptions().get(domain, now);
    let exception = exception.map(|waiver| ExceptionView {
        owner: waiver.owner,
        reason: waiver.reason,
        made: waiver.made.to_string(),
        until: waiver.until.to_string(),
    });
    let empty = DomainView {
        domain: domain.to_string(),
        state: "unknown".to_owned(),
        exception,
        ..DomainView::default()
    };
    match memory.get(domain) {
        None => empty,
        Some(record) => known(empty, &record, now),
    }
}

fn known(empty: DomainView, record: &DomainRecord, now: Timestamp) -> DomainView {
    let is_encrypted = record.is_encrypted(now);
    let state = match (is_encrypted, record.lacks_tls(now)) {
        (true, _) => "encrypted",
        (false, true) => "no-tls",
        (false, false) => "seen",
    };
    let told = |at: Option<Timestamp>| at.filter(|_| is_encrypted).map(|at| at.to_string());
    let hosts = record.hosts.iter();
    DomainView {
        state: state.to_owned(),
        encrypted_since: told(record.encrypted_since),
        lapses: told(record.lapses()),
        last_seen: moment(record.last_seen),
        last_mail: moment(record.last_mail),
        last_probe: moment(record.last_probe),
        sts: record.sts.clone(),
        hosts: hosts.map(|(name, host)| host_view(name, host)).collect(),
        ..empty
    }
}

fn moment(at: Timestamp) -> Option<String> {
    (at > Timestamp::default()).then(|| at.to_string())
}

fn host_view(name: &str, host: &HostRecord) -> HostView {
    let told = |at: Option<Timestamp>| at.map(|at| at.to_string());
    let answers = host.answers.iter();
    HostView {
        host: name.to_owned(),
        tls_days: host.tls_days,
        first_tls: told(host.first_tls),
        last_tls: told(host.last_tls),
        first_no_tls: told(host.first_plain),
        last_no_tls: told(host.last_plain),
        version: host.version.clone(),
        cipher: host.cipher.clone(),
        group: host.group.clone(),
        authenticated: host.is_authenticated,
        certificate: host.certificate.as_ref().map(|c| SeenCertificate {
            sha256: c.sha256.clone(),
            names: c.names.clone(),
            not_after: told(c.not_after),
        }),
        answers: answers
            .map(|(at, answer)| (at.to_string(), answer.clone()))
            .collect(),
    }
}
