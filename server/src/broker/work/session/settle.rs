//! What the worker says of its jobs, what becomes of it, and what it is told of them.

use std::sync::Arc;
use std::time::Duration;

use super::{Done, PlainAck, Session};
use crate::broker::settle::{Answer, Extend, Settle};
use crate::broker::work::held::Lease;
use crate::broker::work::{Directive, Reply};
use crate::broker::{Error, Result};
use crate::job::LeaseToken;
use crate::store::Extended;

impl<W: Send + 'static> Session<W> {
    pub(super) fn settle(&mut self, seq: u64, settle: Settle) {
        let token = settle.token();
        if self.held.get_mut(token).is_none()
            && let Some(number) = self.deliveries.number_of(token)
        {
            // Who settles a job has received it.
            self.receive(number);
        }
        let settle = match settle {
            Settle::Ack(token, ack) if ack.then.is_empty() && !token.has_dedup => {
                let lease = self.held.remove(&token);
                self.acks.push(PlainAck { seq, token, result: ack.result, lease });
                return;
            }
            other => other,
        };
        let (lease, token) = match &settle {
            Settle::Extend(token, _) => (None, Some(token.clone())),
            Settle::Ack(token, _) | Settle::Nack(token, _) => (self.held.remove(token), None),
        };
        self.asked += 1;
        let broker = Arc::clone(&self.broker);
        self.settles.push(Box::pin(async move {
            let answer = broker.settle(settle).await;
            Done::Settled { seq, lease, token, answer }
        }));
    }

    /// Makes the acks that came together, in one go.
    pub(super) fn make_acks(&mut self) {
        if self.acks.is_empty() {
            return;
        }
        self.asked += self.acks.len();
        let broker = Arc::clone(&self.broker);
        let (mut asked, mut acks) = (Vec::new(), Vec::new());
        for PlainAck { seq, token, result, lease } in self.acks.drain(..) {
            asked.push((seq, lease));
            acks.push((token, result));
        }
        self.settles.push(Box::pin(async move {
            let answers = broker.ack_all(acks).await;
            let answered = asked.into_iter().zip(answers);
            Done::Acked(answered.map(|((seq, lease), answer)| (seq, lease, answer)).collect())
        }));
    }

    pub(super) fn answer(&mut self, done: Done) {
        match done {
            Done::Acked(answers) => {
                self.asked -= answers.len();
                for (seq, lease, answer) in answers {
                    self.keep_if_held(lease, answer.as_ref().err());
                    self.reply(seq, answer.map(Answer::Acked));
                }
            }
            Done::Settled { seq, lease, token, answer } => {
                self.asked -= 1;
                match (&answer, token) {
                    (Ok(Answer::Extended(extended)), Some(token)) => {
                        if let Some(lease) = self.held.extended(&token, Some(extended.until)) {
                            lease.told |= extended.cancel.is_some();
                        }
                    }
                    (Err(Error::LeaseLost { .. }), Some(token)) => drop(self.held.remove(&token)),
                    _ => {}
                }
                self.keep_if_held(lease, answer.as_ref().err());
                self.reply(seq, answer);
            }
            Done::Extended(token, answer) => self.extended(&token, answer),
            Done::Checked(token, Ok(Extended::Held { until, cancel })) => {
                let within = until.since(self.broker.clock.now());
                self.held.extended(&token, Some(until));
                if let Some(cancel) = cancel {
                    self.tell_cancelled(&token, cancel.reason, within);
                }
            }
            Done::Checked(token, Ok(Extended::Lost)) => self.tell_lost(&token),
            Done::Checked(_, Err(_)) | Done::Released => {}
        }
    }

    /// A lease whose settle was not made, for now, is held still.
    pub(super) fn keep_if_held(&mut self, lease: Option<Lease>, error: Option<&Error>) {
        if let (Some(lease), Some(error)) = (lease, error)
            && !matches!(error, Error::LeaseLost { .. } | Error::LeaseSettled { .. })
        {
            self.held.put_back(lease);
        }
    }

    pub(super) fn reply(&mut self, seq: u64, answer: Result<Answer>) {
        self.replies.push(match answer {
            Ok(answer) => Reply::Settled(seq, Box::new(answer)),
            Err(error) => Reply::Failed(seq, error),
        });
    }

    /// Extends what a frame should extend, if the worker wants that.
    pub(super) fn extend_due(&mut self) {
        if !self.hello.auto_extend {
            return;
        }
        for (token, duration) in self.held.due(self.heard) {
            let broker = Arc::clone(&self.broker);
            self.settles.push(Box::pin(async move {
                let extend = Extend { lease_duration: Some(duration), ..Extend::default() };
                let extend = Settle::Extend((*token).clone(), extend);
                let answer = broker.settle(extend).await;
                Done::Extended(token, answer)
            }));
        }
    }

    pub(super) fn extended(&mut self, token: &Arc<LeaseToken>, answer: Result<Answer>) {
        match answer {
            Ok(Answer::Extended(extended)) => {
                self.held.extended(token, Some(extended.until));
                if let Some(reason) = extended.cancel {
                    self.tell_cancelled(token, reason, extended.until.since(extended.now));
                }
            }
            Err(Error::LeaseLost { .. }) => self.tell_lost(token),
            // Tried again with the next frame.
            Ok(_) | Err(_) => {
                self.held.extended(token, None);
            }
        }
    }

    /// Looks what became of a lease.
    pub(super) fn check(&mut self, token: Arc<LeaseToken>) {
        let broker = Arc::clone(&self.broker);
        self.settles.push(Box::pin(async move {
            let verdict = broker.check(&token).await;
            Done::Checked(token, verdict)
        }));
    }

    pub(super) fn tell_cancelled(
        &mut self,
        token: &Arc<LeaseToken>,
        reason: String,
        within: Duration,
    ) {
        let lease = self.held.get_mut(token);
        if lease.is_some_and(|lease| std::mem::replace(&mut lease.told, true)) {
            return;
        }
        let directive = Directive::Cancel(Arc::clone(token), reason, within);
        self.replies.push(Reply::Directive(directive));
    }

    pub(super) fn tell_lost(&mut self, token: &Arc<LeaseToken>) {
        // One that was settled meanwhile is no news.
        if self.held.remove(token).is_some() || self.deliveries.number_of(token).is_some() {
            let reason = "the lease is not held any more".to_owned();
            let directive = Directive::LeaseLost(Arc::clone(token), reason);
            self.replies.push(Reply::Directive(directive));
        }
    }
}
