//! What the sender is told when a message can't be delivered: a report that a nurse understands,
//! with the codes for a machine, and neither subject nor content.

use std::time::Duration;

use crate::dsn::Dsn;
use crate::world::{Plan, SENDER, SOON, World, letter};

const SUBJECT: &str = "Zebrafish-4711 results";
const BODY: &str = "Quetzal-0815 is positive\r\n";

fn holds_nothing_secret(dsn: &Dsn) {
    assert!(!dsn.raw.contains("Zebrafish-4711"), "{}", dsn.raw);
    assert!(!dsn.raw.contains("Quetzal-0815"), "{}", dsn.raw);
    assert!(
        dsn.original
            .to_lowercase()
            .contains("from: dr@ward.example"),
        "{}",
        dsn.original
    );
}

/// The report for one recipient, after the checks that hold for all.
async fn report(world: &World, to: &str) -> Dsn {
    let id = world.send(&[to], letter(to, SUBJECT, BODY)).await;
    let arrived = world.home.wait_messages(1, SOON).await;
    let dsn = Dsn::read(&arrived[0]);
    holds_nothing_secret(&dsn);
    assert_eq!(dsn.recipients(), [to]);
    assert!(dsn.sentence.contains(to), "{}", dsn.sentence);
    world.wait_audit(&id, to, "bounced").await;
    world.wait_empty_queue(SOON).await;
    assert_eq!(arrived[0].tls.as_ref().unwrap().version, "TLSv1.3");
    assert!(
        arrived[0]
            .header("Auto-Submitted")
            .unwrap()
            .starts_with("auto-replied")
    );
    dsn
}

#[tokio::test]
async fn a_domain_without_mail() {
    let world = World::start(&Plan::default()).await;
    world
        .dns
        .null_mx("null.example")
        .a("null.example", world.far.addr().ip());
    let dsn = report(&world, "p@null.example").await;
    assert_eq!(dsn.fields("Status"), ["5.1.10"], "RFC 7505 section 4.2");
    assert_eq!(dsn.fields("Action"), ["failed"]);
    assert!(
        dsn.sentence.contains("accepts no e-mail"),
        "{}",
        dsn.sentence
    );
    assert_eq!(
        world.far.connections(),
        0,
        "RFC 7505: the address is not tried"
    );
}

#[tokio::test]
async fn a_domain_that_does_not_exist() {
    let world = World::start(&Plan::default()).await;
    let dsn = report(&world, "p@typo.example").await;
    assert_eq!(dsn.fields("Status"), ["5.1.2"]);
    assert!(dsn.sentence.contains("does not exist"), "{}", dsn.sentence);
}

#[tokio::test]
async fn a_recipient_that_is_refused() {
    let world = World::start(&Plan::default()).await;
    world
        .far
        .change(|k| k.rcpt_reply("*", "550 5.1.1 <p@clinic.example>: no such patient"));
    let dsn = report(&world, "p@clinic.example").await;
    assert_eq!(dsn.fields("Status"), ["5.1.1"]);
    let said = dsn.fields("Diagnostic-Code").join(" ");
    assert!(
        said.contains("550") && said.contains("no such patient"),
        "{said}"
    );
    assert!(dsn.sentence.contains("refused"), "{}", dsn.sentence);
}

/// Each recipient of a message has its own fate.
#[tokio::test]
async fn one_of_three_is_refused_and_one_is_late() {
    let world = World::start(&Plan::default()).await;
    world.far.change(|k| {
        k.rcpt_reply("gone@*", "550 5.1.1 no such user")
            .rcpt_reply_times("later@*", 1, "450 4.2.1 mailbox busy")
    });
    let to = [
        "good@clinic.example",
        "gone@clinic.example",
        "later@clinic.example",
    ];
    let id = world.send(&to, letter(to[0], SUBJECT, BODY)).await;
    let arrived = world.far.wait_messages(2, SOON).await;
    assert_eq!(arrived[0].rcpt_to, [to[0]]);
    assert_eq!(arrived[1].rcpt_to, [to[2]]);
    let reports = world.home.wait_messages(1, SOON).await;
    let dsn = Dsn::read(&reports[0]);
    holds_nothing_secret(&dsn);
    assert_eq!(dsn.recipients(), [to[1]]);
    for (recipient, state) in [
        (to[0], "delivered"),
        (to[1], "bounced"),
        (to[2], "delivered"),
    ] {
        world.wait_audit(&id, recipient, state).await;
    }
    assert_eq!((world.far.count(), world.home.count()), (2, 1));
    assert_eq!(world.far.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn first_delayed_then_given_up() {
    let plan = Plan {
        delay_notice: "2s",
        expire: "6s",
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    world
        .far
        .change(|k| k.reply(postern_lab::Stage::Mail, "451 4.3.2 under repair"));
    let to = "p@clinic.example";
    let id = world.send(&[to], letter(to, SUBJECT, BODY)).await;
    let reports = world.home.wait_messages(2, SOON).await;
    let (delayed, failed) = (Dsn::read(&reports[0]), Dsn::read(&reports[1]));
    assert_eq!(
        (delayed.fields("Action"), failed.fields("Action")),
        (vec!["delayed".into()], vec!["failed".into()])
    );
    assert!(
        delayed.fields("Status")[0].starts_with("4."),
        "{}",
        delayed.status
    );
    assert!(
        delayed.fields("Will-Retry-Until").len() == 1,
        "{}",
        delayed.status
    );
    assert!(
        failed.fields("Status")[0].starts_with("4.")
            || failed.fields("Status")[0].starts_with("5.")
    );
    holds_nothing_secret(&delayed);
    holds_nothing_secret(&failed);
    world.wait_audit(&id, to, "expired").await;
    world.wait_empty_queue(SOON).await;
    assert_eq!(world.home.count(), 2, "one delay notice, one end");
    assert_eq!(world.far.count(), 0);
}

/// A report that can't be delivered makes no further report (RFC 5321 section 6.1).
#[tokio::test]
async fn a_dead_report_is_kept_and_told_to_nobody_else() {
    let plan = Plan {
        expire: "4s",
        top: "postmaster = \"it@clinic.example\"".into(),
        ..Plan::default()
    };
    let world = World::start(&plan).await;
    world
        .home
        .change(|k| k.rcpt_reply("*", "550 5.1.1 no such sender"));
    world
        .send(&["p@typo.example"], letter("p@typo.example", SUBJECT, BODY))
        .await;
    let notice = world.far.wait_messages(1, SOON).await;
    assert_eq!(notice[0].rcpt_to, ["it@clinic.example"]);
    assert_eq!(notice[0].mail_from, "");
    assert!(!notice[0].text().contains("Zebrafish-4711"));
    let stats = world.json(&["queue", "stats", "--json"]);
    assert!(stats.to_string().contains("dead"), "{stats}");
    crate::world::wait(SOON, "one dead message", || {
        let dead = world.json(&["queue", "list", "--json", "--state", "dead"]);
        dead.as_array().is_some_and(|all| all.len() == 1)
    })
    .await;
    assert_eq!(world.home.count(), 0);
}

/// A null sender is never told anything.
#[tokio::test]
async fn no_report_to_nobody() {
    let world = World::start(&Plan::default()).await;
    let mut client = postern_lab::Client::connect(world.relay).await.unwrap();
    client.greet("mta.ward.example").await.unwrap();
    let to = "p@typo.example";
    let reply = client
        .submit("", &[to], letter(to, SUBJECT, BODY))
        .await
        .unwrap();
    let id = crate::world::queue_id(&reply);
    let last = world.wait_audit(&id, to, "bounced").await;
    assert_eq!(last["sender"], "");
    // Something that comes later has arrived, and nothing but it.
    world
        .send(&[SENDER], letter(SENDER, "to myself", "hi\r\n"))
        .await;
    let arrived = world.home.wait_messages(1, Duration::from_secs(20)).await;
    assert_eq!(arrived.len(), 1);
    assert_eq!(arrived[0].mail_from, SENDER);
}
