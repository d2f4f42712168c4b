//! How many Redis calls a job operation costs when 128 calls are in flight, one job each.
//!
//! Beside it, in the same run: as many bare script calls in flight, one a job, which is what a
//! broker without folding would have to send.

use std::time::Instant;

use anyhow::Context;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use lessor::{Client, LeaseOptions, NewJob};

use crate::machine::{Calls, Machine, Redis};
use crate::report::{Figure, Report};

const IN_FLIGHT: usize = 128;
const JOBS: usize = 20_000;
/// The promise, in Redis calls per job operation.
const PROMISE: f64 = 0.1;

pub(crate) async fn measure(machine: &Machine, report: &mut Report) -> anyhow::Result<()> {
    let redis = machine.redis().await?;
    let broker = machine.broker(&redis.url()).await?;
    let client = broker.client()?;
    let enqueue = timed(&redis, JOBS, async || enqueue_all(&client).await).await?;
    note(report, "enqueue, 128 in flight", enqueue);
    let work = timed(&redis, 2 * JOBS, async || work_all(&client).await).await?;
    note(report, "lease and ack, 128 in flight", work);
    let began = Instant::now();
    bare(&redis).await?;
    #[expect(clippy::cast_precision_loss, reason = "few")]
    let rate = JOBS as f64 / began.elapsed().as_secs_f64();
    let setting = "redis alone".to_owned();
    let (workload, metric) = ("script calls, 128 in flight", "rate");
    report.add(Figure { system: "redis evalsha", setting, workload, metric, unit: "1/s" }, rate);
    Ok(())
}

/// Operations, the Redis calls that they cost, and seconds.
type Cost = (usize, Calls, f64);

async fn timed(
    redis: &Redis,
    operations: usize,
    load: impl AsyncFnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Cost> {
    let before = redis.calls().await?;
    let began = Instant::now();
    load().await?;
    let seconds = began.elapsed().as_secs_f64();
    Ok((operations, redis.calls().await?.since(before), seconds))
}

#[expect(clippy::cast_precision_loss, reason = "few")]
fn note(report: &mut Report, workload: &'static str, (operations, calls, seconds): Cost) {
    let mut add = |metric, value, unit| {
        let setting = "redis, appendonly no".to_owned();
        report.add(Figure { system: "lessor", setting, workload, metric, unit }, value);
    };
    let each = calls.scripts as f64 / operations as f64;
    add("rate", operations as f64 / seconds, "1/s");
    add("Redis calls per job operation", each, "calls");
    add("Redis calls, share of the promise of 0.1", each / PROMISE, "ratio");
}

async fn enqueue_all(client: &Client) -> anyhow::Result<()> {
    let jobs = stream::iter(0..JOBS).map(|_| {
        let job = NewJob::new("fold").payload_bytes(vec![b'x'; 256]);
        async move { client.enqueue(job).await }
    });
    jobs.buffer_unordered(IN_FLIGHT).try_for_each(|_| async { Ok(()) }).await?;
    Ok(())
}

async fn work_all(client: &Client) -> anyhow::Result<()> {
    let options = LeaseOptions::new(["fold"]);
    let jobs = stream::iter(0..JOBS).map(|_| async {
        let leased = client.lease(&options).await?;
        let job = leased.jobs.first().context("no job was left")?;
        client.ack(&job.lease_token, None).await?;
        anyhow::Ok(())
    });
    jobs.buffer_unordered(IN_FLIGHT).try_for_each(|()| async { Ok(()) }).await
}

async fn bare(redis: &Redis) -> anyhow::Result<()> {
    let script = redis::Script::new("return redis.call('RPUSH', KEYS[1], ARGV[1])");
    let connection = redis.connect().await?;
    let calls = stream::iter(0..JOBS).map(|_| {
        let (script, mut connection) = (&script, connection.clone());
        async move {
            let payload = [b'x'; 256];
            script.key("bare").arg(&payload[..]).invoke_async::<i64>(&mut connection).await
        }
    });
    calls.buffer_unordered(IN_FLIGHT).try_for_each(|_| async { Ok(()) }).await?;
    Ok(())
}
