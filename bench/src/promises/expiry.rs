//! How soon the job of a lost lease is available again, while 10,000 jobs are leased.
//!
//! Times are the store's, as the replies tell them: from the end of a lease that nobody extends to
//! the begin of the job's next lease, to a worker that waits.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;
use lessor::proto::LeasedJob;
use lessor::{Client, LeaseOptions, NewJob};

use crate::machine::{Machine, Store};
use crate::report::{Figure, Report};

const LEASED: usize = 10_000;
const LEASE: Duration = Duration::from_secs(8);
/// The promise: available within this time after the deadline.
const PROMISE_MS: f64 = 1000.0;

pub(crate) async fn measure(machine: &Machine, report: &mut Report) -> anyhow::Result<()> {
    for store in [Store::sqlite()?, Store::Redis(machine.redis().await?)] {
        let broker = machine.broker(&store.url()).await?;
        let client = broker.client()?;
        let single = one_by_one(&client).await?;
        note(report, &store, "1 of 10,000 leases runs out", &single);
        let together = all_at_once(&client).await?;
        note(report, &store, "10,000 leases run out", &together);
    }
    Ok(())
}

fn note(report: &mut Report, store: &Store, workload: &'static str, late: &Histogram<u64>) {
    let mut add = |metric, value, unit| {
        let figure = Figure { system: "lessor", setting: store.setting(), workload, metric, unit };
        report.add(figure, value);
    };
    #[expect(clippy::cast_precision_loss, reason = "milliseconds")]
    let at = |quantile| late.value_at_quantile(quantile) as f64;
    add("available after the deadline, p50", at(0.5), "ms");
    add("available after the deadline, p99", at(0.99), "ms");
    add("available after the deadline, max", at(1.0), "ms");
    add("max, share of the promise of 1 s", at(1.0) / PROMISE_MS, "ratio");
}

/// All leases end within the seconds in which they were made.
async fn all_at_once(client: &Client) -> anyhow::Result<Histogram<u64>> {
    enqueue(client, "together").await?;
    let deadlines = lease_all(client, "together", LEASE).await?;
    let mut late = Histogram::new(3)?;
    let options = LeaseOptions::new(["together"]).max_jobs(256).lease_duration(HOUR).wait(WAIT);
    while late.len() < LEASED as u64 {
        let leased = client.lease(&options).await?.jobs;
        ensure!(!leased.is_empty(), "only {} jobs came back", late.len());
        for job in &leased {
            let deadline = deadlines.get(&name(job)).context("a job that was not leased")?;
            late.record(leased_at(job, HOUR)?.saturating_sub(*deadline))?;
        }
    }
    Ok(late)
}

/// One short lease after another ends, beside 10,000 long ones of the same queue.
async fn one_by_one(client: &Client) -> anyhow::Result<Histogram<u64>> {
    const TIMES: usize = 20;
    enqueue(client, "single").await?;
    lease_all(client, "single", HOUR).await?;
    let mut late = Histogram::new(3)?;
    let short = Duration::from_secs(1);
    let lease_short = LeaseOptions::new(["single"]).lease_duration(short);
    let wait = LeaseOptions::new(["single"]).lease_duration(HOUR).wait(WAIT);
    for _ in 0..TIMES {
        client.enqueue(NewJob::new("single")).await?;
        let lost = client.lease(&lease_short).await?.jobs;
        let deadline = leased_at(lost.first().context("the job")?, short)? + 1000;
        let again = client.lease(&wait).await?.jobs;
        let job = again.first().context("the job did not come back")?;
        late.record(leased_at(job, HOUR)?.saturating_sub(deadline))?;
    }
    Ok(late)
}

const HOUR: Duration = Duration::from_hours(1);
const WAIT: Duration = Duration::from_secs(30);

async fn enqueue(client: &Client, queue: &str) -> anyhow::Result<()> {
    for _ in 0..LEASED / 1000 {
        client.enqueue_batch(vec![NewJob::new(queue); 1000]).await?;
    }
    Ok(())
}

/// Leases everything; answers each job's deadline.
async fn lease_all(
    client: &Client,
    queue: &str,
    duration: Duration,
) -> anyhow::Result<HashMap<String, u64>> {
    let options = LeaseOptions::new([queue]).max_jobs(256).lease_duration(duration);
    let mut deadlines = HashMap::new();
    while deadlines.len() < LEASED {
        let jobs = client.lease(&options).await?.jobs;
        ensure!(!jobs.is_empty(), "only {} jobs could be leased", deadlines.len());
        let ends = |job: &LeasedJob| millis(job.lease_expire_time.as_ref());
        for job in &jobs {
            deadlines.insert(name(job), ends(job)?);
        }
    }
    Ok(deadlines)
}

fn name(job: &LeasedJob) -> String {
    job.job.as_ref().map_or_else(String::new, |job| job.name.clone())
}

/// When a lease of `duration` began, on the store's clock.
fn leased_at(job: &LeasedJob, duration: Duration) -> anyhow::Result<u64> {
    Ok(millis(job.lease_expire_time.as_ref())? - u64::try_from(duration.as_millis())?)
}

fn millis(moment: Option<&prost_types::Timestamp>) -> anyhow::Result<u64> {
    let moment = moment.context("the end of a lease")?;
    Ok(u64::try_from(moment.seconds * 1000 + i64::from(moment.nanos / 1_000_000))?)
}
