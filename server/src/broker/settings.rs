//! The settings of queues as this broker knows them: read on first use, forgotten when they change.
//!
//! The store enforces what must hold at every moment (a pause, limits of leasing). What is decided
//! by the broker, defaults of new jobs and the number of lost leases, may lag behind a change by
//! the way of a signal.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use tokio::sync::broadcast::{self, error::TryRecvError};

use super::Result;
use crate::clock::{Clock, Timestamp};
use crate::job::queue::DEFAULT_MAX_JOBS;
use crate::job::{QueueName, QueueSettings};
use crate::store::{Room, Signal, Store};

/// Queues remembered at most.
const MOST_QUEUES: usize = 10_000;

/// Settings are read again after this long, in case a signal was lost on its way.
const SAFETY_NET: Duration = Duration::from_mins(1);

/// The settings of queues; cheap to clone, all clones are one.
#[derive(Clone)]
pub struct SettingsCache {
    store: Arc<dyn Store>,
    clock: Clock,
    known: Arc<Mutex<Known>>,
}

struct Known {
    signals: broadcast::Receiver<Signal>,
    queues: HashMap<QueueName, Entry>,
    /// Readings under way: a thousand enqueues that miss the same settings read them once.
    reading: HashMap<QueueName, Reading>,
    /// Rises when something is forgotten: what was read before that may be out of date.
    generation: u64,
}

type Reading = Shared<BoxFuture<'static, Result<Arc<QueueSettings>>>>;

#[derive(Clone)]
struct Entry {
    settings: Arc<QueueSettings>,
    read_at: Timestamp,
}

impl SettingsCache {
    /// An empty cache over `store`.
    pub fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        let signals = store.signals();
        let known =
            Known { signals, queues: HashMap::new(), reading: HashMap::new(), generation: 0 };
        Self { store, clock, known: Arc::new(Mutex::new(known)) }
    }

    /// The settings of `queue`; the default when nobody set it up.
    pub async fn of(&self, queue: &QueueName) -> Result<Arc<QueueSettings>> {
        let now = self.clock.now();
        let (generation, reading) = {
            let mut known = self.known.lock();
            known.hear();
            let fresh = |entry: &&Entry| now < entry.read_at.after(SAFETY_NET);
            if let Some(entry) = known.queues.get(queue).filter(fresh) {
                return Ok(Arc::clone(&entry.settings));
            }
            (known.generation, known.read(&self.store, queue))
        };
        let settings = reading.clone().await;
        let mut known = self.known.lock();
        if known.reading.get(queue).is_some_and(|one| one.ptr_eq(&reading)) {
            known.reading.remove(queue);
        }
        let settings = settings?;
        known.hear();
        // A change that was heard of meanwhile may have come after this was read.
        if known.generation == generation {
            if known.queues.len() >= MOST_QUEUES {
                // Rare and cheap to read again.
                known.queues.clear();
            }
            let entry = Entry { settings: Arc::clone(&settings), read_at: now };
            known.queues.insert(queue.clone(), entry);
        }
        Ok(settings)
    }

    /// The settings of `queue` were changed by this broker, which does not wait to be told so.
    pub fn forget(&self, queue: &QueueName) {
        self.known.lock().forget(queue);
    }
}

impl Known {
    /// Takes in what the store told since the last look.
    fn hear(&mut self) {
        loop {
            match self.signals.try_recv() {
                Ok(Signal::Settings(queue)) => self.forget(&queue),
                Ok(Signal::Reset) | Err(TryRecvError::Lagged(_)) => {
                    self.queues.clear();
                    self.reading.clear();
                    self.generation += 1;
                }
                Ok(_) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
    }

    /// The reading of `queue` that is under way, or a new one.
    fn read(&mut self, store: &Arc<dyn Store>, queue: &QueueName) -> Reading {
        let begin = || {
            let (store, queue) = (Arc::clone(store), queue.clone());
            let read =
                async move { Ok(Arc::new(store.settings(&queue).await?.unwrap_or_default())) };
            read.boxed().shared()
        };
        self.reading.entry(queue.clone()).or_insert_with(begin).clone()
    }

    fn forget(&mut self, queue: &QueueName) {
        self.queues.remove(queue);
        self.reading.remove(queue);
        self.generation += 1;
    }
}

/// How much a queue of these settings may hold.
pub fn room(settings: &QueueSettings) -> Room {
    let jobs = settings.max_jobs.unwrap_or(DEFAULT_MAX_JOBS);
    Room { jobs: Some(jobs), bytes: settings.max_bytes }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;
    use crate::broker::Error;
    use crate::store::faulty::{Fault, Faulty, Operation};
    use crate::store::sqlite::SqliteStore;

    #[tokio::test]
    async fn all_who_miss_the_same_settings_share_one_reading() {
        let store = Arc::new(Faulty::new(SqliteStore::in_memory().await.unwrap()));
        store.fail_next(Operation::Settings, Fault::After);
        let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
        let cache = SettingsCache::new(Arc::clone(&store) as Arc<dyn Store>, clock);
        let queue = QueueName::parse("mail").unwrap();
        // All have asked before there is an answer.
        store.hold(Some(Operation::Settings));
        let asking = join_all((0..9).map(|_| cache.of(&queue)));
        let (answers, ()) = tokio::join!(asking, async { store.hold(None) });
        for answer in answers {
            assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
        }
        assert!(cache.of(&queue).await.is_ok(), "a failed reading is not kept");
    }
}
