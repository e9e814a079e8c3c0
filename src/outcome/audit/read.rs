//! Reading the audit.
//!
//! Holds always: records come in the order they were written (which is that of
//! time, but for those that came late after a crash), one line in memory at a
//! time; heads are passed over; a line that can't be read is an error item with its file and number, and reading goes
//! on behind it. The newest file's last line may be just being written: then it is
//! left for the next reading (if a crash tore it, the journal hands it over again).
//! Called by the command line, with or without a running daemon.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::types::{Course, QueueId, State, Timestamp};

use super::{AuditLine, KeyError, Record, chain, files};

/// Octets of a line at most; what is longer is broken.
const LINE_MAX: u64 = 1024 * 1024;

/// Why something of the audit could not be read.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The folder or a file can't be read.
    #[error("{path}: {cause}", path = path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// The key to verify with can't be had.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// A line is no audit record.
    #[error("{path}, line {line}: not an audit record", path = path.display())]
    Broken {
        /// In which file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
    },
}

/// Which lines are wanted; all conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Not older than this.
    pub since: Option<Timestamp>,
    /// Older than this.
    pub until: Option<Timestamp>,
    /// For this recipient, compared without case.
    pub recipient: Option<String>,
    /// In this state.
    pub state: Option<State>,
    /// Of this message.
    pub id: Option<QueueId>,
    /// That would have come to this.
    pub would: Option<Course>,
    /// About this domain or a recipient in it, compared without case.
    pub domain: Option<String>,
    /// Of this kind.
    pub kind: Option<AuditKind>,
}

/// Both kinds of line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditKind {
    /// What became of a recipient.
    Recipient,
    /// What happened to a domain.
    Domain,
}

/// Not the word for a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write `recipient` or `domain`")]
pub struct AuditKindError;

impl std::str::FromStr for AuditKind {
    type Err = AuditKindError;
    fn from_str(text: &str) -> Result<Self, AuditKindError> {
        match text {
            "recipient" => Ok(Self::Recipient),
            "domain" => Ok(Self::Domain),
            _ => Err(AuditKindError),
        }
    }
}

/// Reads a folder's records of recipients, in the order they were written. A folder
/// that is missing has none.
///
/// # Errors
/// [`AuditError::Io`] if the folder can't be read.
pub fn read(
    folder: &Path,
    filter: &AuditFilter,
) -> Result<impl Iterator<Item = Result<Record, AuditError>> + use<>, AuditError> {
    let lines = read_lines(folder, filter)?;
    Ok(lines.filter_map(|line| match line {
        Ok(AuditLine::Recipient(record)) => Some(Ok(*record)),
        Ok(AuditLine::Domain(_)) => None,
        Err(error) => Some(Err(error)),
    }))
}

/// Reads a folder's lines of both kinds, in the order they were written.
///
/// # Errors
/// [`AuditError::Io`] if the folder can't be read.
pub fn read_lines(folder: &Path, filter: &AuditFilter) -> Result<Lines, AuditError> {
    let mut files = day_files(folder)?;
    // No event stands in a file of before its own day.
    let first = filter.since.map(Timestamp::day);
    files.retain(|path| files::day_of(path) >= first.as_deref());
    // Popped from the end, so the oldest last.
    files.reverse();
    Ok(Lines {
        filter: filter.clone(),
        files,
        open: None,
    })
}

/// The day files in a folder, oldest first; none if it is missing.
pub(super) fn day_files(folder: &Path) -> Result<Vec<PathBuf>, AuditError> {
    let failed = |cause| AuditError::Io {
        path: folder.to_owned(),
        cause,
    };
    let mut files = Vec::new();
    match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
        Ok(entries) => {
            for entry in entries {
                files.push(entry.map_err(failed)?.path());
            }
        }
    }
    files.retain(|path| files::day_of(path).is_some());
    files.sort();
    Ok(files)
}

/// The lines of an audit, one after the other.
#[derive(Debug)]
pub struct Lines {
    filter: AuditFilter,
    files: Vec<PathBuf>,
    open: Option<FileLines>,
}

impl Iterator for Lines {
    type Item = Result<AuditLine, AuditError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(lines) = &mut self.open else {
                let path = self.files.pop()?;
                match File::open(&path) {
                    Ok(file) => {
                        let is_newest = self.files.is_empty();
                        self.open = Some(FileLines::new(path, file, is_newest));
                    }
                    Err(cause) => return Some(Err(AuditError::Io { path, cause })),
                }
                continue;
            };
            match lines.next() {
                None => self.open = None,
                Some(Ok(line)) if !self.filter.admits(&line) => {}
                Some(Err(AuditError::Io { path, cause })) => {
                    self.open = None;
                    return Some(Err(AuditError::Io { path, cause }));
                }
                found => return found,
            }
        }
    }
}

impl AuditFilter {
    fn admits(&self, line: &AuditLine) -> bool {
        let time = || line.time().parse::<Timestamp>().ok();
        let is_wanted = match line {
            AuditLine::Recipient(record) => self.admits_recipient(record),
            AuditLine::Domain(record) => {
                let only_recipients = self.state.is_some()
                    || self.id.is_some()
                    || self.would.is_some()
                    || self.recipient.is_some()
                    || self.kind == Some(AuditKind::Recipient);
                !only_recipients && self.is_domain(&record.domain)
            }
        };
        is_wanted
            && self.since.is_none_or(|since| time() >= Some(since))
            && (self.until).is_none_or(|until| time().is_some_and(|time| time < until))
    }

    fn admits_recipient(&self, record: &Record) -> bool {
        let domain = || record.recipient.rsplit('@').next().unwrap_or_default();
        self.kind != Some(AuditKind::Domain)
            && self.is_domain(domain())
            && self.state.is_none_or(|state| record.state == state)
            && self.id.is_none_or(|id| record.id == id.to_string())
            && (self.would).is_none_or(|course| record.would.map(|w| w.method) == Some(course))
            && self
                .recipient
                .as_ref()
                .is_none_or(|recipient| record.recipient.eq_ignore_ascii_case(recipient))
    }

    fn is_domain(&self, domain: &str) -> bool {
        let wanted = self.domain.as_ref();
        wanted.is_none_or(|wanted| domain.eq_ignore_ascii_case(wanted))
    }
}

/// One file's lines.
#[derive(Debug)]
pub(super) struct FileLines {
    path: PathBuf,
    reader: BufReader<File>,
    number: u64,
    is_newest: bool,
}

impl FileLines {
    pub(super) fn new(path: PathBuf, file: File, is_newest: bool) -> Self {
        Self {
            path,
            reader: BufReader::new(file),
            number: 0,
            is_newest,
        }
    }

    fn next(&mut self) -> Option<Result<AuditLine, AuditError>> {
        let line = loop {
            match self.next_line() {
                Ok(line) if line.is_empty() => return None,
                Ok(line) if chain::SignedHead::parse(&line).is_some() => {}
                Ok(line) => break line,
                Err(error) => return Some(Err(error)),
            }
        };
        match AuditLine::parse(&line) {
            Some(line) => Some(Ok(line)),
            None if self.is_newest && !line.ends_with(b"\n") => None,
            None => Some(Err(AuditError::Broken {
                path: self.path.clone(),
                line: self.number,
            })),
        }
    }

    /// The number of the line that was read last, from 1.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The next line with its end, if it has one; empty at the end. Of a line that
    /// is too long, the beginning with a line end, which is no record.
    pub(super) fn next_line(&mut self) -> Result<Vec<u8>, AuditError> {
        self.number += 1;
        self.read_line().map_err(|cause| AuditError::Io {
            path: self.path.clone(),
            cause,
        })
    }

    fn read_line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.reader).take(LINE_MAX);
        bounded.read_until(b'\n', &mut line)?;
        if line.len() as u64 == LINE_MAX && !line.ends_with(b"\n") {
            self.reader.skip_until(b'\n')?;
            line.push(b'\n');
        }
        Ok(line)
    }
}
