//! `[keys]`: how recipients' keys are found.

use std::time::Duration;

use super::reader::Section;
use super::word;
use crate::protect::discovery::Settings;
use crate::types::units::parse_duration;

/// Times at least, so that nobody is asked at every message.
const LEAST: Duration = Duration::from_secs(60);
/// And at most: what was revoked should be known within a month.
const MOST: Duration = Duration::from_secs(30 * 24 * 3600);

pub(super) fn read(top: &Section<'_, '_, '_>) -> Settings {
    let default = Settings::default();
    let section = top.section("keys");
    let ways = section.list("discovery", |text| word(text, &[("wkd", ())]));
    let span = |text: &str| match parse_duration(text) {
        Ok(span) if span < LEAST => Err("must be 1m or more".to_owned()),
        Ok(span) if span > MOST => Err("must be 30d or less".to_owned()),
        other => other.map_err(|e| e.to_string()),
    };
    let refresh = section.parsed("refresh", span);
    let not_found = section.parsed("not_found", span);
    let cache = section.number("cache", 100..=1_000_000);
    section.finish();
    Settings {
        wkd: ways.map_or(default.wkd, |ways| !ways.is_empty()),
        refresh: refresh.unwrap_or(default.refresh),
        not_found: not_found.unwrap_or(default.not_found),
        cache: cache.unwrap_or(default.cache),
    }
}
