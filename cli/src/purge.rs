//! `lessor purge`: forget the jobs of a queue by state and age.

use std::time::Duration;

use clap::Args;
use lessor::proto::PurgeJobsResponse;
use lessor::{Client, JobState, Purge as Request};

use crate::output::{Output, facts};
use crate::progress::Progress;
use crate::{input, queue};

const EXAMPLES: &str = "\
Examples:
  lessor purge emails --state succeeded
  lessor purge emails --state dead --older-than 7d --dry-run";

/// Forget the jobs of a queue that are in a state.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Purge {
    /// The queue.
    queue: String,

    /// The state that the jobs are in, such as dead.
    #[arg(long, value_name = "STATE", value_parser = input::parse_state)]
    state: JobState,

    /// Only jobs that have been in the state for longer than this.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,

    /// The most jobs to forget.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(i32).range(1..))]
    max: Option<i32>,

    /// Only count the jobs: none is forgotten. With an age the count has a bound.
    #[arg(long)]
    dry_run: bool,
}

impl Purge {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let mut total = PurgeJobsResponse::default();
        let ended = self.steps(client, &mut total).await;
        if ended.is_err() && total.purged > 0 {
            eprintln!("lessor: {} jobs purged so far; to go on, repeat the command", total.purged);
        }
        ended?;
        out.message("PurgeJobsResponse", &total, || {
            let name = if self.dry_run { "Would purge" } else { "Purged" };
            facts([(name, total.purged.to_string())])
        })
    }

    async fn steps(&self, client: &Client, total: &mut PurgeJobsResponse) -> anyhow::Result<()> {
        let mut purge = Request::jobs(&self.queue, self.state);
        if let Some(age) = self.older_than {
            purge = purge.older_than(age);
        }
        if self.dry_run {
            if let Some(max) = self.max {
                purge = purge.max_jobs(max);
            }
            total.purged = client.purge_jobs(&purge.validate_only()).await?;
            if total.purged > 0 && self.older_than.is_none() {
                // A call counts only as many as it would forget.
                let all = queue::count(&client.queue_stats(&self.queue).await?, self.state);
                total.purged = self.max.map_or(all, |max| all.min(max.into()));
            }
            return Ok(());
        }
        let progress = Progress::start(None, "purged")?;
        if progress.is_seen() && self.older_than.is_none() {
            let stats = client.queue_stats(&self.queue).await?;
            progress.of(queue::count(&stats, self.state).try_into()?)?;
        }
        loop {
            let mut step = purge.clone();
            if let Some(max) = self.max {
                step = step.max_jobs(max.saturating_sub(i32::try_from(total.purged)?));
            }
            let purged = client.purge_jobs(&step).await?;
            total.purged += purged;
            progress.reached(total.purged.try_into()?);
            if purged == 0 || self.max.is_some_and(|max| total.purged >= i64::from(max)) {
                return Ok(());
            }
        }
    }
}
