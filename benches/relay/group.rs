//! The CPU time of a server whose processes the kernel forgets as they end.
//!
//! Exim tells the kernel not to keep its children for it (SIGCHLD ignored), so what they used is
//! not added to their parent's use, and /proc has no sum of it. A control group (cgroup v2) counts
//! all that ever was in it. Where none can be made the figures come from /proc alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// How often, and how long apart, its removal is tried: a busy machine takes long to end all the
/// processes of a server.
const REMOVALS: u32 = 500;
const REMOVAL_PAUSE: Duration = Duration::from_millis(20);

/// Groups so far: each has a name of its own, whether the one before is gone or not.
static MADE: AtomicU32 = AtomicU32::new(0);

/// A group of its own for a server's processes; removed when dropped, after the server's end.
pub(crate) struct Group(PathBuf);

impl Group {
    /// Makes one and moves these processes into it; their children are born in it.
    pub(crate) fn of(pids: &[u32]) -> Option<Group> {
        let mounts = fs::read_to_string("/proc/mounts").ok()?;
        let mount = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let place = fields.next()?;
            (fields.next()? == "cgroup2").then_some(place)
        })?;
        let (pid, number) = (std::process::id(), MADE.fetch_add(1, Relaxed));
        let folder = Path::new(mount).join(format!("postern-bench-{pid}-{number}"));
        fs::create_dir(&folder).ok()?;
        let group = Group(folder);
        for pid in pids {
            fs::write(group.0.join("cgroup.procs"), pid.to_string()).ok()?;
        }
        Some(group)
    }

    /// CPU time that was used in it so far, seconds.
    pub(crate) fn cpu(&self) -> Option<f64> {
        let text = fs::read_to_string(self.0.join("cpu.stat")).ok()?;
        let line = text.lines().find(|line| line.starts_with("usage_usec"))?;
        let micros: f64 = line.split_once(' ')?.1.trim().parse().ok()?;
        Some(micros / 1e6)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for _ in 0..REMOVALS {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(REMOVAL_PAUSE);
        }
    }
}
