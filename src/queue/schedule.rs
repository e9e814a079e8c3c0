//! When a recipient is tried again, when the sender is told, when it ends.
//!
//! Pure functions of a recipient, its message and the time. Holds always: a
//! deferral names the next moment, which is never behind the moment of expiry; at
//! that moment there is one last attempt, and a deferral then, or later, ends it
//! (RFC 5321 section 4.5.4.1); the sender is told of a delay once. Clock jumps do
//! not break it: where the clock stands before the message's acceptance, its age
//! is what its attempts must have waited (E57). Called by the queue's lanes and
//! sweep.

use std::time::Duration;

use crate::outcome::{Decision, Verdict};
use crate::types::{Fate, JobRecipient, Message, RecipientReport, Timestamp};

use super::Settings;

/// A wait is never shorter, whatever is configured.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// What a message waits at most that was in flight at an unclean stop for the first
/// time: it goes behind the rest of the backlog (design section 3.1). Never longer
/// than one that was deferred waits.
const SUSPECT_WAIT: Duration = Duration::from_secs(60);
/// After this long the sender of what waits for the sake of a published policy is
/// told, however long `delay_notice` is. (Not yet a key: `[security]
/// security_patience`.)
const SECURITY_PATIENCE: Duration = Duration::from_secs(15 * 60);

/// What follows from an attempt. `random` makes the jitter.
#[must_use]
pub fn next(
    recipient: &JobRecipient,
    message: &Message,
    now: Timestamp,
    report: &RecipientReport,
    settings: &Settings,
    random: u32,
) -> Decision {
    let attempts = recipient.attempts.saturating_add(1);
    let verdict = match &report.fate {
        Fate::Delivered(_) => Verdict::Delivered,
        Fate::Bounced(_) => Verdict::Bounced,
        Fate::Dropped(_) => Verdict::Dropped,
        Fate::Deferred(_) => {
            let wait = jittered(retry_wait(settings, attempts), random);
            match report.is_violated() {
                true => violated(recipient, message, now, wait, settings),
                false => open(recipient, message, now, wait, settings),
            }
        }
    };
    Decision { verdict, attempts }
}

/// What follows for a recipient that is due behind its site's backoff and was not
/// attempted.
#[must_use]
pub fn waited(
    recipient: &JobRecipient,
    message: &Message,
    now: Timestamp,
    settings: &Settings,
    random: u32,
) -> Decision {
    // As if it had been attempted all the time: else a message that was attempted
    // once and then waits for days would be looked at every few minutes.
    let age = age(recipient, message, now, settings);
    let attempts = recipient.attempts.max(attempts_at(age, settings));
    let wait = jittered(retry_wait(settings, attempts), random);
    Decision {
        verdict: open(recipient, message, now, wait, settings),
        attempts: recipient.attempts,
    }
}

/// How many attempts of the list a message of this age has seen.
fn attempts_at(age: Duration, settings: &Settings) -> u32 {
    let mut waited = Duration::ZERO;
    let seen = settings.retry.iter().take_while(|wait| {
        let is_seen = waited <= age;
        waited = waited.saturating_add(**wait);
        is_seen
    });
    u32::try_from(seen.count()).unwrap_or(u32::MAX)
}

/// What follows for a message that was in flight at an unclean stop: counted as
/// an attempt, so that one which crashes the process can't do it for ever.
#[must_use]
pub fn interrupted(
    recipient: &JobRecipient,
    message: &Message,
    now: Timestamp,
    settings: &Settings,
    random: u32,
) -> Decision {
    let attempts = recipient.attempts.saturating_add(1);
    let wait = jittered(retry_wait(settings, attempts), random);
    let wait = match recipient.attempts {
        0 => wait.min(SUSPECT_WAIT),
        _ => wait,
    };
    Decision {
        verdict: open(recipient, message, now, wait, settings),
        attempts,
    }
}

/// The wait after so many attempts; the last of the list repeats. Also a site's
/// backoff after so many failures.
pub(super) fn retry_wait(settings: &Settings, attempts: u32) -> Duration {
    let place = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
    let wait = settings.retry.get(place).or(settings.retry.last());
    wait.copied().unwrap_or(WAIT_MIN).max(WAIT_MIN)
}

/// ±10 %, so that what failed together is not retried together.
pub(super) fn jittered(wait: Duration, random: u32) -> Duration {
    let permille = 900 + u128::from(random) * 200 / u128::from(u32::MAX);
    let micros = wait.as_micros().saturating_mul(permille) / 1000;
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)).max(WAIT_MIN)
}

/// The longest that a due entry written now can lie ahead; one further ahead was
/// written under another clock.
pub(super) fn longest_wait(settings: &Settings) -> Duration {
    let longest = settings.retry.iter().max().copied().unwrap_or(WAIT_MIN);
    jittered(longest, u32::MAX).saturating_add(SUSPECT_WAIT)
}

/// When a message accepted at `received_at` next wants a look though it is not
/// attempted: for its delay notice first, then for its end.
pub(super) fn wants_look(received_at: Timestamp, settings: &Settings) -> Timestamp {
    received_at + settings.delay_notice.min(settings.expire)
}

/// The verdict for what was not delivered and may be tried again after `wait`.
fn open(
    recipient: &JobRecipient,
    message: &Message,
    now: Timestamp,
    wait: Duration,
    settings: &Settings,
) -> Verdict {
    let age = age(recipient, message, now, settings);
    let left = settings.expire.saturating_sub(age);
    if left.is_zero() {
        return Verdict::Expired;
    }
    let tell_delay = settings.delay_notice < settings.expire
        && age >= settings.delay_notice
        && !recipient.delay_told
        && message.envelope.sender.is_some();
    Verdict::Waits {
        next: now + wait.min(left),
        tell_delay,
    }
}

/// The same for what waits because less is proven than the recipient's domain has
/// published: its sender is told as soon as an accident is unlikely (design section
/// 3.3).
fn violated(
    recipient: &JobRecipient,
    message: &Message,
    now: Timestamp,
    wait: Duration,
    settings: &Settings,
) -> Verdict {
    let notice = settings.delay_notice.min(SECURITY_PATIENCE);
    let age = age(recipient, message, now, settings);
    let early = Settings {
        delay_notice: notice,
        ..settings.clone()
    };
    // So that there is an attempt, and with it a reason, when the sender is told.
    let wait = match notice.saturating_sub(age) {
        Duration::ZERO => wait,
        left => wait.min(left.max(WAIT_MIN)),
    };
    open(recipient, message, now, wait, &early)
}

/// How old a message is.
fn age(
    recipient: &JobRecipient,
    message: &Message,
    now: Timestamp,
    settings: &Settings,
) -> Duration {
    if now >= message.received_at {
        return now.since(message.received_at);
    }
    // The clock was set back behind the acceptance: else a message could live for
    // as long as the clock has jumped.
    let listed = u32::try_from(settings.retry.len()).unwrap_or(u32::MAX);
    let single = recipient.attempts.min(listed);
    let waits = (1..=single).map(|attempt| retry_wait(settings, attempt));
    let repeats = recipient.attempts - single;
    waits.fold(
        retry_wait(settings, u32::MAX).saturating_mul(repeats),
        Duration::saturating_add,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::fixture::{failure, message, recipient};
    use crate::types::{Evidence, StsFacts, StsMode, StsSource};

    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    /// No jitter.
    const MIDDLE: u32 = u32::MAX / 2;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(1_000_000_000_000_000) + Duration::from_secs(seconds)
    }

    fn reported(fate: Fate) -> RecipientReport {
        RecipientReport {
            index: 0,
            fate,
            method: None,
            evidence: Evidence::default(),
        }
    }

    /// Deferred because the domain's policy is violated.
    fn violation(attempts: u32, told: bool, now: Timestamp) -> Verdict {
        let mut report = reported(Fate::Deferred(failure()));
        report.evidence.sts = Some(StsFacts {
            mode: StsMode::Enforce,
            id: "1".into(),
            mx: vec![],
            fetched_at: at(0),
            expires_at: at(DAY),
            source: StsSource::Cache,
            finding: Some(failure().reason),
        });
        let (recipient, message) = (recipient(attempts, told), message(at(0)));
        let settings = Settings::default();
        next(&recipient, &message, now, &report, &settings, MIDDLE).verdict
    }

    #[test]
    fn the_sender_is_told_of_a_violation_after_a_quarter_of_an_hour() {
        let told = |verdict| {
            matches!(
                verdict,
                Verdict::Waits {
                    tell_delay: true,
                    ..
                }
            )
        };
        for (minutes, attempts, wait) in [(0, 0, 5), (10, 1, 5), (14, 1, 1), (15, 2, 20)] {
            let now = at(minutes * MINUTE);
            let verdict = violation(attempts, false, now);
            assert_eq!(seconds_after(now, verdict) / MINUTE, wait, "{minutes}");
            assert_eq!(told(verdict), minutes == 15, "{minutes}");
        }
        assert!(!told(violation(2, true, at(16 * MINUTE))));
        assert_eq!(violation(9, true, at(5 * DAY)), Verdict::Expired);
        assert!(
            !told(deferred(2, false, at(16 * MINUTE))),
            "another failure"
        );
    }

    fn deferred(attempts: u32, told: bool, now: Timestamp) -> Verdict {
        let fate = Fate::Deferred(failure());
        let recipient = recipient(attempts, told);
        let decision = next(
            &recipient,
            &message(at(0)),
            now,
            &reported(fate),
            &Settings::default(),
            MIDDLE,
        );
        assert_eq!(decision.attempts, attempts + 1);
        decision.verdict
    }

    /// Rounds the half permille of the middle away.
    fn seconds_after(now: Timestamp, verdict: Verdict) -> u64 {
        match verdict {
            Verdict::Waits { next, .. } => {
                (next.since(now).as_secs_f64() / 10.0).round() as u64 * 10
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn waits_follow_the_list_and_the_last_repeats() {
        let minutes = [5, 10, 20, 40, 60, 120, 240, 240, 240];
        for (attempts, wait) in (0..).zip(minutes) {
            let now = at(MINUTE);
            let waited = seconds_after(now, deferred(attempts, false, now));
            assert!(
                waited.abs_diff(wait * MINUTE) <= wait,
                "{attempts}: {waited}"
            );
        }
    }

    #[test]
    fn jitter_is_ten_percent_either_way() {
        let wait = Duration::from_secs(1000);
        assert_eq!(jittered(wait, 0), Duration::from_secs(900));
        assert_eq!(jittered(wait, u32::MAX), Duration::from_secs(1100));
        assert_eq!(
            jittered(Duration::MAX, u32::MAX),
            Duration::from_micros(u64::MAX)
        );
        assert_eq!(jittered(Duration::ZERO, 0), WAIT_MIN);
    }

    #[test]
    fn the_last_attempt_is_at_expiry_and_a_deferral_then_ends_it() {
        let late = at(5 * DAY - HOUR);
        let Verdict::Waits { next, .. } = deferred(30, true, late) else {
            panic!("expired too early");
        };
        assert_eq!(next, at(5 * DAY));
        assert_eq!(deferred(31, true, next), Verdict::Expired);
        assert_eq!(deferred(31, true, at(9 * DAY)), Verdict::Expired);
    }

    #[test]
    fn the_sender_is_told_of_a_delay_once() {
        let tells = |told, now| match deferred(6, told, now) {
            Verdict::Waits { tell_delay, .. } => tell_delay,
            other => panic!("{other:?}"),
        };
        assert!(!tells(false, at(4 * HOUR - 1)));
        assert!(tells(false, at(4 * HOUR)));
        assert!(tells(false, at(5 * HOUR)));
        assert!(!tells(true, at(5 * HOUR)));
    }

    #[test]
    fn no_delay_notice_if_it_would_come_with_expiry_or_has_no_reader() {
        let fate = Fate::Deferred(failure());
        let recipient = recipient(6, false);
        let never = Settings {
            delay_notice: Duration::from_secs(5 * DAY),
            ..Settings::default()
        };
        let mut null_sender = message(at(0));
        null_sender.envelope.sender = None;
        for (message, settings) in [(message(at(0)), never), (null_sender, Settings::default())] {
            let report = reported(fate.clone());
            let verdict = next(&recipient, &message, at(DAY), &report, &settings, MIDDLE).verdict;
            assert!(matches!(
                verdict,
                Verdict::Waits {
                    tell_delay: false,
                    ..
                }
            ));
        }
    }

    #[test]
    fn e57_a_clock_set_back_gives_no_eternal_life() {
        let before = Timestamp::from_micros(0);
        assert_eq!(
            seconds_after(before, deferred(0, false, before)),
            5 * MINUTE
        );
        // 7 waits of the list are 8.25 h, the others 4 h each.
        assert!(matches!(deferred(34, true, before), Verdict::Waits { .. }));
        assert_eq!(deferred(36, true, before), Verdict::Expired);
    }

    #[test]
    fn e57_a_clock_set_forward_ends_it_at_the_next_deferral() {
        assert_eq!(deferred(0, false, at(400 * DAY)), Verdict::Expired);
    }

    #[test]
    fn waiting_behind_a_backoff_is_no_attempt() {
        let recipient = recipient(2, false);
        let settings = Settings::default();
        let decision = waited(&recipient, &message(at(0)), at(5 * HOUR), &settings, MIDDLE);
        assert_eq!(decision.attempts, 2);
        let waited_for = seconds_after(at(5 * HOUR), decision.verdict);
        assert_eq!(waited_for.div_ceil(HOUR), 4, "as others of its age");
        assert!(matches!(
            decision.verdict,
            Verdict::Waits {
                tell_delay: true,
                ..
            }
        ));
        let decision = waited(&recipient, &message(at(0)), at(5 * DAY), &settings, MIDDLE);
        assert_eq!(decision.verdict, Verdict::Expired);
    }

    #[test]
    fn what_was_in_flight_waits_a_minute_and_longer_each_time() {
        let settings = Settings::default();
        let waits = [0, 1, 2].map(|attempts| {
            let recipient = recipient(attempts, false);
            let decision = interrupted(&recipient, &message(at(0)), at(0), &settings, MIDDLE);
            assert_eq!(decision.attempts, attempts + 1);
            seconds_after(at(0), decision.verdict) / MINUTE
        });
        assert_eq!(waits, [1, 10, 20]);
    }

    #[test]
    fn what_was_in_flight_waits_no_longer_than_a_deferral() {
        let settings = Settings {
            retry: vec![Duration::from_secs(20)],
            ..Settings::default()
        };
        let (recipient, message) = (recipient(0, false), message(at(0)));
        let decision = interrupted(&recipient, &message, at(0), &settings, MIDDLE);
        assert_eq!(seconds_after(at(0), decision.verdict), 20);
    }

    #[test]
    fn other_fates_are_endings() {
        let settings = Settings::default();
        for (fate, verdict) in [
            (Fate::Bounced(failure()), Verdict::Bounced),
            (Fate::Dropped(failure()), Verdict::Dropped),
        ] {
            let decision = next(
                &recipient(0, false),
                &message(at(0)),
                at(0),
                &reported(fate),
                &settings,
                0,
            );
            assert_eq!(decision.verdict, verdict);
        }
    }

    #[test]
    fn an_empty_list_does_not_spin() {
        let settings = Settings {
            retry: Vec::new(),
            ..Settings::default()
        };
        assert_eq!(retry_wait(&settings, 1), WAIT_MIN);
        assert!(longest_wait(&settings) > WAIT_MIN);
    }
}
