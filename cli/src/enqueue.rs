//! `lessor enqueue`: hand one job to the broker.

use std::time::{Duration, SystemTime};

use clap::Args;
use lessor::proto::EnqueueResponse;
use lessor::{Client, Dedup, NewJob, Payload, Retry};

use crate::input::{self, SOURCES};
use crate::output::{Output, columns, show, word};

const EXAMPLES: &str = r#"Examples:
  lessor enqueue emails --type welcome --json '{"to": "a@example.com"}'
  lessor enqueue images --data @photo.jpg --priority 5 --delay 1h30m
  jq -c .order order.json | lessor enqueue orders --json - --dedup-key order-17"#;

/// Hand one job to the broker.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Enqueue {
    /// The queue, which need not exist yet.
    queue: String,

    #[arg(long, value_name = "TEXT", conflicts_with = "data", help = format!("The payload as JSON: {SOURCES}"))]
    json: Option<String>,

    #[arg(long, value_name = "BYTES", help = format!("The payload as plain bytes: {SOURCES}"))]
    data: Option<String>,

    /// What kind of work it is.
    #[arg(long = "type", value_name = "NAME")]
    job_type: Option<String>,

    /// From -1000 to 1000; greater runs sooner.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, allow_negative_numbers = true)]
    priority: i32,

    /// Run it no sooner than this from now, such as 30s, 5m or 1h30m.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    delay: Option<Duration>,

    /// Run it no sooner than at this time, such as 2026-12-24T18:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = input::parse_time, conflicts_with = "delay")]
    at: Option<SystemTime>,

    /// The job's own id, unique in its queue.
    #[arg(long, value_name = "ID")]
    id: Option<String>,

    /// A UUID; the same one again makes no second job.
    #[arg(long, value_name = "UUID")]
    request_id: Option<String>,

    /// While a job with this key is unfinished, return that one.
    #[arg(long, value_name = "KEY")]
    dedup_key: Option<String>,

    /// Let the dedup key hold for this long instead, finished or not.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, requires = "dedup_key")]
    dedup_window: Option<Duration>,

    /// A label; may be given many times.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = input::parse_label)]
    labels: Vec<(String, String)>,

    /// How often to try, the first time included; -1 for no limit.
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    max_attempts: Option<i32>,

    /// The pause after the first failed attempt; later ones are longer.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    backoff: Option<Duration>,

    /// For how long a worker may be silent before another one gets the job.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    lease: Option<Duration>,
}

impl Enqueue {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let payload = input::payload(self.json.as_deref(), self.data.as_deref())?;
        let response = EnqueueResponse::from(client.enqueue(self.into_job(payload)).await?);
        out.message("EnqueueResponse", &response, || {
            let job = response.job.clone().unwrap_or_default();
            let mut table = columns(["JOB", "OUTCOME", "STATE", "RUNS AT"]);
            table.add_row([
                job.name.clone(),
                word(response.outcome().as_str_name()),
                word(job.state().as_str_name()),
                show(job.schedule_time.as_ref()),
            ]);
            table
        })
    }

    fn into_job(self, payload: Option<Payload>) -> NewJob {
        let mut job = NewJob::new(self.queue).priority(self.priority);
        if let Some(payload) = payload {
            job = job.payload(payload);
        }
        if let Some(name) = self.job_type {
            job = job.job_type(name);
        }
        if let Some(delay) = self.delay {
            job = job.delay(delay);
        }
        if let Some(time) = self.at {
            job = job.schedule_time(time);
        }
        if let Some(id) = self.id {
            job = job.job_id(id);
        }
        if let Some(id) = self.request_id {
            job = job.request_id(id);
        }
        if let Some(duration) = self.lease {
            job = job.lease_duration(duration);
        }
        if let Some(key) = self.dedup_key {
            let dedup = Dedup::key(key);
            job = job.dedup(match self.dedup_window {
                Some(window) => dedup.window(window),
                None => dedup,
            });
        }
        if self.max_attempts.is_some() || self.backoff.is_some() {
            let retry = Retry::attempts(self.max_attempts.unwrap_or_default());
            job = job.retry(match self.backoff {
                Some(pause) => retry.initial_backoff(pause),
                None => retry,
            });
        }
        self.labels.into_iter().fold(job, |job, (key, value)| job.label(key, value))
    }
}
