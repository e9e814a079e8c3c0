//! Logins, with the clock paused.

use super::*;
use crate::ingress::accounts::{self, tests::cheap_hash};
use crate::ingress::remembered::KEPT;
use crate::ingress::throttle::{FAILURES_MAX, WINDOW};
use crate::sys::SystemEntropy;
use zeroize::Zeroizing;

struct Fixture {
    folder: tempfile::TempDir,
    auth: Arc<Authenticator>,
}

const CLIENT: &str = "192.0.2.1";

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fixture = |folder: &tempfile::TempDir| folder.path().join("accounts.toml");
        write(&fixture(&folder), &cheap_hash());
        let file = AccountsFile::open(fixture(&folder)).unwrap();
        let auth = Authenticator::new(file, &SystemEntropy::default()).unwrap();
        Self {
            folder,
            auth: Arc::new(auth),
        }
    }

    async fn verify(&self, client: &str, name: &str, password: &str) -> Verdict {
        let login = Login {
            name: name.to_owned(),
            password: Zeroizing::new(password.as_bytes().to_vec()),
        };
        self.auth.verify(client.parse().unwrap(), login).await
    }
}

fn write(path: &std::path::Path, hash: &str) {
    let text =
        format!("[[account]]\nname = \"scanner\"\nhash = {hash:?}\nsenders = [\"@x.example\"]\n");
    std::fs::write(path, text).unwrap();
}

#[tokio::test(start_paused = true)]
async fn right_wrong_and_unknown() {
    let f = Fixture::new();
    assert!(matches!(
        f.verify(CLIENT, "Scanner", "secret").await,
        Verdict::Accepted(account) if account.name() == "scanner"
    ));
    assert!(matches!(
        f.verify(CLIENT, "scanner", "wrong").await,
        Verdict::Refused
    ));
    assert!(matches!(
        f.verify(CLIENT, "nobody", "secret").await,
        Verdict::Refused
    ));
    assert!(matches!(
        f.verify(CLIENT, "scanner", "").await,
        Verdict::Refused
    ));
}

#[tokio::test(start_paused = true)]
async fn failures_are_slowed_and_limited_per_client() {
    let f = Fixture::new();
    let begun = Instant::now();
    f.verify(CLIENT, "scanner", "wrong").await;
    let first = begun.elapsed();
    f.verify(CLIENT, "scanner", "wrong").await;
    assert!(begun.elapsed() > first * 2, "the second waits longer");
    for _ in 2..FAILURES_MAX {
        f.verify(CLIENT, "scanner", "wrong").await;
    }
    assert!(matches!(
        f.verify(CLIENT, "scanner", "secret").await,
        Verdict::Limited
    ));
    assert!(matches!(
        f.verify("192.0.2.2", "scanner", "secret").await,
        Verdict::Accepted(_)
    ));
    tokio::time::advance(WINDOW).await;
    assert!(matches!(
        f.verify(CLIENT, "scanner", "secret").await,
        Verdict::Accepted(_)
    ));
}

#[tokio::test(start_paused = true)]
async fn a_remembered_credential_ends_with_the_password_or_after_a_while() {
    let f = Fixture::new();
    let known = async || {
        let login = Login {
            name: "scanner".into(),
            password: Zeroizing::new(b"secret".to_vec()),
        };
        f.auth.find(&login).await.unwrap().1
    };
    assert!(!known().await);
    f.verify(CLIENT, "scanner", "secret").await;
    assert!(known().await);
    tokio::time::advance(KEPT).await;
    assert!(!known().await);

    f.verify(CLIENT, "scanner", "secret").await;
    assert!(known().await);
    let path = f.folder.path().join("accounts.toml");
    accounts::remove(&path, "scanner").unwrap();
    let senders = ["@x.example".to_owned()];
    accounts::add(
        &path,
        "scanner",
        "other",
        &senders,
        &SystemEntropy::default(),
    )
    .unwrap();
    assert!(!known().await);
    assert!(matches!(
        f.verify(CLIENT, "scanner", "secret").await,
        Verdict::Refused
    ));
    assert!(matches!(
        f.verify(CLIENT, "scanner", "other").await,
        Verdict::Accepted(_)
    ));
    accounts::remove(&path, "scanner").unwrap();
    assert!(matches!(
        f.verify(CLIENT, "scanner", "other").await,
        Verdict::Refused
    ));
}

#[tokio::test(start_paused = true)]
async fn hashes_wait_for_a_core() {
    let f = Fixture::new();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut taken = Vec::new();
    for _ in 0..cores {
        taken.push(f.auth.hashing.turn(Repute::Good).await.unwrap());
    }
    assert!(matches!(
        f.verify(CLIENT, "scanner", "secret").await,
        Verdict::Unavailable
    ));
    drop(taken);
    assert!(matches!(
        f.verify(CLIENT, "scanner", "secret").await,
        Verdict::Accepted(_)
    ));
}

#[tokio::test(start_paused = true)]
async fn a_clients_repute_is_what_came_of_its_logins() {
    let f = Fixture::new();
    let key = ClientKey::of(CLIENT.parse().unwrap());
    let repute = || f.auth.throttle().repute(key, Instant::now());
    assert_eq!(repute(), Repute::Unknown);
    f.verify(CLIENT, "scanner", "secret").await;
    assert_eq!(repute(), Repute::Good);
    f.verify(CLIENT, "scanner", "wrong").await;
    assert_eq!(repute(), Repute::Failed);
    tokio::time::advance(WINDOW).await;
    assert_eq!(repute(), Repute::Good);
}

#[test]
fn names_in_logs_are_one_word() {
    assert_eq!(log_name("a b=\"c\"\u{fc}\\"), "a_b__c___");
    assert_eq!(log_name(&"x".repeat(300)).len(), 64);
}
