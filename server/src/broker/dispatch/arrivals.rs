//! What the folding task tells the dispatching one of the ready jobs that it inserts.
//!
//! It tells at once, before the store has answered: a store carries out the calls of a broker in the
//! order in which they were begun, so the claim made then finds the job, and a worker gets it after
//! one round trip. When the store has answered, that is told too, for calls may have changed places
//! after all.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::job::QueueName;

/// Inserts of ready jobs; cheap to clone, all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Arrivals(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Those who want jobs, or are about to.
    guests: AtomicUsize,
    /// What was not heard yet. No more queues than have calls under way.
    news: Mutex<HashMap<QueueName, News>>,
    bell: Notify,
}

/// What was told of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// Ready jobs whose insert was begun.
    pub begun: usize,
    /// Ready jobs whose insert the store has answered.
    pub answered: usize,
    /// Those among them that did not come to be.
    pub vain: usize,
}

/// While there is one, inserts are told. Whoever looks for queues or jobs has one before he looks.
#[derive(Debug)]
pub struct Guest(Arrivals);

impl Arrivals {
    /// From now on inserts are told.
    pub(super) fn guest(&self) -> Guest {
        self.0.guests.fetch_add(1, Ordering::SeqCst);
        Guest(self.clone())
    }

    /// The insert of so many ready jobs was begun.
    pub fn begun(&self, queue: &QueueName, count: usize) {
        self.tell(queue, News { begun: count, ..News::default() });
    }

    /// The insert of so many ready jobs was answered: so many did not come to be.
    pub fn answered(&self, queue: &QueueName, count: usize, vain: usize) {
        self.tell(queue, News { begun: 0, answered: count, vain });
    }

    fn tell(&self, queue: &QueueName, more: News) {
        // A guest who comes now finds the job by himself: his claim is begun after the insert.
        if more == News::default() || self.0.guests.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut all = self.0.news.lock();
        match all.get_mut(queue) {
            Some(news) => {
                news.begun += more.begun;
                news.answered += more.answered;
                news.vain += more.vain;
            }
            None => {
                all.insert(queue.clone(), more);
            }
        }
        drop(all);
        self.0.bell.notify_one();
    }

    /// Waits until there is something to [take](Self::take). Cancel-safe.
    pub(super) async fn wait(&self) {
        self.0.bell.notified().await;
    }

    /// True when nothing was told since the last time.
    pub(super) fn is_silent(&self) -> bool {
        self.0.news.lock().is_empty()
    }

    /// What was told since the last time.
    pub(super) fn take(&self) -> HashMap<QueueName, News> {
        std::mem::take(&mut *self.0.news.lock())
    }
}

impl Clone for Guest {
    fn clone(&self) -> Self {
        self.0.guest()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.0.guests.fetch_sub(1, Ordering::SeqCst);
    }
}
