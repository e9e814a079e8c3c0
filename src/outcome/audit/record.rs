//! The form of an audit line (design section 4.1, `audit list --json`).
//!
//! Holds always: the field names are the contract; additions are welcome, renames
//! are not. Written by [`super::AuditLog`], read by [`super::read`], printed by
//! the command line.

use serde::{Deserialize, Serialize};

use crate::types::{
    AuditEvent, ContentProof, Evidence, Method, Reason, Remote, State, StsFacts, StsMode,
    StsSource, TlsLevel, Would,
};

/// One line of the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The message.
    pub id: String,
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// The reverse-path, empty for `<>`.
    pub sender: String,
    /// The forward-path.
    pub recipient: String,
    /// The state it is in now; `queued` after a deferral.
    pub state: State,
    /// The method tried, if it came to one.
    pub method: Option<Method>,
    /// The word for why it did not go.
    pub reason: Option<String>,
    /// The handshake, if there was one.
    pub tls: Option<TlsRecord>,
    /// The host that took it, or the last one that did not:
    /// `mx.example[192.0.2.1]:25`.
    pub remote: Option<String>,
    /// What it said.
    pub reply: Option<String>,
    /// This line's own name.
    pub event: String,
    /// The rule that decided; `null`: the `[security]` section.
    pub rule: Option<String>,
    /// The hash of the configuration in force.
    pub configuration: String,
    /// The level the transport had to prove.
    pub required: Option<TlsLevel>,
    /// The level it proved.
    pub achieved: Option<TlsLevel>,
    /// Each method that was passed over, with why.
    pub passed_over: Vec<PassedOver>,
    /// Who did it by hand, or asked for the test message; `null`: nobody.
    #[serde(default)]
    pub actor: Option<String>,
    /// What was done by hand, and why.
    #[serde(default)]
    pub note: Option<String>,
    /// What the configured methods would have come to, while they are only
    /// observed; `null`: they are enforced.
    #[serde(default)]
    pub would: Option<Would>,
    /// The MTA-STS policy of the recipient's domain; `null`: none is known.
    #[serde(default)]
    pub sts: Option<StsRecord>,
    /// How the content itself was protected; `null`: it was not.
    #[serde(default)]
    pub content: Option<ContentProof>,
}

/// An MTA-STS policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StsRecord {
    /// `enforce`, `testing` or `none`.
    pub mode: StsMode,
    /// The `id` of its record.
    pub id: String,
    /// Its host patterns, 20 at most.
    pub mx: Vec<String>,
    /// When it was fetched, RFC 3339 in UTC.
    pub fetched_at: String,
    /// When it ends, RFC 3339 in UTC.
    pub expires_at: String,
    /// `cache`, or `fetched` for this attempt.
    pub source: StsSource,
    /// What is wrong with the host by it: why mail must not go there (`enforce`) or
    /// would not (`testing`); `null`: nothing.
    pub finding: Option<Reason>,
}

/// What a handshake proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsRecord {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: String,
    /// The IANA name of the suite.
    pub cipher: String,
    /// The key-exchange group.
    pub group: String,
    /// The peer's certificate.
    pub certificate: Option<CertificateRecord>,
    /// What vouched for the peer's identity.
    pub authenticated_by: Option<String>,
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateRecord {
    /// SHA-256 over the DER, in hex.
    pub sha256: String,
    /// The names it is for.
    pub names: Vec<String>,
    /// When it ends, RFC 3339 in UTC.
    pub not_after: Option<String>,
}

/// A method that was passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOver {
    /// Which.
    pub method: Method,
    /// Why.
    pub reason: Reason,
}

impl From<&AuditEvent> for Record {
    fn from(event: &AuditEvent) -> Self {
        let evidence = &event.evidence;
        Self {
            id: event.id.to_string(),
            time: event.time.to_string(),
            sender: event.sender.clone(),
            recipient: event.recipient.clone(),
            state: event.state,
            method: event.method,
            reason: event.reason.clone(),
            tls: tls(evidence),
            remote: evidence.remote.as_ref().map(remote_text),
            reply: event.reply.clone(),
            event: event.event.to_string(),
            rule: evidence.rule.clone(),
            configuration: evidence.configuration.clone(),
            required: evidence.required,
            achieved: evidence.achieved,
            passed_over: evidence
                .passed_over
                .iter()
                .map(|(method, reason)| PassedOver {
                    method: *method,
                    reason: *reason,
                })
                .collect(),
            actor: event.actor.clone(),
            note: event.note.clone(),
            would: evidence.would,
            sts: evidence.sts.as_ref().map(sts),
            content: evidence.content.clone(),
        }
    }
}

fn sts(facts: &StsFacts) -> StsRecord {
    StsRecord {
        mode: facts.mode,
        id: facts.id.clone(),
        mx: facts.mx.clone(),
        fetched_at: facts.fetched_at.to_string(),
        expires_at: facts.expires_at.to_string(),
        source: facts.source,
        finding: facts.finding,
    }
}

fn tls(evidence: &Evidence) -> Option<TlsRecord> {
    evidence.tls.as_ref().map(|tls| TlsRecord {
        version: tls.version.clone(),
        cipher: tls.cipher.clone(),
        group: tls.group.clone(),
        certificate: tls.certificate.as_ref().map(|c| CertificateRecord {
            sha256: c.sha256.clone(),
            names: c.names.clone(),
            not_after: c.not_after.map(|at| at.to_string()),
        }),
        authenticated_by: evidence.authenticated_by.map(|by| by.as_str().to_owned()),
    })
}

/// A host as Postfix's logs name it: `mx.example[192.0.2.1]:25`.
pub(in crate::outcome) fn remote_text(remote: &Remote) -> String {
    match remote.address {
        Some(address) => format!("{}[{}]:{}", remote.name, address.ip(), address.port()),
        None => remote.name.clone(),
    }
}
