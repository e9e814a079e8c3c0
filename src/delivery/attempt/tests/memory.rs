//! TLS memory at the moment of an attempt: what it forbids, and what is learnt.

use super::*;
use crate::assurance::Remembers;
use crate::types::{Domain, Offer, Reason, Remembered, Timestamp, Waiver};

/// Remembers the same of every domain.
struct Fixed(Remembered);

impl Remembers for Fixed {
    fn regard(&self, _: &Domain, _: Timestamp) -> Remembered {
        self.0.clone()
    }
}

fn waived() -> Remembered {
    Remembered::Waived(Waiver {
        domain: Domain::parse("b.example").unwrap(),
        owner: "o".into(),
        reason: "r".into(),
        made: Timestamp::from_micros(0),
        until: Timestamp::from_micros(1),
    })
}

async fn attempt_with(world: World, remembered: Remembered) -> Report {
    let (deliverer, _) = world.deliverer();
    let deliverer = deliverer.remembering(Arc::new(Fixed(remembered)));
    attempt(&deliverer, &job(&["r"]), &mut Lane::default()).await
}

#[tokio::test(start_paused = true)]
async fn what_did_tls_before_gets_no_cleartext_and_the_mail_waits() {
    for words in [
        &["tls", "cleartext", "bounce"],
        &["tls", "cleartext", "drop"],
    ] {
        for observe in [false, true] {
            let mx = FarSide::new(None);
            let mut world = World::new(Ca::new(), &[&mx]).methods(words);
            world.policy.observe = observe;
            let report = attempt_with(world, Remembered::Encrypted).await;
            assert_eq!(fates(&report), ["deferred tls-remembered 4.7.10"]);
            assert!(!mx.heard_any("MAIL"), "{:?}", mx.heard());
            assert_eq!(
                evidence(&report).passed_over,
                [
                    (Method::Tls, Reason::NoStarttls),
                    (Method::Cleartext, Reason::TlsRemembered)
                ]
            );
            assert_eq!(report.waiver, None);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn it_forbids_cleartext_and_nothing_else() {
    let ca = Ca::new();
    let mx = FarSide::new(ca.tls("mx1.b.example"));
    let world = World::new(ca, &[&mx]).methods(&["tls", "cleartext", "bounce"]);
    let report = attempt_with(world, Remembered::Encrypted).await;
    assert_eq!(fates(&report), ["delivered"]);
    // Where cleartext was not allowed anyway, the list's own ending stays.
    let mx = FarSide::new(None);
    let world = World::new(Ca::new(), &[&mx]).methods(&["tls", "bounce"]);
    let report = attempt_with(world, Remembered::Encrypted).await;
    assert_eq!(fates(&report), ["bounced no-starttls 5.7.10"]);
}

#[tokio::test(start_paused = true)]
async fn an_exception_lets_it_go_and_is_named() {
    let mx = FarSide::new(None);
    let world = World::new(Ca::new(), &[&mx]).methods(&["tls", "cleartext", "bounce"]);
    let report = attempt_with(world, waived()).await;
    assert_eq!(fates(&report), ["delivered"]);
    assert_eq!(report.waiver.unwrap().owner, "o");
    assert_eq!(report.recipients[0].method, Some(Method::Cleartext));
    // Not where it was not needed.
    let ca = Ca::new();
    let mx = FarSide::new(ca.tls("mx1.b.example"));
    let world = World::new(ca, &[&mx]).methods(&["tls", "cleartext", "bounce"]);
    assert_eq!(attempt_with(world, waived()).await.waiver, None);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_tells_what_each_connection_showed() {
    let ca = Ca::new();
    let (first, second) = (FarSide::new(None), FarSide::new(ca.tls("mx2.b.example")));
    let world = World::new(ca, &[&first, &second]);
    let report = attempt_with(world, Remembered::Nothing).await;
    let learnt = report.learnt.unwrap();
    assert_eq!(learnt.domain.as_str(), "b.example");
    assert!(!learnt.is_probe);
    let told: Vec<String> = learnt
        .hosts
        .iter()
        .map(|seen| match &seen.offer {
            Offer::Tls {
                facts,
                is_authenticated,
            } => format!("{} {} {is_authenticated}", seen.host, facts.version),
            Offer::Plain(reason) => format!("{} {reason}", seen.host),
            Offer::Unknown(reason) => format!("{} unknown {reason}", seen.host),
        })
        .collect();
    assert_eq!(
        told,
        ["mx1.b.example no-starttls", "mx2.b.example TLSv1.3 true"]
    );
}
