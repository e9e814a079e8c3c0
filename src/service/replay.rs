//! `postern policy replay`: what a changed configuration would mean for the recipients of
//! the past.
//!
//! Owns the sums and their form: the JSON is part of the contract (docs/postern.8.md).
//! Holds always: both configurations are asked through `policy`, for the facts that the
//! audit holds and nothing else; one recipient of one message counts once, by the first
//! attempt that the audit has of it in the span. Called by the command line, with or
//! without a running daemon.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Serialize;

use crate::config::Config;
use crate::outcome::audit::{self, AuditError, AuditFilter, AuditKind, Record};
use crate::policy::replay::{Change, Course, Recorded, Replay};
use crate::types::{Mailbox, Method, State, Timestamp};

/// What would change.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Replayed {
    /// Recipients looked at.
    recipients: u64,
    /// Of these: for whom nothing changes.
    unchanged: u64,
    /// Of these: for whom something does.
    changed: u64,
    /// Of the latter: delivered in a way that the new configuration does not allow.
    no_longer: u64,
    /// Of these: for whom it depends on what is not recorded.
    depends: u64,
    /// Left out: own reports and other messages without a sender.
    left_out: u64,
    /// The changes by domain, those with most first.
    domains: Vec<Row>,
}

/// One kind of change for one domain.
#[derive(Debug, Clone, Serialize)]
struct Row {
    domain: String,
    /// What the configuration in use comes to; null where it depends.
    from: Option<String>,
    /// What the new one does; null where it depends.
    to: Option<String>,
    /// `content`, `account`, `listener`: what it depends on.
    depends_on: BTreeSet<&'static str>,
    /// The rules that ask it.
    rules: BTreeSet<String>,
    recipients: u64,
    /// Of these: delivered in a way that the new one does not allow.
    no_longer: u64,
}

/// What tells rows apart.
type Key = (
    String,
    Option<(String, String)>,
    BTreeSet<&'static str>,
    BTreeSet<String>,
);

/// The sum while it is made.
struct Sum<'a> {
    replay: Replay,
    /// The hash of the configuration in use.
    configuration: &'a str,
    seen: HashSet<u64>,
    rows: BTreeMap<Key, (u64, u64)>,
    found: Replayed,
}

impl Sum<'_> {
    fn add(&mut self, record: &Record) {
        // What was done by hand tells nothing of rules.
        if record.configuration.is_empty() {
            return;
        }
        let mut hasher = DefaultHasher::new();
        (&record.id, &record.recipient).hash(&mut hasher);
        if !self.seen.insert(hasher.finish()) {
            return;
        }
        let (Ok(sender), Ok(recipient)) = (
            Mailbox::parse(&record.sender),
            Mailbox::parse(&record.recipient),
        ) else {
            self.found.left_out += 1;
            return;
        };
        self.found.recipients += 1;
        let change = self.replay.compare(&Recorded {
            recipient: &recipient,
            sender: &sender,
            rule: record.rule.as_deref(),
            same_configuration: record.configuration == self.configuration,
        });
        let domain = recipient.host().to_string().to_lowercase();
        let (key, no_longer) = match change {
            Change::None => {
                self.found.unchanged += 1;
                return;
            }
            Change::To(courses) => {
                self.found.changed += 1;
                let no_longer = u64::from(!allows(&courses.1, record));
                let words = Some((courses.0.to_string(), courses.1.to_string()));
                let none = (BTreeSet::new(), BTreeSet::new());
                ((domain, words, none.0, none.1), no_longer)
            }
            Change::Depends { rules, on } => {
                self.found.depends += 1;
                ((domain, None, on, rules), 0)
            }
        };
        self.found.no_longer += no_longer;
        let row = self.rows.entry(key).or_default();
        row.0 += 1;
        row.1 += no_longer;
    }

    fn finish(self) -> Replayed {
        let rows = self.rows.into_iter();
        let rows = rows.map(|((domain, words, depends_on, rules), counts)| {
            let (from, to) = words.unzip();
            Row {
                domain,
                from,
                to,
                depends_on,
                rules,
                recipients: counts.0,
                no_longer: counts.1,
            }
        });
        let mut domains: Vec<Row> = rows.collect();
        domains.sort_by_key(|row| std::cmp::Reverse(row.recipients));
        Replayed {
            domains,
            ..self.found
        }
    }
}

/// Whether what was delivered might have gone the same way by this configuration.
fn allows(course: &Course, record: &Record) -> bool {
    let (State::Delivered, Some(method)) = (record.state, record.method) else {
        return true;
    };
    let is_listed = course.treatment.methods.methods().contains(&method);
    let least = match method {
        Method::Tls => Some(course.treatment.tls_level),
        Method::Pgp | Method::Smime => course.treatment.protected_level,
        Method::Cleartext => None,
    };
    let is_proven = least.is_none() || record.achieved >= least;
    course.stop.is_none() && is_listed && is_proven
}

impl Replayed {
    /// A table for people: a line of names, then the changes.
    #[must_use]
    pub fn rows(&self) -> Vec<[String; 5]> {
        if self.domains.is_empty() {
            return Vec::new();
        }
        let names = ["DOMAIN", "RECIPIENTS", "NO LONGER", "NOW", "THEN"].map(str::to_owned);
        let words =
            |set: &BTreeSet<&'static str>| set.iter().copied().collect::<Vec<_>>().join(" and ");
        let rows = self.domains.iter().map(|row| {
            let (from, to) = match (&row.from, &row.to) {
                (Some(from), Some(to)) => (from.clone(), to.clone()),
                _ => {
                    let rules: Vec<String> =
                        row.rules.iter().map(|rule| format!("\"{rule}\"")).collect();
                    let on = format!("depends on {}", words(&row.depends_on));
                    (on, format!("rule {}", rules.join(", ")))
                }
            };
            [
                row.domain.clone(),
                row.recipients.to_string(),
                row.no_longer.to_string(),
                from,
                to,
            ]
        });
        std::iter::once(names).chain(rows).collect()
    }
}

impl fmt::Display for Replayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} recipients: {} unchanged, {} changed ({} were delivered in a way that would \
             no longer do), {} depend on what the audit does not hold; {} without a sender \
             left out",
            self.recipients,
            self.unchanged,
            self.changed,
            self.no_longer,
            self.depends,
            self.left_out
        )
    }
}

/// Compares the configuration in use with a new one over what the audit holds. Lines that
/// can't be read come along, each in words.
///
/// # Errors
/// If the audit's folder can't be read.
pub fn replay(
    config: &Config,
    new: &Config,
    since: Option<Timestamp>,
) -> Result<(Replayed, Vec<AuditError>), AuditError> {
    let filter = AuditFilter {
        since,
        kind: Some(AuditKind::Recipient),
        ..AuditFilter::default()
    };
    let mut sum = Sum {
        replay: Replay::new(config.policy.clone(), new.policy.clone()),
        configuration: &config.hash,
        seen: HashSet::new(),
        rows: BTreeMap::new(),
        found: Replayed::default(),
    };
    let mut broken = Vec::new();
    for record in audit::read(&config.outcome.audit_folder, &filter)? {
        match record {
            Ok(record) => sum.add(&record),
            Err(e) => broken.push(e),
        }
    }
    Ok((sum.finish(), broken))
}
