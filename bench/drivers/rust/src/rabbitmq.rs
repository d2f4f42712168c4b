//! RabbitMQ: a durable classic queue, persistent messages, publisher confirms.
//!
//! One connection with a channel for each caller; one consumer whose prefetch is the concurrency.
//! An ack has no confirmation in AMQP.

use std::sync::Arc;

use anyhow::Context;
use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio::task::JoinSet;

use crate::measure::{self, Cpu, Pace, Tally, Tickets};
use crate::{Role, Run, Workload};

const PERSISTENT: u8 = 2;

pub(crate) async fn drive(run: Run) -> anyhow::Result<()> {
    let run = Arc::new(run);
    let connection = Connection::connect(&run.address, ConnectionProperties::default()).await?;
    declare(&run, &connection).await?;
    let (cpu, tally) = match (run.role, run.workload) {
        (Role::Worker, _) => work(&run, &connection).await?,
        (Role::Producer, Workload::W4) => pace(&run, &connection).await?,
        (Role::Producer, _) => produce(&run, &connection).await?,
    };
    measure::report(&run, &tally, &cpu)
}

async fn declare(run: &Run, connection: &Connection) -> anyhow::Result<()> {
    let mut arguments = FieldTable::default();
    if run.priorities > 0 {
        arguments.insert("x-max-priority".into(), AMQPValue::LongInt(run.priorities.into()));
    }
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let channel = connection.create_channel().await?;
    channel.queue_declare(run.queue.as_str().into(), options, arguments).await?;
    Ok(())
}

async fn confirming(connection: &Connection) -> anyhow::Result<Channel> {
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok(channel)
}

async fn publish(
    run: &Run,
    channel: &Channel,
    jobs: impl ExactSizeIterator<Item = usize>,
) -> anyhow::Result<()> {
    let mut confirms = Vec::with_capacity(jobs.len());
    for job in jobs {
        let mut properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
        if run.priorities > 0 {
            let priority = u8::try_from(job % usize::from(run.priorities))?;
            properties = properties.with_priority(priority);
        }
        let payload = measure::payload(run.payload)?;
        let (queue, options) = (run.queue.as_str().into(), BasicPublishOptions::default());
        let sent = channel.basic_publish("".into(), queue, options, &payload, properties);
        confirms.push(sent.await?);
    }
    for confirm in confirms {
        confirm.await?;
    }
    Ok(())
}

async fn produce(run: &Arc<Run>, connection: &Connection) -> anyhow::Result<(Cpu, Tally)> {
    let mut channels = Vec::with_capacity(run.in_flight);
    for _ in 0..run.in_flight {
        channels.push(confirming(connection).await?);
    }
    let (cpu, tickets) = (Cpu::now()?, Arc::new(Tickets::new(run.jobs)));
    let mut tasks = JoinSet::new();
    for channel in channels {
        let (run, tickets) = (run.clone(), tickets.clone());
        tasks.spawn(async move {
            let mut tally = Tally::new()?;
            while let Some(jobs) = tickets.take(run.jobs_a_call()) {
                let began = measure::now()?;
                publish(&run, &channel, jobs).await?;
                tally.called(began)?;
            }
            Ok(tally)
        });
    }
    Ok((cpu, measure::gather(tasks).await?))
}

async fn pace(run: &Run, connection: &Connection) -> anyhow::Result<(Cpu, Tally)> {
    let channel = confirming(connection).await?;
    let (cpu, mut tally, mut pace) = (Cpu::now()?, Tally::new()?, Pace::new(run.rate)?);
    for job in 0..run.jobs {
        pace.turn().await?;
        let began = measure::now()?;
        publish(run, &channel, std::iter::once(job)).await?;
        tally.called(began)?;
    }
    Ok((cpu, tally))
}

async fn work(run: &Run, connection: &Connection) -> anyhow::Result<(Cpu, Tally)> {
    let channel = connection.create_channel().await?;
    channel.basic_qos(u16::try_from(run.in_flight)?, BasicQosOptions::default()).await?;
    let (queue, options) = (run.queue.as_str().into(), BasicConsumeOptions::default());
    let mut deliveries =
        channel.basic_consume(queue, "worker".into(), options, FieldTable::default()).await?;
    let (cpu, mut tally) = (Cpu::now()?, Tally::new()?);
    measure::ready();
    for _ in 0..run.jobs {
        let delivery = deliveries.next().await.context("the consumer ended")??;
        tally.received(&delivery.data)?;
        delivery.ack(BasicAckOptions::default()).await?;
        tally.done()?;
    }
    // The last acks must have left before the process does.
    channel.close(200, "done".into()).await?;
    Ok((cpu, tally))
}
