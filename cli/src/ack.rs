//! `lessor ack`: a leased job is done.

use clap::Args;
use lessor::Client;

use crate::input::{self, SOURCES};
use crate::output::{Output, settled};

const EXAMPLES: &str = r#"Examples:
  lessor ack "$token"
  lessor ack "$token" --result-json '{"sent": true}'"#;

/// Say that a leased job is done.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Ack {
    /// The lease's token, as `lease` printed it.
    token: String,

    #[arg(
        long,
        value_name = "TEXT",
        conflicts_with = "result_data",
        help = format!("A result to keep with the job, as JSON: {SOURCES}")
    )]
    result_json: Option<String>,

    #[arg(long, value_name = "BYTES", help = format!("A result as plain bytes: {SOURCES}"))]
    result_data: Option<String>,
}

impl Ack {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let result = input::payload(self.result_json.as_deref(), self.result_data.as_deref())?;
        let reply = client.ack(self.token, result).await?;
        out.message("AckResponse", &reply, || settled(reply.job.as_ref(), reply.outcome()))
    }
}
