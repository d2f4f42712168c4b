//! Many jobs at once: the same action for all that a filter matches, step by step.

use std::time::Duration;

use lessor_proto::v1::bulk_jobs_request::Action;
use lessor_proto::v1::job::State;
use lessor_proto::v1::{BulkJobsRequest, BulkJobsResponse, PurgeJobsRequest};
use uuid::Uuid;

use crate::{Client, Result, span};

/// How long a broker works on many jobs before it answers.
const STEP: Duration = Duration::from_secs(5);

impl Client {
    /// One step of an action on many jobs: as many as the broker bears in one call.
    ///
    /// The rest is done by further steps with [`Bulk::after`], until the token in the reply is
    /// empty. A step may be repeated.
    pub async fn bulk_jobs(&self, bulk: &Bulk) -> Result<BulkJobsResponse> {
        let request = BulkJobsRequest { request_id: Uuid::new_v4().to_string(), ..bulk.0.clone() };
        self.administer(request, |mut admin, request| async move { admin.bulk_jobs(request).await })
            .await
    }

    /// Forgets jobs by state and age: how many, of this call. Call again until there are none.
    pub async fn purge_jobs(&self, purge: &Purge) -> Result<i64> {
        let timeout = self.timeout() + STEP;
        let reply = self
            .administer_within(timeout, purge.0.clone(), |mut admin, request| async move {
                admin.purge_jobs(request).await
            })
            .await?;
        Ok(reply.purged)
    }
}

/// What to do with the jobs of a queue. Without a filter: with all of them.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "it does nothing until `bulk_jobs`"]
pub struct Bulk(BulkJobsRequest);

impl Bulk {
    /// As [`Client::retry_job`].
    pub fn retry(queue: impl Into<String>) -> Self {
        Self::of(queue, Action::Retry)
    }

    /// As [`Client::cancel_job`].
    pub fn cancel(queue: impl Into<String>) -> Self {
        Self::of(queue, Action::Cancel)
    }

    /// As [`Client::promote_job`].
    pub fn promote(queue: impl Into<String>) -> Self {
        Self::of(queue, Action::Promote)
    }

    /// As [`Client::delete_job`].
    pub fn purge(queue: impl Into<String>) -> Self {
        Self::of(queue, Action::Purge)
    }

    /// Moves jobs from one queue to another.
    pub fn relocate(queue: impl Into<String>, destination: impl Into<String>) -> Self {
        let mut bulk = Self::of(queue, Action::Move);
        bulk.0.destination_queue = destination.into();
        bulk
    }

    /// Only jobs that match, as in [`JobQuery::filter`](crate::JobQuery::filter).
    pub fn filter(mut self, filter: impl Into<String>) -> Self {
        self.0.filter = filter.into();
        self
    }

    /// The most jobs to change in one step. Default: as many as the broker bears.
    pub fn max_jobs(mut self, count: i32) -> Self {
        self.0.max_jobs = count;
        self
    }

    /// The most jobs to change per second. Default: no limit.
    pub fn per_second(mut self, rate: f64) -> Self {
        self.0.per_second = rate;
        self
    }

    /// Only count the jobs: none is changed.
    pub fn validate_only(mut self) -> Self {
        self.0.validate_only = true;
        self
    }

    /// Go on after the step that returned this token.
    pub fn after(mut self, token: impl Into<String>) -> Self {
        self.0.continuation_token = token.into();
        self
    }

    fn of(queue: impl Into<String>, action: Action) -> Self {
        Self(BulkJobsRequest {
            queue: queue.into(),
            action: action.into(),
            ..BulkJobsRequest::default()
        })
    }
}

/// Which jobs of a queue to forget.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "it does nothing until `purge_jobs`"]
pub struct Purge(PurgeJobsRequest);

impl Purge {
    /// All jobs that are in this state.
    pub fn jobs(queue: impl Into<String>, state: State) -> Self {
        Self(PurgeJobsRequest {
            queue: queue.into(),
            state: state.into(),
            ..PurgeJobsRequest::default()
        })
    }

    /// Only jobs that have been in the state for longer than this.
    pub fn older_than(mut self, age: Duration) -> Self {
        self.0.older_than = Some(span::to_wire(age));
        self
    }

    /// The most jobs to forget in one call. Default: as many as the broker bears.
    pub fn max_jobs(mut self, count: i32) -> Self {
        self.0.max_jobs = count;
        self
    }

    /// Only count the jobs: none is forgotten.
    pub fn validate_only(mut self) -> Self {
        self.0.validate_only = true;
        self
    }
}
