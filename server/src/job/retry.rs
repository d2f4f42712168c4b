//! When a failed attempt is tried again, and when it is not.

use std::time::Duration;

use crate::clock::Timestamp;

/// How often and how patiently a job is tried.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Attempts in all, the first one included; `None`: no limit.
    pub max_attempts: Option<u32>,
    /// The backoff after the first failed attempt; zero: at once.
    pub initial_backoff: Duration,
    /// Factor from one backoff to the next, at least 1.
    pub multiplier: f64,
    /// No backoff is longer.
    pub max_backoff: Duration,
    /// Share of a backoff that is random, 0 to 1.
    pub jitter: f64,
    /// Backoffs attempt by attempt instead of the formula; the last one repeats.
    pub backoff_list: Vec<Duration>,
    /// Failure codes that end a job at its first failure.
    pub fatal_codes: Vec<String>,
    /// No new attempt begins later than this after the first lease; `None`: no such limit.
    pub max_retry_duration: Option<Duration>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: Some(3),
            initial_backoff: Duration::from_secs(2),
            multiplier: 2.0,
            max_backoff: Duration::from_hours(1),
            jitter: 0.2,
            backoff_list: Vec::new(),
            fatal_codes: Vec::new(),
            max_retry_duration: None,
        }
    }
}

impl RetryPolicy {
    /// The backoff after `attempts` attempts, of which the last failed:
    /// `min(max_backoff, initial · multiplier^(attempts − 1)) · (1 − jitter · random)`.
    ///
    /// The jitter only shortens, so a timetable that names the longest waits stays true.
    /// `random` is uniform in 0..1.
    pub fn backoff(&self, attempts: u32, random: f64) -> Duration {
        let step = attempts.saturating_sub(1);
        let base = match self.backoff_list.last() {
            Some(last) => *self.backoff_list.get(step as usize).unwrap_or(last),
            None => self.exponential(step),
        };
        base.mul_f64((1.0 - self.jitter * random).clamp(0.0, 1.0))
    }

    fn exponential(&self, step: u32) -> Duration {
        let factor = self.multiplier.powi(i32::try_from(step).unwrap_or(i32::MAX));
        let longest = self.max_backoff.as_secs_f64();
        // The product may be infinite; the cap makes it finite before it becomes a Duration.
        let seconds = (self.initial_backoff.as_secs_f64() * factor).min(longest);
        Duration::try_from_secs_f64(seconds).unwrap_or(self.max_backoff)
    }

    /// True when `attempts` attempts are all that the policy allows.
    pub fn spent(&self, attempts: u32) -> bool {
        self.max_attempts.is_some_and(|most| attempts >= most)
    }

    /// True when an attempt that starts at `at` is later than the policy allows.
    pub fn too_late(&self, first_leased_at: Timestamp, at: Timestamp) -> bool {
        self.max_retry_duration.is_some_and(|span| at > first_leased_at.after(span))
    }

    /// True when a failure with `code` must not be tried again.
    pub fn is_fatal(&self, code: &str) -> bool {
        self.fatal_codes.iter().any(|fatal| fatal == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(policy: &RetryPolicy, random: f64) -> Vec<f64> {
        (1..=5).map(|attempts| policy.backoff(attempts, random).as_secs_f64()).collect()
    }

    #[test]
    fn the_default_doubles_from_two_seconds() {
        assert_eq!(seconds(&RetryPolicy::default(), 0.0), [2.0, 4.0, 8.0, 16.0, 32.0]);
    }

    #[test]
    fn jitter_shortens_by_at_most_its_share() {
        assert_eq!(seconds(&RetryPolicy::default(), 1.0), [1.6, 3.2, 6.4, 12.8, 25.6]);
    }

    #[test]
    fn a_multiplier_of_one_is_a_fixed_backoff() {
        let policy = RetryPolicy { multiplier: 1.0, jitter: 0.0, ..RetryPolicy::default() };
        assert_eq!(seconds(&policy, 0.5), [2.0; 5]);
    }

    #[test]
    fn a_list_overrides_the_formula_and_its_last_entry_repeats() {
        let backoff_list = vec![Duration::from_secs(1), Duration::from_secs(10)];
        let policy = RetryPolicy { backoff_list, jitter: 0.0, ..RetryPolicy::default() };
        assert_eq!(seconds(&policy, 0.5), [1.0, 10.0, 10.0, 10.0, 10.0]);
    }

    proptest! {
        #[test]
        fn no_backoff_exceeds_the_longest_or_panics(
            attempts in 0u32..=u32::MAX,
            initial in 0u64..=10_000_000,
            longest in 0u64..=10_000_000,
            multiplier in 1.0f64..1e9,
            jitter in 0.0f64..=1.0,
            random in 0.0f64..1.0,
        ) {
            let policy = RetryPolicy {
                initial_backoff: Duration::from_millis(initial),
                max_backoff: Duration::from_millis(longest),
                multiplier,
                jitter,
                ..RetryPolicy::default()
            };
            prop_assert!(policy.backoff(attempts, random) <= policy.max_backoff);
        }

        #[test]
        fn without_jitter_backoffs_never_shrink(attempts in 1u32..100, multiplier in 1.0f64..10.0) {
            let policy = RetryPolicy { multiplier, jitter: 0.0, ..RetryPolicy::default() };
            prop_assert!(policy.backoff(attempts, 0.0) <= policy.backoff(attempts + 1, 0.0));
        }
    }
}
