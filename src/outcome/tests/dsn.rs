//! The DSNs' form.

use super::fixture::*;
use crate::outcome::Verdict;
use crate::types::{Fate, Job, Reason, Stage};

async fn dsn(job: &Job, fates: Vec<Fate>, verdict: Verdict) -> String {
    let decisions = vec![decided(verdict); fates.len()];
    let report = report(job, fates);
    let settlement = outcome().settle(job, &report, &decisions).await;
    assert_eq!(settlement.messages.len(), 1);
    let octets = settlement.messages[0].octets.to_vec();
    String::from_utf8(octets).unwrap()
}

fn no_starttls() -> Fate {
    let mut failure = failure(Reason::NoStarttls, "5.7.10", None);
    failure.stage = Stage::Hello;
    Fate::Bounced(failure)
}

/// `golden/NAME.eml`, written anew by `POSTERN_GOLDEN=1`.
fn golden(name: &str, dsn: &str) {
    let path = format!(
        "{}/src/outcome/tests/golden/{name}.eml",
        env!("CARGO_MANIFEST_DIR")
    );
    if std::env::var_os("POSTERN_GOLDEN").is_some() {
        std::fs::write(&path, dsn).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap();
    assert_eq!(dsn, wanted, "{name}");
}

#[tokio::test]
async fn golden_failed() {
    let job = job(&["a@x.example"]);
    golden(
        "failed",
        &dsn(&job, vec![no_starttls()], Verdict::Bounced).await,
    );
}

#[tokio::test]
async fn golden_delayed() {
    let job = job(&["a@x.example"]);
    let fate = Fate::Deferred(failure(Reason::Deferred, "4.2.1", Some((450, "busy"))));
    golden("delayed", &dsn(&job, vec![fate], waits(true)).await);
}

#[tokio::test]
async fn golden_expired_for_two() {
    let job = job(&["a@x.example", "b@x.example"]);
    let busy = Fate::Deferred(failure(Reason::Deferred, "4.2.1", Some((450, "busy"))));
    let gone = Fate::Deferred(failure(Reason::TimedOut, "4.4.1", None));
    golden(
        "expired",
        &dsn(&job, vec![busy, gone], Verdict::Expired).await,
    );
}

#[tokio::test]
async fn the_first_sentence_is_plain() {
    let job = job(&["a@x.example"]);
    let text = dsn(&job, vec![no_starttls()], Verdict::Bounced).await;
    let text = text.replace("\r\n", " ");
    assert!(text.contains(
        "Your message to a@x.example was not delivered, because the recipient's mail server \
         does not offer an encrypted connection, which our rules require."
    ));
}

#[tokio::test]
async fn nothing_of_subject_or_body_is_in_it() {
    let job = job(&["a@x.example"]);
    for verdict in [Verdict::Bounced, Verdict::Expired, waits(true)] {
        let text = dsn(&job, vec![no_starttls()], verdict).await;
        assert!(!text.contains("Zebra") && !text.contains("HIV"), "{text}");
        assert!(
            text.contains("From: Nurse <nurse@clinic.example>"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn it_is_seven_bit_in_short_lines_whatever_the_far_side_says() {
    let reply = format!("caf\u{e9} \u{1b}[31m\r\n\r\n--=evil {}", "x".repeat(3000));
    let fate = Fate::Bounced(failure(Reason::Rejected, "5.1.1", Some((550, &reply))));
    let many: Vec<String> = (0..120)
        .map(|n| format!("{}{n}@x.example", "a".repeat(50)))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let job = job(&many);
    let text = dsn(&job, vec![fate; 120], Verdict::Bounced).await;
    assert!(text.is_ascii());
    assert!(!text.replace("\r\n", "").contains(['\r', '\n', '\u{1b}']));
    assert!(text.split("\r\n").all(|line| line.len() < 998));
    assert!(text.contains("And 70 more"));
    assert_eq!(text.matches("\r\nFinal-Recipient: ").count(), 120);
}

#[tokio::test]
async fn e55_its_header_is_that_of_an_automatic_answer() {
    let job = job(&["a@x.example"]);
    let text = dsn(&job, vec![no_starttls()], Verdict::Bounced).await;
    let (header, _) = text.split_once("\r\n\r\n").unwrap();
    for field in [
        "From: Mail Delivery System <MAILER-DAEMON@relay.clinic.example>",
        "To: <nurse@clinic.example>",
        "Auto-Submitted: auto-replied",
        "In-Reply-To: <1@clinic.example>",
        "MIME-Version: 1.0",
        "Date: Sun, 22 Nov 2026 08:05:00 +0000",
    ] {
        assert_eq!(header.matches(field).count(), 1, "{field}\n{header}");
    }
    let ids: Vec<&str> = header
        .lines()
        .filter(|l| l.starts_with("Message-ID:"))
        .collect();
    let [id] = ids[..] else {
        panic!("{header}");
    };
    assert!(
        id.matches('<').count() == 1 && id.matches('>').count() == 1,
        "{id}"
    );
}

#[tokio::test]
async fn every_reason_makes_a_sentence() {
    use Reason::*;
    for reason in [
        NoSuchDomain,
        NullMx,
        NoHost,
        DnsFailed,
        MailLoop,
        Blocked,
        Unreachable,
        TimedOut,
        ConnectionLost,
        ProtocolError,
        NoStarttls,
        StarttlsRefused,
        NoCommonTls,
        BelowFloor,
        TlsInterrupted,
        CertificateName,
        CertificateExpired,
        CertificateNotYetValid,
        PatienceOver,
        CertificateUntrusted,
        CertificateInvalid,
        Rejected,
        Deferred,
        TooLarge,
        EightBit,
        AuthFailed,
        OutcomeUnknown,
        BodyUnreadable,
        Shortfall,
        Interrupted,
        Operator,
    ] {
        let job = job(&["a@x.example"]);
        let fate = Fate::Bounced(failure(reason, "5.0.0", None));
        let text = dsn(&job, vec![fate], Verdict::Bounced)
            .await
            .replace("\r\n", " ");
        let (_, text) = text
            .split_once("Your message to a@x.example was not")
            .unwrap();
        let (sentence, _) = text.split_once(". ").unwrap();
        assert!(
            sentence.len() > 40 && !sentence.contains("  "),
            "{reason}: {sentence}"
        );
        // Words for a nurse, not for a postmaster.
        for word in ["MX", "DNS", "TLS", "SMTP", "RCPT"] {
            assert!(!sentence.contains(word), "{reason}: {sentence}");
        }
    }
}
