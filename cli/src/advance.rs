//! `lessor advance`: time for tests.

use std::time::{Duration, SystemTime};

use anyhow::bail;
use clap::Args;
use humantime::parse_duration;
use lessor::proto::AdvanceClockResponse;
use lessor::{Client, Code};

use crate::output::{Output, facts, show};

/// Move the clock of a broker that was started with `--manual-clock`.
///
/// All that falls due on the way is done when the command returns: jobs become ready, leases end,
/// schedules fire. So a test waits an hour in a moment.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  lessor serve --store sqlite::memory: --manual-clock &
  lessor enqueue reminders --delay 24h
  lessor advance 24h && lessor lease reminders")]
pub(crate) struct Advance {
    /// How far, such as 90s or 24h.
    #[arg(value_parser = parse_duration)]
    duration: Duration,
}

impl Advance {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let now: SystemTime = match client.advance_clock(self.duration).await {
            Err(error) if error.code() == Code::Unimplemented => {
                bail!("this broker's clock goes by itself; start one with --manual-clock")
            }
            reply => reply?,
        };
        let reply = AdvanceClockResponse { now: Some(now.into()) };
        out.message("AdvanceClockResponse", &reply, || facts([("Now", show(reply.now.as_ref()))]))
    }
}
