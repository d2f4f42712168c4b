//! What the folding task tells the dispatching one of the ready jobs that it inserts.
//!
//! Where the store can do both in one step, it asks first who waits for them, and their claims
//! [ride](Riders) with the insert. Else it tells at once, before the store has answered: a store
//! carries out the calls of a broker in the order in which they were begun, so the claim made then
//! finds the job, and a worker gets it after one round trip. A store that has to do otherwise signals
//! the queue when the jobs are in.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::job::QueueName;
use crate::store::{self, Claim, Claimed};

/// Inserts of ready jobs; cheap to clone, all clones are one.
#[derive(Clone, Debug)]
pub struct Arrivals {
    shared: Arc<Shared>,
    invitations: mpsc::UnboundedSender<Invitation>,
}

/// Inserts that ask who rides with them; no more than travel at once.
pub type Invitations = mpsc::UnboundedReceiver<Invitation>;

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

/// The insert of ready jobs, which has not begun.
#[derive(Debug)]
pub struct Invitation {
    pub(super) queue: QueueName,
    pub(super) count: usize,
    /// Dropped when nobody rides.
    pub(super) reply: oneshot::Sender<Riders>,
}

/// Claims that are to be served in one step with an insert. Dropped, they are made for themselves:
/// not before the insert was begun.
#[derive(Debug)]
pub struct Riders {
    /// The claims.
    pub claims: Vec<Claim>,
    pub(super) answer: oneshot::Sender<store::Result<Claimed>>,
}

impl Riders {
    /// They were served, or the step failed.
    pub fn served(self, claimed: store::Result<Claimed>) {
        // Who is gone gets what is leased back by the lease's end.
        let _gone = self.answer.send(claimed);
    }
}

impl Arrivals {
    /// Arrivals, and what those who wait are asked.
    pub fn new() -> (Self, Invitations) {
        let (invitations, asked) = mpsc::unbounded_channel();
        (Self { shared: Arc::default(), invitations }, asked)
    }

    /// From now on inserts are told.
    pub(super) fn guest(&self) -> Guest {
        self.shared.guests.fetch_add(1, Ordering::SeqCst);
        Guest(self.clone())
    }

    /// Asks who rides with the insert of so many ready jobs, which can serve claims.
    pub async fn invite(&self, queue: &QueueName, count: usize) -> Option<Riders> {
        let (reply, riders) = oneshot::channel();
        self.invitations.send(Invitation { queue: queue.clone(), count, reply }).ok()?;
        riders.await.ok()
    }

    /// The insert of so many ready jobs is about to be begun. On one thread the claim for them then
    /// leaves in the same message to the store: who is to begin it is woken before who sends both.
    pub fn coming(&self, count: usize) {
        if self.concern_somebody(count) {
            self.shared.bell.notify_one();
        }
    }

    /// The insert of so many ready jobs was begun.
    pub fn begun(&self, queue: &QueueName, count: usize) {
        if !self.concern_somebody(count) {
            return;
        }
        let mut all = self.shared.news.lock();
        match all.get_mut(queue) {
            Some(begun) => *begun += count,
            None => {
                all.insert(queue.clone(), count);
            }
        }
        drop(all);
        self.shared.bell.notify_one();
    }

    /// A guest who comes now finds the jobs by himself: his claim is begun after their insert.
    pub fn concern_somebody(&self, count: usize) -> bool {
        count > 0 && self.shared.guests.load(Ordering::SeqCst) > 0
    }

    /// Waits until there may be something to [take](Self::take). Cancel-safe.
    pub(super) async fn wait(&self) {
        self.shared.bell.notified().await;
    }

    /// True when nothing was told since the last time.
    pub(super) fn is_silent(&self) -> bool {
        self.shared.news.lock().is_empty()
    }

    /// The queues, and how many jobs of each were begun to be inserted since the last time.
    pub(super) fn take(&self) -> HashMap<QueueName, usize> {
        std::mem::take(&mut *self.shared.news.lock())
    }
}

impl Clone for Guest {
    fn clone(&self) -> Self {
        self.0.guest()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.shared.guests.fetch_sub(1, Ordering::SeqCst);
    }
}
