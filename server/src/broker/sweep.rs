//! Sweeping: what falls due is moved, on every broker, with no leader.
//!
//! A timer per queue is armed for its earliest due time, which the store tells ([`Signal::Due`])
//! and [`Store::next_due`] answers; an idle queue costs nothing. All moves are guarded, so brokers
//! that sweep at the same moment do the work once.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::Result;
use super::settings::SettingsCache;
use crate::clock::{Clock, Timestamp};
use crate::job::{QueueName, operate, transition};
use crate::store::{Commit, Signal, Store};

/// Jobs moved by one store call: bounded, so that a sweep never holds the store for long.
const BATCH: usize = 256;

/// Queues swept at once.
const PARALLEL: usize = 16;

/// Shortest time between two sweeps of a queue, so that purges of single jobs join.
const REST: Duration = Duration::from_millis(20);

/// A round through all queues begins so long after the last one, in case a signal was lost on its
/// way.
const SAFETY_NET: Duration = Duration::from_mins(1);

/// Pause between two queues of a round: what it costs does not grow with the queues.
const PACE: Duration = Duration::from_secs(5);

/// Pause before a queue whose sweep failed is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// The sweeping task.
pub struct Sweeping {
    store: Arc<dyn Store>,
    clock: Clock,
    settings: SettingsCache,
    /// When each queue must be swept; the two hold the same pairs.
    due: HashMap<QueueName, Timestamp>,
    timers: BTreeSet<(Timestamp, QueueName)>,
    /// The queues that the round under way has still to look at.
    round: VecDeque<QueueName>,
    /// Queues being swept, with the earliest due time heard of meanwhile.
    busy: HashMap<QueueName, Option<Timestamp>>,
    sweeps: FuturesUnordered<BoxFuture<'static, Swept>>,
}

/// A finished sweep and when the queue falls due next.
struct Swept {
    queue: QueueName,
    began: Timestamp,
    next: Option<Timestamp>,
}

impl Sweeping {
    /// A sweeper of all queues of `store`.
    pub fn new(store: Arc<dyn Store>, clock: Clock, settings: SettingsCache) -> Self {
        Self {
            store,
            clock,
            settings,
            due: HashMap::new(),
            timers: BTreeSet::new(),
            round: VecDeque::new(),
            busy: HashMap::new(),
            sweeps: FuturesUnordered::new(),
        }
    }

    /// Sweeps until `stop`. A sweep under way is finished: its moves are guarded and short.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut signals = self.store.signals();
        let mut look = self.clock.now();
        let mut is_deaf = true;
        loop {
            self.launch();
            let wake = self.timers.first().map_or(look, |(at, _)| look.min(*at));
            let full = self.sweeps.len() >= PARALLEL;
            let clock = self.clock.clone();
            tokio::select! {
                () = stop.cancelled() => break,
                // Cancel-safe: a signal is taken only when this branch wins.
                signal = signals.recv() => match signal {
                    Ok(Signal::Due(queue, at)) => self.arm(queue, at),
                    Ok(
                        Signal::Ready(_)
                        | Signal::Logged(_)
                        | Signal::Settings(_)
                        | Signal::Documents(_)
                        | Signal::CalledOff(_),
                    ) => {}
                    Ok(Signal::Reset) | Err(RecvError::Lagged(_)) => {
                        look = self.clock.now();
                        is_deaf = true;
                    }
                    Err(RecvError::Closed) => break,
                },
                Some(swept) = self.sweeps.next() => self.finish(swept),
                () = clock.sleep_until(wake), if !full => {
                    if self.clock.now() >= look {
                        look = self.look(&mut is_deaf).await;
                    }
                }
            }
        }
        while self.sweeps.next().await.is_some() {}
    }

    /// Arms the next queue of the round for now, or all queues when signals may have been lost;
    /// answers when to look again.
    async fn look(&mut self, is_deaf: &mut bool) -> Timestamp {
        let now = self.clock.now();
        if self.round.is_empty() || *is_deaf {
            match self.store.queues().await {
                Ok(queues) => self.round = queues.into(),
                Err(error) => {
                    tracing::debug!(%error, "can't list the queues to sweep");
                    return now.after(RETRY);
                }
            }
        }
        let count = if std::mem::take(is_deaf) { self.round.len() } else { 1 };
        for _ in 0..count {
            if let Some(queue) = self.round.pop_front() {
                self.arm(queue, now);
            }
        }
        // A clock that stands still would never end a pause.
        let pace = if self.clock.is_manual() { Duration::ZERO } else { PACE };
        now.after(if self.round.is_empty() { SAFETY_NET } else { pace })
    }

    /// Sees to it that `queue` is swept at `at` or earlier.
    fn arm(&mut self, queue: QueueName, at: Timestamp) {
        if let Some(heard) = self.busy.get_mut(&queue) {
            *heard = Some(heard.map_or(at, |earlier| earlier.min(at)));
            return;
        }
        if let Some(known) = self.due.get(&queue) {
            if *known <= at {
                return;
            }
            self.timers.remove(&(*known, queue.clone()));
        }
        self.due.insert(queue.clone(), at);
        self.timers.insert((at, queue));
    }

    /// Starts the sweeps that are due.
    fn launch(&mut self) {
        let now = self.clock.now();
        while self.sweeps.len() < PARALLEL
            && let Some((at, queue)) = self.timers.first().cloned()
            && at <= now
        {
            self.timers.remove(&(at, queue.clone()));
            self.due.remove(&queue);
            self.busy.insert(queue.clone(), None);
            let (store, clock) = (Arc::clone(&self.store), self.clock.clone());
            let settings = self.settings.clone();
            self.sweeps.push(Box::pin(async move {
                let next = match sweep(&*store, &clock, &settings, &queue).await {
                    Ok(next) => next,
                    Err(error) => {
                        tracing::debug!(%queue, %error, "sweep failed; will try again");
                        Some(clock.now().after(RETRY))
                    }
                };
                Swept { queue, began: now, next }
            }));
        }
    }

    fn finish(&mut self, swept: Swept) {
        let heard = self.busy.remove(&swept.queue).flatten();
        let earliest = match (swept.next, heard) {
            (Some(next), Some(heard)) => Some(next.min(heard)),
            (next, heard) => next.or(heard),
        };
        // A clock that stands still would never end a rest.
        let rest = if self.clock.is_manual() { Duration::ZERO } else { REST };
        if let Some(at) = earliest {
            self.arm(swept.queue, at.max(swept.began.after(rest)));
        }
    }
}

/// Moves all that is due in `queue`; answers when the next thing falls due.
pub(super) async fn sweep(
    store: &dyn Store,
    clock: &Clock,
    settings: &SettingsCache,
    queue: &QueueName,
) -> Result<Option<Timestamp>> {
    while store.promote(queue, clock.now(), BATCH).await? == BATCH {}
    loop {
        let now = clock.now();
        let jobs = store.overdue(queue, now, BATCH).await?;
        let full = jobs.len() >= BATCH;
        // Only a queue with lost leases asks for its settings.
        let max_losses = if jobs.is_empty() { 0 } else { settings.of(queue).await?.max_losses() };
        let moved = jobs.iter().filter_map(|job| {
            let random = fastrand::f64();
            transition::expire(job, max_losses, now, random).or_else(|| operate::lapse(job, now))
        });
        let moved: Vec<Commit> = moved.map(Commit::from).collect();
        if !moved.is_empty() {
            store.commit(queue, moved, now).await?;
        }
        if !full {
            break;
        }
    }
    while store.purge(queue, clock.now(), BATCH).await? == BATCH {}
    Ok(store.next_due(queue).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Job, JobId, JobName, Spec};
    use crate::store::sqlite::SqliteStore;
    use crate::store::{Group, Insert, Room};

    #[tokio::test]
    async fn a_look_for_lost_signals_is_at_one_queue_however_many_there_are() {
        let store: Arc<dyn Store> = SqliteStore::in_memory().await.unwrap();
        let now = store.time().await.unwrap();
        for queue in ["a", "b", "c"] {
            let name = JobName { queue: QueueName::parse(queue).unwrap(), id: JobId::generate() };
            let job = Job::enqueued(name.clone(), Spec { created: now, ..Spec::default() });
            let insert = Insert { job, chosen_id: false, request: None, reason: String::new() };
            let group = Group::all_or_none(vec![insert], Room::default());
            store.insert(&name.queue, vec![group], now).await.unwrap();
        }
        let clock = Clock::anchored(now);
        let settings = SettingsCache::new(Arc::clone(&store), clock.clone());
        let mut sweeping = Sweeping::new(store, clock, settings);
        let mut is_deaf = true;
        let next = sweeping.look(&mut is_deaf).await;
        assert_eq!((sweeping.due.len(), is_deaf), (3, false), "nothing is known at first");
        assert!(next >= now.after(SAFETY_NET));
        let mut seen = Vec::new();
        for _ in 0..3 {
            sweeping.due.clear();
            let before = sweeping.clock.now();
            let next = sweeping.look(&mut is_deaf).await;
            seen.extend(sweeping.due.keys().map(ToString::to_string));
            assert!(next >= before.after(PACE));
        }
        assert_eq!(seen, ["a", "b", "c"], "one at a time");
    }
}
