//! Whether the system lets us open as many files as the limits may need.
//!
//! Holds always: connections are files, and so are those of the spool: where the
//! first can use them all up, the second fail, and mail is refused. So the soft
//! limit is raised as far as may be, and a limit that is too low is told. Called
//! at start and at a reload.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::Config;

/// Makes room for the connections that the configuration allows, or says that
/// there is none.
pub(super) fn make_room(config: &Config) {
    let needed = needed(config.ingress.limits.connections, config.queue.connections);
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        // Under fences of their own, operators set what they need.
        return;
    };
    let wanted = needed.min(hard);
    let allowed = match wanted > soft && setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_ok() {
        true => wanted,
        false => soft,
    };
    if let Some(warning) = shortage(allowed, needed) {
        tracing::warn!("{warning}");
    }
}

/// Files for all connections and for everything else.
fn needed(from_clients: usize, to_others: usize) -> u64 {
    (from_clients.saturating_add(to_others) as u64).saturating_add(OTHERS)
}

fn shortage(allowed: u64, needed: u64) -> Option<String> {
    (allowed < needed).then(|| {
        format!(
            "{allowed} open files are allowed, and the limits of connections may need {needed}: \
             raise LimitNOFILE of the service (ulimit -n), or lower [limits] connections"
        )
    })
}

/// Journal, index, audit, bodies being read, command line, dashboards, lookups,
/// and connections that are being told why they must go.
const OTHERS: u64 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    /// The default limits, a shell's usual `ulimit -n`, and the unit as shipped.
    #[test]
    fn the_default_limits_fit_the_unit_and_not_a_shell() {
        let needed = needed(
            crate::ingress::Limits::default().connections,
            crate::queue::Settings::default().connections,
        );
        assert_eq!(needed, 1712);
        assert!(shortage(1024, needed).unwrap().contains("LimitNOFILE"));
        let unit = include_str!("../../systemd/postern.service");
        let limit = unit.lines().find_map(|l| l.strip_prefix("LimitNOFILE="));
        assert_eq!(shortage(limit.unwrap().parse().unwrap(), needed), None);
    }
}
