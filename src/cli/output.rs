//! Printing: answers to stdout, complaints to stderr.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use serde::Serialize;

/// Prints a line. A closed pipe (`| head`) is no error.
pub(super) fn say(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Prints text that brings its own line ends.
pub(super) fn put(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// Prints a complaint.
pub(super) fn complain(what: impl Display) {
    let _ = writeln!(io::stderr(), "postern: {what}");
}

/// Prints what went wrong, and what to do where the cause is the system's.
pub(super) fn complain_of(error: &(dyn Error + 'static)) {
    match advice(error) {
        Some(advice) => complain(format_args!("{error}: {advice}")),
        None => complain(error),
    }
}

/// What to do about the system's error that is the cause, if one is.
fn advice(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return match error.kind() {
                ErrorKind::PermissionDenied => Some(NO_RIGHTS),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some("make room there first"),
                ErrorKind::ReadOnlyFilesystem => Some("mount it writable first"),
                _ => None,
            };
        }
        cause = error.source();
    }
    None
}

/// For somebody who may not do it.
pub(super) const NO_RIGHTS: &str = "try it as root (sudo)";

/// Prints a value as JSON, indented.
pub(super) fn json(value: &impl Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => say(text),
        Err(e) => complain(format_args!("can't print JSON: {e}")),
    }
}

/// Prints rows in columns as wide as their widest cell; the last is as it comes.
pub(super) fn columns<const N: usize>(rows: &[[String; N]]) {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        say(line.trim_end());
    }
}
