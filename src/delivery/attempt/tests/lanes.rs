//! Kept connections: used again only where they fit, by a new permit.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_connection_serves_the_next_message() {
    let ca = Ca::new();
    let mx = FarSide::new(ca.tls("mx1.b.example"));
    let (deliverer, _) = World::new(ca, &[&mx]).deliverer();
    let mut lane = Lane::default();
    for _ in 0..3 {
        let report = attempt(&deliverer, &job(&["a"]), &mut lane).await;
        assert_eq!(fates(&report), ["delivered"]);
        assert_eq!(evidence(&report).tls.as_ref().unwrap().version, "TLSv1.3");
        assert!(lane.is_open());
    }
    assert_eq!(
        (mx.connections(), mx.count("MAIL"), mx.count("+TLS")),
        (1, 3, 1)
    );
    assert!(!mx.heard_any("RSET"));
    deliverer.hang_up(lane).await;
    assert!(mx.heard_any("QUIT"));
}

#[tokio::test(start_paused = true)]
async fn e27_a_kept_connection_needs_a_permit_for_this_message() {
    // The certificate has another name: enough for encrypted, not for more.
    let mx = FarSide::new(Ca::new().tls("other.example"));
    let mut world = World::new(Ca::new(), &[&mx]);
    world.policy.rules.push(Rule {
        name: "high".into(),
        when: Conditions {
            recipient: vec!["high@*".into()],
            ..Conditions::default()
        },
        tls_level: Some(TlsLevel::Authenticated),
        ..Rule::default()
    });
    let (deliverer, _) = world.deliverer();
    let mut lane = Lane::default();
    let report = attempt(&deliverer, &job(&["low"]), &mut lane).await;
    assert_eq!(fates(&report), ["delivered"]);
    let report = attempt(&deliverer, &job(&["high"]), &mut lane).await;
    assert_eq!(fates(&report), ["bounced certificate-untrusted 5.7.5"]);
    assert_eq!(mx.count("MAIL"), 1);
    assert!(!mx.heard().iter().any(|line| line.contains("high@")));
}

#[tokio::test(start_paused = true)]
async fn a_cleartext_connection_never_serves_tls() {
    let mx = FarSide::new(None);
    let world = World::new(Ca::new(), &[&mx]).methods(&["tls", "cleartext"]);
    let (deliverer, _) = world.deliverer();
    let mut lane = Lane::default();
    for _ in 0..2 {
        let report = attempt(&deliverer, &job(&["a"]), &mut lane).await;
        assert_eq!(fates(&report), ["delivered"]);
        assert_eq!(report.recipients[0].method, Some(Method::Cleartext));
    }
    // The connection that is kept was greeted without an offer of TLS: that is the
    // answer for the second message too.
    assert_eq!((mx.connections(), mx.count("MAIL")), (2, 2));
    // One that is not fit to be used says nothing about TLS either.
    tokio::time::advance(std::time::Duration::from_secs(61)).await;
    let report = attempt(&deliverer, &job(&["a"]), &mut lane).await;
    assert_eq!(fates(&report), ["delivered"]);
    assert_eq!(mx.connections(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_cleartext_connection_says_no_only_if_it_was_offered_nothing() {
    // TLS is offered, and refused when asked for: a definite no, but the connection
    // that is kept shows an offer, so the next message asks again.
    let mx = FarSide::new(None)
        .says("EHLO", &["250-mx1.b.example\r\n250 STARTTLS"; 8])
        .says("STARTTLS", &["502 not here"; 8]);
    let world = World::new(Ca::new(), &[&mx]).methods(&["tls", "cleartext"]);
    let (deliverer, _) = world.deliverer();
    let mut lane = Lane::default();
    for _ in 0..2 {
        let report = attempt(&deliverer, &job(&["a"]), &mut lane).await;
        assert_eq!(report.recipients[0].method, Some(Method::Cleartext));
    }
    assert_eq!((mx.connections(), mx.count("STARTTLS")), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn a_dead_kept_connection_is_silently_replaced() {
    for farewell in ["CLOSE", "421 idle too long"] {
        let ca = Ca::new();
        let mx = FarSide::new(ca.tls("mx1.b.example")).says("MAIL", &["250 ok", farewell]);
        let (deliverer, _) = World::new(ca, &[&mx]).deliverer();
        let mut lane = Lane::default();
        for _ in 0..2 {
            let report = attempt(&deliverer, &job(&["a"]), &mut lane).await;
            assert_eq!(fates(&report), ["delivered"], "{farewell}");
        }
        assert_eq!((mx.connections(), mx.bodies().len()), (2, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_or_idle_connection_is_not_used() {
    let ca = Ca::new();
    let mx = FarSide::new(ca.tls("mx1.b.example"));
    let (deliverer, _) = World::new(ca, &[&mx]).deliverer();
    let mut lane = Lane::default();
    attempt(&deliverer, &job(&["a"]), &mut lane).await;
    tokio::time::advance(std::time::Duration::from_secs(61)).await;
    attempt(&deliverer, &job(&["a"]), &mut lane).await;
    assert_eq!(mx.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn e19_a_transaction_left_open_is_reset_first() {
    let ca = Ca::new();
    let mx = FarSide::new(ca.tls("mx1.b.example"))
        .says("RCPT", &["550 no"])
        .says("DATA", &["503 no recipients"]);
    let (deliverer, _) = World::new(ca, &[&mx]).deliverer();
    let mut lane = Lane::default();
    let report = attempt(&deliverer, &job(&["a"]), &mut lane).await;
    assert_eq!(fates(&report), ["bounced rejected 5.0.0"]);
    let report = attempt(&deliverer, &job(&["a"]), &mut lane).await;
    assert_eq!(fates(&report), ["delivered"]);
    assert_eq!((mx.connections(), mx.count("RSET")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn e27_a_login_is_not_shared() {
    let ca = Ca::new();
    let tls = ca.tls("mx1.b.example");
    let mx = FarSide::offering(tls, &["PIPELINING", "AUTH PLAIN"]);
    let mut world = World::new(ca, &[&mx]);
    let folder = tempfile::tempdir().unwrap();
    for (domain, user) in [("b.example", "one"), ("c.example", "two")] {
        let password_file = folder.path().join(user);
        std::fs::write(&password_file, "secret\n").unwrap();
        world.settings.routes.push(crate::delivery::RouteSettings {
            domain: domain.into(),
            hosts: vec![(Host::parse("mx1.b.example").unwrap(), 25)],
            credentials: Some(crate::delivery::Credentials {
                username: user.into(),
                password_file,
            }),
        });
    }
    let (deliverer, _) = world.deliverer();
    let mut lane = Lane::default();
    for (host, connections) in [("b.example", 1), ("b.example", 1), ("c.example", 2)] {
        let mut job = job(&["a"]);
        job.host = Host::parse(host).unwrap();
        let report = attempt(&deliverer, &job, &mut lane).await;
        assert_eq!(fates(&report), ["delivered"]);
        assert_eq!(
            (mx.connections(), mx.count("AUTH")),
            (connections, connections)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn e28_an_unclean_end_after_quit_changes_nothing() {
    for farewell in ["CLOSE", "STALL", "500 what?"] {
        let ca = Ca::new();
        let mx = FarSide::new(ca.tls("mx1.b.example")).says("QUIT", &[farewell]);
        let (deliverer, _) = World::new(ca, &[&mx]).deliverer();
        let mut lane = Lane::default();
        let report = attempt(&deliverer, &job(&["a"]), &mut lane).await;
        assert_eq!(fates(&report), ["delivered"]);
        let start = tokio::time::Instant::now();
        deliverer.hang_up(lane).await;
        assert!(start.elapsed() <= std::time::Duration::from_secs(5));
        assert!(mx.heard_any("QUIT"));
    }
}
