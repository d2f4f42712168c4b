//! `lessor watch`: events as they come.

use std::time::SystemTime;

use clap::Args;
use lessor::{Client, Event, EventType, WatchEventsResponse, WatchOptions};

use crate::failure::Interrupted;
use crate::input;
use crate::output::{Format, Output, show};

const EXAMPLES: &str = r#"Examples:
  lessor watch
  lessor watch emails 'mail-*' --since 10m --type JOB_DEAD
  lessor watch --job queues/emails/jobs/01JD8S
  lessor watch -o jsonl | jq -r 'select(.type == "JOB_SUCCEEDED") | .job'"#;

/// Print what happens to jobs, as it happens, until interrupted or, with --job, until it ends.
///
/// With `-o json` each line is a page of events and carries the cursor to go on from; with
/// `-o jsonl` each line is one event.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Watch {
    /// Queues: names, prefixes such as 'mail-*', or '*' for all.
    #[arg(value_name = "QUEUE", default_value = "*", conflicts_with = "job")]
    queues: Vec<String>,

    /// One job: its present state comes first, and the watch ends when the job does.
    #[arg(long, value_name = "JOB", value_parser = input::parse_job)]
    job: Option<String>,

    /// Only events of jobs with this label; may be given many times.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = input::parse_label)]
    labels: Vec<(String, String)>,

    #[command(flatten)]
    start: Start,

    /// Only events of this type, such as `JOB_DEAD`; may be given many times.
    #[arg(long = "type", value_name = "TYPE", value_parser = parse_type)]
    types: Vec<EventType>,

    /// Put the result into the events of jobs that succeed; only JSON shows it.
    #[arg(long)]
    include_result: bool,
}

#[derive(Args)]
#[group(multiple = false)]
struct Start {
    /// Begin with the oldest event that is kept.
    #[arg(long)]
    oldest: bool,

    /// Go on after this cursor.
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,

    /// Begin at this time, or so long ago, such as 10m.
    #[arg(long, value_name = "TIME", value_parser = input::parse_past)]
    since: Option<SystemTime>,
}

impl Watch {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let mut watch = client.watch(self.into_options()).await?;
        let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
        loop {
            let page = tokio::select! {
                page = watch.next() => page,
                interrupt = &mut interrupt => {
                    interrupt?;
                    if let Some(cursor) = watch.cursor() {
                        eprintln!("lessor: to go on from here, use --cursor {cursor}");
                    }
                    return Err(Interrupted.into());
                }
            };
            match page {
                Some(page) => print(&page?, out)?,
                None => return Ok(()),
            }
        }
    }

    fn into_options(self) -> WatchOptions {
        let options = match self.job {
            Some(name) => WatchOptions::job(name),
            None => WatchOptions::queues(self.queues),
        };
        let options = options.types(self.types);
        let options =
            self.labels.into_iter().fold(options, |it, (key, value)| it.label(key, value));
        let options = if self.include_result { options.include_result() } else { options };
        match self.start {
            Start { oldest: true, .. } => options.oldest(),
            Start { cursor: Some(cursor), .. } => options.cursor(cursor),
            Start { since: Some(time), .. } => options.since(time),
            Start { .. } => options,
        }
    }
}

fn print(page: &WatchEventsResponse, out: &mut Output) -> anyhow::Result<()> {
    match out.format() {
        Format::Table => page.events.iter().try_for_each(|event| out.text(&line(event))),
        Format::Json => out.line(&out.dynamic("WatchEventsResponse", page)?),
        Format::Jsonl => {
            page.events.iter().try_for_each(|event| out.line(&out.dynamic("Event", event)?))
        }
    }
}

/// A stream has no last line to fit its columns to, so these have a fixed width.
fn line(event: &Event) -> String {
    let failure = event.failure.as_ref();
    let failure = failure.map(|it| format!("{} {}", it.code, it.message)).unwrap_or_default();
    let progress = event.progress.as_ref();
    let progress = progress.map(|it| format!("{}% {}", it.percent, it.message)).unwrap_or_default();
    let about = if event.job.is_empty() { &event.queue } else { &event.job };
    let time = show(event.time.as_ref());
    let notes = [&event.job_type, &event.worker_id, &event.reason, &failure, &progress];
    let mut line = format!("{time:<24}  {:<18}  {about}", event.r#type().as_str_name());
    for note in notes.into_iter().filter(|note| !note.is_empty()) {
        line.push_str("  ");
        line.push_str(note);
    }
    line
}

fn parse_type(text: &str) -> Result<EventType, String> {
    let name = text.to_uppercase();
    EventType::from_str_name(&name)
        .filter(|it| *it != EventType::Unspecified)
        .ok_or_else(|| "no such type; one is JOB_SUCCEEDED".to_owned())
}
