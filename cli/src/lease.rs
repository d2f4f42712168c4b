//! `lessor lease`: take jobs, to be settled by their tokens.

use std::time::Duration;

use clap::Args;
use comfy_table::Table;
use lessor::proto::LeaseResponse;
use lessor::{Client, LeaseOptions};

use crate::output::{Format, Output, columns, show, show_payload, word};

const EXAMPLES: &str = "\
Examples:
  lessor lease emails
  lessor lease 'mail-*' orders --max 10 --wait 30s --lease 5m
  lessor lease media --type resize --type crop
  token=$(lessor lease emails -o jsonl | jq -r .leaseToken)";

/// Take jobs from queues. Each must be settled with its token before its lease ends.
///
/// When there is no job, the list is empty, and that is no failure.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Lease {
    /// Queues: names, prefixes such as 'mail-*', or '*' for all.
    #[arg(value_name = "QUEUE", required = true)]
    queues: Vec<String>,

    /// Only jobs of this type; may be given many times.
    #[arg(long = "type", alias = "types", value_name = "NAME")]
    types: Vec<String>,

    /// The most jobs to take, up to 256.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    max: i32,

    /// How long to wait for the first job, up to 60s.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    wait: Option<Duration>,

    /// For how long the jobs are yours. Default: as job and queue say.
    #[arg(long = "lease", value_name = "DURATION", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,

    /// The worker's name. Default: a random one.
    #[arg(long, value_name = "ID")]
    worker_id: Option<String>,
}

impl Lease {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let response = LeaseResponse::from(client.lease(&self.into_options()).await?);
        if response.jobs.is_empty() {
            eprintln!("lessor: {}", word(response.empty_reason().as_str_name()));
        }
        match out.format() {
            Format::Table if response.jobs.is_empty() => Ok(()),
            Format::Table => out.table(table(&response)),
            Format::Json => out.document(&out.dynamic("LeaseResponse", &response)?),
            Format::Jsonl => {
                response.jobs.iter().try_for_each(|job| out.line(&out.dynamic("LeasedJob", job)?))
            }
        }
    }

    fn into_options(self) -> LeaseOptions {
        let mut options = LeaseOptions::new(self.queues).types(self.types).max_jobs(self.max);
        if let Some(wait) = self.wait {
            options = options.wait(wait);
        }
        if let Some(duration) = self.duration {
            options = options.lease_duration(duration);
        }
        if let Some(id) = self.worker_id {
            options = options.worker_id(id);
        }
        options
    }
}

fn table(response: &LeaseResponse) -> Table {
    let mut table = columns(["JOB", "TYPE", "ATTEMPT", "LEASE", "PAYLOAD", "TOKEN"]);
    for leased in &response.jobs {
        let job = leased.job.clone().unwrap_or_default();
        table.add_row([
            job.name,
            job.r#type,
            job.attempt.to_string(),
            show(leased.lease_remaining.as_ref()),
            show_payload(job.payload.as_ref()),
            leased.lease_token.clone(),
        ]);
    }
    table
}
