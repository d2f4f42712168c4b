//! A long job that tells how far it is, goes on where an earlier attempt stopped, and stops when it is
//! told to: `cargo run --example progress -- [http://127.0.0.1:7077]`. It enqueues one such job, and
//! watches it.

#![expect(clippy::print_stdout, reason = "an example talks to its reader")]
#![expect(clippy::disallowed_methods, reason = "the work of an example is to wait")]

use std::env;
use std::time::Duration;

use lessor::{Client, Job, Nack, NewJob, WatchOptions, Worker};
use tokio::time::sleep;

const PAGES: u32 = 5;

async fn print(job: Job) -> Result<u32, Nack> {
    let first = job.saved_json().unwrap_or(0);
    for page in first..PAGES {
        tokio::select! {
            why = job.stopped() => {
                return Err(Nack::release().failure("STOPPED", format!("{why:?}")));
            }
            () = sleep(Duration::from_millis(50)) => {}
        }
        job.checkpoint_json(&(page + 1)).await?;
        let percent = f64::from(page + 1) / f64::from(PAGES) * 100.0;
        job.progress(percent, format!("page {}", page + 1)).await?;
    }
    Ok(PAGES)
}

#[tokio::main]
async fn main() -> lessor::Result<()> {
    let url = env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:7077".to_owned());
    let client = Client::connect(url)?;
    let name = client.enqueue(NewJob::new("prints").job_type("print")).await?.job.name;
    let mut watch = client.watch(WatchOptions::job(&name)).await?;
    let watching = async {
        while let Some(Ok(page)) = watch.next().await {
            for event in page.events {
                let percent = event.progress.as_ref().map(|progress| progress.percent);
                println!(
                    "{:?} {}",
                    event.r#type(),
                    percent.map_or_else(String::new, |it| format!("{it} %"))
                );
            }
        }
    };
    // Ends with the watch, which ends with the job.
    Worker::builder(client)
        .queue("prints")
        .handler("print", print)
        .build()?
        .run_until(watching)
        .await
}
