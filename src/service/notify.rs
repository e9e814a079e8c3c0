//! What the service manager is told (sd_notify(3)): ready, reloading, stopping, still well.
//!
//! Holds always: "still well" is said only after the queue's dispatcher and the
//! store both answered in time. A daemon that takes mail in and hands none on is
//! worse than one that is restarted; what was accepted is safe either way.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::queue::Questions;
use crate::spool::Store;

/// READY=1.
pub(super) fn ready() {
    notify(&[NotifyState::Ready]);
}

/// RELOADING=1, with the time that systemd wants with it for `Type=notify-reload`
/// and ignores otherwise.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(e) => tracing::warn!("the service manager can't be told of a reload: {e}"),
    }
}

/// STOPPING=1.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Keeps the watchdog quiet while all is well, if the unit has one.
pub(super) fn watchdog(store: Arc<dyn Store>, queue: Questions) -> Option<JoinHandle<()>> {
    let limit = sd_notify::watchdog_enabled()?;
    let check = move || {
        let (store, queue) = (Arc::clone(&store), queue.clone());
        async move { store.stats().await.is_ok() && queue.ask().await.is_some() }
    };
    let tell = || notify(&[NotifyState::Watchdog]);
    Some(tokio::spawn(keep(limit / 2, check, tell)))
}

/// Looks twice in the watchdog's time, as sd_watchdog_enabled(3) advises.
async fn keep<F: Future<Output = bool>>(every: Duration, check: impl Fn() -> F, tell: impl Fn()) {
    loop {
        match timeout(every / 2, check()).await {
            Ok(true) => tell(),
            Ok(false) => {
                tracing::error!("watchdog: the queue has ended or the spool can't be read")
            }
            Err(_) => tracing::error!("watchdog: the queue or the spool does not answer"),
        }
        sleep(every).await;
    }
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(state) {
        tracing::warn!("the service manager can't be told: {e}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// How many pings go out in ten seconds of a watchdog that wants one in two.
    async fn pings<F: Future<Output = bool> + Send + 'static>(
        check: impl Fn() -> F + Send + Sync + 'static,
    ) -> u32 {
        let told = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&told);
        let tell = move || {
            count.fetch_add(1, Ordering::Relaxed);
        };
        let task = tokio::spawn(keep(Duration::from_secs(1), check, tell));
        sleep(Duration::from_millis(9_500)).await;
        task.abort();
        told.load(Ordering::Relaxed)
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_answers_keeps_the_watchdog_quiet() {
        assert_eq!(pings(|| std::future::ready(true)).await, 10);
        assert_eq!(pings(|| std::future::ready(false)).await, 0);
        assert_eq!(pings(std::future::pending).await, 0);
    }
}
