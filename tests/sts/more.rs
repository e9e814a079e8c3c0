//! Whose policy holds, and what is done when it has changed.

use postern::delivery::{Deliver, Lane, RouteSettings};
use postern::types::{AuthenticatedBy, Domain, Host, TlsLevel};
use postern_lab::Page;

use crate::delivery_support::{MX, attempt, fate, job, job_to};
use crate::world::{DOMAIN, GOOD, World, heard};

const OTHER: &str = "other.example";

/// Two domains behind one MX host, over one connection: the policy of the one is none
/// of the other's business (pitfall E45, kumomta#484).
#[tokio::test(flavor = "multi_thread")]
async fn e45_domains_behind_one_host_have_policies_of_their_own() {
    let world = World::good();
    world.publish("1", "enforce", &[GOOD]);
    world.base.dns.mx(OTHER, 10, MX);
    let relay = world.relay(TlsLevel::Encrypted, &["tls", "bounce"]);
    let mut lane = Lane::default();
    for (domain, by) in [
        (DOMAIN, AuthenticatedBy::MtaSts),
        (OTHER, AuthenticatedBy::PkixUnsignedMx),
        (DOMAIN, AuthenticatedBy::MtaSts),
    ] {
        let job = job_to(domain);
        let route = relay.route(&job.host).await.unwrap();
        let report = relay.attempt(&job, &route, &mut lane).await;
        assert_eq!(fate(&report), "delivered");
        let evidence = &report.recipients[0].evidence;
        assert_eq!(evidence.authenticated_by, Some(by), "{domain}");
        assert_eq!(evidence.sts.is_some(), domain == DOMAIN);
    }
    relay.hang_up(lane).await;
    assert_eq!(world.base.mx.connections(), 1);
    // Now the one's policy forbids the host; the other's mail goes on.
    world.publish("2", "enforce", &["mx.new.example"]);
    world.passes(10);
    assert_eq!(fate(&world.send().await), "deferred sts-host");
    assert_eq!(fate(&world.send_to(OTHER).await), "delivered");
}

/// A kept connection that proves less than a policy asks serves no mail under it.
#[tokio::test(flavor = "multi_thread")]
async fn e27_a_kept_connection_is_held_to_the_policy_of_each_message() {
    let world = World::new(|mx, ca| mx.identity(ca.issue_expired(&[MX])));
    world.publish("1", "enforce", &[GOOD]);
    world.base.dns.mx(OTHER, 10, MX);
    let relay = world.relay(TlsLevel::Encrypted, &["tls", "cleartext"]);
    let mut lane = Lane::default();
    for (domain, expected) in [
        (OTHER, "delivered"),
        (DOMAIN, "deferred certificate-expired"),
        (OTHER, "delivered"),
    ] {
        let job = job_to(domain);
        let route = relay.route(&job.host).await.unwrap();
        let report = relay.attempt(&job, &route, &mut lane).await;
        assert_eq!(fate(&report), expected, "{domain}");
    }
    relay.hang_up(lane).await;
}

/// A subdomain does not inherit, and a CNAME of the domain is not followed (E45).
#[tokio::test(flavor = "multi_thread")]
async fn e45_no_inheritance_and_no_alias() {
    let world = World::good();
    world.publish("1", "enforce", &["mx.nobody.example"]);
    world.base.dns.mx("ward.clinic.example", 10, MX);
    world.base.dns.cname("alias.example", DOMAIN);
    assert_eq!(fate(&world.send().await), "deferred sts-host");
    assert_eq!(
        fate(&world.send_to("ward.clinic.example").await),
        "delivered"
    );
    assert_eq!(fate(&world.send_to("alias.example").await), "delivered");
}

/// A route replaces what the domain publishes; it is not even asked.
#[tokio::test(flavor = "multi_thread")]
async fn e45_a_fixed_route_replaces_the_policy() {
    let world = World::good();
    world.publish("1", "enforce", &["mx.nobody.example"]);
    let mut settings = world.base.settings();
    settings.routes = vec![RouteSettings {
        domain: DOMAIN.into(),
        hosts: vec![(
            Host::Domain(Domain::parse(MX).unwrap()),
            world.base.mx.addr().port(),
        )],
        credentials: None,
    }];
    let relay = world.relay_as(settings, TlsLevel::Secure, &["tls", "bounce"]);
    let report = attempt(&relay, &job()).await;
    assert_eq!(fate(&report), "delivered");
    let evidence = &report.recipients[0].evidence;
    assert_eq!(evidence.authenticated_by, Some(AuthenticatedBy::Route));
    assert_eq!(evidence.sts, None);
    assert_eq!(world.base.dns.queries(&format!("_mta-sts.{DOMAIN}")), 0);
}

/// Testing delivers as if there were nothing, and the evidence says what would have
/// been wrong (E41).
#[tokio::test(flavor = "multi_thread")]
async fn e41_testing_only_tells() {
    let world = World::good();
    let finding = async |mx: &str, id: &str| {
        world.publish(id, "testing", &[mx]);
        world.passes(10);
        let report = world.send().await;
        assert_eq!(fate(&report), "delivered");
        let sts = report.recipients[0].evidence.sts.clone().unwrap();
        assert_eq!(sts.mode.as_str(), "testing");
        sts.finding.map(|reason| reason.to_string())
    };
    assert_eq!(finding(GOOD, "1").await, None);
    assert_eq!(finding("mx.other.example", "2").await.unwrap(), "sts-host");
    world.base.mx.change(|mx| mx.no_starttls());
    assert_eq!(finding(GOOD, "3").await.unwrap(), "no-starttls");
    let expired = world.base.ca.issue_expired(&[MX]);
    world.mend();
    world.base.mx.change(|mx| mx.identity(expired));
    assert_eq!(finding(GOOD, "4").await.unwrap(), "certificate-expired");
}

/// The domain has moved and changed its policy: the attempt that finds the old one
/// violated looks the policy up again and goes through at once (section 5.1).
#[tokio::test(flavor = "multi_thread")]
async fn e46_a_policy_that_has_changed_is_found_in_the_same_attempt() {
    let mut world = World::good();
    world.publish("1", "enforce", &["mx.old.example"]);
    assert_eq!(fate(&world.send().await), "deferred sts-host");
    world.passes(10);
    // Who changed the policy forgot the id.
    let page = Page::policy("enforce", &[GOOD], 86_400);
    world.https.policy(DOMAIN, page);
    assert_eq!(fate(&world.send().await), "delivered");
    world.restart();
    assert_eq!(fate(&world.send().await), "delivered");
    assert_eq!(world.base.mx.count(), 2);
}

/// Of several hosts the one that fulfils the policy gets the mail; the others get no
/// word of it.
#[tokio::test(flavor = "multi_thread")]
async fn another_host_that_fulfils_the_policy_will_do() {
    let world = World::good();
    world.publish("1", "enforce", &["*.clinic.example"]);
    let clear = world.host("mx0.clinic.example", |mx| mx.no_starttls());
    let own = world.host("mx1.clinic.example", |mx| mx);
    world.base.dns.remove(DOMAIN);
    let dns = &world.base.dns;
    dns.mx(DOMAIN, 1, "mx0.clinic.example");
    dns.mx(DOMAIN, 2, "mx1.clinic.example");
    dns.mx(DOMAIN, 3, MX);
    let report = world.send().await;
    assert_eq!(fate(&report), "delivered");
    assert_eq!(world.base.mx.count(), 1);
    assert!(!heard(&clear) && !heard(&own));
    assert!(clear.connections() > 0 && own.connections() > 0);
}

/// DNS that fails at the record, with nothing kept: the mail waits for a quarter of an
/// hour, and then goes as the operator's own demand has it.
#[tokio::test(flavor = "multi_thread")]
async fn mail_waits_for_a_record_that_dns_fails_at() {
    let world = World::good();
    world.base.dns.servfail(&format!("_mta-sts.{DOMAIN}"));
    assert_eq!(fate(&world.send().await), "deferred sts-unknown");
    assert_eq!(world.base.mx.connections(), 0);
    world.passes(10);
    assert_eq!(fate(&world.send().await), "deferred sts-unknown");
    world.passes(6);
    assert_eq!(fate(&world.send().await), "delivered");
}
