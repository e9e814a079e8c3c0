//! `[log]` and `[metrics]`: what the operator sees.

use std::net::SocketAddr;

use super::reader::Section;
use super::word;
use crate::types::LogLevel;

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogSettings {
    /// In which form.
    pub format: LogFormat,
    /// From which level on, until told otherwise.
    pub level: LogLevel,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people and grep.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

pub(super) fn read_log(top: &Section<'_, '_, '_>) -> LogSettings {
    let section = top.section("log");
    let format = section.parsed("format", |text| {
        let words = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        word(text, &words)
    });
    let level = section.parsed("level", str::parse);
    section.finish();
    LogSettings {
        format: format.unwrap_or_default(),
        level: level.unwrap_or_default(),
    }
}

/// Where metrics are served; `None`: nowhere.
pub(super) fn read_metrics(top: &Section<'_, '_, '_>) -> Option<SocketAddr> {
    let section = top.section("metrics");
    let bind = section.parsed("bind", |text| {
        text.parse::<SocketAddr>()
            .map_err(|_| "must be an address and a port, such as 127.0.0.1:9587")
    });
    if bind.is_none() && top.has("metrics") && !section.has("bind") {
        section.fault(section.line(), "metrics.bind is missing");
    }
    section.finish();
    bind
}
