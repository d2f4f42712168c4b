//! What is asked of Lessor alone: many queues, and that jobs leave nothing without retention.

use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use lessor::{Client, NewJob, QueueUpdate, Retention};

use super::Notes;
use super::growth::payload;
use super::running::{Running, Size};
use super::subject::{Store, Subject};
use super::tools::Tools;
use super::workloads::{BULK_IN_FLIGHT, count, count_u64, load, rate_between, side_by_side};
use crate::metric;

const JOBS: usize = 100_000;
const QUEUES: usize = 1000;
/// Jobs that go through before the memory is measured: the event log has its bound by then.
const WARM: usize = 20_000;
const BATCH: usize = 1000;

pub(super) async fn measure(tools: &Tools, notes: &mut Notes<'_>) -> anyhow::Result<()> {
    let running = Subject::Lessor(Store::Redis).start(tools).await?;
    let client = Client::connect(&running.driver.address)?;
    let mut note = |metric, rate| notes.add(metric::QUEUES, metric, "jobs/s", rate);
    note(metric::ONE_QUEUE, spread(&running, "one", 1).await?);
    note(metric::MANY_QUEUES, spread(&running, "many", QUEUES).await?);
    let left = left_without_retention(&running, &client).await?;
    notes.add(metric::W5, metric::MEMORY_LEFT_NO_RETENTION, "bytes", left);
    Ok(())
}

/// The rate at which as many jobs go through so many queues, each with a worker.
async fn spread(running: &Running, queue: &str, queues: usize) -> anyhow::Result<f64> {
    let mut load = load("W3", queue, JOBS);
    load.more = vec!["--queues".to_owned(), queues.to_string()];
    let (sent, worked) = side_by_side(&running.driver, &load).await?;
    Ok(rate_between(&sent, &worked))
}

/// Bytes a job that stay in Redis when jobs are forgotten as soon as they succeed.
async fn left_without_retention(running: &Running, client: &Client) -> anyhow::Result<f64> {
    const QUEUE: &str = "forgetful";
    let nothing = Retention::new().succeeded_for(Duration::ZERO);
    client.update_queue(QueueUpdate::queue(QUEUE).retention(nothing)).await?;
    through(running, client, QUEUE, WARM).await?;
    let before = memory(running).await?;
    through(running, client, QUEUE, JOBS).await?;
    Ok((memory(running).await? - before) / count(JOBS))
}

async fn through(
    running: &Running,
    client: &Client,
    queue: &str,
    jobs: usize,
) -> anyhow::Result<()> {
    stream::iter((0..jobs).step_by(BATCH))
        .map(|_| {
            let job = NewJob::new(queue).payload_bytes(payload());
            client.enqueue_batch(vec![job; BATCH])
        })
        .buffer_unordered(BULK_IN_FLIGHT)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    running.driver.drain(&load("W2", queue, jobs)).await?;
    Ok(())
}

async fn memory(running: &Running) -> anyhow::Result<f64> {
    match running.servers.size().await? {
        Size::Counted(bytes) => Ok(count_u64(bytes)),
        Size::Resident(_) | Size::Files(_) => anyhow::bail!("the store does not count its memory"),
    }
}
