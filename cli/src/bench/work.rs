//! The worker's side: jobs come out, and each ack is confirmed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::StreamExt;
use futures_util::future::OptionFuture;
use futures_util::stream::FuturesUnordered;
use lessor::proto::{AckRequest, LeaseRequest, LeasedJob};

use super::figures::{Latencies, Side, now};
use super::plan::{Plan, Role};
use super::stub::{Stub, age};

/// How long a lease call waits, in seconds.
const WAIT: i64 = 10;
/// The most jobs of a lease call.
const MOST: u64 = 256;

pub(super) struct Worker {
    stub: Stub,
    plan: Arc<Plan>,
    /// Jobs whose acks are confirmed.
    pub(super) done: Arc<AtomicU64>,
}

impl Worker {
    pub(super) fn new(stub: Stub, plan: &Arc<Plan>) -> Self {
        Self { stub, plan: plan.clone(), done: Arc::default() }
    }

    /// Works until so many jobs are done.
    pub(super) async fn run(&self) -> anyhow::Result<Side> {
        self.say_ready();
        self.by_calls().await
    }

    fn say_ready(&self) {
        if self.plan.role == Role::Worker {
            eprintln!("ready");
        }
    }

    /// One Lease call at a time, for as many jobs as there is room for; an Ack call for each job.
    async fn by_calls(&self) -> anyhow::Result<Side> {
        let in_flight = u64::from(self.plan.in_flight);
        let (mut leased, mut done, mut held) = (0, 0, 0);
        let mut latencies = Latencies::new()?;
        let mut start = None;
        let mut leasing = None;
        let mut acks = FuturesUnordered::new();
        while done < self.plan.jobs {
            let room = (in_flight - held).min(self.plan.jobs - leased).min(MOST);
            if leasing.is_none() && room > 0 {
                leasing = Some(Box::pin(self.lease(room)));
            }
            tokio::select! {
                Some(jobs) = OptionFuture::from(leasing.as_mut()) => {
                    leasing = None;
                    for job in jobs? {
                        start.get_or_insert_with(now);
                        leased += 1;
                        held += 1;
                        acks.push(self.settle(job));
                    }
                }
                Some(latency) = acks.next() => {
                    latencies.note(latency?);
                    held -= 1;
                    done += 1;
                    self.done.store(done, Ordering::Relaxed);
                }
            }
        }
        let end = now();
        Ok(Side { start: start.unwrap_or(end), end, latencies })
    }

    async fn lease(&self, room: u64) -> anyhow::Result<Vec<LeasedJob>> {
        let queues = match self.plan.queues {
            1 => self.plan.queue.clone(),
            _ => format!("{}-*", self.plan.queue),
        };
        let request = LeaseRequest {
            queues: vec![queues],
            worker_id: "bench".to_owned(),
            max_jobs: room.try_into()?,
            wait: Some(prost_types::Duration { seconds: WAIT, nanos: 0 }),
            ..LeaseRequest::default()
        };
        Ok(self.stub.clone().lease(request).await?.into_inner().jobs)
    }

    /// Acks one job; its latency.
    async fn settle(&self, leased: LeasedJob) -> anyhow::Result<u64> {
        let start = now();
        let age = age(leased.job.as_ref().and_then(|job| job.payload.as_ref()));
        let ack = AckRequest { lease_token: leased.lease_token, ..AckRequest::default() };
        self.stub.clone().ack(ack).await?;
        Ok(if self.plan.workload.is_drain() { now() - start } else { age })
    }
}
