//! W6: how fast the first jobs of a backlog are drained, whatever stands behind or beside them.

use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use lessor::{Client, NewJob};

use super::Notes;
use super::running::Running;
use super::subject::{Peer, Subject};
use super::tools::Tools;
use super::workloads::{BULK_IN_FLIGHT, CONCURRENCY, count, load};
use crate::driver::Load;
use crate::metric;

/// How many of a backlog are drained.
const FIRST: usize = 30_000;
const SMALL: usize = 10_000;
const LARGE: usize = 100_000;
const HUGE: usize = 1_000_000;
const PRIORITIES: u8 = 10;
/// Longer than any run.
const DELAY: Duration = Duration::from_hours(1);
const QUEUE: &str = "growth";

/// How jobs differ.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Prioritized,
    Delayed,
}

pub(super) async fn measure(
    subject: Subject,
    tools: &Tools,
    notes: &mut Notes<'_>,
) -> anyhow::Result<()> {
    let mut note = |metric, rate| notes.add(metric::W6, metric, "jobs/s", rate);
    note(metric::BACKLOG_10K, small(subject, tools).await?);
    note(metric::BACKLOG_100K, first_of(subject, tools, &[(LARGE, Kind::Plain)]).await?);
    note(metric::BACKLOG_1M, first_of(subject, tools, &[(HUGE, Kind::Plain)]).await?);
    if subject != Subject::Peer(Peer::Jetstream, true) {
        let fill = [(LARGE, Kind::Prioritized)];
        note(metric::PRIORITIES, first_of(subject, tools, &fill).await?);
    }
    if !matches!(subject, Subject::Peer(Peer::Jetstream | Peer::Rabbitmq, _)) {
        let fill = [(LARGE, Kind::Delayed), (FIRST, Kind::Plain)];
        note(metric::DELAYED, first_of(subject, tools, &fill).await?);
    }
    Ok(())
}

/// A small backlog is drained as often as makes as many jobs as of a large one.
async fn small(subject: Subject, tools: &Tools) -> anyhow::Result<f64> {
    let running = subject.start(tools).await?;
    let mut seconds = 0.0;
    for _ in 0..FIRST / SMALL {
        fill(subject, &running, SMALL, Kind::Plain).await?;
        let worked = running.driver.drain(&load("W2", QUEUE, SMALL)).await?;
        seconds += count(worked.jobs) / worked.rate;
    }
    Ok(count(FIRST) / seconds)
}

async fn first_of(subject: Subject, tools: &Tools, fills: &[(usize, Kind)]) -> anyhow::Result<f64> {
    let running = subject.start(tools).await?;
    let mut worker = load("W2", QUEUE, FIRST);
    for (jobs, kind) in fills {
        fill(subject, &running, *jobs, *kind).await?;
        if matches!(subject, Subject::Peer(..)) && *kind == Kind::Prioritized {
            // Some declare the queues by it.
            worker.more = with_priorities();
        }
    }
    Ok(running.driver.drain(&worker).await?.rate)
}

fn with_priorities() -> Vec<String> {
    vec!["--priorities".to_owned(), PRIORITIES.to_string()]
}

async fn fill(subject: Subject, running: &Running, jobs: usize, kind: Kind) -> anyhow::Result<()> {
    if matches!(subject, Subject::Lessor(_)) {
        return fill_lessor(&running.driver.address, jobs, kind).await;
    }
    let more = match kind {
        Kind::Plain => Vec::new(),
        Kind::Prioritized => with_priorities(),
        Kind::Delayed => vec!["--delay".to_owned(), DELAY.as_secs().to_string()],
    };
    let (workload, in_flight) =
        if subject.has_bulk() { ("W1b", BULK_IN_FLIGHT) } else { ("W1", CONCURRENCY) };
    let load = Load { workload, queue: QUEUE.to_owned(), jobs, in_flight, more };
    running.driver.produce(&load).await?;
    Ok(())
}

/// Lessor's own driver knows neither priorities nor delays.
async fn fill_lessor(address: &str, jobs: usize, kind: Kind) -> anyhow::Result<()> {
    const BATCH: usize = 1000;
    let client = Client::connect(address)?;
    let job = move |index: usize| {
        let job = NewJob::new(QUEUE).payload_bytes(payload());
        match kind {
            Kind::Plain => job,
            Kind::Prioritized => {
                job.priority(i32::try_from(index % usize::from(PRIORITIES)).unwrap_or_default())
            }
            Kind::Delayed => job.delay(DELAY),
        }
    };
    stream::iter((0..jobs).step_by(BATCH))
        .map(|first| {
            let batch = (first..(first + BATCH).min(jobs)).map(job).collect();
            client.enqueue_batch(batch)
        })
        .buffer_unordered(BULK_IN_FLIGHT)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    Ok(())
}

/// As long as the drivers' payloads, with a clock that stands at zero: nobody asks for latencies.
pub(super) fn payload() -> Vec<u8> {
    let mut payload = vec![b'0'; 20];
    payload.resize(256, b'x');
    payload
}
