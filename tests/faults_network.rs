//! A connection to a far side breaks at each step of a good talk: the outcome is of
//! the right class, it comes in time, nothing is left over, and the books balance.
//!
//! One message goes by queue, delivery and outcome to a domain with two hosts. The
//! talk with the first host is watched once; then it is broken in each of its turns
//! (greeting, EHLO, STARTTLS, each flight of the handshake, EHLO, envelope, DATA, the
//! body, the reply to the dot, QUIT), at several octets of the turn, in each way. The
//! clock is paused, so hours cost nothing. `POSTERN_FAULTS=full` breaks at more
//! octets.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod faults_support;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use faults_support::{FarSide, Names, letter, number_of};
use postern::delivery::{Deliverer, Prefer, Settings};
use postern::outcome::{self, Outcome};
use postern::policy::{self, Policy};
use postern::queue::{self, Queue, QueueHandle};
use postern::spool::{EventSink, MemoryStore, Store, Ticket};
use postern::sys::{
    Break, Clock, FaultyDialler, LinkFault, SystemClock, SystemEntropy, TokioClock, Way,
};
use postern::types::{
    AuditEvent, BodyType, Domain, Envelope, Mailbox, MessageFacts, MethodsList, Origin, Principal,
    Protocol, Source,
};
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

const HOUR: Duration = Duration::from_secs(3600);
/// Larger than a block that delivery writes at once, and than what lies in pipes.
const OCTETS: usize = 150_000;
const TO: [&str; 3] = ["ann@b.example", "bad@b.example", "cyd@b.example"];

/// Keeps the events of all settlements.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<AuditEvent>>>);

impl EventSink for Events {
    fn append(&mut self, events: &[AuditEvent]) -> std::io::Result<()> {
        self.0.lock().unwrap().extend_from_slice(events);
        Ok(())
    }
    fn sync(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// TLS with a certificate of nobody's, which `encrypted` is content with.
fn tls() -> ServerConfig {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["mx1.b.example".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap()
}

/// What all cases share: a relay, whose connections can be made to break.
struct Relay {
    far: FarSide,
    dialler: FaultyDialler,
    deliverer: Arc<Deliverer>,
}

impl Relay {
    fn new(has_tls: bool) -> Self {
        let mut policy = policy::Settings::default();
        policy.default.methods = MethodsList::parse(&["tls", "cleartext"]).unwrap();
        policy.dsn_cleartext = true;
        let settings = Settings {
            hostname: Domain::parse("relay.clinic.example").unwrap(),
            port: 25,
            sources: vec![],
            prefer: Prefer::Ipv6,
            blocked: vec![],
            own_addresses: vec![],
            routes: vec![],
            roots: vec![],
        };
        let far = FarSide::new(has_tls.then(tls));
        let dialler = FaultyDialler::new(Arc::new(far.clone()));
        let deliverer = Deliverer::new(
            settings,
            Arc::new(Policy::new(policy, "c0ffee".into())),
            Arc::new(Names(2)),
            Arc::new(dialler.clone()),
            Arc::new(SystemClock),
            Arc::new(SystemEntropy::default()),
        );
        Self {
            far,
            dialler,
            deliverer: Arc::new(deliverer.unwrap()),
        }
    }
}

/// A queue at work.
struct World {
    store: Arc<MemoryStore>,
    events: Events,
    queue: QueueHandle,
    stop: watch::Sender<bool>,
}

impl World {
    fn new(relay: &Relay, planned: Option<Break>) -> Self {
        relay.far.forget();
        relay.dialler.plan(planned);
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(
            "2026-11-22T08:00:00Z".parse().unwrap(),
        ));
        let entropy = Arc::new(SystemEntropy::default());
        let events = Events::default();
        let (store, fresh) =
            MemoryStore::with_events(clock.clone(), entropy.clone(), Box::new(events.clone()));
        let store = Arc::new(store);
        let about = outcome::Settings {
            hostname: Domain::parse("relay.clinic.example").unwrap(),
            postmaster: None,
            audit_folder: "/nowhere".into(),
            audit_key: "/nowhere".into(),
            audit_keep: 400 * 24 * HOUR,
            log_addresses: false,
            expire: 120 * HOUR,
        };
        let (stop, shutdown) = watch::channel(false);
        let queue = Queue {
            settings: queue::Settings::default(),
            store: store.clone(),
            fresh,
            deliver: relay.deliverer.clone(),
            outcome: Arc::new(Outcome::new(about, clock.clone(), entropy.clone())),
            clock,
            entropy,
            shutdown,
        };
        Self {
            store,
            events,
            queue: queue.start(),
            stop,
        }
    }

    async fn send(&self) {
        let mut intake = self.store.intake().unwrap();
        intake.write(letter(7, OCTETS).into()).await.unwrap();
        let mailboxes = TO.iter().map(|to| Mailbox::parse(to).unwrap());
        let ticket = Ticket {
            origin: Origin::Submitted(Source {
                principal: Principal::Account("ward".into()),
                listener: "[::]:587".into(),
                client: [192, 0, 2, 9].into(),
                protocol: Protocol::Esmtpsa,
            }),
            envelope: Envelope {
                sender: Some(Mailbox::parse("ward@clinic.example").unwrap()),
                recipients: mailboxes.collect(),
                body: BodyType::SevenBit,
            },
            facts: MessageFacts {
                size: 0,
                eight_bit: false,
                message_id: None,
                content: None,
            },
        };
        intake.commit(ticket).await.unwrap();
    }

    /// Waits for the outcome of the first attempt; gives how each recipient stood
    /// then, and how long it took.
    async fn first_attempt(&self) -> (Vec<AuditEvent>, Duration) {
        let start = Instant::now();
        while start.elapsed() < 3 * HOUR {
            let events = self.events.0.lock().unwrap().clone();
            if !events.is_empty() {
                return (events, start.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("no outcome in three hours");
    }

    /// Until nothing is open, and stops. Gives how often each recipient got it, the
    /// DSNs, and what was left over.
    async fn finish(self, relay: &Relay) -> Books {
        let start = Instant::now();
        while self.store.stats().await.unwrap().recipients > 0 {
            assert!(start.elapsed() < 12 * HOUR, "still open");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        self.stop.send_replace(true);
        self.queue.join().await;
        drop(self.store);
        // What ends with its connection has a moment to do so.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut books = Books {
            left: relay.dialler.open() + relay.far.open(),
            ..Books::default()
        };
        for taken in relay.far.taken() {
            match number_of(&taken.body) {
                Some(_) if taken.body != letter(7, OCTETS) => books.spoilt += 1,
                Some(_) => taken.recipients.into_iter().for_each(|to| {
                    *books.delivered.entry(to).or_default() += 1;
                }),
                None => books.dsns += 1,
            }
        }
        books
    }
}

#[derive(Debug, Default)]
struct Books {
    delivered: BTreeMap<String, usize>,
    spoilt: usize,
    dsns: usize,
    left: usize,
}

impl Books {
    /// What is wrong where each good recipient must have got so many copies.
    fn wrong(&self, copies: usize) -> Option<String> {
        let expected: BTreeMap<String, usize> =
            [(TO[0].to_owned(), copies), (TO[2].to_owned(), copies)].into();
        let is_well =
            self.delivered == expected && (self.spoilt, self.dsns, self.left) == (0, 1, 0);
        (!is_well).then(|| format!("{self:?}, not {copies} copies"))
    }
}

/// Where in a talk a break lies.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    /// Whether there is TLS is asked, and not told yet.
    Asking,
    /// Before the body has gone out whole.
    Before,
    /// The body goes out.
    Body,
    /// The reply to the final dot comes in.
    Dot,
    /// After it.
    After,
}

/// What must come of a break.
struct Expected {
    /// The reason after the first attempt, or `delivered`.
    first: &'static [&'static str],
    copies: usize,
    within: Duration,
}

fn expected(step: Step, fault: LinkFault) -> Expected {
    let is_silent = matches!(fault, LinkFault::Stall | LinkFault::Vanish);
    let (first, copies): (&'static [&'static str], _) = match (step, fault) {
        // One octet a second is slow, but comes, or the other host is faster.
        (_, LinkFault::Drip) => (&["delivered"], 1),
        // It may have been taken, so the same host is asked again, later.
        (Step::Dot, _) => (&["outcome-unknown"], 2),
        // The system took all of it, and nobody can tell how far it came.
        (Step::Body, LinkFault::Vanish) => (&["outcome-unknown"], 1),
        // A talk that breaks off says nothing about TLS.
        (Step::Asking, _) => (&["connection-lost", "timed-out"], 1),
        // Lost before the dot: the other host gets it at once (E12); after the
        // 250 it is delivered, whatever follows (E13).
        _ => (&["delivered"], 1),
    };
    let minutes = match (step, fault) {
        (Step::Dot, _) if is_silent => 10,
        (Step::Body, LinkFault::Vanish) => 10,
        // For a block; the last one shares the time of the dot.
        (Step::Body, LinkFault::Stall) => 10,
        (Step::Before | Step::Asking, _) if is_silent => 5,
        (_, LinkFault::Drip) => 15,
        _ => 0,
    };
    Expected {
        first,
        copies,
        within: Duration::from_secs(60 * minutes + 11),
    }
}

/// The turns of a good talk with the first host.
async fn watch_a_good_talk(relay: &Relay) -> Vec<Vec<(Way, usize)>> {
    let world = World::new(relay, None);
    world.send().await;
    let (events, took) = world.first_attempt().await;
    assert!(events.len() >= 3);
    assert!(took < Duration::from_secs(1));
    let books = world.finish(relay).await;
    assert_eq!(books.wrong(1), None);
    relay.dialler.turns()
}

/// At which octets of a turn it is broken.
fn octets_of(length: usize, is_full: bool) -> Vec<usize> {
    let mut octets = vec![0, 1, length / 2, length - 1];
    if is_full {
        octets.extend((0..12).map(|n| length * n / 12));
        octets.extend(length.checked_sub(2));
    }
    octets.retain(|at| *at < length);
    octets.sort_unstable();
    octets.dedup();
    octets
}

/// One break; what is wrong with what came of it.
async fn play(relay: &Relay, step: Step, planned: Break) -> Option<String> {
    let world = World::new(relay, Some(planned));
    world.send().await;
    let (events, took) = world.first_attempt().await;
    let expected = expected(step, planned.fault);
    let good = events.iter().find(|e| e.recipient == TO[0]);
    let first = good.map(|event| match &event.reason {
        None => event.state.to_string(),
        Some(reason) => reason.clone(),
    });
    let books = world.finish(relay).await;
    let first = first.unwrap_or_default();
    if !expected.first.contains(&first.as_str()) {
        return Some(format!(
            "first {first}, not {:?}; {books:?}",
            expected.first
        ));
    }
    if took > expected.within {
        return Some(format!("took {took:?}, not {:?}", expected.within));
    }
    books.wrong(expected.copies)
}

/// The turns of a talk, with the step that each belongs to.
fn steps(talk: &[(Way, usize)]) -> Vec<(Step, usize)> {
    let longest = talk.iter().map(|(_, octets)| *octets).max().unwrap();
    let body = talk
        .iter()
        .position(|(_, octets)| *octets == longest)
        .unwrap();
    let has_body = longest > OCTETS;
    let step = |turn: usize| match turn.cmp(&body) {
        // Greeting, EHLO and its reply.
        _ if !has_body && turn < 3 => Step::Asking,
        _ if !has_body => Step::After,
        Ordering::Less => Step::Before,
        Ordering::Equal => Step::Body,
        Ordering::Greater if turn == body + 1 => Step::Dot,
        Ordering::Greater => Step::After,
    };
    let turns = talk.iter().enumerate();
    turns
        .map(|(turn, (_, octets))| (step(turn), *octets))
        .collect()
}

const FAULTS: [LinkFault; 5] = [
    LinkFault::Reset,
    LinkFault::Close,
    LinkFault::Stall,
    LinkFault::Vanish,
    LinkFault::Drip,
];

/// Breaks these of the connections of a good delivery everywhere.
async fn break_everywhere(has_tls: bool, connections: &[usize]) {
    let is_full = std::env::var("POSTERN_FAULTS").is_ok_and(|word| word == "full");
    let relay = Relay::new(has_tls);
    let talks = watch_a_good_talk(&relay).await;
    let before = Handle::current().metrics().num_alive_tasks();
    let (mut cases, mut wrong) = (0, Vec::new());
    for connection in connections {
        for (turn, (step, length)) in steps(&talks[*connection]).into_iter().enumerate() {
            for octets in octets_of(length, is_full) {
                for fault in FAULTS {
                    let planned = Break {
                        connection: *connection,
                        turn,
                        octets,
                        fault,
                    };
                    cases += 1;
                    if let Some(why) = play(&relay, step, planned).await {
                        wrong.push(format!("{step:?} {planned:?}: {why}"));
                    }
                }
            }
        }
    }
    let after = Handle::current().metrics().num_alive_tasks();
    eprintln!("{cases} breaks");
    assert!(wrong.is_empty(), "{talks:?} {wrong:#?}");
    assert_eq!(after, before, "tasks are left over");
}

/// The first connection asks for TLS and hears that there is none; the third is the
/// one in the clear.
#[tokio::test(start_paused = true)]
async fn a_talk_in_the_clear_breaks_at_each_step() {
    break_everywhere(false, &[0, 2]).await;
}

#[tokio::test(start_paused = true)]
async fn a_talk_over_tls_breaks_at_each_step() {
    break_everywhere(true, &[0]).await;
}
