//! The table: one line for each server and case, and the ratios below it.

use crate::cases::Case;

/// What one round has given.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Figures {
    /// Messages that got their 250, a second.
    pub(crate) accepted: f64,
    /// Messages that were delivered, a second, from the first connection to the last delivery.
    pub(crate) delivered: f64,
    /// Milliseconds to a 250.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// CPU seconds for 1,000 messages: the server's, and source's and sink's together.
    pub(crate) cpu: f64,
    pub(crate) cpu_load: f64,
    /// Memory at its peak, MiB.
    pub(crate) memory: f64,
    /// Octets written for each message, KiB.
    pub(crate) written: f64,
    /// Flushes of the disk for each message.
    pub(crate) flushes: f64,
}

impl Figures {
    /// The figure in the middle of each column, of several rounds; none without any.
    pub(crate) fn median(rounds: &[Figures]) -> Option<Figures> {
        if rounds.is_empty() {
            return None;
        }
        let of = |field: fn(&Figures) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(field).collect();
            values.sort_by(f64::total_cmp);
            let (low, high) = ((values.len() - 1) / 2, values.len() / 2);
            f64::midpoint(values[low], values[high])
        };
        Some(Figures {
            accepted: of(|f| f.accepted),
            delivered: of(|f| f.delivered),
            p50: of(|f| f.p50),
            p99: of(|f| f.p99),
            cpu: of(|f| f.cpu),
            cpu_load: of(|f| f.cpu_load),
            memory: of(|f| f.memory),
            written: of(|f| f.written),
            flushes: of(|f| f.flushes),
        })
    }
}

/// The line above the figures.
pub(crate) const HEADINGS: &str = "\
| case | server | accepted/s | delivered/s | to 250: p50 ms | p99 ms | CPU s/1,000: server | source and sink | peak MiB | KiB written/message | flushes/message |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |";

/// One line of the table.
pub(crate) fn line(case: &Case, server: &str, f: &Figures) -> String {
    format!(
        "| {} | {server} | {:.0} | {:.0} | {:.2} | {:.2} | {:.3} | {:.3} | {:.0} | {:.1} | {:.3} |",
        case.name,
        f.accepted,
        f.delivered,
        f.p50,
        f.p99,
        f.cpu,
        f.cpu_load,
        f.memory,
        f.written,
        f.flushes
    )
}

/// The line of a server that can't do a case.
pub(crate) fn line_without(case: &Case, server: &str, why: &str) -> String {
    format!("| {} | {server} | {why} | | | | | | | | |", case.name)
}

/// How Postern stands to a peer, in a sentence.
pub(crate) fn ratio(case: &Case, peer: &str, ours: &Figures, theirs: &Figures) -> String {
    format!(
        "{}: Postern delivers {:.1} times as many messages a second as {peer}, accepts {:.1} times \
         as many, and uses {:.2} of its CPU time per message",
        case.name,
        ours.delivered / theirs.delivered,
        ours.accepted / theirs.accepted,
        ours.cpu / theirs.cpu
    )
}
