//! Rules that hold and drop, and content that came encrypted.

use super::super::Conditions;
use super::tests::{by_subject, list, mailbox, noted, policy, rule, words};
use super::*;

/// What stops a message with such a Subject, or of whose content nothing is known, and
/// what does once it is released.
fn stops(rules: &[Rule], subject: Option<&str>, own_mail: bool) -> (String, String, String) {
    let recipient = mailbox("bob@b.example");
    let facts = subject.map(noted);
    let question = Question {
        recipient: &recipient,
        sender: None,
        account: None,
        listener: None,
        own_mail,
        content: match &facts {
            Some(facts) => Content::Noted { facts, size: 1 },
            None => Content::Unknown,
        },
    };
    let mut decision = policy(rules.to_vec()).decide(&question);
    let note = |decision: &Decision| decision.stop.as_ref().map(Stop::note).unwrap_or_default();
    let before = note(&decision);
    decision.release();
    (before, note(&decision), decision.rule.unwrap_or_default())
}

#[test]
fn rules_hold_and_drop() {
    let reason = || Some("why".to_owned());
    let everyone = || Conditions {
        recipient: words("*"),
        ..Conditions::default()
    };
    let hold = Rule {
        hold: reason(),
        ..rule("hold", by_subject("x"))
    };
    let drop = Rule {
        drop: reason(),
        ..rule("drop", by_subject("x"))
    };
    let raise = |rule: &Rule| Rule {
        raise: true,
        ..rule.clone()
    };
    let plain = Rule {
        hold: reason(),
        ..rule("plain", everyone())
    };
    let list = Rule {
        methods: list(&["tls"]),
        ..rule("list", by_subject("x"))
    };
    let (held, dropped) = (
        "held by rule \"hold\": why",
        "dropped by rule \"drop\": why",
    );
    let of_plain = "held by rule \"plain\": why";
    for (rules, subject, expected) in [
        (vec![hold.clone()], "x", (held, "", "hold")),
        (vec![hold.clone()], "y", ("", "", "")),
        (vec![drop.clone()], "x", (dropped, dropped, "drop")),
        // The first match decides, and what raises applies with it; a hold goes first.
        (vec![list.clone(), hold.clone()], "x", ("", "", "list")),
        (
            vec![list.clone(), raise(&drop), raise(&hold)],
            "x",
            (held, dropped, "list + drop + hold"),
        ),
        // A rule that asks content does not take away what the recipient has without it.
        (
            vec![list.clone(), plain.clone()],
            "x",
            (of_plain, "", "list + plain"),
        ),
        (vec![list, plain], "y", (of_plain, "", "plain")),
    ] {
        let (before, after, rule) = stops(&rules, Some(subject), false);
        assert_eq!((before.as_str(), after.as_str(), rule.as_str()), expected);
        assert_eq!(stops(&rules, Some(subject), true).0, "", "own mail");
    }
    // Nothing is dropped for what nobody has looked at.
    let (before, after, _) = stops(&[drop], None, false);
    assert!(
        before.starts_with("held by rule \"drop\": why (held, not"),
        "{before}"
    );
    assert_eq!(after, "");
    assert_eq!(stops(&[hold], None, false).0, held);
}

#[test]
fn encrypted_content_is_accepted_by_the_operator_and_taken_away_by_content() {
    let accepts = |rules: Vec<Rule>, default: bool| {
        let settings = Settings {
            default: Treatment {
                accept_encrypted: default,
                ..Treatment::default()
            },
            rules,
            ..Settings::default()
        };
        let (recipient, facts) = (mailbox("bob@b.example"), noted("x"));
        let question = Question {
            recipient: &recipient,
            sender: None,
            account: None,
            listener: None,
            own_mail: false,
            content: Content::Noted {
                facts: &facts,
                size: 1,
            },
        };
        let decision = Policy::new(settings, String::new()).decide(&question);
        decision.treatment.accept_encrypted
    };
    let plain = |accept| Rule {
        accept_encrypted: accept,
        ..rule(
            "plain",
            Conditions {
                recipient: words("*"),
                ..Conditions::default()
            },
        )
    };
    let content = |accept| Rule {
        accept_encrypted: accept,
        ..rule("content", by_subject("x"))
    };
    assert!(!accepts(vec![], false) && accepts(vec![], true));
    assert!(accepts(vec![plain(Some(true))], false));
    assert!(!accepts(vec![plain(Some(false))], true) && accepts(vec![plain(None)], true));
    assert!(!accepts(vec![content(Some(true))], false));
    assert!(!accepts(vec![content(Some(false))], true));
    assert!(accepts(vec![content(None), plain(Some(true))], false));
}
