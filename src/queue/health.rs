//! What a report says about its site.
//!
//! Holds always: a site is down where the attempt failed before any transaction
//! for reasons that every message would meet, or where it says 421 (RFC 5321
//! section 3.8); what depends on a recipient, a message or on a domain's policy
//! says nothing against it, so no domain waits for another's rules.

use crate::types::{Failure, Fate, Reason, RecipientReport, Report, Stage};

/// What an attempt says about its site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Health {
    /// It answers.
    Up,
    /// It can't be used for now.
    Down(Failure),
    /// Nothing was learnt.
    Unknown,
}

/// Judges by all of a report's recipients: one that came further speaks for the
/// site.
pub(super) fn judge(report: &Report) -> Health {
    let mut verdict = Health::Unknown;
    for recipient in &report.recipients {
        match (one(recipient), &verdict) {
            (Health::Up, _) => return Health::Up,
            (down @ Health::Down(_), Health::Unknown) => verdict = down,
            _ => {}
        }
    }
    verdict
}

fn one(recipient: &RecipientReport) -> Health {
    match &recipient.fate {
        // The rest is a matter of one domain's policy and clocks.
        Fate::Deferred(_) if recipient.waiting.answered => Health::Up,
        Fate::Delivered(_) => Health::Up,
        Fate::Deferred(failure) if is_of_site(failure) => Health::Down(failure.clone()),
        Fate::Deferred(failure)
        | Fate::Bounced(failure)
        | Fate::Dropped(failure)
        | Fate::Held(failure) => match (failure.stage, failure.reason) {
            (_, Reason::Interrupted | Reason::BodyUnreadable) | (Stage::Route, _) => {
                Health::Unknown
            }
            _ => Health::Up,
        },
    }
}

fn is_of_site(failure: &Failure) -> bool {
    if failure
        .reply
        .as_ref()
        .is_some_and(|reply| reply.code == 421)
    {
        return true;
    }
    let before_transaction = matches!(
        failure.stage,
        Stage::Route
            | Stage::Connect
            | Stage::Greeting
            | Stage::Hello
            | Stage::StartTls
            | Stage::Auth
    );
    // Protection that is missing is a matter between host and policy, and another
    // domain's policy may do without it.
    let of_policy = matches!(
        failure.reason,
        Reason::NoStarttls
            | Reason::StarttlsRefused
            | Reason::NoCommonTls
            | Reason::BelowFloor
            | Reason::CertificateName
            | Reason::CertificateExpired
            | Reason::CertificateNotYetValid
            | Reason::CertificateUntrusted
            | Reason::CertificateInvalid
            | Reason::Shortfall
            | Reason::StsHost
            | Reason::StsUnknown
            | Reason::BodyUnreadable
            | Reason::Interrupted
    );
    before_transaction && !of_policy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Evidence, QueueId, RecipientReport, RemoteReply, Timestamp};

    fn failure(reason: Reason, stage: Stage, code: Option<u16>) -> Failure {
        Failure {
            reason,
            stage,
            status: "4.0.0".into(),
            reply: code.map(|code| RemoteReply {
                code,
                enhanced: None,
                text: String::new(),
            }),
        }
    }

    fn report(fates: Vec<Fate>) -> Report {
        let recipients = (0..).zip(fates).map(|(index, fate)| RecipientReport {
            index,
            fate,
            method: None,
            evidence: Evidence::default(),
            waiting: crate::types::Waiting::default(),
            copy: None,
            note: None,
        });
        Report {
            id: QueueId::from_octets([0; 12]),
            site: None,
            at: Timestamp::from_micros(0),
            recipients: recipients.collect(),
            learnt: None,
            waiver: None,
        }
    }

    #[test]
    fn deferrals_of_the_site_and_others() {
        for (reason, stage, code, down) in [
            (Reason::DnsFailed, Stage::Route, None, true),
            (Reason::Unreachable, Stage::Connect, None, true),
            (Reason::TimedOut, Stage::Greeting, None, true),
            (Reason::Deferred, Stage::Greeting, Some(450), true),
            (Reason::TlsInterrupted, Stage::StartTls, None, true),
            (Reason::Deferred, Stage::Mail, Some(421), true),
            (Reason::Deferred, Stage::Rcpt, Some(451), false),
            (Reason::ConnectionLost, Stage::Message, None, false),
            (Reason::NoStarttls, Stage::Hello, None, false),
            (Reason::StarttlsRefused, Stage::StartTls, Some(454), false),
            (Reason::CertificateName, Stage::StartTls, None, false),
        ] {
            let report = report(vec![Fate::Deferred(failure(reason, stage, code))]);
            assert_eq!(
                matches!(judge(&report), Health::Down(_)),
                down,
                "{reason} {stage:?}"
            );
        }
    }

    #[test]
    fn one_recipient_that_came_through_speaks_for_the_site() {
        let lost = Fate::Deferred(failure(Reason::Deferred, Stage::Rcpt, Some(421)));
        let refused = Fate::Bounced(failure(Reason::Rejected, Stage::Rcpt, Some(550)));
        assert_eq!(judge(&report(vec![lost.clone(), refused])), Health::Up);
        assert!(matches!(judge(&report(vec![lost])), Health::Down(_)));
    }

    #[test]
    fn our_own_trouble_says_nothing() {
        let own = Fate::Deferred(failure(Reason::Interrupted, Stage::Connect, None));
        assert_eq!(judge(&report(vec![own])), Health::Unknown);
        assert_eq!(judge(&report(vec![])), Health::Unknown);
    }
}
