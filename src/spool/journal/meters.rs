//! What there is to see of the spool, for the operator's dashboard.
//!
//! Owns the names of the metrics `postern_spool_*` and `postern_queue_*` that the
//! store knows of. Holds always: counting costs a commit nothing that shows;
//! figures that can't be had (the index is being rebuilt) are left out, never
//! made up. Fed by the committer, written when `service` asks.

use std::time::Duration;

use crate::sys::metrics::{Histogram, Page};

use super::super::SpoolError;
use super::core::Core;
use super::query;

/// Bounds of a flush, in seconds: from a disk with a cache of its own to one
/// that is failing.
const FLUSH: &[f64] = &[
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];
/// Bounds of a group's size; 512 is the most.
const GROUP: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// What the committer notes.
#[derive(Debug)]
pub(super) struct Meters {
    flush: Histogram,
    group: Histogram,
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            flush: Histogram::new(FLUSH),
            group: Histogram::new(GROUP),
        }
    }
}

impl Meters {
    /// A group of jobs was written and made durable.
    pub(super) fn flushed(&self, span: Duration, jobs: usize) {
        self.flush.observe_span(span);
        self.group
            .observe(f64::from(u32::try_from(jobs).unwrap_or(u32::MAX)));
    }
}

/// Writes all figures; reads the index, so it may block.
pub(super) fn write(core: &Core, page: &mut Page) {
    write_health(core, page);
    write_disk(core, page);
    write_queue(core, page);
}

fn write_health(core: &Core, page: &mut Page) {
    let state = match core.may_intake() {
        Ok(()) => "ok",
        Err(SpoolError::Full) => "full",
        Err(SpoolError::Closed) => "closed",
        Err(_) => "sick",
    };
    let is = |word| ([word], f64::from(u8::from(word == state)));
    page.gauges(
        "postern_spool_state",
        "1 for the state that the spool is in: only in \"ok\" it takes messages.",
        ["state"],
        ["ok", "full", "sick", "closed"].map(is),
    );
}

fn write_disk(core: &Core, page: &mut Page) {
    page.histogram(
        "postern_spool_flush_seconds",
        "Time to write a group of jobs to the journal and make it durable.",
        &core.meters.flush,
    );
    page.histogram(
        "postern_spool_group_jobs",
        "Jobs that shared one flush of the journal.",
        &core.meters.group,
    );
    let disk = core.books().disk();
    page.gauge(
        "postern_spool_disk_bytes",
        "Octets of the journal on disk.",
        figure(disk),
    );
    page.gauge(
        "postern_spool_limit_bytes",
        "Octets that the journal may take: spool.max_size.",
        figure(core.settings.max_size),
    );
    page.gauge(
        "postern_spool_room_bytes",
        "Octets that new messages may still take, by spool.max_size and by the disk.",
        figure(core.room()),
    );
}

fn write_queue(core: &Core, page: &mut Page) {
    let Ok(counts) = query::stats(core) else {
        return;
    };
    page.gauge(
        "postern_queue_messages",
        "Messages with an open recipient.",
        figure(counts.messages),
    );
    page.gauges(
        "postern_queue_recipients",
        "Recipients by state, of the messages that are listed.",
        ["state"],
        [
            (
                ["queued"],
                figure(counts.recipients.saturating_sub(counts.held)),
            ),
            (["held"], figure(counts.held)),
            (["dead"], figure(counts.dead)),
        ],
    );
    page.gauge(
        "postern_queue_bytes",
        "Octets of the messages with an open recipient.",
        figure(counts.octets),
    );
    let now = core.ids.now();
    page.gauge(
        "postern_queue_oldest_age_seconds",
        "Age of the oldest message with an open recipient; 0 without one.",
        counts.oldest.map_or(0.0, |at| now.since(at).as_secs_f64()),
    );
}

/// Exact up to 2^53.
#[allow(clippy::cast_precision_loss)]
fn figure(count: u64) -> f64 {
    count as f64
}
