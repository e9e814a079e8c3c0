//! The tables of what failures mean.

use super::*;
use crate::types::Demand;

fn reply(code: u16, enhanced: Option<&str>) -> RemoteReply {
    RemoteReply {
        code,
        enhanced: enhanced.map(str::to_owned),
        text: "no".into(),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Next,
    Unsuitable,
    Defer,
    Bounce,
}

fn kind(meaning: Meaning) -> (Kind, Failure) {
    match meaning {
        Meaning::NextHost(failure) => (Kind::Next, failure),
        Meaning::Unsuitable(failure) => (Kind::Unsuitable, failure),
        Meaning::Defer(failure) => (Kind::Defer, failure),
        Meaning::Bounce(failure) => (Kind::Bounce, failure),
        other => panic!("{other:?}"),
    }
}

#[test]
fn replies_by_stage_and_digits() {
    use Kind::{Bounce, Defer, Next};
    use Stage::{Data, FinalDot, Mail, Message, Rcpt};
    let table = [
        // stage, code, enhanced, meaning, reason, status
        (Mail, 451, None, Next, Reason::Deferred, "4.0.0"),
        (Mail, 550, Some("5.7.1"), Bounce, Reason::Rejected, "5.7.1"),
        (Mail, 552, Some("5.3.4"), Bounce, Reason::TooLarge, "5.3.4"),
        (Rcpt, 450, Some("4.2.1"), Defer, Reason::Deferred, "4.2.1"),
        (Rcpt, 452, None, Defer, Reason::Deferred, "4.0.0"),
        (Rcpt, 552, None, Defer, Reason::Deferred, "4.5.3"),
        (Rcpt, 552, Some("5.5.3"), Defer, Reason::Deferred, "4.5.3"),
        (Rcpt, 552, Some("5.2.2"), Bounce, Reason::Rejected, "5.2.2"),
        (Rcpt, 550, None, Bounce, Reason::Rejected, "5.0.0"),
        (Rcpt, 599, None, Bounce, Reason::Rejected, "5.0.0"),
        (Data, 451, None, Defer, Reason::Deferred, "4.0.0"),
        (Data, 554, None, Bounce, Reason::Rejected, "5.0.0"),
        (
            Message,
            552,
            Some("5.3.4"),
            Bounce,
            Reason::TooLarge,
            "5.3.4",
        ),
        (FinalDot, 421, None, Defer, Reason::Deferred, "4.0.0"),
        (FinalDot, 451, None, Defer, Reason::Deferred, "4.0.0"),
        (
            FinalDot,
            550,
            Some("5.7.9"),
            Bounce,
            Reason::Rejected,
            "5.7.9",
        ),
    ];
    for (stage, code, enhanced, expected, reason, status) in table {
        let end = RecipientEnd::Refused(stage, reply(code, enhanced));
        let (meaning, failure) = kind(of_recipient(end));
        assert_eq!(meaning, expected, "{stage:?} {code}");
        assert_eq!((failure.reason, failure.status.as_str()), (reason, status));
        assert_eq!(failure.stage, stage);
    }
}

#[test]
fn broken_sessions() {
    let table = [
        (Reason::ConnectionLost, Kind::Next),
        (Reason::TimedOut, Kind::Next),
        (Reason::ProtocolError, Kind::Next),
        (Reason::OutcomeUnknown, Kind::Defer),
        (Reason::BodyUnreadable, Kind::Defer),
    ];
    for (reason, expected) in table {
        let end = RecipientEnd::Broken(ours(reason, Stage::Message));
        assert_eq!(kind(of_recipient(end)).0, expected, "{reason}");
    }
    for (reason, status) in [(Reason::TooLarge, "5.3.4"), (Reason::EightBit, "5.6.3")] {
        let (meaning, failure) = kind(of_recipient(RecipientEnd::Unsuitable(reason)));
        assert_eq!(
            (meaning, failure.status.as_str()),
            (Kind::Unsuitable, status)
        );
    }
}

/// Every reason: what it says about protection, and whether it opens cleartext.
#[test]
fn verdicts_by_reason() {
    let (unmet, unknown) = ("unmet", "unknown");
    let table = [
        (Reason::NoStarttls, unmet, true),
        (Reason::NoCommonTls, unmet, true),
        (Reason::BelowFloor, unmet, true),
        (Reason::CertificateName, unmet, false),
        (Reason::CertificateExpired, unmet, false),
        (Reason::CertificateNotYetValid, unmet, false),
        (Reason::CertificateUntrusted, unmet, false),
        (Reason::CertificateInvalid, unmet, false),
        (Reason::Shortfall, unmet, false),
        (Reason::TlsInterrupted, unknown, false),
        (Reason::Unreachable, unknown, false),
        (Reason::TimedOut, unknown, false),
        (Reason::ConnectionLost, unknown, false),
        (Reason::ProtocolError, unknown, false),
        (Reason::Deferred, unknown, false),
        (Reason::DnsFailed, unknown, false),
        (Reason::AuthFailed, unknown, false),
        (Reason::Rejected, "refused", false),
        (Reason::NoHost, "absent", false),
        (Reason::Blocked, "absent", false),
        (Reason::StsHost, "violated", false),
        (Reason::StsUnknown, unknown, false),
    ];
    for (reason, expected, opens) in table {
        let verdict = match of_host(ours(reason, Stage::StartTls), &Required::nothing(), None) {
            Verdict::Unmet(_) => unmet,
            Verdict::Violated(_) => "violated",
            Verdict::Unknown(_) => unknown,
            Verdict::Refused(_) => "refused",
            Verdict::Absent(_) => "absent",
        };
        assert_eq!(verdict, expected, "{reason}");
        assert_eq!(opens_cleartext(reason), opens, "{reason}");
    }
}

/// Where the domain has published better, a definite no violates it, waits, and
/// has a temporary code; all else is as ever.
#[test]
fn what_is_published_is_violated_not_unmet() {
    let published = Required::at_least(TlsLevel::Secure, Demand::MtaSts);
    for (reason, achieved, violated) in [
        (Reason::NoStarttls, None, true),
        (Reason::NoCommonTls, None, true),
        (Reason::CertificateName, Some(TlsLevel::Encrypted), true),
        (
            Reason::CertificateExpired,
            Some(TlsLevel::Authenticated),
            true,
        ),
        (Reason::TlsInterrupted, None, false),
        (Reason::Unreachable, None, false),
        (Reason::Rejected, None, false),
    ] {
        match of_host(ours(reason, Stage::StartTls), &published, achieved) {
            Verdict::Violated(failure) => {
                assert!(violated, "{reason}");
                assert_eq!(failure.reason, reason);
                assert!(failure.status.starts_with("4."), "{}", failure.status);
            }
            _ => assert!(!violated, "{reason}"),
        }
    }
}

#[test]
fn e22_a_refused_starttls_is_definite_only_with_5xx() {
    let refused = |code| {
        let failure = Failure {
            reply: Some(reply(code, None)),
            ..ours(Reason::StarttlsRefused, Stage::StartTls)
        };
        of_host(failure, &Required::nothing(), None)
    };
    assert!(matches!(refused(454), Verdict::Unknown(_)));
    assert!(matches!(refused(502), Verdict::Unmet(_)));
}

/// A code's class says whether it is final, and agrees with what is done.
#[test]
fn unmet_is_5_and_unknown_is_4() {
    for reason in [
        Reason::NoStarttls,
        Reason::NoCommonTls,
        Reason::CertificateName,
    ] {
        assert!(ours(reason, Stage::StartTls).status.starts_with('5'));
    }
    for reason in [Reason::TlsInterrupted, Reason::TimedOut, Reason::AuthFailed] {
        assert!(ours(reason, Stage::StartTls).status.starts_with('4'));
    }
}

#[test]
fn a_dead_kept_connection_is_told_from_a_refusal() {
    let lost = |stage| RecipientEnd::Broken(ours(Reason::ConnectionLost, stage));
    assert!(was_stale(&lost(Stage::Mail)));
    assert!(!was_stale(&lost(Stage::Rcpt)));
    let goodbye = |code| RecipientEnd::Broken(said(Stage::Mail, reply(code, None)));
    assert!(was_stale(&goodbye(421)));
    assert!(!was_stale(&RecipientEnd::Refused(
        Stage::Mail,
        reply(451, None)
    )));
}
