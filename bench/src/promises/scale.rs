//! What statistics, an explanation and a page of jobs cost in a small queue and in a large one.
//!
//! Both queues live in one store at once, so the ratio of the two is what the size costs.

use std::time::Instant;

use anyhow::Context;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use hdrhistogram::Histogram;
use lessor::{Client, JobQuery, JobView, NewJob};

use crate::machine::{Machine, Store};
use crate::report::{Figure, Report};

const FEW: usize = 1_000;
const MANY: usize = 1_000_000;
const BATCH: usize = 1_000;
/// Batches on their way at once.
const IN_FLIGHT: usize = 4;
const TIMES: usize = 300;
const PAGE: i32 = 50;
/// So many jobs of either queue have the label that a page is asked for by.
const LABELLED: usize = 50;

/// What is measured, in the order of the calls.
const CALLS: [&str; 5] = [
    "GetQueueStats",
    "ExplainJob, a job in the middle",
    "ListJobs, first page",
    "ListJobs, a later page",
    "ListJobs by a label",
];

pub(crate) async fn measure(machine: &Machine, report: &mut Report) -> anyhow::Result<()> {
    for store in [Store::Redis(machine.redis().await?), Store::sqlite()?] {
        let broker = machine.broker(&store.url()).await?;
        let client = broker.client()?;
        let mut few = Looks::prepare(&client, "few", FEW).await?;
        let mut many = Looks::prepare(&client, "many", MANY).await?;
        // Taking turns, so that noise falls on both alike.
        for _ in 0..TIMES {
            few.look(&client).await?;
            many.look(&client).await?;
        }
        for (call, (few, many)) in CALLS.iter().zip(few.took.iter().zip(&many.took)) {
            let mut add = |metric, value, unit| {
                let setting = store.setting();
                report
                    .add(Figure { system: "lessor", setting, workload: call, metric, unit }, value);
            };
            add("p50 at 1,000 jobs", p50_ms(few), "ms");
            add("p50 at 1,000,000 jobs", p50_ms(many), "ms");
            add("p50, times that at 1,000 jobs", p50_ms(many) / p50_ms(few), "ratio");
        }
    }
    Ok(())
}

/// One queue, and how long each call took.
struct Looks {
    queue: &'static str,
    middle: String,
    later: String,
    took: [Histogram<u64>; CALLS.len()],
}

impl Looks {
    async fn prepare(client: &Client, queue: &'static str, jobs: usize) -> anyhow::Result<Self> {
        stream::iter((0..jobs).step_by(BATCH))
            .map(|first| async move {
                let batch = (first..first + BATCH).map(|index| job(queue, index, jobs)).collect();
                client.enqueue_batch(batch).await
            })
            .buffered(IN_FLIGHT)
            .try_for_each(|_| async { Ok(()) })
            .await?;
        let middle = format!("queues/{queue}/jobs/{}", id(jobs / 2));
        let first = client.list_jobs(&page(queue)).await?;
        let new = || Histogram::new(3);
        Ok(Self {
            queue,
            middle,
            later: first.next_page_token,
            took: [new()?, new()?, new()?, new()?, new()?],
        })
    }

    async fn look(&mut self, client: &Client) -> anyhow::Result<()> {
        let [stats, explain, first, later, label] = &mut self.took;
        timed(stats, client.queue_stats(self.queue)).await?;
        timed(explain, client.explain_job(&self.middle)).await?;
        timed(first, client.list_jobs(&page(self.queue))).await?;
        timed(later, client.list_jobs(&page(self.queue).page_token(&self.later))).await?;
        let by_label = JobQuery::queue(self.queue).filter("labels.rare=yes").page_size(PAGE);
        timed(label, client.list_jobs(&by_label.view(JobView::Basic))).await?;
        Ok(())
    }
}

fn page(queue: &str) -> JobQuery {
    JobQuery::queue(queue).filter("state=READY").page_size(PAGE).view(JobView::Basic)
}

fn job(queue: &str, index: usize, jobs: usize) -> NewJob {
    let job = NewJob::new(queue).job_id(id(index)).payload_bytes(vec![b'x'; 100]);
    if index.is_multiple_of(jobs / LABELLED) { job.label("rare", "yes") } else { job }
}

fn id(index: usize) -> String {
    format!("job-{index:07}")
}

async fn timed<T>(
    took: &mut Histogram<u64>,
    call: impl Future<Output = lessor::Result<T>>,
) -> anyhow::Result<()> {
    let began = Instant::now();
    call.await?;
    took.record(u64::try_from(began.elapsed().as_micros()).context("a short time")?)?;
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "microseconds")]
fn p50_ms(took: &Histogram<u64>) -> f64 {
    took.value_at_quantile(0.5) as f64 / 1000.0
}
