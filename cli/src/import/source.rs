//! What a store of another queue tells of itself.

use std::fmt::Display;
use std::time::{Duration, SystemTime};

use lessor::proto::EnqueueRequest;

use super::identity;

/// Another queue's store.
pub(super) trait Source {
    /// The kind of store, which is part of what tells its jobs from others.
    fn kind(&self) -> &'static str;

    /// Where it is, without credentials.
    fn place(&self) -> String;

    /// The queues that it has.
    async fn queues(&mut self) -> anyhow::Result<Vec<String>>;

    /// What is in a queue, whose jobs are to go to the queue `to`. Jobs are named in the order in
    /// which they would run.
    async fn survey(&mut self, queue: &str, to: &str) -> anyhow::Result<Survey>;

    /// The jobs of some of those names, in their order.
    async fn read(&mut self, queue: &str, jobs: &[Waiting]) -> anyhow::Result<Vec<Found>>;
}

/// What is in a queue.
#[derive(Default)]
pub(super) struct Survey {
    pub(super) waiting: Vec<Waiting>,
    /// How many jobs are left out before any is read, and why.
    pub(super) left_out: Vec<(String, u64)>,
    /// What makes jobs of it again and again.
    pub(super) schedules: Vec<Schedule>,
    /// What else the user has to know or do.
    pub(super) warnings: Vec<String>,
}

impl Survey {
    /// Says that so many jobs are left out, if there are any.
    pub(super) fn leave(&mut self, why: impl Into<String>, count: u64) {
        if count > 0 {
            self.left_out.push((why.into(), count));
        }
    }
}

/// A job that waits.
pub(super) struct Waiting {
    pub(super) id: String,
    pub(super) place: Place,
    /// When it may run, in milliseconds since 1970.
    pub(super) due: Option<u64>,
    /// Where a table has it; 0 in other stores.
    pub(super) row: i64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Waiting,
    Prioritized,
    Delayed,
}

/// What became of a job that waited.
pub(super) enum Found {
    Job(Box<Draft>),
    /// It stays where it is.
    Left(String),
    /// Somebody took it meanwhile.
    Gone,
}

impl Found {
    pub(super) fn left(why: impl Display) -> Self {
        Self::Left(why.to_string())
    }
}

/// A job in our words, without a queue, an id and a request id.
pub(super) struct Draft {
    pub(super) request: EnqueueRequest,
    /// The id that its producer chose.
    pub(super) chosen_id: Option<String>,
    /// When it was made, as the store has it. Ids are used again after a store was emptied; with
    /// this, another job is not taken for the same.
    pub(super) created: String,
    /// What of the job was not taken over.
    pub(super) notes: Vec<String>,
}

/// What makes the same job again and again.
#[derive(Default)]
pub(super) struct Schedule {
    pub(super) id: String,
    pub(super) job_type: String,
    /// The payload, as JSON.
    pub(super) payload: String,
    pub(super) cron: Option<String>,
    pub(super) time_zone: Option<String>,
    pub(super) every: Option<Duration>,
}

impl Schedule {
    /// The command that makes it here, for jobs of this queue.
    pub(super) fn command(&self, queue: &str) -> String {
        let mut command = format!("lessor schedule create {} {queue}", identity::word(&self.id));
        let mut add = |flag: &str, value: &str| {
            command = format!("{command} --{flag} '{}'", value.replace('\'', r"'\''"));
        };
        if let Some(expression) = &self.cron {
            add("cron", expression);
        }
        if let Some(zone) = &self.time_zone {
            add("time-zone", zone);
        }
        if let Some(interval) = self.every {
            add("every", &humantime::format_duration(interval).to_string());
        }
        if !self.job_type.is_empty() {
            add("type", &self.job_type);
        }
        if !self.payload.is_empty() {
            add("json", &self.payload);
        }
        command
    }
}

/// A span of time as the protocol has it; it is short enough for that.
pub(super) fn wire(span: Duration) -> prost_types::Duration {
    span.try_into().unwrap_or_default()
}

/// A time in milliseconds since 1970 as the protocol has it.
pub(super) fn timestamp(millis: u64) -> prost_types::Timestamp {
    (SystemTime::UNIX_EPOCH + Duration::from_millis(millis)).into()
}
