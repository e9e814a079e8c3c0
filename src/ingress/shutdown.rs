//! When to stop: idle sessions at once, the others after a while.
//!
//! Called by the listeners and the socket tasks.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// One task's view of the shutdown.
#[derive(Debug, Clone)]
pub(super) struct Shutdown {
    asked: watch::Receiver<bool>,
    deadline: Option<Instant>,
}

impl Shutdown {
    pub(super) fn new(asked: watch::Receiver<bool>) -> Self {
        Self {
            asked,
            deadline: None,
        }
    }

    /// Waits until a shutdown is asked for (or whoever could ask is gone).
    pub(super) async fn asked(&mut self) {
        let _ = self.asked.wait_for(|asked| *asked).await;
        self.deadline.get_or_insert_with(|| Instant::now() + GRACE);
    }

    /// Waits until a session must end: at once when asked if it is idle, else
    /// [`GRACE`] later.
    pub(super) async fn due(&mut self, idle: bool) {
        self.asked().await;
        if let (false, Some(deadline)) = (idle, self.deadline) {
            sleep_until(deadline).await;
        }
    }
}

/// What a session in a transaction gets (design section 4.1, `serve`).
const GRACE: Duration = Duration::from_secs(10);
