//! What is learnt, what follows, and what nothing takes away.

use std::sync::Arc;

use super::*;
use crate::sys::{Disk, MemoryTable, RealDisk};
use crate::types::{HostSeen, Offer, Reason, TlsFacts, Waiver};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

fn day(number: u64) -> Timestamp {
    let start: Timestamp = "2026-11-01T12:00:00Z".parse().unwrap();
    start + Duration::from_secs(number * 24 * 3600)
}

fn tls(host: &str, version: &str, is_authenticated: bool) -> HostSeen {
    let facts = TlsFacts {
        version: version.into(),
        cipher: "TLS13_AES_256_GCM_SHA384".into(),
        group: "X25519".into(),
        certificate: None,
    };
    HostSeen {
        host: host.into(),
        offer: Offer::Tls {
            facts,
            is_authenticated,
        },
    }
}

fn good(host: &str) -> HostSeen {
    tls(host, "TLSv1.3", true)
}

fn plain(host: &str) -> HostSeen {
    HostSeen {
        host: host.into(),
        offer: Offer::Plain(Reason::NoStarttls),
    }
}

fn silent(host: &str) -> HostSeen {
    HostSeen {
        host: host.into(),
        offer: Offer::Unknown(Reason::TimedOut),
    }
}

struct Scene {
    memory: TlsMemory,
    table: Arc<MemoryTable>,
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let table = Arc::<MemoryTable>::default();
        Self {
            memory: open(&table, &folder),
            table,
            folder,
        }
    }

    fn again(self) -> Self {
        self.memory.save_all().unwrap();
        Self {
            memory: open(&self.table, &self.folder),
            ..self
        }
    }

    fn see(&self, at: Timestamp, hosts: &[HostSeen]) -> Vec<String> {
        let turns = self.memory.learn(&Learnt {
            domain: domain("b.example"),
            at,
            is_probe: false,
            sts: None,
            hosts: hosts.to_vec(),
        });
        let tell = |turn: &Turn| format!("{}: {}", turn.way.as_str(), turn.what);
        turns.iter().map(tell).collect()
    }

    fn is_encrypted(&self, at: Timestamp) -> bool {
        self.memory
            .regard(&domain("b.example"), at)
            .forbids_cleartext()
    }

    fn allow(&self, made: Timestamp, until: Timestamp) -> Result<(), ExceptionError> {
        self.memory.exceptions().add(Waiver {
            domain: domain("b.example"),
            owner: "uid=0 (root)".into(),
            reason: "they know, ticket 12".into(),
            made,
            until,
        })
    }
}

fn open(table: &Arc<MemoryTable>, folder: &tempfile::TempDir) -> TlsMemory {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let exceptions = Exceptions::open(disk, folder.path().join("exceptions.toml")).unwrap();
    TlsMemory::open(Arc::clone(table) as Arc<dyn Table>, exceptions)
}

/// Each message to a domain changes when that was last seen, which is not worth a write
/// a second.
#[test]
fn what_is_new_is_written_at_once_and_the_rest_later() {
    let scene = Scene::new();
    let written = || scene.table.all().unwrap();
    let save = || {
        scene.memory.save().unwrap();
        written()
    };
    scene.see(day(0), &[good("mx.b.example")]);
    let first = save();
    assert_eq!(first.len(), 1);
    let soon = day(0) + Duration::from_secs(60);
    scene.see(soon, &[good("mx.b.example")]);
    assert_eq!(save(), first);
    scene.memory.save_all().unwrap();
    let later = written();
    assert_ne!(later, first);
    scene.see(soon, &[plain("mx.b.example")]);
    assert_ne!(save(), later, "that STARTTLS is gone is news");
    let known = save();
    scene.see(day(1), &[good("mx.b.example")]);
    assert_ne!(save(), known, "a second day is news");
}

#[test]
fn two_days_of_every_answering_host_count_and_a_restart_keeps_them() {
    let scene = Scene::new();
    scene.see(day(0), &[good("mx1")]);
    scene.see(day(0) + Duration::from_secs(3600), &[good("mx1")]);
    assert!(!scene.is_encrypted(day(0)), "one day is not enough");
    // The second host answers for the first time on the second day.
    scene.see(day(1), &[good("mx1"), good("mx2"), silent("mx3")]);
    assert!(!scene.is_encrypted(day(1)));
    let turns = scene.see(day(2), &[good("mx2")]);
    assert_eq!(turns, ["better: it counts as encrypted from now on"]);
    assert!(scene.is_encrypted(day(2)));
    let scene = scene.again();
    assert!(scene.is_encrypted(day(2)));
    assert_eq!(scene.memory.counts(day(2)).encrypted, 1);
}

#[test]
fn a_host_without_tls_keeps_a_domain_from_counting_and_never_ends_it() {
    let scene = Scene::new();
    for n in 0..3 {
        scene.see(day(n), &[good("mx1"), plain("mx2")]);
    }
    assert!(!scene.is_encrypted(day(3)));
    let scene = Scene::new();
    for n in 0..2 {
        scene.see(day(n), &[good("mx1")]);
    }
    assert_eq!(
        scene.see(day(3), &[plain("mx1"), plain("forged")]),
        ["worse: TLSv1.3 with a proven name before, no TLS now"]
    );
    assert!(scene.is_encrypted(day(3)));
    assert!(!scene.memory.lacks_tls(&domain("b.example"), day(3)));
    // Once a day at most is worth a line.
    let later = day(3) + Duration::from_secs(60);
    assert_eq!(scene.see(later, &[good("mx1")]), [""; 0]);
    assert_eq!(
        scene.see(day(5), &[tls("mx1", "TLSv1.2", true)]),
        ["worse: TLSv1.3 with a proven name before, TLSv1.2 with a proven name now"]
    );
    assert_eq!(
        scene.see(day(7), &[good("mx1")]),
        ["better: TLSv1.2 with a proven name before, TLSv1.3 with a proven name now"]
    );
}

#[test]
fn it_lapses_180_days_after_the_last_handshake() {
    let scene = Scene::new();
    scene.see(day(0), &[good("mx1")]);
    scene.see(day(1), &[good("mx1")]);
    scene.see(day(100), &[plain("mx1")]);
    assert!(scene.is_encrypted(day(180)));
    assert!(!scene.is_encrypted(day(181)));
    // From then on it begins anew.
    scene.see(day(181), &[good("mx1")]);
    assert!(!scene.is_encrypted(day(181)));
    scene.see(day(182), &[good("mx1")]);
    assert!(scene.is_encrypted(day(182)));
}

#[test]
fn a_clock_set_back_is_no_second_day() {
    let scene = Scene::new();
    scene.see(day(5), &[good("mx1")]);
    scene.see(day(4), &[good("mx1")]);
    assert!(!scene.is_encrypted(day(5)));
}

#[test]
fn a_domain_that_says_no_is_known_for_a_week() {
    let scene = Scene::new();
    let lacks = |at| scene.memory.lacks_tls(&domain("b.example"), at);
    assert!(!lacks(day(0)), "unknown");
    scene.see(day(0), &[silent("mx1")]);
    assert!(!lacks(day(0)), "no answer says nothing");
    scene.see(day(0), &[plain("mx1")]);
    assert!(lacks(day(0)));
    assert!(lacks(day(6)));
    assert!(!lacks(day(7)));
    scene.allow(day(0), day(2)).unwrap();
    assert!(!lacks(day(1)), "the operator lets it be");
    assert!(lacks(day(2)));
    scene.see(day(2), &[good("mx1")]);
    assert!(!lacks(day(2)));
}

#[test]
fn exceptions_have_owner_reason_and_end_and_outlive_a_restart() {
    let scene = Scene::new();
    scene.see(day(0), &[good("mx1")]);
    scene.see(day(1), &[good("mx1")]);
    assert!(matches!(
        scene.allow(day(2), day(2)),
        Err(ExceptionError::Until)
    ));
    assert!(matches!(
        scene.allow(day(2), day(400)),
        Err(ExceptionError::Until)
    ));
    scene.allow(day(2), day(4)).unwrap();
    let scene = scene.again();
    let Remembered::Waived(waiver) = scene.memory.regard(&domain("b.example"), day(3)) else {
        panic!("not waived");
    };
    assert_eq!(
        waiver.note(),
        "cleartext by exception of uid=0 (root) until 2026-11-05T12:00:00.000Z: they know, ticket 12"
    );
    assert!(scene.is_encrypted(day(4)), "its end has come");
    assert_eq!(scene.memory.exceptions().lapse(day(3)).unwrap(), []);
    assert_eq!(scene.memory.exceptions().lapse(day(4)).unwrap(), [waiver]);
    let file = std::fs::read_to_string(scene.folder.path().join("exceptions.toml")).unwrap();
    assert!(!file.contains("b.example"), "{file}");
    scene.allow(day(4), day(5)).unwrap();
    let exceptions = scene.memory.exceptions();
    assert!(exceptions.remove(&domain("b.example")).unwrap());
    assert!(!exceptions.remove(&domain("b.example")).unwrap());
    for reason in ["", " ", "two\nlines", &"x".repeat(201)] {
        let waiver = Waiver {
            domain: domain("c.example"),
            owner: "o".into(),
            reason: reason.into(),
            made: day(0),
            until: day(1),
        };
        assert!(matches!(
            exceptions.add(waiver),
            Err(ExceptionError::Reason)
        ));
    }
}

#[test]
fn forgetting_is_the_operators_and_lasts() {
    let scene = Scene::new();
    scene.see(day(0), &[good("mx1")]);
    scene.see(day(1), &[good("mx1")]);
    let scene = scene.again();
    assert!(scene.memory.forget(&domain("b.example")));
    assert!(!scene.memory.forget(&domain("b.example")));
    assert!(!scene.is_encrypted(day(1)));
    let scene = scene.again();
    assert_eq!(scene.memory.all(), []);
}

#[test]
fn hosts_and_domains_are_bounded_and_those_with_tls_stay() {
    let scene = Scene::new();
    scene.see(day(0), &[good("mx1")]);
    scene.see(day(1), &[good("mx1")]);
    for n in 0..100 {
        scene.see(day(1), &[plain(&format!("forged{n}"))]);
    }
    let record = scene.memory.get(&domain("b.example")).unwrap();
    assert_eq!(record.hosts.len(), 32);
    assert!(record.hosts.contains_key("mx1"));
    for n in 0..DOMAINS_MAX + 10 {
        scene.memory.learn(&Learnt {
            domain: domain(&format!("d{n}.example")),
            at: day(2) + Duration::from_secs(n as u64),
            is_probe: false,
            sts: None,
            hosts: vec![good("mx")],
        });
    }
    assert!(scene.memory.all().len() <= DOMAINS_MAX);
    assert!(scene.is_encrypted(day(2)), "what counts goes last");
}

#[test]
fn who_is_active_and_longest_not_probed_comes_first() {
    let scene = Scene::new();
    let learn = |name: &str, at, is_probe| {
        scene.memory.learn(&Learnt {
            domain: domain(name),
            at,
            is_probe,
            sts: None,
            hosts: vec![good("mx")],
        });
    };
    learn("a.example", day(0), false);
    learn("b.example", day(5), false);
    learn("c.example", day(5), false);
    learn("b.example", day(6), true);
    learn("d.example", day(6), true);
    let names: Vec<String> = scene
        .memory
        .active(day(5))
        .iter()
        .map(|(d, _)| d.to_string())
        .collect();
    assert_eq!(names, ["c.example", "b.example"]);
}

proptest::proptest! {
    /// Whatever is seen, in whatever order: what counts as encrypted does so until
    /// it lapses, and only an exception lets `cleartext` by.
    #[test]
    fn nothing_that_is_learnt_lowers_a_domain(
        sights in proptest::collection::vec((0u64..40, 0usize..4, 0usize..4), 1..60),
        excepted in proptest::bool::ANY,
    ) {
        let scene = Scene::new();
        let (mut now, mut until) = (day(0), None::<Timestamp>);
        for (hours, host, kind) in sights {
            now = now + Duration::from_secs(hours * 3600);
            let host = format!("mx{host}");
            let seen = match kind {
                0 => plain(&host),
                1 => silent(&host),
                2 => tls(&host, "TLSv1.2", false),
                _ => good(&host),
            };
            let has_tls = kind > 1;
            scene.see(now, &[seen]);
            let remembered = scene.memory.regard(&domain("b.example"), now);
            if until.is_some_and(|until| now < until) {
                proptest::prop_assert_ne!(&remembered, &Remembered::Nothing);
            }
            if remembered != Remembered::Nothing && (has_tls || until.is_none()) {
                until = Some(now + LAPSE);
            }
            let allowed = scene.memory.exceptions().get(&domain("b.example"), now).is_some();
            if remembered != Remembered::Nothing {
                proptest::prop_assert_eq!(remembered.forbids_cleartext(), !allowed);
            }
            if excepted && !allowed && hours == 7 {
                scene.allow(now, now + DAY).unwrap();
            }
        }
    }
}
