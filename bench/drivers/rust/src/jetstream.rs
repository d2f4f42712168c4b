//! NATS JetStream: a work-queue stream in files and one durable pull consumer.
//!
//! The queue is the stream's name and its subject. An ack is sent and not confirmed, as its client
//! does by default.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{Config, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, Context};
use futures_util::StreamExt;
use tokio::task::JoinSet;

use crate::measure::{self, Cpu, Pace, Tally, Tickets};
use crate::{Role, Run, Workload};

pub(crate) async fn drive(run: Run) -> anyhow::Result<()> {
    let run = Arc::new(run);
    let client = async_nats::connect(&run.address).await?;
    let context = jetstream::new(client.clone());
    let consumer = prepare(&run, &context).await?;
    let (cpu, tally) = match (run.role, run.workload) {
        (Role::Worker, _) => work(&run, &consumer).await?,
        (Role::Producer, Workload::W4) => pace(&run, &context).await?,
        (Role::Producer, _) => produce(&run, &context).await?,
    };
    // The last acks must have left before the process does.
    client.flush().await?;
    measure::report(&run, &tally, &cpu)
}

async fn prepare(run: &Run, context: &Context) -> anyhow::Result<PullConsumer> {
    let stream = context
        .get_or_create_stream(Config {
            name: run.queue.clone(),
            subjects: vec![run.queue.clone()],
            retention: RetentionPolicy::WorkQueue,
            storage: StorageType::File,
            ..Config::default()
        })
        .await?;
    let config = pull::Config {
        durable_name: Some("workers".to_owned()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_mins(1),
        max_ack_pending: 32,
        ..pull::Config::default()
    };
    Ok(stream.get_or_create_consumer("workers", config).await?)
}

async fn publish(run: &Run, context: &Context, jobs: usize) -> anyhow::Result<()> {
    let mut acks = Vec::with_capacity(jobs);
    for _ in 0..jobs {
        let payload = measure::payload(run.payload)?;
        acks.push(context.publish(run.queue.clone(), payload.into()).await?);
    }
    for ack in acks {
        ack.await?;
    }
    Ok(())
}

async fn produce(run: &Arc<Run>, context: &Context) -> anyhow::Result<(Cpu, Tally)> {
    let (cpu, tickets) = (Cpu::now()?, Arc::new(Tickets::new(run.jobs)));
    let mut tasks = JoinSet::new();
    for _ in 0..run.in_flight {
        let (run, tickets, context) = (run.clone(), tickets.clone(), context.clone());
        tasks.spawn(async move {
            let mut tally = Tally::new()?;
            while let Some(jobs) = tickets.take(run.jobs_a_call()) {
                let began = measure::now()?;
                publish(&run, &context, jobs.len()).await?;
                tally.called(began)?;
            }
            Ok(tally)
        });
    }
    Ok((cpu, measure::gather(tasks).await?))
}

async fn pace(run: &Run, context: &Context) -> anyhow::Result<(Cpu, Tally)> {
    let (cpu, mut tally, mut pace) = (Cpu::now()?, Tally::new()?, Pace::new(run.rate)?);
    for _ in 0..run.jobs {
        pace.turn().await?;
        let began = measure::now()?;
        publish(run, context, 1).await?;
        tally.called(began)?;
    }
    Ok((cpu, tally))
}

async fn work(run: &Run, consumer: &PullConsumer) -> anyhow::Result<(Cpu, Tally)> {
    let (cpu, mut tally) = (Cpu::now()?, Tally::new()?);
    let mut messages = consumer.stream().max_messages_per_batch(run.in_flight).messages().await?;
    measure::ready();
    for _ in 0..run.jobs {
        let message = messages.next().await.context("the stream ended")??;
        tally.received(&message.payload)?;
        message.ack().await.map_err(anyhow::Error::from_boxed)?;
        tally.done()?;
    }
    Ok((cpu, tally))
}
