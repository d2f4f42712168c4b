//! W1 to W5 for one subject, on servers of their own.

use std::time::Duration;

use super::running::{Running, Size};
use super::subject::Subject;
use super::tools::Tools;
use super::{Chosen, Notes, Workload};
use crate::driver::{Driver, Load, Seen};
use crate::metric;

/// Calls in flight, or jobs at work.
pub(super) const CONCURRENCY: usize = 32;
/// Calls in flight when each has many jobs.
pub(super) const BULK_IN_FLIGHT: usize = 4;
/// Jobs of W4: five seconds of them.
pub(super) const PACED: usize = 1000;
/// A worker that says it waits may have its request on the way yet.
const SETTLE: Duration = Duration::from_millis(300);

pub(super) async fn measure(
    subject: Subject,
    tools: &Tools,
    chosen: &Chosen<'_>,
    notes: &mut Notes<'_>,
) -> anyhow::Result<()> {
    let all =
        [Workload::W1, Workload::W1Bulk, Workload::W2, Workload::W3, Workload::W4, Workload::W5];
    if !chosen.has_any(&all) {
        return Ok(());
    }
    let running = subject.start(tools).await?;
    let (jobs, driver) = (chosen.jobs(subject), &running.driver);
    if chosen.has_any(&[Workload::W1, Workload::W2, Workload::W5]) {
        single(&running, jobs, chosen, notes).await?;
    }
    if chosen.has(Workload::W1) && matches!(subject, Subject::Lessor(_)) {
        let mut load = load("W1", "unary", jobs);
        load.more.push("--unary".to_owned());
        let seen = driver.produce(&load).await?;
        notes.add(metric::W1_UNARY, metric::RATE, "jobs/s", seen.rate);
        drain(driver, "unary", jobs, chosen, notes).await?;
    }
    if chosen.has(Workload::W1Bulk) && subject.has_bulk() {
        bulk(&running, jobs, chosen, notes).await?;
    }
    if chosen.has(Workload::W3) {
        let (sent, worked) = side_by_side(driver, &load("W3", "steady", jobs)).await?;
        notes.add(metric::W3, metric::RATE, "jobs/s", rate_between(&sent, &worked));
    }
    if chosen.has(Workload::W4) {
        let (_, worked) = side_by_side(driver, &load("W4", "paced", PACED)).await?;
        notes.add(metric::W4, metric::P50, "ms", worked.p50_ms);
        notes.add(metric::W4, metric::P99, "ms", worked.p99_ms);
        let sent = driver.produce(&load("W4", "alone", PACED)).await?;
        notes.add(metric::W4, metric::CALL_P50, "ms", sent.p50_ms);
    }
    Ok(())
}

pub(super) fn load(workload: &'static str, queue: &str, jobs: usize) -> Load {
    let queue = queue.to_owned();
    Load { workload, queue, jobs, in_flight: CONCURRENCY, more: Vec::new() }
}

/// W1, the drain of its jobs, and what both cost.
async fn single(
    running: &Running,
    jobs: usize,
    chosen: &Chosen<'_>,
    notes: &mut Notes<'_>,
) -> anyhow::Result<()> {
    let (driver, servers) = (&running.driver, &running.servers);
    let empty = servers.size().await?;
    let (broker, store) = (servers.broker_cpu()?, servers.store_cpu()?);
    let sent = driver.produce(&load("W1", "single", jobs)).await?;
    let full = servers.size().await?;
    if chosen.has(Workload::W1) {
        notes.add(metric::W1, metric::RATE, "jobs/s", sent.rate);
    }
    let worked = drain(driver, "single", jobs, chosen, notes).await?;
    if !chosen.has(Workload::W5) {
        return Ok(());
    }
    let each = |now: Option<f64>, before: Option<f64>| Some(now? - before?);
    let broker = each(servers.broker_cpu()?, broker);
    let store = each(servers.store_cpu()?, store);
    let (mut all, share) = (0.0, 100_000.0 / count(jobs));
    let processes = [
        (metric::CPU_BROKER, broker),
        (metric::CPU_STORE, store),
        (metric::CPU_PRODUCER, Some(sent.cpu_s)),
        (metric::CPU_WORKER, Some(worked.cpu_s)),
    ];
    for (process, seconds) in processes {
        if let Some(seconds) = seconds {
            notes.add(metric::W5, process, "s/100k jobs", seconds * share);
            all += seconds * share;
        }
    }
    notes.add(metric::W5, metric::CPU_ALL, "s/100k jobs", all);
    let left = servers.size().await?;
    memory(jobs, &[empty, full, left], notes);
    Ok(())
}

/// W1b, the drain of its jobs, and how near both came to what the store can carry.
async fn bulk(
    running: &Running,
    jobs: usize,
    chosen: &Chosen<'_>,
    notes: &mut Notes<'_>,
) -> anyhow::Result<()> {
    let (driver, servers) = (&running.driver, &running.servers);
    let before = servers.store_cpu()?;
    let mut load = load("W1b", "bulk", jobs);
    load.in_flight = BULK_IN_FLIGHT;
    let sent = driver.produce(&load).await?;
    notes.add(metric::W1B, metric::RATE, "jobs/s", sent.rate);
    let worked = drain(driver, "bulk", jobs, chosen, notes).await?;
    if let (Some(before), Some(now)) = (before, servers.store_cpu()?) {
        let lives = 1.0 / (1.0 / sent.rate + 1.0 / worked.rate);
        notes.add(metric::W2, metric::LIVES, "jobs/s", lives);
        notes.add(metric::W2, metric::LIVES_LIMIT, "jobs/s", count(jobs) / (now - before));
    }
    Ok(())
}

fn memory(jobs: usize, sizes: &[Size; 3], notes: &mut Notes<'_>) {
    let grown = |from: &u64, to: &u64| (count_u64(*to) - count_u64(*from)) / count(jobs);
    match sizes {
        [Size::Counted(empty), Size::Counted(full), Size::Counted(left)] => {
            notes.add(metric::W5, metric::MEMORY_WAITING, "bytes", grown(empty, full));
            notes.add(metric::W5, metric::MEMORY_LEFT, "bytes", grown(empty, left));
        }
        // A process keeps what it was given: what is left after the drain says nothing.
        [Size::Resident(empty), Size::Resident(full), _] => {
            notes.add(metric::W5, metric::MEMORY_WAITING, "bytes", grown(empty, full));
        }
        [Size::Files(empty), Size::Files(full), _] => {
            notes.add(metric::W5, metric::FILES_WAITING, "bytes", grown(empty, full));
        }
        _ => unreachable!("a system's size is measured in one way"),
    }
}

async fn drain(
    driver: &Driver,
    queue: &str,
    jobs: usize,
    chosen: &Chosen<'_>,
    notes: &mut Notes<'_>,
) -> anyhow::Result<Seen> {
    let worked = driver.drain(&load("W2", queue, jobs)).await?;
    if chosen.has(Workload::W2) {
        notes.add(metric::W2, metric::RATE, "jobs/s", worked.rate);
    }
    Ok(worked)
}

/// A worker that waits, then a producer.
pub(super) async fn side_by_side(driver: &Driver, load: &Load) -> anyhow::Result<(Seen, Seen)> {
    let waiting = driver.worker(load).await?;
    tokio::time::sleep(SETTLE).await;
    let (sent, worked) = tokio::try_join!(driver.produce(load), waiting.finish())?;
    Ok((sent, worked))
}

/// From the first enqueue call to the end of the last job.
pub(super) fn rate_between(sent: &Seen, worked: &Seen) -> f64 {
    let span = Duration::from_nanos(worked.end_ns.saturating_sub(sent.start_ns));
    count(worked.jobs) / span.as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "a count of jobs")]
pub(super) fn count(jobs: usize) -> f64 {
    jobs as f64
}

#[expect(clippy::cast_precision_loss, reason = "a size in memory")]
pub(super) fn count_u64(bytes: u64) -> f64 {
    bytes as f64
}
