//! Attempts and pauses of other queues as a retry policy, from the attempt on at which a job is.

use std::time::Duration;

use lessor::proto::RetryPolicy;

use super::source::wire;

const MOST_ATTEMPTS: i64 = 1000;
const MOST_PAUSES: usize = 100;
const LONGEST_PAUSE: Duration = Duration::from_hours(30 * 24);
const NO_LIMIT: i32 = -1;

/// The pauses between attempts.
#[derive(Clone, Copy)]
pub(super) enum Backoff {
    None,
    /// Always the same, in milliseconds, of which a share may be random.
    Fixed {
        pause: f64,
        jitter: f64,
    },
    /// Twice as long each time.
    Doubling {
        pause: f64,
        jitter: f64,
    },
    /// One less than twice as long each time: 1, 3, 7, 15 times the first.
    AlmostDoubling {
        pause: f64,
    },
}

/// The policy of a job that may be tried so often in all, and was so often already.
pub(super) fn policy(attempts: i64, made: i64, backoff: Backoff) -> RetryPolicy {
    let made = made.max(0);
    let left = (attempts - made).max(1);
    let max_attempts = match i32::try_from(left) {
        Ok(count) if left <= MOST_ATTEMPTS => count,
        _ => NO_LIMIT,
    };
    let policy = RetryPolicy { max_attempts, ..RetryPolicy::default() };
    let power = |exponent: i64| 2_f64.powi(i32::try_from(exponent).unwrap_or(i32::MAX));
    match backoff {
        Backoff::None => of(policy, 0.0, 1.0, 0.0),
        Backoff::Fixed { pause, jitter } => of(policy, pause, 1.0, jitter),
        Backoff::Doubling { pause, jitter } => of(policy, pause * power(made), 2.0, jitter),
        Backoff::AlmostDoubling { pause } => {
            let pauses =
                (made + 1..made.saturating_add(left)).map(|nth| (power(nth) - 1.0) * pause);
            listed(policy, pauses.map(millis))
        }
    }
}

/// A policy with pauses one by one. Without any, it makes none.
pub(super) fn listed(policy: RetryPolicy, pauses: impl Iterator<Item = Duration>) -> RetryPolicy {
    let backoff_list: Vec<_> =
        pauses.take(MOST_PAUSES).map(|it| wire(it.min(LONGEST_PAUSE))).collect();
    if backoff_list.is_empty() {
        return of(policy, 0.0, 1.0, 0.0);
    }
    let max_attempts = policy.max_attempts;
    RetryPolicy { max_attempts, backoff_list, jitter: Some(0.0), ..RetryPolicy::default() }
}

fn of(policy: RetryPolicy, pause: f64, multiplier: f64, jitter: f64) -> RetryPolicy {
    RetryPolicy {
        initial_backoff: Some(wire(millis(pause))),
        multiplier,
        // The others know no longest pause.
        max_backoff: Some(wire(LONGEST_PAUSE)),
        jitter: Some(jitter.clamp(0.0, 1.0)),
        ..policy
    }
}

fn millis(count: f64) -> Duration {
    Duration::try_from_secs_f64(count / 1000.0)
        .map_or(if count > 0.0 { LONGEST_PAUSE } else { Duration::ZERO }, |span| {
            span.min(LONGEST_PAUSE)
        })
}
