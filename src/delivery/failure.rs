//! What each failure means: the one file that decides it.
//!
//! Owns the way from what happened (reason, stage, reply) to what follows: for a
//! recipient ([`Meaning`]), for a host's protection ([`Verdict`]), and the
//! enhanced status code of our own failures. Holds always: a reply is judged by
//! its digits, never by its text (RFC 5321 section 4.3.2); what is not a definite
//! no is unknown, and unknown never weakens protection. A quirk of some remote
//! server belongs here. Called by `session`, `connection`, `route` and `attempt`.

use super::session::RecipientEnd;
use crate::types::{Failure, Reason, RemoteReply, Required, Stage, TlsLevel};

/// What follows for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Done.
    Delivered(RemoteReply),
    /// One more transaction over the same connection, at once.
    Again(Failure),
    /// Another host may do better (RFC 5321 section 5.1); else deferred.
    NextHost(Failure),
    /// This host takes no such message, another may (RFC 5321 section 5.1); else never.
    Unsuitable(Failure),
    /// Later.
    Defer(Failure),
    /// Never.
    Bounce(Failure),
}

/// What a host that was not served says about the method (design section 3.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A definite no to the protection required.
    Unmet(Failure),
    /// Less than the recipient's domain has published: nothing may go there.
    Violated(Failure),
    /// Not reached, or no definite answer: proves nothing.
    Unknown(Failure),
    /// A permanent refusal that is not about protection.
    Refused(Failure),
    /// There is no such host to ask.
    Absent(Failure),
}

/// What the end of a transaction means for a recipient.
pub(super) fn of_recipient(end: RecipientEnd) -> Meaning {
    match end {
        RecipientEnd::Delivered(reply) => Meaning::Delivered(reply),
        RecipientEnd::TooMany(reply) => Meaning::Again(temporary(Stage::Rcpt, reply)),
        RecipientEnd::Unsuitable(reason) => Meaning::Unsuitable(ours(reason, Stage::Mail)),
        RecipientEnd::Broken(failure) => match failure.reason {
            // Another host might get a second copy, or fail at the same body.
            Reason::OutcomeUnknown | Reason::BodyUnreadable => Meaning::Defer(failure),
            _ => Meaning::NextHost(failure),
        },
        RecipientEnd::Refused(stage, reply) => of_reply(stage, reply),
    }
}

fn of_reply(stage: Stage, reply: RemoteReply) -> Meaning {
    match (stage, reply.code) {
        // RFC 5321 section 4.5.3.1.10: a 552 at RCPT is an old spelling of 452,
        // unless it says that it is about the mailbox (RFC 3463 section 3.3).
        (Stage::Rcpt, 552) if subject(&reply) != Some("2") => {
            Meaning::Defer(temporary(stage, reply))
        }
        (_, 500..=599) => Meaning::Bounce(said(stage, reply)),
        (Stage::Mail, _) => Meaning::NextHost(said(stage, reply)),
        _ => Meaning::Defer(said(stage, reply)),
    }
}

/// The middle number of the enhanced code.
fn subject(reply: &RemoteReply) -> Option<&str> {
    reply.enhanced.as_deref()?.split('.').nth(1)
}

/// What a failure before any transaction means for the method: a definite no to
/// what the recipient's domain itself has published is a violation (design section
/// 3.3), however the operator's own demand stands. `achieved` is what the handshake
/// proved, if there was one.
pub(super) fn of_host(
    failure: Failure,
    required: &Required,
    achieved: Option<TlsLevel>,
) -> Verdict {
    match by_itself(failure) {
        Verdict::Unmet(failure) if required.is_violated_by(achieved) => violated(failure),
        verdict => verdict,
    }
}

/// Less than the domain has published. It waits (RFC 8461 section 5.1).
pub(super) fn violated(failure: Failure) -> Verdict {
    Verdict::Violated(for_now(failure))
}

/// What waits for now in spite of a definite no, so its code is a temporary one.
pub(super) fn for_now(mut failure: Failure) -> Failure {
    if let Some(rest) = failure.status.strip_prefix('5') {
        failure.status = format!("4{rest}");
    }
    failure
}

fn by_itself(failure: Failure) -> Verdict {
    let code = failure.reply.as_ref().map(|reply| reply.code);
    match failure.reason {
        Reason::NoStarttls
        | Reason::NoCommonTls
        | Reason::BelowFloor
        | Reason::CertificateName
        | Reason::CertificateExpired
        | Reason::CertificateNotYetValid
        | Reason::CertificateUntrusted
        | Reason::CertificateInvalid
        | Reason::Shortfall => Verdict::Unmet(failure),
        // Only what is published says so.
        Reason::StsHost => violated(failure),
        // 454 is temporary by name (RFC 3207 section 4); a 5xx is an answer.
        Reason::StarttlsRefused if matches!(code, Some(500..=599)) => Verdict::Unmet(failure),
        Reason::Rejected => Verdict::Refused(failure),
        Reason::NoHost | Reason::Blocked => Verdict::Absent(failure),
        _ => Verdict::Unknown(failure),
    }
}

/// Whether a host that is unmet for this reason definitely has no TLS for us, so
/// that `cleartext` may have its turn (design section 3.3). What a certificate
/// says never opens that door.
pub(super) fn opens_cleartext(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NoStarttls | Reason::StarttlsRefused | Reason::NoCommonTls | Reason::BelowFloor
    )
}

/// Whether a kept connection was simply dead: nothing was answered, or the far
/// side had said goodbye while it lay idle.
pub(super) fn was_stale(end: &RecipientEnd) -> bool {
    match end {
        RecipientEnd::Broken(failure) => {
            failure.stage == Stage::Mail
                && failure.reply.as_ref().is_none_or(|reply| reply.code == 421)
        }
        _ => false,
    }
}

/// A failure that we name ourselves.
pub(super) fn ours(reason: Reason, stage: Stage) -> Failure {
    Failure {
        reason,
        stage,
        status: status(reason, stage).to_owned(),
        reply: None,
    }
}

/// A failure that the far side named.
pub(super) fn said(stage: Stage, reply: RemoteReply) -> Failure {
    let permanent = (500..600).contains(&reply.code);
    let enhanced = reply.enhanced.clone();
    let reason = match enhanced.as_deref() {
        // RFC 1870 section 6.2: 552 and 5.3.4.
        Some("5.3.4") => Reason::TooLarge,
        _ if permanent => Reason::Rejected,
        _ => Reason::Deferred,
    };
    Failure {
        reason,
        stage,
        status: enhanced.unwrap_or_else(|| {
            // RFC 3463 section 3.1: other, undefined status.
            if permanent { "5.0.0" } else { "4.0.0" }.to_owned()
        }),
        reply: Some(reply),
    }
}

/// A 5xx that counts as temporary all the same.
fn temporary(stage: Stage, reply: RemoteReply) -> Failure {
    Failure {
        reason: Reason::Deferred,
        stage,
        // RFC 3463 section 3.6: too many recipients.
        status: "4.5.3".to_owned(),
        reply: Some(reply),
    }
}

/// A login that was refused: the operator's to mend, so the mail waits.
pub(super) fn auth(reply: RemoteReply) -> Failure {
    Failure {
        reply: Some(reply),
        ..ours(Reason::AuthFailed, Stage::Auth)
    }
}

/// The enhanced status code of our own failures (RFC 3463, and the registry of
/// RFC 5248 as later RFCs filled it).
fn status(reason: Reason, stage: Stage) -> &'static str {
    match reason {
        // Bad destination system address.
        Reason::NoSuchDomain => "5.1.2",
        // Recipient address has null MX (RFC 7505 section 4.1).
        Reason::NullMx => "5.1.10",
        // Unable to route.
        Reason::NoHost | Reason::Blocked => "5.4.4",
        // Directory server failure.
        Reason::DnsFailed => "4.4.3",
        // Routing loop detected.
        Reason::MailLoop => "5.4.6",
        // Delivery not authorized, message refused: by a rule of ours.
        Reason::HeldByRule => "4.7.1",
        Reason::DroppedByRule => "5.7.1",
        // No answer from host.
        Reason::Unreachable => "4.4.1",
        Reason::TimedOut if stage == Stage::Connect => "4.4.1",
        // Bad connection.
        Reason::TimedOut | Reason::ConnectionLost | Reason::OutcomeUnknown => "4.4.2",
        // Other or undefined protocol status.
        Reason::ProtocolError => "4.5.0",
        // Encryption needed.
        Reason::NoStarttls | Reason::Shortfall | Reason::PatienceOver => "5.7.10",
        Reason::StarttlsRefused | Reason::TlsRemembered => "4.7.10",
        // Cryptographic algorithm not supported.
        Reason::NoCommonTls | Reason::BelowFloor => "5.7.6",
        // Other or undefined security status: what is published is not fulfilled, or
        // not known.
        Reason::StsHost | Reason::StsUnknown => "4.7.0",
        // Cryptographic failure.
        Reason::TlsInterrupted => "4.7.5",
        Reason::CertificateName
        | Reason::CertificateExpired
        | Reason::CertificateNotYetValid
        | Reason::CertificateUntrusted
        | Reason::CertificateInvalid => "5.7.5",
        Reason::Rejected => "5.0.0",
        Reason::Deferred => "4.0.0",
        // Message too big for system (RFC 1870 section 6.2).
        Reason::TooLarge => "5.3.4",
        // Conversion required but not supported (RFC 6152 section 3).
        Reason::EightBit => "5.6.3",
        // Authentication credentials invalid (RFC 4954 section 6).
        Reason::AuthFailed => "4.7.8",
        // Other or undefined mail system status.
        Reason::BodyUnreadable | Reason::Interrupted => "4.3.0",
        // Delivery not authorized.
        Reason::Operator => "5.7.1",
        // Other or undefined security status (RFC 3463 section 3.8): no key to use.
        Reason::NoKey
        | Reason::KeyExpired
        | Reason::KeyNotYetValid
        | Reason::KeyRevoked
        | Reason::KeyTooWeak
        | Reason::KeyNotForEncryption
        | Reason::KeyWrongPurpose
        | Reason::KeyOtherAddress
        | Reason::KeyUnsupported
        | Reason::KeyUntrusted
        | Reason::KeyRevocationUnknown
        | Reason::KeyBroken
        | Reason::KeyTooLittleTrust
        | Reason::KeyAwaitsApproval => "5.7.0",
        Reason::KeyLookup => "4.7.0",
        // Cryptographic failure.
        Reason::SigningKey | Reason::ProtectFailed => "4.7.5",
    }
}

#[cfg(test)]
#[path = "failure_tests.rs"]
mod tests;
