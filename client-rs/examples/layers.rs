//! Handlers as tower services: at most two reports at a time, each within a second.
//! `cargo run --example layers -- [http://127.0.0.1:7077]`. It enqueues three reports, of which one
//! takes too long.

#![expect(clippy::print_stdout, reason = "an example talks to its reader")]
#![expect(clippy::disallowed_methods, reason = "the work of an example is to wait")]

use std::env;
use std::time::Duration;

use lessor::{Client, Job, Nack, NewJob, Retry, Worker};
use tokio::time::sleep;
use tower::ServiceBuilder;

async fn report(job: Job) -> Result<(), Nack> {
    let seconds: f64 = job.json()?;
    sleep(Duration::from_secs_f64(seconds)).await;
    Ok(())
}

#[tokio::main]
async fn main() -> lessor::Result<()> {
    let url = env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:7077".to_owned());
    let client = Client::connect(url)?;
    let bounded = ServiceBuilder::new()
        .concurrency_limit(2)
        .timeout(Duration::from_secs(1))
        .service_fn(report);
    let jobs = ["0.1", "0.2", "30"].map(|seconds| {
        NewJob::new("reports").job_type("report").payload_json(seconds).retry(Retry::attempts(1))
    });
    let enqueued = client.enqueue_batch(jobs.into()).await?;

    let finished = async {
        for enqueued in enqueued {
            let Ok(ended) = client.wait_job(enqueued.job.name, &[], Duration::from_mins(1)).await
            else {
                return;
            };
            let job = ended.job.unwrap_or_default();
            let why = job.last_failure.as_ref().map_or("", |failure| &failure.message);
            println!("{:?} {why}", job.state());
        }
    };
    let worker = Worker::builder(client.clone()).queue("reports").handler("report", bounded);
    worker.build()?.run_until(finished).await
}
