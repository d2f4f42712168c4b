//! What the broker tells a stream, and what the worker tells of itself.

use std::sync::Arc;

use super::{Done, Phase, Session};
use crate::broker::settle::Nack;
use crate::broker::work::desk::{FAREWELL, Move};
use crate::broker::work::{Directive, Reply};
use crate::job::LeaseToken;
use crate::job::transition::Disposition;

impl<W: Send + 'static> Session<W> {
    pub(super) fn read_notes(&mut self) {
        let news = self.notes.read();
        for job in &news.called_off {
            let token = self.held.of_job(job).or_else(|| self.deliveries.of_job(job)).cloned();
            if let Some(token) = token {
                self.check(token);
            }
        }
        if news.drained && matches!(self.phase, Phase::Open) {
            self.phase = Phase::Drained;
            let reason = "an operator drains this worker".to_owned();
            self.replies.push(Reply::Directive(Directive::Drain(reason, None)));
        }
        if news.closing && matches!(self.phase, Phase::Open | Phase::Drained | Phase::Leaving(_)) {
            self.phase = Phase::Closing;
            let reason = "the broker is shutting down".to_owned();
            self.replies.push(Reply::Directive(Directive::Drain(reason, Some(FAREWELL))));
            self.stop_delivering();
            self.give_back();
        }
        if news.closed {
            self.phase = Phase::Ending;
        }
        if let Some(Move { held, done }) = news.moved {
            self.stop_delivering();
            for job in self.deliveries.close() {
                let secret = job.lease.as_ref().map(|lease| lease.secret);
                let moves =
                    |token: &LeaseToken| Some(token.secret) == secret && token.name == job.name;
                if !held.iter().any(moves) {
                    self.broker.give_back(&job);
                }
            }
            // What this stream held, it holds no more; the settles under way are answered here.
            drop(self.held.drain());
            let _gone = done.send(());
            self.phase = Phase::Ending;
        }
    }

    /// The worker leaves.
    pub(super) fn part(&mut self, release: bool) {
        self.broker.workers.parts(&self.hello.worker);
        self.stop_delivering();
        self.give_back();
        if release {
            for lease in self.held.drain() {
                let broker = Arc::clone(&self.broker);
                self.settles.push(Box::pin(async move {
                    let nack =
                        Nack { disposition: Disposition::Release, failure: None, checkpoint: None };
                    if let Err(error) = broker.nack((*lease.token).clone(), nack).await {
                        tracing::debug!(%error, "can't release a lease; it will run out");
                    }
                    Done::Released
                }));
            }
        }
        self.phase = Phase::Ending;
    }
}
