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
use bytes::Bytes;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::job::{
    Cancel, Event, EventKind, Job, JobId, JobName, LeaseSecret, OnDuplicate, Payload, Progress,
    QueueName, QueueSettings, RequestId, State, Transition, WorkerId,
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
    /// The job, [`State::Ready`] or [`State::Scheduled`]. Behind the holder of its dedup key it
    /// becomes [`State::Blocked`].
    pub job: Job,
    /// The id was chosen by the caller, so it may be taken.
    pub chosen_id: bool,
    /// The request that asks for it.
    pub request: Option<Request>,
    /// What made it, where that is not its producer: for the event.
    pub reason: String,
}

/// Jobs that are inserted together or not at all.
#[derive(Clone, Debug)]
pub struct Group {
    /// The jobs.
    pub inserts: Vec<Insert>,
    /// What the queue has room for.
    pub room: Room,
}

/// How much a queue may hold; `None`: any amount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Unfinished jobs.
    pub jobs: Option<u64>,
    /// Bytes of the records of unfinished jobs.
    pub bytes: Option<u64>,
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
    /// The dedup key is held by this job, which now does what was asked for.
    Replaced(JobId),
    /// The job is in the store now and waits, [`State::Blocked`], for this one to end.
    Behind(JobId),
    /// The dedup key is held by this job and the insert would not give way
    /// ([`OnDuplicate::Reject`]). Nothing of the group was inserted.
    Rejected(JobId, State),
    /// The queue has no room for the group. Nothing of it was inserted.
    Full(Room),
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
        matches!(self, Self::RequestReused | Self::Exists(_) | Self::Rejected(..) | Self::Full(_))
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
    /// Jobs of these types only; empty: of any.
    pub types: Vec<String>,
    /// The secret of the leases made; no two claims have the same.
    pub secret: LeaseSecret,
    /// A claim with the same id, made before, is answered again with those of its leases that
    /// still live, and no job is taken.
    pub request: Option<RequestId>,
}

/// What claims took, and why not more.
#[derive(Clone, Debug, Default)]
pub struct Claimed {
    /// The jobs for each claim.
    pub jobs: Vec<Vec<Job>>,
    /// What keeps the queue's ready jobs back, if something does.
    pub gate: Option<Gate>,
}

/// Why a queue gives out no more of its ready jobs for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It is paused. A ready signal tells when it is resumed.
    Paused,
    /// As many jobs are leased as may be. A ready signal tells when one fewer is.
    Full,
    /// Its rate is used up until this moment.
    Limited {
        /// The next lease is possible then.
        until: Timestamp,
    },
}

/// One lease to extend, or to be told that its job shall be cancelled.
#[derive(Clone, Debug)]
pub struct Extension {
    /// The job.
    pub id: JobId,
    /// The lease's secret.
    pub secret: LeaseSecret,
    /// The new end of the visibility timeout, which may be earlier than the present one; `None`: it
    /// stays. A cancellation asked for, now or before, may make it earlier.
    pub until: Option<Timestamp>,
    /// Replaces the job's progress.
    pub progress: Option<Progress>,
    /// Replaces the job's checkpoint.
    pub checkpoint: Option<Payload>,
    /// The job shall be cancelled; the earlier one of two stays.
    pub cancel: Option<Cancel>,
    /// What is told about it, if anything is.
    pub event: Option<Event>,
}

/// What became of an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extended {
    /// The lease is held.
    Held {
        /// The end of its visibility timeout now.
        until: Timestamp,
        /// What the worker should know: its job is to be cancelled.
        cancel: Option<Cancel>,
    },
    /// The lease is not held any more; nothing was changed.
    Lost,
}

/// A transition and the jobs that come to be with it.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The move.
    pub transition: Transition,
    /// Inserted with the move or not at all, whatever the queue has room for.
    pub then: Vec<Insert>,
}

impl From<Transition> for Commit {
    fn from(transition: Transition) -> Self {
        Self { transition, then: Vec::new() }
    }
}

/// Whether a guarded move was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guarded {
    /// The guard held; the move is made with all its effects.
    Applied,
    /// The guard did not hold; nothing was changed.
    Lost,
    /// One of the jobs that should come with the move was refused; nothing was changed.
    Refused {
        /// Which one.
        index: usize,
        /// Why; see [`Inserted::refuses`].
        why: Inserted,
    },
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
/// How many events are kept per queue, about.
pub const EVENTS_KEPT: usize = 100_000;

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
    /// Wait for other jobs.
    pub blocked: u64,
    /// Succeeded and still kept.
    pub succeeded: u64,
    /// Dead letters still kept.
    pub dead: u64,
    /// Cancelled and still kept.
    pub cancelled: u64,
    /// Expired and still kept.
    pub expired: u64,
}

/// What a queue holds and what became of its jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// The jobs there are, by state.
    pub counts: Counts,
    /// What happened since the queue began.
    pub totals: Totals,
    /// What happened in the last minute, about.
    pub minute: Minute,
    /// Since when the ready job waits that has waited longest, about.
    pub oldest_ready: Option<Timestamp>,
    /// Bytes of the records of unfinished jobs.
    pub bytes: u64,
}

impl Survey {
    /// The jobs whose life is not over.
    pub fn unfinished(&self) -> u64 {
        let Counts { scheduled, ready, leased, retrying, blocked, .. } = self.counts;
        scheduled + ready + leased + retrying + blocked
    }
}

/// What happened in a queue since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Jobs enqueued.
    pub enqueued: u64,
    /// Jobs that succeeded.
    pub succeeded: u64,
    /// Jobs that became dead letters.
    pub dead: u64,
    /// Leases that were lost.
    pub lease_expired: u64,
}

/// What happened in a queue in the last minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Minute {
    /// Jobs enqueued.
    pub enqueued: u64,
    /// Jobs that succeeded or became dead letters.
    pub finished: u64,
}

/// The order in which a list walks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Index {
    /// Jobs of one state: ready ones in the order in which they will run, scheduled and retrying
    /// ones by due time, leased ones by the end of their visibility timeout, blocked ones by create
    /// time, finished ones by purge time.
    State(State),
    /// Jobs of all states with this label, by create time.
    Label(String, String),
    /// Jobs of all states of this owner, by create time.
    Owner(String),
}

/// Which way a list walks its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Earliest first; ready jobs: next to run first.
    Forward,
    /// Latest first.
    Backward,
}

/// Where a page ended. Only the store that made it can read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark(pub Bytes);

/// Some jobs of an index.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// Where to go on; `None` at the end.
    pub next: Option<Mark>,
}

/// What a document is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A schedule.
    Schedule,
    /// A worker that was seen.
    Worker,
    /// A worker that shall lease no more.
    Drain,
}

impl Kind {
    /// True when brokers are told of each change ([`Signal::Documents`]).
    pub fn is_told(self) -> bool {
        self != Self::Worker
    }
}

/// A small record of a namespace, beside its queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its name within its kind.
    pub key: String,
    /// How often it was written, at least 1.
    pub revision: u64,
    /// What it says.
    pub body: Bytes,
}

/// A write of a document.
#[derive(Clone, Debug)]
pub struct Put {
    /// Its name within its kind.
    pub key: String,
    /// Only if this is its revision now; 0: only if there is none; `None`: in any case.
    pub expected: Option<u64>,
    /// What it says from now on; `None`: it is removed.
    pub body: Option<Bytes>,
}

/// What a store tells its brokers about moves, its own and those of others. A hint: it may be
/// late or missing, never wrong enough to harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The queue has ready jobs and had none before, or none of some type that a claim asked for.
    Ready(QueueName),
    /// Something in the queue falls due at this time, earlier than all else in it.
    Due(QueueName, Timestamp),
    /// The queue's event log grew.
    Logged(QueueName),
    /// The queue's settings were changed, or the queue was deleted.
    Settings(QueueName),
    /// A document of this kind was written.
    Documents(Kind),
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
fn created(insert: &Insert) -> Event {
    let job = &insert.job;
    let (queue, id) = (job.name.queue.clone(), job.name.id.clone());
    let mut event = Event::new(EventKind::Created, job.spec.created, queue, id, job.state);
    event.job_type.clone_from(&job.spec.job_type);
    event.labels.clone_from(&job.spec.labels);
    event.trace_context.clone_from(&job.spec.trace_context);
    event.reason.clone_from(&insert.reason);
    event
}

/// What the insert does that meets a holder of its dedup key.
fn on_duplicate(insert: &Insert) -> OnDuplicate {
    insert.job.spec.dedup.as_ref().map_or_else(OnDuplicate::default, |dedup| dedup.on_duplicate)
}

/// A place where jobs live. See the module's text for the rules.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Inserts jobs of one queue, each group as a whole or not at all. See [`Inserted`] for what
    /// becomes of each and which outcomes refuse the group.
    async fn insert(
        &self,
        queue: &QueueName,
        groups: Vec<Group>,
        now: Timestamp,
    ) -> Result<Vec<Vec<Inserted>>>;

    /// Takes ready jobs, greatest priority first and in the order in which they became ready, and
    /// leases them, as far as the queue's settings allow. No job is claimed twice, none after its
    /// expiry; no lease is longer than the job's attempt timeout. Claims are served in order. No
    /// claims at all take nothing and only ask for the gate.
    async fn claim(&self, queue: &QueueName, claims: Vec<Claim>, now: Timestamp)
    -> Result<Claimed>;

    /// Moves the end of leases. The caller sees to it that no attempt becomes longer than it may.
    async fn extend(
        &self,
        queue: &QueueName,
        extensions: Vec<Extension>,
        now: Timestamp,
    ) -> Result<Vec<Extended>>;

    /// Applies each transition whose guard holds, with all its effects: state, counters, spec,
    /// history, result, retention, dedup key, event, follow-ups. When a job ends or is deleted, the
    /// one that was inserted [`Inserted::Behind`] it gets the key and becomes ready, or scheduled
    /// if its own time has not come.
    async fn commit(
        &self,
        queue: &QueueName,
        commits: Vec<Commit>,
        now: Timestamp,
    ) -> Result<Vec<Guarded>>;

    /// Makes up to `limit` scheduled and retrying jobs ready whose time has come, earliest first.
    /// Answers how many.
    async fn promote(&self, queue: &QueueName, now: Timestamp, limit: usize) -> Result<usize>;

    /// Leased jobs whose visibility timeout has ended and pending jobs whose expiry has passed,
    /// each kind earliest first; fewer than `limit` may be answered when their records are large,
    /// but one if there is one.
    async fn overdue(&self, queue: &QueueName, now: Timestamp, limit: usize) -> Result<Vec<Job>>;

    /// Forgets up to `limit` finished jobs whose time has come, and events older than
    /// [`EVENT_MEMORY`]. Answers how many jobs.
    async fn purge(&self, queue: &QueueName, now: Timestamp, limit: usize) -> Result<usize>;

    /// When the next thing in the queue falls due: a job's time, a lease's end, an expiry, a purge.
    async fn next_due(&self, queue: &QueueName) -> Result<Option<Timestamp>>;

    /// Reads a job with its details.
    async fn get(&self, name: &JobName) -> Result<Option<Job>>;

    /// Reads up to `limit` jobs of an index, from its beginning or `after` a mark of the same
    /// index and order; fewer when their records are large, but one if there is one. The cost does
    /// not grow with the jobs there are. A job that moves meanwhile may be missed or met twice.
    async fn list(
        &self,
        queue: &QueueName,
        index: &Index,
        order: Order,
        after: Option<&Mark>,
        limit: usize,
    ) -> Result<Page>;

    /// How many ready jobs would be claimed before this ready one, about: the cost does not grow
    /// with them.
    async fn ahead(&self, job: &Job) -> Result<u64>;

    /// The queues that ever had a job or settings, by name.
    async fn queues(&self) -> Result<Vec<QueueName>>;

    /// What a queue holds; the cost does not grow with the jobs.
    async fn survey(&self, queue: &QueueName, now: Timestamp) -> Result<Survey>;

    /// The settings of a queue; `None` when nobody set it up.
    async fn settings(&self, queue: &QueueName) -> Result<Option<QueueSettings>>;

    /// Replaces the settings of a queue, which need not exist, if their revision is
    /// `settings.revision` still (0: nobody set it up); they get the next one. `event` is told.
    async fn set_settings(
        &self,
        queue: &QueueName,
        settings: &QueueSettings,
        event: &Event,
        now: Timestamp,
    ) -> Result<Guarded>;

    /// Forgets up to `limit` jobs of any state with all that belongs to them; when none is left,
    /// the queue itself. True when the queue is gone.
    async fn wipe(&self, queue: &QueueName, limit: usize) -> Result<bool>;

    /// All documents of a kind, by key.
    async fn documents(&self, kind: Kind) -> Result<Vec<Document>>;

    /// Reads one document.
    async fn document(&self, kind: Kind, key: &str) -> Result<Option<Document>>;

    /// Writes documents of one kind, each if its expectation holds.
    async fn put_documents(&self, kind: Kind, puts: Vec<Put>) -> Result<Vec<Guarded>>;

    /// Reads up to `limit` entries of the queue's event log.
    async fn log(&self, queue: &QueueName, from: LogStart, limit: usize) -> Result<Vec<Entry>>;

    /// The newest `limit` entries of the queue's event log, oldest first.
    async fn recent(&self, queue: &QueueName, limit: usize) -> Result<Vec<Entry>>;

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
