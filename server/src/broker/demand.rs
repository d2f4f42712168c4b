//! How much work queues have for workers: for whoever starts and stops those.

use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::sync::broadcast::{self, error::RecvError};

use super::lease::QueuePattern;
use super::{Broker, Error, Result};
use crate::clock::Clock;
use crate::job::{QueueName, QueueSettings};
use crate::store::{Counts, Gate, Signal};

/// How often work is looked for that nobody tells of, such as a rate limit's next permit.
const LOOK: Duration = Duration::from_secs(10);

/// The least time between two looks, however much happens in a queue.
const REST: Duration = Duration::from_secs(1);

/// How much work there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Jobs that workers hold.
    pub leased: u64,
    /// Ready jobs that may be leased now: more workers would get no others.
    pub startable: u64,
}

impl Demand {
    /// Jobs that want a worker, or have one and would lose it.
    pub fn jobs(self) -> u64 {
        self.leased + self.startable
    }

    fn of(counts: Counts, settings: &QueueSettings, gate: Option<Gate>) -> Self {
        let leased = counts.leased;
        let slots = settings.max_leased.map_or(u64::MAX, u64::from).saturating_sub(leased);
        // A rate that is used up gives no more now. One that is not gives its burst at most: if
        // workers keep up with the rate, it is used up, and their number is right.
        let permits = settings.rate_limit.map_or(u64::MAX, |rate| rate.burst.into());
        let startable = match gate {
            Some(Gate::Paused | Gate::Full | Gate::Limited { .. }) => 0,
            None => counts.ready.min(slots).min(permits),
        };
        Self { leased, startable }
    }
}

impl Broker {
    /// How much work the queues that `patterns` mean have.
    pub async fn demand(&self, patterns: &[QueuePattern]) -> Result<Demand> {
        let mut queues = Vec::new();
        if patterns.iter().all(|one| matches!(one, QueuePattern::Name(_))) {
            queues.extend(patterns.iter().filter_map(|one| match one {
                QueuePattern::Name(queue) => Some(queue.clone()),
                QueuePattern::Prefix(_) => None,
            }));
        } else {
            queues = self.store.queues().await?;
            queues.retain(|queue| patterns.iter().any(|one| one.matches(queue)));
        }
        queues.sort_unstable();
        queues.dedup();
        let demands = try_join_all(queues.iter().map(|queue| self.demand_of(queue))).await?;
        Ok(demands.into_iter().fold(Demand::default(), |sum, one| Demand {
            leased: sum.leased + one.leased,
            startable: sum.startable + one.startable,
        }))
    }

    async fn demand_of(&self, queue: &QueueName) -> Result<Demand> {
        let now = self.clock.now();
        let counts = self.store.survey(queue, now).await?.counts;
        let settings = self.settings.of(queue).await?;
        // A claim of nothing tells whether there could be one.
        let gate = match counts.ready {
            0 => None,
            _ => self.store.claim(queue, Vec::new(), now).await?.gate,
        };
        Ok(Demand::of(counts, &settings, gate))
    }

    /// Follows whether there is work.
    pub fn activity(&self, patterns: Vec<QueuePattern>) -> Activity {
        let signals = self.store.signals();
        Activity { broker: self.clone(), patterns, signals, told: None }
    }
}

/// Whether queues have work, as it changes.
pub struct Activity {
    broker: Broker,
    patterns: Vec<QueuePattern>,
    signals: broadcast::Receiver<Signal>,
    told: Option<bool>,
}

impl Activity {
    /// Whether there is work: at once the first time, then when it has changed. That work has come
    /// is told within about a second, that none is left within about ten. Fails when the broker
    /// drains.
    pub async fn next(&mut self) -> Result<bool> {
        loop {
            // Before the look: what happens meanwhile is signalled. Only a queue that is idle is
            // followed, for its signals are few.
            let following = match self.told {
                Some(true) => None,
                _ => Some(self.broker.store.follow().await),
            };
            let active = self.broker.demand(&self.patterns).await?.jobs() > 0;
            if self.told.replace(active) != Some(active) {
                return Ok(active);
            }
            let draining = self.broker.draining.clone();
            tokio::select! {
                () = draining.cancelled() => return Err(Error::Draining),
                () = Clock::pause(LOOK) => {}
                () = self.stirred(), if following.is_some() => {}
            }
            tokio::select! {
                () = draining.cancelled() => return Err(Error::Draining),
                () = Clock::pause(REST) => {}
            }
        }
    }

    /// Waits until something happens that may have brought work.
    async fn stirred(&mut self) {
        loop {
            match self.signals.recv().await {
                Ok(Signal::Ready(queue) | Signal::Logged(queue) | Signal::Settings(queue)) => {
                    if self.patterns.iter().any(|one| one.matches(&queue)) {
                        return;
                    }
                }
                Ok(Signal::Reset) | Err(RecvError::Lagged(_)) => return,
                Ok(_) => {}
                // The store is closing, and the broker drains.
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::job::queue::RateLimit;

    fn demand(ready: u64, leased: u64, settings: &QueueSettings, gate: Option<Gate>) -> u64 {
        let counts = Counts { ready, leased, ..Counts::default() };
        Demand::of(counts, settings, gate).jobs()
    }

    #[test]
    fn ready_and_leased_jobs_want_workers() {
        assert_eq!(demand(7, 3, &QueueSettings::default(), None), 10);
    }

    #[test]
    fn jobs_that_no_worker_would_get_are_left_out() {
        let limit = QueueSettings { max_leased: Some(5), ..QueueSettings::default() };
        assert_eq!(demand(100, 3, &limit, None), 5);
        assert_eq!(demand(100, 5, &limit, Some(Gate::Full)), 5);
        // The limit was lowered.
        assert_eq!(demand(100, 8, &limit, Some(Gate::Full)), 8);
        let paused = QueueSettings { paused: true, ..QueueSettings::default() };
        assert_eq!(demand(100, 2, &paused, Some(Gate::Paused)), 2);
        let rate_limit = RateLimit { permits: 1, period: Duration::from_secs(1), burst: 4 };
        let rate = QueueSettings { rate_limit: Some(rate_limit), ..QueueSettings::default() };
        assert_eq!(demand(100, 6, &rate, None), 10);
        let until = Timestamp::from_millis(9);
        assert_eq!(demand(100, 6, &rate, Some(Gate::Limited { until })), 6);
    }
}
