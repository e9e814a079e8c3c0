//! Durations and sizes as people write them: `90s`, `15m`, `4h`, `5d`, `50MiB`.
//!
//! Owns both directions, so that what the configuration reads is what listings
//! print. Called by the configuration and the command line.

use std::time::Duration;

/// A text that is no duration or size, with what one looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a duration.
    #[error("not a duration (write a whole number with s, m, h or d, e.g. \"15m\")")]
    Duration,
    /// Not a size.
    #[error("not a size (write a whole number with B, KiB, MiB or GiB, e.g. \"50MiB\")")]
    Size,
}

/// Seconds in each unit, largest first.
const SPANS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
/// Octets in each unit, largest first.
const SIZES: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// Reads a duration: `90s`, `15m`, `4h`, `5d`.
///
/// # Errors
/// [`UnitError::Duration`].
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    read(text, &SPANS)
        .map(Duration::from_secs)
        .ok_or(UnitError::Duration)
}

/// Reads a size in octets: `512B`, `64KiB`, `50MiB`, `20GiB`.
///
/// # Errors
/// [`UnitError::Size`].
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    read(text, &SIZES).ok_or(UnitError::Size)
}

/// Prints a duration in the largest unit that divides it.
#[must_use]
pub fn print_duration(span: Duration) -> String {
    print(span.as_secs(), &SPANS)
}

/// Prints a size in the largest unit that divides it.
#[must_use]
pub fn print_size(octets: u64) -> String {
    print(octets, &SIZES)
}

fn read(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn print(value: u64, units: &[(&str, u64)]) -> String {
    let (name, factor) = units
        .iter()
        .find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor))
        .unwrap_or(&units[units.len() - 1]);
    format!("{}{name}", value / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        for text in ["90s", "15m", "4h", "5d", "0s"] {
            assert_eq!(print_duration(parse_duration(text).unwrap()), text);
        }
        for text in ["50MiB", "20GiB", "64KiB", "7B", "0B"] {
            assert_eq!(print_size(parse_size(text).unwrap()), text);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "5",
            "m",
            "1.5h",
            "-1s",
            "5 m",
            "1w",
            "99999999999999999999d",
            "9223372036854775807d",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        for text in ["50MB", "50", "MiB", "18446744073709551615GiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
