//! `lessor workers` and `lessor worker`: who leases jobs.

use clap::{Args, Subcommand};
use comfy_table::Table;
use lessor::Client;
use lessor::proto::Worker;

use crate::each::each;
use crate::output::{Output, columns};

/// Print the workers seen lately.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  lessor workers
  lessor workers -o jsonl | jq -r .workerId")]
pub(crate) struct Workers {}

impl Workers {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let workers = client.list_workers().await?;
        out.messages("Worker", &workers, || table(&workers))
    }
}

/// Act on workers.
#[derive(Subcommand)]
pub(crate) enum Command {
    Drain(Drain),
}

impl Command {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        match self {
            Self::Drain(command) => command.run(client, out).await,
        }
    }
}

/// Tell workers to finish what they hold and to lease nothing more.
#[derive(Args)]
#[command(after_long_help = "\
Example:
  lessor worker drain mailer-7f3a --reason 'its host restarts'")]
pub(crate) struct Drain {
    /// The workers' ids, as `workers` prints them.
    #[arg(value_name = "WORKER", required = true)]
    ids: Vec<String>,

    /// Why, for the worker and for the event that tells of it.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

impl Drain {
    async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let reason = self.reason;
        each(client, self.ids, out, |client, id| {
            let reason = reason.clone();
            async move { client.drain_worker(id, reason).await }
        })
        .await
    }
}

/// One line for each worker.
pub(crate) fn table(workers: &[Worker]) -> Table {
    let mut table = columns(["WORKER", "NAME", "SDK", "JOBS AT ONCE", "LABELS"]);
    for worker in workers {
        let mut labels: Vec<String> =
            worker.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        labels.sort();
        let at_once = worker.concurrency;
        table.add_row([
            worker.worker_id.clone(),
            worker.display_name.clone(),
            worker.sdk.clone(),
            if at_once == 0 { String::new() } else { at_once.to_string() },
            labels.join(", "),
        ]);
    }
    table
}
