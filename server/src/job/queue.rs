//! What a queue asks of its jobs and of those who lease them.

use std::time::Duration;

use super::{MAX_LEASE_LOSSES, Push, Retention, RetryPolicy, Spec};

/// Jobs that a queue holds at most, unless its settings say otherwise: unfinished ones.
pub const DEFAULT_MAX_JOBS: u64 = 1_000_000;

/// The settings of a queue; the default is a queue that nobody set up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueSettings {
    /// How often they were changed; 0: never.
    pub revision: u64,
    /// Gives out no jobs.
    pub paused: bool,
    /// For jobs that name no retry policy.
    pub retry: Option<RetryPolicy>,
    /// For jobs that name no visibility timeout.
    pub lease_duration: Option<Duration>,
    /// For jobs that name no attempt timeout.
    pub attempt_timeout: Option<Duration>,
    /// For jobs that name no retention.
    pub retention: Option<Retention>,
    /// Jobs leased at once over all workers; `None`: no limit.
    pub max_leased: Option<u32>,
    /// How fast jobs are given out; `None`: no limit.
    pub rate_limit: Option<RateLimit>,
    /// Unfinished jobs at most; `None`: [`DEFAULT_MAX_JOBS`].
    pub max_jobs: Option<u64>,
    /// Bytes of records of unfinished jobs at most; `None`: no limit.
    pub max_bytes: Option<u64>,
    /// This many lost leases make a job a dead letter; `None`: [`MAX_LEASE_LOSSES`].
    pub max_lease_losses: Option<u32>,
    /// When the queue counts as unhealthy.
    pub health: Health,
    /// The endpoint that the jobs are sent to; `None`: workers lease them.
    pub push: Option<Push>,
}

/// So many leases per period, and as many at once after a rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Leases in each period, at least 1.
    pub permits: u32,
    /// The period.
    pub period: Duration,
    /// Leases at once after a rest, at least 1.
    pub burst: u32,
}

impl RateLimit {
    /// The time between two leases at the full rate, in microseconds, at least 1.
    pub fn interval_micros(self) -> u64 {
        let period = u64::try_from(self.period.as_micros()).unwrap_or(u64::MAX);
        (period / u64::from(self.permits.max(1))).max(1)
    }
}

/// When a queue counts as unhealthy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Health {
    /// Ready jobs at most.
    pub max_ready: u64,
    /// Dead letters among the finished jobs at most, 0 to 1.
    pub max_dead_ratio: f64,
    /// How long the oldest ready job may have waited; `None`: any time.
    pub max_oldest_ready_age: Option<Duration>,
}

impl Default for Health {
    fn default() -> Self {
        Self { max_ready: 1000, max_dead_ratio: 0.1, max_oldest_ready_age: None }
    }
}

/// What a producer left open, so that the queue's settings decide it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// It named no retry policy.
    pub retry: bool,
    /// It named no retention.
    pub retention: bool,
}

impl QueueSettings {
    /// Decides what the producer of `spec` left open.
    pub fn complete(&self, spec: &mut Spec, open: Open) {
        if let (true, Some(retry)) = (open.retry, &self.retry) {
            spec.retry.clone_from(retry);
        }
        if let (true, Some(retention)) = (open.retention, self.retention) {
            spec.retention = retention;
        }
        spec.lease_duration = spec.lease_duration.or(self.lease_duration);
        spec.attempt_timeout = spec.attempt_timeout.or(self.attempt_timeout);
    }

    /// Jobs leased at once over all workers; `None`: no limit. An endpoint is a worker of bounded
    /// concurrency, however many brokers send to it.
    pub fn most_leased(&self) -> Option<u32> {
        let parallel = self.push.as_ref().map(|push| push.max_parallel);
        self.max_leased.into_iter().chain(parallel).min()
    }

    /// This many lost leases make a job a dead letter.
    pub fn max_losses(&self) -> u32 {
        self.max_lease_losses.unwrap_or(MAX_LEASE_LOSSES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Keep;

    fn settings() -> QueueSettings {
        QueueSettings {
            retry: Some(RetryPolicy { max_attempts: Some(9), ..RetryPolicy::default() }),
            lease_duration: Some(Duration::from_secs(5)),
            attempt_timeout: Some(Duration::from_secs(50)),
            retention: Some(Retention {
                dead: Keep { count: Some(1), ..Keep::DEAD },
                ..Retention::default()
            }),
            ..QueueSettings::default()
        }
    }

    #[test]
    fn a_queue_decides_what_its_producer_left_open() {
        let mut spec = Spec::default();
        settings().complete(&mut spec, Open { retry: true, retention: true });
        assert_eq!(Some(&spec.retry), settings().retry.as_ref());
        assert_eq!(Some(spec.retention), settings().retention);
        assert_eq!(spec.lease_duration, settings().lease_duration);
        assert_eq!(spec.attempt_timeout, settings().attempt_timeout);
    }

    #[test]
    fn a_queue_decides_nothing_that_its_producer_said() {
        let said = Spec {
            lease_duration: Some(Duration::from_secs(1)),
            attempt_timeout: Some(Duration::from_secs(2)),
            ..Spec::default()
        };
        let mut spec = said.clone();
        settings().complete(&mut spec, Open::default());
        assert_eq!(spec, said);
    }

    #[test]
    fn a_queue_that_nobody_set_up_leaves_everything_as_it_is() {
        let mut spec = Spec::default();
        QueueSettings::default().complete(&mut spec, Open { retry: true, retention: true });
        assert_eq!(spec, Spec::default());
        assert_eq!(QueueSettings::default().max_losses(), MAX_LEASE_LOSSES);
        let patient = QueueSettings { max_lease_losses: Some(8), ..QueueSettings::default() };
        assert_eq!(patient.max_losses(), 8);
    }

    #[test]
    fn the_narrower_of_two_limits_of_leases_holds() {
        let limited = |max_leased, parallel: Option<u32>| {
            let push = parallel.map(|max_parallel| Push { max_parallel, ..Push::to("https://a") });
            QueueSettings { max_leased, push, ..QueueSettings::default() }.most_leased()
        };
        assert_eq!(limited(None, None), None);
        assert_eq!(limited(Some(3), None), Some(3));
        assert_eq!(limited(None, Some(5)), Some(5));
        assert_eq!(limited(Some(3), Some(5)), Some(3));
        assert_eq!(limited(Some(7), Some(5)), Some(5));
    }

    #[test]
    fn a_rate_is_spread_over_its_period() {
        let interval = |permits, period| RateLimit { permits, period, burst: 1 }.interval_micros();
        assert_eq!(interval(1, Duration::from_secs(1)), 1_000_000);
        assert_eq!(interval(3, Duration::from_mins(1)), 20_000_000);
        assert_eq!(interval(1_000_000, Duration::from_millis(1)), 1);
        assert_eq!(interval(0, Duration::from_secs(1)), 1_000_000);
    }
}
