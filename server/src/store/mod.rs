//! Where jobs live: the [`Store`] trait and its written contract.
//!
//! A store makes guarded moves and reads; it decides nothing that `job/` decides. The conformance
//! suite (`server/tests/store/`) is the definition of a store: every implementation passes the
//! same cases. Two moves a store makes by itself, because they must choose and take in one step:
//! [`Store::claim`] and [`Store::promote`].
//!
//! Rules of the trait: `now` is always an argument, so stores own no clock; expected outcomes are
//! values; batch in, batch out, in order; each call touches one queue.

pub mod faulty;
pub mod open;
pub mod record;
pub mod redis;
pub mod sqlite;

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::job::{
    Event, EventKind, Job, JobId, JobName, LeaseSecret, Payload, Progress, QueueName, RequestId,
    State, Transition, WorkerId,
};

/// What a store may answer instead of doing its work.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The store can't be reached or can't work now. A write that met this may have been made.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The store has no room for more.
    #[error("the store is full: {0}")]
    Full(String),
    /// A record can't be read.
    #[error("the record of {name} is unreadable: {why}")]
    Corrupt {
        /// The job.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// The store can't be used at all: wrong version, wrong settings.
    #[error("the store can't be used: {0}")]
    Unusable(String),
}

/// The result of a store operation.
pub type Result<T> = std::result::Result<T, Error>;

/// One job to insert.
#[derive(Clone, Debug)]
pub struct Insert {
    /// The job, [`State::Ready`] or [`State::Scheduled`].
    pub job: Job,
    /// The id was chosen by the caller, so it may be taken.
    pub chosen_id: bool,
    /// The request that asks for it.
    pub request: Option<Request>,
}

/// A request that may come twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its id.
    pub id: RequestId,
    /// A digest of what it asks, to tell a repetition from a misuse.
    pub digest: u64,
}

/// How long a request id is remembered after its insert.
pub const REQUEST_MEMORY: Duration = Duration::from_hours(24);

/// How long a claim's request id is remembered: the longest that a lease lives unextended.
pub const CLAIM_MEMORY: Duration = Duration::from_hours(12);

/// What became of one insert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The job is in the store now.
    New,
    /// The request was carried out before; it made this job.
    Replayed(JobId),
    /// The dedup key is held by this job; nothing was inserted.
    Duplicate(JobId),
    /// The request id was used before, for something else. Nothing of the group was inserted.
    RequestReused,
    /// The chosen id is taken. Nothing of the group was inserted.
    Exists(State),
    /// Another insert of the group was refused, so this one was not made.
    Withheld,
}

impl Inserted {
    /// True when this outcome keeps the whole group out.
    pub fn refuses(&self) -> bool {
        matches!(self, Self::RequestReused | Self::Exists(_))
    }
}

/// One worker's wish for jobs.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Who asks.
    pub worker: WorkerId,
    /// How many jobs at most; 0 only replays.
    pub limit: usize,
    /// Stop before the records exceed this many bytes, but take at least one.
    pub max_bytes: usize,
    /// The visibility timeout; `None`: each job's own.
    pub lease_duration: Option<Duration>,
    /// The secret of the leases made; no two claims have the same.
    pub secret: LeaseSecret,
    /// A claim with the same id, made before, is answered again with those of its leases that
    /// still live, and no job is taken.
    pub request: Option<RequestId>,
}

/// One lease to extend.
#[derive(Clone, Debug)]
pub struct Extension {
    /// The job.
    pub id: JobId,
    /// The lease's secret.
    pub secret: LeaseSecret,
    /// The new end of the visibility timeout; may be earlier than the present one.
    pub until: Timestamp,
    /// Replaces the job's progress.
    pub progress: Option<Progress>,
    /// Replaces the job's checkpoint.
    pub checkpoint: Option<Payload>,
    /// What is told about it, if anything is.
    pub event: Option<Event>,
}

/// Whether a guarded move was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarded {
    /// The guard held; the move is made with all its effects.
    Applied,
    /// The guard did not hold; nothing was changed.
    Lost,
}

/// A place in the event log of one queue; a later event has a greater position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The log entry, in the store's own numbering.
    pub entry: (u64, u64),
    /// Counts the entries of the queue's log without gaps, so that a hole shows.
    pub number: u64,
}

/// One entry of a queue's event log: what one store call moved.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where it stands.
    pub position: Position,
    /// What it tells, in order.
    pub events: Vec<Event>,
}

/// Where to begin reading a queue's event log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStart {
    /// With the oldest entry there is.
    Oldest,
    /// With the first entry written at or after this moment.
    Time(Timestamp),
    /// Strictly after this position.
    After(Position),
}

/// How long events are kept.
pub const EVENT_MEMORY: Duration = Duration::from_hours(24);
/// How many log entries are kept per queue, about.
pub const EVENT_ENTRIES: usize = 100_000;

/// Jobs of a queue, by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Wait for their time.
    pub scheduled: u64,
    /// May be leased.
    pub ready: u64,
    /// Are leased.
    pub leased: u64,
    /// Wait for their backoff.
    pub retrying: u64,
    /// Succeeded and still kept.
    pub succeeded: u64,
    /// Dead letters still kept.
    pub dead: u64,
    /// Cancelled and still kept.
    pub cancelled: u64,
    /// Expired and still kept.
    pub expired: u64,
}

/// What a store tells its brokers about moves, its own and those of others. A hint: it may be
/// late or missing, never wrong enough to harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The queue has ready jobs and had none before.
    Ready(QueueName),
    /// Something in the queue falls due at this time, earlier than all else in it.
    Due(QueueName, Timestamp),
    /// The queue's event log grew.
    Logged(QueueName),
    /// Signals may have been lost: look at everything again.
    Reset,
}

/// What the store is and how it does, for `doctor` and `GetStoreStatus`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its kind and version, for people.
    pub version: String,
    /// Changes when the store lost its data or was replaced.
    pub epoch: String,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// What a store tells of a job it inserted.
fn created(job: &Job) -> Event {
    let (queue, id) = (job.name.queue.clone(), job.name.id.clone());
    let mut event = Event::new(EventKind::Created, job.spec.created, queue, id, job.state);
    event.job_type.clone_from(&job.spec.job_type);
    event.labels.clone_from(&job.spec.labels);
    event.trace_context.clone_from(&job.spec.trace_context);
    event
}

/// A place where jobs live. See the module's text for the rules.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Inserts jobs of one queue. Each inner list is a group: all of it or nothing. A group is
    /// refused when a chosen id is taken or a request id was used for something else; a known
    /// request or dedup key answers the first job and is no refusal.
    async fn insert(
        &self,
        queue: &QueueName,
        groups: Vec<Vec<Insert>>,
        now: Timestamp,
    ) -> Result<Vec<Vec<Inserted>>>;

    /// Takes ready jobs, greatest priority first and in the order in which they became ready, and
    /// leases them. No job is claimed twice. Claims are served in order.
    async fn claim(
        &self,
        queue: &QueueName,
        claims: Vec<Claim>,
        now: Timestamp,
    ) -> Result<Vec<Vec<Job>>>;

    /// Moves the end of leases; [`Guarded::Lost`] where the lease is not held any more.
    async fn extend(
        &self,
        queue: &QueueName,
        extensions: Vec<Extension>,
        now: Timestamp,
    ) -> Result<Vec<Guarded>>;

    /// Applies each transition whose guard holds, with all its effects: state, counters, history,
    /// result, retention, dedup key, event.
    async fn commit(
        &self,
        queue: &QueueName,
        transitions: Vec<Transition>,
        now: Timestamp,
    ) -> Result<Vec<Guarded>>;

    /// Makes up to `limit` scheduled and retrying jobs ready whose time has come, earliest first.
    /// Answers how many.
    async fn promote(&self, queue: &QueueName, now: Timestamp, limit: usize) -> Result<usize>;

    /// Leased jobs whose visibility timeout has ended, earliest first; fewer than `limit` may be
    /// answered when their records are large.
    async fn overdue(&self, queue: &QueueName, now: Timestamp, limit: usize) -> Result<Vec<Job>>;

    /// Forgets up to `limit` finished jobs whose time has come, and events older than
    /// [`EVENT_MEMORY`]. Answers how many jobs.
    async fn purge(&self, queue: &QueueName, now: Timestamp, limit: usize) -> Result<usize>;

    /// When the next thing in the queue falls due: a job's time, a lease's end, a purge.
    async fn next_due(&self, queue: &QueueName) -> Result<Option<Timestamp>>;

    /// Reads a job with its details.
    async fn get(&self, name: &JobName) -> Result<Option<Job>>;

    /// The queues that ever had a job, by name.
    async fn queues(&self) -> Result<Vec<QueueName>>;

    /// Counts the jobs of a queue by state; the cost does not grow with the jobs.
    async fn count(&self, queue: &QueueName) -> Result<Counts>;

    /// Reads up to `limit` entries of the queue's event log.
    async fn log(&self, queue: &QueueName, from: LogStart, limit: usize) -> Result<Vec<Entry>>;

    /// The position of the newest entry of the queue's event log; the default when it never had one.
    async fn log_end(&self, queue: &QueueName) -> Result<Position>;

    /// The present moment on the store's timeline.
    async fn time(&self) -> Result<Timestamp>;

    /// Random text that changes when the store lost its data or is another one. Fails when the
    /// store can't take writes.
    async fn epoch(&self) -> Result<String>;

    /// What the store is and how it does. Fails when it can't take writes.
    async fn status(&self) -> Result<Status>;

    /// Signals from now on.
    fn signals(&self) -> broadcast::Receiver<Signal>;

    /// Keeps signals flowing until `stop`; reconnects by itself.
    async fn run(&self, stop: CancellationToken);

    /// Waits for what is under way and closes.
    async fn close(&self);
}
