//! Every time limit of an attempt, in one table.
//!
//! Holds always: a limit counts from the moment something is awaited to the
//! moment it is there whole, so that a far side that drips single octets gains
//! nothing (RFC 5321 section 4.5.3.2, pitfall E15). A probe waits less, since
//! somebody sits in front of it: [`Patience`]. Called by `connection` and `attempt`.

use std::time::Duration;

use tokio::time::Instant;

use crate::types::Stage;

const fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

/// The TLS handshake, once the 220 to STARTTLS is there.
pub(super) const HANDSHAKE: Duration = minutes(1);
/// The reply to QUIT, which changes nothing (RFC 5321 section 4.1.1.10).
pub(super) const QUIT: Duration = Duration::from_secs(5);
/// From the connection to the first MAIL: what a tarpit may take in all.
pub(super) const SETUP: Duration = minutes(15);
/// After this long an attempt begins with no further host or address: what many
/// tarpits may take together.
pub(super) const ATTEMPT: Duration = minutes(30);
/// How long a kept connection stays fit for another message.
pub(super) const KEPT_AGE: Duration = minutes(10);
/// How long it may lie idle; most servers hang up after five minutes (RFC 5321
/// section 4.5.3.2.7).
pub(super) const KEPT_IDLE: Duration = minutes(1);

/// How long the far side has for what it owes at `stage`.
pub(super) const fn limit(stage: Stage) -> Duration {
    match stage {
        Stage::Route => Duration::from_secs(10),
        Stage::Connect => Duration::from_secs(30),
        // RFC 5321 sections 4.5.3.2.1 to 4.5.3.2.6.
        Stage::Greeting | Stage::Mail | Stage::Rcpt => minutes(5),
        Stage::Data => minutes(2),
        // For each block.
        Stage::Message => minutes(3),
        Stage::FinalDot => minutes(10),
        // Not named there; as for the greeting.
        Stage::Hello | Stage::StartTls | Stage::Auth => minutes(5),
        // Ours alone.
        Stage::Protect => minutes(5),
    }
}

/// How long a probe waits for each thing.
const PROBE_EACH: Duration = Duration::from_secs(8);
/// After this long a probe begins with no further host or address, and gives up
/// the one it is at.
const PROBE: Duration = Duration::from_secs(50);
/// When a probe is cut off, whatever it is at.
pub(super) const PROBE_ALL: Duration = Duration::from_secs(60);

/// How long is waited: for a delivery, as long as the table says; for a probe, less.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    each: Duration,
    end: Option<Instant>,
}

impl Patience {
    /// The table's.
    pub(super) const DELIVERY: Self = Self {
        each: Duration::MAX,
        end: None,
    };

    /// Of a probe that began then.
    pub(super) fn probe(began: Instant) -> Self {
        Self {
            each: PROBE_EACH,
            end: Some(began + PROBE),
        }
    }

    /// As [`limit`].
    pub(super) fn limit(self, stage: Stage) -> Duration {
        limit(stage).min(self.each)
    }

    /// As [`HANDSHAKE`].
    pub(super) fn handshake(self) -> Duration {
        HANDSHAKE.min(self.each)
    }

    /// When what begins now must be over, `span` being its time.
    pub(super) fn until(self, span: Duration) -> Instant {
        let until = Instant::now() + span;
        self.end.map_or(until, |end| end.min(until))
    }
}

/// The watchdog over a transaction up to its final dot: half an hour, and what
/// `octets` take at 8 KiB a second. The final dot has its own limit, which must
/// not be cut short (RFC 1047).
pub(super) fn transaction(octets: u64) -> Duration {
    minutes(30) + Duration::from_secs(octets / 8192)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e15_the_table_of_rfc5321_4_5_3_2() {
        let table = [
            (Stage::Greeting, 5),
            (Stage::Mail, 5),
            (Stage::Rcpt, 5),
            (Stage::Data, 2),
            (Stage::Message, 3),
            (Stage::FinalDot, 10),
        ];
        for (stage, limit_minutes) in table {
            assert!(limit(stage) >= minutes(limit_minutes), "{stage:?}");
        }
        assert_eq!(transaction(0), minutes(30));
        assert!(transaction(50 << 20) > minutes(120));
    }
}
