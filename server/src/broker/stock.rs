//! What a store holds, queue by queue, at a cost that does not grow with the jobs.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};

use super::{Broker, Result};
use crate::job::QueueName;
use crate::store::Counts;

/// Queues that are looked into at most.
pub const MOST_QUEUES: usize = 1000;

/// Looks under way at once: enough to hide the way to the store, few enough for calls to pass.
const AT_ONCE: usize = 16;

/// What a store holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Holdings {
    /// What was found, in the order of names.
    pub queues: Vec<Holding>,
    /// Queues that were not looked into.
    pub left_out: usize,
}

/// What a queue holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Holding {
    /// The queue.
    pub name: QueueName,
    /// Its jobs, by state.
    pub counts: Counts,
    /// How long the ready job waits that has waited longest, about.
    pub oldest_ready_age: Option<Duration>,
    /// Bytes of the records of unfinished jobs.
    pub bytes: u64,
    /// It gives out no jobs.
    pub paused: bool,
    /// Workers that asked it for jobs lately and may go on.
    pub workers: usize,
}

impl Broker {
    /// What the queues hold, [`MOST_QUEUES`] of them.
    pub async fn holdings(&self) -> Result<Holdings> {
        let names = self.store.queues().await?;
        let left_out = names.len().saturating_sub(MOST_QUEUES);
        let mut workers = self.workers().await?;
        workers.retain(|worker| !worker.draining);
        let looks = names.into_iter().take(MOST_QUEUES).map(|name| {
            let serving = workers.iter().filter(|worker| worker.serves(&name)).count();
            self.holding(name, serving)
        });
        let queues = futures_util::stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
        Ok(Holdings { queues, left_out })
    }

    async fn holding(&self, name: QueueName, workers: usize) -> Result<Holding> {
        let now = self.clock.now();
        let survey = self.store.survey(&name, now).await?;
        let paused = self.settings.of(&name).await?.paused;
        let oldest_ready_age = survey.oldest_ready.map(|since| now.since(since));
        Ok(Holding {
            counts: survey.counts,
            oldest_ready_age,
            bytes: survey.bytes,
            paused,
            workers,
            name,
        })
    }
}
