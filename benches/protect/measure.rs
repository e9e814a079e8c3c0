//! Time, CPU time and memory, and how they are told.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};

/// What one message took, and the process at its peak.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Figures {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    /// Octets of the process at its peak.
    pub(crate) peak: u64,
    /// Octets that came out.
    pub(crate) out: u64,
}

impl Figures {
    /// As a child tells it.
    pub(crate) fn line(&self) -> String {
        let (wall, cpu) = (self.wall.as_nanos(), self.cpu.as_nanos());
        format!("figures {wall} {cpu} {} {}", self.peak, self.out)
    }

    pub(crate) fn read(text: &str) -> Option<Self> {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("figures "))?;
        let numbers: Vec<u64> = line.split(' ').map_while(|n| n.parse().ok()).collect();
        let [wall, cpu, peak, out] = numbers[..] else {
            return None;
        };
        Some(Self {
            wall: Duration::from_nanos(wall),
            cpu: Duration::from_nanos(cpu),
            peak,
            out,
        })
    }

    /// For a message of so many octets.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn columns(&self, octets: usize) -> String {
        let mib = octets as f64 / f64::from(1 << 20);
        let ms = |span: Duration| span.as_secs_f64() * 1000.0;
        format!(
            "{:.2} | {:.2} | {:.0} | {:.2} | {:.1}",
            ms(self.wall),
            ms(self.cpu),
            mib / self.wall.as_secs_f64(),
            self.out as f64 / octets as f64,
            self.peak as f64 / f64::from(1 << 20)
        )
    }
}

/// CPU time of this process, or of the children it has waited for.
pub(crate) fn cpu(who: UsageWho) -> Duration {
    let usage = getrusage(who).expect("getrusage works");
    let span = |time: nix::sys::time::TimeVal| {
        let micros = time.tv_sec() * 1_000_000 + time.tv_usec();
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    };
    span(usage.user_time()) + span(usage.system_time())
}

/// The most memory that it had, or that one of those had.
pub(crate) fn peak(who: UsageWho) -> u64 {
    let usage = getrusage(who).expect("getrusage works");
    u64::try_from(usage.max_rss()).unwrap_or(0) * 1024
}

pub(crate) fn size(kib: usize) -> String {
    match kib {
        1024.. => format!("{} MiB", kib / 1024),
        _ => format!("{kib} KiB"),
    }
}

/// The processor, as Linux names it, and how many there are.
pub(crate) fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let name = name.map_or("a processor without a name", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} x {name}")
}
