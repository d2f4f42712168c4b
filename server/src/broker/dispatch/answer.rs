//! The way in to the dispatching task, and the answer that comes back out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::Wish;
use crate::broker::fold::Folder;
use crate::broker::lease::Leased;
use crate::broker::{Error, Result};
use crate::clock::Clock;
use crate::job::{Job, transition};

/// Names a waiting worker; a smaller one came earlier.
pub(super) type Ticket = u64;

/// What is said to the task.
pub(super) enum Message {
    Ask(Ticket, Wish, oneshot::Sender<Result<Leased>>),
    Hurry(Ticket),
    Forget(Ticket),
    Drain,
    /// Answered once no claim is under way and no signal is unread.
    Rest(oneshot::Sender<()>),
}

/// The way in to the dispatching task.
#[derive(Clone)]
pub struct Dispatcher {
    mailbox: mpsc::Sender<Message>,
    returns: Returns,
}

/// The answer to a [`Wish`], to come. Dropping it withdraws the wish; jobs that were taken for it
/// already go back, uncounted.
pub struct Answer {
    receiver: oneshot::Receiver<Result<Leased>>,
    /// Tells the task by which waiter to hurry; sent once the wish is in.
    hurry: mpsc::Sender<Message>,
    ticket: Ticket,
    returns: Returns,
}

/// Gives back what was taken for a worker that is gone.
#[derive(Clone)]
pub(super) struct Returns {
    folder: Folder,
    clock: Clock,
    tickets: Arc<AtomicU64>,
}

impl Returns {
    pub(super) fn new(folder: Folder, clock: Clock) -> Self {
        Self { folder, clock, tickets: Arc::default() }
    }

    /// Each job goes in front of its line, so the last one first keeps their order.
    pub(super) fn give_back(&self, jobs: &[Job]) {
        let now = self.clock.now();
        for job in jobs.iter().rev() {
            if let Some(decided) = transition::give_back(job, now) {
                self.folder.commit_later(decided);
            }
        }
    }
}

impl Dispatcher {
    pub(super) fn new(mailbox: mpsc::Sender<Message>, returns: Returns) -> Self {
        Self { mailbox, returns }
    }

    /// Puts a wish in.
    pub fn ask(&self, wish: Wish) -> Result<Answer> {
        let ticket = self.returns.tickets.fetch_add(1, Ordering::Relaxed);
        let (reply, receiver) = oneshot::channel();
        self.mailbox.try_send(Message::Ask(ticket, wish, reply)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::Overloaded,
            mpsc::error::TrySendError::Closed(_) => Error::Draining,
        })?;
        let (hurry, returns) = (self.mailbox.clone(), self.returns.clone());
        Ok(Answer { receiver, hurry, ticket, returns })
    }

    /// Waits until all that the store has told so far is dealt with.
    pub async fn rest(&self) -> Result<()> {
        let (reply, rested) = oneshot::channel();
        self.mailbox.send(Message::Rest(reply)).await.map_err(|_| Error::Draining)?;
        rested.await.map_err(|_| Error::Draining)
    }

    /// Answers all waiting workers, empty, and takes no job from now on.
    pub fn drain(&self) {
        let _full = self.mailbox.try_send(Message::Drain);
    }
}

impl Answer {
    /// Waits for the answer.
    pub async fn receive(&mut self) -> Result<Leased> {
        // The task is gone only when the broker is.
        (&mut self.receiver).await.unwrap_or(Err(Error::Draining))
    }

    /// The patience is over: what is not under way already is not waited for.
    pub fn hurry(&self) {
        let _full = self.hurry.try_send(Message::Hurry(self.ticket));
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.receiver.close();
        if let Ok(Ok(leased)) = self.receiver.try_recv() {
            // Taken, sent, and never received.
            self.returns.give_back(&leased.jobs);
        }
        // When the mailbox is full the task finds the closed answer by itself.
        let _full = self.hurry.try_send(Message::Forget(self.ticket));
    }
}
