//! The audit, as `postern audit` reads it: straight from the day files, so that
//! it answers with or without a running daemon.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::config::Config;
use crate::outcome::audit::{
    self, AuditError, AuditFilter, AuditKind, AuditLine, DomainRecord, Findings, Link, Record,
};
use crate::sys::{Clock, SystemClock};
use crate::types::units::parse_duration;
use crate::types::{Course, Method, QueueId, State, Timestamp, TlsLevel};

/// Which entries.
#[derive(Debug, Clone, Default)]
pub struct AuditQuestion {
    /// From this time on.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// For this recipient, compared without case.
    pub recipient: Option<String>,
    /// Into this state.
    pub state: Option<State>,
    /// About this message.
    pub id: Option<QueueId>,
    /// That would have come to this, while the configuration was only observed.
    pub would: Option<Course>,
    /// About this domain or a recipient in it, compared without case.
    pub domain: Option<String>,
    /// Of this kind.
    pub kind: Option<AuditKind>,
}

/// One entry: prints as a line for people, serialises as the contract's JSON.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct AuditEntry(AuditLine);

impl fmt::Display for AuditEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            AuditLine::Recipient(record) => Told(record).fmt(f),
            AuditLine::Domain(record) => ToldOfDomain(record).fmt(f),
        }
    }
}

/// A domain's record as a line for people.
struct ToldOfDomain<'a>(&'a DomainRecord);

impl fmt::Display for ToldOfDomain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = self.0;
        write!(f, "{} domain {}", entry.time, entry.change)?;
        write!(f, " domain={}", entry.domain)?;
        if let Some(host) = &entry.host {
            write!(f, " host={host}")?;
        }
        if let Some(actor) = &entry.actor {
            write!(f, " by={actor}")?;
        }
        write!(f, " what=\"{}\"", entry.what)
    }
}

/// A recipient's record as a line for people.
struct Told<'a>(&'a Record);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = self.0;
        write!(f, "{} {} {}", entry.time, entry.id, entry.state)?;
        write!(f, " from=<{}> to=<{}>", entry.sender, entry.recipient)?;
        if let Some(method) = entry.method {
            write!(f, " method={method}")?;
        }
        match &entry.tls {
            Some(tls) => write!(f, " tls={}:{}:{}", tls.version, tls.cipher, tls.group)?,
            None => f.write_str(" tls=none")?,
        }
        let words = [
            ("remote", &entry.remote),
            ("reason", &entry.reason),
            ("by", &entry.actor),
        ];
        for (word, value) in words {
            if let Some(value) = value {
                write!(f, " {word}={value}")?;
            }
        }
        if let Some(would) = &entry.would {
            write!(f, " would={}", would.method)?;
            if let Some(reason) = would.reason {
                write!(f, " would_reason={reason}")?;
            }
        }
        if let Some(rule) = &entry.rule {
            write!(f, " rule=\"{rule}\"")?;
        }
        for (word, value) in [("note", &entry.note), ("reply", &entry.reply)] {
            if let Some(value) = value {
                write!(f, " {word}=\"{value}\"")?;
            }
        }
        Ok(())
    }
}

impl AuditEntry {
    /// The state that its recipient came into; `None` of a domain's.
    #[must_use]
    pub fn state(&self) -> Option<State> {
        match &self.0 {
            AuditLine::Recipient(record) => Some(record.state),
            AuditLine::Domain(_) => None,
        }
    }

    /// What happened, in a few lines for somebody who waits for it.
    #[must_use]
    pub fn story(&self) -> String {
        match &self.0 {
            AuditLine::Recipient(record) => story(record),
            AuditLine::Domain(_) => self.to_string(),
        }
    }

    /// Its row of CSV, with the line's end; [`audit::CSV_HEADER`] goes before all.
    #[must_use]
    pub fn csv(&self) -> String {
        audit::csv_row(&self.0)
    }
}

fn story(entry: &Record) -> String {
    let word = |word: Option<&'static str>| word.unwrap_or("nothing");
    // A hand that reaches in says what it does; of a test message, all else
    // says that it is one.
    let note = entry.note.as_deref().filter(|note| *note != "test");
    let by = entry.actor.as_deref().unwrap_or("postern");
    let what = note.map_or_else(|| "attempt".to_owned(), |note| format!("{note}, by {by}"));
    let mut lines = vec![format!("{} {what}", entry.time)];
    if let Some(remote) = &entry.remote {
        let method = entry.method.map_or("no method", Method::as_str);
        lines.push(format!("  at {remote} by {method}"));
    }
    for passed in &entry.passed_over {
        lines.push(format!("  not by {}: {}", passed.method, passed.reason));
    }
    if let Some(tls) = &entry.tls {
        let (version, cipher, group) = (&tls.version, &tls.cipher, &tls.group);
        lines.push(format!("  {version} {cipher} {group}"));
        if let Some(certificate) = &tls.certificate {
            let names = certificate.names.join(" ");
            let until = certificate.not_after.as_deref().unwrap_or("no date");
            lines.push(format!("  certificate for {names}, until {until}"));
            lines.push(format!("  sha256 {}", certificate.sha256));
        }
    }
    if let Some(content) = &entry.content {
        let to = content.certificate.as_deref();
        let to = to.unwrap_or("nobody knows whom");
        let cipher = content.cipher.as_deref().unwrap_or("unknown");
        let by = content.by;
        lines.push(format!("  content encrypted by {by} for {to} ({cipher})"));
        if let Some(signer) = &content.signed_by {
            lines.push(format!("  signed by {signer}"));
        }
    }
    if entry.remote.is_some() {
        let required = word(entry.required.map(TlsLevel::as_str));
        let achieved = word(entry.achieved.map(TlsLevel::as_str));
        let tls = entry.tls.as_ref();
        let by = tls.and_then(|tls| tls.authenticated_by.as_deref());
        let by = by.map(|by| format!(" by {by}")).unwrap_or_default();
        lines.push(format!("  had to prove {required}, proved {achieved}{by}"));
    }
    if let Some(would) = &entry.would {
        let reason = would.reason.map(|reason| format!(" ({reason})"));
        let reason = reason.unwrap_or_default();
        lines.push(format!("  if observe were off: {}{reason}", would.method));
    }
    if let Some(reply) = &entry.reply {
        lines.push(format!("  said \"{reply}\""));
    }
    match &entry.reason {
        Some(reason) => lines.push(format!("  {}: {reason}", entry.state)),
        None => lines.push(format!("  {}", entry.state)),
    }
    lines.join("\n")
}

/// Whether the audit is as it was written.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct AuditVerdict(Findings);

impl AuditVerdict {
    /// Whether it is.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.0.intact
    }
}

impl fmt::Display for AuditVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = &self.0;
        for broken in &found.breaks {
            match &broken.place {
                Some(place) => write!(f, "{}, line {}: ", place.file, place.line)?,
                None => f.write_str("the audit: ")?,
            }
            writeln!(f, "{}", broken.what)?;
        }
        let (days, events) = (found.days, found.events);
        match (&found.first, &found.last) {
            (Some(first), Some(last)) => {
                writeln!(f, "{events} events in {days} day files, {first} to {last}")?;
            }
            _ => writeln!(f, "no day files yet")?,
        }
        if let Some(through) = &found.removed_through {
            writeln!(f, "days through {through} were removed by [audit] keep")?;
        }
        if let (Some(day), Some(head)) = (&found.signed_through, found.head) {
            let key = found.key.as_deref().unwrap_or_default();
            writeln!(f, "signed through {day} with the key {key}, head {head}")?;
        }
        if let Some(unsigned) = &found.unsigned {
            let (day, events) = (&unsigned.day, unsigned.events);
            writeln!(f, "not yet signed: {day}, {events} events")?;
        }
        f.write_str(if found.intact { "intact" } else { "BROKEN" })
    }
}

/// Verifies the audit, with the key beside the daemon's own unless another is
/// named. Each of `heads` must be found in it.
///
/// # Errors
/// If the key or the audit can't be read.
pub fn verify_audit(
    config: &Config,
    key: Option<&Path>,
    heads: &[Link],
) -> Result<AuditVerdict, AuditError> {
    let own = audit::public_path(&config.outcome.audit_key);
    let findings = audit::verify(&config.outcome.audit_folder, key.unwrap_or(&own), heads);
    findings.map(AuditVerdict)
}

/// Reads a time, or how long ago: `7d`.
///
/// # Errors
/// What one looks like.
pub fn ago(text: &str) -> Result<Timestamp, String> {
    if let Ok(span) = parse_duration(text) {
        let span = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        let now = SystemClock.now().as_micros();
        return Ok(Timestamp::from_micros(now.saturating_sub(span)));
    }
    text.parse()
        .map_err(|_| "neither a time (2026-11-22T08:00:00Z) nor how long ago (7d, 12h)".to_owned())
}

/// The entries asked for, in the order they were written; a broken line comes as an error that
/// names it, and reading goes on behind it.
///
/// # Errors
/// If the audit's folder can't be read.
pub fn audit(
    config: &Config,
    question: &AuditQuestion,
) -> Result<impl Iterator<Item = Result<AuditEntry, AuditError>> + use<>, AuditError> {
    let filter = AuditFilter {
        since: question.since,
        until: question.until,
        recipient: question.recipient.clone(),
        state: question.state,
        id: question.id,
        would: question.would,
        domain: question.domain.clone(),
        kind: question.kind,
    };
    let records = audit::read_lines(&config.outcome.audit_folder, &filter)?;
    Ok(records.map(|record| record.map(AuditEntry)))
}
