//! The settings of queues as this broker knows them: read on first use, forgotten when they change.
//!
//! The store enforces what must hold at every moment (a pause, limits of leasing). What is decided
//! by the broker, defaults of new jobs and the number of lost leases, may lag behind a change by
//! the way of a signal.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

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
    /// Rises when something is forgotten: what was read before that may be out of date.
    generation: u64,
}

#[derive(Clone)]
struct Entry {
    settings: Arc<QueueSettings>,
    read_at: Timestamp,
}

impl SettingsCache {
    /// An empty cache over `store`.
    pub fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        let signals = store.signals();
        let known = Known { signals, queues: HashMap::new(), generation: 0 };
        Self { store, clock, known: Arc::new(Mutex::new(known)) }
    }

    /// The settings of `queue`; the default when nobody set it up.
    pub async fn of(&self, queue: &QueueName) -> Result<Arc<QueueSettings>> {
        let now = self.clock.now();
        let generation = {
            let mut known = self.known.lock();
            known.hear();
            let fresh = |entry: &&Entry| now < entry.read_at.after(SAFETY_NET);
            if let Some(entry) = known.queues.get(queue).filter(fresh) {
                return Ok(Arc::clone(&entry.settings));
            }
            known.generation
        };
        let settings = Arc::new(self.store.settings(queue).await?.unwrap_or_default());
        let mut known = self.known.lock();
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
                    self.generation += 1;
                }
                Ok(_) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
    }

    fn forget(&mut self, queue: &QueueName) {
        self.queues.remove(queue);
        self.generation += 1;
    }
}

/// How much a queue of these settings may hold.
pub fn room(settings: &QueueSettings) -> Room {
    let jobs = settings.max_jobs.unwrap_or(DEFAULT_MAX_JOBS);
    Room { jobs: Some(jobs), bytes: settings.max_bytes }
}
