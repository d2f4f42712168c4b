//! Leasing: the exclusive right to jobs, for a while.

use std::time::Duration;

use lessor_proto::v1::lease_response::EmptyReason;
use lessor_proto::v1::{LeaseRequest, LeaseResponse, LeasedJob, Worker};
use uuid::Uuid;

use crate::{Client, Result, connect, span};

/// How much longer than it waits a call may take.
pub(crate) const MARGIN: Duration = Duration::from_secs(5);

impl Client {
    /// Takes jobs that are ready, waiting for the first one as long as `options` says.
    ///
    /// Nothing to take is no error: the list is empty then. Each job must be settled with its
    /// token, by [`ack`](Self::ack) or [`nack`](Self::nack), before its lease ends; a heartbeat
    /// of [`extend`](Self::extend) moves that end. A repeated call takes the same jobs.
    pub async fn lease(&self, options: &LeaseOptions) -> Result<Leased> {
        let mut request = options.0.clone();
        request.request_id = Uuid::new_v4().to_string();
        if request.worker_id.is_empty() {
            self.worker_id().clone_into(&mut request.worker_id);
        }
        let timeout = span::read(request.wait).saturating_add(MARGIN);
        let reply = self
            .call_within(timeout, request, |channel, request| async move {
                connect::broker(channel).lease(request).await
            })
            .await?;
        let empty_reason = Some(reply.empty_reason()).filter(|_| reply.jobs.is_empty());
        let retry_after = reply.retry_after.map(|pause| span::read(Some(pause)));
        Ok(Leased { jobs: reply.jobs, empty_reason, retry_after })
    }
}

/// What a lease call took.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Leased {
    /// The jobs with their tokens, the most urgent first.
    pub jobs: Vec<LeasedJob>,
    /// Why there is no job; `None` when there is one.
    pub empty_reason: Option<EmptyReason>,
    /// When the broker would like to be asked again.
    pub retry_after: Option<Duration>,
}

impl From<Leased> for LeaseResponse {
    fn from(leased: Leased) -> Self {
        Self {
            jobs: leased.jobs,
            empty_reason: leased.empty_reason.unwrap_or_default().into(),
            retry_after: leased.retry_after.map(span::to_wire),
            ..Self::default()
        }
    }
}

/// What to lease, and how. May be used for any number of calls.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "options do nothing until `lease`"]
pub struct LeaseOptions(LeaseRequest);

impl LeaseOptions {
    /// One job from any of these queues, at once or not at all. A queue may be a name, a prefix
    /// such as `mail-*`, or `*` for all.
    pub fn new<S: Into<String>>(queues: impl IntoIterator<Item = S>) -> Self {
        let queues = queues.into_iter().map(Into::into).collect();
        Self(LeaseRequest { queues, ..LeaseRequest::default() })
    }

    /// The most jobs to take, up to 256. Default 1.
    pub fn max_jobs(mut self, count: i32) -> Self {
        self.0.max_jobs = count;
        self
    }

    /// How long to wait for the first job, up to 60 s. Default: not at all.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.0.wait = Some(span::to_wire(wait));
        self
    }

    /// For how long the jobs are ours, unless extended. Default: as job and queue say.
    pub fn lease_duration(mut self, duration: Duration) -> Self {
        self.0.lease_duration = Some(span::to_wire(duration));
        self
    }

    /// Only jobs of these types. Default: all.
    pub fn types<S: Into<String>>(mut self, types: impl IntoIterator<Item = S>) -> Self {
        self.0.types = types.into_iter().map(Into::into).collect();
        self
    }

    /// What an operator sees of the worker.
    pub fn worker(mut self, worker: Worker) -> Self {
        self.0.worker = Some(worker);
        self
    }

    /// The worker's name, unique per process start. Default: the client's.
    pub fn worker_id(mut self, id: impl Into<String>) -> Self {
        self.0.worker_id = id.into();
        self
    }
}

/// A request of one's own making, for what the builder has no method for.
impl From<LeaseRequest> for LeaseOptions {
    fn from(request: LeaseRequest) -> Self {
        Self(request)
    }
}
