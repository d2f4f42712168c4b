//! Jobs, for those who look after them: list, wait, cancel, change, repair, explain.

#![expect(clippy::disallowed_methods, reason = "how long a caller waits is the client's own")]

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use futures_util::{Stream, TryStreamExt, stream};
use lessor_proto::v1::job::State;
use lessor_proto::v1::{
    CancelJobRequest, ExplainJobResponse, GetJobRequest, Job, JobView, ListJobsRequest,
    ListJobsResponse, Payload, UpdateJobRequest, WaitJobRequest, WaitJobResponse,
};
use prost_types::FieldMask;
use tokio::time::Instant;

use crate::lease::MARGIN;
use crate::{Action, Client, Error, Result, Retry, connect, span};

/// The longest wait of one call.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// Between two calls of a wait, of which the first ended early: its broker may be shutting down.
const PAUSE: Duration = Duration::from_millis(250);

impl Client {
    /// Waits until a job is in one of these states, and longest for `within`.
    ///
    /// No states means the terminal ones. A wait that runs out is no error: `reached` is false
    /// then, and the job is as it stands. Longer waits are made of several calls.
    pub async fn wait_job(
        &self,
        name: impl Into<String>,
        until: &[State],
        within: Duration,
    ) -> Result<WaitJobResponse> {
        let end = Instant::now().checked_add(within);
        let until: Vec<i32> = until.iter().map(|&state| state.into()).collect();
        let name = name.into();
        loop {
            let begin = Instant::now();
            let left = end.map_or(LONGEST_WAIT, |end| end.saturating_duration_since(begin));
            let wait = left.min(LONGEST_WAIT);
            let request = WaitJobRequest {
                name: name.clone(),
                wait: Some(span::to_wire(wait)),
                until: until.clone(),
            };
            let reply = self
                .call_within(wait + MARGIN, request, |channel, request| async move {
                    connect::broker(channel).wait_job(request).await
                })
                .await?;
            let over = end.is_some_and(|end| Instant::now() >= end);
            if reply.reached || over || left.is_zero() {
                return Ok(reply);
            }
            if begin.elapsed() < wait / 2 {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Cancels a job: at once while it waits; through its worker, which is told with its next
    /// heartbeat and has a grace period, while it is leased. May be repeated.
    pub async fn cancel_job(&self, cancel: impl Into<Cancel>) -> Result<Job> {
        let Cancel(request) = cancel.into();
        self.call(request, |mut broker, request| async move { broker.cancel_job(request).await })
            .await
    }

    /// One page of a queue's jobs.
    pub async fn list_jobs(&self, query: &JobQuery) -> Result<ListJobsResponse> {
        self.administer(query.0.clone(), |mut admin, request| async move {
            admin.list_jobs(request).await
        })
        .await
    }

    /// A queue's jobs, page after page, as far as the stream is read.
    pub fn jobs(&self, query: JobQuery) -> impl Stream<Item = Result<Job>> + Send + 'static {
        let client = self.clone();
        stream::try_unfold(Some(query), move |query| {
            let client = client.clone();
            async move {
                let Some(query) = query else { return Ok::<_, Error>(None) };
                let page = client.list_jobs(&query).await?;
                let token = page.next_page_token;
                let next = (!token.is_empty()).then(|| query.page_token(token));
                Ok(Some((stream::iter(page.jobs.into_iter().map(Ok)), next)))
            }
        })
        .try_flatten()
    }

    /// Changes a job that waits.
    pub async fn update_job(&self, update: JobUpdate) -> Result<Job> {
        let request = update.into_request();
        let call = self.administer(request, |mut admin, request| async move {
            admin.update_job(request).await
        });
        Box::pin(call).await
    }

    /// Makes a dead, cancelled or expired job ready, with its attempts counted anew.
    pub async fn retry_job(&self, job: impl Into<Action>) -> Result<Job> {
        let request = job.into().on_job();
        self.administer(request, |mut admin, request| async move { admin.retry_job(request).await })
            .await
    }

    /// Makes a job ready that waits for its time or its backoff.
    pub async fn promote_job(&self, job: impl Into<Action>) -> Result<Job> {
        let request = job.into().on_job();
        self.administer(
            request,
            |mut admin, request| async move { admin.promote_job(request).await },
        )
        .await
    }

    /// Forgets a job that no worker holds.
    pub async fn delete_job(&self, job: impl Into<Action>) -> Result<()> {
        let request = job.into().on_job();
        self.administer(
            request,
            |mut admin, request| async move { admin.delete_job(request).await },
        )
        .await
    }

    /// Takes a job from its worker: it is ready at once, and its token is worthless.
    pub async fn revoke_lease(&self, job: impl Into<Action>) -> Result<Job> {
        let request = job.into().on_job();
        self.administer(
            request,
            |mut admin, request| async move { admin.revoke_lease(request).await },
        )
        .await
    }

    /// Why a job does not run yet, and how long that may last.
    pub async fn explain_job(&self, name: impl Into<String>) -> Result<ExplainJobResponse> {
        let request = GetJobRequest { name: name.into(), ..GetJobRequest::default() };
        self.administer(
            request,
            |mut admin, request| async move { admin.explain_job(request).await },
        )
        .await
    }
}

/// Which jobs to list, and how.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a query does nothing until it is listed"]
pub struct JobQuery(ListJobsRequest);

impl JobQuery {
    /// All jobs of a queue.
    pub fn queue(name: impl Into<String>) -> Self {
        Self(ListJobsRequest { queue: name.into(), ..ListJobsRequest::default() })
    }

    /// Only jobs that match terms such as `state=DEAD AND labels.team="a"`.
    pub fn filter(mut self, filter: impl Into<String>) -> Self {
        self.0.filter = filter.into();
        self
    }

    /// The field to sort by, such as `create_time desc`.
    pub fn order_by(mut self, field: impl Into<String>) -> Self {
        self.0.order_by = field.into();
        self
    }

    /// How much of each job. Default: all but payload, checkpoint, result and attempts.
    pub fn view(mut self, view: JobView) -> Self {
        self.0.view = view.into();
        self
    }

    /// The most jobs in a page, up to 1000. Default 50.
    pub fn page_size(mut self, count: i32) -> Self {
        self.0.page_size = count;
        self
    }

    /// Where to go on: `next_page_token` of the page before, with otherwise the same query.
    pub fn page_token(mut self, token: impl Into<String>) -> Self {
        self.0.page_token = token.into();
        self
    }
}

/// Which job to cancel, and how. A name alone will do.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "it does nothing until `cancel_job`"]
pub struct Cancel(CancelJobRequest);

impl Cancel {
    /// The job of this name, whatever has become of it since it was seen.
    pub fn job(name: impl Into<String>) -> Self {
        Self(CancelJobRequest { name: name.into(), ..CancelJobRequest::default() })
    }

    /// Why: its worker is told, and so is who watches.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.0.reason = reason.into();
        self
    }

    /// How long its worker has before the lease is taken away. Default 30 s.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.0.grace = Some(span::to_wire(grace));
        self
    }

    /// Cancel only while the job still has this etag; otherwise fail with `ETAG_MISMATCH`.
    pub fn etag(mut self, etag: impl Into<String>) -> Self {
        self.0.etag = etag.into();
        self
    }
}

impl From<&str> for Cancel {
    fn from(name: &str) -> Self {
        Self::job(name)
    }
}

impl From<String> for Cancel {
    fn from(name: String) -> Self {
        Self::job(name)
    }
}

/// What to change about a job that waits. What is not named stays.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "it does nothing until `update_job`"]
pub struct JobUpdate {
    job: Job,
    paths: Vec<String>,
}

impl JobUpdate {
    /// A change of the job of this name.
    pub fn job(name: impl Into<String>) -> Self {
        Self { job: Job { name: name.into(), ..Job::default() }, paths: Vec::new() }
    }

    /// Other work to do.
    pub fn payload(mut self, payload: Payload) -> Self {
        self.job.payload = Some(payload);
        self.path("payload")
    }

    /// Another priority: the job goes behind the others that have it.
    pub fn priority(mut self, priority: i32) -> Self {
        self.job.priority = priority;
        self.path("priority")
    }

    /// Another time to run; one that has passed makes it ready.
    pub fn schedule_time(mut self, time: SystemTime) -> Self {
        self.job.schedule_time = Some(time.into());
        self.path("schedule_time")
    }

    /// These labels in the place of the former ones.
    pub fn labels(mut self, labels: HashMap<String, String>) -> Self {
        self.job.labels = labels;
        self.path("labels")
    }

    /// This retry policy in the place of the former one.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.job.retry_policy = Some(retry.into());
        self.path("retry_policy")
    }

    /// Change the job only while it still has this etag; otherwise fail with `ETAG_MISMATCH`.
    pub fn etag(mut self, etag: impl Into<String>) -> Self {
        self.job.etag = etag.into();
        self
    }

    fn path(mut self, path: &str) -> Self {
        self.paths.push(path.to_owned());
        self
    }

    fn into_request(self) -> UpdateJobRequest {
        let update_mask = Some(FieldMask { paths: self.paths });
        UpdateJobRequest { job: Some(self.job), update_mask }
    }
}
