//! Discovery, by a clock that is set by hand and directories that are written down.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sequoia_openpgp::cert::CipherSuite;

use super::*;
use crate::fetch::{Fetch, Request};
use crate::protect::Refusal;
use crate::protect::keys::{AnyCertificate, KeyStore, Kind, Terms, Trust};
use crate::protect::openpgp::Certificate;
use crate::protect::openpgp::testing::{anna, at, builder, for_a_year, key, public, revoked_later};
use crate::protect::smime::Authorities;
use crate::sys::{Clock, MemoryTable, Table};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const ADVANCED: &str = "openpgpkey.clinic.example";
const DIRECT: &str = "clinic.example";

/// HTTPS as it stands: by host; what was asked is kept.
#[derive(Default)]
struct World {
    pages: Mutex<HashMap<String, Result<Vec<u8>, FetchError>>>,
    delay: Mutex<Duration>,
    asked: Mutex<Vec<String>>,
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Fetch for World {
    fn get(&self, request: Request) -> BoxFuture<'_, Result<Vec<u8>, FetchError>> {
        assert_eq!(request.media_type, None);
        let host = request.host.to_string();
        self.asked.lock().unwrap().push(host.clone());
        let page = self.pages.lock().unwrap().get(&host).cloned();
        let delay = *self.delay.lock().unwrap();
        Box::pin(async move {
            let at_once = self.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(at_once, Ordering::SeqCst);
            tokio::time::sleep(delay).await;
            self.now.fetch_sub(1, Ordering::SeqCst);
            page.unwrap_or(Err(FetchError::NoHost))
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
    folder: tempfile::TempDir,
    store: Arc<KeyStore>,
    finder: Arc<Finder>,
}

impl Stage {
    fn new() -> Stage {
        Stage::with(Settings::default())
    }

    fn with(settings: Settings) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(KeyStore::new(folder.path().join("keys")));
        let clock = HandClock(Mutex::new(at("2026-11-28T09:00:00Z")));
        let (world, table, clock) = (Arc::default(), Arc::default(), Arc::new(clock));
        let finder = finder(settings, &world, &store, &table, &clock);
        Stage {
            world,
            clock,
            table,
            folder,
            store,
            finder,
        }
    }

    /// The same daemon, started anew.
    fn restart(self) -> Stage {
        let settings = Settings::default();
        let finder = finder(settings, &self.world, &self.store, &self.table, &self.clock);
        Stage { finder, ..self }
    }

    fn passes(&self, span: Duration) {
        let mut now = self.clock.0.lock().unwrap();
        *now = *now + span;
    }

    fn page(&self, host: &str, page: Result<Vec<u8>, FetchError>) {
        self.world.pages.lock().unwrap().insert(host.into(), page);
    }

    /// The domain's directory has this.
    fn publish(&self, certificates: &[&Certificate]) {
        self.page(ADVANCED, Ok(binary(certificates)));
    }

    /// Looks it up and gives what was asked.
    async fn look_up(&self, address: &str) -> (Sought, Vec<String>) {
        let address = Mailbox::parse(address).unwrap();
        let sought = self.finder.look_up(&address).await;
        (
            sought,
            std::mem::take(&mut self.world.asked.lock().unwrap()),
        )
    }

    async fn anna(&self) -> (Sought, usize) {
        let (sought, asked) = self.look_up("anna@clinic.example").await;
        (sought, asked.len())
    }

    async fn look(&self) -> (Ended, Vec<&'static str>) {
        let lookup = self.finder.look(&anna()).await;
        let became = lookup.offered.iter().map(|one| one.became.as_str());
        (lookup.ended, became.collect())
    }

    /// The key that is used, and why others aren't.
    fn used(&self) -> Result<String, Vec<Refusal>> {
        let authorities = Authorities::default();
        let terms = Terms {
            least: Trust::Discovered,
            authorities: &authorities,
            now: self.clock.now(),
        };
        let keys = self.store.current().unwrap();
        match keys.choose(&anna(), Kind::OpenPgp, &terms) {
            Ok(chosen) => Ok(chosen.key.fingerprint()),
            Err(no) => Err(no.refused.into_iter().map(|(_, why)| why).collect()),
        }
    }
}

fn finder(
    settings: Settings,
    world: &Arc<World>,
    store: &Arc<KeyStore>,
    table: &Arc<MemoryTable>,
    clock: &Arc<HandClock>,
) -> Arc<Finder> {
    Arc::new(Finder::new(
        settings,
        world.clone(),
        store.clone(),
        table.clone(),
        clock.clone(),
    ))
}

fn binary(certificates: &[&Certificate]) -> Vec<u8> {
    let binary = certificates.iter().map(|one| one.to_binary().unwrap());
    binary.collect::<Vec<_>>().concat()
}

fn annas() -> Certificate {
    public(&key(CipherSuite::Cv25519))
}

fn made_at(time: &str) -> Certificate {
    let builder = builder(CipherSuite::Cv25519)
        .set_creation_time(crate::protect::system_time(at(time)))
        .add_transport_encryption_subkey();
    public(&builder.generate().unwrap().0)
}

fn failed(sought: Sought) -> LookupError {
    match sought {
        Sought::Failed(error) => error,
        Sought::Looked => panic!("nothing failed"),
    }
}

#[tokio::test]
async fn a_key_is_found_once_and_looked_up_again_after_a_day() {
    let stage = Stage::new();
    let one = annas();
    stage.publish(&[&one]);
    let (sought, asked) = stage.look_up("anna@clinic.example").await;
    assert_eq!((sought, asked), (Sought::Looked, vec![ADVANCED.to_owned()]));
    assert_eq!(stage.used(), Ok(one.fingerprint()));
    assert_eq!(stage.anna().await, (Sought::Looked, 0));
    let (sought, asked) = stage.look_up("ANNA@Clinic.example").await;
    assert_eq!((sought, asked.len()), (Sought::Looked, 0));
    stage.passes(19 * HOUR);
    let stage = stage.restart();
    assert_eq!(stage.anna().await, (Sought::Looked, 0));
    stage.passes(5 * HOUR);
    assert_eq!(stage.anna().await, (Sought::Looked, 1));
    let keys = stage.store.current().unwrap();
    let seen = keys.all().next().unwrap().seen.unwrap();
    assert_eq!(seen, stage.clock.now());
    // No longer published: it stays in use.
    stage.page(ADVANCED, Err(FetchError::Status(404)));
    stage.passes(25 * HOUR);
    assert_eq!(stage.anna().await, (Sought::Looked, 1));
    assert_eq!(stage.used(), Ok(one.fingerprint()));
    assert_eq!(stage.anna().await, (Sought::Looked, 0));
}

#[tokio::test]
async fn the_direct_method_only_where_dns_has_no_advanced_host() {
    let stage = Stage::new();
    stage.page(DIRECT, Ok(binary(&[&annas()])));
    let (_, asked) = stage.look_up("anna@clinic.example").await;
    assert_eq!(asked, [ADVANCED, DIRECT]);
    assert!(stage.used().is_ok());
    // Which is known for all of the domain then, and after a restart.
    let stage = stage.restart();
    let (_, asked) = stage.look_up("bernd@clinic.example").await;
    assert_eq!(asked, [DIRECT]);
    stage.passes(HOUR);
    let (_, asked) = stage.look_up("carla@clinic.example").await;
    assert_eq!(asked, [ADVANCED, DIRECT]);
    for error in [
        FetchError::Status(404),
        FetchError::Unreachable,
        FetchError::Dns,
        FetchError::Certificate(crate::types::Reason::CertificateName),
        FetchError::Blocked,
        FetchError::Redirect(301),
    ] {
        let stage = Stage::new();
        stage.page(DIRECT, Ok(binary(&[&annas()])));
        stage.page(ADVANCED, Err(error));
        let (_, asked) = stage.look_up("anna@clinic.example").await;
        assert_eq!(asked, [ADVANCED], "{error}");
        assert_eq!(stage.used(), Err(vec![]));
    }
}

#[tokio::test]
async fn a_definite_no_is_remembered_for_an_hour() {
    for (answer, of_domain) in [
        (Err(FetchError::Status(404)), false),
        (Err(FetchError::Status(403)), false),
        (Err(FetchError::TooLarge), false),
        (Ok(b"<html>Welcome</html>".to_vec()), false),
        (Ok(Vec::new()), false),
        (Err(FetchError::Redirect(302)), false),
        (Err(FetchError::Blocked), true),
        (Err(FetchError::NoHost), true),
    ] {
        let stage = Stage::new();
        stage.page(ADVANCED, answer.clone());
        let (sought, asked) = stage.anna().await;
        assert_eq!(sought, Sought::Looked, "{answer:?}");
        assert!(asked > 0);
        let stage = stage.restart();
        assert_eq!(stage.anna().await, (Sought::Looked, 0), "{answer:?}");
        let (_, asked) = stage.look_up("bernd@clinic.example").await;
        assert_eq!(asked.is_empty(), of_domain, "{answer:?}");
        stage.passes(HOUR - MINUTE);
        assert_eq!(stage.anna().await.1, 0, "{answer:?}");
        stage.passes(MINUTE);
        assert!(stage.anna().await.1 > 0, "{answer:?}");
    }
}

#[tokio::test]
async fn a_failure_is_none_and_rests_for_five_minutes() {
    for (error, of_domain) in [
        (FetchError::Dns, true),
        (FetchError::Unreachable, true),
        (FetchError::TimedOut, true),
        (FetchError::Handshake, true),
        (FetchError::Status(429), true),
        (FetchError::Status(500), false),
        (FetchError::Protocol, false),
    ] {
        let stage = Stage::new();
        stage.page(ADVANCED, Err(error));
        let start = stage.clock.now();
        let (sought, asked) = stage.anna().await;
        let told = LookupError {
            cause: Cause::Fetch(error),
            since: start,
        };
        assert_eq!((failed(sought), asked), (told, 1));
        stage.passes(4 * MINUTE);
        let (sought, asked) = stage.anna().await;
        assert_eq!((failed(sought), asked), (told, 0));
        let (_, asked) = stage.look_up("bernd@clinic.example").await;
        assert_eq!(asked.is_empty(), of_domain, "{error}");
        stage.passes(MINUTE);
        let (sought, asked) = stage.anna().await;
        assert_eq!((failed(sought), asked), (told, 1));
        // It is over, and begins anew.
        stage.publish(&[&annas()]);
        stage.passes(5 * MINUTE);
        assert_eq!(stage.anna().await, (Sought::Looked, 1));
        stage.page(ADVANCED, Err(error));
        stage.passes(25 * HOUR);
        let (sought, _) = stage.anna().await;
        assert_eq!(failed(sought).since, stage.clock.now());
        assert!(stage.used().is_ok(), "what is known stays in use");
    }
}

#[tokio::test]
async fn what_can_not_be_used_is_not_taken() {
    let stage = Stage::new();
    let year = public(&for_a_year().generate().unwrap().0);
    let other = builder(CipherSuite::Cv25519).generate().unwrap().0;
    let bernd = sequoia_openpgp::cert::CertBuilder::new()
        .add_userid("Bernd <bernd@clinic.example>")
        .add_transport_encryption_subkey();
    let bernd = public(&bernd.generate().unwrap().0);
    let (_, revoked) = revoked_later();
    for (certificate, wanted) in [
        (&bernd, "other-address"),
        (&revoked, "revoked"),
        (&public(&other), "not-for-encryption"),
    ] {
        stage.publish(&[certificate]);
        assert_eq!(stage.look().await, (Ended::Unusable, vec![wanted]));
        assert_eq!(stage.used(), Err(vec![]));
    }
    stage.passes(400 * 24 * HOUR);
    stage.publish(&[&year]);
    assert_eq!(stage.look().await, (Ended::Unusable, vec!["expired"]));
    // Beside them one that can be.
    let good = annas();
    stage.page(
        ADVANCED,
        Ok([binary(&[&bernd, &year, &good, &revoked]), b"junk".to_vec()].concat()),
    );
    let (ended, became) = stage.look().await;
    assert_eq!((ended, became[0]), (Ended::Found, "new"));
    assert_eq!(stage.used(), Ok(good.fingerprint()));
    // And armored, which the draft does not want, but tools do.
    stage.page(ADVANCED, Ok(good.to_armored().unwrap()));
    assert_eq!(stage.look().await, (Ended::Found, vec!["kept"]));
}

/// A secret key that somebody published by mistake is no certificate.
#[tokio::test]
async fn a_secret_key_is_left_where_it_is() {
    use sequoia_openpgp::serialize::SerializeInto;
    let stage = Stage::new();
    let secret = key(CipherSuite::Cv25519).as_tsk().to_vec().unwrap();
    stage.page(ADVANCED, Ok(secret));
    let absent = Ended::Absent(Absent::NoCertificate);
    assert_eq!(stage.look().await, (absent, vec![]));
}

#[tokio::test]
async fn others_user_ids_are_cut() {
    let stage = Stage::new();
    let both = builder(CipherSuite::Cv25519)
        .add_userid("Anna <anna@home.example>")
        .add_userid("ANNA@clinic.example")
        .add_transport_encryption_subkey();
    stage.publish(&[&public(&both.generate().unwrap().0)]);
    assert_eq!(stage.look().await.0, Ended::Found);
    let keys = stage.store.current().unwrap();
    let addresses = keys.all().next().unwrap().certificate.addresses();
    assert!(addresses.iter().all(|a| a.host() == anna().host()));
    assert_eq!(addresses.len(), 2);
}

#[tokio::test]
async fn a_changed_key_awaits_approval_and_the_old_one_stays_in_use() {
    let stage = Stage::new();
    let (old, new) = (annas(), made_at("2026-06-01T00:00:00Z"));
    stage.publish(&[&old]);
    assert_eq!(stage.look().await, (Ended::Found, vec!["new"]));
    stage.publish(&[&new]);
    assert_eq!(stage.look().await, (Ended::Found, vec!["awaits-approval"]));
    assert_eq!(stage.look().await, (Ended::Found, vec!["awaits-approval"]));
    assert_eq!(stage.used(), Ok(old.fingerprint()));
    // Both, as it should be done: the old one is known, the newer one waits.
    stage.publish(&[&new, &old]);
    let (ended, mut became) = stage.look().await;
    became.sort_unstable();
    assert_eq!(
        (ended, became),
        (Ended::Found, vec!["awaits-approval", "kept"])
    );
    stage.store.approve(&new.fingerprint()).unwrap();
    assert_eq!(stage.used(), Ok(new.fingerprint()));
    assert_eq!(
        stage.look().await,
        (Ended::Found, vec!["kept", "passed-over"])
    );
}

/// Whoever takes their key back is heard, whatever else is published.
#[tokio::test]
async fn a_revocation_is_taken_in() {
    let stage = Stage::new();
    let (good, revoked) = revoked_later();
    stage.publish(&[&good]);
    assert_eq!(stage.look().await, (Ended::Found, vec!["new"]));
    let new = made_at("2026-07-01T00:00:00Z");
    stage.publish(&[&revoked, &new]);
    let (ended, became) = stage.look().await;
    assert_eq!(ended, Ended::Found);
    assert_eq!(became, ["awaits-approval", "revoked"]);
    assert_eq!(
        stage.used(),
        Err(vec![Refusal::AwaitsApproval, Refusal::Revoked])
    );
    // An older copy does not bring it back.
    stage.publish(&[&good]);
    stage.look().await;
    assert!(stage.used().unwrap_err().contains(&Refusal::Revoked));
    // Nor did it take the one that an operator added by hand with it.
    let mine = AnyCertificate::OpenPgp(annas());
    let AnyCertificate::OpenPgp(one) = &mine else {
        unreachable!("OpenPGP")
    };
    let now = stage.clock.now();
    stage.store.add(&one.to_armored().unwrap(), now).unwrap();
    assert_eq!(stage.used(), Ok(mine.fingerprint()));
}

#[tokio::test(start_paused = true)]
async fn one_look_for_all_who_wait() {
    let stage = Stage::new();
    stage.publish(&[&annas()]);
    *stage.world.delay.lock().unwrap() = Duration::from_secs(2);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let finder = Arc::clone(&stage.finder);
        tasks.spawn(async move { finder.look_up(&anna()).await });
    }
    while let Some(sought) = tasks.join_next().await {
        assert_eq!(sought.unwrap(), Sought::Looked);
    }
    assert_eq!(stage.world.asked.lock().unwrap().len(), 1);
}

/// A message to a thousand at one domain.
#[tokio::test(start_paused = true)]
async fn a_domain_is_asked_a_few_at_a_time_and_so_many_a_minute() {
    let stage = Stage::new();
    stage.page(ADVANCED, Err(FetchError::Status(404)));
    *stage.world.delay.lock().unwrap() = Duration::from_millis(50);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..1_000 {
        let finder = Arc::clone(&stage.finder);
        let address = Mailbox::parse(&format!("p{number}@clinic.example")).unwrap();
        tasks.spawn(async move { finder.look_up(&address).await });
    }
    let (mut looked, mut busy) = (0, 0);
    while let Some(sought) = tasks.join_next().await {
        match sought.unwrap() {
            Sought::Looked => looked += 1,
            Sought::Failed(error) => {
                assert_eq!(error.cause, Cause::Busy);
                busy += 1;
            }
        }
    }
    assert!(looked >= 100 && busy > 0, "{looked} {busy}");
    assert_eq!(stage.world.asked.lock().unwrap().len(), looked);
    assert!(stage.world.most.load(Ordering::SeqCst) <= 4);
    // Without a host, one look is all it takes.
    let stage = Stage::new();
    for number in 0..1_000 {
        let (sought, _) = stage.look_up(&format!("p{number}@none.example")).await;
        assert_eq!(sought, Sought::Looked);
    }
    assert!(stage.finder.memory_len() <= 2);
}

#[tokio::test]
async fn what_is_remembered_is_bounded() {
    let stage = Stage::with(Settings {
        cache: 20,
        ..Settings::default()
    });
    stage.page(ADVANCED, Err(FetchError::Status(404)));
    for number in 0..40 {
        stage.look_up(&format!("p{number}@clinic.example")).await;
        stage.passes(Duration::from_secs(1));
    }
    assert!(stage.finder.memory_len() <= 20);
    assert!(stage.table.all().unwrap().len() <= 20);
    let (_, asked) = stage.look_up("p39@clinic.example").await;
    assert_eq!(asked.len(), 0, "the newest are remembered");
    // No address lies in it.
    for (key, value) in stage.table.all().unwrap() {
        assert!(!String::from_utf8_lossy(&[key, value].concat()).contains('@'));
    }
}

#[tokio::test]
async fn what_needs_no_look_gets_none() {
    let stage = Stage::new();
    let (sought, asked) = stage.look_up("anna@[192.0.2.1]").await;
    assert_eq!((sought, asked.len()), (Sought::Looked, 0));
    let off = Settings {
        wkd: false,
        ..Settings::default()
    };
    stage.finder.renew(off, stage.world.clone());
    assert_eq!(stage.anna().await, (Sought::Looked, 0));
    assert_eq!(stage.look().await.0, Ended::Absent(Absent::Off));
}

/// An answer that can't be stored is none.
#[tokio::test]
async fn a_store_that_fails_is_told() {
    let stage = Stage::new();
    std::fs::write(stage.folder.path().join("keys"), "no folder").unwrap();
    stage.publish(&[&annas()]);
    let (sought, _) = stage.anna().await;
    assert_eq!(failed(sought).cause, Cause::Store);
}

#[tokio::test]
async fn a_table_with_nonsense_and_one_with_old_things() {
    let stage = Stage::new();
    stage.table.put(b"x", b"junk").unwrap();
    stage.publish(&[&annas()]);
    stage.anna().await;
    let stage = stage.restart();
    assert_eq!(stage.table.all().unwrap().len(), 1);
    stage.passes(31 * 24 * HOUR);
    let stage = stage.restart();
    assert_eq!(stage.table.all().unwrap().len(), 0);
}
