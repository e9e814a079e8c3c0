//! How much is logged.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The least weight of a log line that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What is broken.
    Error,
    /// And what an operator should look at.
    Warn,
    /// And what becomes of messages.
    #[default]
    Info,
    /// And what becomes of connections.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    const ALL: [Self; 5] = [
        Self::Error,
        Self::Warn,
        Self::Info,
        Self::Debug,
        Self::Trace,
    ];

    /// The word that the configuration and the command line use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No such level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be error, warn, info, debug or trace")]
pub struct LogLevelError;

impl FromStr for LogLevel {
    type Err = LogLevelError;
    fn from_str(text: &str) -> Result<Self, LogLevelError> {
        Self::ALL
            .into_iter()
            .find(|level| level.as_str() == text)
            .ok_or(LogLevelError)
    }
}
