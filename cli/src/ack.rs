//! `lessor ack`: a leased job is done.

use clap::Args;
use lessor::proto::EnqueueRequest;
use lessor::{Client, NewJob};
use serde_json::Value;

use crate::failure::Usage;
use crate::input::{self, SOURCES};
use crate::output::{Output, settled};

const EXAMPLES: &str = r#"Examples:
  lessor ack "$token"
  lessor ack "$token" --result-json '{"sent": true}'
  lessor ack "$token" --then '{"queue": "emails", "type": "report"}'
  lessor ack "$token" --then @jobs.json"#;

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

    #[arg(
        long,
        value_name = "JSON",
        help = format!("Jobs to enqueue in the same step, of the same queue: {SOURCES}"),
        long_help = format!(
            "Jobs to enqueue in the same step, of the same queue: {SOURCES}. Each is an \
             EnqueueRequest as proto JSON; several stand in a list or one after the other."
        )
    )]
    then: Option<String>,
}

impl Ack {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let result = input::payload(self.result_json.as_deref(), self.result_data.as_deref())?;
        let then = self.then.as_deref().map(|source| jobs(source, out)).transpose()?;
        let reply = client.ack_then(self.token, result, then.unwrap_or_default()).await?;
        out.message("AckResponse", &reply, || settled(reply.job.as_deref(), reply.outcome()))
    }
}

fn jobs(source: &str, out: &Output) -> anyhow::Result<Vec<NewJob>> {
    let text = input::read(source)?;
    let mut jobs = Vec::new();
    for value in serde_json::Deserializer::from_slice(&text).into_iter::<Value>() {
        let value = value.map_err(|error| Usage(format!("this is not JSON: {error}")))?;
        match value {
            Value::Array(values) => jobs.extend(values),
            value => jobs.push(value),
        }
    }
    let job = |value| Ok(out.parse::<EnqueueRequest>("EnqueueRequest", value)?.into());
    jobs.into_iter().map(job).collect()
}
