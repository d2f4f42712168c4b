//! `lessor try`: one job through its whole life.

use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use lessor::{Client, LeaseOptions, NewJob, Retention};
use serde::Serialize;

use crate::output::{Format, Output};

/// How long the job may lie unfinished, should this command die in the middle.
const LIFE: Duration = Duration::from_mins(1);
const LEASE: Duration = Duration::from_secs(30);

const EXAMPLES: &str = "\
Examples:
  lessor try
  lessor try --server http://lessor.jobs.svc:7077";

/// Put one job through its whole life: enqueue it, lease it, ack it.
///
/// Shows that a broker and its store work, and that you may use them. Nothing is left behind but the
/// queue.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Try {
    /// The queue; it should have no other workers.
    #[arg(default_value = "lessor-try")]
    queue: String,

    /// How long to wait for the job to come back, up to 60s.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    wait: Duration,
}

/// What was done, and how long each step took.
#[derive(Serialize)]
struct Report {
    job: String,
    enqueue_millis: u64,
    lease_millis: u64,
    ack_millis: u64,
}

impl Try {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let Self { queue, wait } = self;
        let forgotten = Retention::new().succeeded_for(Duration::ZERO);
        let job = NewJob::new(&queue).job_type("try").ttl(LIFE).retention(forgotten);
        let wish = LeaseOptions::new([&queue]).max_jobs(1).wait(wait).lease_duration(LEASE);
        let (enqueued, enqueue_millis) = timed(client.enqueue(job)).await;
        let name = enqueued?.job.name;
        let (leased, lease_millis) = timed(client.lease(&wish)).await;
        let Some(leased) = leased?.jobs.into_iter().next() else {
            bail!("{name} was enqueued, and no job came: is {queue} paused, or has it workers?");
        };
        let (acked, ack_millis) = timed(client.ack(leased.lease_token, None)).await;
        acked?;
        let report = Report { job: name, enqueue_millis, lease_millis, ack_millis };
        match out.format() {
            Format::Json => out.document(&report),
            Format::Jsonl => out.line(&report),
            Format::Table => out.text(&format!(
                "{}: enqueued in {enqueue_millis} ms, leased in {lease_millis} ms, acked in \
                 {ack_millis} ms.",
                report.job
            )),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a duration for people, which decides nothing")]
async fn timed<T>(call: impl Future<Output = T>) -> (T, u64) {
    let begin = Instant::now();
    let answer = call.await;
    (answer, u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX))
}
