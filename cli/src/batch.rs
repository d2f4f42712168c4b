//! `lessor enqueue-batch`: many jobs from a file or from stdin.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufReader, Read};

use anyhow::Context;
use clap::Args;
use lessor::proto::{EnqueueRequest, EnqueueResponse};
use lessor::{Client, EnqueueOutcome, Enqueued, NewJob};
use prost::Message;
use serde_json::{Deserializer, Value};

use crate::failure::{self, Exit, Usage};
use crate::output::{Format, Output, columns, word};
use crate::progress::Progress;

/// What a call may carry, less some room for what surrounds the jobs.
pub(crate) const MOST_JOBS: usize = 1000;
pub(crate) const MOST_BYTES: usize = (3 << 20) - (64 << 10);

const EXAMPLES: &str = r#"Examples:
  lessor enqueue-batch jobs.jsonl
  jq -c '.[] | {type: "welcome", payload: {json: .}}' users.json | lessor enqueue-batch --queue emails
  lessor enqueue-batch jobs.jsonl --atomic"#;

/// Hand many jobs to the broker, each of which may fail alone.
///
/// Each job is an EnqueueRequest as proto JSON, one after the other. Failures are told as they
/// come, with the number of the job.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
#[expect(clippy::doc_markdown, reason = "a help text is no Markdown")]
pub(crate) struct Batch {
    /// The file with the jobs; - for stdin.
    #[arg(value_name = "FILE", default_value = "-")]
    source: String,

    /// The queue of jobs that name none.
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,

    /// All of the jobs or none: up to 1000 of one queue.
    #[arg(long)]
    atomic: bool,
}

/// What came of the jobs so far.
#[derive(Default)]
struct Done {
    count: usize,
    outcomes: BTreeMap<&'static str, u64>,
    /// The exit code of the first failure.
    failed: Option<u8>,
    /// Kept only for a list of JSON.
    replies: Vec<EnqueueResponse>,
}

impl Batch {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let source: Box<dyn Read> = match self.source.as_str() {
            "-" => Box::new(io::stdin().lock()),
            path => {
                let file = File::open(path).with_context(|| format!("cannot read {path}"))?;
                Box::new(BufReader::new(file))
            }
        };
        let values = Deserializer::from_reader(source).into_iter::<Value>();
        let mut jobs = values.zip(1_u64..);
        let mut done = Done::default();
        if self.atomic {
            let jobs = jobs.map(|job| self.job(job, out)).collect::<Result<_, _>>()?;
            let replies = client.enqueue_batch(jobs).await?;
            done.take(replies.into_iter().map(Ok).collect(), out)?;
        } else {
            let progress = Progress::start(None, "jobs")?;
            let (mut pending, mut bytes) = (Vec::new(), 0);
            loop {
                let job = jobs.next().map(|job| self.job(job, out)).transpose()?;
                let size =
                    job.as_ref().map_or(0, |job| EnqueueRequest::from(job.clone()).encoded_len());
                let full = pending.len() == MOST_JOBS || bytes + size > MOST_BYTES;
                if !pending.is_empty() && (full || job.is_none()) {
                    done.take(client.enqueue_each(std::mem::take(&mut pending)).await?, out)?;
                    progress.reached(done.count.try_into()?);
                    bytes = 0;
                }
                let Some(job) = job else { break };
                pending.push(job);
                bytes += size;
            }
        }
        done.finish(out)
    }

    fn job(
        &self,
        (value, number): (serde_json::Result<Value>, u64),
        out: &Output,
    ) -> anyhow::Result<NewJob> {
        let bad = |why: &dyn Display| Usage(format!("job {number}: {why}"));
        let value = value.map_err(|error| bad(&format_args!("this is not JSON: {error}")))?;
        let mut request: EnqueueRequest =
            out.parse("EnqueueRequest", value).map_err(|error| bad(&error))?;
        if let Some(queue) = self.queue.as_ref().filter(|_| request.queue.is_empty()) {
            request.queue.clone_from(queue);
        }
        Ok(request.into())
    }
}

impl Done {
    fn take(
        &mut self,
        results: Vec<lessor::Result<Enqueued>>,
        out: &mut Output,
    ) -> anyhow::Result<()> {
        for result in results {
            self.count += 1;
            match result {
                Ok(enqueued) => self.note(enqueued, out)?,
                Err(error) => {
                    eprintln!("lessor: job {}: {}", self.count, failure::sentence(&error));
                    self.failed.get_or_insert(failure::exit_code(error.code()));
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, enqueued: Enqueued, out: &mut Output) -> anyhow::Result<()> {
        *self.outcomes.entry(EnqueueOutcome::as_str_name(&enqueued.outcome)).or_default() += 1;
        let reply = EnqueueResponse::from(enqueued);
        match out.format() {
            Format::Table => Ok(()),
            Format::Json => {
                self.replies.push(reply);
                Ok(())
            }
            Format::Jsonl => out.line(&out.dynamic("EnqueueResponse", &reply)?),
        }
    }

    fn finish(self, out: &mut Output) -> anyhow::Result<()> {
        if out.format() != Format::Jsonl {
            out.messages("EnqueueResponse", &self.replies, || {
                let mut table = columns(["OUTCOME", "JOBS"]);
                for (outcome, count) in &self.outcomes {
                    table.add_row([word(outcome), count.to_string()]);
                }
                table
            })?;
        }
        self.failed.map_or(Ok(()), |code| Err(Exit(code).into()))
    }
}
