//! A probe: the same walk, without the message.

use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::policy::Question;

async fn probe(deliverer: &Deliverer) -> Prospect {
    let recipient = Mailbox::parse("a@b.example").unwrap();
    let question = Question {
        recipient: &recipient,
        sender: None,
        account: None,
        listener: None,
        own_mail: false,
        content: crate::policy::Content::Ours,
    };
    deliverer.probe(question).await.unwrap().1
}

#[tokio::test(start_paused = true)]
async fn every_host_is_greeted_and_none_hears_of_mail() {
    let ca = Ca::new();
    let hosts: Vec<FarSide> = (1..=3)
        .map(|n| FarSide::new(ca.tls(&format!("mx{n}.b.example"))))
        .collect();
    let plain = FarSide::new(None);
    let all = [&plain, &hosts[1], &hosts[2]];
    let (deliverer, _) = World::new(ca, &all).deliverer();
    let prospect = probe(&deliverer).await;
    assert_eq!(
        (prospect.method, &prospect.fate),
        (Some(Method::Tls), &None)
    );
    let remote = prospect.evidence.remote.unwrap();
    assert_eq!(remote.name, "mx2.b.example", "the first that is met");
    let verdicts: Vec<bool> = prospect
        .asked
        .iter()
        .map(|asked| asked.verdict == Some(HostVerdict::Met))
        .collect();
    assert_eq!(verdicts, [false, true, true]);
    for host in all {
        let heard = host.heard();
        let verb = |line: &String| line.split(' ').next().unwrap_or_default().to_owned();
        let verbs: Vec<String> = heard.iter().map(verb).collect();
        assert_eq!(verbs.last().unwrap(), "QUIT");
        assert!(
            !verbs.iter().any(|v| v == "MAIL" || v == "RCPT"),
            "{heard:?}"
        );
    }
}

/// What a probe foretells is what an attempt then comes to.
#[tokio::test(start_paused = true)]
async fn a_probe_and_an_attempt_agree() {
    type Far = fn(&Ca) -> FarSide;
    let kinds: [Far; 6] = [
        |ca| FarSide::new(ca.tls("mx1.b.example")),
        |ca| FarSide::new(ca.tls("other.example")),
        |_| FarSide::new(None),
        |_| FarSide::new(None).says("BANNER", &["554 no", "554 no"]),
        |_| FarSide::new(None).says("EHLO", &["421 later", "421 later"]),
        |ca| FarSide::new(ca.tls("mx1.b.example")).says("STARTTLS", &["454 later", "454 later"]),
    ];
    for methods in [&["tls"][..], &["tls", "cleartext"], &["tls", "drop"]] {
        for level in [TlsLevel::Encrypted, TlsLevel::Authenticated] {
            for (n, kind) in kinds.iter().enumerate() {
                let ca = Ca::new();
                let host = kind(&ca);
                let world = World::new(ca, &[&host]).methods(methods).level(level);
                let (deliverer, _) = world.deliverer();
                let foretold = probe(&deliverer).await;
                let report = attempt(&deliverer, &job(&["a"]), &mut Lane::default()).await;
                let came = &report.recipients[0];
                match foretold.fate {
                    None => assert!(matches!(came.fate, Fate::Delivered(_)), "{n}"),
                    Some(fate) => assert_eq!(fate, came.fate, "{n} {methods:?} {level}"),
                }
                assert_eq!(foretold.method, came.method, "{n} {methods:?} {level}");
                let (a, b) = (&foretold.evidence, &came.evidence);
                assert_eq!(a.passed_over, b.passed_over, "{n} {methods:?} {level}");
                assert_eq!((a.required, a.achieved), (b.required, b.achieved));
                assert_eq!((&a.tls, &a.remote), (&b.tls, &b.remote));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn many_tarpits_cost_a_minute_together() {
    for verb in ["BANNER", "EHLO", "SHAKE"] {
        let ca = Ca::new();
        let tarpits: Vec<FarSide> = (1..=9)
            .map(|n| {
                FarSide::new(ca.tls(&format!("mx{n}.b.example"))).says(verb, &["STALL", "STALL"])
            })
            .collect();
        let hosts: Vec<&FarSide> = tarpits.iter().collect();
        let (deliverer, _) = World::new(ca, &hosts).deliverer();
        let start = Instant::now();
        let prospect = probe(&deliverer).await;
        assert!(matches!(prospect.fate, Some(Fate::Deferred(_))), "{verb}");
        let took = start.elapsed();
        assert!(took <= Duration::from_secs(60), "{verb}: {took:?}");
        assert!(prospect.asked.len() >= 3, "{verb}");
    }
}
