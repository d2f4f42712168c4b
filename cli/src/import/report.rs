//! What an import found and did, for people and for programs.

use std::collections::BTreeMap;

use lessor::payload;
use lessor::proto::EnqueueRequest;
use lessor::proto::enqueue_request::Start;
use serde::Serialize;
use serde_json::Value;

use super::source::{Place, Survey, Waiting};
use super::write::Written;
use crate::output::{Format, Output, columns, show, show_payload};

/// How many jobs of each place of a queue are shown.
const SAMPLES: u64 = 2;
/// How many ids stand for all jobs of a kind.
const EXAMPLES: usize = 5;
/// How much of a payload a table shows.
const SHOWN: usize = 60;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    from: String,
    to: String,
    executed: bool,
    /// The broker said what becomes of the jobs.
    pub(super) asked: bool,
    pub(super) queues: Vec<QueueReport>,
    /// What to do now.
    next: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct QueueReport {
    pub(super) queue: String,
    pub(super) to: String,
    waiting: u64,
    prioritized: u64,
    delayed: u64,
    left_out: BTreeMap<String, Tally>,
    #[serde(flatten)]
    pub(super) written: Written,
    warnings: BTreeMap<String, Tally>,
    /// Commands that make what is no job.
    schedules: Vec<String>,
    samples: Vec<Value>,
    #[serde(skip)]
    shown: Vec<String>,
}

/// So many jobs, and some of their ids.
#[derive(Default, Serialize)]
struct Tally {
    jobs: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    examples: Vec<String>,
}

impl Tally {
    fn count(&mut self, id: &str) {
        self.jobs += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(id.to_owned());
        }
    }

    fn text(&self, what: &str) -> String {
        if self.jobs == 0 {
            return what.to_owned();
        }
        let more = if u64::try_from(self.examples.len()).is_ok_and(|shown| shown < self.jobs) {
            ", …"
        } else {
            ""
        };
        match self.examples.join(", ") {
            ids if ids.is_empty() => format!("{} {what}", self.jobs),
            ids => format!("{} {what}: {ids}{more}", self.jobs),
        }
    }
}

impl Report {
    pub(super) fn new(from: String, to: &str, executed: bool) -> Self {
        let (to, asked) = (to.to_owned(), false);
        Self { from, to, executed, asked, queues: Vec::new(), next: Vec::new() }
    }

    /// The exit code of the first refusal.
    pub(super) fn failed(&self) -> Option<u8> {
        self.queues.iter().find_map(|queue| queue.written.failed)
    }

    pub(super) fn print(mut self, out: &mut Output) -> anyhow::Result<()> {
        self.next = self.advice();
        match out.format() {
            Format::Json => out.document(&self),
            Format::Jsonl => self.queues.iter().try_for_each(|queue| out.line(queue)),
            Format::Table => self.print_text(out),
        }
    }

    fn advice(&self) -> Vec<String> {
        let mut advice = Vec::new();
        let sum = |count: fn(&QueueReport) -> u64| self.queues.iter().map(count).sum::<u64>();
        if sum(|it| it.waiting + it.prioritized + it.delayed) == 0 {
            advice.push("There is nothing to import.".to_owned());
        } else if !self.executed {
            advice.push(format!(
                "Nothing was written. To enqueue these jobs at {}, stop the old producers and \
                 workers and repeat the command with --execute.",
                self.to
            ));
        } else {
            advice.push(
                "The jobs are still in the old store, too: don't start its workers again, and \
                 remove them there once you are content."
                    .to_owned(),
            );
        }
        if !self.asked {
            advice.push(format!(
                "No broker answered at {}, so what it would refuse was not looked for.",
                self.to
            ));
        }
        if sum(QueueReport::active) > 0 {
            advice.push(
                "Let the old workers finish the active jobs; what fails and waits again is imported \
                 by the same command."
                    .to_owned(),
            );
        }
        if sum(|it| it.written.refused) > 0 {
            advice.push("Repeat the command when the refusals are mended.".to_owned());
        }
        advice
    }

    fn print_text(&self, out: &mut Output) -> anyhow::Result<()> {
        out.text(&format!("From {}", self.from))?;
        let names =
            ["QUEUE", "TO", "WAITING", "PRIORITIZED", "DELAYED", "LEFT OUT"].map(str::to_owned);
        let created = if self.executed { "CREATED" } else { "TO CREATE" };
        let done = [created, "ALREADY THERE", "DEDUPLICATED", "REFUSED"].map(str::to_owned);
        let mut table = columns::<0>([]);
        table.set_header(names.into_iter().chain(self.asked.then_some(done).into_iter().flatten()));
        for queue in &self.queues {
            let left: u64 = queue.left_out.values().map(|it| it.jobs).sum();
            let Written { created, already_there, deduplicated, refused, .. } = &queue.written;
            let done = [created, already_there, deduplicated, refused].map(ToString::to_string);
            let counts = [queue.waiting, queue.prioritized, queue.delayed, left];
            table.add_row(
                [queue.queue.clone(), queue.to.clone()]
                    .into_iter()
                    .chain(counts.map(|it| it.to_string()))
                    .chain(self.asked.then_some(done).into_iter().flatten()),
            );
        }
        out.table(table)?;
        for queue in &self.queues {
            queue.print_text(out)?;
        }
        out.text("")?;
        self.next.iter().try_for_each(|line| out.text(line))
    }
}

impl QueueReport {
    pub(super) fn new(queue: String, to: String, survey: &Survey) -> Self {
        let left_out = survey
            .left_out
            .iter()
            .map(|(why, jobs)| (why.clone(), Tally { jobs: *jobs, examples: Vec::new() }));
        let warnings = survey.warnings.iter().map(|text| (text.clone(), Tally::default()));
        let nothing = (survey.waiting.is_empty() && survey.left_out.is_empty())
            .then(|| "nothing of it was found: look at its name".to_owned());
        let warnings = warnings.chain(nothing.map(|text| (text, Tally::default())));
        let schedules = survey.schedules.iter().map(|it| it.command(&to)).collect();
        let mut report = Self {
            left_out: left_out.collect(),
            warnings: warnings.collect(),
            schedules,
            queue,
            to,
            waiting: 0,
            prioritized: 0,
            delayed: 0,
            written: Written::default(),
            samples: Vec::new(),
            shown: Vec::new(),
        };
        if report.queue != report.to && report.to.starts_with("queue-") {
            report.warnings.insert(
                "the queue's name is not possible here; --to-queue chooses another".to_owned(),
                Tally::default(),
            );
        }
        report
    }

    pub(super) fn leave(&mut self, why: String, id: &str) {
        self.left_out.entry(why).or_default().count(id);
    }

    pub(super) fn warn(&mut self, what: String, id: &str) {
        self.warnings.entry(what).or_default().count(id);
    }

    fn active(&self) -> u64 {
        self.left_out.get(ACTIVE).map_or(0, |it| it.jobs)
    }

    /// Counts a job, and shows it if few of its kind were shown.
    pub(super) fn count(
        &mut self,
        job: &Waiting,
        request: &EnqueueRequest,
        out: &Output,
    ) -> anyhow::Result<()> {
        let count = match job.place {
            Place::Waiting => &mut self.waiting,
            Place::Prioritized => &mut self.prioritized,
            Place::Delayed => &mut self.delayed,
        };
        *count += 1;
        if *count > SAMPLES {
            return Ok(());
        }
        if out.format() == Format::Table {
            self.shown.push(line(&job.id, request));
        } else {
            self.samples.push(sample(request, out)?);
        }
        Ok(())
    }

    fn print_text(&self, out: &mut Output) -> anyhow::Result<()> {
        let mut section = |title: &str, lines: Vec<String>| -> anyhow::Result<()> {
            if lines.is_empty() {
                return Ok(());
            }
            out.text(&format!("\n{title} of {}:", self.queue))?;
            lines.iter().try_for_each(|line| out.text(&format!("  {line}")))
        };
        let tallies = |of: &BTreeMap<String, Tally>| {
            of.iter().map(|(what, tally)| tally.text(what)).collect::<Vec<_>>()
        };
        section("Some jobs", self.shown.clone())?;
        section("Left out", tallies(&self.left_out))?;
        section("Warnings", tallies(&self.warnings))?;
        section("Schedules", self.schedules.clone())?;
        section("Refusals", self.written.refusals.clone())
    }
}

/// Why a job is left out that a worker of the other system has.
pub(super) const ACTIVE: &str = "active: the old workers finish them";

/// A job on one line.
fn line(id: &str, request: &EnqueueRequest) -> String {
    let mut payload = show_payload(request.payload.as_ref());
    if payload.len() > SHOWN {
        payload.truncate(payload.floor_char_boundary(SHOWN));
        payload.push('…');
    }
    let attempts = request.retry_policy.as_ref().map_or(0, |it| it.max_attempts);
    let mut line = format!(
        "{id} -> {}/{}, type {:?}, priority {}, attempts {attempts}",
        request.queue, request.job_id, request.r#type, request.priority
    );
    if let Some(Start::ScheduleTime(time)) = &request.start {
        line = format!("{line}, runs {}", show(Some(time)));
    }
    format!("{line}, payload {payload}")
}

/// A job as proto JSON, with a payload that a person can read where it is JSON.
fn sample(request: &EnqueueRequest, out: &Output) -> anyhow::Result<Value> {
    let mut sample = serde_json::to_value(out.dynamic("EnqueueRequest", request)?)?;
    let payload = request.payload.as_ref().map(payload::read).unwrap_or_default();
    if let Ok(json) = serde_json::from_slice::<Value>(&payload) {
        sample["payload"] = serde_json::json!({ "json": json });
    }
    Ok(sample)
}
