//! `lessor extend`: more time for a leased job.

use std::time::Duration;

use clap::Args;
use lessor::{Client, Progress};

use crate::input::Checkpoint;
use crate::output::{Output, facts, show};

const EXAMPLES: &str = r#"Examples:
  lessor extend "$token"
  lessor extend "$token" --lease 5m --percent 40 --message 'encoding'
  lessor extend "$token" --done 300 --total 1000 --checkpoint-json '{"row": 300}'"#;

/// Keep a leased job for longer, and say how far it has come.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Extend {
    /// The lease's token, as `lease` printed it.
    token: String,

    /// For how long from now. Default: for as long as it was leased at first.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    lease: Option<Duration>,

    /// How far the work has come, from 0 to 100.
    #[arg(long, value_name = "NUMBER")]
    percent: Option<f64>,

    /// How far the work has come, in words.
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,

    /// How many units of the work are done.
    #[arg(long, value_name = "COUNT")]
    done: Option<i64>,

    /// How many units of work there are in all.
    #[arg(long, value_name = "COUNT")]
    total: Option<i64>,

    #[command(flatten)]
    checkpoint: Checkpoint,
}

impl Extend {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let mut extend = self.lease.map_or_else(lessor::Extend::again, lessor::Extend::by);
        let progress = Progress {
            percent: self.percent.unwrap_or_default(),
            message: self.message.clone().unwrap_or_default(),
            done: self.done.unwrap_or_default(),
            total: self.total.unwrap_or_default(),
        };
        let counted = self.done.is_some() || self.total.is_some();
        if counted || self.percent.is_some() || self.message.is_some() {
            extend = extend.progress(progress);
        }
        if let Some(checkpoint) = self.checkpoint.read()? {
            extend = extend.checkpoint(checkpoint);
        }
        let reply = client.extend(self.token, extend).await?;
        out.message("ExtendLeaseResponse", &reply, || {
            facts([
                ("Lease ends", show(reply.lease_expire_time.as_ref())),
                ("Remaining", show(reply.lease_remaining.as_ref())),
                (
                    "Cancel",
                    if reply.cancel_requested { "asked for: stop and settle" } else { "" }
                        .to_owned(),
                ),
                ("Reason", reply.cancel_reason.clone()),
                ("Drain", if reply.drain { "finish, then stop leasing" } else { "" }.to_owned()),
            ])
        })
    }
}
