//! The table of results, a line a case, straight to stderr, so that `cargo test` shows it.

use std::io::Write as _;
use std::sync::{Mutex, Once};

/// The rows of one test: printed as they come, judged at the end.
#[derive(Default)]
pub(crate) struct Table {
    failed: Vec<String>,
}

impl Table {
    /// Adds a row and prints it.
    pub(crate) fn row(
        &mut self,
        peer: &str,
        version: &str,
        case: &str,
        result: Result<String, String>,
    ) {
        static HEAD: Once = Once::new();
        HEAD.call_once(|| line("peer", "version", "case", "result"));
        match &result {
            Ok(how) => line(peer, version, case, how),
            Err(why) => {
                line(
                    peer,
                    version,
                    case,
                    &format!("FAILED: {}", why.lines().next().unwrap_or_default()),
                );
                self.failed.push(format!("{peer}, {case}: {why}"));
            }
        }
    }

    /// Adds several of one peer.
    pub(crate) fn rows<const N: usize>(
        &mut self,
        peer: &str,
        version: &str,
        rows: [(&str, Result<String, String>); N],
    ) {
        for (case, result) in rows {
            self.row(peer, version, case, result);
        }
    }

    /// Adds whether a server's own log tells of what the case is about.
    pub(crate) fn logged(&mut self, peer: &str, version: &str, log: &str, says: &str) {
        let result = match log.contains(says) {
            true => Ok(format!("{says:?}")),
            false => Err(format!("no {says:?} in its log:\n{log}")),
        };
        self.row(peer, version, "its own log", result);
    }

    /// What this machine does not allow is said in the table, and fails nothing.
    pub(crate) fn not_run(peer: &str, version: &str, why: &str) {
        line(peer, version, "NOT RUN", why);
    }

    /// Panics if a case failed.
    pub(crate) fn judge(self) {
        assert!(self.failed.is_empty(), "{}", self.failed.join("\n\n"));
    }
}

fn line(peer: &str, version: &str, case: &str, result: &str) {
    static LOCK: Mutex<()> = Mutex::new(());
    let _one = LOCK.lock();
    let _ = writeln!(
        std::io::stderr(),
        "| {peer:<10} | {version:<14} | {case:<50} | {result}"
    );
}
