//! The cache, by a clock that is set by hand and a world that is written down.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::dns::{Answer, DnsFailure, Families, Mx, Resolver};
use crate::fetch::{Fetch, FetchError, Request};
use crate::sys::{Clock, MemoryTable, Table};
use crate::types::{BoxFuture, Domain, StsMode, StsSource, Timestamp};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// DNS and HTTPS as they stand; what was asked is counted.
#[derive(Default)]
struct World {
    records: Mutex<Option<Answer<Vec<u8>>>>,
    page: Mutex<HashMap<String, Result<String, FetchError>>>,
    /// Fetches take so long.
    delay: Mutex<Duration>,
    looks: Mutex<Vec<String>>,
    fetches: Mutex<Vec<String>>,
}

impl Resolver for World {
    fn mx(&self, _: &Domain) -> BoxFuture<'_, Answer<Mx>> {
        Box::pin(std::future::ready(Answer::NoDomain))
    }

    fn addresses(&self, _: &Domain, _: Families) -> BoxFuture<'_, Answer<IpAddr>> {
        Box::pin(std::future::ready(Answer::NoDomain))
    }

    fn txt(&self, name: &Domain) -> BoxFuture<'_, Answer<Vec<u8>>> {
        self.looks.lock().unwrap().push(name.to_string());
        let answer = self.records.lock().unwrap().clone();
        Box::pin(std::future::ready(answer.unwrap_or(Answer::NoDomain)))
    }
}

impl Fetch for World {
    fn get(&self, request: Request) -> BoxFuture<'_, Result<Vec<u8>, FetchError>> {
        self.fetches.lock().unwrap().push(request.to_string());
        let page = self
            .page
            .lock()
            .unwrap()
            .get(request.host.as_str())
            .cloned();
        let delay = *self.delay.lock().unwrap();
        Box::pin(async move {
            tokio::time::sleep(delay).await;
            let page = page.unwrap_or(Err(FetchError::Status(404)));
            page.map(String::into_bytes)
        })
    }
}

struct HandClock(Mutex<Timestamp>);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

struct Stage {
    world: Arc<World>,
    clock: Arc<HandClock>,
    table: Arc<MemoryTable>,
    cache: Arc<Cache>,
}

impl Stage {
    fn new() -> Stage {
        Stage::with(Arc::default(), Arc::default())
    }

    fn with(world: Arc<World>, table: Arc<MemoryTable>) -> Stage {
        let start = Timestamp::from_micros(1_800_000_000_000_000);
        let clock = Arc::new(HandClock(Mutex::new(start)));
        let cache = Cache::new(sources(&world), table.clone(), clock.clone());
        Stage {
            world,
            clock,
            table,
            cache: Arc::new(cache),
        }
    }

    /// The same daemon, started anew.
    fn restart(self) -> Stage {
        let cache = Cache::new(sources(&self.world), self.table.clone(), self.clock.clone());
        Stage {
            cache: Arc::new(cache),
            ..self
        }
    }

    fn passes(&self, span: Duration) {
        let mut now = self.clock.0.lock().unwrap();
        *now = *now + span;
    }

    fn records(&self, records: &[&str]) {
        let records = records
            .iter()
            .map(|text| text.as_bytes().to_vec())
            .collect();
        let ttl = MINUTE;
        *self.world.records.lock().unwrap() = Some(Answer::Found { records, ttl });
    }

    fn record(&self, id: &str) {
        self.records(&[&format!("v=STSv1; id={id};")]);
    }

    fn no_record(&self) {
        *self.world.records.lock().unwrap() = None;
    }

    fn dns_fails(&self) {
        let failed = Answer::Failed(DnsFailure::TimedOut);
        *self.world.records.lock().unwrap() = Some(failed);
    }

    fn page(&self, page: Result<String, FetchError>) {
        let mut pages = self.world.page.lock().unwrap();
        pages.insert("mta-sts.b.example".into(), page);
    }

    fn policy(&self, mode: &str, mx: &str, max_age: Duration) {
        let age = max_age.as_secs();
        let text = format!("version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: {age}\n");
        self.page(Ok(text));
    }

    async fn ask(&self) -> Standing {
        self.cache.of(&domain("b.example")).await
    }

    /// `MODE MX SOURCE`, or why there is none.
    async fn told(&self) -> String {
        words(&self.ask().await)
    }

    fn fetches(&self) -> usize {
        self.world.fetches.lock().unwrap().len()
    }
}

fn sources(world: &Arc<World>) -> Sources {
    Sources {
        resolver: world.clone(),
        fetch: world.clone(),
    }
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn words(standing: &Standing) -> String {
    match standing {
        Standing::Absent(why) => why.as_str().to_owned(),
        Standing::Unknown => "unknown".to_owned(),
        Standing::Policy(held, source) => {
            let mx: Vec<String> = held.policy.mx.iter().map(ToString::to_string).collect();
            let mode = held.policy.mode.as_str();
            format!("{mode} {} {}", mx.join(","), source.as_str())
        }
    }
}

#[tokio::test]
async fn a_policy_is_fetched_once_and_kept() {
    let stage = Stage::new();
    assert_eq!(stage.told().await, "no-record");
    stage.record("1");
    stage.policy("enforce", "mx.b.example", DAY);
    assert_eq!(stage.told().await, "no-record", "looked at a moment ago");
    stage.passes(MINUTE);
    assert_eq!(stage.told().await, "enforce mx.b.example fetched");
    assert_eq!(stage.told().await, "enforce mx.b.example cache");
    stage.passes(10 * MINUTE);
    assert_eq!(stage.told().await, "enforce mx.b.example cache");
    assert_eq!(stage.fetches(), 1);
    let fetches = stage.world.fetches.lock().unwrap().clone();
    assert_eq!(
        fetches,
        ["https://mta-sts.b.example/.well-known/mta-sts.txt"]
    );
    // A domain and those below it have nothing to do with one another (E45).
    let below = stage.cache.of(&domain("x.b.example")).await;
    assert_eq!(words(&below), "not-fetched");
}

#[tokio::test]
async fn e42_a_new_id_brings_a_new_policy() {
    let stage = Stage::new();
    stage.record("1");
    stage.policy("testing", "mx.b.example", DAY);
    assert_eq!(stage.told().await, "testing mx.b.example fetched");
    stage.policy("enforce", "new.b.example", DAY);
    stage.passes(2 * MINUTE);
    assert_eq!(stage.told().await, "testing mx.b.example cache", "same id");
    stage.record("2");
    stage.passes(2 * MINUTE);
    assert_eq!(stage.told().await, "enforce new.b.example fetched");
    // `none` clears (section 8.3).
    stage.record("3");
    stage.policy("none", "new.b.example", DAY);
    stage.passes(2 * MINUTE);
    let standing = stage.ask().await;
    assert_eq!(words(&standing), "none new.b.example fetched");
    assert!(standing.enforced().is_none());
}

#[tokio::test]
async fn e42_what_is_kept_outlives_its_record_and_failed_fetches() {
    let stage = Stage::new();
    stage.record("1");
    stage.policy("enforce", "mx.b.example", DAY);
    stage.told().await;
    for break_it in [
        Stage::no_record as fn(&Stage),
        Stage::dns_fails,
        |stage| stage.records(&["v=STSv1; id=1", "v=STSv1; id=2"]),
        |stage| {
            stage.record("2");
            stage.page(Err(FetchError::Unreachable));
        },
        |stage| stage.page(Ok("<html>".into())),
    ] {
        break_it(&stage);
        stage.passes(10 * MINUTE);
        assert_eq!(stage.told().await, "enforce mx.b.example cache");
    }
    // Until its time is over (E43).
    stage.passes(DAY);
    assert_eq!(stage.told().await, "bad-policy");
}

#[tokio::test]
async fn e42_without_anything_kept_a_failed_fetch_is_no_policy() {
    let stage = Stage::new();
    stage.record("1");
    stage.page(Err(FetchError::Redirect(301)));
    assert_eq!(stage.told().await, "not-fetched");
    // Not asked again for five minutes, then ten, then twenty, an hour at most.
    let mut fetched = vec![];
    for minute in 1..=200 {
        stage.passes(MINUTE);
        let before = stage.fetches();
        assert_eq!(stage.told().await, "not-fetched");
        if stage.fetches() > before {
            fetched.push(minute);
        }
    }
    assert_eq!(fetched, [5, 15, 35, 75, 135, 195]);
    stage.policy("enforce", "mx.b.example", DAY);
    stage.passes(HOUR);
    assert_eq!(stage.told().await, "enforce mx.b.example fetched");
}

#[tokio::test]
async fn mail_waits_a_quarter_of_an_hour_for_dns() {
    let stage = Stage::new();
    stage.dns_fails();
    assert_eq!(stage.told().await, "unknown");
    stage.passes(14 * MINUTE);
    assert_eq!(stage.told().await, "unknown");
    stage.passes(5 * MINUTE);
    assert_eq!(stage.told().await, "dns-failed");
    stage.record("1");
    stage.policy("enforce", "mx.b.example", DAY);
    stage.passes(5 * MINUTE);
    assert_eq!(stage.told().await, "enforce mx.b.example fetched");
}

#[tokio::test]
async fn e43_policies_outlive_a_restart() {
    let stage = Stage::new();
    stage.record("1");
    stage.policy("enforce", "*.b.example", DAY);
    stage.told().await;
    let stage = stage.restart();
    stage.no_record();
    stage.page(Err(FetchError::Unreachable));
    assert_eq!(stage.told().await, "enforce *.b.example cache");
    stage.passes(DAY);
    assert_eq!(stage.told().await, "no-record");
    stage.cache.refresh_due().await;
    assert!(stage.table.all().unwrap().is_empty(), "it is forgotten");
}

#[tokio::test]
async fn what_on_disk_is_no_policy_costs_nothing_else() {
    let stage = Stage::new();
    stage.record("1");
    stage.policy("enforce", "mx.b.example", DAY);
    stage.told().await;
    stage.table.put(b"c.example", b"{").unwrap();
    stage.table.put(b"\xff", b"{}").unwrap();
    assert_eq!(stage.restart().told().await, "enforce mx.b.example cache");
}

#[tokio::test]
async fn policies_are_refreshed_before_they_expire() {
    let stage = Stage::new();
    stage.record("1");
    stage.policy("enforce", "mx.b.example", 10 * DAY);
    stage.told().await;
    stage.passes(12 * HOUR);
    stage.cache.refresh_due().await;
    assert_eq!(stage.fetches(), 1, "too early");
    stage.passes(12 * HOUR);
    stage.cache.refresh_due().await;
    assert_eq!(stage.fetches(), 2);
    // The same id: what lies there counts, and the time begins anew.
    stage.policy("enforce", "new.b.example", 10 * DAY);
    stage.passes(DAY);
    stage.cache.refresh_due().await;
    assert_eq!(stage.told().await, "enforce new.b.example cache");
    // A refresh that fails leaves all as it is, and rests.
    stage.page(Err(FetchError::TimedOut));
    stage.passes(DAY);
    stage.cache.refresh_due().await;
    stage.cache.refresh_due().await;
    assert_eq!(stage.fetches(), 4);
    assert_eq!(stage.told().await, "enforce new.b.example cache");
}

#[tokio::test]
async fn what_nobody_writes_to_is_left_to_expire() {
    let stage = Stage::new();
    stage.record("1");
    stage.policy("enforce", "mx.b.example", 365 * DAY);
    stage.told().await;
    stage.passes(61 * DAY);
    stage.cache.refresh_due().await;
    assert_eq!(stage.fetches(), 1);
    stage.told().await;
    stage.cache.refresh_due().await;
    assert_eq!(stage.fetches(), 2, "somebody does again");
}

#[tokio::test]
async fn a_violated_policy_is_looked_up_again() {
    let stage = Stage::new();
    stage.record("1");
    stage.policy("enforce", "old.b.example", DAY);
    let old = stage.ask().await;
    stage.policy("enforce", "new.b.example", DAY);
    let name = domain("b.example");
    assert!(
        stage.cache.renewed(&name, &old).await.is_none(),
        "just fetched"
    );
    stage.passes(6 * MINUTE);
    // Who changed the policy forgot the id.
    let renewed = stage.cache.renewed(&name, &old).await.unwrap();
    assert_eq!(words(&renewed), "enforce new.b.example cache");
    assert!(stage.cache.renewed(&name, &renewed).await.is_none());
    assert_eq!(stage.fetches(), 2);
    // What can't be fetched changes nothing.
    stage.page(Err(FetchError::Status(500)));
    stage.passes(6 * MINUTE);
    assert!(stage.cache.renewed(&name, &renewed).await.is_none());
    assert_eq!(stage.told().await, "enforce new.b.example cache");
}

#[tokio::test(start_paused = true)]
async fn one_fetch_at_a_time_and_a_minute_at_most() {
    let stage = Stage::new();
    stage.record("1");
    stage.policy("enforce", "mx.b.example", DAY);
    *stage.world.delay.lock().unwrap() = Duration::from_secs(30);
    let name = domain("b.example");
    let began = tokio::time::Instant::now();
    let (one, other) = tokio::join!(stage.cache.of(&name), stage.cache.of(&name));
    assert_eq!(words(&one), "enforce mx.b.example fetched");
    assert_eq!(words(&other), "enforce mx.b.example cache");
    assert_eq!(stage.fetches(), 1);
    assert_eq!(began.elapsed(), Duration::from_secs(30));
    let stage = Stage::new();
    stage.record("1");
    *stage.world.delay.lock().unwrap() = Duration::from_secs(600);
    let began = tokio::time::Instant::now();
    assert_eq!(stage.told().await, "not-fetched");
    assert!(began.elapsed() <= Duration::from_secs(61));
    assert_eq!(stage.told().await, "not-fetched");
    assert_eq!(stage.fetches(), 1, "it rests");
}

#[tokio::test]
async fn a_clock_that_is_set_back_keeps_no_policy_for_ever() {
    let stage = Stage::new();
    stage.record("1");
    stage.policy("enforce", "mx.b.example", DAY);
    stage.told().await;
    *stage.clock.0.lock().unwrap() = Timestamp::from_micros(1_700_000_000_000_000);
    assert_eq!(stage.told().await, "enforce mx.b.example cache");
    stage.policy("enforce", "new.b.example", DAY);
    stage.cache.refresh_due().await;
    assert_eq!(stage.told().await, "enforce new.b.example cache");
}

#[test]
fn findings_are_the_policys_own() {
    use crate::types::Reason;
    let held = |mode| Held {
        policy: Policy {
            mode,
            max_age: DAY,
            mx: Policy::parse(b"version: STSv1\nmode: none\nmx: mx.b.example\nmax_age: 1")
                .unwrap()
                .mx,
        },
        id: PolicyId::parse("1").unwrap(),
        fetched_at: Timestamp::from_micros(0),
        used_at: Timestamp::from_micros(0),
    };
    let standing = |mode| Standing::Policy(Arc::new(held(mode)), StsSource::Cache);
    let (mx, other) = (domain("mx.b.example"), domain("mx.other.example"));
    let expired = Err(Reason::CertificateExpired);
    for mode in [StsMode::Enforce, StsMode::Testing] {
        let sts = standing(mode);
        assert_eq!(sts.finding(Some(&mx), Some(Ok(()))), None);
        assert_eq!(sts.finding(Some(&mx), Some(expired)), expired.err());
        assert_eq!(sts.finding(Some(&mx), None), Some(Reason::NoStarttls));
        for host in [Some(&other), None] {
            assert_eq!(sts.finding(host, Some(Ok(()))), Some(Reason::StsHost));
        }
    }
    assert_eq!(standing(StsMode::None).finding(Some(&other), None), None);
    assert_eq!(Standing::Unknown.finding(Some(&mx), None), None);
}
