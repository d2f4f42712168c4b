//! `lessor queues` and `lessor health`: every queue, its jobs and how it fares.

use clap::Args;
use comfy_table::Table;
use futures_util::{StreamExt, TryStreamExt, stream};
use lessor::{Client, Queue, QueueStats};
use prost_reflect::DynamicMessage;
use serde::Serialize;

use crate::failure::Exit;
use crate::output::{Format, Output, columns, show_span};

/// How many queues are asked about at a time.
const AT_ONCE: usize = 16;

/// Print the queues: how many jobs each has in which state, and how it fares.
///
/// IN/S and DONE/S are the jobs enqueued and finished per second over the last minute, OLDEST is
/// how long the ready job that waits longest has waited.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  lessor queues
  lessor queues -o jsonl | jq -r 'select(.stats.dead) | .queue.name'")]
pub(crate) struct Queues {
    /// Only these queues. Default: all.
    #[arg(value_name = "QUEUE")]
    names: Vec<String>,
}

impl Queues {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        list(client, &self.names, out).await
    }
}

/// Prints the queues of these names with their numbers; without names, all that there are.
pub(crate) async fn list(
    client: &Client,
    names: &[String],
    out: &mut Output,
) -> anyhow::Result<()> {
    let rows = survey(client, names).await?;
    print(&rows, out, |rows| {
        let mut table = columns(COLUMNS);
        table.add_rows(rows.iter().map(cells));
        table
    })
}

/// Print for each queue whether it is healthy, and if not, why.
///
/// The thresholds are settings of the queue: see `lessor queue update`. Exits with 1 when a queue
/// is not healthy.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  lessor health
  lessor health emails orders || alert")]
pub(crate) struct Health {
    /// Only these queues. Default: all.
    #[arg(value_name = "QUEUE")]
    names: Vec<String>,
}

impl Health {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let rows = survey(client, &self.names).await?;
        print(&rows, out, |rows| {
            let mut table = columns(["QUEUE", "HEALTH", "WHY"]);
            for Row { queue, stats } in rows {
                let reasons = stats.unhealthy_reasons.join("; ");
                table.add_row([queue.name.clone(), verdict(stats).to_owned(), reasons]);
            }
            table
        })?;
        if rows.iter().all(|row| row.stats.healthy) { Ok(()) } else { Err(Exit(1).into()) }
    }
}

/// A queue and its numbers.
pub(crate) struct Row {
    pub(crate) queue: Queue,
    pub(crate) stats: QueueStats,
}

/// The queues of these names with their numbers; without names, all that there are.
pub(crate) async fn survey(client: &Client, names: &[String]) -> lessor::Result<Vec<Row>> {
    let mut queues = client.list_queues().await?;
    if !names.is_empty() {
        queues.retain(|queue| names.contains(&queue.name));
        for name in names {
            if !queues.iter().any(|queue| queue.name == *name) {
                // The broker says that there is no such queue, in the words that it has for that.
                queues.push(client.get_queue(name).await?);
            }
        }
    }
    stream::iter(queues)
        .map(|queue| async move {
            let stats = client.queue_stats(&queue.name).await?;
            Ok(Row { queue, stats })
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

#[derive(Serialize)]
struct Line {
    queue: DynamicMessage,
    stats: DynamicMessage,
}

fn print(rows: &[Row], out: &mut Output, table: impl Fn(&[Row]) -> Table) -> anyhow::Result<()> {
    if out.format() == Format::Table {
        return out.table(table(rows));
    }
    let line = |row: &Row| -> anyhow::Result<Line> {
        Ok(Line {
            queue: out.dynamic("Queue", &row.queue)?,
            stats: out.dynamic("QueueStats", &row.stats)?,
        })
    };
    let lines = rows.iter().map(line).collect::<Result<Vec<_>, _>>()?;
    out.values(&lines)
}

/// What is shown of a queue in one line.
pub(crate) const COLUMNS: [&str; 12] = [
    "QUEUE",
    "READY",
    "LEASED",
    "SCHEDULED",
    "RETRYING",
    "BLOCKED",
    "SUCCEEDED",
    "DEAD",
    "IN/S",
    "DONE/S",
    "OLDEST",
    "HEALTH",
];

/// The line of [`COLUMNS`].
pub(crate) fn cells(Row { queue, stats }: &Row) -> [String; 12] {
    [
        queue.name.clone(),
        stats.ready.to_string(),
        stats.leased.to_string(),
        stats.scheduled.to_string(),
        stats.retrying.to_string(),
        stats.blocked.to_string(),
        stats.succeeded.to_string(),
        stats.dead.to_string(),
        format!("{:.1}", stats.enqueue_rate),
        format!("{:.1}", stats.finish_rate),
        show_span(stats.oldest_ready_age),
        verdict(stats).to_owned(),
    ]
}

/// How a queue fares, in a word.
fn verdict(stats: &QueueStats) -> &'static str {
    match (stats.paused, stats.healthy) {
        (true, true) => "paused",
        (true, false) => "paused, unhealthy",
        (false, true) => "healthy",
        (false, false) => "unhealthy",
    }
}
