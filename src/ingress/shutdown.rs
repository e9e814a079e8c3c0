//! When a session must end that has done nothing wrong: the daemon stops, or the
//! place is needed.
//!
//! Holds always: at a stop, idle sessions end at once, the others after a while;
//! whoever is displaced ends at once, as it has no transaction. Called by the
//! listeners and the socket tasks.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// One task's view of the shutdown.
#[derive(Debug, Clone)]
pub(super) struct Shutdown {
    asked: watch::Receiver<bool>,
    deadline: Option<Instant>,
    displaced: CancellationToken,
}

/// Why a session must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The daemon stops.
    Shutdown,
    /// Another connection needs the place.
    Displaced,
}

impl Shutdown {
    pub(super) fn new(asked: watch::Receiver<bool>) -> Self {
        Self {
            asked,
            deadline: None,
            displaced: CancellationToken::new(),
        }
    }

    /// The same for one connection, which may be displaced.
    pub(super) fn of_connection(&self, displaced: &CancellationToken) -> Self {
        Self {
            displaced: displaced.clone(),
            ..self.clone()
        }
    }

    /// Whether the connection was displaced.
    pub(super) fn is_displaced(&self) -> bool {
        self.displaced.is_cancelled()
    }

    /// Waits until a shutdown is asked for (or whoever could ask is gone).
    pub(super) async fn asked(&mut self) {
        let _ = self.asked.wait_for(|asked| *asked).await;
        self.deadline.get_or_insert_with(|| Instant::now() + GRACE);
    }

    /// Waits until a session must end: at a shutdown at once if it is idle, else
    /// [`GRACE`] later; where it is displaced, at once.
    pub(super) async fn due(&mut self, idle: bool) -> Ending {
        let displaced = self.displaced.clone();
        tokio::select! {
            biased;
            () = displaced.cancelled() => return Ending::Displaced,
            () = self.asked() => {}
        }
        if let (false, Some(deadline)) = (idle, self.deadline) {
            sleep_until(deadline).await;
        }
        Ending::Shutdown
    }
}

/// What a session in a transaction gets (design section 4.1, `serve`).
const GRACE: Duration = Duration::from_secs(10);
