//! `lessor explain`: why does a job not run?

use clap::Args;
use lessor::{Client, ExplainJobResponse};

use crate::input;
use crate::output::{Format, Output, columns, facts, show, show_span};

const EXAMPLES: &str = "\
Example:
  lessor explain queues/emails/jobs/01JD8S";

/// Print why a job does not run yet, and when it will.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Explain {
    /// The job's name, or in short QUEUE/ID.
    #[arg(value_name = "JOB", value_parser = input::parse_job)]
    name: String,
}

impl Explain {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let reply = client.explain_job(self.name).await?;
        match out.format() {
            Format::Table => print(&reply, out),
            Format::Json => out.document(&out.dynamic("ExplainJobResponse", &reply)?),
            Format::Jsonl => out.line(&out.dynamic("ExplainJobResponse", &reply)?),
        }
    }
}

fn print(reply: &ExplainJobResponse, out: &mut Output) -> anyhow::Result<()> {
    if reply.causes.is_empty() {
        out.text("Nothing holds the job back.")?;
    } else {
        let mut table = columns(["CAUSE", "CLEARS AT", "MESSAGE"]);
        for cause in &reply.causes {
            let clears = show(cause.clears_at.as_ref());
            table.add_row([cause.code.clone(), clears, cause.message.clone()]);
        }
        out.table(table)?;
    }
    out.table(facts([
        ("Jobs ahead", reply.jobs_ahead.to_string()),
        ("Estimated wait", show_span(reply.estimated_wait)),
    ]))
}
