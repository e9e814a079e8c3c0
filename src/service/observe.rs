//! `[security] observe`: that it is on is said loudly, and what it showed summed up.
//!
//! Owns the warning (start, reload, `check`), the figure, and the answer to
//! `postern audit would`: which domains would lose mail if the configuration were
//! enforced. Holds always: the sum is made from the audit alone, by what delivery
//! wrote there; nothing is worked out a second time.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::config::Config;
use crate::outcome::audit::{self, AuditFilter, Record};
use crate::types::{State, Timestamp, Would};

/// What is said while it is on.
pub const OBSERVE_IS_ON: &str = "observe is on: no method and no level is enforced; mail goes \
    over the TLS that the other side has, else in the clear, and the audit tells what the \
    configuration would have done (postern audit would)";

/// Whether the daemon only observes; shared with whoever shows it.
#[derive(Clone, Default)]
pub(super) struct Observing(Arc<AtomicBool>);

impl Observing {
    /// Goes by a configuration, at the start and at each reload; warns if nothing is
    /// enforced, and says so when it is again.
    pub(super) fn tell(&self, config: &Config) {
        let now = config.policy.observe;
        let before = self.0.swap(now, Ordering::Relaxed);
        match (before, now) {
            (_, true) => tracing::warn!("{OBSERVE_IS_ON}"),
            (true, false) => tracing::info!("observe is off: the configuration is enforced"),
            (false, false) => {}
        }
    }

    /// Whether it is on.
    pub(super) fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What observing has shown.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Observed {
    /// Recipients that came to an end while the configuration was only observed.
    recipients: u64,
    /// Of these: delivered.
    delivered: u64,
    /// Of these: that the configuration would not have delivered.
    would_not: u64,
    /// The latter by domain and reason, the most first.
    domains: Vec<ObservedDomain>,
}

/// Deliveries to a domain that would not have been made.
#[derive(Debug, Clone, Serialize)]
struct ObservedDomain {
    domain: String,
    /// `bounce`, `drop` or `wait`, and why.
    #[serde(flatten)]
    would: Would,
    recipients: u64,
    /// When the last one was delivered.
    last: String,
}

impl Observed {
    fn add(&mut self, record: Record, rows: &mut HashMap<(String, Would), (u64, String)>) {
        let Some(would) = record.would.filter(|_| !record.state.is_open()) else {
            return;
        };
        self.recipients += 1;
        if record.state != State::Delivered {
            return;
        }
        self.delivered += 1;
        if would.method.delivers() {
            return;
        }
        self.would_not += 1;
        let domain = record.recipient.rsplit('@').next().unwrap_or_default();
        let key = (domain.to_ascii_lowercase(), would);
        let (count, last) = rows.entry(key).or_default();
        *count += 1;
        *last = record.time;
    }
}

impl fmt::Display for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} recipients while observing: {} delivered, of which the configuration would not \
             have delivered {}",
            self.recipients, self.delivered, self.would_not
        )
    }
}

impl Observed {
    /// A table for people: a line of names, then the domains.
    #[must_use]
    pub fn rows(&self) -> Vec<[String; 5]> {
        if self.domains.is_empty() {
            return Vec::new();
        }
        let names = ["DOMAIN", "WOULD", "REASON", "RECIPIENTS", "LAST"].map(str::to_owned);
        let rows = self.domains.iter().map(|row| {
            let reason = row.would.reason.map_or("none", |reason| reason.as_str());
            [
                row.domain.clone(),
                row.would.method.to_string(),
                reason.to_owned(),
                row.recipients.to_string(),
                row.last.clone(),
            ]
        });
        std::iter::once(names).chain(rows).collect()
    }
}

/// Sums up what the audit holds of observing. Lines that can't be read come along,
/// each in words.
///
/// # Errors
/// If the audit's folder can't be read.
pub fn observed(
    config: &Config,
    since: Option<Timestamp>,
) -> Result<(Observed, Vec<String>), String> {
    let filter = AuditFilter {
        since,
        ..AuditFilter::default()
    };
    let records = audit::read(&config.outcome.audit_folder, &filter).map_err(|e| e.to_string())?;
    let (mut sum, mut rows, mut broken) = (Observed::default(), HashMap::new(), Vec::new());
    for record in records {
        match record {
            Ok(record) => sum.add(record, &mut rows),
            Err(e) => broken.push(e.to_string()),
        }
    }
    let domains = rows
        .into_iter()
        .map(|((domain, would), (recipients, last))| ObservedDomain {
            domain,
            would,
            recipients,
            last,
        });
    sum.domains = domains.collect();
    sum.domains.sort_by(|a, b| {
        let most = b.recipients.cmp(&a.recipients);
        most.then_with(|| (&a.domain, a.would).cmp(&(&b.domain, b.would)))
    });
    Ok((sum, broken))
}
