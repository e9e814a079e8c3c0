//! What the daemon holds while it is attacked: memory, files, disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The most that was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Peaks {
    /// Resident memory in KiB, the system's own peak.
    pub(crate) memory: u64,
    /// Open files.
    pub(crate) files: usize,
    /// Octets in the data folder.
    pub(crate) disk: u64,
}

/// Looks every tenth of a second.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    looking: std::thread::JoinHandle<Peaks>,
}

impl Watch {
    pub(crate) fn start(pid: u32, folder: PathBuf) -> Watch {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let looking = std::thread::spawn(move || {
            let mut peaks = Peaks::default();
            while !stopped.load(Ordering::Relaxed) {
                let now = now(pid, &folder);
                peaks.memory = peaks.memory.max(now.memory);
                peaks.files = peaks.files.max(now.files);
                peaks.disk = peaks.disk.max(now.disk);
                std::thread::sleep(Duration::from_millis(100));
            }
            peaks
        });
        Watch { stop, looking }
    }

    pub(crate) fn end(self) -> Peaks {
        self.stop.store(true, Ordering::Relaxed);
        self.looking.join().unwrap()
    }
}

/// What is so at this moment; the memory is its peak since the start.
pub(crate) fn now(pid: u32, folder: &Path) -> Peaks {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let memory = status.lines().find_map(|line| {
        let kib = line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?;
        kib.trim().parse().ok()
    });
    let files = std::fs::read_dir(format!("/proc/{pid}/fd"));
    Peaks {
        memory: memory.unwrap_or(0),
        files: files.map_or(0, Iterator::count),
        disk: octets_below(folder),
    }
}

fn octets_below(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let octets = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(facts) if facts.is_dir() => octets_below(&entry.path()),
        // Blocks, since files may have holes.
        Ok(facts) => std::os::unix::fs::MetadataExt::blocks(&facts) * 512,
        Err(_) => 0,
    };
    entries.flatten().map(octets).sum()
}
