//! Hosts' verdicts by clocks: what follows, as a table.

use std::time::Duration;

use super::*;
use crate::policy::Treatment;
use crate::types::{Ending, MethodsList};
use Method::{Cleartext, Tls};

const MINUTE: Duration = Duration::from_secs(60);

/// A verdict by its letter.
fn verdict(letter: char) -> Verdict {
    let ours = failure::ours;
    match letter {
        // Unmet: no TLS at all, or TLS that proves too little.
        'n' => Verdict::Unmet(ours(Reason::NoStarttls, Stage::Hello)),
        'c' => Verdict::Unmet(ours(Reason::CertificateName, Stage::StartTls)),
        'u' => Verdict::Unknown(ours(Reason::Unreachable, Stage::Connect)),
        'v' => failure::violated(ours(Reason::CertificateExpired, Stage::StartTls)),
        'r' => Verdict::Refused(ours(Reason::Rejected, Stage::Greeting)),
        'a' => Verdict::Absent(ours(Reason::NoHost, Stage::Route)),
        other => panic!("{other}"),
    }
}

fn clocks(fallback: u32, patience: u32, age: u32, tried: bool) -> Clocks {
    let treatment = Treatment {
        methods: MethodsList::parse(&["tls", "cleartext", "drop"]).unwrap(),
        fallback_after: fallback * MINUTE,
        security_patience: patience * MINUTE,
        ..Treatment::default()
    };
    Clocks::new(&treatment, age * MINUTE, tried)
}

/// In short: what follows, and until when it waits if it does.
fn follows(hosts: &str, clocks: &Clocks, next: &[Method]) -> String {
    let mut tally = Tally::default();
    for letter in hosts.chars() {
        match letter {
            'x' => tally.not_asked(),
            letter => tally.add(verdict(letter)),
        }
    }
    match tally.summary(clocks, next) {
        Summary::Defer(failure, waiting) => {
            let minutes = |end: Duration| (end.as_secs() / 60).to_string();
            let until = waiting.until.map_or("-".to_owned(), minutes);
            let answered = if waiting.answered { " answered" } else { "" };
            format!(
                "wait {} {} {until}{answered}",
                failure.reason, failure.status
            )
        }
        Summary::Bounce(failure) => format!("bounce {}", failure.reason),
        Summary::Nowhere(failure) => format!("nowhere {}", failure.reason),
        Summary::Unmet {
            failure,
            shut,
            impatient,
        } => {
            let shut = shut.map_or("open".to_owned(), |why| format!("shut {why}"));
            let over = if impatient { " patience-over" } else { "" };
            format!("next for {}, cleartext {shut}{over}", failure.reason)
        }
    }
}

/// Every mix of verdicts at every stand of the clocks: fallback after 5 minutes,
/// patience for 15.
#[test]
fn verdicts_by_clocks() {
    let stands = [
        // age in minutes, whether there was an attempt before
        (0, false),
        (5, true),
        (15, false),
        (15, true),
    ];
    let no = "next for no-starttls, cleartext open";
    let name = "next for certificate-name, cleartext shut certificate-name";
    let lost = "wait unreachable 4.4.1 -";
    let patient = "wait unreachable 4.4.1 15 answered";
    let untried = "wait unreachable 4.4.1 - answered";
    let violated = "wait certificate-expired 4.7.5 - answered";
    let impatient = "next for certificate-name, cleartext shut certificate-name patience-over";
    let rows = [
        ("n", ["wait no-starttls 4.7.10 5 answered", no, no, no]),
        (
            "c",
            ["wait certificate-name 4.7.5 5 answered", name, name, name],
        ),
        (
            "nc",
            ["wait certificate-name 4.7.5 5 answered", name, name, name],
        ),
        // All unknown: never a step down.
        ("u", [lost; 4]),
        ("uu", [lost; 4]),
        // Patience runs out, and never opens cleartext.
        ("cu", [patient, patient, untried, impatient]),
        ("uncu", [patient, patient, untried, impatient]),
        // Nothing but cleartext would follow, which patience can't open.
        ("nu", [lost; 4]),
        // Some have not been asked: they can't have been tried.
        ("cx", [lost; 4]),
        // Whatever else they say.
        ("v", [violated; 4]),
        ("nv", [violated; 4]),
        ("ucv", [violated; 4]),
        ("vr", [violated; 4]),
        // Not about protection.
        ("r", ["bounce rejected"; 4]),
        ("cr", ["bounce rejected"; 4]),
        ("ur", [lost; 4]),
        ("cur", [lost; 4]),
        ("a", ["nowhere no-host"; 4]),
        ("an", ["wait no-starttls 4.7.10 5 answered", no, no, no]),
        ("au", [lost; 4]),
        ("", [lost; 4]),
    ];
    for (hosts, row) in rows {
        for ((age, tried), expected) in stands.into_iter().zip(row) {
            let clocks = clocks(5, 15, age, tried);
            let found = follows(hosts, &clocks, &[Cleartext]);
            assert_eq!(found, expected, "{hosts:?} at {age} min, tried {tried}");
        }
    }
}

#[test]
fn before_another_ending_or_method_patience_does_without_cleartext() {
    // A method that protects has its turn behind it (`tls` stands for one), or the
    // list's ending.
    for next in [&[][..], &[Cleartext, Tls]] {
        let found = follows("nu", &clocks(0, 15, 15, true), next);
        let expected = "next for no-starttls, cleartext shut unreachable patience-over";
        assert_eq!(found, expected, "{next:?}");
        let found = follows("nu", &clocks(0, 15, 14, true), next);
        assert_eq!(found, "wait unreachable 4.4.1 15 answered");
    }
}

#[test]
fn the_longer_of_both_clocks_counts_where_some_do_not_answer() {
    let found = follows("cu", &clocks(30, 15, 20, true), &[]);
    assert_eq!(found, "wait unreachable 4.4.1 30 answered");
    assert!(follows("cu", &clocks(30, 15, 30, true), &[]).starts_with("next"));
    // By default nobody waits for a definite no; no patience at all is possible.
    assert!(follows("c", &clocks(0, 15, 0, false), &[]).starts_with("next"));
    assert!(follows("cu", &clocks(0, 0, 0, false), &[]).starts_with("next"));
}

#[test]
fn violated_waits_for_the_end_and_is_told_early() {
    let waiting = clocks(5, 15, 60, true).violated();
    assert_eq!(waiting.tell, Some(15 * MINUTE));
    assert_eq!(waiting.ending, Ending::Drop);
    assert_eq!(waiting.until, None);
}

#[test]
fn what_is_only_observed_waits_for_nothing_and_runs_out_of_nothing() {
    let observed = clocks(5, 15, 0, false).observed(Ending::Bounce);
    assert!(follows("n", &observed, &[Cleartext]).starts_with("next"));
    let observed = clocks(5, 15, 900, true).observed(Ending::Bounce);
    assert!(follows("cu", &observed, &[Cleartext]).starts_with("wait"));
}
