//! What the dispatching task waits for besides messages: a queue that is worth a look again, a
//! worker that has lingered long enough.

use std::collections::{BTreeSet, HashMap};

use super::door::Ticket;
use crate::clock::Timestamp;
use crate::job::QueueName;

/// What an alarm is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Timer {
    /// This queue is worth a look again: its rate allows a lease, or the store may be back.
    Look(QueueName),
    /// This queue, which was found empty, is looked into once more.
    Prove(QueueName),
    /// This worker waits no longer for more jobs.
    Linger(Ticket),
}

/// The alarms that are set, one per timer.
#[derive(Default)]
pub(super) struct Timers {
    /// The two hold the same pairs.
    set: HashMap<Timer, Timestamp>,
    order: BTreeSet<(Timestamp, Timer)>,
}

impl Timers {
    /// Sets a timer; one that is set goes off at the new moment instead.
    pub(super) fn set(&mut self, timer: Timer, at: Timestamp) {
        self.cancel(&timer);
        self.order.insert((at, timer.clone()));
        self.set.insert(timer, at);
    }

    /// The timer does not go off.
    pub(super) fn cancel(&mut self, timer: &Timer) {
        if let Some(at) = self.set.remove(timer) {
            self.order.remove(&(at, timer.clone()));
        }
    }

    /// When the first one goes off.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes the first one if its moment has come.
    pub(super) fn take(&mut self, now: Timestamp) -> Option<Timer> {
        let (_, timer) = self.order.first().filter(|(at, _)| *at <= now)?.clone();
        self.cancel(&timer);
        Some(timer)
    }
}
