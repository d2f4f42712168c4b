//! What a million finished jobs leave in the store: no more than the retention says.
//!
//! The store is measured after a tenth of the jobs and after all of them; a flat store has the same
//! size both times. The jobs are enqueued without request ids, which are remembered for a day
//! whatever becomes of the jobs. Claims are remembered as long as their leases might have lasted,
//! and a minute more; as the run is shorter than that, Redis is measured again when they have
//! lapsed. (A file does not shrink, so the size of `SQLite` says it at once.)

use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::future::try_join_all;
use lessor::proto::job_broker_client::JobBrokerClient;
use lessor::proto::payload::Body;
use lessor::proto::{BatchEnqueueRequest, EnqueueRequest, Payload};
use lessor::{Client, LeaseOptions, Settle};

use crate::machine::{Machine, Store};
use crate::report::{Figure, Report};

const JOBS: usize = 1_000_000;
const EARLY: usize = JOBS / 10;
const BATCH: usize = 250;
/// Producers, each with a worker.
const PAIRS: usize = 4;
/// What the default retention keeps of jobs that succeeded.
const KEPT: i64 = 1000;
const QUEUE: &str = "keep";
/// After this a store has forgotten the last claim: a lease of 30 s and a minute, and some time for
/// Redis to find what has expired.
const LAPSE: Duration = Duration::from_secs(100);

pub(crate) async fn measure(machine: &Machine, report: &mut Report) -> anyhow::Result<()> {
    for store in [Store::Redis(machine.redis().await?), Store::sqlite()?] {
        let broker = machine.broker(&store.url()).await?;
        let client = broker.client()?;
        let url = broker.url();
        run_through(&client, url, EARLY).await?;
        let early = store.size().await?;
        run_through(&client, url, JOBS - EARLY).await?;
        let late = store.size().await?;
        let lapsed = match &store {
            Store::Redis(_) => {
                tokio::time::sleep(LAPSE).await;
                Some(store.size().await?)
            }
            Store::Sqlite(_) => None,
        };
        let kept = client.queue_stats(QUEUE).await?.succeeded;
        ensure!(kept == KEPT, "{kept} jobs are kept, not {KEPT}");
        let mut add = |metric, value, unit| {
            let (setting, workload) = (store.setting(), "1,000,000 jobs through one queue");
            report.add(Figure { system: "lessor", setting, workload, metric, unit }, value);
        };
        #[expect(clippy::cast_precision_loss, reason = "megabytes")]
        let [early, late, lapsed] =
            [early, late, lapsed.unwrap_or(late)].map(|bytes| bytes as f64 / 1e6);
        add("store after 100,000 jobs", early, "MB");
        add("store after 1,000,000 jobs", late, "MB");
        if let Store::Redis(_) = store {
            add("store 100 s after the last job", lapsed, "MB");
        }
        add("store at the end, times that after 100,000 jobs", lapsed / early, "ratio");
    }
    Ok(())
}

async fn run_through(client: &Client, url: &str, jobs: usize) -> anyhow::Result<()> {
    try_join_all((0..PAIRS).map(|_| pair(client, url, jobs / PAIRS))).await?;
    Ok(())
}

async fn pair(client: &Client, url: &str, jobs: usize) -> anyhow::Result<()> {
    let mut producer = JobBrokerClient::connect(url.to_owned()).await?;
    let options =
        LeaseOptions::new([QUEUE]).max_jobs(i32::try_from(BATCH)?).wait(Duration::from_secs(10));
    for _ in 0..jobs / BATCH {
        let requests = std::iter::repeat_with(job).take(BATCH).collect();
        producer
            .batch_enqueue(BatchEnqueueRequest { requests, ..BatchEnqueueRequest::default() })
            .await?;
        let mut left = BATCH;
        while left > 0 {
            let leased = client.lease(&options.clone().max_jobs(i32::try_from(left)?)).await?;
            ensure!(!leased.jobs.is_empty(), "no jobs for a worker");
            left -= leased.jobs.len();
            let acks = leased.jobs.iter().map(|job| Settle::ack(&job.lease_token, None));
            for outcome in client.settle_batch(acks.collect()).await? {
                outcome.context("an ack")?;
            }
        }
    }
    Ok(())
}

fn job() -> EnqueueRequest {
    let body = Some(Body::Data(vec![b'x'; 100].into()));
    let payload = Some(Payload { body, ..Payload::default() });
    EnqueueRequest { queue: QUEUE.to_owned(), payload, ..EnqueueRequest::default() }
}
