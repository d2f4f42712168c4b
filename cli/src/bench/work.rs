//! The worker's side: jobs come out, and each ack is confirmed.

use std::future::ready;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::Context;
use futures_util::future::{OptionFuture, try_join_all};
use futures_util::stream::{self, FuturesUnordered};
use futures_util::{StreamExt, TryStreamExt};
use lessor::proto::{AckRequest, LeaseRequest, LeasedJob};
use lessor::{Client, Delivery, Job, Nack, WorkEvent, WorkOptions, WorkStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::figures::{Latencies, Side, now};
use super::plan::{Plan, Role};
use super::stub::{Stub, age};

/// How long a lease call waits, in seconds.
const WAIT: i64 = 10;
/// The most jobs of a lease call.
const MOST: u64 = 256;
/// Streams that are opened at a time.
const OPENING: usize = 64;

#[derive(Clone)]
pub(super) struct Worker {
    client: Client,
    stub: Stub,
    plan: Arc<Plan>,
    /// Jobs whose acks are confirmed.
    pub(super) done: Arc<AtomicU64>,
    /// Jobs that came.
    taken: Arc<AtomicU64>,
    all_done: CancellationToken,
}

/// What one worker saw: when its first job came and its last ack was confirmed.
struct Seen {
    start: Option<u64>,
    end: u64,
}

impl Worker {
    pub(super) fn new(client: &Client, stub: Stub, plan: &Arc<Plan>) -> Self {
        Self {
            client: client.clone(),
            stub,
            plan: plan.clone(),
            done: Arc::default(),
            taken: Arc::default(),
            all_done: CancellationToken::new(),
        }
    }

    /// Works until so many jobs are done.
    pub(super) async fn run(&self) -> anyhow::Result<Side> {
        if self.plan.unary {
            self.say_ready();
            self.by_calls().await
        } else if self.plan.handlers {
            self.say_ready();
            self.by_handlers().await
        } else {
            self.on_streams().await
        }
    }

    fn say_ready(&self) {
        if self.plan.role == Role::Worker {
            eprintln!("ready");
        }
    }

    /// A stream for each queue.
    async fn on_streams(&self) -> anyhow::Result<Side> {
        let latencies = Arc::<Mutex<Latencies>>::default();
        let room = (self.plan.in_flight / self.plan.queues).max(1);
        let open = self.plan.names().map(|queue| async {
            self.client.work(&WorkOptions::new([queue]).concurrency(room)).await
        });
        let streams: Vec<_> = stream::iter(open).buffered(OPENING).try_collect().await?;
        self.say_ready();
        let mut workers = JoinSet::new();
        for stream in streams {
            workers.spawn(self.clone().on_stream(stream, latencies.clone()));
        }
        let (mut start, mut end) = (u64::MAX, 0);
        while let Some(seen) = workers.join_next().await {
            let seen = seen??;
            start = seen.start.map_or(start, |first| start.min(first));
            end = end.max(seen.end);
        }
        let latencies = std::mem::take(&mut *lock(&latencies));
        Ok(Side { start, end, latencies })
    }

    /// Handlers for each queue. A job's latency ends when its handler begins.
    async fn by_handlers(&self) -> anyhow::Result<Side> {
        let latencies = Arc::<Mutex<Latencies>>::default();
        let start = Arc::<OnceLock<u64>>::default();
        let room = (self.plan.in_flight / self.plan.queues).max(1);
        let workers = self.plan.names().map(|queue| {
            let (counts, notes, begin) = (self.clone(), latencies.clone(), start.clone());
            let handler = move |job: Job| {
                begin.get_or_init(now);
                if counts.taken.fetch_add(1, Ordering::Relaxed) >= counts.plan.jobs {
                    return ready(Err(Nack::release()));
                }
                lock(&notes).note(age(job.message().payload.as_ref()));
                if counts.done.fetch_add(1, Ordering::Relaxed) + 1 == counts.plan.jobs {
                    counts.all_done.cancel();
                }
                ready(Ok(()))
            };
            let worker = lessor::Worker::builder(self.client.clone()).queue(queue);
            let worker = worker.concurrency(room).default_handler(handler).build();
            async move { worker?.run_until(self.all_done.cancelled()).await }
        });
        // A worker ends when its acks are confirmed.
        try_join_all(workers).await?;
        let end = now();
        let latencies = std::mem::take(&mut *lock(&latencies));
        Ok(Side { start: start.get().copied().unwrap_or(end), end, latencies })
    }

    /// Acks each job as it comes.
    async fn on_stream(
        self,
        mut stream: WorkStream,
        latencies: Arc<Mutex<Latencies>>,
    ) -> anyhow::Result<Seen> {
        let mut seen = Seen { start: None, end: 0 };
        let mut acks = FuturesUnordered::new();
        let mut surplus = Vec::new();
        let all_done = self.all_done.clone();
        let mut ended = std::pin::pin!(all_done.cancelled());
        loop {
            tokio::select! {
                biased;
                Some(latency) = acks.next() => {
                    let latency: lessor::Result<u64> = latency;
                    lock(&latencies).note(latency?);
                    seen.end = now();
                    if self.done.fetch_add(1, Ordering::Relaxed) + 1 == self.plan.jobs {
                        self.all_done.cancel();
                    }
                }
                event = stream.next() => match event.context("the broker ended the stream")?? {
                    WorkEvent::Job(delivery) => {
                        seen.start.get_or_insert_with(now);
                        if self.taken.fetch_add(1, Ordering::Relaxed) < self.plan.jobs {
                            acks.push(self.done_with(delivery));
                        } else {
                            // Held until the stream is closed, which gives it back.
                            surplus.push(delivery);
                        }
                    }
                    event => anyhow::bail!("this is in the way of measuring: {event:?}"),
                },
                () = &mut ended => break,
            }
        }
        drop(acks);
        stream.close(true).await;
        Ok(seen)
    }

    /// Acks one job; its latency.
    async fn done_with(&self, mut delivery: Delivery) -> lessor::Result<u64> {
        let start = now();
        let age = age(delivery.job().and_then(|job| job.payload.as_ref()));
        delivery.ack(None).await?;
        Ok(if self.plan.workload.is_drain() { now() - start } else { age })
    }

    /// One Lease call at a time, for as many jobs as there is room for; an Ack call for each job.
    async fn by_calls(&self) -> anyhow::Result<Side> {
        let in_flight = u64::from(self.plan.in_flight);
        let (mut leased, mut done, mut held) = (0, 0, 0);
        let mut latencies = Latencies::default();
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

fn lock(latencies: &Mutex<Latencies>) -> MutexGuard<'_, Latencies> {
    latencies.lock().unwrap_or_else(PoisonError::into_inner)
}
