//! Signals of the service manager.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What the daemon is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// To stop (SIGTERM, SIGINT).
    Stop,
    /// To read its configuration anew (SIGHUP).
    Reload,
}

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

    /// Waits for the next one.
    pub(super) async fn next(&mut self) -> Told {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.hangup.recv() => Told::Reload,
        }
    }
}
