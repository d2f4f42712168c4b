//! Where jobs live: the [`Store`] trait and its written contract.
//!
//! A store makes guarded moves and reads; it decides nothing that `job/` decides. The conformance
//! suite (`server/tests/store/`) is the definition of a store: every implementation passes the
//! same cases. Two moves a store makes by itself, because they must choose and take in one step:
//! [`Store::claim`] and [`Store::promote`].
//!
//! Rules of the trait: `now` is always an argument, so stores own no clock; expected outcomes are
//! values; batch in, batch out, in order; each call touches one queue. A store carries an insert out
//! before each claim of the same store that is begun after the insert's first poll; where it can't,
//! it signals the queue once the jobs are in.

mod document;
mod events;
pub mod faulty;
mod insert;
mod lease;
pub mod observed;
pub mod open;
mod page;
pub mod record;
pub mod redis;
pub mod sqlite;
mod survey;

use async_trait::async_trait;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::job::{Event, Job, JobName, QueueName, QueueSettings};

pub use self::document::{Document, Kind, Put};
pub use self::events::{EVENT_MEMORY, EVENTS_KEPT, Entry, Following, LogStart, Position};
pub use self::insert::{Group, Insert, Inserted, REQUEST_MEMORY, Request, Room};
use self::insert::{created, on_duplicate};
pub use self::lease::{CLAIM_MEMORY, Claim, Claimed, Commit, Extended, Extension, Gate, Guarded};
pub use self::page::{Index, Mark, Order, Page};
pub use self::survey::{Counts, Minute, Survey, Totals};

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

/// What a store tells its brokers about moves, its own and those of others. A hint: it may be
/// late or missing, never wrong enough to harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The queue has ready jobs and had none before, or none of some type that a claim asked for. The
    /// broker that inserts them may go untold: a claim that it begins behind its insert finds them.
    Ready(QueueName),
    /// Something in the queue falls due at this time, earlier than all else in it. The end of a lease may
    /// go untold if a time before it was told, or answered by [`Store::next_due`], that has not passed.
    Due(QueueName, Timestamp),
    /// The queue's event log grew. Told while somebody follows, see [`Store::follow`].
    Logged(QueueName),
    /// The queue's settings were changed, or the queue was deleted.
    Settings(QueueName),
    /// A document of this kind was written.
    Documents(Kind),
    /// The lease of this job was called off: its cancellation was asked for, or it was revoked.
    CalledOff(JobName),
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

    /// Whether [`hand_over`](Self::hand_over) of these groups is worth a try.
    fn may_hand_over(&self, queue: &QueueName, groups: &[Group]) -> bool;

    /// [`insert`](Self::insert), and behind it [`claim`](Self::claim), in one step: what was inserted
    /// is leased without having been ready for others. `None` when that can't be done now; then
    /// nothing was done.
    async fn hand_over(
        &self,
        queue: &QueueName,
        groups: &[Group],
        claims: &[Claim],
        now: Timestamp,
    ) -> Result<Option<(Vec<Vec<Inserted>>, Claimed)>>;

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

    /// When the next thing in the queue falls due: a job's time, a lease's end, an expiry, a purge. Whoever
    /// asks is to ask again then, or when a signal names an earlier time.
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

    /// Tells all brokers that the lease of a job was called off ([`Signal::CalledOff`]), so that the
    /// one that has its worker on a stream can pass it on. As all signals it may be lost.
    async fn call_off(&self, job: &JobName) -> Result<()>;

    /// Signals from now on.
    fn signals(&self) -> broadcast::Receiver<Signal>;

    /// From when this returns until the last that it returned is dropped, the growth of event logs is
    /// signalled. Nobody pays for such signals while there is no one to hear them.
    async fn follow(&self) -> Following {
        Following::default()
    }

    /// Keeps signals flowing until `stop`; reconnects by itself.
    async fn run(&self, stop: CancellationToken);

    /// Waits for what is under way and closes.
    async fn close(&self);
}
