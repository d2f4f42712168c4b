//! Who waits for the outcome of a write.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::broker::{Error, Result};
use crate::store;

/// Where the outcome of one write goes.
pub(super) enum Reply<T> {
    /// To one who waits for this one.
    One(oneshot::Sender<store::Result<T>>),
    /// To one who waits for several: this is the one with this index.
    Part(Arc<Mutex<Parts<T>>>, usize),
    /// Nobody waits.
    Nobody,
}

/// The outcomes that one caller waits for.
pub(super) struct Parts<T> {
    outcomes: Vec<Option<store::Result<T>>>,
    left: usize,
    done: Option<oneshot::Sender<Outcomes<T>>>,
}

type Outcomes<T> = Vec<Option<store::Result<T>>>;

/// The writing end of [`gather`].
pub(super) struct Gathering<T>(Arc<Mutex<Parts<T>>>, usize);

/// The reading end of [`gather`].
pub(super) struct Gathered<T>(oneshot::Receiver<Outcomes<T>>, usize);

/// One answer for so many writes.
pub(super) fn gather<T>(count: usize) -> (Gathering<T>, Gathered<T>) {
    let (done, answer) = oneshot::channel();
    let outcomes = std::iter::repeat_with(|| None).take(count).collect();
    let parts = Parts { outcomes, left: count, done: Some(done) };
    (Gathering(Arc::new(Mutex::new(parts)), count), Gathered(answer, count))
}

impl<T> Reply<T> {
    /// Hands an outcome over; one who went away is passed over.
    pub(super) fn send(self, outcome: store::Result<T>) {
        match self {
            Self::One(sender) => {
                let _gone = sender.send(outcome);
            }
            Self::Part(parts, index) => parts.lock().put(index, outcome),
            Self::Nobody => {}
        }
    }
}

impl<T> Parts<T> {
    fn put(&mut self, index: usize, outcome: store::Result<T>) {
        if let Some(slot) = self.outcomes.get_mut(index).filter(|slot| slot.is_none()) {
            *slot = Some(outcome);
            self.left -= 1;
        }
        if self.left == 0
            && let Some(done) = self.done.take()
        {
            let _gone = done.send(std::mem::take(&mut self.outcomes));
        }
    }
}

impl<T> Gathering<T> {
    /// A reply for each write, in order.
    pub(super) fn replies(self) -> impl Iterator<Item = Reply<T>> {
        let Self(parts, count) = self;
        (0..count).map(move |index| Reply::Part(Arc::clone(&parts), index))
    }
}

impl<T> Gathered<T> {
    /// Waits for all outcomes.
    pub(super) async fn receive(self) -> Vec<Result<T>> {
        let Self(answer, count) = self;
        if count == 0 {
            return Vec::new();
        }
        match answer.await {
            Ok(outcomes) => outcomes
                .into_iter()
                .map(|outcome| outcome.map_or(Err(Error::Draining), |it| it.map_err(Error::from)))
                .collect(),
            // The task ended between taking the writes and answering them.
            Err(_) => (0..count).map(|_| Err(Error::Draining)).collect(),
        }
    }
}

/// Waits for the outcome of one write.
pub(super) async fn receive<T>(answer: oneshot::Receiver<store::Result<T>>) -> Result<T> {
    match answer.await {
        Ok(result) => result.map_err(Error::from),
        // The task ended between taking the command and answering it.
        Err(_) => Err(Error::Draining),
    }
}
