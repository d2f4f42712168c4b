//! Sweeping: what falls due is moved, on every broker, with no leader.
//!
//! A timer per queue is armed for its earliest due time, which the store tells ([`Signal::Due`])
//! and [`Store::next_due`] answers; an idle queue costs nothing. All moves are guarded, so brokers
//! that sweep at the same moment do the work once.

use std::collections::{BTreeSet, HashMap};
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

/// All queues are looked at again after this long, in case a signal was lost on its way.
const SAFETY_NET: Duration = Duration::from_mins(1);

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
            busy: HashMap::new(),
            sweeps: FuturesUnordered::new(),
        }
    }

    /// Sweeps until `stop`. A sweep under way is finished: its moves are guarded and short.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut signals = self.store.signals();
        let mut look_at_all = self.clock.now();
        loop {
            self.launch();
            let wake = self.timers.first().map_or(look_at_all, |(at, _)| look_at_all.min(*at));
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
                        look_at_all = self.clock.now();
                    }
                    Err(RecvError::Closed) => break,
                },
                Some(swept) = self.sweeps.next() => self.finish(swept),
                () = clock.sleep_until(wake), if !full => {
                    if self.clock.now() >= look_at_all {
                        look_at_all = self.look_at_all().await;
                    }
                }
            }
        }
        while self.sweeps.next().await.is_some() {}
    }

    /// Arms every queue for now; answers when to do so again.
    async fn look_at_all(&mut self) -> Timestamp {
        let now = self.clock.now();
        match self.store.queues().await {
            Ok(queues) => {
                for queue in queues {
                    self.arm(queue, now);
                }
                now.after(SAFETY_NET)
            }
            Err(error) => {
                tracing::debug!(%error, "can't list the queues to sweep");
                now.after(RETRY)
            }
        }
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
