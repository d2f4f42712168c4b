//! `lessor schedule`: jobs that are enqueued again and again.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use comfy_table::Table;
use humantime::parse_duration;
use lessor::proto::EnqueueRequest;
use lessor::{Client, NewJob, NewSchedule, Overlap, Schedule, ScheduleUpdate};

use crate::each::{Note, each, each_deleted};
use crate::failure::Usage;
use crate::output::{Output, facts, show, show_payload, show_span, word};
use crate::template::Template;
use crate::{input, schedules};

/// Create, look at, change, pause, fire and delete schedules.
#[derive(Subcommand)]
pub(crate) enum Command {
    Create(Box<Create>),
    Get(Get),
    Update(Box<Update>),
    Delete(Delete),
    Pause(Pause),
    Resume(Resume),
    Trigger(Trigger),
}

impl Command {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        match self {
            Self::Create(command) => command.run(client, out).await,
            Self::Get(command) => command.run(client, out).await,
            Self::Update(command) => Box::pin(command.run(client, out)).await,
            Self::Delete(command) => command.run(client, out).await,
            Self::Pause(command) => command.run(client, out).await,
            Self::Resume(command) => command.run(client, out).await,
            Self::Trigger(command) => command.run(client, out).await,
        }
    }
}

/// Create a schedule: when it fires, and the job that it enqueues then.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  lessor schedule create cleanup maintenance --every 15m --overlap skip
  lessor schedule create report reports --cron '0 6 * * MON' --time-zone Europe/Berlin
  lessor schedule create nightly backups --cron @daily --type full --max-attempts 5 --catch-up 6h")]
pub(crate) struct Create {
    /// The schedule's own id.
    id: String,

    /// The queue of its jobs.
    queue: String,

    #[command(flatten)]
    when: When,

    #[command(flatten)]
    rules: Rules,

    #[command(flatten)]
    template: Template,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct When {
    /// Fire at the times of this cron expression, of five or six fields, or such as @daily.
    #[arg(long, value_name = "EXPRESSION")]
    cron: Option<String>,

    /// Fire once per this interval.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    every: Option<Duration>,
}

#[derive(Args)]
struct Rules {
    /// The IANA time zone of the cron expression. Default: UTC.
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,

    /// What a firing does while the job of the last one is unfinished. Default: allow.
    #[arg(long, value_name = "ACTION")]
    overlap: Option<Unfinished>,

    /// Make up for firings that were missed while no broker ran, if they are younger than this.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    catch_up: Option<Duration>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Unfinished {
    /// Enqueue another job.
    Allow,
    /// Enqueue nothing.
    Skip,
}

impl From<Unfinished> for Overlap {
    fn from(action: Unfinished) -> Self {
        match action {
            Unfinished::Allow => Self::Allow,
            Unfinished::Skip => Self::Skip,
        }
    }
}

impl Create {
    async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let request = EnqueueRequest { queue: self.queue, ..EnqueueRequest::default() };
        let job = self.template.apply(request)?;
        let mut schedule = match (self.when.cron, self.when.every) {
            (Some(expression), _) => NewSchedule::cron(expression, job),
            (None, interval) => NewSchedule::every(interval.unwrap_or_default(), job),
        };
        if let Some(zone) = self.rules.time_zone {
            schedule = schedule.time_zone(zone);
        }
        if let Some(action) = self.rules.overlap {
            schedule = schedule.overlap(action.into());
        }
        if let Some(age) = self.rules.catch_up {
            schedule = schedule.catch_up(age);
        }
        let schedule = client.create_schedule(self.id, schedule).await?;
        out.message("Schedule", &schedule, || table(&schedule))
    }
}

/// Print one schedule: when it fires, and what it enqueues.
#[derive(Args)]
#[command(after_long_help = "\
Example:
  lessor schedule get report")]
pub(crate) struct Get {
    /// The schedule's name, `schedules/ID`, or its id.
    #[arg(value_name = "SCHEDULE", value_parser = input::parse_schedule)]
    name: String,
}

impl Get {
    async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let schedule = client.get_schedule(self.name).await?;
        out.message("Schedule", &schedule, || table(&schedule))
    }
}

/// Change a schedule or its job: what is not named stays.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  lessor schedule update report --cron '0 7 * * MON'
  lessor schedule update cleanup --every 1h --priority -10
  lessor schedule update report --queue slow-reports")]
pub(crate) struct Update {
    /// The schedule's name, `schedules/ID`, or its id.
    #[arg(value_name = "SCHEDULE", value_parser = input::parse_schedule)]
    name: String,

    /// Fire at the times of this cron expression.
    #[arg(long, value_name = "EXPRESSION")]
    cron: Option<String>,

    /// Fire once per this interval.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with = "cron")]
    every: Option<Duration>,

    /// Another queue for its jobs.
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,

    #[command(flatten)]
    rules: Rules,

    #[command(flatten)]
    template: Template,

    /// Why, for the event that tells of it.
    #[arg(long, value_name = "TEXT", help_heading = "Change")]
    reason: Option<String>,

    /// Only if the schedule still has this etag, as `schedule get` prints it.
    #[arg(long, value_name = "ETAG", help_heading = "Change")]
    etag: Option<String>,
}

impl Update {
    async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        // The job is changed in parts, which takes what is there now.
        let now = client.get_schedule(&self.name).await?;
        let (mut update, untouched) =
            (ScheduleUpdate::schedule(&self.name), ScheduleUpdate::schedule(&self.name));
        if let Some(expression) = self.cron {
            update = update.cron(expression);
        }
        if let Some(interval) = self.every {
            update = update.every(interval);
        }
        if let Some(zone) = self.rules.time_zone {
            update = update.time_zone(zone);
        }
        if let Some(action) = self.rules.overlap {
            update = update.overlap(action.into());
        }
        if let Some(age) = self.rules.catch_up {
            update = update.catch_up(age);
        }
        let mut etag = self.etag;
        let template = now.job.unwrap_or_default();
        let queue = self.queue.unwrap_or_else(|| template.queue.clone());
        let job = self.template.apply(EnqueueRequest { queue, ..template.clone() })?;
        if job != NewJob::from(template) {
            update = update.job(job);
            etag = etag.or(Some(now.etag));
        }
        if update == untouched {
            return Err(Usage("say what to change, such as --every 1h".to_owned()).into());
        }
        if let Some(etag) = etag {
            update = update.etag(etag);
        }
        if let Some(reason) = self.reason {
            update = update.reason(reason);
        }
        let schedule = client.update_schedule(update).await?;
        out.message("Schedule", &schedule, || table(&schedule))
    }
}

#[derive(Args)]
struct Which {
    /// The schedules, each by its name, `schedules/ID`, or its id.
    #[arg(value_name = "SCHEDULE", required = true, value_parser = input::parse_schedule)]
    names: Vec<String>,

    #[command(flatten)]
    note: Note,
}

/// Delete schedules. The jobs that they have enqueued stay.
#[derive(Args)]
#[command(after_long_help = "\
Example:
  lessor schedule delete report")]
pub(crate) struct Delete {
    #[command(flatten)]
    schedules: Which,
}

impl Delete {
    async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let Which { names, note } = self.schedules;
        each_deleted(client, names, out, |client, name| {
            let action = note.on(name);
            async move { client.delete_schedule(action).await }
        })
        .await
    }
}

/// Stop schedules from firing until they are resumed.
#[derive(Args)]
#[command(after_long_help = "\
Example:
  lessor schedule pause report --reason 'nobody reads it in August'")]
pub(crate) struct Pause {
    #[command(flatten)]
    schedules: Which,
}

impl Pause {
    async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let Which { names, note } = self.schedules;
        each(client, names, out, |client, name| {
            let action = note.on(name);
            async move { client.pause_schedule(action).await }
        })
        .await
    }
}

/// End the pause of schedules.
#[derive(Args)]
#[command(after_long_help = "\
Example:
  lessor schedule resume report")]
pub(crate) struct Resume {
    #[command(flatten)]
    schedules: Which,
}

impl Resume {
    async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let Which { names, note } = self.schedules;
        each(client, names, out, |client, name| {
            let action = note.on(name);
            async move { client.resume_schedule(action).await }
        })
        .await
    }
}

/// Fire schedules now, besides their own times, and print the jobs that they enqueued.
#[derive(Args)]
#[command(after_long_help = "\
Example:
  lessor wait \"$(lessor schedule trigger report -o jsonl | jq -r .name)\"")]
pub(crate) struct Trigger {
    #[command(flatten)]
    schedules: Which,
}

impl Trigger {
    async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let Which { names, note } = self.schedules;
        each(client, names, out, |client, name| {
            let action = note.on(name);
            async move { client.trigger_schedule(action).await }
        })
        .await
    }
}

fn table(schedule: &Schedule) -> Table {
    let job = schedule.job.clone().unwrap_or_default();
    facts([
        ("Schedule", schedule.name.clone()),
        ("Fires", schedules::fires(schedule)),
        ("State", if schedule.paused { "paused" } else { "active" }.to_owned()),
        ("Last", show(schedule.last_fire_time.as_ref())),
        ("Next", show(schedule.next_fire_time.as_ref())),
        ("Overlap", word(schedule.overlap().as_str_name())),
        ("Catch up", show_span(schedule.catch_up)),
        ("Queue", job.queue.clone()),
        ("Type", job.r#type.clone()),
        ("Priority", job.priority.to_string()),
        ("Payload", show_payload(job.payload.as_ref())),
        ("Etag", schedule.etag.clone()),
    ])
}
