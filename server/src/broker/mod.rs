//! The use cases: rules, store and clock put to work. Knows no wire and no database.
//!
//! Every write is owned by a task of its own ([`fold`], [`dispatch`]), so a caller that goes away
//! cannot leave it half done; every wait ends when its caller goes away.

pub mod admin;
pub mod bulk;
pub mod cancel;
pub mod cron;
pub mod demand;
pub mod dispatch;
pub mod enqueue;
pub mod explain;
pub mod filter;
pub mod fold;
pub mod lease;
pub mod lists;
pub mod operate;
pub mod pulse;
pub mod pushes;
pub mod queues;
mod relocate;
mod replay;
pub mod schedules;
pub mod settings;
pub mod settle;
pub mod stats;
pub mod stock;
pub mod sweep;
mod token;
pub mod travel;
pub mod wait;
pub mod watch;
pub mod work;
pub mod workers;

use std::sync::Arc;

use tokio::sync::watch as watching;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::job::operate::Refusal;
use crate::job::{JobName, Outcome, QueueName, ScheduleId, State, WorkerId};
use crate::store::{self, Room, Store};

/// Why a use case was refused or failed; what the caller can do about it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// No such job.
    #[error("there is no job {0}")]
    NotFound(JobName),
    /// The chosen id is taken.
    #[error("job {name} exists already")]
    Exists {
        /// The job that has the id.
        name: JobName,
        /// Its state.
        state: State,
    },
    /// The job is in a state in which the move is not possible.
    #[error("{why}: {name} is {state:?}")]
    Refused {
        /// The job.
        name: JobName,
        /// Its state.
        state: State,
        /// Why that is in the way.
        why: Refusal,
    },
    /// The caller has read an older version than there is now.
    #[error("the etag is not the present one")]
    EtagMismatch,
    /// No such queue.
    #[error("there is no queue {0}")]
    NoQueue(QueueName),
    /// No such worker was seen lately.
    #[error("no worker {0} was seen lately")]
    NoWorker(WorkerId),
    /// The queue holds jobs.
    #[error("queue {0} is not empty")]
    QueueNotEmpty(QueueName),
    /// The continuation token belongs to another request, or to another store.
    #[error("the continuation token is not one of this request")]
    BadContinuation,
    /// The page token belongs to another list, or to another store.
    #[error("the page token is not one of this list")]
    BadPageToken,
    /// The request id was used for something else.
    #[error("the request id was used before, for another request")]
    RequestReused,
    /// The dedup key is held by another job, and the request would not give way.
    #[error("job {name} has the same dedup key")]
    Duplicate {
        /// The job that has the key.
        name: JobName,
        /// Its state.
        state: State,
    },
    /// The queue holds as many unfinished jobs as it may.
    #[error("queue {queue} is full")]
    QueueFull {
        /// The queue.
        queue: QueueName,
        /// How much it may hold, in what was exceeded.
        room: Room,
    },
    /// A job that should come with an ack was refused, so the ack was not made.
    #[error("{why}")]
    FollowUp {
        /// Which one.
        index: usize,
        /// Why.
        why: Box<Error>,
    },
    /// Another item of an all-or-nothing batch was refused.
    #[error("not enqueued, because another job of the batch was refused")]
    Withheld,
    /// The lease is not held any more; the work must be dropped.
    #[error("the lease on {name} is lost")]
    LeaseLost {
        /// The job.
        name: JobName,
        /// Its state now; `None` when it is gone.
        state: Option<State>,
        /// Its attempt now.
        attempt: u32,
    },
    /// Another settle was recorded for this lease.
    #[error("the lease on {name} was settled before, otherwise")]
    LeaseSettled {
        /// The job.
        name: JobName,
        /// How the lease ended.
        outcome: Outcome,
    },
    /// No such schedule.
    #[error("there is no schedule schedules/{0}")]
    NoSchedule(ScheduleId),
    /// The chosen id of a schedule is taken.
    #[error("schedules/{0} exists already")]
    ScheduleExists(ScheduleId),
    /// The event log no longer holds what follows the cursor.
    #[error("events after the cursor are gone")]
    CursorTrimmed {
        /// The oldest cursor that still works.
        oldest: String,
    },
    /// The store lost its data or is another one than the cursor's.
    #[error("the store was reset since the cursor was made")]
    StoreReset,
    /// The cursor is none of ours.
    #[error("the cursor is malformed")]
    BadCursor,
    /// Too many calls wait for the store.
    #[error("the broker is overloaded")]
    Overloaded,
    /// The store has no room for more.
    #[error("{0}")]
    StoreFull(String),
    /// The store can't work now.
    #[error("{0}")]
    Unavailable(String),
    /// A worker says to have received what was not sent.
    #[error("delivery {told} was not sent; the last one was {sent}")]
    NotSent {
        /// What it says.
        told: u64,
        /// The last one that was sent.
        sent: u64,
    },
    /// Nothing was heard of a worker for too long.
    #[error("nothing was heard of the worker for three ping intervals")]
    Silent,
    /// The broker is shutting down.
    #[error("the broker is draining")]
    Draining,
    /// A record can't be read.
    #[error("the record of {name} is unreadable: {why}")]
    Corrupt {
        /// The job.
        name: String,
        /// What is wrong.
        why: String,
    },
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Full(_) => Self::StoreFull(error.to_string()),
            store::Error::Corrupt { name, why } => Self::Corrupt { name, why },
            store::Error::Unavailable(_) | store::Error::Unusable(_) => {
                Self::Unavailable(error.to_string())
            }
        }
    }
}

/// The result of a use case.
pub type Result<T> = std::result::Result<T, Error>;

/// The broker: cheap to clone, all clones are one.
#[derive(Clone)]
pub struct Broker {
    store: Arc<dyn Store>,
    clock: Clock,
    folder: fold::Folder,
    dispatcher: dispatch::Dispatcher,
    settings: settings::SettingsCache,
    workers: workers::Workers,
    replays: replay::Replays,
    desk: work::Desk,
    health: watching::Receiver<Result<()>>,
    draining: CancellationToken,
}

/// The long-running parts of a broker; the caller runs them.
pub struct Tasks {
    /// Folds concurrent writes into few store calls.
    pub folding: fold::Folding,
    /// Matches waiting workers with ready jobs.
    pub dispatching: dispatch::Dispatching,
    /// Moves what falls due.
    pub sweeping: sweep::Sweeping,
    /// Writes down which workers were seen, and hears which shall drain.
    pub watching: workers::Watching,
    /// Tells work streams what concerns their workers.
    pub working: work::Working,
    /// Fires schedules.
    pub ticking: cron::Ticking,
    /// Keeps the clock on the store's time and tells whether the store answers.
    pub pulse: pulse::Pulse,
}

impl Broker {
    /// A broker over `store`. Nothing moves until the tasks run.
    pub fn new(store: Arc<dyn Store>, clock: Clock) -> (Self, Tasks) {
        let (arrivals, invitations) = dispatch::Arrivals::new();
        let (folder, folding) = fold::pair(Arc::clone(&store), clock.clone(), arrivals.clone());
        let (dispatcher, dispatching) = dispatch::pair(
            Arc::clone(&store),
            clock.clone(),
            folder.clone(),
            arrivals,
            invitations,
        );
        let settings = settings::SettingsCache::new(Arc::clone(&store), clock.clone());
        let sweeping = sweep::Sweeping::new(Arc::clone(&store), clock.clone(), settings.clone());
        let (workers, watching) = workers::pair(Arc::clone(&store), clock.clone());
        let (health, pulse) = pulse::pair(Arc::clone(&store), clock.clone());
        let draining = CancellationToken::new();
        let broker = Self {
            store,
            clock,
            folder,
            dispatcher,
            settings,
            workers,
            replays: replay::Replays::default(),
            desk: work::Desk::default(),
            health,
            draining,
        };
        let ticking = cron::Ticking::new(broker.clone());
        let working = work::Working::new(broker.clone());
        (broker, Tasks { folding, dispatching, sweeping, watching, working, ticking, pulse })
    }

    /// The clock that this broker decides by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Workers that wait for jobs at this broker, about.
    pub fn waiting(&self) -> usize {
        self.dispatcher.waiting()
    }

    /// The settings of queues as this broker knows them.
    pub fn settings(&self) -> &settings::SettingsCache {
        &self.settings
    }

    /// Whether the store takes writes, as of about a second ago.
    pub fn health(&self) -> watching::Receiver<Result<()>> {
        self.health.clone()
    }

    /// Stops leasing: waiting workers are answered at once, empty, and event streams end. Settles
    /// and enqueues go on.
    pub fn drain(&self) {
        self.draining.cancel();
        self.dispatcher.drain();
    }

    /// True once [`Broker::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }
}

#[cfg(test)]
mod tests;
