//! Two configurations, a record, and what changes.

use super::*;
use crate::policy::Conditions;
use crate::types::{MethodsList, TlsLevel};

fn list(words: &[&str]) -> MethodsList {
    MethodsList::parse(words).unwrap()
}

fn settings(methods: &[&str], rules: &[Rule]) -> Settings {
    Settings {
        default: Treatment {
            methods: list(methods),
            ..Treatment::default()
        },
        rules: rules.to_vec(),
        ..Settings::default()
    }
}

fn rule(name: &str, when: impl FnOnce(&mut Conditions)) -> Rule {
    let mut conditions = Conditions::default();
    when(&mut conditions);
    Rule {
        name: name.into(),
        when: conditions,
        tls_level: Some(TlsLevel::Authenticated),
        ..Rule::default()
    }
}

fn tagged(name: &str, methods: &[&str]) -> Rule {
    Rule {
        methods: Some(list(methods)),
        ..rule(name, |when| when.subject_contains = vec![name.into()])
    }
}

/// What changes for bob, in short; `rule`: what his record names.
fn change(old: &Settings, new: &Settings, rule: Option<&str>, same: bool) -> String {
    let mailbox = |text| Mailbox::parse(text).unwrap();
    let recorded = Recorded {
        recipient: &mailbox("bob@b.example"),
        sender: &mailbox("anna@a.example"),
        rule,
        same_configuration: same,
    };
    match Replay::new(old.clone(), new.clone()).compare(&recorded) {
        Change::None => "same".into(),
        Change::To(courses) => format!("{} → {}", courses.0, courses.1),
        Change::Depends { rules, on } => format!("{on:?} by {rules:?}"),
    }
}

const LAX: &[&str] = &["tls", "cleartext"];
const LAX_TO_STRICT: &str = "tls > cleartext > bounce (encrypted) → tls > bounce (encrypted)";

#[test]
fn plain_rules_are_compared() {
    let lax = settings(LAX, &[]);
    let strict = settings(&["tls"], &[]);
    assert_eq!(change(&lax, &lax, None, false), "same");
    assert_eq!(change(&lax, &strict, None, false), LAX_TO_STRICT);
    let to_bob = rule("bob", |when| when.recipient = vec!["bob@*".into()]);
    let to_eve = rule("eve", |when| when.recipient = vec!["eve@*".into()]);
    assert_eq!(change(&lax, &settings(LAX, &[to_eve]), None, true), "same");
    let held = Rule {
        hold: Some("why".into()),
        ..to_bob
    };
    assert_eq!(
        change(&lax, &settings(LAX, &[held]), None, true),
        "tls > cleartext > bounce (encrypted) → hold"
    );
}

#[test]
fn what_the_record_tells_of_content_counts() {
    let rules = [tagged("[a]", &["tls"])];
    let (lax, strict) = (settings(LAX, &rules), settings(&["tls"], &rules));
    // Not named, so its subject had no such tag; named, so it had.
    assert_eq!(change(&lax, &strict, None, true), LAX_TO_STRICT);
    assert_eq!(change(&lax, &strict, Some("[a]"), true), "same");
    // Recorded under another configuration: who knows.
    assert_eq!(
        change(&lax, &strict, None, false),
        r#"{"content"} by {"[a]"}"#
    );
    // Unless it makes no difference.
    assert_eq!(change(&lax, &lax, None, false), "same");
}

#[test]
fn new_rules_that_ask_content_are_in_doubt() {
    let old = settings(LAX, &[]);
    let new = settings(LAX, &[tagged("[a]", &["tls"])]);
    assert_eq!(change(&old, &new, None, true), r#"{"content"} by {"[a]"}"#);
    // One that asks something else than before, too.
    let mut other = tagged("[a]", &["tls"]);
    other.when.subject_contains = vec!["[b]".into()];
    let (old, new) = (new, settings(LAX, &[other]));
    assert_eq!(change(&old, &new, None, true), r#"{"content"} by {"[a]"}"#);
    // And one for others makes no difference.
    let mut for_eve = tagged("[a]", &["tls"]);
    for_eve.when.recipient = vec!["eve@*".into()];
    assert_eq!(
        change(&settings(LAX, &[]), &settings(LAX, &[for_eve]), None, true),
        "same"
    );
}

#[test]
fn a_rule_behind_the_one_that_decided_is_in_doubt() {
    let (a, b) = (tagged("[a]", &["tls"]), tagged("[b]", LAX));
    let both = settings(LAX, &[a.clone(), b.clone()]);
    let behind = settings(LAX, std::slice::from_ref(&b));
    assert_eq!(
        change(&both, &behind, Some("[a]"), true),
        r#"{"content"} by {"[b]"}"#
    );
    assert_eq!(
        change(&both, &settings(LAX, &[a]), Some("[b]"), true),
        "tls > cleartext > bounce (authenticated) → tls > cleartext > bounce (encrypted)"
    );
}

#[test]
fn accounts_and_listeners_are_not_recorded() {
    let by_account = rule("app", |when| {
        when.account = vec!["app".into()];
        when.listener = vec!["*".into()];
    });
    let (old, new) = (settings(LAX, &[]), settings(LAX, &[by_account]));
    assert_eq!(
        change(&old, &new, None, true),
        r#"{"account", "listener"} by {"app"}"#
    );
    assert_eq!(
        change(&new, &old, Some("app"), true),
        "tls > cleartext > bounce (authenticated) → tls > cleartext > bounce (encrypted)"
    );
    assert_eq!(change(&new, &old, None, true), "same");
}

#[test]
fn drops_are_certain_where_they_are_assumed() {
    let drop = Rule {
        drop: Some("why".into()),
        ..tagged("[a]", &["tls"])
    };
    let (old, new) = (settings(LAX, &[drop]), settings(LAX, &[]));
    assert_eq!(
        change(&old, &new, Some("[a]"), true),
        "drop → tls > cleartext > bounce (encrypted)"
    );
}
