//! A wish that stands: jobs as they come, as long as there is credit.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::broker::Result;
use crate::broker::dispatch::{Answer, Dispatcher, Wish};
use crate::broker::lease::Leased;
use crate::job::LeaseSecret;

/// A standing wish. Dropping it withdraws it; what was taken and not received goes back.
pub(super) struct Subscription {
    dispatcher: Dispatcher,
    wish: Wish,
    credit: AtomicUsize,
    asked: Option<Answer>,
}

impl Subscription {
    /// Puts the wish in; `wish.claim.limit` is the first credit.
    pub(super) fn new(dispatcher: Dispatcher, wish: Wish) -> Self {
        let credit = AtomicUsize::new(wish.claim.limit);
        Self { dispatcher, wish, credit, asked: None }
    }

    /// Allows so many jobs more.
    pub(super) fn credit(&self, more: usize) {
        self.credit.fetch_add(more, Ordering::Relaxed);
    }

    /// Jobs, when some are taken. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Leased> {
        if self.asked.is_none() {
            let credit = self.credit.load(Ordering::Relaxed);
            if credit == 0 {
                std::future::pending::<()>().await;
            }
            let mut wish = self.wish.clone();
            wish.claim.limit = credit;
            wish.claim.secret = LeaseSecret(fastrand::u64(1..));
            if !wish.queues.is_empty() {
                let first = fastrand::usize(..wish.queues.len());
                wish.queues.rotate_left(first);
            }
            self.asked = Some(self.dispatcher.ask(wish)?);
        }
        let Some(asked) = &mut self.asked else { return Ok(Leased::default()) };
        let answer = asked.receive().await;
        self.asked = None;
        let leased = answer?;
        self.credit.fetch_sub(leased.jobs.len(), Ordering::Relaxed);
        Ok(leased)
    }
}
