//! The one log line a recipient's outcome (design section 4.1).
//!
//! Holds always: one line, in `key=value` words that can be grepped as Postfix's
//! can; full addresses and remote texts only where the operator has asked for
//! them (`log_addresses`), since both tell of patients.

use std::fmt::Write as _;

use crate::types::{Evidence, Failure, Fate, Report, Site, State};

use super::settle::Case;

/// Octets of a site's name in a line.
const SITE_MAX: usize = 256;

/// Writes the line of one recipient.
pub(super) fn line(case: &Case<'_>, report: &Report, log_addresses: bool) -> String {
    let evidence = &case.report.evidence;
    let mut line = format!(
        "id={} to_domain={} site={} method={} tls={} dsn={} status={}",
        report.id,
        case.recipient.mailbox.host(),
        report.site.as_ref().map_or("none", site_word),
        case.report.method.map_or("none", |method| method.as_str()),
        tls(evidence),
        dsn(case),
        status(case.state),
    );
    // Writing to a String can't fail.
    if let Some(failure) = case.failure() {
        let _ = write!(line, " reason={}", failure.reason);
    }
    let _ = write!(line, " attempts={}", case.decision.attempts);
    if let Some(sts) = &evidence.sts {
        let _ = write!(line, " sts={}", sts.mode.as_str());
        if let Some(finding) = sts.finding {
            let _ = write!(line, " sts_finding={finding}");
        }
    }
    if let Some(would) = &evidence.would {
        let _ = write!(line, " would={}", would.method);
        if let Some(reason) = would.reason {
            let _ = write!(line, " would_reason={reason}");
        }
    }
    if log_addresses {
        let _ = write!(line, " to=<{}>", case.recipient.mailbox);
        if let Some(reply) = case.reply() {
            let _ = write!(line, " reply=\"{}\"", printable(&reply.to_string()));
        }
    }
    line
}

/// A site's name holds those of all its hosts, of which the far side may list any
/// number: the first of them must do.
fn site_word(site: &Site) -> &str {
    let name = site.as_str();
    name.get(..SITE_MAX).unwrap_or(name)
}

/// The word for a state: that of the state, but for what stays open.
pub(super) fn status(state: State) -> &'static str {
    match state {
        State::Queued => "deferred",
        state => state.as_str(),
    }
}

/// The enhanced status code (RFC 3463).
fn dsn<'a>(case: &'a Case<'_>) -> &'a str {
    match &case.report.fate {
        Fate::Delivered(reply) => reply.enhanced.as_deref().unwrap_or("2.0.0"),
        Fate::Deferred(Failure { status, .. })
        | Fate::Bounced(Failure { status, .. })
        | Fate::Dropped(Failure { status, .. })
        | Fate::Held(Failure { status, .. }) => status,
    }
}

fn tls(evidence: &Evidence) -> String {
    match &evidence.tls {
        None => "none".to_owned(),
        Some(tls) => format!(
            "{}:{}:{}:{}",
            tls.version,
            tls.cipher,
            tls.group,
            evidence.achieved.map_or("none", |level| level.as_str()),
        ),
    }
}

/// A remote text that can't end its quotes or its line.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '"' => '\'',
            c if c.is_control() => '?',
            c => c,
        })
        .collect()
}
