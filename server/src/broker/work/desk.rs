//! The streams of this broker, by worker, and what they are told.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::clock::Clock;
use crate::crew::Guests;
use crate::job::{JobName, LeaseToken, WorkerId};
use crate::store::Signal;

/// When the broker shuts down, workers have so long, in real time, to settle what they hold.
pub(super) const FAREWELL: Duration = Duration::from_secs(5);

/// Calls that a stream is told of in one go; of more, its worker hears with its next heartbeat.
const MOST_CALLS: usize = 256;

/// The open streams; cheap to clone, all clones are one.
#[derive(Clone, Default)]
pub(in crate::broker) struct Desk {
    open: Arc<Mutex<HashMap<WorkerId, Arc<Notes>>>>,
    guests: Guests,
}

/// The task that tells streams what concerns their workers.
pub struct Working {
    broker: Broker,
}

/// What a stream has been told and has not read yet.
#[derive(Default)]
pub(super) struct Notes {
    list: Mutex<News>,
    bell: Notify,
}

/// News for a stream.
#[derive(Default)]
pub(super) struct News {
    /// A newer stream of the same worker takes over.
    pub(super) moved: Option<Move>,
    /// The worker shall lease no more.
    pub(super) drained: bool,
    /// The broker shuts down.
    pub(super) closing: bool,
    /// It waits no longer for what the worker holds.
    pub(super) closed: bool,
    /// Jobs whose lease was called off; whoever holds one shall look.
    pub(super) called_off: Vec<JobName>,
}

/// A worker opened a new stream, on which it says to hold these leases.
pub(super) struct Move {
    pub(super) held: Arc<[LeaseToken]>,
    /// Answered once the older stream lets go of them.
    pub(super) done: oneshot::Sender<()>,
}

impl Notes {
    /// Adds to the news.
    pub(super) fn write(&self, add: impl FnOnce(&mut News)) {
        add(&mut self.list.lock());
        self.bell.notify_one();
    }

    /// Waits for news. Cancel-safe: a ring that nobody waits for is kept.
    pub(super) async fn come(&self) {
        self.bell.notified().await;
    }

    /// Takes the news there are.
    pub(super) fn read(&self) -> News {
        std::mem::take(&mut self.list.lock())
    }
}

impl Desk {
    pub(super) fn guests(&self) -> &Guests {
        &self.guests
    }

    /// A stream of `worker` begins; answers the one that it had.
    pub(super) fn enter(&self, worker: &WorkerId, notes: &Arc<Notes>) -> Option<Arc<Notes>> {
        self.open.lock().insert(worker.clone(), Arc::clone(notes))
    }

    /// A stream of `worker` has ended.
    pub(super) fn leave(&self, worker: &WorkerId, notes: &Arc<Notes>) {
        let mut open = self.open.lock();
        if open.get(worker).is_some_and(|present| Arc::ptr_eq(present, notes)) {
            open.remove(worker);
        }
    }

    fn tell_all(&self, add: impl Fn(&WorkerId, &mut News) -> bool) {
        for (worker, notes) in self.open.lock().iter() {
            let mut list = notes.list.lock();
            if add(worker, &mut list) {
                notes.bell.notify_one();
            }
        }
    }
}

impl Working {
    pub(in crate::broker) fn new(broker: Broker) -> Self {
        Self { broker }
    }

    /// Tells until `stop`, and waits for the last stream.
    pub async fn run(self, stop: CancellationToken) {
        let Self { broker } = self;
        let mut drains = broker.workers.drains();
        let mut signals = broker.store.signals();
        let mut farewell: Option<BoxFuture<'static, ()>> = None;
        let mut closing = false;
        loop {
            tokio::select! {
                // All are cancel-safe: what is not taken now is taken in the next round.
                () = stop.cancelled() => break,
                () = broker.draining.cancelled(), if !closing => {
                    closing = true;
                    farewell = Some(Box::pin(Clock::pause(FAREWELL)));
                    broker.desk.tell_all(|_, news| {
                        news.closing = true;
                        true
                    });
                }
                () = ring(&mut farewell) => {
                    farewell = None;
                    broker.desk.tell_all(|_, news| {
                        news.closed = true;
                        true
                    });
                }
                signal = signals.recv() => match signal {
                    Ok(Signal::CalledOff(job)) => broker.desk.tell_all(|_, news| {
                        let has_room = news.called_off.len() < MOST_CALLS;
                        if has_room {
                            news.called_off.push(job.clone());
                        }
                        has_room
                    }),
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => break,
                },
                changed = drains.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    broker.desk.tell_all(|worker, news| {
                        news.drained = broker.workers.is_drained(worker);
                        news.drained
                    });
                }
            }
        }
        broker.desk.tell_all(|_, news| {
            news.closed = true;
            true
        });
        let desk = broker.desk.clone();
        drop(broker);
        desk.guests.leave().await;
    }
}

/// Waits for an alarm; for ever if there is none.
async fn ring(alarm: &mut Option<BoxFuture<'static, ()>>) {
    match alarm {
        Some(alarm) => alarm.await,
        None => std::future::pending().await,
    }
}
