//! `lessor bulk`: the same action for all jobs that a filter matches.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use lessor::{Bulk, BulkJobsResponse, Client};

use crate::failure::Interrupted;
use crate::output::{Output, facts};
use crate::progress::Progress;
use crate::queue;
use crate::selection::Selection;

/// Do the same to all jobs of a queue that match, however many they are.
///
/// The work is done in steps. Interrupted with Ctrl-C or by an error, the command prints how to go
/// on from there.
#[derive(Subcommand)]
pub(crate) enum Command {
    Retry(Retry),
    Cancel(Cancel),
    Promote(Promote),
    Purge(Purge),
    Move(Move),
}

impl Command {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        match self {
            Self::Retry(Retry { which }) => {
                which.run(Bulk::retry(&which.queue), "retried", client, out).await
            }
            Self::Cancel(Cancel { which }) => {
                which.run(Bulk::cancel(&which.queue), "cancelled", client, out).await
            }
            Self::Promote(Promote { which }) => {
                which.run(Bulk::promote(&which.queue), "promoted", client, out).await
            }
            Self::Purge(Purge { which }) => {
                which.run(Bulk::purge(&which.queue), "purged", client, out).await
            }
            Self::Move(Move { which, to }) => {
                which.run(Bulk::relocate(&which.queue, to), "moved", client, out).await
            }
        }
    }
}

/// Run dead, cancelled or expired jobs again, with their attempts counted anew.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  lessor bulk retry emails --state dead
  lessor bulk retry emails --filter 'state=DEAD AND last_failure.code=HTTP_503' --per-second 50
  lessor bulk retry emails --state dead --dry-run")]
pub(crate) struct Retry {
    #[command(flatten)]
    which: Which,
}

/// Cancel jobs: at once those that wait, through their workers those that are leased.
#[derive(Args)]
#[command(after_long_help = "\
Example:
  lessor bulk cancel emails --label campaign=spring")]
pub(crate) struct Cancel {
    #[command(flatten)]
    which: Which,
}

/// Run jobs now that wait for their time or their next attempt.
#[derive(Args)]
#[command(after_long_help = "\
Example:
  lessor bulk promote emails --state retrying --max 1000")]
pub(crate) struct Promote {
    #[command(flatten)]
    which: Which,
}

/// Forget jobs, finished or not; leased ones stay.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  lessor bulk purge emails --filter 'state=DEAD AND type=welcome'
  lessor bulk purge emails --state ready --dry-run")]
pub(crate) struct Purge {
    #[command(flatten)]
    which: Which,
}

/// Move jobs to another queue.
#[derive(Args)]
#[command(after_long_help = "\
Example:
  lessor bulk move emails --state ready --type newsletter --to newsletters")]
pub(crate) struct Move {
    #[command(flatten)]
    which: Which,

    /// The queue that the jobs move to.
    #[arg(long, value_name = "QUEUE")]
    to: String,
}

#[derive(Args)]
#[group(id = "extent", required = true, multiple = true, args = ["filter", "state", "job_type", "labels", "owner", "all"])]
struct Which {
    /// The queue.
    queue: String,

    #[command(flatten)]
    selection: Selection,

    /// All jobs of the queue.
    #[arg(long, conflicts_with = "selection")]
    all: bool,

    /// The most jobs to change.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(i32).range(1..))]
    max: Option<i32>,

    /// The most jobs to change per second.
    #[arg(long, value_name = "RATE")]
    per_second: Option<f64>,

    /// Only count the jobs: none is changed.
    #[arg(long)]
    dry_run: bool,

    /// Go on where an interrupted command with the same arguments stopped.
    #[arg(long = "continue", value_name = "TOKEN")]
    token: Option<String>,
}

impl Which {
    async fn run(
        &self,
        bulk: Bulk,
        done: &'static str,
        client: &Client,
        out: &mut Output,
    ) -> anyhow::Result<()> {
        let mut total = BulkJobsResponse {
            continuation_token: self.token.clone().unwrap_or_default(),
            ..BulkJobsResponse::default()
        };
        let ended = tokio::select! {
            biased;
            ended = self.steps(bulk, done, client, &mut total) => ended,
            interrupt = tokio::signal::ctrl_c() => interrupt.map_err(Into::into).and(Err(Interrupted.into())),
        };
        if !total.continuation_token.is_empty() {
            eprintln!(
                "lessor: {} of {} jobs {done} so far; to go on, repeat the command with --continue {}",
                total.changed, total.matched, total.continuation_token
            );
        }
        ended?;
        out.message("BulkJobsResponse", &total, || {
            facts([
                ("Matched", total.matched.to_string()),
                ("Changed", total.changed.to_string()),
                ("Go on with", total.continuation_token.clone()),
            ])
        })
    }

    /// Step after step; `total` says at any time how far it has come.
    async fn steps(
        &self,
        bulk: Bulk,
        done: &'static str,
        client: &Client,
        total: &mut BulkJobsResponse,
    ) -> anyhow::Result<()> {
        let mut bulk = bulk.filter(self.selection.filter());
        if let Some(rate) = self.per_second {
            bulk = bulk.per_second(rate);
        }
        if self.dry_run {
            bulk = bulk.validate_only();
        }
        let progress = Progress::start(None, done)?;
        if progress.is_seen()
            && let Some(expected) = self.expected(client).await?
        {
            progress.of(expected)?;
        }
        let mut pace = Pace::start(self.per_second.filter(|_| !self.dry_run));
        loop {
            let mut step = bulk.clone();
            if !total.continuation_token.is_empty() {
                step = step.after(&total.continuation_token);
            }
            let left = self.max.map_or(i64::MAX, i64::from) - self.counted(total);
            if !self.dry_run || self.max.is_some() {
                step = step.max_jobs(i32::try_from(left.min(pace.step().into()))?);
            }
            let reply = client.bulk_jobs(&step).await?;
            total.matched += reply.matched;
            total.changed += reply.changed;
            total.continuation_token = reply.continuation_token;
            progress.reached(total.matched.try_into()?);
            let enough = self.max.is_some_and(|max| self.counted(total) >= i64::from(max));
            if enough || total.continuation_token.is_empty() {
                return Ok(());
            }
            pace.keep(reply.changed).await;
        }
    }

    /// What the most jobs are measured by.
    fn counted(&self, total: &BulkJobsResponse) -> i64 {
        if self.dry_run { total.matched } else { total.changed }
    }

    /// How many jobs there are to do, as far as that costs nothing to know.
    async fn expected(&self, client: &Client) -> lessor::Result<Option<u64>> {
        let Some(state) = self.selection.only_state() else { return Ok(None) };
        let count = queue::count(&client.queue_stats(&self.queue).await?, state);
        let count = self.max.map_or(count, |max| count.min(max.into()));
        Ok(count.try_into().ok())
    }
}

/// The most jobs of a step: calls stay short, so that the bar moves and an interrupted command has
/// lost little.
const STEP: i32 = 1000;

/// With a limit per second a step is no more than what one second allows.
struct Pace {
    per_second: Option<f64>,
    begun: Instant,
    /// How long the jobs so far should have taken.
    due: Duration,
}

#[expect(clippy::disallowed_methods, reason = "the pace is the user's own")]
impl Pace {
    fn start(per_second: Option<f64>) -> Self {
        let per_second = per_second.filter(|rate| *rate > 0.0);
        Self { per_second, begun: Instant::now(), due: Duration::ZERO }
    }

    /// The most jobs of one step.
    #[expect(clippy::cast_possible_truncation, reason = "it is no more than a step")]
    fn step(&self) -> i32 {
        self.per_second.map_or(STEP, |rate| rate.ceil().min(STEP.into()) as i32)
    }

    /// Waits as far as the broker has been faster than it should.
    async fn keep(&mut self, changed: i64) {
        let Some(rate) = self.per_second else { return };
        #[expect(clippy::cast_precision_loss, reason = "a step is small")]
        let span = Duration::try_from_secs_f64(changed as f64 / rate).unwrap_or(Duration::MAX);
        self.due = self.due.saturating_add(span);
        tokio::time::sleep(self.due.saturating_sub(self.begun.elapsed())).await;
    }
}
