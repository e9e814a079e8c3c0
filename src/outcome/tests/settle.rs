//! What stands in a settlement, and in the log line.

use std::collections::HashSet;
use std::sync::Arc;

use super::fixture::*;
use crate::outcome::settle::Case;
use crate::outcome::{Outcome, Settings, Verdict, line};
use crate::types::{
    Fate, Mailbox, NewMessage, Origin, OwnMailKind, Reason, Settlement, State, TlsFacts, TlsLevel,
};

fn rejected() -> Fate {
    Fate::Bounced(failure(
        Reason::Rejected,
        "5.1.1",
        Some((550, "no such user")),
    ))
}

fn deferred() -> Fate {
    Fate::Deferred(failure(Reason::Deferred, "4.2.1", Some((450, "busy"))))
}

fn text(message: &NewMessage) -> String {
    String::from_utf8(message.octets.to_vec()).unwrap()
}

async fn settle(fates: Vec<Fate>, verdicts: &[Verdict]) -> Settlement {
    let to = [
        "a@x.example",
        "b@x.example",
        "c@x.example",
        "d@x.example",
        "e@x.example",
    ];
    let job = job(&to[..fates.len()]);
    let decisions: Vec<_> = verdicts.iter().map(|v| decided(*v)).collect();
    outcome()
        .settle(&job, &report(&job, fates), &decisions)
        .await
}

#[tokio::test]
async fn figures_go_on_over_a_reload() {
    let before = outcome();
    let job = job(&["a@x.example"]);
    let decisions = [decided(Verdict::Bounced)];
    before
        .settle(&job, &report(&job, vec![rejected()]), &decisions)
        .await;
    let after = before.renewed(settings());
    let page = |outcome: &Outcome| {
        let mut page = crate::sys::metrics::Page::default();
        outcome.write_figures(&mut page);
        page.into_text()
    };
    assert!(page(&after).contains("status=\"bounced\""));
    assert_eq!(page(&after), page(&before));
}

#[tokio::test]
async fn each_recipient_has_its_state_and_each_kind_one_dsn() {
    let settlement = settle(
        vec![delivered(), rejected(), rejected(), deferred(), deferred()],
        &[
            Verdict::Delivered,
            Verdict::Bounced,
            Verdict::Bounced,
            waits(true),
            Verdict::Expired,
        ],
    )
    .await;
    let states: Vec<State> = settlement.changes.iter().map(|c| c.status.state).collect();
    use State::*;
    assert_eq!(states, [Delivered, Bounced, Bounced, Queued, Expired]);
    assert_eq!(settlement.events.len(), 5);
    let texts: Vec<String> = settlement.messages.iter().map(text).collect();
    let about = |text: &String| {
        let all = ["a@", "b@", "c@", "d@", "e@"];
        let named = |to: &&str| text.contains(&format!("Final-Recipient: rfc822; {to}"));
        all.into_iter().filter(named).collect::<String>()
    };
    let about: Vec<String> = texts.iter().map(about).collect();
    assert_eq!(about, ["b@c@", "e@", "d@"]);
    let status = &settlement.changes[3].status;
    assert!(status.delay_told);
    assert_eq!(status.attempts, 3);
    assert_eq!(status.next_attempt, Some(at("2026-11-22T08:25:00Z")));
    assert_eq!(status.last_reply.as_deref(), Some("450 4.2.1 busy"));
    assert_eq!(settlement.changes[0].status.next_attempt, None);
    let ids: HashSet<_> = settlement.events.iter().map(|e| e.event).collect();
    assert_eq!(ids.len(), 5);
}

#[tokio::test]
async fn dsns_have_a_null_sender_and_go_to_the_sender() {
    let settlement = settle(vec![rejected()], &[Verdict::Bounced]).await;
    let [dsn] = &settlement.messages[..] else {
        panic!("one DSN");
    };
    assert_eq!(dsn.message.envelope.sender, None);
    let sender = Mailbox::parse("nurse@clinic.example").unwrap();
    assert_eq!(dsn.message.envelope.recipients, [sender]);
    assert_eq!(
        dsn.message.origin,
        Origin::Own(OwnMailKind::Dsn { about: id(1) })
    );
    assert_eq!(dsn.message.facts.size, dsn.octets.len() as u64);
    let message_id = dsn.message.facts.message_id.as_deref().unwrap();
    assert!(text(dsn).contains(&format!("\r\nMessage-ID: {message_id}\r\n")));
    assert!(!format!("{dsn:?}").contains("nurse"));
}

#[tokio::test]
async fn e55_i19_no_dsn_for_a_null_sender() {
    for (fate, verdict, state) in [
        (rejected(), Verdict::Bounced, State::Bounced),
        (deferred(), Verdict::Expired, State::Expired),
        (deferred(), waits(true), State::Queued),
    ] {
        let mut job = job(&["a@x.example"]);
        Arc::get_mut(&mut job.message).unwrap().envelope.sender = None;
        let report = report(&job, vec![fate]);
        let settlement = outcome().settle(&job, &report, &[decided(verdict)]).await;
        assert_eq!(settlement.messages, []);
        assert_eq!(settlement.changes[0].status.state, state);
        assert_eq!(settlement.events[0].sender, "");
    }
}

#[tokio::test]
async fn e55_a_dead_dsn_is_told_to_the_postmaster_once() {
    for (fate, verdict) in [
        (rejected(), Verdict::Bounced),
        (deferred(), Verdict::Expired),
    ] {
        let dsn = own(OwnMailKind::Dsn { about: id(1) });
        let settlement = outcome()
            .settle(&dsn, &report(&dsn, vec![fate.clone()]), &[decided(verdict)])
            .await;
        assert_eq!(settlement.changes[0].status.state, State::Dead);
        let [notice] = &settlement.messages[..] else {
            panic!("one notice");
        };
        let origin = Origin::Own(OwnMailKind::DeadNotice { about: id(2) });
        assert_eq!(notice.message.origin, origin);
        assert_eq!(notice.message.envelope.sender, None);
        let postmaster = Mailbox::parse("it@clinic.example").unwrap();
        assert_eq!(notice.message.envelope.recipients, [postmaster]);
        let text = text(notice);
        assert!(text.contains("nurse@clinic.example") && text.contains(&id(1).to_string()));
        assert!(!text.contains("Zebra"), "{text}");

        let notice = own(OwnMailKind::DeadNotice { about: id(2) });
        let settlement = outcome()
            .settle(&notice, &report(&notice, vec![fate]), &[decided(verdict)])
            .await;
        assert_eq!(settlement.changes[0].status.state, State::Dead);
        assert_eq!(settlement.messages, []);
    }
}

#[tokio::test]
async fn without_postmaster_a_dead_dsn_is_told_at_the_senders_domain() {
    let settings = Settings {
        postmaster: None,
        ..settings()
    };
    let outcome = Outcome::new(settings, Arc::new(Still), Arc::new(Counting::default()));
    let dsn = own(OwnMailKind::Dsn { about: id(1) });
    let report = report(&dsn, vec![rejected()]);
    let settlement = outcome
        .settle(&dsn, &report, &[decided(Verdict::Bounced)])
        .await;
    assert_eq!(settlement.changes[0].status.state, State::Dead);
    let postmaster = Mailbox::parse("postmaster@clinic.example").unwrap();
    let told = &settlement.messages[0].message.envelope.recipients;
    assert_eq!(told, &[postmaster]);
    assert_eq!(settlement.events[0].state, State::Dead);
}

#[tokio::test]
async fn waiting_without_an_attempt_is_no_event() {
    let job = job(&["a@x.example"]);
    let report = report(&job, vec![deferred()]);
    let mut decision = decided(waits(false));
    decision.attempts = 2;
    let settlement = outcome().settle(&job, &report, &[decision]).await;
    assert_eq!(settlement.events, []);
    assert_eq!(settlement.changes[0].status.attempts, 2);
}

#[tokio::test]
async fn names_are_unique_without_randomness() {
    let outcome = Outcome::new(settings(), Arc::new(Still), Arc::new(NoEntropy));
    let job = job(&["a@x.example", "b@x.example"]);
    let report = report(&job, vec![rejected(), rejected()]);
    let decisions = [decided(Verdict::Bounced); 2];
    let settlement = outcome.settle(&job, &report, &decisions).await;
    let mut names: HashSet<_> = settlement.events.iter().map(|e| e.event).collect();
    names.extend(settlement.messages.iter().map(|m| m.message.id));
    assert_eq!(names.len(), 3);
}

#[tokio::test]
async fn a_long_reply_is_cut_between_characters() {
    let long = "ü".repeat(600);
    let fate = Fate::Deferred(failure(Reason::Deferred, "4.2.1", Some((450, &long))));
    let settlement = settle(vec![fate], &[waits(false)]).await;
    let kept = settlement.changes[0].status.last_reply.as_ref().unwrap();
    assert!(kept.len() <= 512 && kept.len() > 500);
}

/// The line of one recipient.
fn logged(fate: Fate, verdict: Verdict, state: State, addresses: bool) -> String {
    let job = job(&["\"a\r\"@x.example".replace('\r', "b c").as_str()]);
    let mut report = report(&job, vec![fate]);
    if state == State::Delivered {
        let evidence = &mut report.recipients[0].evidence;
        evidence.achieved = Some(TlsLevel::Encrypted);
        evidence.tls = Some(TlsFacts {
            version: "TLSv1.3".into(),
            cipher: "TLS_AES_256_GCM_SHA384".into(),
            group: "X25519".into(),
            certificate: None,
        });
    }
    let case = Case {
        recipient: &job.recipients[0],
        report: &report.recipients[0],
        decision: decided(verdict),
        state,
    };
    line::line(&case, &report, addresses)
}

#[test]
fn the_log_line_says_what_came_of_it_and_no_address() {
    let id = id(1);
    assert_eq!(
        logged(delivered(), Verdict::Delivered, State::Delivered, false),
        format!(
            "id={id} to_domain=x.example site=mx.x.example method=tls \
             tls=TLSv1.3:TLS_AES_256_GCM_SHA384:X25519:encrypted dsn=2.0.0 \
             status=delivered attempts=3"
        )
    );
    assert_eq!(
        logged(deferred(), waits(false), State::Queued, false),
        format!(
            "id={id} to_domain=x.example site=mx.x.example method=tls tls=none dsn=4.2.1 \
             status=deferred reason=deferred attempts=3"
        )
    );
}

#[test]
fn the_log_line_holds_addresses_on_request_and_stays_one_line() {
    let fate = Fate::Bounced(failure(
        Reason::Rejected,
        "5.1.1",
        Some((550, "no\r\nid=FORGED status=delivered \"quoted\"")),
    ));
    let line = logged(fate, Verdict::Bounced, State::Bounced, true);
    assert!(line.contains(" status=bounced ") && line.contains(" to=<\"ab c\"@x.example>"));
    assert!(!line.contains(['\r', '\n']), "{line}");
    assert_eq!(line.matches("reply=\"").count(), 1);
    assert!(line.ends_with("'quoted'\""), "{line}");
}
