//! Hands jobs to the broker, so many per call, and says what became of each.

use std::mem;

use lessor::proto::EnqueueRequest;
use lessor::{Client, EnqueueOutcome, Enqueued, NewJob, Reason};
use prost::Message;
use serde::Serialize;

use super::identity::LABEL;
use crate::batch::{MOST_BYTES, MOST_JOBS};
use crate::failure;

/// How many refusals are told one by one.
const TOLD: usize = 20;

/// What became of the jobs of a queue.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Written {
    pub(super) created: u64,
    /// Jobs of an earlier run.
    pub(super) already_there: u64,
    /// Another job has their dedup key.
    pub(super) deduplicated: u64,
    pub(super) refused: u64,
    /// Some of the refusals.
    pub(super) refusals: Vec<String>,
    /// The exit code of the first refusal.
    #[serde(skip)]
    pub(super) failed: Option<u8>,
}

pub(super) struct Writer<'a> {
    client: &'a Client,
    /// Only asks what would become of the jobs.
    dry: bool,
    /// With their ids in the other store.
    pending: Vec<(String, EnqueueRequest)>,
    bytes: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(client: &'a Client, dry: bool) -> Self {
        Self { client, dry, pending: Vec::new(), bytes: 0 }
    }

    pub(super) async fn write(
        &mut self,
        id: String,
        job: EnqueueRequest,
        written: &mut Written,
    ) -> anyhow::Result<()> {
        let size = job.encoded_len();
        if size > MOST_BYTES {
            // No call can carry it, so that the broker could not even refuse it.
            written.refuse(&id, 2, &format!("its {size} bytes are too many for a job"));
            return Ok(());
        }
        if self.pending.len() == MOST_JOBS || self.bytes + size > MOST_BYTES {
            self.flush(written).await?;
        }
        self.bytes += size;
        self.pending.push((id, job));
        Ok(())
    }

    pub(super) async fn flush(&mut self, written: &mut Written) -> anyhow::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.bytes = 0;
        let pending = mem::take(&mut self.pending);
        let jobs = pending.iter().map(|(_, job)| {
            let job = NewJob::from(job.clone());
            if self.dry { job.validate_only() } else { job }
        });
        let results = self.client.enqueue_each(jobs.collect()).await?;
        for ((id, job), result) in pending.iter().zip(results) {
            match result {
                Ok(enqueued) => written.note(&enqueued),
                Err(error) if self.is_there(job, &error).await? => written.already_there += 1,
                Err(error) => {
                    let code = failure::exit_code(error.code());
                    written.refuse(id, code, &failure::sentence(&error));
                }
            }
        }
        Ok(())
    }

    /// Whether a refusal means that an earlier run has made this job.
    async fn is_there(&self, job: &EnqueueRequest, error: &lessor::Error) -> anyhow::Result<bool> {
        match error.kind() {
            // Nobody else has this id; the job has changed since, or how it is read.
            Some(Reason::RequestIdReused) => Ok(true),
            Some(Reason::JobExists) => {
                let label = job.labels.get(LABEL);
                // An id that was made here is nobody else's.
                let digest = label.and_then(|it| it.rsplit_once('#')).map(|(_, digest)| digest);
                if digest.is_some_and(|it| job.job_id.ends_with(it)) {
                    return Ok(true);
                }
                let name = format!("queues/{}/jobs/{}", job.queue, job.job_id);
                match self.client.get_job(name).await {
                    Ok(there) => Ok(there.labels.get(LABEL) == label),
                    Err(error) if error.kind() == Some(Reason::JobNotFound) => Ok(false),
                    Err(error) => Err(error.into()),
                }
            }
            _ => Ok(false),
        }
    }
}

impl Written {
    fn note(&mut self, enqueued: &Enqueued) {
        match enqueued.outcome {
            EnqueueOutcome::Replayed => self.already_there += 1,
            EnqueueOutcome::Deduplicated | EnqueueOutcome::Replaced => self.deduplicated += 1,
            EnqueueOutcome::Created | EnqueueOutcome::Unspecified => self.created += 1,
        }
    }

    fn refuse(&mut self, id: &str, code: u8, why: &str) {
        self.refused += 1;
        self.failed.get_or_insert(code);
        if self.refusals.len() < TOLD {
            self.refusals.push(format!("{id}: {why}"));
        }
    }
}
