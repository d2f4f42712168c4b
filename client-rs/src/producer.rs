//! Producers: a job to be, and the calls that hand jobs to the broker and look them up.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use lessor_proto::v1::enqueue_request::{Expiry, Start};
use lessor_proto::v1::enqueue_response::Outcome;
use lessor_proto::v1::{EnqueueRequest, EnqueueResponse, GetJobRequest, Job, JobView, Payload};
use uuid::Uuid;

use crate::batch::{self, BATCH_ENQUEUE, Encoded};
use crate::{Client, Dedup, Error, Result, Retention, Retry, payload, raw, span};

impl Client {
    /// Hands one job to the broker.
    ///
    /// A repeated call does not make a second job: the request id, which is made here unless the
    /// job has one, is the same in each try.
    ///
    /// Concurrent calls of a client and its clones share calls to the broker: those that come while
    /// others are under way make the next batch, in which each stands for itself. A lone call is
    /// not delayed. A call that is dropped may or may not have enqueued its job.
    pub async fn enqueue(&self, job: NewJob) -> Result<Enqueued> {
        self.joiner().enqueue(job.0).await
    }

    /// Hands many jobs of one queue to the broker: all of them or none. In the order given.
    pub async fn enqueue_batch(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        self.enqueue_many(jobs, false).await?.into_iter().collect()
    }

    /// Hands many jobs to the broker, of any queues, each of which may fail alone.
    /// In the order given.
    pub async fn enqueue_each(&self, jobs: Vec<NewJob>) -> Result<Vec<Result<Enqueued>>> {
        self.enqueue_many(jobs, true).await
    }

    /// One job, with its payload, result and latest attempts.
    ///
    /// The name is what [`Enqueued::job`] carries: `queues/{queue}/jobs/{job}`.
    pub async fn get_job(&self, name: impl Into<String>) -> Result<Job> {
        let request = GetJobRequest { name: name.into(), view: JobView::Full.into() };
        self.call(request, |mut broker, request| async move { broker.get_job(request).await }).await
    }

    async fn enqueue_many(
        &self,
        jobs: Vec<NewJob>,
        partial: bool,
    ) -> Result<Vec<Result<Enqueued>>> {
        let count = jobs.len();
        let jobs = jobs.iter().map(|job| Encoded::of(&job.0)).collect();
        let reply = self
            .call_within(self.timeout(), batch::together(jobs, partial), |channel, request| {
                raw::unary(channel, BATCH_ENQUEUE, request)
            })
            .await?;
        let each = batch::replies(reply, count)?.into_iter().map(|reply| {
            let response: EnqueueResponse = raw::read(reply?)?;
            response.try_into()
        });
        Ok(each.collect())
    }
}

/// A job that the broker has.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Enqueued {
    /// The job, without its payload. When the new job was a duplicate: the one that stays.
    pub job: Job,
    /// Whether the job is new, or which earlier one answers for it.
    pub outcome: Outcome,
    /// How many copies of the store's data had the job when the broker answered.
    pub replicas_acked: i32,
}

impl TryFrom<EnqueueResponse> for Enqueued {
    type Error = Error;

    fn try_from(response: EnqueueResponse) -> Result<Self> {
        let outcome = response.outcome();
        let job = response.job.ok_or_else(|| Error::incomplete("the job"))?;
        Ok(Self { job, outcome, replicas_acked: response.replicas_acked })
    }
}

impl From<Enqueued> for EnqueueResponse {
    fn from(enqueued: Enqueued) -> Self {
        let Enqueued { job, outcome, replicas_acked } = enqueued;
        Self { job: Some(job), outcome: outcome.into(), replicas_acked }
    }
}

/// A job to be. What is not set is the queue's to decide.
///
/// ```
/// use std::time::Duration;
/// use lessor::{NewJob, Retry};
///
/// let job = NewJob::new("emails")
///     .job_type("welcome")
///     .payload_json(r#"{"to": "a@example.com"}"#)
///     .delay(Duration::from_mins(1))
///     .retry(Retry::attempts(5));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a job does nothing until it is enqueued"]
pub struct NewJob(EnqueueRequest);

impl NewJob {
    /// A job for this queue, which need not exist yet.
    pub fn new(queue: impl Into<String>) -> Self {
        Self(EnqueueRequest { queue: queue.into(), ..EnqueueRequest::default() })
    }

    /// What kind of work it is: workers choose a handler by it.
    pub fn job_type(mut self, name: impl Into<String>) -> Self {
        self.0.r#type = name.into();
        self
    }

    /// The payload as JSON text, such as what `serde_json::to_vec` makes. It is sent as it is.
    pub fn payload_json(self, text: impl Into<Bytes>) -> Self {
        self.payload(payload::json(text))
    }

    /// The payload as plain bytes.
    pub fn payload_bytes(self, data: impl Into<Bytes>) -> Self {
        self.payload(payload::bytes(data))
    }

    /// The payload, with a content type or an encoding of your own.
    pub fn payload(mut self, payload: Payload) -> Self {
        self.0.payload = Some(payload);
        self
    }

    /// From -1000 to 1000; greater runs sooner. Default 0.
    pub fn priority(mut self, priority: i32) -> Self {
        self.0.priority = priority;
        self
    }

    /// Run it no sooner than this from now, by the broker's clock.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.0.start = Some(Start::Delay(span::to_wire(delay)));
        self
    }

    /// Run it no sooner than at this time.
    pub fn schedule_time(mut self, time: SystemTime) -> Self {
        self.0.start = Some(Start::ScheduleTime(time.into()));
        self
    }

    /// Never start it later than this after it was enqueued, by the broker's clock.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.0.expiry = Some(Expiry::Ttl(span::to_wire(ttl)));
        self
    }

    /// Never start it after this time.
    pub fn expire_time(mut self, time: SystemTime) -> Self {
        self.0.expiry = Some(Expiry::ExpireTime(time.into()));
        self
    }

    /// While a job with this key is unfinished, return that one: see [`Dedup::key`].
    pub fn dedup_key(self, key: impl Into<String>) -> Self {
        self.dedup(Dedup::key(key))
    }

    /// What makes this job a duplicate.
    pub fn dedup(mut self, dedup: Dedup) -> Self {
        self.0.dedup = Some(dedup.into());
        self
    }

    /// The job's own id, unique in its queue. A taken id is refused. Default: the broker makes one.
    pub fn job_id(mut self, id: impl Into<String>) -> Self {
        self.0.job_id = id.into();
        self
    }

    /// A UUID by which the broker knows a repeated request, also one from another process.
    /// Default: a random one.
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.0.request_id = id.into();
        self
    }

    /// How often and when to try again.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.0.retry_policy = Some(retry.into());
        self
    }

    /// For how long a worker may be silent before the job is given to another one.
    pub fn lease_duration(mut self, duration: Duration) -> Self {
        self.0.lease_duration = Some(span::to_wire(duration));
        self
    }

    /// The longest time for one attempt, however often its lease is extended.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.0.attempt_timeout = Some(span::to_wire(timeout));
        self
    }

    /// How long the job is kept once it is finished.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.0.retention = Some(retention.into());
        self
    }

    /// On whose behalf it is enqueued.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.0.owner = owner.into();
        self
    }

    /// Only check the request: nothing is enqueued.
    pub fn validate_only(mut self) -> Self {
        self.0.validate_only = true;
        self
    }

    /// A label to find the job by.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.labels.insert(key.into(), value.into());
        self
    }

    pub(crate) fn into_request(mut self) -> EnqueueRequest {
        if self.0.request_id.is_empty() {
            self.0.request_id = Uuid::new_v4().to_string();
        }
        self.0
    }
}

/// A request of one's own making, for what the builder has no method for.
impl From<EnqueueRequest> for NewJob {
    fn from(request: EnqueueRequest) -> Self {
        Self(request)
    }
}

/// The request as it stands: with a request id only if one was chosen.
impl From<NewJob> for EnqueueRequest {
    fn from(job: NewJob) -> Self {
        job.0
    }
}
