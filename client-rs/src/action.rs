//! What an operator's action names: a job, a queue or a schedule, as it was seen, and why.

use lessor_proto::v1::{
    DeleteQueueRequest, JobActionRequest, QueueActionRequest, ScheduleActionRequest,
};

/// The thing that an action is for. A name alone will do.
///
/// ```
/// use lessor::Action;
///
/// let action = Action::on("queues/emails/jobs/17").reason("the mail server is back");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "it does nothing until it is handed to a call"]
pub struct Action {
    name: String,
    etag: String,
    reason: String,
}

impl Action {
    /// An action on the thing of this name, whatever has become of it since it was seen.
    pub fn on(name: impl Into<String>) -> Self {
        Self { name: name.into(), etag: String::new(), reason: String::new() }
    }

    /// Act only while the thing still has this etag; otherwise fail with `ETAG_MISMATCH`.
    pub fn etag(mut self, etag: impl Into<String>) -> Self {
        self.etag = etag.into();
        self
    }

    /// Why, for the event that tells of it.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }

    pub(crate) fn on_job(self) -> JobActionRequest {
        let Self { name, etag, reason } = self;
        JobActionRequest { name, etag, reason }
    }

    pub(crate) fn on_queue(self) -> QueueActionRequest {
        let Self { name, etag, reason } = self;
        QueueActionRequest { name, etag, reason }
    }

    pub(crate) fn on_queue_and_jobs(self, force: bool) -> DeleteQueueRequest {
        let Self { name, etag, reason } = self;
        DeleteQueueRequest { name, force, etag, reason }
    }

    pub(crate) fn on_schedule(self) -> ScheduleActionRequest {
        let Self { name, etag, reason } = self;
        ScheduleActionRequest { name, etag, reason }
    }
}

impl From<&str> for Action {
    fn from(name: &str) -> Self {
        Self::on(name)
    }
}

impl From<String> for Action {
    fn from(name: String) -> Self {
        Self::on(name)
    }
}
