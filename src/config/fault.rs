//! What is wrong with a configuration, all of it, each with its line.

use std::fmt;
use std::path::{Path, PathBuf};

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The line it stands in, from 1; 0 where it is about the file as a whole.
    pub line: usize,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Fault {
    /// The fault as compilers print them, `FILE:LINE: MESSAGE`.
    #[must_use]
    pub fn at(&self, file: &Path) -> String {
        let file = file.display();
        match self.line {
            0 => format!("{file}: {}", self.message),
            line => format!("{file}:{line}: {}", self.message),
        }
    }
}

/// Every fault of a configuration file, by line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Faults {
    /// The file.
    pub path: PathBuf,
    /// At least one.
    pub faults: Vec<Fault>,
}

impl Faults {
    /// A fault about the file as a whole.
    #[must_use]
    pub fn of_file(path: &Path, message: impl fmt::Display) -> Self {
        Self {
            path: path.to_owned(),
            faults: vec![Fault {
                line: 0,
                message: message.to_string(),
            }],
        }
    }
}

impl fmt::Display for Faults {
    /// One line a fault.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self
            .faults
            .iter()
            .map(|fault| fault.at(&self.path))
            .collect();
        f.write_str(&lines.join("\n"))
    }
}
