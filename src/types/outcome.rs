//! What came of an attempt, for each recipient, with the reason.
//!
//! Owns the reasons: one closed list for every refusal, deferral and fallback,
//! printed by the audit, by `explain` and, as a sentence, by DSNs. Holds always:
//! whatever did not happen says why.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Ending, Evidence, KeptCopy, Learnt, Method, QueueId, Timestamp, Waiver};

/// The set of hosts that serve a domain, as one destination (design section 1):
/// the hosts' names in a fixed order, so that equal sets are equal sites.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Site(Arc<str>);

impl Site {
    /// From the names of its hosts, in any order.
    #[must_use]
    pub fn new<'a>(hosts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut hosts: Vec<&str> = hosts.into_iter().collect();
        hosts.sort_unstable();
        hosts.dedup();
        Self(hosts.join("+").into())
    }

    /// Its name, as logs print it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The step of a session in which something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Finding hosts.
    Route,
    /// Opening the connection.
    Connect,
    /// Waiting for the 220.
    Greeting,
    /// EHLO or HELO.
    Hello,
    /// STARTTLS and the handshake.
    StartTls,
    /// AUTH.
    Auth,
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Rcpt,
    /// DATA, up to its 354.
    Data,
    /// The message itself, up to the final dot.
    Message,
    /// After the final dot.
    FinalDot,
    /// Protecting the content, before any connection.
    Protect,
}

/// A reply of the far side, bounded and printable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteReply {
    /// The three digits.
    pub code: u16,
    /// The enhanced code, `5.1.1`, if there is one that agrees with the digits.
    pub enhanced: Option<String>,
    /// All lines' text, joined by spaces, control characters replaced, 512
    /// octets at most.
    pub text: String,
}

impl fmt::Display for RemoteReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03}", self.code)?;
        if let Some(enhanced) = &self.enhanced {
            write!(f, " {enhanced}")?;
        }
        write!(f, " {}", self.text)
    }
}

/// Why a message did not go, or not that way.
///
/// The words of [`Reason::as_str`] are part of the contract (audit, logs).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    // Finding the way.
    /// The domain does not exist (NXDOMAIN).
    NoSuchDomain,
    /// The domain says it takes no mail (RFC 7505).
    NullMx,
    /// Neither MX nor address, or MX hosts without any usable address.
    NoHost,
    /// DNS did not answer, or failed.
    DnsFailed,
    /// The best MX is this relay itself (RFC 5321 section 5.1).
    MailLoop,
    /// Every address is in a blocked network.
    Blocked,
    // Reaching it.
    /// No connection: refused, unreachable, reset.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// The connection ended before the final dot.
    ConnectionLost,
    /// The far side does not speak SMTP as it should.
    ProtocolError,
    // Protection.
    /// A complete EHLO reply without STARTTLS.
    NoStarttls,
    /// STARTTLS was offered and then refused.
    StarttlsRefused,
    /// No common TLS version or cipher above the floor.
    NoCommonTls,
    /// The negotiated version or cipher is below the floor.
    BelowFloor,
    /// The handshake broke off, so nothing is known.
    TlsInterrupted,
    /// The certificate is for other names.
    CertificateName,
    /// The certificate has expired.
    CertificateExpired,
    /// The certificate leads to no trusted root.
    CertificateUntrusted,
    /// The certificate is broken or unusable.
    CertificateInvalid,
    // The transaction.
    /// A permanent refusal (5xx).
    Rejected,
    /// A temporary refusal (4xx).
    Deferred,
    /// The message is larger than the far side takes (RFC 1870).
    TooLarge,
    /// An 8-bit message and a far side without 8BITMIME (RFC 6152).
    EightBit,
    /// The far side's login refused our credentials, or offers no usable AUTH.
    AuthFailed,
    /// The connection ended after the final dot: it may have been taken.
    OutcomeUnknown,
    // Ourselves.
    /// The stored message could not be read.
    BodyUnreadable,
    /// A kept connection proves less than this message requires.
    Shortfall,
    /// A message that was in flight when the process ended.
    Interrupted,
    /// An operator did it by hand.
    Operator,
    // The order is part of the journal's format: what came later stands here.
    /// Hosts that did not answer have been tried for `security_patience`.
    PatienceOver,
    /// The host is none of those that the domain's MTA-STS policy lists.
    StsHost,
    /// DNS does not say whether the domain has an MTA-STS policy.
    StsUnknown,
    /// The certificate is not valid yet.
    CertificateNotYetValid,
    /// The domain's hosts are known to offer TLS, so it does not go without.
    TlsRemembered,
    /// No key of that kind is known for the recipient.
    NoKey,
    /// Nobody could say whether there is a key for the recipient.
    KeyLookup,
    /// The key's time is over.
    KeyExpired,
    /// The key's time has not come.
    KeyNotYetValid,
    /// The key was taken back by its owner or its authority.
    KeyRevoked,
    /// The key, or a signature in its certificate, is too weak.
    KeyTooWeak,
    /// The certificate has no key to encrypt to.
    KeyNotForEncryption,
    /// The certificate was not issued for mail.
    KeyWrongPurpose,
    /// The certificate is for other addresses.
    KeyOtherAddress,
    /// The key is of a kind that can't be used.
    KeyUnsupported,
    /// No trusted authority issued the certificate, and nobody added it by hand.
    KeyUntrusted,
    /// Whether the certificate is revoked can't be told.
    KeyRevocationUnknown,
    /// The certificate doesn't hold together.
    KeyBroken,
    /// The key is trusted less than the rule demands.
    KeyTooLittleTrust,
    /// The key came in place of another one and awaits approval.
    KeyAwaitsApproval,
    /// The organisation's own key can't sign.
    SigningKey,
    /// The content could not be encrypted, although there is a key.
    ProtectFailed,
    /// A rule holds it until somebody releases it.
    HeldByRule,
    /// A rule drops it.
    DroppedByRule,
}

impl Reason {
    /// The word that audit and logs use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSuchDomain => "no-such-domain",
            Self::NullMx => "null-mx",
            Self::NoHost => "no-host",
            Self::DnsFailed => "dns-failed",
            Self::MailLoop => "mail-loop",
            Self::Blocked => "blocked",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed-out",
            Self::ConnectionLost => "connection-lost",
            Self::ProtocolError => "protocol-error",
            Self::NoStarttls => "no-starttls",
            Self::StarttlsRefused => "starttls-refused",
            Self::NoCommonTls => "no-common-tls",
            Self::BelowFloor => "below-floor",
            Self::TlsInterrupted => "tls-interrupted",
            Self::CertificateName => "certificate-name",
            Self::CertificateExpired => "certificate-expired",
            Self::CertificateUntrusted => "certificate-untrusted",
            Self::CertificateInvalid => "certificate-invalid",
            Self::Rejected => "rejected",
            Self::Deferred => "deferred",
            Self::TooLarge => "too-large",
            Self::EightBit => "eight-bit",
            Self::AuthFailed => "auth-failed",
            Self::OutcomeUnknown => "outcome-unknown",
            Self::BodyUnreadable => "body-unreadable",
            Self::Shortfall => "shortfall",
            Self::Interrupted => "interrupted",
            Self::Operator => "operator",
            Self::PatienceOver => "patience-over",
            Self::StsHost => "sts-host",
            Self::StsUnknown => "sts-unknown",
            Self::CertificateNotYetValid => "certificate-not-yet-valid",
            Self::TlsRemembered => "tls-remembered",
            Self::NoKey => "no-key",
            Self::KeyLookup => "key-lookup",
            Self::KeyExpired => "key-expired",
            Self::KeyNotYetValid => "key-not-yet-valid",
            Self::KeyRevoked => "key-revoked",
            Self::KeyTooWeak => "key-too-weak",
            Self::KeyNotForEncryption => "key-not-for-encryption",
            Self::KeyWrongPurpose => "key-wrong-purpose",
            Self::KeyOtherAddress => "key-other-address",
            Self::KeyUnsupported => "key-unsupported",
            Self::KeyUntrusted => "key-untrusted",
            Self::KeyRevocationUnknown => "key-revocation-unknown",
            Self::KeyBroken => "key-broken",
            Self::KeyTooLittleTrust => "key-too-little-trust",
            Self::KeyAwaitsApproval => "key-awaits-approval",
            Self::SigningKey => "signing-key",
            Self::ProtectFailed => "protect-failed",
            Self::HeldByRule => "held-by-rule",
            Self::DroppedByRule => "dropped-by-rule",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why one recipient was not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What kind of thing went wrong.
    pub reason: Reason,
    /// Where in the session.
    pub stage: Stage,
    /// The enhanced status code for logs and DSNs (RFC 3463), e.g. `5.7.10`.
    pub status: String,
    /// What the far side said, if it said something.
    pub reply: Option<RemoteReply>,
}

/// What came of one recipient's attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The far side took it with this reply.
    Delivered(RemoteReply),
    /// To be tried again later, unless it is too late for that.
    Deferred(Failure),
    /// Refused for good: the sender is told.
    Bounced(Failure),
    /// The methods list ended in `drop`, or a rule drops it.
    Dropped(Failure),
    /// A rule holds it.
    Held(Failure),
}

/// What a recipient that waits for a clock asks of the queue (design section 3.3).
/// The spans are ages of the message, counted from its acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waiting {
    /// A host has answered and policy makes the rest, so it says nothing against
    /// the site.
    pub answered: bool,
    /// When a clock ends: the next attempt is no later.
    pub until: Option<Duration>,
    /// From when on the sender is told of the delay, where that is earlier than for
    /// others.
    pub tell: Option<Duration>,
    /// What comes at the end, if nothing changes until `expire`.
    pub ending: Ending,
}

/// One recipient's part of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientReport {
    /// Its place in the envelope's recipients.
    pub index: u32,
    /// What came of it.
    pub fate: Fate,
    /// The method tried last, if it came to a method.
    pub method: Option<Method>,
    /// How it was protected, and why that way.
    pub evidence: Evidence,
    /// What it asks of the queue, if it waits.
    pub waiting: Waiting,
    /// The protected copy that may have arrived, to be sent again as it is if it waits.
    pub copy: Option<KeptCopy>,
    /// What a rule that holds or drops it says, for the audit.
    pub note: Option<String>,
}

/// What came of one attempt: delivery's whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The message.
    pub id: QueueId,
    /// Where it went, if a site was found.
    pub site: Option<Site>,
    /// When the attempt ended.
    pub at: Timestamp,
    /// One entry for each recipient of the job.
    pub recipients: Vec<RecipientReport>,
    /// What was learnt on the way.
    pub learnt: Option<Learnt>,
    /// The operator's exception by which `cleartext` had its turn, if it took one.
    pub waiver: Option<Waiver>,
}
