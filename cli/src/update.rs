//! `lessor update`: change a job that waits.

use std::time::{Duration, SystemTime};

use anyhow::Context;
use clap::Args;
use lessor::proto::Job;
use lessor::{Client, JobUpdate};

use crate::failure::Usage;
use crate::input::{self, SOURCES};
use crate::jobs;
use crate::output::Output;
use crate::policy::RetryArgs;

const EXAMPLES: &str = r#"Examples:
  lessor update emails/01JD8S --priority 10
  lessor update emails/01JD8S --delay 1h --label team=sales --remove-label urgent
  lessor update emails/01JD8S --json '{"to": "b@example.com"}' --max-attempts 10"#;

/// Change a job that waits: what is not named stays.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Update {
    /// The job's name, or in short QUEUE/ID.
    #[arg(value_name = "JOB", value_parser = input::parse_job)]
    name: String,

    #[arg(long, value_name = "TEXT", conflicts_with = "data", help = format!("Another payload, as JSON: {SOURCES}"))]
    json: Option<String>,

    #[arg(long, value_name = "BYTES", help = format!("Another payload, as plain bytes: {SOURCES}"))]
    data: Option<String>,

    /// From -1000 to 1000; greater runs sooner.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    priority: Option<i32>,

    /// Run it no sooner than this from now; 0s makes it ready.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    delay: Option<Duration>,

    /// Run it no sooner than at this time.
    #[arg(long, value_name = "TIME", value_parser = input::parse_time, conflicts_with = "delay")]
    at: Option<SystemTime>,

    /// A label to set; may be given many times.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = input::parse_label)]
    labels: Vec<(String, String)>,

    /// A label to take away; may be given many times.
    #[arg(long = "remove-label", value_name = "KEY")]
    removed: Vec<String>,

    #[command(flatten)]
    retry: RetryArgs,

    /// Only if the job still has this etag, as `get` prints it.
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
}

impl Update {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let payload = input::payload(self.json.as_deref(), self.data.as_deref())?;
        // Labels and the retry policy are changed in parts, which takes what is there now.
        let job = client.get_job(&self.name).await?;
        let (mut update, untouched) = (JobUpdate::job(&self.name), JobUpdate::job(&self.name));
        if let Some(payload) = payload {
            update = update.payload(payload);
        }
        if let Some(priority) = self.priority {
            update = update.priority(priority);
        }
        if let Some(time) = self.at {
            update = update.schedule_time(time);
        }
        if let Some(delay) = self.delay {
            update = update.schedule_time(from_now(client, delay).await?);
        }
        let mut etag = self.etag;
        if !self.labels.is_empty() || !self.removed.is_empty() {
            let mut labels = job.labels.clone();
            self.removed.iter().for_each(|key| drop(labels.remove(key)));
            labels.extend(self.labels);
            update = update.labels(labels);
            etag = as_read(etag, &job);
        }
        if let Some(retry) = self.retry.apply(job.retry_policy.clone()) {
            update = update.retry(retry);
            etag = as_read(etag, &job);
        }
        if update == untouched {
            return Err(Usage("say what to change, such as --priority 10".to_owned()).into());
        }
        if let Some(etag) = etag {
            update = update.etag(etag);
        }
        let job = client.update_job(update).await?;
        let jobs = [job];
        out.message("Job", &jobs[0], || jobs::table(&jobs))
    }
}

/// What was read is what is changed: the job must not have changed in between.
fn as_read(etag: Option<String>, job: &Job) -> Option<String> {
    etag.or_else(|| Some(job.etag.clone()))
}

/// By the clock of the store, which is the one that counts.
async fn from_now(client: &Client, delay: Duration) -> anyhow::Result<SystemTime> {
    let now = client.store_status().await?.store_time.context("the broker tells no time")?;
    SystemTime::try_from(now)?
        .checked_add(delay)
        .ok_or_else(|| Usage("that is beyond the end of time".to_owned()).into())
}
