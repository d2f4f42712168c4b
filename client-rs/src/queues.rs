//! Queues, for those who look after them: numbers, settings, pauses.

use std::time::Duration;

use lessor_proto::v1::{
    GetQueueRequest, GetQueueStatsRequest, HealthThresholds, ListQueuesRequest, Push, Queue,
    QueueStats, RateLimit, UpdateQueueRequest,
};
use prost_types::FieldMask;

use crate::{Action, Client, Result, Retention, Retry, span};

pub(crate) const PAGE: i32 = 1000;

impl Client {
    /// All queues with their settings, in pages of one call each.
    pub async fn list_queues(&self) -> Result<Vec<Queue>> {
        let mut queues = Vec::new();
        let mut request = ListQueuesRequest { page_size: PAGE, ..ListQueuesRequest::default() };
        loop {
            let page = self
                .administer(request.clone(), |mut admin, request| async move {
                    admin.list_queues(request).await
                })
                .await?;
            queues.extend(page.queues);
            if page.next_page_token.is_empty() {
                return Ok(queues);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// How many jobs a queue has in each state, and how it fares.
    pub async fn queue_stats(&self, name: impl Into<String>) -> Result<QueueStats> {
        let request = GetQueueStatsRequest { name: name.into() };
        self.administer(request, |mut admin, request| async move {
            admin.get_queue_stats(request).await
        })
        .await
    }

    /// The settings of a queue.
    pub async fn get_queue(&self, name: impl Into<String>) -> Result<Queue> {
        let request = GetQueueRequest { name: name.into() };
        self.administer(request, |mut admin, request| async move { admin.get_queue(request).await })
            .await
    }

    /// Changes the settings of a queue, or creates it with them.
    pub async fn update_queue(&self, update: QueueUpdate) -> Result<Queue> {
        let QueueUpdate(request) = update;
        self.administer(
            request,
            |mut admin, request| async move { admin.update_queue(request).await },
        )
        .await
    }

    /// Lets no job of a queue be leased until it is resumed. It still takes jobs and settles.
    pub async fn pause_queue(&self, queue: impl Into<Action>) -> Result<Queue> {
        let request = queue.into().on_queue();
        self.administer(
            request,
            |mut admin, request| async move { admin.pause_queue(request).await },
        )
        .await
    }

    /// Ends the pause of a queue.
    pub async fn resume_queue(&self, queue: impl Into<Action>) -> Result<Queue> {
        let request = queue.into().on_queue();
        self.administer(
            request,
            |mut admin, request| async move { admin.resume_queue(request).await },
        )
        .await
    }

    /// Deletes a queue that is empty; one that is not is refused with `QUEUE_NOT_EMPTY`.
    pub async fn delete_queue(&self, queue: impl Into<Action>) -> Result<()> {
        self.remove_queue(queue.into(), false).await
    }

    /// Deletes a queue with all jobs in it, also those that workers hold.
    pub async fn delete_queue_with_jobs(&self, queue: impl Into<Action>) -> Result<()> {
        self.remove_queue(queue.into(), true).await
    }

    async fn remove_queue(&self, queue: Action, force: bool) -> Result<()> {
        self.administer(queue.on_queue_and_jobs(force), |mut admin, request| async move {
            admin.delete_queue(request).await
        })
        .await
    }
}

/// What to change about a queue's settings. What is not named stays.
///
/// ```
/// use std::time::Duration;
/// use lessor::QueueUpdate;
///
/// let update = QueueUpdate::queue("emails")
///     .max_leased(20)
///     .rate(100, Duration::from_secs(1), 10)
///     .reason("the mail server is small");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "it does nothing until `update_queue`"]
pub struct QueueUpdate(UpdateQueueRequest);

impl QueueUpdate {
    /// A change of the queue of this name.
    pub fn queue(name: impl Into<String>) -> Self {
        let queue = Queue { name: name.into(), ..Queue::default() };
        Self(UpdateQueueRequest { queue: Some(queue), ..UpdateQueueRequest::default() })
    }

    /// When to retry jobs that do not say it themselves, in the place of the former policy.
    pub fn retry(self, retry: Retry) -> Self {
        self.set("retry_policy", |queue| queue.retry_policy = Some(retry.into()))
    }

    /// The visibility timeout where neither the lease nor the job sets one.
    pub fn lease_duration(self, duration: Duration) -> Self {
        self.set("lease_duration", |queue| queue.lease_duration = Some(span::to_wire(duration)))
    }

    /// The longest time for one attempt of jobs that do not say it themselves.
    pub fn attempt_timeout(self, timeout: Duration) -> Self {
        self.set("attempt_timeout", |queue| queue.attempt_timeout = Some(span::to_wire(timeout)))
    }

    /// How long to keep finished jobs that do not say it themselves, in the place of the former
    /// retention.
    pub fn retention(self, retention: Retention) -> Self {
        self.set("retention", |queue| queue.retention = Some(retention.into()))
    }

    /// The most jobs leased at once over all workers; 0 sets no limit.
    pub fn max_leased(self, count: i32) -> Self {
        self.set("max_leased", |queue| queue.max_leased = count)
    }

    /// The most leases per period, and how many of them may come at once after a quiet time.
    pub fn rate(self, permits: i32, period: Duration, burst: i32) -> Self {
        let rate = RateLimit { permits, period: Some(span::to_wire(period)), burst };
        self.set("rate_limit", |queue| queue.rate_limit = Some(rate))
    }

    /// The most unfinished jobs.
    pub fn max_jobs(self, count: i64) -> Self {
        self.set("max_jobs", |queue| queue.max_jobs = count)
    }

    /// The most bytes of unfinished jobs; 0 sets no limit.
    pub fn max_bytes(self, count: i64) -> Self {
        self.set("max_bytes", |queue| queue.max_bytes = count)
    }

    /// How many lost leases make a job a dead letter.
    pub fn max_lease_losses(self, count: i32) -> Self {
        self.set("max_lease_losses", |queue| queue.max_lease_losses = count)
    }

    /// From when on the queue counts as unhealthy, in the place of the former thresholds.
    pub fn health(self, thresholds: HealthThresholds) -> Self {
        self.set("health", |queue| queue.health = Some(thresholds))
    }

    /// The HTTP endpoint that the broker sends the jobs to, in the place of the former one. Secrets that
    /// are not named stay.
    pub fn push(self, push: Push) -> Self {
        self.set("push", |queue| queue.push = Some(push))
    }

    /// Takes a setting back to its default, by its name in [`Queue`], such as `rate_limit`.
    pub fn reset(self, field: &str) -> Self {
        self.set(field, |_unset| {})
    }

    /// Change the queue only while it still has this etag; otherwise fail with `ETAG_MISMATCH`.
    pub fn etag(mut self, etag: impl Into<String>) -> Self {
        self.0.queue.get_or_insert_default().etag = etag.into();
        self
    }

    /// Why, for the event that tells of it.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.0.reason = reason.into();
        self
    }

    fn set(mut self, path: &str, set: impl FnOnce(&mut Queue)) -> Self {
        set(self.0.queue.get_or_insert_default());
        let mask = self.0.update_mask.get_or_insert_with(FieldMask::default);
        mask.paths.push(path.to_owned());
        self
    }
}
