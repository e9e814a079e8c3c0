//! Logs to stderr, and panics that tell no content.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Sends logs to stderr. Level `info`, or what `POSTERN_LOG` says. systemd's
/// journal stamps lines itself, so there the time is left out.
pub(super) fn start() {
    let filter = EnvFilter::try_from_env("POSTERN_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    // A second start in one process (tests) keeps the first.
    let _ = if std::env::var_os("JOURNAL_STREAM").is_some() {
        lines.without_time().try_init()
    } else {
        lines.try_init()
    };
}

/// A panic's message may quote what it choked on, so only its place is told.
pub(super) fn hush_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!("internal fault at {place}; please report it");
    }));
}
