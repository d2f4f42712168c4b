//! Producers: a job to be, and the calls that hand jobs to the broker and look them up.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use lessor_proto::v1::enqueue_request::{Expiry, Start};
use lessor_proto::v1::enqueue_response::Outcome;
use lessor_proto::v1::{EnqueueRequest, EnqueueResponse, GetJobRequest, Job, JobView, Payload};
use tonic::Request;
use tonic::metadata::AsciiMetadataKey;
use uuid::Uuid;

use crate::batch::{self, BATCH_ENQUEUE, ENQUEUE, Encoded};
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
    ///
    /// A job with a [trace context](NewJob::trace_context) travels alone, for the context belongs to
    /// the call.
    pub async fn enqueue(&self, job: NewJob) -> Result<Enqueued> {
        let trace = job.trace();
        if trace.is_empty() {
            return self.joiner().enqueue(job.request).await;
        }
        let reply = self
            .call_within(self.timeout(), Encoded::of(&job.request).alone(), |channel, request| {
                raw::unary(channel, ENQUEUE, with(&trace, request))
            })
            .await?;
        raw::read::<EnqueueResponse>(reply)?.try_into()
    }

    /// Hands many jobs of one queue to the broker: all of them or none. In the order given.
    ///
    /// They share one trace context: that of the first.
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
        let trace = jobs.first().map(NewJob::trace).unwrap_or_default();
        let jobs = jobs.iter().map(|job| Encoded::of(&job.request)).collect();
        let reply = self
            .call_within(self.timeout(), batch::together(jobs, partial), |channel, request| {
                raw::unary(channel, BATCH_ENQUEUE, with(&trace, request))
            })
            .await?;
        let each = batch::replies(reply, count)?.into_iter().map(|reply| {
            let response: EnqueueResponse = raw::read(reply?)?;
            response.try_into()
        });
        Ok(each.collect())
    }
}

/// The request, with a trace context beside it. What does not fit a header is left out.
fn with(trace: &HashMap<String, String>, mut request: Request<Bytes>) -> Request<Bytes> {
    for (name, value) in trace {
        if let (Ok(name), Ok(value)) =
            (AsciiMetadataKey::from_bytes(name.as_bytes()), value.parse())
        {
            request.metadata_mut().insert(name, value);
        }
    }
    request
}

/// A job that the broker has.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Enqueued {
    /// The job, without its payload. When the new job was a duplicate: the one that stays.
    pub job: Box<Job>,
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
pub struct NewJob {
    request: EnqueueRequest,
    trace: HashMap<String, String>,
}

impl NewJob {
    /// A job for this queue, which need not exist yet.
    pub fn new(queue: impl Into<String>) -> Self {
        EnqueueRequest { queue: queue.into(), ..EnqueueRequest::default() }.into()
    }

    /// What kind of work it is: workers choose a handler by it.
    pub fn job_type(mut self, name: impl Into<String>) -> Self {
        self.request.r#type = name.into();
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
        self.request.payload = Some(payload);
        self
    }

    /// From -1000 to 1000; greater runs sooner. Default 0.
    pub fn priority(mut self, priority: i32) -> Self {
        self.request.priority = priority;
        self
    }

    /// Run it no sooner than this from now, by the broker's clock.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.request.start = Some(Start::Delay(span::to_wire(delay)));
        self
    }

    /// Run it no sooner than at this time.
    pub fn schedule_time(mut self, time: SystemTime) -> Self {
        self.request.start = Some(Start::ScheduleTime(time.into()));
        self
    }

    /// Never start it later than this after it was enqueued, by the broker's clock.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.request.expiry = Some(Expiry::Ttl(span::to_wire(ttl)));
        self
    }

    /// Never start it after this time.
    pub fn expire_time(mut self, time: SystemTime) -> Self {
        self.request.expiry = Some(Expiry::ExpireTime(time.into()));
        self
    }

    /// While a job with this key is unfinished, return that one: see [`Dedup::key`].
    pub fn dedup_key(self, key: impl Into<String>) -> Self {
        self.dedup(Dedup::key(key))
    }

    /// What makes this job a duplicate.
    pub fn dedup(mut self, dedup: Dedup) -> Self {
        self.request.dedup = Some(dedup.into());
        self
    }

    /// The job's own id, unique in its queue. A taken id is refused. Default: the broker makes one.
    pub fn job_id(mut self, id: impl Into<String>) -> Self {
        self.request.job_id = id.into();
        self
    }

    /// A UUID by which the broker knows a repeated request, also one from another process.
    /// Default: a random one.
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request.request_id = id.into();
        self
    }

    /// How often and when to try again.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.request.retry_policy = Some(retry.into());
        self
    }

    /// For how long a worker may be silent before the job is given to another one.
    pub fn lease_duration(mut self, duration: Duration) -> Self {
        self.request.lease_duration = Some(span::to_wire(duration));
        self
    }

    /// The longest time for one attempt, however often its lease is extended.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.request.attempt_timeout = Some(span::to_wire(timeout));
        self
    }

    /// How long the job is kept once it is finished.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.request.retention = Some(retention.into());
        self
    }

    /// On whose behalf it is enqueued.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.request.owner = owner.into();
        self
    }

    /// Only check the request: nothing is enqueued.
    pub fn validate_only(mut self) -> Self {
        self.request.validate_only = true;
        self
    }

    /// A label to find the job by.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.request.labels.insert(key.into(), value.into());
        self
    }

    /// The W3C trace context of the producer: `traceparent`, `tracestate`, `baggage`. The worker's
    /// span links to it. Default: with the feature `otel` that of the current span, else none.
    pub fn trace_context(mut self, context: HashMap<String, String>) -> Self {
        self.trace = context;
        self
    }

    fn trace(&self) -> HashMap<String, String> {
        #[cfg(feature = "otel")]
        if self.trace.is_empty() {
            return crate::trace::current();
        }
        self.trace.clone()
    }

    pub(crate) fn into_request(mut self) -> EnqueueRequest {
        if self.request.request_id.is_empty() {
            self.request.request_id = Uuid::new_v4().to_string();
        }
        self.request
    }
}

/// A request of one's own making, for what the builder has no method for.
impl From<EnqueueRequest> for NewJob {
    fn from(request: EnqueueRequest) -> Self {
        Self { request, trace: HashMap::new() }
    }
}

/// The request as it stands: with a request id only if one was chosen.
impl From<NewJob> for EnqueueRequest {
    fn from(job: NewJob) -> Self {
        job.request
    }
}
