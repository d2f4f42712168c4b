//! `lessor enqueue`: hand one job to the broker.

use std::time::SystemTime;

use clap::Args;
use lessor::Client;
use lessor::proto::{EnqueueRequest, EnqueueResponse};

use crate::input;
use crate::output::{Output, columns, show, word};
use crate::template::Template;

const EXAMPLES: &str = r#"Examples:
  lessor enqueue emails --type welcome --json '{"to": "a@example.com"}'
  lessor enqueue images --data @photo.jpg --priority 5 --delay 1h30m
  jq -c .order order.json | lessor enqueue orders --json - --dedup-key order-17
  lessor enqueue offers --ttl 10m --attempt-timeout 30s --label team=sales
  lessor enqueue search --dedup-key reindex --on-duplicate replace --delay 5s
  lessor enqueue emails --json @job.json --validate-only"#;

/// Hand one job to the broker.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Enqueue {
    /// The queue, which need not exist yet.
    queue: String,

    #[command(flatten)]
    template: Template,

    /// Run it no sooner than at this time, such as 2026-12-24T18:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = input::parse_time, conflicts_with = "delay")]
    at: Option<SystemTime>,

    /// If it has not started by this time, never start it.
    #[arg(long, value_name = "TIME", value_parser = input::parse_time, conflicts_with = "ttl")]
    expire_time: Option<SystemTime>,

    /// The job's own id, unique in its queue.
    #[arg(long, value_name = "ID")]
    id: Option<String>,

    /// A UUID; the same one again makes no second job.
    #[arg(long, value_name = "UUID")]
    request_id: Option<String>,

    /// Only check the request: nothing is enqueued.
    #[arg(long)]
    validate_only: bool,
}

impl Enqueue {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let request = EnqueueRequest { queue: self.queue, ..EnqueueRequest::default() };
        let mut job = self.template.apply(request)?;
        if let Some(time) = self.at {
            job = job.schedule_time(time);
        }
        if let Some(time) = self.expire_time {
            job = job.expire_time(time);
        }
        if let Some(id) = self.id {
            job = job.job_id(id);
        }
        if let Some(id) = self.request_id {
            job = job.request_id(id);
        }
        if self.validate_only {
            job = job.validate_only();
        }
        let response = EnqueueResponse::from(client.enqueue(job).await?);
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
}
