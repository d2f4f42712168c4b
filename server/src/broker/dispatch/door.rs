//! The way in to the dispatching task.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::Wish;
use super::answer::{Answer, Outlet, Subscription};
use super::arrivals::{Arrivals, Guest};
use super::returns::Returns;
use crate::broker::{Error, Result};

/// Names a waiting worker.
pub(super) type Ticket = u64;

/// What is said to the task.
pub(super) enum Message {
    Ask(Ticket, Box<Wish>, Outlet),
    /// A standing wish may have so many jobs more.
    Credit(Ticket, usize),
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
    arrivals: Arrivals,
    tickets: Arc<AtomicU64>,
    waiting: Arc<AtomicUsize>,
}

impl Dispatcher {
    pub(super) fn new(
        mailbox: mpsc::Sender<Message>,
        returns: Returns,
        arrivals: Arrivals,
        waiting: Arc<AtomicUsize>,
    ) -> Self {
        Self { mailbox, returns, arrivals, tickets: Arc::default(), waiting }
    }

    /// Wishes that are not served yet.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// For a [`Route`](super::Route): while there is a guest, queues that come to be are heard of.
    pub fn guest(&self) -> Guest {
        self.arrivals.guest()
    }

    /// Puts a wish in that ends with its first answer.
    pub fn ask(&self, wish: Wish) -> Result<Answer> {
        let (reply, receiver) = oneshot::channel();
        let ticket = self.enter(wish, Outlet::Once(reply))?;
        let (mailbox, returns) = (self.mailbox.clone(), self.returns.clone());
        Ok(Answer { receiver, ticket, mailbox, returns })
    }

    /// Puts a wish in that stands until it is withdrawn: `claim.limit` jobs are allowed at first,
    /// none is fine. It waits, and it does not linger; every claim for it has a secret of its own.
    pub fn subscribe(&self, wish: Wish) -> Result<Subscription> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let ticket = self.enter(wish.standing(), Outlet::Standing(sender))?;
        let (mailbox, returns) = (self.mailbox.clone(), self.returns.clone());
        Ok(Subscription { receiver, ticket, mailbox, returns, untold: AtomicUsize::new(0) })
    }

    fn enter(&self, wish: Wish, outlet: Outlet) -> Result<Ticket> {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let message = Message::Ask(ticket, Box::new(wish), outlet);
        self.mailbox.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::Overloaded,
            mpsc::error::TrySendError::Closed(_) => Error::Draining,
        })?;
        Ok(ticket)
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
