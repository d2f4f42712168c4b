//! What the folding task tells the dispatching one of the ready jobs that it inserts.
//!
//! It tells at once, before the store has answered: a store carries out the calls of a broker in the
//! order in which they were begun, so the claim made then finds the job, and a worker gets it after
//! one round trip. A store that has to do otherwise signals the queue when the jobs are in.

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
    /// Ready jobs whose insert was begun, as far as that was not heard yet. No more queues than have
    /// calls under way.
    news: Mutex<HashMap<QueueName, usize>>,
    bell: Notify,
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

    /// The insert of so many ready jobs is about to be begun. On one thread the claim for them then
    /// leaves in the same message to the store: who is to begin it is woken before who sends both.
    pub fn coming(&self, count: usize) {
        if self.concern_somebody(count) {
            self.0.bell.notify_one();
        }
    }

    /// The insert of so many ready jobs was begun.
    pub fn begun(&self, queue: &QueueName, count: usize) {
        if !self.concern_somebody(count) {
            return;
        }
        let mut all = self.0.news.lock();
        match all.get_mut(queue) {
            Some(begun) => *begun += count,
            None => {
                all.insert(queue.clone(), count);
            }
        }
        drop(all);
        self.0.bell.notify_one();
    }

    /// A guest who comes now finds the jobs by himself: his claim is begun after their insert.
    fn concern_somebody(&self, count: usize) -> bool {
        count > 0 && self.0.guests.load(Ordering::SeqCst) > 0
    }

    /// Waits until there may be something to [take](Self::take). Cancel-safe.
    pub(super) async fn wait(&self) {
        self.0.bell.notified().await;
    }

    /// True when nothing was told since the last time.
    pub(super) fn is_silent(&self) -> bool {
        self.0.news.lock().is_empty()
    }

    /// The queues, and how many jobs of each were begun to be inserted since the last time.
    pub(super) fn take(&self) -> HashMap<QueueName, usize> {
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
