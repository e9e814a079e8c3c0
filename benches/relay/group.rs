//! The CPU time of a server whose processes the kernel forgets as they end.
//!
//! Exim tells the kernel not to keep its children for it (SIGCHLD ignored), so what they used is
//! not added to their parent's use, and /proc has no sum of it. A control group (cgroup v2) counts
//! all that ever was in it. Where none can be made the figures come from /proc alone.

use std::fs;
use std::path::{Path, PathBuf};

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
        let folder = Path::new(mount).join(format!("postern-bench-{}", std::process::id()));
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
        // A server's last processes may still be ending.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
