//! `lessor retry`, `promote`, `revoke` and `delete`: what an operator does to single jobs.

use clap::Args;
use lessor::{Action, Client};
use serde::Serialize;

use crate::each::{attempt, each};
use crate::input;
use crate::output::{Format, Output};

#[derive(Args)]
struct Jobs {
    /// The jobs, each by its name or in short QUEUE/ID.
    #[arg(value_name = "JOB", required = true, value_parser = input::parse_job)]
    names: Vec<String>,

    /// Why, for the event that tells of it.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,

    /// Only if the job still has this etag, as `get` prints it.
    #[arg(long, value_name = "ETAG", default_value = "", hide_default_value = true)]
    etag: String,
}

impl Jobs {
    fn split(self) -> (Vec<String>, impl Fn(String) -> Action) {
        let Self { names, reason, etag } = self;
        (names, move |name| Action::on(name).reason(&reason).etag(&etag))
    }
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
    jobs: Jobs,
}

impl Retry {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let (names, action) = self.jobs.split();
        each(client, names, out, |client, name| {
            let action = action(name);
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
    jobs: Jobs,
}

impl Promote {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let (names, action) = self.jobs.split();
        each(client, names, out, |client, name| {
            let action = action(name);
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
    jobs: Jobs,
}

impl Revoke {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let (names, action) = self.jobs.split();
        each(client, names, out, |client, name| {
            let action = action(name);
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
    jobs: Jobs,
}

/// The broker's reply is empty, so this says what it was for.
#[derive(Serialize)]
pub(crate) struct Deleted {
    pub(crate) deleted: String,
}

impl Delete {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let (names, action) = self.jobs.split();
        let (done, failed) = attempt(client, names, |client, name| {
            let action = action(name.clone());
            async move { client.delete_job(action).await.map(|()| Deleted { deleted: name }) }
        })
        .await;
        match out.format() {
            Format::Table => {
                done.iter().try_for_each(|it| out.text(&format!("deleted {}", it.deleted)))?;
            }
            Format::Json | Format::Jsonl if done.is_empty() => {}
            Format::Json | Format::Jsonl => out.values(&done)?,
        }
        failed
    }
}
