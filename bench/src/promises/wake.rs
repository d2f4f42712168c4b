//! How soon a waiting worker gets a job, from the begin of the enqueue to the end of the lease.
//!
//! Beside it, in the same run, what no broker on Redis can beat: a bare message from one Redis
//! client to another.

use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::StreamExt;
use hdrhistogram::Histogram;
use lessor::{Client, LeaseOptions, NewJob};
use redis::AsyncCommands;

use crate::machine::{Machine, Redis};
use crate::report::{Figure, Report};

const TIMES: usize = 300;
/// The promise for the median, in milliseconds.
const PROMISE_MS: f64 = 10.0;

pub(crate) async fn measure(machine: &Machine, report: &mut Report) -> anyhow::Result<()> {
    let redis = machine.redis().await?;
    let (here, there) = (machine.broker(&redis.url()).await?, machine.broker(&redis.url()).await?);
    let bare = bare(&redis).await?;
    note(report, "redis publish", "one message", "redis alone", &bare);
    let same = wake(&here.client()?, &here.client()?, "same").await?;
    note(report, "lessor", "enqueue and lease at one broker", "redis, appendonly no", &same);
    let other = wake(&here.client()?, &there.client()?, "other").await?;
    note(
        report,
        "lessor",
        "enqueue at one broker, lease at another",
        "redis, appendonly no",
        &other,
    );
    let mut add = |metric, value| {
        let workload = "enqueue at one broker, lease at another";
        let setting = "redis, appendonly no".to_owned();
        report.add(Figure { system: "lessor", setting, workload, metric, unit: "ratio" }, value);
    };
    add("p50, share of the promise of 10 ms", p50_ms(&other) / PROMISE_MS);
    add("p50, times a bare message", p50_ms(&other) / p50_ms(&bare));
    Ok(())
}

fn note(
    report: &mut Report,
    system: &'static str,
    workload: &'static str,
    setting: &str,
    took: &Histogram<u64>,
) {
    let mut add = |metric, value| {
        let setting = setting.to_owned();
        report.add(Figure { system, setting, workload, metric, unit: "ms" }, value);
    };
    add("p50", p50_ms(took));
    #[expect(clippy::cast_precision_loss, reason = "microseconds")]
    add("p99", took.value_at_quantile(0.99) as f64 / 1000.0);
}

#[expect(clippy::cast_precision_loss, reason = "microseconds")]
fn p50_ms(took: &Histogram<u64>) -> f64 {
    took.value_at_quantile(0.5) as f64 / 1000.0
}

async fn wake(producer: &Client, worker: &Client, queue: &str) -> anyhow::Result<Histogram<u64>> {
    let mut took = Histogram::new(3)?;
    let options = LeaseOptions::new([queue]).wait(Duration::from_secs(30));
    for _ in 0..TIMES {
        let waiting = async {
            let leased = worker.lease(&options).await?;
            anyhow::Ok((Instant::now(), leased))
        };
        let enqueuing = async {
            // The worker must be waiting, or nothing is woken.
            tokio::time::sleep(Duration::from_millis(10)).await;
            let began = Instant::now();
            producer.enqueue(NewJob::new(queue)).await?;
            anyhow::Ok(began)
        };
        let ((woken, leased), began) = tokio::try_join!(waiting, enqueuing)?;
        took.record(u64::try_from(woken.duration_since(began).as_micros())?)?;
        let job = leased.jobs.first().context("nobody was woken")?;
        worker.ack(&job.lease_token, None).await?;
    }
    Ok(took)
}

async fn bare(redis: &Redis) -> anyhow::Result<Histogram<u64>> {
    let mut took = Histogram::new(3)?;
    let mut listening = redis.client()?.get_async_pubsub().await?;
    listening.subscribe("bare").await?;
    let mut messages = listening.on_message();
    let mut connection = redis.connect().await?;
    for _ in 0..TIMES {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let began = Instant::now();
        let _heard: i64 = connection.publish("bare", "x").await?;
        messages.next().await.context("no message")?;
        took.record(u64::try_from(began.elapsed().as_micros())?)?;
    }
    Ok(took)
}
