//! Verifying the audit: where the chain breaks, if it does.
//!
//! Holds always: every line of every day file is looked at; a break is told with
//! file and line, and verifying goes on behind it; files are only read, so it works
//! beside a running daemon, whose last line may be half written. What it can't
//! find: what was cut off the end that is not signed yet, and what was done with
//! the private key. Called by the command line; `docs/verify_audit.py` does the
//! same without any of this code.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::chain::{self, Link, Removed, SignedHead};
use super::read::{self, FileLines};
use super::{AuditError, AuditLine, PublicKey, files};
use crate::sys::RealDisk;

/// Breaks told at most; then verifying stops.
const BREAKS_MAX: usize = 100;

/// What verifying found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Whether all is as it was written.
    pub intact: bool,
    /// Day files.
    pub days: u64,
    /// Events in them.
    pub events: u64,
    /// The oldest day.
    pub first: Option<String>,
    /// The newest day.
    pub last: Option<String>,
    /// The newest day with a good head.
    pub signed_through: Option<String>,
    /// The link to that head: what to keep elsewhere.
    pub head: Option<Link>,
    /// The newest day, while it has no head.
    pub unsigned: Option<Unsigned>,
    /// The last day that `[audit] keep` removed, as a good head says.
    pub removed_through: Option<String>,
    /// The name of the key.
    pub key: Option<String>,
    /// Where the chain breaks, a hundred at most.
    pub breaks: Vec<Break>,
}

/// A day that is not signed yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unsigned {
    /// Which.
    pub day: String,
    /// Its whole lines.
    pub events: u64,
}

/// A place where the chain breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Break {
    /// Where; `None`: in what is not there.
    #[serde(flatten)]
    pub place: Option<Place>,
    /// What is wrong.
    pub what: String,
}

/// A line of a day file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file's name.
    pub file: String,
    /// Which line, from 1.
    pub line: u64,
}

/// Verifies a folder's files with the public key at `key`. Each of `expected` must
/// be the link to a good head, or to one that was removed by the policy.
///
/// # Errors
/// [`AuditError`] if the key (where there is anything to verify) or a file can't be
/// read.
pub fn verify(folder: &Path, key: &Path, expected: &[Link]) -> Result<Findings, AuditError> {
    let files = read::day_files(folder)?;
    let mut walk = Walk::default();
    if !files.is_empty() {
        let key = PublicKey::load(&RealDisk, key)?;
        walk.findings.key = Some(key.name());
        walk.key = Some(key);
    }
    for (n, path) in files.iter().enumerate() {
        if walk.findings.breaks.len() < BREAKS_MAX {
            walk.file(path, n + 1 == files.len())?;
        }
    }
    Ok(walk.finish(expected))
}

/// A walk along the chain.
#[derive(Default)]
struct Walk {
    key: Option<PublicKey>,
    findings: Findings,
    /// To the line before; `None`: unknown.
    link: Option<Link>,
    /// What the first line says it follows, and where that is.
    start: Option<(Link, Place)>,
    /// What good heads say was removed.
    removed: Vec<Removed>,
    /// The links to good heads.
    heads: BTreeSet<Link>,
}

/// The file that is being read.
struct Current<'a> {
    day: &'a str,
    /// The day of the file before.
    before: Option<String>,
    /// The line that was read last.
    line: u64,
    events: u64,
    has_head: bool,
}

impl Walk {
    fn file(&mut self, path: &PathBuf, is_newest: bool) -> Result<(), AuditError> {
        let Some(day) = files::day_of(path) else {
            return Ok(());
        };
        let mut lines = match File::open(path) {
            Ok(file) => FileLines::new(path.clone(), file, is_newest),
            // Removed by the policy meanwhile; if not, the next file tells.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(cause) => {
                let path = path.clone();
                return Err(AuditError::Io { path, cause });
            }
        };
        let mut current = Current {
            day,
            before: self.findings.last.replace(day.to_owned()),
            line: 0,
            events: 0,
            has_head: false,
        };
        self.findings.first.get_or_insert_with(|| day.to_owned());
        self.findings.days += 1;
        let mut is_torn = false;
        while self.findings.breaks.len() < BREAKS_MAX {
            let line = lines.next_line()?;
            is_torn = !line.is_empty() && !line.ends_with(b"\n");
            if line.is_empty() || is_torn {
                break;
            }
            current.line = lines.number();
            self.line(&mut current, &line);
        }
        self.end(&current, is_newest, is_torn);
        Ok(())
    }

    fn line(&mut self, current: &mut Current<'_>, line: &[u8]) {
        if current.has_head {
            self.note(current, "stands behind the day's head");
        }
        match (chain::prev_of(line), self.link) {
            (None, _) => self.note(current, "is not a line of the audit"),
            (Some(prev), None) if self.start.is_none() && current.before.is_none() => {
                self.start = Some((prev, current.place()));
            }
            (Some(prev), Some(link)) if prev != link => self.note(current, &current.misfit()),
            _ => {}
        }
        self.link = Some(Link::of(line));
        if chain::is_head(line) {
            self.head(current, line);
            current.has_head = true;
            return;
        }
        current.events += 1;
        let is_record = AuditLine::parse(line).is_some();
        if !is_record && chain::prev_of(line).is_some() {
            self.note(current, "is not an audit record");
        }
    }

    fn head(&mut self, current: &Current<'_>, line: &[u8]) {
        let Some(signed) = SignedHead::parse(line) else {
            return self.note(current, "is not a whole head");
        };
        let head = &signed.head;
        let (day, events) = (&head.day, head.events);
        if day != current.day {
            self.note(current, &format!("is the head of {day}"));
        }
        if events != current.events {
            let found = current.events;
            let what = format!("counts {events} events, but {found} stand before it");
            self.note(current, &what);
        }
        match (&head.after, &current.before) {
            (Some(after), Some(before)) if after != before => {
                let what = format!("follows {after}, whose file is missing");
                self.note(current, &what);
            }
            (None, Some(_)) => self.note(current, "says that no day came before"),
            _ => {}
        }
        let name = self.findings.key.clone().unwrap_or_default();
        if signed.key != name {
            let what = format!("is signed with the key {}, not with {name}", signed.key);
            return self.note(current, &what);
        }
        let is_good = signed
            .signed(line)
            .zip(self.key)
            .is_some_and(|((text, signature), key)| key.verifies(text, &signature));
        if !is_good {
            return self.note(current, "is not signed by the key: it was changed");
        }
        self.removed.extend(signed.head.removed);
        self.heads.insert(Link::of(line));
        self.findings.signed_through = Some(current.day.to_owned());
        self.findings.head = Some(Link::of(line));
    }

    /// At the end of a file, behind its last whole line.
    fn end(&mut self, current: &Current<'_>, is_newest: bool, is_torn: bool) {
        self.findings.events += current.events;
        if current.has_head && !is_torn {
            return;
        }
        if !is_newest || current.has_head {
            let missing = Current {
                line: current.line + 1,
                before: None,
                ..*current
            };
            let what = if current.has_head {
                "stands behind the day's head"
            } else {
                "is missing: the file's end was cut off, there is no head"
            };
            self.note(&missing, what);
            // What the next file follows is not known.
            self.link = None;
            return;
        }
        self.findings.unsigned = Some(Unsigned {
            day: current.day.to_owned(),
            events: current.events,
        });
    }

    fn finish(mut self, expected: &[Link]) -> Findings {
        if let Some((start, place)) = self.start.take().filter(|(link, _)| *link != Link::START) {
            let removed = self.removed.iter().find(|removed| removed.head == start);
            self.findings.removed_through = removed.map(|removed| removed.through.clone());
            if removed.is_none() {
                let what = "is not where the audit began, and no good head says that \
                            what came before was removed by [audit] keep";
                let what = what.to_owned();
                self.findings.breaks.insert(
                    0,
                    Break {
                        place: Some(place),
                        what,
                    },
                );
            }
        }
        self.heads.extend(self.removed.iter().map(|r| r.head));
        for link in expected.iter().filter(|link| !self.heads.contains(link)) {
            self.findings.breaks.push(Break {
                place: None,
                what: format!("no day ends with the head {link}"),
            });
        }
        self.findings.intact = self.findings.breaks.is_empty();
        self.findings
    }

    fn note(&mut self, current: &Current<'_>, what: &str) {
        self.findings.breaks.push(Break {
            place: Some(current.place()),
            what: what.to_owned(),
        });
    }
}

impl Current<'_> {
    fn place(&self) -> Place {
        Place {
            file: files::name(self.day),
            line: self.line,
        }
    }

    /// A line that does not follow the one before.
    fn misfit(&self) -> String {
        match (self.line, &self.before) {
            (1, Some(before)) => format!(
                "does not follow the head in {}: a day between them was removed, \
                 or one of the two lines was changed",
                files::name(before)
            ),
            (line, _) => format!(
                "does not follow line {}: one of the two was changed, or lines \
                 between them were removed, added or moved",
                line.saturating_sub(1)
            ),
        }
    }
}
