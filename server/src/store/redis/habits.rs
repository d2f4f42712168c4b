//! Which queues the quick scripts can't serve for now, so that they are not asked in vain each time.

use std::collections::HashSet;

use parking_lot::Mutex;

use crate::job::QueueName;

/// What was met in queues. A hint: to be wrong costs one call.
#[derive(Default)]
pub(super) struct Habits {
    /// Claims meet gates, stale entries or several lines.
    claims: Mutex<HashSet<QueueName>>,
    /// Finished jobs are in several indexes.
    ends: Mutex<HashSet<QueueName>>,
    /// A hand-over was declined.
    parted: Mutex<HashSet<QueueName>>,
}

impl Habits {
    pub(super) fn claims_plainly(&self, queue: &QueueName) -> bool {
        !self.claims.lock().contains(queue)
    }

    /// A claim has shown whether the next one can be a quick one.
    pub(super) fn note_claim(&self, queue: &QueueName, is_plain: bool) {
        let mut claims = self.claims.lock();
        if is_plain {
            claims.remove(queue);
        } else {
            claims.insert(queue.clone());
        }
    }

    pub(super) fn ends_plainly(&self, queue: &QueueName) -> bool {
        !self.ends.lock().contains(queue)
    }

    /// A quick end was declined.
    pub(super) fn note_end(&self, queue: &QueueName) {
        self.ends.lock().insert(queue.clone());
    }

    pub(super) fn hands_over(&self, queue: &QueueName) -> bool {
        !self.parted.lock().contains(queue)
    }

    /// A hand-over was declined: the next one comes after a claim that was a quick one.
    pub(super) fn note_parted(&self, queue: &QueueName) {
        self.parted.lock().insert(queue.clone());
    }

    /// A quick claim was served.
    pub(super) fn note_quick_claim(&self, queue: &QueueName) {
        self.parted.lock().remove(queue);
    }

    /// The queue may be another one by now.
    pub(super) fn forget(&self, queue: &QueueName) {
        self.claims.lock().remove(queue);
        self.ends.lock().remove(queue);
        self.parted.lock().remove(queue);
    }
}
