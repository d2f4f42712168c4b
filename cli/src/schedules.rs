//! `lessor schedules`: what is enqueued again and again.

use clap::Args;
use comfy_table::Table;
use lessor::{Client, Schedule};

use crate::output::{Output, columns, show};

/// Print the schedules: when each fires, and what it enqueues.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  lessor schedules
  lessor schedules -o jsonl | jq -r 'select(.paused) | .name'")]
pub(crate) struct Schedules {}

impl Schedules {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let schedules = client.list_schedules().await?;
        out.messages("Schedule", &schedules, || table(&schedules))
    }
}

/// One line for each schedule.
pub(crate) fn table(schedules: &[Schedule]) -> Table {
    let mut table = columns(["SCHEDULE", "FIRES", "QUEUE", "TYPE", "LAST", "NEXT"]);
    for schedule in schedules {
        let job = schedule.job.clone().unwrap_or_default();
        let next = if schedule.paused {
            "paused".to_owned()
        } else {
            show(schedule.next_fire_time.as_ref())
        };
        table.add_row([
            schedule.name.clone(),
            fires(schedule),
            job.queue,
            job.r#type,
            show(schedule.last_fire_time.as_ref()),
            next,
        ]);
    }
    table
}

/// When it fires, in a few words.
pub(crate) fn fires(schedule: &Schedule) -> String {
    if let Some(interval) = schedule.interval {
        let interval = lessor::span::read(Some(interval));
        return format!("every {}", humantime::format_duration(interval));
    }
    match schedule.time_zone.as_str() {
        "" | "UTC" => schedule.cron.clone(),
        zone => format!("{} ({zone})", schedule.cron),
    }
}
