//! Whose password is looked at next, and in what memory.
//!
//! Holds always: at most as many hashes run at once as there are cores; a client
//! that has logged in before finds a core, where there are two or more, however
//! many hashes strangers ask for: they have all but one; and whoever has failed of
//! late has one at a time, all such clients together; the memory of a hash is used
//! again by the next one (given back to the allocator it would stay with each thread
//! that ever hashed, gigabytes in a flood). So a flood of wrong passwords slows
//! itself down. Called by `auth`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::password_hash::{PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use subtle::ConstantTimeEq;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// What is known of a client that wants to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repute {
    /// It logged in before and has not failed of late.
    Good,
    /// Neither.
    Unknown,
    /// It has failed of late.
    Failed,
}

/// The cores, and the gates before them: whoever stands before a gate is not yet
/// in the row for the cores.
#[derive(Debug)]
pub(super) struct Hashing {
    cores: Arc<Semaphore>,
    unknown: Arc<Semaphore>,
    failed: Arc<Semaphore>,
    memory: Arc<Memory>,
}

/// What no hash uses at the moment: one piece a core at most.
#[derive(Default)]
struct Memory(Mutex<Vec<Vec<Block>>>);

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Memory(..)")
    }
}

impl Memory {
    fn pieces(&self) -> std::sync::MutexGuard<'_, Vec<Vec<Block>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave to hash. To be held by the hash itself: a client that goes away frees no
/// core.
#[derive(Debug)]
pub(super) struct Turn {
    _core: OwnedSemaphorePermit,
    _gates: [Option<OwnedSemaphorePermit>; 2],
    memory: Arc<Memory>,
}

impl Turn {
    /// Whether a password is that of a hash (a PHC string). Takes a core for tens
    /// of milliseconds.
    pub(super) fn matches(self, hash: &str, password: &[u8]) -> bool {
        let mut piece = self.memory.pieces().pop().unwrap_or_default();
        let matches = matches(&mut piece, hash, password).unwrap_or(false);
        self.memory.pieces().push(piece);
        matches
    }
}

/// As [`argon2::PasswordVerifier`] does, in memory of ours. `None` for a hash that
/// is none.
fn matches(memory: &mut Vec<Block>, hash: &str, password: &[u8]) -> Option<bool> {
    let hash = PasswordHash::new(hash).ok()?;
    let params = Params::try_from(&hash).ok()?;
    let algorithm = Algorithm::try_from(hash.algorithm).ok()?;
    let version = match hash.version {
        Some(version) => Version::try_from(version).ok()?,
        None => Version::default(),
    };
    let mut salt = [0; Salt::MAX_LENGTH];
    let salt = hash.salt?.decode_b64(&mut salt).ok()?;
    let expected = hash.hash?;
    let mut found = vec![0; expected.len()];
    let blocks = params.block_count();
    if memory.len() < blocks {
        memory.resize(blocks, Block::default());
    }
    Argon2::new(algorithm, version, params)
        .hash_password_into_with_memory(password, salt, &mut found, memory.get_mut(..blocks)?)
        .ok()?;
    Some(found.ct_eq(expected.as_bytes()).into())
}

impl Hashing {
    pub(super) fn new(cores: usize) -> Self {
        Self {
            cores: Arc::new(Semaphore::new(cores)),
            unknown: Arc::new(Semaphore::new(cores.saturating_sub(1).max(1))),
            failed: Arc::new(Semaphore::new(1)),
            memory: Arc::default(),
        }
    }

    /// Waits for a turn; `None` if none came in time.
    pub(super) async fn turn(&self, repute: Repute) -> Option<Turn> {
        let waiting = async {
            let failed = match repute {
                Repute::Failed => Some(enter(&self.failed).await?),
                Repute::Unknown | Repute::Good => None,
            };
            let unknown = match repute {
                Repute::Failed | Repute::Unknown => Some(enter(&self.unknown).await?),
                Repute::Good => None,
            };
            let core = enter(&self.cores).await?;
            Some(Turn {
                _core: core,
                _gates: [failed, unknown],
                memory: Arc::clone(&self.memory),
            })
        };
        timeout(LONGEST_WAIT, waiting).await.ok()?
    }
}

async fn enter(gate: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    // None of them is ever closed.
    Arc::clone(gate).acquire_owned().await.ok()
}

/// How long a login may wait for a core.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Instant, sleep};

    /// What a hash takes, here.
    const HASH: Duration = Duration::from_millis(20);

    /// `n` clients of a repute that hash again and again.
    fn flood(hashing: &Arc<Hashing>, repute: Repute, n: usize) {
        for _ in 0..n {
            let hashing = Arc::clone(hashing);
            tokio::spawn(async move {
                loop {
                    let turn = hashing.turn(repute).await;
                    sleep(HASH).await;
                    drop(turn);
                }
            });
        }
    }

    async fn wait(hashing: &Hashing, repute: Repute) -> Duration {
        let begun = Instant::now();
        assert!(hashing.turn(repute).await.is_some());
        begun.elapsed()
    }

    /// By the library's own word, and in memory that served another hash before.
    #[test]
    fn passwords_match_their_hashes_alone() {
        use argon2::PasswordHasher;
        let salt = argon2::password_hash::SaltString::encode_b64(b"0123456789abcdef").unwrap();
        let hash = |m, p, length, password: &[u8]| {
            let params = Params::new(m, 1, p, length).unwrap();
            Argon2::new(Algorithm::Argon2id, Version::default(), params)
                .hash_password(password, &salt)
                .unwrap()
                .to_string()
        };
        let mut memory = Vec::new();
        for hash in [
            hash(64, 1, None, b"secret"),
            hash(8, 1, Some(64), b"secret"),
            hash(256, 4, None, b"secret"),
            hash(64, 2, Some(16), b"secret"),
        ] {
            assert_eq!(matches(&mut memory, &hash, b"secret"), Some(true));
            assert_eq!(matches(&mut memory, &hash, b"Secret"), Some(false));
            assert_eq!(matches(&mut memory, &hash, b""), Some(false));
        }
        assert_eq!(memory.len(), 256);
        assert_eq!(matches(&mut memory, "$argon2id$", b"secret"), None);
    }

    #[tokio::test]
    async fn as_many_pieces_of_memory_as_cores() {
        let hashing = Hashing::new(2);
        let hash = crate::ingress::accounts::tests::cheap_hash();
        for _ in 0..5 {
            let turns = [
                hashing.turn(Repute::Good).await,
                hashing.turn(Repute::Good).await,
            ];
            for turn in turns {
                assert!(turn.unwrap().matches(&hash, b"secret"));
            }
        }
        assert!(hashing.memory.pieces().len() <= 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_logins_holds_up_nobody_who_was_here_before() {
        let hashing = Arc::new(Hashing::new(2));
        flood(&hashing, Repute::Unknown, 500);
        sleep(HASH * 5).await;
        assert_eq!(wait(&hashing, Repute::Good).await, Duration::ZERO);
        assert!(wait(&hashing, Repute::Unknown).await > HASH * 200);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_failed_holds_up_nobody_who_has_not() {
        let hashing = Arc::new(Hashing::new(2));
        flood(&hashing, Repute::Failed, 500);
        sleep(HASH * 5).await;
        assert!(wait(&hashing, Repute::Unknown).await <= HASH * 2);
        assert!(wait(&hashing, Repute::Good).await <= HASH * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_does_not_come_is_told() {
        let hashing = Hashing::new(1);
        let _taken = hashing.turn(Repute::Good).await;
        for repute in [Repute::Good, Repute::Unknown, Repute::Failed] {
            assert!(hashing.turn(repute).await.is_none());
        }
    }
}
