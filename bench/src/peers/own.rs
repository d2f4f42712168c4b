//! What is asked of Lessor alone: many queues, and that jobs leave nothing without retention.

use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use lessor::{Client, NewJob, QueueUpdate, Retention};

use super::growth::payload;
use super::running::{Running, Size};
use super::subject::{Store, Subject};
use super::tools::Tools;
use super::workloads::{BULK_IN_FLIGHT, count, count_u64, load, rate_between, side_by_side};
use super::{Chosen, Notes};
use crate::driver::{Driver, Seen};
use crate::metric;

/// Queues with a worker each.
pub(super) const QUEUES: usize = 1000;
/// Jobs that go through before the memory is measured: each tells three events, of which the log keeps
/// 100,000. Of 50,000 that follow each other the first two times leave more behind than the later ones.
const WARM: usize = 150_000;
/// How many times as many jobs as usual are looked at: with how many events share an entry, the log's size
/// swings by some hundred kB, which must be little for each.
const MANY: usize = 5;
const BATCH: usize = 1000;

pub(super) async fn measure(
    tools: &Tools,
    chosen: &Chosen<'_>,
    notes: &mut Notes<'_>,
) -> anyhow::Result<()> {
    let subject = Subject::Lessor(Store::Redis);
    let (running, jobs) = (subject.start(tools).await?, chosen.jobs(subject));
    let client = Client::connect(&running.driver.address)?;
    let mut note = |metric, rate| notes.add(metric::QUEUES, metric, "jobs/s", rate);
    let (sent, worked) = spread(&running.driver, jobs, "one", 1).await?;
    note(metric::ONE_QUEUE, rate_between(&sent, &worked));
    let (sent, worked) = spread(&running.driver, jobs, "many", QUEUES).await?;
    note(metric::MANY_QUEUES, rate_between(&sent, &worked));
    let left = left_without_retention(&running, &client, jobs).await?;
    notes.add(metric::W5, metric::MEMORY_LEFT_NO_RETENTION, "bytes", left);
    Ok(())
}

/// Sends as many jobs through so many queues, each with a worker.
pub(super) async fn spread(
    driver: &Driver,
    jobs: usize,
    queue: &str,
    queues: usize,
) -> anyhow::Result<(Seen, Seen)> {
    let mut load = load("W3", queue, jobs);
    load.more = vec!["--queues".to_owned(), queues.to_string()];
    side_by_side(driver, &load).await
}

/// Bytes a job that stay in Redis when jobs are forgotten as soon as they succeed.
async fn left_without_retention(
    running: &Running,
    client: &Client,
    jobs: usize,
) -> anyhow::Result<f64> {
    const QUEUE: &str = "forgetful";
    let nothing = Retention::new().succeeded_for(Duration::ZERO);
    client.update_queue(QueueUpdate::queue(QUEUE).retention(nothing)).await?;
    through(running, client, QUEUE, WARM).await?;
    let (before, jobs) = (memory(running).await?, MANY * jobs);
    through(running, client, QUEUE, jobs).await?;
    Ok((memory(running).await? - before) / count(jobs))
}

async fn through(
    running: &Running,
    client: &Client,
    queue: &str,
    jobs: usize,
) -> anyhow::Result<()> {
    stream::iter((0..jobs).step_by(BATCH))
        .map(|first| {
            let job = NewJob::new(queue).payload_bytes(payload());
            client.enqueue_batch(vec![job; BATCH.min(jobs - first)])
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
