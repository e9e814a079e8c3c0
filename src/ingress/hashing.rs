//! Whose password is looked at next.
//!
//! Holds always: at most as many hashes run at once as there are cores; a client
//! that has logged in before waits for no more hashes of strangers than there are
//! cores, however many they ask for, and whoever has failed of late has one at a
//! time, all such clients together. So a flood of wrong passwords slows itself
//! down. Called by `auth`.

use std::sync::Arc;
use std::time::Duration;

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
}

/// Leave to hash. To be held by the hash itself: a client that goes away frees no
/// core.
#[derive(Debug)]
pub(super) struct Turn {
    _core: OwnedSemaphorePermit,
    _gates: [Option<OwnedSemaphorePermit>; 2],
}

impl Hashing {
    pub(super) fn new(cores: usize) -> Self {
        Self {
            cores: Arc::new(Semaphore::new(cores)),
            unknown: Arc::new(Semaphore::new(cores)),
            failed: Arc::new(Semaphore::new(1)),
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

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_logins_holds_up_nobody_who_was_here_before() {
        let hashing = Arc::new(Hashing::new(2));
        flood(&hashing, Repute::Unknown, 500);
        sleep(HASH * 5).await;
        assert!(wait(&hashing, Repute::Good).await <= HASH * 2);
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
