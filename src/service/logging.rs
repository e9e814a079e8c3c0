//! Logs to stderr, at a level that can be changed while the daemon runs, and
//! panics that tell no content.
//!
//! Holds always: the level is that of Postern's own lines; libraries are heard
//! from `warn` on at whatever level, since nobody vouches for what they say
//! below it. `POSTERN_LOG` goes before the configuration.

use std::fmt;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use super::json_lines::JsonLines;
use crate::config::{LogFormat, LogSettings};
use crate::sys::metrics::{Counter, Page};
use crate::types::LogLevel;

/// The way to change the level of the running daemon.
#[derive(Clone)]
pub(super) struct LogControl {
    filter: reload::Handle<EnvFilter, Registry>,
    /// What the configuration says; shared, since a reload may change it.
    configured: Arc<Mutex<LogLevel>>,
    /// `POSTERN_LOG` is set, which goes before the configuration.
    by_environment: bool,
    /// Lines that a person should see.
    lines: Arc<Counter<1>>,
    /// What will set the level back.
    pending: Arc<Mutex<Option<AbortHandle>>>,
}

/// Sends logs to stderr. systemd's journal stamps lines itself, so there the time
/// is left out of text lines.
pub(super) fn start(settings: LogSettings) -> LogControl {
    let asked = EnvFilter::try_from_env("POSTERN_LOG");
    let by_environment = asked.is_ok();
    let filter = asked.unwrap_or_else(|_| filter(settings.level));
    let (filter, handle) = reload::Layer::new(filter);
    let ansi = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match settings.format {
        LogFormat::Json => lines.event_format(JsonLines).boxed(),
        LogFormat::Text => {
            let lines = lines.with_target(false).with_ansi(ansi);
            match std::env::var_os("JOURNAL_STREAM") {
                Some(_) => lines.without_time().boxed(),
                None => lines.boxed(),
            }
        }
    };
    let tally = Arc::new(Counter::with([["error"], ["warn"]]));
    // A second start in one process (tests) keeps the first.
    let _ = tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .with(Tally(Arc::clone(&tally)))
        .try_init();
    LogControl {
        filter: handle,
        configured: Arc::new(Mutex::new(settings.level)),
        by_environment,
        lines: tally,
        pending: Arc::default(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts what is logged.
struct Tally(Arc<Counter<1>>);

impl<S: Subscriber> Layer<S> for Tally {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        match *event.metadata().level() {
            Level::ERROR => self.0.count(["error"]),
            Level::WARN => self.0.count(["warn"]),
            _ => {}
        }
    }
}

fn filter(level: LogLevel) -> EnvFilter {
    let others = match level {
        LogLevel::Error => LogLevel::Error,
        _ => LogLevel::Warn,
    };
    EnvFilter::new(format!("{others},postern={level}"))
}

impl LogControl {
    /// Writes what there is to see of the log.
    pub(super) fn write_figures(&self, page: &mut Page) {
        page.counter(
            "postern_log_lines_total",
            "Lines of the log that a person should see, by level.",
            ["level"],
            &self.lines,
        );
    }

    /// Goes by the level of a configuration that was reloaded, if that is another one
    /// than before; at once, or when a change for a while is over.
    pub(super) fn configure(&self, level: LogLevel) {
        let before = std::mem::replace(&mut *lock(&self.configured), level);
        let pending = lock(&self.pending);
        let for_a_while = pending.as_ref().is_some_and(|back| !back.is_finished());
        if before == level || self.by_environment || for_a_while {
            return;
        }
        match self.filter.reload(filter(level)) {
            Ok(()) => tracing::warn!("log level changed: now={level}"),
            Err(error) => tracing::error!("the log's level can't be changed: {error}"),
        }
    }

    /// Changes the level, for good or for a while; then it is the configured one
    /// again. Needs a tokio runtime.
    ///
    /// # Errors
    /// If logs go elsewhere.
    pub(super) fn set(&self, level: LogLevel, span: Option<Duration>) -> Result<(), String> {
        let mut pending = lock(&self.pending);
        if let Some(earlier) = pending.take() {
            earlier.abort();
        }
        self.filter
            .reload(filter(level))
            .map_err(|e| e.to_string())?;
        let Some(span) = span else {
            tracing::warn!("log level changed: now={level}");
            return Ok(());
        };
        tracing::warn!("log level changed: now={level} for={}s", span.as_secs());
        let this = self.clone();
        let back = tokio::spawn(async move {
            tokio::time::sleep(span).await;
            let level = *lock(&this.configured);
            // Whoever asked was answered long ago.
            if this.filter.reload(filter(level)).is_ok() {
                tracing::warn!("log level changed: now={level}");
            }
        });
        *pending = Some(back.abort_handle());
        Ok(())
    }
}

impl fmt::Debug for LogControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogControl").finish_non_exhaustive()
    }
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
