//! The workers: who was seen lately, and who shall lease no more.
//!
//! A worker shows itself by its calls. Each broker notes who called it, in memory, and writes what
//! changed into the store, all of it at once and no more often than every [`PERIOD`]: a thousand
//! waiting workers cost a few store calls per minute. A drain is known at once to the
//! broker that was asked for it, and read by the others when the store tells that drains changed.

mod list;
mod record;
mod roll;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

pub use self::list::{WorkerOrder, WorkerQuery};
use self::record::{decode_drain, decode_worker, encode_drain, encode_worker};
use self::roll::Roll;
use super::lease::QueuePattern;
use super::{Broker, Error, Result};
use crate::clock::{Clock, Timestamp};
use crate::job::{QueueName, WorkerId};
use crate::store::{Document, Kind, Put, Signal, Store};

/// Shortest time between two writes of who was seen.
const PERIOD: Duration = Duration::from_secs(10);

/// A worker that stays is written again after this long.
const REFRESH: Duration = Duration::from_secs(30);

/// A worker that was not seen for so long is not listed any more.
pub const LATELY: Duration = Duration::from_mins(2);

/// How often the records of workers that are long gone are removed, and after how long.
const CLEANING: Duration = Duration::from_mins(10);

/// How long a worker that is gone is remembered as drained.
const DRAIN_MEMORY: Duration = Duration::from_hours(24);

/// Records written by one store call.
const BATCH: usize = 256;

/// A worker that was seen lately.
#[derive(Clone, Debug, PartialEq)]
pub struct Worker {
    /// Its id.
    pub id: WorkerId,
    /// What it says about itself.
    pub profile: Profile,
    /// Where it asked for jobs the last time.
    pub queues: Vec<QueuePattern>,
    /// When it was seen the last time.
    pub last_seen: Timestamp,
    /// It shall lease no more.
    pub draining: bool,
}

/// What a worker says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// A name for people.
    pub display_name: String,
    /// What it can do and where it runs.
    pub labels: BTreeMap<String, String>,
    /// Its client library and that one's version.
    pub sdk: String,
    /// How many jobs it runs at once; 0: it did not say.
    pub concurrency: u32,
}

impl Worker {
    /// True when it asked for jobs of `queue`.
    pub fn serves(&self, queue: &QueueName) -> bool {
        self.queues.iter().any(|pattern| pattern.matches(queue))
    }
}

/// Who shall lease no more, and why.
pub(super) type Drains = HashMap<WorkerId, String>;

/// What this broker knows of workers; cheap to clone, all clones are one.
#[derive(Clone)]
pub struct Workers {
    store: Arc<dyn Store>,
    clock: Clock,
    roll: Arc<Mutex<Roll>>,
    news: Arc<Notify>,
    drains: watch::Sender<Drains>,
}

/// The task that writes down who was seen and reads who shall drain.
pub struct Watching {
    workers: Workers,
}

/// A worker's call that waits: until this is dropped the worker is there.
pub struct Presence {
    worker: WorkerId,
    workers: Workers,
    /// Set once the worker has left for good.
    parted: CancellationToken,
}

/// The task and the way in to it.
pub fn pair(store: Arc<dyn Store>, clock: Clock) -> (Workers, Watching) {
    let drains = watch::Sender::new(Drains::new());
    let (roll, news) = (Arc::default(), Arc::default());
    let workers = Workers { store, clock, roll, news, drains };
    (workers.clone(), Watching { workers })
}

impl Workers {
    /// A worker asks for jobs.
    pub fn asks(
        &self,
        worker: &WorkerId,
        profile: Option<Profile>,
        queues: &[QueuePattern],
    ) -> Presence {
        let (is_new, parted) = self.roll.lock().arrive(worker, profile, queues, self.clock.now());
        if is_new {
            self.news.notify_one();
        }
        Presence { worker: worker.clone(), workers: self.clone(), parted }
    }

    /// A worker tells of a job that it holds.
    pub fn tells(&self, worker: &WorkerId) {
        if self.roll.lock().touch(worker, self.clock.now()) {
            self.news.notify_one();
        }
    }

    /// True when the worker shall lease no more.
    pub fn is_drained(&self, worker: &WorkerId) -> bool {
        self.drains.borrow().contains_key(worker)
    }

    /// The worker has left and comes back no more.
    pub fn parts(&self, worker: &WorkerId) {
        self.roll.lock().part(worker, self.clock.now());
    }

    /// Who shall lease no more, as it changes.
    pub(super) fn drains(&self) -> watch::Receiver<Drains> {
        self.drains.subscribe()
    }

    async fn listed(&self) -> Result<Vec<Worker>> {
        let now = self.clock.now();
        let mut workers = BTreeMap::new();
        for document in self.store.documents(Kind::Worker).await? {
            if let Some(worker) = decode_worker(&document) {
                workers.insert(worker.id.clone(), worker);
            }
        }
        self.roll.lock().complete(&mut workers, now);
        let drains = self.drains.borrow();
        Ok(workers
            .into_values()
            .filter(|worker| now.since(worker.last_seen) <= LATELY)
            .map(|worker| Worker { draining: drains.contains_key(&worker.id), ..worker })
            .collect())
    }

    async fn drain(&self, id: &WorkerId, reason: &str) -> Result<()> {
        let body = encode_drain(self.clock.now(), reason);
        let put = Put { key: id.as_str().to_owned(), expected: None, body: Some(body) };
        self.store.put_documents(Kind::Drain, vec![put]).await?;
        self.drains.send_modify(|drains| {
            drains.insert(id.clone(), reason.to_owned());
        });
        Ok(())
    }
}

impl Presence {
    /// True when the worker shall lease no more.
    pub fn is_drained(&self) -> bool {
        self.parted.is_cancelled() || self.workers.is_drained(&self.worker)
    }

    /// Returns once the worker shall lease no more.
    pub async fn drained(&self) {
        let mut drains = self.workers.drains();
        tokio::select! {
            // No error ends it: who is here holds a sender.
            _ = drains.wait_for(|drains| drains.contains_key(&self.worker)) => {}
            () = self.parted.cancelled() => {}
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.workers.roll.lock().leave(&self.worker, self.workers.clock.now());
    }
}

impl Broker {
    /// The workers seen lately, by id.
    pub async fn workers(&self) -> Result<Vec<Worker>> {
        self.workers.listed().await
    }

    /// Tells a worker to finish what it holds and to lease no more.
    pub async fn drain_worker(&self, id: &WorkerId, reason: &str) -> Result<Worker> {
        let worker = self.workers().await?.into_iter().find(|worker| worker.id == *id);
        let worker = worker.ok_or_else(|| Error::NoWorker(id.clone()))?;
        self.workers.drain(id, reason).await?;
        Ok(Worker { draining: true, ..worker })
    }
}

impl Watching {
    /// Writes and reads until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut signals = self.workers.store.signals();
        let clock = self.workers.clock.clone();
        let began = clock.now();
        // News are written at once, but no sooner than `write_at`; all else is looked at `look_at`.
        let (mut write_at, mut look_at) = (began, began.after(PERIOD));
        let mut clean_at = began.after(CLEANING);
        // What was drained before this broker began.
        self.read_drains().await;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                // Cancel-safe: a signal is taken only when this branch wins.
                signal = signals.recv() => match signal {
                    Ok(Signal::Documents(Kind::Drain) | Signal::Reset)
                    | Err(RecvError::Lagged(_)) => self.read_drains().await,
                    Ok(_) => {}
                    Err(RecvError::Closed) => break,
                },
                // Cancel-safe: what is not taken now is found in the next round.
                () = self.workers.news.notified() => look_at = look_at.min(write_at),
                () = clock.sleep_until(look_at) => {
                    self.write(clock.now()).await;
                    write_at = clock.now().after(PERIOD);
                    look_at = write_at;
                    if clean_at <= write_at {
                        self.clean(clock.now()).await;
                        clean_at = clock.now().after(CLEANING);
                    }
                }
            }
        }
    }

    async fn read_drains(&self) {
        while self.try_read_drains().await.unwrap_or_else(|error| {
            // The store is away; it sends a reset when it is back.
            tracing::debug!(%error, "can't read which workers are drained");
            false
        }) {}
    }

    /// True if it must be done again: who was drained here meanwhile may not be in the answer.
    async fn try_read_drains(&self) -> Result<bool> {
        let before = self.workers.drains();
        let documents = self.workers.store.documents(Kind::Drain).await?;
        let drains = documents.iter().filter_map(decode_drain);
        let drains = drains.map(|(id, drain)| (id, drain.reason)).collect();
        let mut is_old = false;
        self.workers.drains.send_if_modified(|known| {
            is_old = before.has_changed().unwrap_or(false);
            let is_news = !is_old && *known != drains;
            if is_news {
                *known = drains;
            }
            is_news
        });
        Ok(is_old)
    }

    /// Writes down who was seen; what could not be written is tried again in the next round.
    async fn write(&self, now: Timestamp) {
        let Workers { store, roll, .. } = &self.workers;
        let (mut due, incomplete) = roll.lock().take_due(now, REFRESH, LATELY);
        if incomplete {
            // Some were met by heartbeats alone: what another broker knows of them is kept.
            if let Ok(documents) = store.documents(Kind::Worker).await {
                let known = documents.iter().filter_map(decode_worker);
                let known: HashMap<_, _> =
                    known.map(|worker| (worker.id.clone(), worker)).collect();
                roll.lock().learn(&known, &mut due);
            }
        }
        for workers in due.chunks(BATCH) {
            let put = |worker: &Worker| Put {
                key: worker.id.as_str().to_owned(),
                expected: None,
                body: Some(encode_worker(worker)),
            };
            let puts = workers.iter().map(put).collect();
            match store.put_documents(Kind::Worker, puts).await {
                Ok(_) => roll.lock().written(workers, now),
                Err(error) => {
                    tracing::debug!(%error, "can't write down which workers were seen");
                    return;
                }
            }
        }
    }

    /// Removes what is known of workers that are long gone: any broker may have written it.
    async fn clean(&self, now: Timestamp) {
        if let Err(error) = self.try_clean(now).await {
            tracing::debug!(%error, "can't remove workers that are gone");
        }
    }

    async fn try_clean(&self, now: Timestamp) -> Result<()> {
        let store = &self.workers.store;
        let documents = store.documents(Kind::Worker).await?;
        let gone = documents.iter().filter(|document| {
            decode_worker(document).is_none_or(|worker| now.since(worker.last_seen) > CLEANING)
        });
        // Only as it was read: it may have come back meanwhile.
        let remove = |document: &Document| Put {
            key: document.key.clone(),
            expected: Some(document.revision),
            body: None,
        };
        let puts: Vec<Put> = gone.map(remove).collect();
        for puts in puts.chunks(BATCH) {
            store.put_documents(Kind::Worker, puts.to_vec()).await?;
        }
        let drains = store.documents(Kind::Drain).await?;
        let stale = drains.iter().filter(|document| {
            decode_drain(document).is_none_or(|(_, drain)| now.since(drain.since) > DRAIN_MEMORY)
                && !documents.iter().any(|worker| worker.key == document.key)
        });
        let puts: Vec<Put> = stale.map(remove).collect();
        for puts in puts.chunks(BATCH) {
            store.put_documents(Kind::Drain, puts.to_vec()).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::faulty::{Faulty, Operation};
    use crate::store::sqlite::SqliteStore;

    #[tokio::test]
    async fn a_drain_is_not_forgotten_for_an_answer_that_is_older() {
        let inner = SqliteStore::in_memory().await.unwrap();
        let faulty = Arc::new(Faulty::silent(inner.clone()));
        let clock = Clock::manual(Timestamp::default());
        let (workers, watching) = pair(Arc::clone(&faulty) as Arc<dyn Store>, clock);
        faulty.hold(Some(Operation::Documents));
        let mut reading = Box::pin(watching.read_drains());
        tokio::select! {
            () = &mut reading => panic!("its answer is held back"),
            () = faulty.until_called(Operation::Documents, 1) => {}
        }
        // Reads are made in order, so the one before has its answer.
        inner.documents(Kind::Drain).await.unwrap();
        let worker = WorkerId::parse("w1").unwrap();
        workers.drain(&worker, "deploy").await.unwrap();
        faulty.hold(None);
        reading.await;
        assert!(workers.is_drained(&worker));
    }
}
