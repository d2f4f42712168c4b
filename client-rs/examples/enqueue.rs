//! Enqueues one job and says what became of it:
//! `cargo run --example enqueue -- a@example.com [http://127.0.0.1:7077]`.

#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use std::env;

use lessor::{Client, EnqueueOutcome, NewJob, Retry};

#[tokio::main]
async fn main() -> lessor::Result<()> {
    let to = env::args().nth(1).unwrap_or_else(|| "a@example.com".to_owned());
    let url = env::args().nth(2).unwrap_or_else(|| "http://127.0.0.1:7077".to_owned());
    let client = Client::connect(url)?;

    // One welcome per address: a second run within the job's life returns the first job.
    let job = NewJob::new("emails")
        .job_type("welcome")
        .payload_json(serde_json::json!({ "to": to }).to_string())
        .dedup_key(to)
        .retry(Retry::attempts(5));
    let enqueued = client.enqueue(job).await?;

    match enqueued.outcome {
        EnqueueOutcome::Created => println!("enqueued {}", enqueued.job.name),
        _ => println!("{} does that already", enqueued.job.name),
    }
    Ok(())
}
