//! What a process and its descendants have used, from /proc, and the disk's flushes.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What a tree of processes has used since its start. Children that have ended and were waited
/// for are in it, as the kernel adds their use to that of the parent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Used {
    /// CPU time in user space and kernel, seconds.
    pub(crate) cpu: f64,
    /// Octets that went, or will go, to storage.
    pub(crate) written: u64,
}

/// Asks for the tree of this process.
pub(crate) fn used(pid: u32) -> Used {
    let mut used = Used::default();
    for pid in tree(pid) {
        // Whoever has ended meanwhile counts through its parent.
        used.cpu += cpu(pid).unwrap_or_default();
        used.written += written(pid).unwrap_or_default();
    }
    used
}

/// Fields of /proc/PID/stat from the third on, behind the name in brackets (proc(5)).
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

fn cpu(pid: u32) -> Option<f64> {
    // utime, stime, cutime and cstime are fields 14 to 17; in hundredths of a second.
    let fields = stat(pid)?;
    let ticks = fields.get(11..15)?.iter().map(|t| t.parse::<f64>().ok());
    Some(ticks.sum::<Option<f64>>()? / 100.0)
}

fn written(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    let line = text.lines().find(|line| line.starts_with("write_bytes:"))?;
    line.split_once(' ')?.1.trim().parse().ok()
}

/// The process and all its descendants.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        let parent = stat(pid).and_then(|fields| fields.get(1)?.parse().ok());
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(pid) = tree.get(next) {
        tree.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    tree
}

/// Looks from time to time how much memory a tree of processes has, until it is asked.
pub(crate) struct Memory {
    peak: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Memory {
    /// Begins to watch.
    pub(crate) fn watch(pid: u32) -> Memory {
        let (peak, over) = (Arc::default(), Arc::default());
        let watcher = Memory {
            peak: Arc::clone(&peak),
            over: Arc::clone(&over),
        };
        std::thread::spawn(move || {
            while !over.load(Relaxed) {
                let now = tree(pid).into_iter().filter_map(pss).sum();
                peak.fetch_max(now, Relaxed);
                std::thread::sleep(Duration::from_millis(500));
            }
        });
        watcher
    }

    /// The most that was seen, in KiB: what pages are shared by several processes counts in parts.
    pub(crate) fn peak(self) -> u64 {
        self.over.store(true, Relaxed);
        self.peak.load(Relaxed)
    }
}

fn pss(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find(|line| line.starts_with("Pss:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Flushes that the disk under a folder has done since the machine's start: a figure of the whole
/// machine. None where the kernel does not count them, or the folder is on no disk.
pub(crate) fn flushes(folder: &Path) -> Option<u64> {
    let device = fs::metadata(folder).ok()?.dev();
    let (major, minor) = (
        (device >> 8) & 0xfff,
        (device & 0xff) | ((device >> 12) & 0xfff00),
    );
    let text = fs::read_to_string("/proc/diskstats").ok()?;
    let numbers = [major.to_string(), minor.to_string()];
    let line = text.lines().find(|line| {
        let mut fields = line.split_whitespace();
        fields.next() == Some(&numbers[0]) && fields.next() == Some(&numbers[1])
    })?;
    // The 19th field, since Linux 5.5 (Documentation/admin-guide/iostats.rst).
    line.split_whitespace().nth(18)?.parse().ok()
}

/// The memory that a process has now, and the most it ever had, in octets (VmRSS, VmHWM).
pub(crate) fn resident(pid: u32) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let kib = |name| field(name).unwrap_or_default() * 1024;
    (kib("VmRSS:"), kib("VmHWM:"))
}

/// Octets that a folder takes on the disk, with all below it.
pub(crate) fn disk(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => disk(&entry.path()),
        Ok(data) => data.blocks() * 512,
        // Gone meanwhile.
        Err(_) => 0,
    };
    entries.map(size).sum()
}
