//! What comes back out of the dispatching task: one answer, or jobs for as long as they are wanted.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::door::{Message, Ticket};
use super::returns::Returns;
use crate::broker::lease::Leased;
use crate::broker::{Error, Result};

/// Where the jobs of a waiter go.
#[derive(Debug)]
pub(super) enum Outlet {
    /// To one who wants one answer.
    Once(oneshot::Sender<Result<Leased>>),
    /// To one who wants jobs as they come. No more than were allowed are in there unread.
    Standing(mpsc::UnboundedSender<Leased>),
}

/// The answer to a [`Wish`](super::Wish), to come. Dropping it withdraws the wish; jobs that were
/// taken for it already go back, uncounted.
pub struct Answer {
    pub(super) receiver: oneshot::Receiver<Result<Leased>>,
    pub(super) ticket: Ticket,
    /// Tells the task by which waiter to hurry; sent once the wish is in.
    pub(super) mailbox: mpsc::Sender<Message>,
    pub(super) returns: Returns,
}

/// A [`Wish`](super::Wish) that stands: it is served again and again, as many jobs as were allowed.
/// Dropping it withdraws the wish; jobs that were taken for it and not received go back, uncounted.
pub struct Subscription {
    pub(super) receiver: mpsc::UnboundedReceiver<Leased>,
    pub(super) ticket: Ticket,
    pub(super) mailbox: mpsc::Sender<Message>,
    pub(super) returns: Returns,
    /// Allowed, but not told to the task yet: its mailbox was full.
    pub(super) untold: AtomicUsize,
}

impl Outlet {
    /// True when nobody will receive what is sent.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Once(reply) => reply.is_closed(),
            Self::Standing(sender) => sender.is_closed(),
        }
    }

    /// True for one who wants jobs as they come.
    pub(super) fn is_standing(&self) -> bool {
        matches!(self, Self::Standing(_))
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
        let _full = self.mailbox.try_send(Message::Hurry(self.ticket));
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
        let _full = self.mailbox.try_send(Message::Forget(self.ticket));
    }
}

impl Subscription {
    /// Allows so many jobs more.
    pub fn credit(&self, more: usize) {
        self.untold.fetch_add(more, Ordering::Relaxed);
        if let Ok(permit) = self.mailbox.try_reserve() {
            self.tell(permit);
        }
    }

    /// Waits for jobs. Trouble with the store is waited out. Cancel-safe: nothing is lost when the
    /// future is dropped. Fails once the broker takes no jobs any more.
    pub async fn next(&mut self) -> Result<Leased> {
        while *self.untold.get_mut() > 0 {
            tokio::select! {
                biased;
                // Both are cancel-safe: a message stays where it is, a place is given to another.
                leased = self.receiver.recv() => return leased.ok_or(Error::Draining),
                permit = self.mailbox.reserve() => match permit {
                    Ok(permit) => self.tell(permit),
                    Err(_) => return Err(Error::Draining),
                },
            }
        }
        self.receiver.recv().await.ok_or(Error::Draining)
    }

    fn tell(&self, permit: mpsc::Permit<'_, Message>) {
        let more = self.untold.swap(0, Ordering::Relaxed);
        if more > 0 {
            permit.send(Message::Credit(self.ticket, more));
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.receiver.close();
        while let Ok(leased) = self.receiver.try_recv() {
            // Taken, sent, and never received.
            self.returns.give_back(&leased.jobs);
        }
        // When the mailbox is full the task finds the closed outlet by itself.
        let _full = self.mailbox.try_send(Message::Forget(self.ticket));
    }
}
