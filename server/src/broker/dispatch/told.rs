//! What wakes the dispatching task: a queue that may have jobs, an alarm.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::arrivals::{Invitation, Riders};
use super::line::Line;
use super::timers::Timer;
use super::waiter::Phase;
use super::{Dispatching, Done};
use crate::job::QueueName;

impl Dispatching {
    /// `queue` may have jobs: `count` more, if that is known.
    pub(super) fn told_ready(&mut self, queue: &QueueName, count: Option<usize>) {
        self.told_of(queue);
        if let Some(line) = self.lines.get_mut(queue) {
            line.wet(count);
            self.pump(queue);
        }
    }

    /// An insert that can serve claims in the same step is about to be begun. Those who wait ride with
    /// it, unless there may be jobs that come first; then all goes on as with other inserts.
    pub(super) fn invited(&mut self, invitation: Invitation) {
        let Invitation { queue, count, reply } = invitation;
        self.told_of(&queue);
        let Some(line) = self.lines.get_mut(&queue).filter(|line| line.is_at_rest()) else {
            return;
        };
        line.wet(Some(count));
        let Some((claiming, claims)) = self.gather(&queue) else { return };
        let (answer, served) = oneshot::channel();
        // Without the folding task they are served by themselves.
        let _gone = reply.send(Riders { claims: claims.clone(), answer });
        let (store, clock) = (Arc::clone(&self.store), self.clock.clone());
        self.calls.push(Box::pin(async move {
            let taken = match served.await {
                Ok(taken) => taken,
                Err(_parted) => store.claim(&claiming.queue, claims, clock.now()).await,
            };
            Done::Claimed(claiming, taken)
        }));
    }

    /// There is a queue of this name.
    fn told_of(&mut self, queue: &QueueName) {
        if self.heard.note(queue, self.clock.now()) {
            self.join_roamers(queue);
        }
    }

    /// Jobs are being inserted.
    pub(super) fn hear(&mut self) {
        for (queue, begun) in self.arrivals.take() {
            self.told_ready(&queue, Some(begun));
        }
    }

    /// Roaming waiters that mean a queue which they did not know wait there too.
    fn join_roamers(&mut self, queue: &QueueName) {
        let turn = self.next_turn;
        self.next_turn += 1;
        let mut parked = Vec::new();
        for ticket in &self.roaming {
            let Some(waiter) = self.waiters.get_mut(ticket) else { continue };
            if waiter.join(queue).is_some() {
                self.lines.entry(queue.clone()).or_default().members += 1;
                if waiter.phase == Phase::Parked {
                    parked.push(*ticket);
                }
            }
        }
        for (ticket, turn) in parked.into_iter().zip(turn..) {
            self.next_turn = turn + 1;
            self.go_in(ticket, turn);
        }
    }

    /// Signals may have been lost: every queue may have jobs, and new queues may be there.
    pub(super) fn reset(&mut self) {
        // Also who left while the mailbox was full.
        self.answer_all(|waiter| waiter.outlet.is_closed());
        let queues: Vec<QueueName> = self.lines.keys().cloned().collect();
        for queue in &queues {
            self.told_ready(queue, None);
        }
        // What was heard stays heard: a wish that was made before this may be on its way still.
        if !self.roaming.is_empty() {
            let store = Arc::clone(&self.store);
            self.calls.push(Box::pin(async move { Done::Listed(store.queues().await) }));
        }
    }

    /// Alarms go off.
    pub(super) fn ring(&mut self) {
        let now = self.clock.now();
        while let Some(timer) = self.timers.take(now) {
            match timer {
                Timer::Look(queue) => {
                    if let Some(line) = self.lines.get_mut(&queue) {
                        line.wet(None);
                        self.pump(&queue);
                    }
                }
                Timer::Prove(queue) => {
                    if self.lines.get_mut(&queue).is_some_and(Line::prove) {
                        self.pump(&queue);
                    } else {
                        self.prove_later(&queue);
                    }
                }
                Timer::Linger(ticket) => self.hurry(ticket),
            }
        }
    }
}
