//! DNS fails in each way, at MX, at the hosts' addresses, and at both: what it comes
//! to for the recipient, after how many questions, and how soon.
//!
//! Whole attempts with the real resolver against the lab's DNS server.

// A test may fail by panicking.
#![allow(clippy::unwrap_used, clippy::panic)]

mod delivery_support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use delivery_support::{MX, World, attempt, job_to};
use postern::delivery::Deliverer;
use postern::types::{Fate, Report, TlsLevel};

/// One question's time, and what is around it.
const SOON: Duration = Duration::from_secs(12);

/// A name that fails in this way, what must come of mail to it, and how many
/// questions about the names in it may be asked.
struct Case {
    domain: &'static str,
    outcome: &'static str,
    names: &'static [&'static str],
    questions: usize,
}

const fn case(
    domain: &'static str,
    outcome: &'static str,
    names: &'static [&'static str],
    questions: usize,
) -> Case {
    Case {
        domain,
        outcome,
        names,
        questions,
    }
}

const CASES: [Case; 20] = [
    case("well.example", "delivered", &["well.example"], 1),
    // MX fails: nothing is known, whatever the addresses say.
    case(
        "sick.example",
        "deferred dns-failed 4.4.3",
        &["sick.example"],
        4,
    ),
    case(
        "mute.example",
        "deferred dns-failed 4.4.3",
        &["mute.example"],
        10,
    ),
    case("cut.example", "delivered", &["cut.example"], 4),
    case(
        "cut-for-good.example",
        "deferred dns-failed 4.4.3",
        &["cut-for-good.example"],
        8,
    ),
    case(
        "nowhere.example",
        "bounced no-such-domain 5.1.2",
        &["nowhere.example"],
        2,
    ),
    case(
        "empty.example",
        "bounced no-host 5.4.4",
        &["empty.example"],
        6,
    ),
    case(
        "null.example",
        "bounced null-mx 5.1.10",
        &["null.example"],
        2,
    ),
    // MX with names that are none: no falling back to the domain's address (E33, E35).
    case(
        "literals.example",
        "bounced no-host 5.4.4",
        &["literals.example"],
        1,
    ),
    // Aliases.
    case("alias.example", "delivered", &["alias.example"], 1),
    case(
        "loop.example",
        "deferred dns-failed 4.4.3",
        &["loop.example"],
        // It is asked for by the last case too.
        20,
    ),
    case(
        "circle.example",
        "deferred dns-failed 4.4.3",
        &["circle.example", "round.example"],
        40,
    ),
    case("chain.example", "delivered", &["mx.chain.example"], 4),
    case(
        "steps.example",
        "delivered",
        &["mx.steps.example", "s1.steps.example", "s2.steps.example"],
        12,
    ),
    // The hosts' addresses fail, alone and mixed.
    case(
        "no-hosts.example",
        "bounced no-host 5.4.4",
        &["gone.no-hosts.example"],
        4,
    ),
    case(
        "sick-host.example",
        "deferred dns-failed 4.4.3",
        &["mx.sick-host.example"],
        8,
    ),
    case(
        "mute-host.example",
        "deferred dns-failed 4.4.3",
        &["mx.mute-host.example"],
        20,
    ),
    case(
        "mixed.example",
        "deferred dns-failed 4.4.3",
        &["gone.mixed.example", "mx.sick-host.example"],
        20,
    ),
    case("spare.example", "delivered", &["mx.sick-host.example"], 20),
    case(
        "loop-host.example",
        "deferred dns-failed 4.4.3",
        &["loop.example"],
        20,
    ),
];

fn zones(world: &World) {
    let dns = &world.dns;
    dns.mx("well.example", 10, MX);
    dns.servfail("sick.example").silent("mute.example");
    dns.truncate("cut.example").mx("cut.example", 10, MX);
    dns.truncate("cut-for-good.example")
        .no_tcp("cut-for-good.example");
    dns.mx("cut-for-good.example", 10, MX);
    dns.txt("empty.example", "v=spf1 -all")
        .null_mx("null.example");
    dns.mx("literals.example", 10, "192.0.2.1")
        .a("literals.example", "127.0.0.1");
    dns.cname("alias.example", "well.example");
    dns.cname("loop.example", "pool.example")
        .cname("pool.example", "loop.example");
    // The same, from a server that leaves the following to us.
    dns.cname("circle.example", "round.example")
        .unfollowed("circle.example");
    dns.cname("round.example", "circle.example")
        .unfollowed("round.example");
    dns.mx("chain.example", 10, "mx.chain.example");
    dns.cname("mx.chain.example", "c1.chain.example");
    for n in 1..8 {
        dns.cname(
            &format!("c{n}.chain.example"),
            &format!("c{}.chain.example", n + 1),
        );
    }
    dns.a("c8.chain.example", world.mx.addr().ip());
    dns.mx("steps.example", 10, "mx.steps.example");
    dns.cname("mx.steps.example", "s1.steps.example")
        .unfollowed("mx.steps.example");
    dns.cname("s1.steps.example", "s2.steps.example")
        .unfollowed("s1.steps.example");
    dns.a("s2.steps.example", world.mx.addr().ip());
    dns.mx("no-hosts.example", 10, "gone.no-hosts.example");
    dns.mx("sick-host.example", 10, "mx.sick-host.example")
        .servfail("mx.sick-host.example");
    dns.mx("mute-host.example", 10, "mx.mute-host.example")
        .silent("mx.mute-host.example");
    dns.mx("mixed.example", 10, "gone.mixed.example").mx(
        "mixed.example",
        20,
        "mx.sick-host.example",
    );
    dns.mx("spare.example", 10, "mx.sick-host.example")
        .mx("spare.example", 20, MX);
    dns.mx("loop-host.example", 10, "loop.example");
}

/// The outcome with its reason and code.
fn outcome(report: &Report) -> String {
    let (word, failure) = match &report.recipients[0].fate {
        Fate::Delivered(_) => return "delivered".to_owned(),
        Fate::Deferred(failure) => ("deferred", failure),
        Fate::Bounced(failure) => ("bounced", failure),
        Fate::Dropped(failure) => ("dropped", failure),
        Fate::Held(failure) => ("held", failure),
    };
    format!("{word} {} {}", failure.reason, failure.status)
}

fn deliverer(world: &World) -> Arc<Deliverer> {
    // Delivery's own certificate is no matter here: aliases change the host's name.
    let level = TlsLevel::Encrypted;
    Arc::new(world.deliverer(world.settings(), level, &["tls", "bounce"]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e33_every_failure_of_dns_has_its_outcome() {
    let world = World::new(|mx, _| mx);
    zones(&world);
    let deliverer = deliverer(&world);
    let mut attempts = tokio::task::JoinSet::new();
    for case in CASES {
        let deliverer = Arc::clone(&deliverer);
        attempts.spawn(async move {
            let start = Instant::now();
            let report = attempt(&deliverer, &job_to(case.domain)).await;
            (case, outcome(&report), start.elapsed())
        });
    }
    let mut wrong = Vec::new();
    while let Some(attempted) = attempts.join_next().await {
        let (case, outcome, took) = attempted.unwrap();
        let asked: usize = case.names.iter().map(|name| world.dns.queries(name)).sum();
        if outcome != case.outcome || asked > case.questions || took > SOON {
            wrong.push(format!(
                "{}: {outcome}, {asked} questions, {took:?}",
                case.domain
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A hundred hosts: ten are tried, and nobody's DNS is asked a thousand questions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e38_a_hundred_hosts_are_no_amplifier() {
    let world = World::new(|mx, _| mx);
    let name = |n: u16| format!("mx{n}.many.example");
    for n in 0..100 {
        world.dns.mx("many.example", n, &name(n)).servfail(&name(n));
    }
    let start = Instant::now();
    let report = attempt(&deliverer(&world), &job_to("many.example")).await;
    assert!(
        outcome(&report).starts_with("deferred "),
        "{}",
        outcome(&report)
    );
    let asked: usize = (0..100).map(|n| world.dns.queries(&name(n))).sum();
    assert!(asked <= 60, "{asked} questions");
    let tried = (0..100)
        .filter(|n| world.dns.queries(&name(*n)) > 0)
        .count();
    assert!(tried <= 10, "{tried} hosts");
    assert!(start.elapsed() < SOON);
}
