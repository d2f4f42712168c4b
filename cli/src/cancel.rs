//! `lessor cancel`: jobs that nobody wants any more.

use std::time::Duration;

use clap::Args;
use lessor::{Cancel as Request, Client};

use crate::each::each;
use crate::input;
use crate::output::Output;

const EXAMPLES: &str = "\
Examples:
  lessor cancel queues/emails/jobs/01JD8S
  lessor cancel emails/01JD8S emails/01JD8T --reason 'sent by hand' --grace 5s";

/// Cancel jobs.
///
/// A job that waits is cancelled at once. A leased one goes on until its worker hears of it with
/// its next heartbeat and settles, or until the grace period is over; `lessor wait` waits for that.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Cancel {
    /// The jobs, each by its name or in short QUEUE/ID.
    #[arg(value_name = "JOB", required = true, value_parser = input::parse_job)]
    names: Vec<String>,

    /// Why, for the worker and for who watches.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,

    /// How long the worker of a leased job has. Default: 30s.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    grace: Option<Duration>,

    /// Only if the job still has this etag, as `get` prints it.
    #[arg(long, value_name = "ETAG", default_value = "", hide_default_value = true)]
    etag: String,
}

impl Cancel {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let Self { names, reason, grace, etag } = self;
        each(client, names, out, |client, name| {
            let mut cancel = Request::job(name).reason(&reason).etag(&etag);
            if let Some(grace) = grace {
                cancel = cancel.grace(grace);
            }
            async move { client.cancel_job(cancel).await }
        })
        .await
    }
}
