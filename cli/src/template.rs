//! The flags that describe a job, wherever one is described: in `enqueue` and in schedules.

use std::time::Duration;

use clap::Args;
use humantime::parse_duration;
use lessor::NewJob;
use lessor::proto::EnqueueRequest;

use crate::input::{self, SOURCES};
use crate::policy::{DedupArgs, RetentionArgs, RetryArgs};

#[derive(Args)]
pub(crate) struct Template {
    #[arg(long, value_name = "TEXT", conflicts_with = "data", help = format!("The payload as JSON: {SOURCES}"))]
    json: Option<String>,

    #[arg(long, value_name = "BYTES", help = format!("The payload as plain bytes: {SOURCES}"))]
    data: Option<String>,

    /// What kind of work it is.
    #[arg(long = "type", value_name = "NAME")]
    job_type: Option<String>,

    /// From -1000 to 1000; greater runs sooner. Default: 0.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    priority: Option<i32>,

    /// A label; may be given many times.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = input::parse_label)]
    labels: Vec<(String, String)>,

    /// On whose behalf it is enqueued.
    #[arg(long, value_name = "SUBJECT")]
    owner: Option<String>,

    /// Run it no sooner than this from now, such as 30s, 5m or 1h30m.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    delay: Option<Duration>,

    /// If it has not started this long after it was enqueued, never start it.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    ttl: Option<Duration>,

    /// For how long a worker may be silent before another one gets the job.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    lease: Option<Duration>,

    /// How long one attempt may take, however often its lease is extended.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    attempt_timeout: Option<Duration>,

    #[command(flatten)]
    dedup: DedupArgs,

    #[command(flatten)]
    retry: RetryArgs,

    #[command(flatten)]
    retention: RetentionArgs,
}

impl Template {
    /// The job that there was with what the flags say.
    pub(crate) fn apply(self, before: EnqueueRequest) -> anyhow::Result<NewJob> {
        let payload = input::payload(self.json.as_deref(), self.data.as_deref())?;
        let retry = self.retry.apply(before.retry_policy.clone());
        let retention = self.retention.apply(before.retention);
        let mut job = NewJob::from(before);
        if let Some(payload) = payload {
            job = job.payload(payload);
        }
        if let Some(name) = self.job_type {
            job = job.job_type(name);
        }
        if let Some(priority) = self.priority {
            job = job.priority(priority);
        }
        if let Some(owner) = self.owner {
            job = job.owner(owner);
        }
        if let Some(delay) = self.delay {
            job = job.delay(delay);
        }
        if let Some(ttl) = self.ttl {
            job = job.ttl(ttl);
        }
        if let Some(duration) = self.lease {
            job = job.lease_duration(duration);
        }
        if let Some(timeout) = self.attempt_timeout {
            job = job.attempt_timeout(timeout);
        }
        if let Some(dedup) = self.dedup.into_dedup() {
            job = job.dedup(dedup);
        }
        if let Some(retry) = retry {
            job = job.retry(retry);
        }
        if let Some(retention) = retention {
            job = job.retention(retention);
        }
        Ok(self.labels.into_iter().fold(job, |job, (key, value)| job.label(key, value)))
    }
}
