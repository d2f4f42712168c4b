//! `lessor queue`: one queue, its settings and its numbers.

mod push;
mod settings;

use clap::{Args, Subcommand};
use comfy_table::Table;
use lessor::{Client, JobState, Queue, QueueStats};

use crate::each::{Note, each, each_deleted};
use crate::output::{Output, columns, facts, show_span};

/// Look at a queue, change its settings, pause it, delete it.
#[derive(Subcommand)]
pub(crate) enum Command {
    Get(Get),
    Update(Box<settings::Update>),
    Pause(Pause),
    Resume(Resume),
    Delete(Delete),
    Stats(Stats),
}

impl Command {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        match self {
            Self::Get(command) => command.run(client, out).await,
            Self::Update(command) => command.run(client, out).await,
            Self::Pause(command) => command.run(client, out).await,
            Self::Resume(command) => command.run(client, out).await,
            Self::Delete(command) => command.run(client, out).await,
            Self::Stats(command) => command.run(client, out).await,
        }
    }
}

/// Print the settings of a queue.
#[derive(Args)]
#[command(after_long_help = "\
Example:
  lessor queue get emails")]
pub(crate) struct Get {
    /// The queue.
    #[arg(value_name = "QUEUE")]
    name: String,
}

impl Get {
    async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let queue = client.get_queue(self.name).await?;
        out.message("Queue", &queue, || settings::facts_of(&queue))
    }
}

/// Lease nothing from queues until they are resumed. They still take jobs, and leased jobs go on.
#[derive(Args)]
#[command(after_long_help = "\
Example:
  lessor queue pause emails --reason 'the mail server is down'")]
pub(crate) struct Pause {
    #[command(flatten)]
    queues: Which,
}

impl Pause {
    async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let Which { names, note } = self.queues;
        each(client, names, out, |client, name| {
            let action = note.on(name);
            async move { client.pause_queue(action).await }
        })
        .await
    }
}

/// End the pause of queues.
#[derive(Args)]
#[command(after_long_help = "\
Example:
  lessor queue resume emails")]
pub(crate) struct Resume {
    #[command(flatten)]
    queues: Which,
}

impl Resume {
    async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let Which { names, note } = self.queues;
        each(client, names, out, |client, name| {
            let action = note.on(name);
            async move { client.resume_queue(action).await }
        })
        .await
    }
}

/// Delete queues that are empty, or with --force all jobs in them too.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  lessor queue delete emails
  lessor queue delete emails --force      # with its jobs, also those that workers hold")]
pub(crate) struct Delete {
    #[command(flatten)]
    queues: Which,

    /// Delete the jobs too, whatever their state.
    #[arg(long)]
    force: bool,
}

impl Delete {
    async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let force = self.force;
        let Which { names, note } = self.queues;
        each_deleted(client, names, out, |client, name| {
            let action = note.on(name);
            async move {
                if force {
                    client.delete_queue_with_jobs(action).await
                } else {
                    client.delete_queue(action).await
                }
            }
        })
        .await
    }
}

/// Print the numbers of a queue: jobs by state, totals, rates, times, health.
#[derive(Args)]
#[command(after_long_help = "\
Example:
  lessor queue stats emails -o json | jq -r .oldestReadyAge")]
pub(crate) struct Stats {
    /// The queue.
    #[arg(value_name = "QUEUE")]
    name: String,
}

impl Stats {
    async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let stats = client.queue_stats(self.name).await?;
        out.message("QueueStats", &stats, || numbers(&stats))
    }
}

#[derive(Args)]
struct Which {
    /// The queues.
    #[arg(value_name = "QUEUE", required = true)]
    names: Vec<String>,

    #[command(flatten)]
    note: Note,
}

/// One line for each queue.
pub(crate) fn table(queues: &[Queue]) -> Table {
    let mut table = columns(["QUEUE", "STATE"]);
    for queue in queues {
        table
            .add_row([queue.name.clone(), if queue.paused { "paused" } else { "open" }.to_owned()]);
    }
    table
}

/// How many jobs are in a state.
pub(crate) fn count(of: &QueueStats, state: JobState) -> i64 {
    match state {
        JobState::Unspecified => 0,
        JobState::Scheduled => of.scheduled,
        JobState::Ready => of.ready,
        JobState::Leased => of.leased,
        JobState::Retrying => of.retrying,
        JobState::Blocked => of.blocked,
        JobState::Succeeded => of.succeeded,
        JobState::Dead => of.dead,
        JobState::Cancelled => of.cancelled,
        JobState::Expired => of.expired,
    }
}

fn numbers(stats: &QueueStats) -> Table {
    let health = match (stats.healthy, stats.unhealthy_reasons.as_slice()) {
        (true, _) => "healthy".to_owned(),
        (false, []) => "unhealthy".to_owned(),
        (false, reasons) => format!("unhealthy: {}", reasons.join("; ")),
    };
    facts([
        ("Queue", stats.queue.clone()),
        ("State", if stats.paused { "paused" } else { "open" }.to_owned()),
        ("Health", health),
        ("Ready", stats.ready.to_string()),
        ("Leased", stats.leased.to_string()),
        ("Scheduled", stats.scheduled.to_string()),
        ("Retrying", stats.retrying.to_string()),
        ("Blocked", stats.blocked.to_string()),
        ("Succeeded", stats.succeeded.to_string()),
        ("Dead", stats.dead.to_string()),
        ("Cancelled", stats.cancelled.to_string()),
        ("Expired", stats.expired.to_string()),
        ("Ever enqueued", stats.enqueued_total.to_string()),
        ("Ever succeeded", stats.succeeded_total.to_string()),
        ("Ever dead", stats.dead_total.to_string()),
        ("Leases lost", stats.lease_expired_total.to_string()),
        ("Enqueued", format!("{:.2}/s", stats.enqueue_rate)),
        ("Finished", format!("{:.2}/s", stats.finish_rate)),
        ("Oldest ready", show_span(stats.oldest_ready_age)),
        ("Wait, median", show_span(stats.wait_p50)),
        ("Wait, 95%", show_span(stats.wait_p95)),
        ("Run, median", show_span(stats.run_p50)),
        ("Run, 95%", show_span(stats.run_p95)),
        ("Workers", stats.workers.to_string()),
        ("Memory", format!("{} bytes", stats.memory_bytes)),
    ])
}
