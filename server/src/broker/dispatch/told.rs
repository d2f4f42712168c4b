//! What wakes the dispatching task: a queue that may have jobs, an alarm.

use std::sync::Arc;

use super::{Dispatching, Done, Timer};
use crate::job::QueueName;

impl Dispatching {
    /// `queue` may have jobs.
    pub(super) fn told_ready(&mut self, queue: &QueueName) {
        if self.heard.insert(queue.clone()) {
            self.join_roamers(queue);
        }
        if let Some(line) = self.lines.get_mut(queue) {
            line.wet();
            self.pump(queue);
        }
    }

    /// Roaming waiters that mean a queue which they did not know wait there too.
    fn join_roamers(&mut self, queue: &QueueName) {
        for ticket in &self.roaming {
            let Some(waiter) = self.waiters.get_mut(ticket) else { continue };
            let meant = waiter.patterns.iter().any(|pattern| pattern.matches(queue));
            if meant && !waiter.queues.contains(queue) {
                waiter.queues.push(queue.clone());
                if waiter.is_waiting() {
                    self.lines.entry(queue.clone()).or_default().parked.insert(*ticket);
                }
            }
        }
    }

    /// Signals may have been lost: every queue may have jobs, and new queues may be there.
    pub(super) fn reset(&mut self) {
        let queues: Vec<QueueName> = self.lines.keys().cloned().collect();
        for queue in &queues {
            self.told_ready(queue);
        }
        self.heard.clear();
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
                Timer::Rate(queue) => {
                    if let Some(line) = self.lines.get_mut(&queue) {
                        line.wet();
                        self.pump(&queue);
                    }
                }
                Timer::Linger(ticket) => self.hurry(ticket),
            }
        }
    }
}
