//! `lessor get`: one job as it stands.

use clap::Args;
use comfy_table::Table;
use lessor::Client;
use lessor::proto::Job;

use crate::input;
use crate::output::{Output, facts, show, show_payload, word};

const EXAMPLES: &str = "\
Examples:
  lessor get queues/emails/jobs/01JD8S
  lessor get emails/01JD8S -o json | jq .attempts";

/// Print one job: where it stands, its payload, its result, its latest failure.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Get {
    /// The job's name, as `enqueue` and `lease` print it, or in short QUEUE/ID.
    #[arg(value_name = "JOB", value_parser = input::parse_job)]
    name: String,
}

impl Get {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let job = client.get_job(self.name).await?;
        out.message("Job", &job, || table(&job))
    }
}

/// All that there is to say about one job.
pub(crate) fn table(job: &Job) -> Table {
    let tries = job.retry_policy.as_ref().map_or(0, |policy| policy.max_attempts);
    let attempt = match tries {
        1.. => format!("{} of {tries}", job.attempt),
        _ => job.attempt.to_string(),
    };
    let mut labels: Vec<String> = job.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    labels.sort();
    facts([
        ("Job", job.name.clone()),
        ("Type", job.r#type.clone()),
        ("State", word(job.state().as_str_name())),
        ("Attempt", attempt),
        ("Priority", job.priority.to_string()),
        ("Labels", labels.join(", ")),
        ("Owner", job.owner.clone()),
        ("Created", show(job.create_time.as_ref())),
        ("Runs at", show(job.schedule_time.as_ref())),
        ("Expires", show(job.expire_time.as_ref())),
        ("Started", show(job.start_time.as_ref())),
        ("Ended", show(job.end_time.as_ref())),
        ("Kept until", show(job.purge_time.as_ref())),
        ("Worker", job.worker_id.clone()),
        ("Lease ends", show(job.lease_expire_time.as_ref())),
        ("Cancel", if job.cancel_requested { "asked for" } else { "" }.to_owned()),
        (
            "Progress",
            show(
                job.progress.as_ref().map(|it| format!("{}% {}", it.percent, it.message)).as_ref(),
            ),
        ),
        (
            "Failure",
            show(
                job.last_failure.as_ref().map(|it| format!("{} {}", it.code, it.message)).as_ref(),
            ),
        ),
        ("Payload", show_payload(job.payload.as_ref())),
        ("Checkpoint", show_payload(job.checkpoint.as_ref())),
        ("Result", show_payload(job.result.as_ref())),
    ])
}
