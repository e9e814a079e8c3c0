//! When a recipient is tried again, when the sender is told, when it ends.
//!
//! Pure functions of a recipient, its message and the time. Holds always: a
//! deferral names the next moment, which is never behind the moment of expiry or the
//! end of a clock that the attempt has asked for (design section 3.3); at
//! that moment there is one last attempt, and a deferral then, or later, ends it
//! (RFC 5321 section 4.5.4.1); the sender is told of a delay once. Clock jumps do
//! not break it: where the clock stands before the message's acceptance, its age
//! is what its attempts must have waited (E57). Called by the queue's lanes and
//! sweep.

use std::time::Duration;

use crate::outcome::{Decision, Verdict};
use crate::types::{Ending, Fate, JobRecipient, Message, RecipientReport, Timestamp, Waiting};

use super::Settings;

/// A wait is never shorter, whatever is configured.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// What a message waits at most that was in flight at an unclean stop for the first
/// time: it goes behind the rest of the backlog (design section 3.1). Never longer
/// than one that was deferred waits.
const SUSPECT_WAIT: Duration = Duration::from_secs(60);

/// What follows from an attempt. `random` makes the jitter.
#[must_use]
pub fn next(
    recipient: &JobRecipient,
    message: &Message,
    now: Timestamp,
    reported: &RecipientReport,
    settings: &Settings,
    random: u32,
) -> Decision {
    if matches!(reported.fate, Fate::Held(_)) {
        // Nothing was tried.
        return Decision {
            verdict: Verdict::Held,
            attempts: recipient.attempts,
        };
    }
    let attempts = recipient.attempts.saturating_add(1);
    let verdict = match &reported.fate {
        Fate::Held(_) => Verdict::Held,
        Fate::Delivered(_) => Verdict::Delivered,
        Fate::Bounced(_) => Verdict::Bounced,
        Fate::Dropped(_) => Verdict::Dropped,
        Fate::Deferred(_) => {
            let wait = jittered(retry_wait(settings, attempts), random);
            let waiting = &reported.waiting;
            open(recipient, message, now, wait, waiting, settings)
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
        verdict: open(recipient, message, now, wait, &Waiting::default(), settings),
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
        verdict: open(recipient, message, now, wait, &Waiting::default(), settings),
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

/// The verdict for what was not delivered and may be tried again after `wait`, or
/// earlier, when a clock of its own ends.
fn open(
    recipient: &JobRecipient,
    message: &Message,
    now: Timestamp,
    wait: Duration,
    waiting: &Waiting,
    settings: &Settings,
) -> Verdict {
    let age = age(recipient, message, now, settings);
    let left = settings.expire.saturating_sub(age);
    if left.is_zero() {
        return match waiting.ending {
            Ending::Bounce => Verdict::Expired,
            Ending::Drop => Verdict::Dropped,
        };
    }
    let usual = settings.delay_notice;
    let tell_at = waiting.tell.map_or(usual, |tell| tell.min(usual));
    let may_tell =
        tell_at < settings.expire && !recipient.delay_told && message.envelope.sender.is_some();
    let tell_early = waiting.tell.filter(|_| may_tell);
    let clocks = [waiting.until, tell_early.map(|_| tell_at)];
    let ends = clocks.into_iter().flatten();
    let ends = ends
        .filter(|end| *end > age)
        .map(|end| (end - age).max(WAIT_MIN));
    let wait = ends.fold(wait, Duration::min);
    Verdict::Waits {
        next: now + wait.min(left),
        tell_delay: may_tell && age >= tell_at,
    }
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

    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    /// No jitter.
    const MIDDLE: u32 = u32::MAX / 2;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(1_000_000_000_000_000) + Duration::from_secs(seconds)
    }

    fn reported(fate: Fate, waiting: Waiting) -> RecipientReport {
        RecipientReport {
            index: 0,
            fate,
            method: None,
            evidence: crate::types::Evidence::default(),
            waiting,
            copy: None,
            note: None,
        }
    }

    fn deferred(attempts: u32, told: bool, now: Timestamp) -> Verdict {
        let fate = Fate::Deferred(failure());
        let recipient = recipient(attempts, told);
        let decision = next(
            &recipient,
            &message(at(0)),
            now,
            &reported(fate, Waiting::default()),
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
            let reported = reported(fate.clone(), Waiting::default());
            let verdict = next(&recipient, &message, at(DAY), &reported, &settings, MIDDLE).verdict;
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

    /// A deferral of this age, after so many attempts, that waits for clocks.
    fn waiting(attempts: u32, told: bool, age: u64, waiting: Waiting) -> Verdict {
        let reported = reported(Fate::Deferred(failure()), waiting);
        let (recipient, message) = (recipient(attempts, told), message(at(0)));
        let settings = Settings::default();
        next(&recipient, &message, at(age), &reported, &settings, MIDDLE).verdict
    }

    #[test]
    fn the_end_of_a_clock_is_met() {
        let clock = |minutes| Waiting {
            until: Some(Duration::from_secs(minutes * MINUTE)),
            ..Waiting::default()
        };
        for (attempts, age, ends, next) in [
            // The list comes first, then the clock, then the list again.
            (0, 0, 15, 5),
            (1, 6, 15, 15),
            (2, 15, 15, 35),
            (6, 60, 61, 61),
            // A moment is not shorter than the shortest wait.
            (0, 0, 0, 5),
        ] {
            let verdict = waiting(attempts, false, age * MINUTE, clock(ends));
            let next_age = seconds_after(at(0), verdict).div_ceil(MINUTE);
            assert_eq!(next_age, next, "{attempts} {age} {ends}");
        }
    }

    #[test]
    fn who_waits_for_a_domains_policy_hears_of_it_early_and_once() {
        let violated = |minutes| Waiting {
            tell: Some(Duration::from_secs(minutes * MINUTE)),
            ..Waiting::default()
        };
        let told = |verdict| match verdict {
            Verdict::Waits { tell_delay, .. } => tell_delay,
            other => panic!("{other:?}"),
        };
        assert!(!told(waiting(1, false, 14 * MINUTE, violated(15))));
        assert!(told(waiting(1, false, 15 * MINUTE, violated(15))));
        assert!(!told(waiting(2, true, 16 * MINUTE, violated(15))));
        // The earlier of the two, and the attempt that tells is not late.
        assert!(told(waiting(6, false, 4 * HOUR, violated(9 * 60))));
        let verdict = waiting(1, false, 6 * MINUTE, violated(15));
        assert_eq!(seconds_after(at(0), verdict), 15 * MINUTE);
        // Once told, there is nothing to hurry for.
        let verdict = waiting(1, true, 6 * MINUTE, violated(15));
        assert_eq!(seconds_after(at(6 * MINUTE), verdict), 10 * MINUTE);
    }

    #[test]
    fn the_ending_of_who_waits_comes_at_expiry_alone() {
        let dropped = Waiting {
            ending: Ending::Drop,
            ..Waiting::default()
        };
        let verdict = waiting(30, true, 5 * DAY - HOUR, dropped);
        assert!(matches!(verdict, Verdict::Waits { .. }));
        assert_eq!(waiting(31, true, 5 * DAY, dropped), Verdict::Dropped);
        assert_eq!(
            waiting(31, true, 5 * DAY, Waiting::default()),
            Verdict::Expired
        );
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
                &reported(fate, Waiting::default()),
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
