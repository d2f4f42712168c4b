//! `lessor wait`: until a job has ended, or is in another state that is waited for.

use std::time::Duration;

use clap::Args;
use lessor::proto::Job;
use lessor::{Client, JobState};

use crate::failure::Exit;
use crate::output::{Output, word};
use crate::{get, input};

const EXAMPLES: &str = "\
Examples:
  lessor wait queues/emails/jobs/01JD8S
  lessor wait emails/01JD8S --within 5m && echo sent
  lessor wait emails/01JD8S --until leased,succeeded";

const TERMINAL: [JobState; 4] =
    [JobState::Succeeded, JobState::Dead, JobState::Cancelled, JobState::Expired];

/// Wait until a job has ended, and print it.
///
/// Exits with 0 when the job has succeeded, with 1 when it has ended otherwise, with 6 when the
/// time is over. With --until, exits with 0 when the job is in one of those states, and with 1 when
/// it has ended in another one.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Wait {
    /// The job's name, or in short QUEUE/ID.
    #[arg(value_name = "JOB", value_parser = input::parse_job)]
    name: String,

    /// States to wait for, such as leased. Default: any in which a job ends.
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = input::parse_state)]
    until: Vec<JobState>,

    /// How long to wait. Default: for ever.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    within: Option<Duration>,
}

impl Wait {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let wanted = if self.until.is_empty() { vec![JobState::Succeeded] } else { self.until };
        // A job that has ended elsewhere would be waited for in vain.
        let mut until = wanted.clone();
        until.extend(TERMINAL.into_iter().filter(|state| !wanted.contains(state)));
        let within = self.within.unwrap_or(Duration::MAX);
        let reply = client.wait_job(self.name, &until, within).await?;
        let job = reply.job.clone().unwrap_or_default();
        out.message("WaitJobResponse", &reply, || get::table(&job))?;
        if wanted.contains(&job.state()) {
            return Ok(());
        }
        eprintln!("lessor: the job is {}{}", word(job.state().as_str_name()), why(&job));
        Err(Exit(if reply.reached { 1 } else { 6 }).into())
    }
}

fn why(job: &Job) -> String {
    let failure = job.last_failure.as_ref();
    failure.map(|it| format!(": {} {}", it.code, it.message)).unwrap_or_default()
}
