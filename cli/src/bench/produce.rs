//! The producer's side: jobs go in, one a call, many a call, or at a pace.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lessor::proto::EnqueueRequest;
use lessor::{Client, NewJob, payload};
use tokio::task::JoinSet;

use super::figures::{Latencies, Side, now};
use super::plan::{Plan, Workload};
use super::stub::{Stub, stamped};

/// Batches that are under way at a time.
const BATCHES: u64 = 4;
/// Longer than any run.
const FAR: Duration = Duration::from_hours(24);

#[derive(Clone)]
pub(super) struct Producer {
    client: Client,
    stub: Stub,
    plan: Arc<Plan>,
    next: Arc<AtomicU64>,
    /// Jobs that the broker has confirmed.
    pub(super) done: Arc<AtomicU64>,
}

impl Producer {
    pub(super) fn new(client: &Client, stub: Stub, plan: &Arc<Plan>) -> Self {
        let (client, plan) = (client.clone(), plan.clone());
        Self { client, stub, plan, next: Arc::default(), done: Arc::default() }
    }

    /// Enqueues what the plan says.
    pub(super) async fn run(&self) -> anyhow::Result<Side> {
        // The connection is not what is measured.
        self.client.store_status().await?;
        let start = now();
        let latencies = match self.plan.workload {
            Workload::W4 => self.paced().await?,
            Workload::W1Batch => self.batches(self.plan.jobs, None).await?,
            _ => self.singles().await?,
        };
        Ok(Side { start, end: now(), latencies })
    }

    /// Puts into the queue what is there before a drain begins.
    pub(super) async fn fill(&self) -> anyhow::Result<()> {
        let scale = self.plan.scale;
        self.batches(scale.delayed, Some(FAR)).await?;
        self.batches(scale.backlog + self.plan.jobs, None).await?;
        Ok(())
    }

    async fn singles(&self) -> anyhow::Result<Latencies> {
        let mut callers = JoinSet::new();
        for _ in 0..self.plan.in_flight {
            let producer = self.clone();
            callers.spawn(async move {
                let mut latencies = Latencies::default();
                loop {
                    let number = producer.next.fetch_add(1, Ordering::Relaxed);
                    if number >= producer.plan.jobs {
                        return Ok(latencies);
                    }
                    latencies.note(producer.one(number).await?);
                }
            });
        }
        all(callers).await
    }

    async fn batches(&self, jobs: u64, delay: Option<Duration>) -> anyhow::Result<Latencies> {
        self.next.store(0, Ordering::Relaxed);
        let mut callers = JoinSet::new();
        for _ in 0..BATCHES {
            let producer = self.clone();
            callers.spawn(async move {
                let mut latencies = Latencies::default();
                let size = u64::from(producer.plan.batch);
                loop {
                    let first = producer.next.fetch_add(size, Ordering::Relaxed);
                    if first >= jobs {
                        return Ok(latencies);
                    }
                    latencies.note(producer.many(first..jobs.min(first + size), delay).await?);
                }
            });
        }
        all(callers).await
    }

    async fn paced(&self) -> anyhow::Result<Latencies> {
        let mut latencies = Latencies::default();
        let mut callers = JoinSet::new();
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / self.plan.rate);
        for number in 0..self.plan.jobs {
            ticks.tick().await;
            let producer = self.clone();
            callers.spawn(async move { producer.one(number).await });
            while let Some(ended) = callers.try_join_next() {
                latencies.note(ended??);
            }
        }
        while let Some(ended) = callers.join_next().await {
            latencies.note(ended??);
        }
        Ok(latencies)
    }

    /// Enqueues one job; the time that it took.
    async fn one(&self, number: u64) -> anyhow::Result<u64> {
        let start = now();
        let job = self.job(number);
        if self.plan.unary {
            self.stub.clone().enqueue(EnqueueRequest::from(job)).await?;
        } else {
            self.client.enqueue(job).await?;
        }
        self.done.fetch_add(1, Ordering::Relaxed);
        Ok(now() - start)
    }

    /// Enqueues the jobs of these numbers in one call; the time that it took.
    async fn many(&self, numbers: Range<u64>, delay: Option<Duration>) -> anyhow::Result<u64> {
        let start = now();
        let count = numbers.end - numbers.start;
        let jobs = numbers.map(|number| {
            let job = self.job(number);
            match delay {
                Some(delay) => job.delay(delay),
                None => job,
            }
        });
        for result in self.client.enqueue_each(jobs.collect()).await? {
            result?;
        }
        self.done.fetch_add(count, Ordering::Relaxed);
        Ok(now() - start)
    }

    fn job(&self, number: u64) -> NewJob {
        let plan = &self.plan;
        let job = NewJob::new(plan.name(number)).payload(payload::bytes(stamped(plan.payload)));
        match plan.scale.priorities {
            1 => job,
            priorities => {
                let turn = number / u64::from(plan.queues) % u64::from(priorities);
                job.priority(i32::try_from(turn).unwrap_or_default())
            }
        }
    }
}

/// Waits for all callers, or for the first that fails.
async fn all(mut callers: JoinSet<anyhow::Result<Latencies>>) -> anyhow::Result<Latencies> {
    let mut latencies = Latencies::default();
    while let Some(ended) = callers.join_next().await {
        latencies.add(ended??);
    }
    Ok(latencies)
}
