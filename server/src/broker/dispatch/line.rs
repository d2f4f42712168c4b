//! Who wants jobs of one queue.

use std::collections::BTreeSet;

use super::Ticket;

/// The workers at one queue.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// They look into this queue now.
    pub probing: BTreeSet<Ticket>,
    /// They looked and wait.
    pub parked: BTreeSet<Ticket>,
    /// A claim is under way.
    pub under_way: bool,
    /// The queue was told ready since that claim was started.
    pub told: bool,
    /// The queue was empty at the last look and has not been told ready since.
    pub dry: bool,
}

impl Line {
    /// Those who should be served by the next claim, first come first: a worker that looks is
    /// served even if the queue is thought empty.
    pub(super) fn candidates(&self) -> Vec<Ticket> {
        if self.dry {
            self.probing.iter().copied().collect()
        } else {
            self.probing.union(&self.parked).copied().collect()
        }
    }

    /// True when nobody is here and nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.probing.is_empty() && self.parked.is_empty() && !self.under_way
    }
}
