//! What wakes the dispatching task: a queue that may have jobs, an alarm.

use std::sync::Arc;

use super::timers::Timer;
use super::waiter::Phase;
use super::{Dispatching, Done};
use crate::job::QueueName;

impl Dispatching {
    /// `queue` may have jobs: `count` more, if that is known.
    pub(super) fn told_ready(&mut self, queue: &QueueName, count: Option<usize>) {
        if self.heard.note(queue, self.clock.now()) {
            self.join_roamers(queue);
        }
        if let Some(line) = self.lines.get_mut(queue) {
            line.wet(count);
            self.pump(queue);
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
                    if let Some(line) = self.lines.get_mut(&queue) {
                        line.prove();
                        self.pump(&queue);
                    }
                }
                Timer::Linger(ticket) => self.hurry(ticket),
            }
        }
    }
}
