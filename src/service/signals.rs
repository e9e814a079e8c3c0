//! Signals of the service manager.

use tokio::signal::unix::{SignalKind, signal};

/// Waits until the daemon is told to stop (SIGTERM, SIGINT).
///
/// # Errors
/// If signals can't be received.
pub(super) async fn stop() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => tracing::warn!(
                "SIGHUP: certificates and accounts are reloaded by themselves; \
                 for the rest of the configuration restart the service"
            ),
        }
    }
}
