//! Who sits between the relay and a domain that enforces a policy, and has DNS or the
//! network in hand: nothing readable leaves, not even who writes to whom; and mail goes
//! again when they are gone. Each attack stands in docs/attacks.md.

use postern_lab::{Ca, Identity, Page};

use crate::delivery_support::{MX, fate};
use crate::world::{DOMAIN, GOOD, World, heard};

/// A world in which the policy is known and has served.
async fn known() -> World {
    let world = World::good();
    world.publish("1", "enforce", &[GOOD]);
    assert_eq!(fate(&world.send().await), "delivered");
    world.passes(10);
    world
}

/// The mail waits for this reason, again after a restart of the relay, and nobody but
/// the good host has heard of it.
async fn waits(world: &mut World, reason: &str) {
    let before = world.base.mx.count();
    for _ in 0..2 {
        let report = world.send().await;
        assert_eq!(fate(&report), format!("deferred {reason}"));
        assert!(report.recipients[0].waiting.tell.is_some());
        assert_eq!(world.base.mx.count(), before);
        world.restart();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn starttls_stripped_at_a_domain_with_a_policy() {
    let mut world = known().await;
    let said = world.base.mx.commands().len();
    world.base.mx.change(|mx| mx.no_starttls());
    waits(&mut world, "no-starttls").await;
    world.base.mx.change(|mx| mx.starttls_masked());
    waits(&mut world, "no-starttls").await;
    let commands = world.base.mx.commands();
    for line in &commands[said..] {
        assert!(line.contains("EHLO") || line.contains("QUIT"), "{line}");
    }
    world.mend();
    assert_eq!(fate(&world.send().await), "delivered");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_mx_forged_for_a_domain_with_a_policy_is_not_dialled() {
    let mut world = known().await;
    let ca = world.base.ca.clone();
    let evil = "mx.evil.example";
    // It has a certificate of its own that anybody would trust.
    let host = world.host(evil, |mx| mx.identity(ca.issue(&[evil])));
    world.mx(&[evil]);
    waits(&mut world, "sts-host").await;
    assert_eq!(host.connections(), 0);
    // Deeper below a name that a wildcard stands for is another one (E39).
    let deep = "a.mx.clinic.example";
    let below = world.host(deep, |mx| mx.identity(ca.issue(&[deep])));
    world.mx(&[deep]);
    waits(&mut world, "sts-host").await;
    assert_eq!(below.connections(), 0);
    world.mx(&[evil, MX]);
    assert_eq!(
        fate(&world.send().await),
        "delivered",
        "by the one that is listed"
    );
    assert_eq!(host.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_forged_for_a_listed_host_proves_nothing() {
    let mut world = known().await;
    let identities = [
        Identity::self_signed(&[GOOD]),
        Ca::new().issue(&[GOOD]),
        world.base.ca.issue(&["mx.evil.example"]),
        // The pattern or the domain is not the host (E40).
        world.base.ca.issue(&[DOMAIN]),
    ];
    let reasons = [
        "certificate-untrusted",
        "certificate-untrusted",
        "certificate-name",
        "certificate-name",
    ];
    for (identity, reason) in identities.into_iter().zip(reasons) {
        let host = world.host(GOOD, |mx| mx.identity(identity));
        waits(&mut world, reason).await;
        assert!(!heard(&host), "{:?}", host.commands());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_hidden_or_garbled_does_not_end_a_policy() {
    let mut world = known().await;
    let name = format!("_mta-sts.{DOMAIN}");
    world.base.mx.change(|mx| mx.no_starttls());
    let hide: [fn(&World, &str); 4] = [
        |_, _| {},
        |world, name| {
            world.base.dns.servfail(name);
        },
        |world, name| {
            let dns = &world.base.dns;
            dns.txt(name, "v=STSv1; id=1;").txt(name, "v=STSv1; id=2;");
        },
        |world, name| {
            world.base.dns.txt(name, "v=STSv2; id=1;");
        },
    ];
    for hide in hide {
        world.record(None);
        hide(&world, &name);
        world.passes(10);
        waits(&mut world, "no-starttls").await;
    }
}

/// Who has no certificate for the policy host can say what they like there.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_from_somebody_else_is_none() {
    let mut world = known().await;
    let ca = world.base.ca.clone();
    world.base.mx.change(|mx| mx.no_starttls());
    world.publish("2", "none", &[GOOD]);
    for identity in [
        Identity::self_signed(&["mta-sts.clinic.example"]),
        ca.issue(&["clinic.example"]),
        ca.issue_expired(&["mta-sts.clinic.example"]),
    ] {
        world.https.identity(identity);
        world.passes(70);
        waits(&mut world, "no-starttls").await;
    }
    world.https.identity(ca.issue(&["mta-sts.clinic.example"]));
    world.https.policy(
        DOMAIN,
        Page::policy("none", &[GOOD], 86_400).redirect("https://clinic.example/"),
    );
    world.passes(70);
    waits(&mut world, "no-starttls").await;
}

/// An old id brings the policy of today, since that is what the policy host has.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_record_replayed_brings_no_old_policy() {
    let world = World::good();
    world.publish("1", "testing", &[GOOD]);
    assert_eq!(fate(&world.send().await), "delivered");
    world.publish("2", "enforce", &[GOOD]);
    world.passes(10);
    assert_eq!(fate(&world.send().await), "delivered");
    world.record(Some("1"));
    world.base.mx.change(|mx| mx.no_starttls());
    for _ in 0..3 {
        world.passes(10);
        let report = world.send().await;
        assert_eq!(fate(&report), "deferred no-starttls");
        let sts = report.recipients[0].evidence.sts.clone().unwrap();
        assert_eq!(sts.mode.as_str(), "enforce");
    }
}

/// Who keeps us from the policy host has to do so for as long as the policy holds; and
/// one that has expired and can be had again holds again, before any mail goes.
#[tokio::test(flavor = "multi_thread")]
async fn an_expired_policy_is_fetched_before_mail_goes() {
    let world = known().await;
    world.base.mx.change(|mx| mx.no_starttls());
    world.passes(6 * 24 * 60);
    assert_eq!(fate(&world.send().await), "deferred no-starttls");
    world.passes(8 * 24 * 60);
    assert_eq!(fate(&world.send().await), "deferred no-starttls");
    let fetched = world.https.asked().len();
    assert!(fetched >= 2, "{fetched}");
    assert_eq!(world.base.mx.count(), 1);
}
