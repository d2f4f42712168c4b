//! `lessor queues`: every queue and its jobs.

use clap::Args;
use comfy_table::Table;
use lessor::{Client, Queue, QueueStats};
use prost_reflect::DynamicMessage;
use serde::Serialize;

use crate::output::{Format, Output, columns};

const EXAMPLES: &str = "\
Examples:
  lessor queues
  lessor queues -o jsonl | jq -r 'select(.stats.dead) | .queue.name'";

/// Print the queues: how many jobs each has in which state.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Queues {
    /// Only these queues. Default: all.
    #[arg(value_name = "QUEUE")]
    names: Vec<String>,
}

#[derive(Serialize)]
struct Line {
    queue: DynamicMessage,
    stats: DynamicMessage,
}

impl Queues {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let mut rows = Vec::new();
        for queue in client.list_queues().await? {
            if self.names.is_empty() || self.names.contains(&queue.name) {
                let stats = client.queue_stats(&queue.name).await?;
                rows.push((queue, stats));
            }
        }
        let lines = |out: &Output| -> anyhow::Result<Vec<Line>> {
            let line = |(queue, stats): &(Queue, QueueStats)| {
                Ok(Line {
                    queue: out.dynamic("Queue", queue)?,
                    stats: out.dynamic("QueueStats", stats)?,
                })
            };
            rows.iter().map(line).collect()
        };
        match out.format() {
            Format::Table => out.table(table(&rows)),
            Format::Json => out.document(&lines(out)?),
            Format::Jsonl => lines(out)?.iter().try_for_each(|line| out.line(line)),
        }
    }
}

fn table(rows: &[(Queue, QueueStats)]) -> Table {
    let mut table =
        columns(["QUEUE", "READY", "LEASED", "SCHEDULED", "RETRYING", "SUCCEEDED", "DEAD"]);
    for (queue, stats) in rows {
        table.add_row([
            queue.name.clone(),
            stats.ready.to_string(),
            stats.leased.to_string(),
            stats.scheduled.to_string(),
            stats.retrying.to_string(),
            stats.succeeded.to_string(),
            stats.dead.to_string(),
        ]);
    }
    table
}
