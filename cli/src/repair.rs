//! `lessor retry`, `promote`, `revoke` and `delete`: what an operator does to single jobs.

use clap::Args;
use lessor::Client;

use crate::each::{Note, each, each_deleted};
use crate::input;
use crate::output::Output;

#[derive(Args)]
struct Which {
    /// The jobs, each by its name or in short QUEUE/ID.
    #[arg(value_name = "JOB", required = true, value_parser = input::parse_job)]
    names: Vec<String>,

    #[command(flatten)]
    note: Note,
}

/// Run dead, cancelled or expired jobs again, with their attempts counted anew.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  lessor retry queues/emails/jobs/01JD8S
  lessor jobs emails --state dead -o jsonl | jq -r .name | xargs lessor retry
  lessor bulk retry emails --state dead        # all of them, however many")]
pub(crate) struct Retry {
    #[command(flatten)]
    jobs: Which,
}

impl Retry {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let Which { names, note } = self.jobs;
        each(client, names, out, |client, name| {
            let action = note.on(name);
            async move { client.retry_job(action).await }
        })
        .await
    }
}

/// Run jobs now that wait for their time or their next attempt.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  lessor promote emails/01JD8S
  lessor promote emails/01JD8S --reason 'the mail server is back'")]
pub(crate) struct Promote {
    #[command(flatten)]
    jobs: Which,
}

impl Promote {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let Which { names, note } = self.jobs;
        each(client, names, out, |client, name| {
            let action = note.on(name);
            async move { client.promote_job(action).await }
        })
        .await
    }
}

/// Take leased jobs from their workers: others may have them at once.
///
/// The attempt does not count, and what the worker still says of it is refused. The worker is not
/// told before its next heartbeat; to stop the work itself, use `cancel`.
#[derive(Args)]
#[command(after_long_help = "\
Example:
  lessor revoke emails/01JD8S --reason 'the worker hangs'")]
pub(crate) struct Revoke {
    #[command(flatten)]
    jobs: Which,
}

impl Revoke {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let Which { names, note } = self.jobs;
        each(client, names, out, |client, name| {
            let action = note.on(name);
            async move { client.revoke_lease(action).await }
        })
        .await
    }
}

/// Forget jobs, finished or not. A leased one must be cancelled or revoked first.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  lessor delete emails/01JD8S
  lessor purge emails --state dead --older-than 7d      # many of them")]
pub(crate) struct Delete {
    #[command(flatten)]
    jobs: Which,
}

impl Delete {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let Which { names, note } = self.jobs;
        each_deleted(client, names, out, |client, name| {
            let action = note.on(name);
            async move { client.delete_job(action).await }
        })
        .await
    }
}
