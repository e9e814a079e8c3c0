//! What there is to see of discovery.

use super::Ended;
use crate::sys::metrics::{Counter, Page};

/// Looks, by what came of them.
#[derive(Debug)]
pub(super) struct Meters {
    looks: Counter<2>,
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            looks: Counter::with([
                ["found", "none"],
                ["absent", "no-key"],
                ["absent", "no-host"],
            ]),
        }
    }
}

impl Meters {
    pub(super) fn note(&self, ended: Ended) {
        self.looks.count(match ended {
            Ended::Found => ["found", "none"],
            Ended::Unusable => ["unusable", "none"],
            Ended::Absent(absent) => ["absent", absent.as_str()],
            Ended::Failed(error) => ["failed", error.cause.as_str()],
        });
    }

    pub(super) fn write(&self, page: &mut Page) {
        page.counter(
            "postern_key_lookups_total",
            "Recipients' keys looked up in key directories, by what came of it.",
            ["result", "reason"],
            &self.looks,
        );
    }
}
