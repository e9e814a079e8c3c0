//! Signals of the service manager.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What the daemon listens for.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// Listens for SIGHUP. From the very start: unheard it would end the process, and
/// a reload can be asked for while the spool is still being opened.
///
/// # Errors
/// If signals can't be received.
pub(super) fn hangup() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

impl Signals {
    /// Listens for the others too. Before the service manager is told that all is
    /// ready, and not much earlier: until then SIGTERM may end the process at once.
    ///
    /// # Errors
    /// If signals can't be received.
    pub(super) fn new(hangup: Signal) -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup,
        })
    }

    /// Waits until the daemon is told to stop (SIGTERM, SIGINT).
    pub(super) async fn stop(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => tracing::warn!(
                    "SIGHUP: certificates and accounts are reloaded by themselves; \
                     for the rest of the configuration restart the service"
                ),
            }
        }
    }
}
