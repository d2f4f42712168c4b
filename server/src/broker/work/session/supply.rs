//! Jobs for the worker: credit goes to the dispatcher, and what comes back is sent.

use std::sync::Arc;

use super::{Phase, RETRY, Session};
use crate::broker::dispatch::{Subscription, Wish};
use crate::broker::lease::Leased;
use crate::broker::work::{Delivery, Hello, Reply};
use crate::broker::{Broker, Error, Result};
use crate::job::LeaseSecret;
use crate::store::Claim;

/// Jobs that a claim takes at most.
const BATCH: usize = 256;

impl<W: Send + 'static> Session<W> {
    /// Passes the worker's credit on to the dispatcher, as far as it may be used now.
    pub(super) async fn grant(&mut self) {
        let wanted = match self.phase {
            Phase::Open => self.deliveries.wanted().min(BATCH),
            _ => 0,
        };
        if wanted <= self.granted {
            if wanted == 0 && self.granted > 0 {
                self.stop_delivering();
            }
            return;
        }
        let more = wanted - self.granted;
        if let Some(subscription) = &self.subscription {
            subscription.credit(more);
            self.granted = wanted;
        } else if self.subscribe_at <= self.broker.clock.now() {
            match subscribe(&self.broker, &self.hello, wanted).await {
                Ok(subscription) => {
                    self.subscription = Some(subscription);
                    self.granted = wanted;
                }
                Err(error) => self.retry(&error),
            }
        }
    }

    pub(super) fn stop_delivering(&mut self) {
        self.subscription = None;
        self.granted = 0;
    }

    pub(super) fn retry(&mut self, error: &Error) {
        tracing::debug!(%error, worker = self.hello.worker.as_str(), "can't get jobs for a stream");
        self.stop_delivering();
        self.subscribe_at = self.broker.clock.now().after(RETRY);
    }

    pub(super) fn deliver(&mut self, leased: Result<Leased>) {
        let leased = match leased {
            Ok(leased) => leased,
            Err(error) => return self.retry(&error),
        };
        let now = self.broker.clock.now();
        self.granted = self.granted.saturating_sub(leased.jobs.len());
        for job in leased.jobs {
            let Some(token) = job.token() else { continue };
            let (job, token) = (Arc::new(job), Arc::new(token));
            // A job comes again only when its last lease is over.
            if let Some(over) = self.held.of_job(&token.name).cloned() {
                self.tell_lost(&over);
            }
            let number = self.deliveries.send(Arc::clone(&job), Arc::clone(&token), now);
            self.replies.push(Reply::Delivery(Delivery { number, job, token }));
        }
    }

    pub(super) fn receive(&mut self, through: u64) {
        for arrived in self.deliveries.receive(through) {
            self.held.insert(arrived);
        }
    }

    /// What has not arrived goes back.
    pub(super) fn give_back(&mut self) {
        for job in self.deliveries.close() {
            self.broker.give_back(&job);
        }
    }
}

/// Puts in the worker's wish, with a first credit.
async fn subscribe(broker: &Broker, hello: &Hello, limit: usize) -> Result<Subscription> {
    let Hello { worker, queues, order, types, lease_duration, max_bytes, .. } = hello;
    let route = broker.resolve(queues, order.clone()).await?;
    let mut types = types.clone();
    types.sort_unstable();
    types.dedup();
    let claim = Claim {
        worker: worker.clone(),
        limit,
        max_bytes: *max_bytes,
        lease_duration: *lease_duration,
        types,
        secret: LeaseSecret(fastrand::u64(1..)),
        request: None,
    };
    broker.dispatcher.subscribe(Wish { route, claim, patient: true, linger: None })
}

/// The next jobs of a subscription; waits for ever without one.
pub(super) async fn next(subscription: &mut Option<Subscription>) -> Result<Leased> {
    match subscription {
        Some(subscription) => subscription.next().await,
        None => std::future::pending().await,
    }
}
